//! What the form is told.

use std::path::PathBuf;

use crate::new_file::NewFileInit;

/// What the form is started with.
pub(crate) struct NewImageInit {
    /// Where the image is made, unless the user says otherwise.
    pub(crate) target: NewFileInit,
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
    /// It stands on this file, or on none.
    BackingChosen(Option<PathBuf>),
}
