//! What the disk shall look like: the edits folded over the table that is there.

mod alignment;
mod describe;
mod room;
mod table;

pub use alignment::Alignment;

use std::fmt;
use std::ops::Range;

use crate::error::Error;
use crate::fs::change::{Action, Capability, Identifier, capability, check_label};
use crate::fs::{FileSystem, FsKind};
use crate::inspect::Contents;
use crate::op::edit::copy::Copied;
use crate::op::edit::{Amount, Edit};
use crate::phrase::Phrase;
use crate::table::{PartitionTable, Refusal, Role, TableKind};
use crate::units::{ByteSize, MIB};

/// Why edits cannot be made.
#[derive(Debug)]
pub enum Refused {
    /// The table cannot be that way.
    Table(Refusal),
    /// Anything else, in words.
    Because(String),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Table(refusal)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(refusal) => refusal.fmt(f),
            Self::Because(why) => f.write_str(why),
        }
    }
}

/// What happens to one partition.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its number before; `None` for a new one.
    pub number_before: Option<u32>,
    /// Its bytes before; `None` for a new one.
    pub before: Option<Range<u64>>,
    /// Its bytes afterwards; `None` when it is deleted.
    pub after: Option<Range<u64>>,
    /// The file system in it before.
    pub fs: Option<FsKind>,
    /// The file system to make, and its name.
    pub make: Option<(FsKind, Option<String>)>,
    /// The new name of the file system.
    pub label: Option<String>,
    /// The new identifier of the file system.
    pub new_uuid: Option<Identifier>,
    /// The file system is checked at the end.
    pub check: bool,
    /// The file system is repaired first.
    pub repair: bool,
    /// What it is a copy of; `None` for a partition that is none.
    pub(super) copied: Option<Copied>,
    role: Role,
}

impl Change {
    /// How many bytes of content stay: the shorter of before and after.
    #[must_use]
    pub fn kept(&self) -> Option<u64> {
        let length = |range: &Range<u64>| range.end - range.start;
        Some(length(self.before.as_ref()?).min(length(self.after.as_ref()?)))
    }

    /// Whether it becomes a copy of another partition.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.copied.is_some()
    }

    /// Whether bytes of `range` were its content before.
    pub(super) fn holds(&self, range: &Range<u64>) -> bool {
        let before = self.before.as_ref().filter(|_| self.role != Role::Extended);
        before.is_some_and(|before| before.start < range.end && range.start < before.end)
    }

    /// Its place in an MBR.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }
}

/// What the disk shall look like.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The table afterwards.
    pub table: PartitionTable,
    /// What happens to each partition, those included to which nothing happens.
    pub changes: Vec<Change>,
    /// The table is written anew although nothing in it changes.
    pub rewrites_table: bool,
    /// Where borders go that an edit leaves open.
    pub alignment: Alignment,
    /// What a careful person would like to know before: what is lost, what has to be done after.
    pub notes: Vec<Phrase>,
    size_before: u64,
    kind_before: TableKind,
}

impl Draft {
    /// A draft of the disk as it is.
    #[must_use]
    pub fn new(contents: &Contents) -> Self {
        let changes = contents
            .table
            .partitions
            .iter()
            .enumerate()
            .map(|(index, partition)| {
                let volume = contents
                    .volumes
                    .iter()
                    .find(|volume| volume.partition == Some(index));
                let fs = volume.and_then(|volume| volume.file_system.as_ref());
                Change {
                    number_before: Some(partition.number),
                    before: Some(partition.range.clone()),
                    after: Some(partition.range.clone()),
                    fs: fs.map(|fs: &FileSystem| fs.kind),
                    make: None,
                    label: None,
                    new_uuid: None,
                    check: false,
                    repair: false,
                    copied: None,
                    role: partition.role,
                }
            });
        Self {
            changes: changes.collect(),
            size_before: contents.table.disk_size,
            kind_before: contents.table.kind,
            table: contents.table.clone(),
            rewrites_table: false,
            alignment: Alignment::default(),
            notes: Vec::new(),
        }
    }

    /// The size of the disk before.
    #[must_use]
    pub fn size_before(&self) -> u64 {
        self.size_before
    }

    /// The kind of table before.
    #[must_use]
    pub fn kind_before(&self) -> TableKind {
        self.kind_before
    }

    /// Makes one edit. `minimum` answers how small the file system in a partition can be made.
    ///
    /// # Errors
    /// Why not; nothing is changed then.
    pub fn edit(
        &mut self,
        edit: &Edit,
        minimum: &mut dyn FnMut(&Change) -> Result<u64, String>,
    ) -> Result<(), Refused> {
        let mut next = self.clone();
        next.make(edit, minimum)?;
        *self = next;
        Ok(())
    }

