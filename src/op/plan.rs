//! What an operation will do, said before it does anything: for the sheet that a user confirms,
//! and for the title of the job that runs then.
//!
//! Each operation of a window fills one from the images as they are at that moment. A plan is plain
//! data, so two can be compared: when the second look, taken as the user confirms, gives another
//! plan, the user is asked again.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::op::warning::Warning;
use crate::phrase::{Phrase, gettext_noop};
use crate::storage::{FileId, HostSpace, holders};

/// An operation, described.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// What is done, and to what: "Resize disk.qcow2".
    pub title: Phrase,
    /// What the button that begins it is called. It names its object where something is destroyed:
    /// "Delete before-upgrade".
    pub confirm: Phrase,
    /// What happens, in order.
    pub steps: Vec<Phrase>,
    /// What each step costs or what follows from it, where that is worth a word: as many as steps,
    /// or none at all.
    pub costs: Vec<Option<Phrase>>,
    /// Files that are relied on.
    pub reads: Vec<PathBuf>,
    /// Files that are changed, made or removed.
    pub writes: Vec<PathBuf>,
    /// What is gone afterwards and cannot be had back.
    pub destroys: Vec<Phrase>,
    /// Room it needs.
    pub space: Option<SpaceNeeded>,
    /// Who else uses a file that is changed, in words.
    pub holders: Vec<String>,
    /// What it does without a word elsewhere.
    pub warnings: Vec<Warning>,
    /// What else a careful person would like to know before: a sentence each, lower case and
    /// without final stop.
    pub notes: Vec<Phrase>,
    /// The same on a command line, one command a line.
    pub by_hand: Vec<String>,
    /// It can be undone afterwards, until the image is changed by others.
    pub can_be_undone: bool,
    /// What a look at the images has brought to light.
    pub found: Option<Findings>,
    /// There is nothing to run: it only says how things are.
    pub is_report: bool,
}

impl Plan {
    /// A plan that only says what is to be done.
    #[must_use]
    pub fn new(title: Phrase, confirm: Phrase) -> Self {
        Self {
            title,
            confirm,
            steps: Vec::new(),
            costs: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            destroys: Vec::new(),
            space: None,
            holders: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            by_hand: Vec::new(),
            can_be_undone: false,
            found: None,
            is_report: false,
        }
    }

    /// Whether something is lost, or the disks of other images change, so that going on must not
    /// be the default answer.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        !self.destroys.is_empty() || self.changes_others()
    }

    /// Whether the disks of other images change: what they hold may no longer fit what is below.
    #[must_use]
    pub fn changes_others(&self) -> bool {
        let mut warnings = self.warnings.iter();
        warnings.any(|warning| matches!(warning, Warning::SharedBase { .. }))
    }

    /// Looks up who else uses the files that are changed.
    #[must_use]
    pub fn with_holders(mut self) -> Self {
        let ids = self.writes.iter().filter_map(|path| FileId::of(path).ok());
        self.holders = ids
            .flat_map(holders)
            .map(|holder| holder.to_string())
            .collect();
        self
    }
}

/// What was found, in part for the eye and whole to be kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// The most important first, and what each means.
    pub lines: Vec<(Phrase, Option<Phrase>)>,
    /// All of it, a finding a line.
    pub text: String,
}

/// Room that an operation needs on the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpaceNeeded {
    /// The file that grows, or its folder.
    pub at: PathBuf,
    /// Bytes that are written there, at most.
    pub bytes: u64,
    /// Length in bytes that the longest file will have; holes count.
    pub longest_file: u64,
}

/// Room that an operation needs and does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shortage {
    /// There is less room than may be needed.
    Full {
        /// Bytes needed, at most.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The file system cannot hold a file that long.
    FileTooLong {
        /// Its length in bytes.
        length: u64,
        /// The longest that is possible.
        limit: u64,
    },
}

impl SpaceNeeded {
    /// What is there; `None` where the host does not tell.
    #[must_use]
    pub fn available(&self) -> Option<HostSpace> {
        HostSpace::of(&self.at).ok()
    }

    /// What is lacking in `space`.
    #[must_use]
    pub fn shortage(&self, space: HostSpace) -> Option<Shortage> {
        match space.longest_file {
            Some(limit) if self.longest_file > limit => Some(Shortage::FileTooLong {
                length: self.longest_file,
                limit,
            }),
            _ if self.bytes > space.free => Some(Shortage::Full {
                needed: self.bytes,
                free: space.free,
            }),
            _ => None,
        }
    }
}

impl Shortage {
    /// In a sentence.
    #[must_use]
    pub fn phrase(&self) -> Phrase {
        match *self {
            Self::Full { needed, free } => Phrase::new(gettext_noop(
                "Up to {needed} may be needed, and only {free} are free there.",
            ))
            .size("needed", needed)
            .size("free", free),
            Self::FileTooLong { length, limit } => Phrase::new(gettext_noop(
                "The file will be {length} long, and the file system there (FAT) holds no file of more than {limit}.",
            ))
            .size("length", length)
            .size("limit", limit),
        }
    }
}

/// A file's name without its folders, as text.
#[must_use]
pub fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// A command for a shell, its words quoted where they must be.
#[must_use]
pub fn command_line<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| quoted(&word.as_ref().to_string_lossy()))
        .collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=+,:@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let line = command_line(["qemu-img", "resize", "/vm/Anna's disk.qcow2", "+2G", ""]);
        assert_eq!(line, r"qemu-img resize '/vm/Anna'\''s disk.qcow2' +2G ''");
    }

    #[test]
    fn a_long_file_does_not_fit_on_fat_whatever_is_free() {
        let needed = SpaceNeeded {
            at: "/".into(),
            bytes: GIB,
            longest_file: 8 * GIB,
        };
        let space = |free, longest_file| HostSpace { free, longest_file };
        assert_eq!(needed.shortage(space(2 * GIB, None)), None);
        assert_eq!(
            needed.shortage(space(GIB - 1, None)),
            Some(Shortage::Full {
                needed: GIB,
                free: GIB - 1
            })
        );
        let limit = 4 * GIB - 1;
        let shortage = needed.shortage(space(100 * GIB, Some(limit))).unwrap();
        let length = 8 * GIB;
        assert_eq!(shortage, Shortage::FileTooLong { length, limit });
        assert!(shortage.phrase().to_string().contains("8 GiB"));
    }
}
