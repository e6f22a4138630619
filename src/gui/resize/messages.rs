//! What the form is told.

use std::rc::Rc;

use crate::session::Document;
use crate::subject::Subject;

/// What the form is started with.
pub(crate) struct ResizeInit {
    pub(crate) subject: Subject,
    pub(crate) document: Rc<Document>,
    /// The virtual size in bytes.
    pub(crate) old_size: u64,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum ResizeInput {
    /// A field was changed.
    Changed,
}
