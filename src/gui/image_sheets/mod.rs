//! Operations on an image that have nothing to fill in, only to confirm.

mod commit;
mod delete;

use std::rc::Rc;

use crate::i18n::gettext;
use crate::operation::{Ask, Request};
use crate::session::Document;
use crate::subject::Subject;

/// What the window is asked for to commit `document` into its backing file.
pub(crate) fn commit_request(document: &Rc<Document>) -> Option<Request> {
    let subject = Subject::of(document)?;
    document.active()?.info()?.backing.as_ref()?;
    Some(Request {
        heading: gettext("Commit"),
        about: subject.name(),
        ask: Ask::Sheet(commit::draft(subject)),
    })
}

/// What the window is asked for to move `document` to the trash.
pub(crate) fn delete_request(document: &Rc<Document>) -> Option<Request> {
    let subject = Subject::of(document)?;
    Some(Request {
        heading: gettext("Move to Trash"),
        about: subject.name(),
        ask: Ask::Sheet(delete::draft(subject)),
    })
}
