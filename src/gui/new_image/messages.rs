//! What the form is told.

use std::path::PathBuf;

/// What the form is started with.
pub(crate) struct NewImageInit {
    /// Where the image is made, unless the user says otherwise.
    pub(crate) folder: PathBuf,
    /// A name that is free there.
    pub(crate) name: String,
    /// What it stands on.
    pub(crate) backing: Option<PathBuf>,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum NewImageInput {
    /// A field was changed.
    Changed,
    /// What the image is for was chosen.
    PurposeChosen,
    /// Another folder is wanted.
    FolderClicked,
    /// This folder.
    FolderChosen(PathBuf),
    /// A backing file is wanted.
    BackingClicked,
    /// This file, or none.
    BackingChosen(Option<PathBuf>),
}
