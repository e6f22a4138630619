//! What the start page is told, and tells.

use std::path::PathBuf;

/// To the start page.
#[derive(Debug)]
pub(crate) enum StartPageInput {
    /// The recent images, the newest first.
    Show(Vec<PathBuf>),
}

/// From the start page.
#[derive(Debug)]
pub(crate) enum StartPageOutput {
    /// Open this recent image.
    Open(PathBuf),
    /// Remove it from the list.
    Forget(PathBuf),
}
