//! What the form is told.

use std::path::PathBuf;

use crate::subject::Subject;

/// What the form is started with.
pub(crate) struct ConvertInit {
    pub(crate) subject: Subject,
    /// Where the copy is made, unless the user says otherwise.
    pub(crate) folder: PathBuf,
    /// A name that is free there.
    pub(crate) name: String,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum ConvertInput {
    /// A field was changed.
    Changed,
    /// Another format was chosen.
    FormatChosen,
    /// Another folder is wanted.
    FolderClicked,
    /// This folder.
    FolderChosen(PathBuf),
}
