//! What the page says.

use platter::ErrorKind;

use crate::describe;
use crate::format;
use crate::i18n::{fill, gettext};
use crate::session::{Document, Failure};

/// A failure in words.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FailureText {
    pub(super) title: String,
    pub(super) sentence: String,
    pub(super) details: String,
    /// Trying again makes sense.
    pub(super) may_work_later: bool,
}

pub(super) fn failure_text(document: &Document) -> FailureText {
    let name = format::file_name(&document.path);
    let Some(failure) = &document.failure else {
        return FailureText::default();
    };
    FailureText {
        title: fill(&gettext("Cannot Open “{name}”"), &[("name", &name)]),
        sentence: sentence(failure),
        details: describe::error_details(&failure.error),
        may_work_later: failure.error.kind() != ErrorKind::Unsupported,
    }
}

fn sentence(failure: &Failure) -> String {
    let kind = failure.error.kind();
    match (kind, failure.format) {
        (ErrorKind::Unsupported, Some(format)) if !format.is_readable() => fill(
            // Translators: {format} is for example "VirtualBox disk (VDI)".
            &gettext(
                "This is a {format}. This version of Platter recognises the format, but cannot read it yet.",
            ),
            &[("format", &describe::format_name(format))],
        ),
        _ => describe::error_sentence(&failure.error),
    }
}