    fn make(
        &mut self,
        edit: &Edit,
        minimum: &mut dyn FnMut(&Change) -> Result<u64, String>,
    ) -> Result<(), Refused> {
        match edit {
            Edit::ResizeDisk(amount) => self.resize_disk(*amount),
            Edit::NewTable(kind) => self.new_table(*kind),
            Edit::Create { .. } => self.create(edit),
            Edit::Delete(number) => self.delete(*number),
            Edit::Move(number, amount) => self.shift(*number, *amount),
            Edit::Resize(number, amount) => self.resize(*number, *amount, minimum),
            Edit::Format { number, fs, label } => {
                let change = self.change_mut(*number)?;
                if change.role == Role::Extended {
                    return because("an extended partition holds no file system");
                }
                if let Some(label) = label {
                    check_label(*fs, label).map_err(in_words)?;
                }
                change.make = Some((*fs, label.clone()));
                change.copied = None;
                change.label = None;
                change.new_uuid = None;
                change.repair = false;
                Ok(())
            }
            Edit::Label(number, label) => {
                let (fs, change) = self.fs_of(*number, Action::Label)?;
                check_label(fs, label).map_err(in_words)?;
                match &mut change.make {
                    Some((_, made)) => *made = Some(label.clone()),
                    None => change.label = Some(label.clone()),
                }
                Ok(())
            }
            Edit::FsUuid(number, identifier) => {
                let (fs, change) = self.fs_of(*number, Action::Uuid)?;
                identifier.text(fs).map_err(in_words)?;
                change.new_uuid = Some(identifier.clone());
                Ok(())
            }
            Edit::Check(number) => {
                self.fs_of(*number, Action::Check)?.1.check = true;
                Ok(())
            }
            Edit::Repair(number) => {
                self.fs_of(*number, Action::Repair)?.1.repair = true;
                Ok(())
            }
            Edit::RepairGpt if self.table.kind == TableKind::Gpt => {
                let size = self.table.disk_size;
                self.table.resize_disk(size)?;
                self.rewrites_table = true;
                Ok(())
            }
            Edit::RepairGpt => because("the disk has no GPT"),
            Edit::ConvertTable(kind) => self.convert_table(*kind),
            Edit::Import { text, .. } => self.import(text),
            Edit::Copy { source, start } => self.copy(source, *start),
            Edit::Name(number, name) => {
                let number = self.number_now(*number)?;
                Ok(self.table.set_name(number, name)?)
            }
            Edit::Type(number, kind) => {
                let number = self.number_now(*number)?;
                Ok(self.table.set_kind(number, *kind)?)
            }
            Edit::PartitionUuid(number, uuid) => {
                let number = self.number_now(*number)?;
                Ok(self.table.set_uuid(number, *uuid)?)
            }
            Edit::Attributes(number, bits) => {
                let number = self.number_now(*number)?;
                Ok(self.table.set_attributes(number, *bits)?)
            }
            Edit::Active(number, active) => {
                let number = self.number_now(*number)?;
                Ok(self.table.set_active(number, *active)?)
            }
        }
    }

    fn resize_disk(&mut self, amount: Amount) -> Result<(), Refused> {
        let now = self.table.disk_size;
        let size = match amount {
            Amount::Exactly(size) => Some(size),
            Amount::More(more) => now.checked_add(more),
            Amount::Less(less) => now.checked_sub(less),
            Amount::Min => Some(self.table.minimum_disk_size().next_multiple_of(MIB)),
            Amount::Max => return because("a disk has no largest size: say how large"),
        };
        match size {
            Some(size) if size > 0 && i64::try_from(size).is_ok() => {
                Ok(self.table.resize_disk(size.next_multiple_of(512))?)
            }
            _ => because("a disk cannot have that size"),
        }
    }

    fn delete(&mut self, number: u32) -> Result<(), Refused> {
        let now = self.number_now(number)?;
        let index = self.index_of(number)?;
        self.table.remove(now)?;
        if self.changes[index].before.is_none() {
            self.changes.remove(index);
        } else {
            self.changes[index].after = None;
        }
        Ok(())
    }

    fn shift(&mut self, number: u32, amount: Amount) -> Result<(), Refused> {
        let (now, range) = self.place_of(number)?;
        let start = match amount {
            Amount::Exactly(start) => Some(start),
            Amount::More(more) => range.start.checked_add(more),
            Amount::Less(less) => range.start.checked_sub(less),
            Amount::Max | Amount::Min => None,
        };
        let length = range.end - range.start;
        let Some(start) = start.filter(|start| start.checked_add(length).is_some()) else {
            return because("a partition is moved to a place, or by a distance");
        };
        self.set_range(number, now, start..start + length)
    }

