//! Which state of an image is the most severe, and what to say of it.

use std::path::{Path, PathBuf};

use platter::chain::{Chain, Link, LinkProblem};
use platter::image::ImageInfo;
use platter::op::edit::Unfinished;

use crate::describe;
use crate::facts::Tone;
use crate::format;
use crate::i18n::{fill, gettext};
use crate::session::Document;

/// What the button does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// Ask whether this file may be opened; why it is asked.
    Allow { path: PathBuf, reason: String },
    /// Ask where this file is.
    Locate(PathBuf),
    /// Read everything again.
    Reload,
    /// Look at its metadata, and repair it.
    Check,
    /// Let it stand on another file for good.
    Relink,
    /// Ask whether an interrupted edit of the partitions is to be finished, or taken back.
    EndEdit { rollback: bool },
}

impl Action {
    pub(super) fn label(&self) -> String {
        match self {
            Self::Allow { .. } => gettext("_Allow…"),
            Self::Locate(_) => gettext("_Locate…"),
            Self::Reload => gettext("_Reload"),
            Self::Check => gettext("Chec_k…"),
            Self::Relink => gettext("Mend the Li_nk…"),
            Self::EndEdit { rollback: false } => gettext("_Finish…"),
            Self::EndEdit { rollback: true } => gettext("_Take Back…"),
        }
    }
}

/// What the banner says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Notice {
    pub(super) tone: Tone,
    pub(super) sentence: String,
    pub(super) action: Option<Action>,
    pub(super) other: Option<Action>,
}

/// The most severe state, if there is anything to say.
pub(super) fn notice(document: &Document) -> Option<Notice> {
    let link = document.active()?;
    let info = link.info()?;
    let chain = document.full_chain().map(AsRef::as_ref);
    busy(document)
        .or_else(|| interrupted(document.unfinished))
        .or_else(|| corrupt(info))
        .or_else(|| chain.and_then(chain_notice))
        .or_else(|| in_use(link))
        .or_else(|| encrypted(info))
        .or_else(|| dirty(info))
}

fn busy(document: &Document) -> Option<Notice> {
    let job = document.busy.as_deref()?;
    Some(Notice {
        tone: Tone::Neutral,
        sentence: fill(
            &gettext("“{job}” is changing this image. What is shown is from before."),
            &[("job", job)],
        ),
        action: None,
        other: None,
    })
}

/// Whoever was changing the partitions was stopped by force.
fn interrupted(unfinished: Option<Unfinished>) -> Option<Notice> {
    (unfinished == Some(Unfinished::Interrupted)).then(|| Notice {
        tone: Tone::Bad,
        sentence: gettext(
            "A change of the partitions was interrupted. The disk is of no use before it is finished or taken back.",
        ),
        action: Some(Action::EndEdit { rollback: false }),
        other: Some(Action::EndEdit { rollback: true }),
    })
}

fn corrupt(info: &ImageInfo) -> Option<Notice> {
    info.corrupt.then(|| Notice {
        tone: Tone::Bad,
        sentence: gettext(
            "This image is marked as corrupt: the program that wrote it last found damage in it.",
        ),
        action: Some(Action::Check),
        other: None,
    })
}

fn dirty(info: &ImageInfo) -> Option<Notice> {
    info.dirty.then(|| Notice {
        tone: Tone::Warning,
        sentence: gettext(
            "This image was not closed properly. Its contents are shown as they are.",
        ),
        action: Some(Action::Check),
        other: None,
    })
}

fn encrypted(info: &ImageInfo) -> Option<Notice> {
    let cipher = info.encryption.as_ref()?;
    Some(Notice {
        tone: Tone::Neutral,
        sentence: fill(
            &gettext("This image is encrypted ({cipher}). What is inside cannot be shown."),
            &[("cipher", cipher)],
        ),
        action: None,
        other: None,
    })
}

fn in_use(link: &Link) -> Option<Notice> {
    if link.holders.is_empty() && !link.unstable {
        return None;
    }
    let sentence = if link.holders.is_empty() {
        gettext("Another program is using this image. What is shown may change at any time.")
    } else {
        fill(
            &gettext("In use by {holders}. What is shown may change at any time."),
            &[("holders", &link.holders.join("; "))],
        )
    };
    Some(Notice {
        tone: Tone::Warning,
        sentence,
        action: Some(Action::Reload),
        other: None,
    })
}

/// The first link that is not open, unless that is said of the image itself.
fn chain_notice(chain: &Chain) -> Option<Notice> {
    let (index, problem) = chain.first_problem()?;
    let link = &chain.links()[index];
    match problem {
        LinkProblem::Encrypted(_) if index == 0 => None,
        _ => Some(link_notice(link, problem)),
    }
}

