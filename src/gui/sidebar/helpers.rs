//! What a row says.

use crate::describe;
use crate::format;
use crate::i18n::{fill, gettext};
use crate::session::Document;

/// The content of a row.
#[derive(Debug, PartialEq)]
pub(super) struct RowFacts {
    pub(super) name: String,
    /// The format.
    pub(super) pill: Option<&'static str>,
    /// Of the virtual size, what is allocated on the host; `None` while unknown.
    pub(super) fraction: Option<f64>,
    pub(super) status: String,
    pub(super) failed: bool,
}

pub(super) fn row_facts(document: &Document) -> RowFacts {
    let name = format::file_name(&document.path);
    if let Some(failure) = &document.failure {
        return RowFacts {
            name,
            pill: failure.format.map(describe::format_label),
            fraction: None,
            status: gettext("Cannot be opened"),
            failed: true,
        };
    }
    let link = document.active();
    let info = link.and_then(|link| link.info());
    let (Some(link), Some(info)) = (link, info) else {
        return RowFacts {
            name,
            pill: None,
            fraction: None,
            status: gettext("Opening…"),
            failed: false,
        };
    };
    let (fraction, status) = match link.allocated_size {
        Some(allocated) => (
            Some(fraction(allocated, info.virtual_size)),
            fill(
                // Translators: {sizes} is for example "14.2 of 40 GiB".
                &gettext("{sizes} on disk"),
                &[(
                    "sizes",
                    &format::size_of_total(allocated, info.virtual_size),
                )],
            ),
        ),
        None => (None, format::size(info.virtual_size)),
    };
    RowFacts {
        name,
        pill: Some(describe::format_label(info.format)),
        fraction,
        status,
        failed: false,
    }
}

/// `part` of `total`, at most 1: an image can be larger than the disk in it.
fn fraction(part: u64, total: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a fraction of a bar")]
    let ratio = part as f64 / total.max(1) as f64;
    ratio.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_more_than_full() {
        assert!((fraction(1, 4) - 0.25).abs() < f64::EPSILON);
        assert!((fraction(5, 4) - 1.0).abs() < f64::EPSILON);
        assert!((fraction(0, 0)).abs() < f64::EPSILON);
    }
}
