//! What the Snapshots pane is told.

use std::path::PathBuf;

use crate::pane::PaneInput;

/// To the pane.
#[derive(Debug)]
pub(crate) enum SnapshotsInput {
    /// From the window.
    Pane(PaneInput),
    /// A snapshot is to be taken.
    TakeClicked,
    /// Something is to be done with the snapshot of this id.
    Chosen(Deed, String),
    /// The snapshot of this id is to be written to this file.
    ExportTo(String, PathBuf),
}

/// What can be done with a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deed {
    /// The disk goes back to it.
    Apply,
    /// It goes away.
    Delete,
    /// It becomes an image.
    Export,
    /// It gets another name.
    Rename,
}

impl From<PaneInput> for SnapshotsInput {
    fn from(input: PaneInput) -> Self {
        Self::Pane(input)
    }
}