fn link_notice(link: &Link, problem: &LinkProblem) -> Notice {
    let name = link_name(link);
    let say = |template: String| fill(&template, &[("name", &name)]);
    let (tone, sentence, action) = match (problem, &link.path) {
        (LinkProblem::Missing, path) => (
            Tone::Bad,
            say(gettext(
                "The backing file “{name}” is missing. Without it, what is on the disk cannot be read.",
            )),
            path.clone().map(Action::Locate),
        ),
        (LinkProblem::NotAllowed(reason), Some(path)) => (
            Tone::Warning,
            say(gettext(
                "The image stands on “{name}”, which is opened only with your permission.",
            )),
            Some(Action::Allow {
                path: path.clone(),
                reason: reason.clone(),
            }),
        ),
        (LinkProblem::Cyclic, _) => (
            Tone::Bad,
            say(gettext("The chain never ends: “{name}” stands on itself.")),
            None,
        ),
        (other, _) => {
            let problem = describe::link_problem(other);
            (
                Tone::Bad,
                fill(
                    &gettext("What is on the disk cannot be read: “{name}” {problem}."),
                    &[("name", &name), ("problem", &problem)],
                ),
                None,
            )
        }
    };
    let is_missing = matches!(problem, LinkProblem::Missing);
    Notice {
        tone,
        sentence,
        action,
        other: is_missing.then_some(Action::Relink),
    }
}

fn link_name(link: &Link) -> String {
    let written = link
        .reference
        .as_ref()
        .map(|reference| reference.name.as_str());
    let path = link.path.as_deref().map(Path::new);
    match (path, written) {
        (Some(path), _) => format::file_name(path),
        (None, Some(written)) => written.to_owned(),
        (None, None) => gettext("unnamed"),
    }
}

#[cfg(test)]
mod tests {
    use platter::chain::LinkState;
    use platter::image::{FileReference, Format};

    use super::*;

    fn link(problem: LinkProblem, path: Option<&str>) -> Link {
        Link {
            reference: Some(FileReference {
                name: "../base.qcow2".to_owned(),
                format: None,
            }),
            path: path.map(PathBuf::from),
            stamp: None,
            file_size: None,
            allocated_size: None,
            holders: Vec::new(),
            unstable: false,
            lock_conflict: None,
            writable: None,
            state: LinkState::Broken(problem),
        }
    }

    fn notice_of(problem: fn() -> LinkProblem, path: Option<&str>) -> Notice {
        link_notice(&link(problem(), path), &problem())
    }

    #[test]
    fn a_missing_file_can_be_located() {
        let notice = notice_of(|| LinkProblem::Missing, Some("/vm/base.qcow2"));
        assert!(notice.sentence.contains("“base.qcow2” is missing"));
        assert_eq!(notice.action, Some(Action::Locate("/vm/base.qcow2".into())));
        assert_eq!(notice.tone, Tone::Bad);
    }

    #[test]
    fn an_interrupted_edit_has_two_ways_out() {
        let notice = interrupted(Some(Unfinished::Interrupted)).unwrap();
        assert_eq!(notice.action, Some(Action::EndEdit { rollback: false }));
        assert_eq!(notice.other, Some(Action::EndEdit { rollback: true }));
        assert_eq!(interrupted(Some(Unfinished::Undoable)), None);
        assert_eq!(interrupted(None), None);
    }

    #[test]
    fn a_file_elsewhere_can_be_allowed() {
        let notice = notice_of(
            || LinkProblem::NotAllowed("outside".to_owned()),
            Some("/etc/shadow"),
        );
        assert!(
            matches!(notice.action, Some(Action::Allow { path, .. }) if path == Path::new("/etc/shadow"))
        );
    }

    #[test]
    fn what_cannot_be_helped_has_no_action() {
        let remote = notice_of(|| LinkProblem::Remote("nbd".to_owned()), None);
        assert_eq!(remote.action, None);
        assert!(remote.sentence.contains("../base.qcow2"));
        let wrong = notice_of(
            || LinkProblem::WrongFormat {
                claimed: Format::Qcow2,
                found: Format::Raw,
            },
            Some("/vm/base.qcow2"),
        );
        assert!(wrong.sentence.contains("QCOW2") && wrong.sentence.contains("RAW"));
    }

    #[test]
    fn who_uses_it_is_named() {
        let mut used = link(LinkProblem::Missing, None);
        assert_eq!(in_use(&used), None);
        used.holders = vec!["qemu-system-x86_64, pid 42, writing".to_owned()];
        let notice = in_use(&used).unwrap();
        assert!(notice.sentence.contains("pid 42"));
        assert_eq!(notice.action, Some(Action::Reload));
    }
}
