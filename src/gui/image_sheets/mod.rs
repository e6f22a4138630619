//! Operations on an image that have nothing to fill in, only to confirm.

mod commit;
mod delete;
mod edits;

use std::rc::Rc;

use platter::op::edit::Unfinished;

use crate::i18n::{counted, gettext};
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

/// What the window is asked for to apply the edits that wait for `document`.
pub(crate) fn edits_request(document: &Rc<Document>) -> Option<Request> {
    let subject = Subject::of(document)?;
    let edits = document.pending.edits().to_vec();
    let heading = counted(
        "Apply {n} Change?",
        "Apply {n} Changes?",
        edits.len() as u64,
        &[],
    );
    (!edits.is_empty()).then(|| Request {
        heading,
        about: subject.name(),
        ask: Ask::Sheet(edits::apply(subject, edits)),
    })
}

/// What the window is asked for to undo the last applied edit of `document`.
pub(crate) fn undo_edit_request(document: &Rc<Document>) -> Option<Request> {
    let subject = Subject::of(document)?;
    (document.unfinished == Some(Unfinished::Undoable)).then(|| Request {
        heading: gettext("Undo the Last Change"),
        about: subject.name(),
        ask: Ask::Sheet(edits::undo(subject)),
    })
}

/// What the window is asked for to end an interrupted edit of `document`: forwards, or back.
pub(crate) fn resume_request(document: &Document, rollback: bool) -> Option<Request> {
    let subject = Subject::of(document)?;
    let heading = if rollback {
        gettext("Take the Change Back")
    } else {
        gettext("Finish the Change")
    };
    Some(Request {
        heading,
        about: subject.name(),
        ask: Ask::Sheet(edits::resume(subject, rollback)),
    })
}
