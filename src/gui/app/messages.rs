//! What the window is told.

use std::path::PathBuf;

use platter::chain::OpenPolicy;

use crate::pane::PaneOutput;
use crate::session::{DocumentId, Fact};

/// The user's wishes, wherever they were uttered.
#[derive(Debug)]
pub(crate) enum AppInput {
    /// The file dialog was asked for.
    OpenRequested,
    /// These files, from the dialog, a drop, the command line or another process.
    OpenPaths(Vec<PathBuf>),
    /// An image of the sidebar.
    Selected(DocumentId),
    /// The image so many places further on in the sidebar.
    NextRequested(isize),
    /// Close an image.
    CloseRequested(DocumentId),
    /// Close the selected image, or the window when none is open.
    CloseSelected,
    /// Read the selected image again.
    ReloadRequested,
    /// Read the selected image again under another policy.
    PolicyChanged(OpenPolicy),
    /// A recent image is to be forgotten.
    RecentRemoved(PathBuf),
    /// A view was chosen by its name in the stack.
    ViewRequested(&'static str),
    /// Another view became visible.
    ViewChanged,
    /// The sidebar is to be shown or hidden.
    SidebarToggled,
    /// The About window was asked for.
    AboutRequested,
    /// What a pane asks.
    Pane(PaneOutput),
    /// Put on the clipboard.
    Copy(String),
    /// The window is about to close.
    Closing,
}

/// What was learnt off the main thread.
#[derive(Debug)]
pub(crate) enum AppCommand {
    /// A fact of an image.
    Learnt {
        /// The image.
        id: DocumentId,
        /// Of which opening.
        generation: u64,
        /// The fact.
        fact: Fact,
    },
}
