//! The file that a tool works on: a window on the partition where the host lets us have one, else a
//! copy of what is used. Neither is the partition.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::fs::change::overlay::Overlay;
use crate::fs::change::scratch::{Content, Scratch};
use crate::fs::change::window::Window;
use crate::storage::{Storage, WritableStorage};

/// Where tools work.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    has_windows: bool,
    has_copies: bool,
}

impl Place {
    /// Scratch files are made in `folder`. Where FUSE can be used, they hold what a tool changes;
    /// elsewhere, all that is used in the partition.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            has_windows: true,
            has_copies: true,
        }
    }

    /// The same without FUSE.
    #[must_use]
    pub fn without_windows(self) -> Self {
        Self {
            has_windows: false,
            ..self
        }
    }

    /// The same without copies of all that is used, which take long and much room: for what is only
    /// asked in passing. Where FUSE cannot be used, that is refused then.
    #[must_use]
    pub fn without_copies(self) -> Self {
        Self {
            has_copies: false,
            ..self
        }
    }
}

/// One partition, for tools.
#[derive(Debug)]
pub(super) enum Private {
    Window(Window),
    Copy(Scratch),
}

impl Private {
    /// Opens a window on `partition`, or copies `content` of it.
    ///
    /// # Errors
    /// As [`Scratch::copy`] and [`Overlay::new`]; [`crate::ErrorKind::Unsupported`] where it would be a
    /// copy of all that is used, and there are to be none.
    pub(super) fn new(
        partition: &Arc<dyn Storage>,
        content: Content,
        place: &Place,
        control: &Control,
    ) -> Result<Self, Stop> {
        if place.has_windows {
            let makes_anew = matches!(content, Content::None);
            let overlay = Overlay::new(Arc::clone(partition), makes_anew, &place.folder)?;
            // Whatever stands in its way, the copy needs none of it.
            if let Ok(window) = Window::open(Arc::new(overlay)) {
                return Ok(Self::Window(window));
            }
        }
        if !place.has_copies && matches!(content, Content::Of(_)) {
            return Err(Error::unsupported("there is no FUSE here").into());
        }
        let scratch = Scratch::copy(partition.as_ref(), content, &place.folder, control)?;
        Ok(Self::Copy(scratch))
    }

    /// What the tool is told to open.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Window(_) => Window::path(),
            Self::Copy(scratch) => scratch.path(),
        }
    }

    /// What the tool needs as its standard input for that.
    ///
    /// # Errors
    /// As `dup(2)`.
    pub(super) fn input(&self) -> Result<Option<File>> {
        match self {
            Self::Window(window) => window.input().map(Some),
            Self::Copy(_) => Ok(None),
        }
    }

    /// Whether it is a window.
    pub(super) fn is_window(&self) -> bool {
        matches!(self, Self::Window(_))
    }

    /// What went wrong below while a tool ran, which only saw that something did.
    ///
    /// # Errors
    /// That.
    pub(super) fn check_failure(&self) -> Result<()> {
        match self {
            Self::Window(window) => window.overlay().check_failure(),
            Self::Copy(_) => Ok(()),
        }
    }

    /// Writes what tools have changed to the partition.
    ///
    /// # Errors
    /// As reading and writing there.
    pub(super) fn bring_back(
        &self,
        partition: &dyn WritableStorage,
        control: &Control,
    ) -> Result<(), Stop> {
        match self {
            Self::Window(window) => window.overlay().bring_back(partition, control),
            Self::Copy(scratch) => scratch.bring_back(partition, control),
        }
    }
}
