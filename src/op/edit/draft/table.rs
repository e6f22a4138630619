//! Edits of a draft that make partitions, or put another table in place of the one that is there.

use std::ops::Range;

use uuid::Uuid;

use super::{Change, Draft, Refused, because, in_words};
use crate::fs::FsKind;
use crate::fs::change::{Action, Capability, Identifier, capability, check_label};
use crate::op::edit::copy::{Copied, type_for};
use crate::op::edit::parse::usual_type;
use crate::op::edit::{Amount, CopySource, Edit};
use crate::phrase::{Phrase, gettext_noop};
use crate::table::{NewPartition, Partition, PartitionTable, PartitionType, Role, TableKind};

impl Draft {
    pub(super) fn new_table(&mut self, kind: TableKind) -> Result<(), Refused> {
        let (size, sector_size) = (self.table.disk_size, self.table.sector_size);
        let table = match kind {
            TableKind::Gpt => PartitionTable::new_gpt(size, sector_size, Uuid::new_v4())?,
            TableKind::Mbr => PartitionTable::new_mbr(size, sector_size, new_signature())?,
            TableKind::None => return because("a table can be replaced, not removed"),
        };
        self.table = table;
        self.rewrites_table = true;
        for change in &mut self.changes {
            change.after = None;
        }
        self.changes.retain(|change| change.before.is_some());
        Ok(())
    }

    pub(super) fn create(&mut self, edit: &Edit) -> Result<(), Refused> {
        let Edit::Create {
            start,
            end,
            kind,
            role,
            fs,
            label,
        } = edit
        else {
            return Ok(());
        };
        let range = self.range_of(*start, *end, *role)?;
        if let (Some(fs), Some(label)) = (fs, label) {
            check_label(*fs, label).map_err(in_words)?;
        }
        let uuid = (self.table.kind == TableKind::Gpt).then(Uuid::new_v4);
        self.table.add(NewPartition {
            range: range.clone(),
            kind: kind.unwrap_or_else(|| usual_type(*fs, self.table.kind)),
            role: *role,
            name: None,
            uuid,
        })?;
        let mut change = made(range, *role);
        change.make = fs.map(|fs| (fs, label.clone()));
        self.changes.push(change);
        Ok(())
    }

    /// The bytes of a new partition.
    fn range_of(&self, start: u64, end: Amount, role: Role) -> Result<Range<u64>, Refused> {
        let end = match end {
            Amount::Exactly(end) => Some(end),
            Amount::More(length) => start.checked_add(length),
            Amount::Max => Some(self.room_behind(start, role, None)),
            Amount::Less(_) | Amount::Min => None,
        };
        match end {
            Some(end) if end > start => Ok(start..end),
            _ => because("a new partition needs an end behind its start"),
        }
    }

    /// Numbers in later edits stay those from before.
    pub(super) fn convert_table(&mut self, kind: TableKind) -> Result<(), Refused> {
        match kind {
            TableKind::Gpt => {
                self.table = self.table.to_gpt(Uuid::new_v4(), Uuid::new_v4)?;
            }
            TableKind::Mbr => {
                self.notes.extend(self.table.lost_in_mbr());
                self.table = self.table.to_mbr(new_signature())?;
            }
            TableKind::None => return because("a table can be converted, not removed"),
        }
        // What contained the logical ones is a thing of the table, and holds nothing itself.
        self.changes.retain(|change| change.role != Role::Extended);
        for change in &mut self.changes {
            change.role = Role::Primary;
        }
        self.rewrites_table = true;
        Ok(())
    }

