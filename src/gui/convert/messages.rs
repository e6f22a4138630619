//! What the form is told.

use platter::storage::BlockDevice;

use crate::new_file::NewFileInit;
use crate::subject::Subject;

/// What the form is started with.
pub(crate) struct ConvertInit {
    /// What is copied, unless one of `devices` is.
    pub(crate) subject: Option<Subject>,
    /// The devices that the user can choose from.
    pub(crate) devices: Vec<BlockDevice>,
    /// Where the copy is made, unless the user says otherwise.
    pub(crate) target: NewFileInit,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum ConvertInput {
    /// A field was changed.
    Changed,
    /// Another device was chosen.
    DeviceChosen,
    /// Another format was chosen.
    FormatChosen,
}
