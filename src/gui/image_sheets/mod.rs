//! Operations on an image that have nothing to fill in, only to confirm.

mod check;
mod commit;
mod delete;
mod edits;
mod flatten;
mod tried;

use std::rc::Rc;

use platter::op::edit::Unfinished;

use crate::i18n::{counted, gettext};
use crate::operation::{Ask, Draft, Request, form};
use crate::session::Document;
use crate::subject::Subject;
use crate::switch_form::{SwitchForm, SwitchInit};

/// What the window is asked for to commit an image into its backing file.
pub(crate) fn commit_request(subject: Subject) -> Request {
    Request {
        heading: gettext("Commit"),
        about: subject.name(),
        ask: Ask::Form(form::<SwitchForm>(SwitchInit {
            title: gettext("Keep other images as they are"),
            subtitle: gettext(
                "Those that stand on the same file are made to stand on their own first",
            ),
            active: true,
            draft: Box::new(move |keeps_others| commit::draft(subject.clone(), keeps_others)),
        })),
    }
}

/// What the window is asked for to move an image to the trash.
pub(crate) fn delete_request(subject: Subject) -> Request {
    Request {
        heading: gettext("Move to Trash"),
        about: subject.name(),
        ask: Ask::Form(form::<SwitchForm>(SwitchInit {
            title: gettext("Keep other images readable"),
            subtitle: gettext("Those that stand on it are made to stand on their own first"),
            active: true,
            draft: Box::new(move |keeps_others| delete::draft(subject.clone(), keeps_others)),
        })),
    }
}

/// What the window is asked for to make an image stand on its own.
pub(crate) fn flatten_request(subject: Subject) -> Request {
    Request {
        heading: gettext("Flatten"),
        about: subject.name(),
        ask: Ask::Sheet(flatten_draft(subject)),
    }
}

/// Makes an image stand on its own.
pub(crate) fn flatten_draft(subject: Subject) -> Draft {
    flatten::draft(subject)
}

/// What the window is asked for to check an image: a job, whose findings are shown when it is over.
pub(crate) fn check_request(subject: Subject) -> Request {
    let about = subject.clone();
    Request {
        heading: gettext("Check"),
        about: subject.name(),
        ask: Ask::Nothing(check::look(subject, move |seen| {
            repair_request(about.clone(), seen)
        })),
    }
}

/// What was found, and the offer to repair it.
fn repair_request(subject: Subject, seen: check::Seen) -> Request {
    Request {
        heading: gettext("Check"),
        about: subject.name(),
        ask: Ask::Form(form::<SwitchForm>(SwitchInit {
            title: gettext("Only give back leaked clusters"),
            subtitle: gettext("Errors that endanger data are left as they are"),
            active: false,
            draft: Box::new(move |only_leaks| {
                check::draft(subject.clone(), seen.clone(), only_leaks)
            }),
        })),
    }
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

/// What the window is asked for to give up undoing the last applied edit of `document`.
pub(crate) fn discard_undo_request(document: &Rc<Document>) -> Option<Request> {
    let subject = Subject::of(document)?;
    document.unfinished.map(|_| Request {
        heading: gettext("Give Up Undoing"),
        about: subject.name(),
        ask: Ask::Sheet(edits::discard_undo(subject)),
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