    pub(super) fn import(&mut self, text: &str) -> Result<(), Refused> {
        let (size, sector_size) = (self.table.disk_size, self.table.sector_size);
        let table = PartitionTable::from_dump(text, size, sector_size, &mut Uuid::new_v4);
        let table = table.map_err(|error| Refused::Because(error.message().to_owned()))?;
        let is_moved = |change: &Change| change.before != change.after && change.before.is_some();
        if self.changes.iter().any(is_moved) {
            return because("a table is imported before partitions are moved or resized");
        }
        self.changes.retain(|change| change.before.is_some());
        for change in &mut self.changes {
            change.after = None;
        }
        for partition in &table.partitions {
            let same = self.changes.iter_mut().find(|change| {
                change.before.as_ref() == Some(&partition.range)
                    && (change.role == Role::Extended) == (partition.role == Role::Extended)
            });
            match same {
                Some(change) => {
                    change.after = Some(partition.range.clone());
                    change.role = partition.role;
                }
                None => self
                    .changes
                    .push(made(partition.range.clone(), partition.role)),
            }
        }
        self.table = table;
        self.rewrites_table = true;
        Ok(())
    }

    pub(super) fn copy(&mut self, source: &CopySource, start: u64) -> Result<(), Refused> {
        let is_gpt = self.table.kind == TableKind::Gpt;
        let (copied, kind, name, fs) = self.facts_of(source)?;
        let Some(end) = start.checked_add(copied.length()) else {
            return because("a copy cannot begin there");
        };
        let is_around =
            |other: &Partition| other.role == Role::Extended && other.range.contains(&start);
        let role = match self.table.partitions.iter().any(is_around) {
            true => Role::Logical,
            false => Role::Primary,
        };
        let kind = kind
            .and_then(|kind| type_for(kind, is_gpt))
            .unwrap_or_else(|| usual_type(fs, self.table.kind));
        self.table.add(NewPartition {
            range: start..end,
            kind,
            role,
            name: name.filter(|_| is_gpt),
            uuid: is_gpt.then(Uuid::new_v4),
        })?;
        let mut change = made(start..end, role);
        change.fs = fs;
        change.copied = Some(copied);
        // Two file systems of one identifier confuse whoever mounts by it.
        let can = |fs| {
            let can = capability(fs, Action::Uuid);
            matches!(can, Capability::Native | Capability::Tool { .. })
        };
        change.new_uuid = fs.filter(|fs| can(*fs)).map(|_| Identifier::Random);
        if let Some(fs) = fs.filter(|_| change.new_uuid.is_none()) {
            let note = gettext_noop(
                "the copy of partition {number} keeps the identifier of its {fs}: do not use both at once",
            );
            let note = Phrase::new(note).count("number", u64::from(source.number()));
            self.notes.push(note.text("fs", fs.title()));
        }
        self.changes.push(change);
        Ok(())
    }

    fn facts_of(&self, source: &CopySource) -> Result<Facts, Refused> {
        let number = match source {
            CopySource::Here(number) => *number,
            CopySource::Other(other) => {
                let (kind, name) = (Some(other.kind), other.name.clone());
                return Ok((Copied::Other(other.clone()), kind, name, other.fs));
            }
        };
        let known = self
            .changes
            .iter()
            .find(|change| change.number_before == Some(number) && change.role != Role::Extended);
        let Some((change, before)) = known.and_then(|known| Some((known, known.before.clone()?)))
        else {
            return because(format!(
                "there is no partition {number} that could be copied"
            ));
        };
        let now = self
            .number_now(number)
            .ok()
            .and_then(|now| self.table.partition(now));
        Ok((
            Copied::Here(before),
            now.map(|partition| partition.kind),
            now.and_then(|partition| partition.name.clone()),
            change.fs,
        ))
    }
}

/// What is copied, and the type, name and file system that it has.
type Facts = (
    Copied,
    Option<PartitionType>,
    Option<String>,
    Option<FsKind>,
);

/// A partition that was not there before.
fn made(range: Range<u64>, role: Role) -> Change {
    Change {
        number_before: None,
        before: None,
        after: Some(range),
        fs: None,
        make: None,
        label: None,
        new_uuid: None,
        check: false,
        repair: false,
        copied: None,
        role,
    }
}

fn new_signature() -> u32 {
    Uuid::new_v4().as_fields().0.max(1)
}
