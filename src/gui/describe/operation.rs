//! Plans, phases, warnings and failures of operations.

use std::path::{Path, PathBuf};

use platter::op::warning::Warning;
use platter::phrase::{Phrase, Value};
use platter::storage::is_disk_full;
use platter::{Error, ErrorKind};

use crate::describe;
use crate::format;
use crate::i18n::{counted, fill, gettext};

/// A sentence of the engine.
pub(crate) fn phrase(phrase: &Phrase) -> String {
    phrase.fill(&gettext(phrase.template()), |value| match value {
        Value::Text(text) => text.clone(),
        Value::Size(bytes) => format::size(*bytes),
        Value::Count(n) => format::number(*n),
        Value::Phrase(inner) => self::phrase(inner),
    })
}

/// A sentence of the engine, with a capital letter, as a row begins.
pub(crate) fn sentence(sentence: &Phrase) -> String {
    let text = phrase(sentence);
    let mut rest = text.chars();
    match rest.next() {
        Some(first) => first.to_uppercase().chain(rest).collect(),
        None => String::new(),
    }
}

/// A phase of a running job, as the beginning of a line.
pub(crate) fn phase(phase: &str) -> String {
    if phase.is_empty() {
        return String::new();
    }
    let text = gettext(phase);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Why an operation could not be done, in a plain sentence.
pub(crate) fn operation_error(error: &Error) -> String {
    let name = error.path().map(format::file_name).unwrap_or_default();
    let template = if is_disk_full(error) {
        gettext("There is no room left where “{name}” is.")
    } else {
        match error.kind() {
            ErrorKind::NotFound if !name.is_empty() => gettext("“{name}” does not exist any more."),
            ErrorKind::PermissionDenied => gettext("You do not have permission to use “{name}”."),
            ErrorKind::Locked => gettext("“{name}” is in use: {reason}."),
            ErrorKind::Corrupt => gettext("“{name}” is damaged: {reason}."),
            ErrorKind::Io => gettext("Reading or writing “{name}” failed: {reason}."),
            _ => gettext("It cannot be done: {reason}."),
        }
    };
    fill(&template, &[("name", &name), ("reason", error.message())])
}

/// A trap of an operation.
pub(crate) fn warning(warning: &Warning) -> String {
    match warning {
        Warning::SharedBase { base, dependents } => counted(
            "{n} other image stands on “{base}” and will read differently: {names}",
            "{n} other images stand on “{base}” and will read differently: {names}",
            dependents.len() as u64,
            &[
                ("base", &format::file_name(base)),
                ("names", &names(dependents)),
            ],
        ),
        Warning::DependentsUnknown { base } => fill(
            &gettext("Whether other images stand on “{base}” could not be found out in time"),
            &[("base", &format::file_name(base))],
        ),
        Warning::ChangedSnapshots { image, snapshots } => of_image(
            |n, name| {
                counted(
                    "{n} snapshot of “{name}” will read differently, as what lies below changes",
                    "{n} snapshots of “{name}” will read differently, as what lies below changes",
                    n,
                    &[("name", name)],
                )
            },
            image,
            *snapshots,
        ),
        Warning::DroppedSnapshots { image, snapshots } => of_image(
            |n, name| {
                counted(
                    "{n} snapshot of “{name}” will not be in the new image",
                    "{n} snapshots of “{name}” will not be in the new image",
                    n,
                    &[("name", name)],
                )
            },
            image,
            *snapshots,
        ),
        Warning::DroppedBitmaps { image, bitmaps } => of_image(
            |n, name| {
                counted(
                    "{n} dirty bitmap of “{name}” will not be in the new image",
                    "{n} dirty bitmaps of “{name}” will not be in the new image",
                    n,
                    &[("name", name)],
                )
            },
            image,
            *bitmaps,
        ),
        other => of_contents(other),
    }
}

fn of_contents(warning: &Warning) -> String {
    match warning {
        Warning::CutPartition {
            number,
            end,
            new_end,
        } => fill(
            &gettext("Partition {number} ends at {end}, behind the new end of the disk at {new}"),
            &[
                ("number", &number.to_string()),
                ("end", &format::size(*end)),
                ("new", &format::size(*new_end)),
            ],
        ),
        Warning::CutGptBackup { .. } => {
            gettext("The backup of the GPT at the end of the disk is cut off")
        }
        Warning::StrandedGptBackup { .. } => gettext(
            "The backup of the GPT stays where the disk ends now, and belongs at its new end",
        ),
        Warning::Overwritten { path, format, size } => fill(
            &gettext("“{name}” exists already ({format}, {size}) and will be replaced"),
            &[
                ("name", &format::file_name(path)),
                ("format", describe::format_label(*format)),
                ("size", &format::size(*size)),
            ],
        ),
        Warning::NotCompressed { format } => fill(
            &gettext("{format} images do not compress: the data stays plain"),
            &[("format", describe::format_label(*format))],
        ),
        // Of a newer engine: its own words.
        other => other.to_string(),
    }
}

fn of_image(say: impl Fn(u64, &str) -> String, image: &Path, count: usize) -> String {
    say(count as u64, &format::file_name(image))
}

fn names(paths: &[PathBuf]) -> String {
    const LISTED: usize = 4;
    let mut names: Vec<String> = paths
        .iter()
        .take(LISTED)
        .map(|path| format!("“{}”", format::file_name(path)))
        .collect();
    if let more @ 1.. = paths.len().saturating_sub(LISTED) {
        names.push(counted("{n} more", "{n} more", more as u64, &[]));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_full_disk_is_called_that() {
        let full = io::Error::from_raw_os_error(28);
        let error = Error::io("cannot write", full).with_path("/vm/a.raw");
        assert_eq!(
            operation_error(&error),
            "There is no room left where “a.raw” is."
        );
    }

    #[test]
    fn phases_begin_a_line() {
        assert_eq!(phase("writing zeroes"), "Writing zeroes");
        assert_eq!(phase(""), "");
    }

    #[test]
    fn many_names_are_cut_short() {
        let dependents: Vec<PathBuf> = (0..6).map(|n| PathBuf::from(format!("/{n}"))).collect();
        let text = warning(&Warning::SharedBase {
            base: "/vm/base".into(),
            dependents,
        });
        assert!(text.starts_with("6 other images stand on “base”"), "{text}");
        assert!(text.ends_with("“3”, 2 more"), "{text}");
    }
}
