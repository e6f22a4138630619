//! Editing partitions: table, content and disk follow together.
//!
//! A list of edits is folded into a draft: which partition is where afterwards ([`Draft`]). The
//! draft is carried out on a trial disk, where the tools and checkers of the file systems judge
//! it, and only then told to a journal that makes it real ([`Trial`]). So what is applied has been
//! tried, a crash can be resumed or taken back, and the whole can be undone.
//!
//! | file | is |
//! |---|---|
//! | `parse` | edits as text: `move 2 +1024M` |
//! | `pending` | edits that wait to be applied, with undo and redo |
//! | `draft` | what the disk shall look like |
//! | `copy` | partitions that are copied, from this disk or another |
//! | `cost` | how many bytes that moves, and how long it takes |
//! | `preview` | the disk afterwards as if it had been read |
//! | `sheet` | what a user is told before it is applied |
//! | `by_hand` | the commands that would do the same |
//! | `smallest` | how small a partition can be made |
//! | `moves` | what moves, and whether it is copied |
//! | `order` | in which order partitions move that are copied |
//! | `trial` | carrying it out without touching the image |
//! | `used` | what of a partition is copied when it moves |
//! | `apply` | making it real, going on after a crash, undoing |
//! | `place` | where the journal of an image is, and whose it is |

mod apply;
mod by_hand;
mod copy;
mod cost;
mod draft;
#[cfg(test)]
mod fixture;
mod kept;
mod moves;
mod order;
mod parse;
mod pending;
mod place;
mod preview;
mod sheet;
mod smallest;
mod trial;
mod used;

pub use apply::{Unfinished, apply, discard_undo, resume, undo, unfinished};
pub use by_hand::by_hand;
pub use copy::{CopySource, OtherPartition};
pub use cost::{Cost, cost};
pub use draft::{Alignment, Change, Draft, Refused};
pub use parse::{known_file_systems, parse_type};
pub use pending::{Pending, fold};
pub use place::journal_path;
pub use preview::preview;
pub use sheet::{Step, sheet, steps, trial_sheet};
pub use smallest::smallest;
pub use trial::{Report, Trial};

use std::path::PathBuf;

use uuid::Uuid;

use crate::fs::FsKind;
use crate::fs::change::Identifier;
use crate::table::{PartitionType, Role, TableKind};

/// A size or place in an edit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Amount {
    /// This many bytes.
    Exactly(u64),
    /// This many bytes more.
    More(u64),
    /// This many bytes less.
    Less(u64),
    /// As much as there is room for.
    Max,
    /// As little as the content needs.
    Min,
}

/// One edit. Partitions are named by the number they have before the edits; those that an edit
/// made, by the number that it gave them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit {
    /// The disk gets another size.
    ResizeDisk(Amount),
    /// A new, empty table; all partitions are gone.
    NewTable(TableKind),
    /// A new partition.
    Create {
        /// Its first byte.
        start: u64,
        /// Its end: a byte, or a length counted from the start, or as far as there is room.
        end: Amount,
        /// Its type; the usual one of its table and file system where it is not said.
        kind: Option<PartitionType>,
        /// Its place in an MBR.
        role: Role,
        /// The file system to make in it.
        fs: Option<FsKind>,
        /// The name of the file system.
        label: Option<String>,
    },
    /// Removes a partition.
    Delete(u32),
    /// Moves a partition, with what is in it.
    Move(u32, Amount),
    /// Moves the end of a partition; the file system follows.
    Resize(u32, Amount),
    /// Makes a new file system; what was there is gone.
    Format {
        /// The partition.
        number: u32,
        /// Which file system.
        fs: FsKind,
        /// Its name.
        label: Option<String>,
    },
    /// Names the file system.
    Label(u32, String),
    /// Names the partition (GPT).
    Name(u32, String),
    /// Gives the partition another type.
    Type(u32, PartitionType),
    /// Gives the partition another identifier (GPT).
    PartitionUuid(u32, Uuid),
    /// Gives the file system another identifier.
    FsUuid(u32, Identifier),
    /// Sets the attribute bits (GPT).
    Attributes(u32, u64),
    /// Marks the partition as the one to boot from, or not.
    Active(u32, bool),
    /// Has the file system checked.
    Check(u32),
    /// Repairs the file system.
    Repair(u32),
    /// Writes both copies of the GPT anew, the backup at the end of the disk.
    RepairGpt,
    /// Puts a table of the other kind in place of this one; partitions and what is in them stay
    /// where they are.
    ConvertTable(TableKind),
    /// Puts the table that a text describes ([`crate::table::PartitionTable::from_dump`]) in place of this one.
    /// Partitions at the same place keep what is in them, all others are gone.
    Import {
        /// Where the text is from, for those who read the edit.
        file: PathBuf,
        /// The text.
        text: String,
    },
    /// Makes a partition at this byte, and copies a partition into it, as it was before the edits.
    Copy {
        /// What is copied.
        source: CopySource,
        /// The first byte of the copy.
        start: u64,
    },
}