    fn resize(
        &mut self,
        number: u32,
        amount: Amount,
        minimum: &mut dyn FnMut(&Change) -> Result<u64, String>,
    ) -> Result<(), Refused> {
        let (now, range) = self.place_of(number)?;
        let index = self.index_of(number)?;
        let change = &self.changes[index];
        let length = range.end - range.start;
        let length = match amount {
            Amount::Exactly(length) => Some(length),
            Amount::More(more) => length.checked_add(more),
            Amount::Less(less) => length.checked_sub(less),
            Amount::Max => {
                Some(self.room_behind(range.start, change.role, Some(now)) - range.start)
            }
            Amount::Min => {
                let least = minimum(change).map_err(Refused::Because)?;
                self.aligned_length(least)
            }
        };
        let end = length
            .filter(|length| *length > 0)
            .and_then(|length| range.start.checked_add(length));
        let Some(end) = end else {
            return because("a partition cannot have that size");
        };
        self.check_content(index, end - range.start)?;
        self.set_range(number, now, range.start..end)
    }

    /// Whether the content of a partition can be made to fit in `length` bytes.
    fn check_content(&self, index: usize, length: u64) -> Result<(), Refused> {
        let change = &self.changes[index];
        if let Some(copied) = &change.copied
            && change.make.is_none()
            && length < copied.length()
        {
            return because(format!(
                "a copy is as long as what it is a copy of, {}, at least",
                ByteSize(copied.length())
            ));
        }
        let shrinks = change
            .before
            .as_ref()
            .is_some_and(|before| length < before.end - before.start);
        if !shrinks || change.make.is_some() || change.role == Role::Extended {
            return Ok(());
        }
        let number = change.number_before.unwrap_or(0);
        let Some(fs) = change.fs else {
            return because(format!(
                "what partition {number} contains is not known, so it cannot be made smaller; \
                 delete it, or format it"
            ));
        };
        match capability(fs, Action::Shrink) {
            Capability::Native | Capability::Tool { .. } => Ok(()),
            Capability::Never(why) => because(format!("partition {number}: {why}")),
            Capability::Missing { program, package } => because(format!(
                "partition {number}: the program '{program}' (package '{package}') is needed"
            )),
        }
    }

    fn set_range(&mut self, number: u32, now: u32, range: Range<u64>) -> Result<(), Refused> {
        let index = self.index_of(number)?;
        self.table.set_range(now, range.clone())?;
        self.changes[index].after = Some(range);
        Ok(())
    }

    fn index_of(&self, number: u32) -> Result<usize, Refused> {
        let before = self
            .changes
            .iter()
            .position(|change| change.number_before == Some(number) && change.after.is_some());
        let made = || {
            let start = self.table.partition(number)?.range.start;
            let role = self.table.partition(number)?.role;
            self.changes.iter().position(|change| {
                change.number_before.is_none()
                    && change.role == role
                    && change
                        .after
                        .as_ref()
                        .is_some_and(|after| after.start == start)
            })
        };
        let index = before.or_else(made);
        index.ok_or_else(|| Refusal::NoSuchPartition(number).into())
    }

    /// The number that a partition has by now, after others came and went, and its bytes.
    fn place_of(&self, number: u32) -> Result<(u32, Range<u64>), Refused> {
        let change = &self.changes[self.index_of(number)?];
        let found = self.table.partitions.iter().find(|partition| {
            Some(&partition.range) == change.after.as_ref() && partition.role == change.role
        });
        found
            .map(|partition| (partition.number, partition.range.clone()))
            .ok_or_else(|| Refusal::NoSuchPartition(number).into())
    }

    fn number_now(&self, number: u32) -> Result<u32, Refused> {
        self.place_of(number).map(|(now, _)| now)
    }

    fn change_mut(&mut self, number: u32) -> Result<&mut Change, Refused> {
        let index = self.index_of(number)?;
        Ok(&mut self.changes[index])
    }

    /// The file system of the partition, which must know `action`, and what happens to it.
    fn fs_of(&mut self, number: u32, action: Action) -> Result<(FsKind, &mut Change), Refused> {
        let change = self.change_mut(number)?;
        let fs = change.make.as_ref().map(|(fs, _)| *fs).or(change.fs);
        let Some(fs) = fs else {
            return because(format!(
                "partition {number} holds no file system that is known"
            ));
        };
        match capability(fs, action) {
            Capability::Native | Capability::Tool { .. } => Ok((fs, change)),
            Capability::Never(why) => because(format!("partition {number}: {why}")),
            Capability::Missing { program, package } => because(format!(
                "partition {number}: the program '{program}' (package '{package}') is needed"
            )),
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn in_words(error: Error) -> Refused {
    Refused::Because(error.message().to_owned())
}

fn because<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Because(why.into()))
}
