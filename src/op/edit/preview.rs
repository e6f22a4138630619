//! The disk after an edit, as if it had been read: what draws a disk draws the preview too.

use crate::fs::change::Identifier;
use crate::fs::{FileSystem, FsKind};
use crate::inspect::{Contents, Volume};
use crate::op::edit::{Change, Draft};
use crate::table::{Partition, Role, TableKind};

/// The disk of `contents` once `draft` is applied. A file system that is to be made has no usage
/// and no identifier yet; one that grows or shrinks keeps what it uses.
#[must_use]
pub fn preview(contents: &Contents, draft: &Draft) -> Contents {
    if draft.table.kind == TableKind::None {
        return without_table(contents, draft);
    }
    let volumes = draft
        .table
        .partitions
        .iter()
        .enumerate()
        .filter(|(_, partition)| partition.role != Role::Extended)
        .map(|(index, partition)| volume(contents, draft, index, partition))
        .collect();
    let mut table = draft.table.clone();
    if draft.rewrites_table {
        // Writing both copies mends them.
        table.damage.clear();
    }
    Contents {
        table,
        volumes,
        moves_by: contents.moves_by,
    }
}

/// Without a table there is one volume, as long as the disk.
fn without_table(contents: &Contents, draft: &Draft) -> Contents {
    let mut contents = contents.clone();
    contents.table = draft.table.clone();
    for volume in &mut contents.volumes {
        volume.range = 0..draft.table.disk_size;
    }
    contents
}

impl Draft {
    /// The number by which edits name the partition at `index` of the table afterwards; `None`
    /// where a number means another one, as it can with logical partitions that were renumbered.
    #[must_use]
    pub fn number_in_edits(&self, index: usize) -> Option<u32> {
        let partition = self.table.partitions.get(index)?;
        let number = self
            .change_of(partition)?
            .number_before
            .unwrap_or(partition.number);
        (self.place(number)? == partition.range).then_some(number)
    }

    /// What happens to the partition of this number in [`Self::table`].
    #[must_use]
    pub fn change_of(&self, partition: &Partition) -> Option<&Change> {
        self.changes.iter().find(|change| {
            change.after.as_ref() == Some(&partition.range) && change.role() == partition.role
        })
    }
}

fn volume(contents: &Contents, draft: &Draft, index: usize, partition: &Partition) -> Volume {
    let change = draft.change_of(partition);
    let before = change
        .and_then(|change| change.before.as_ref())
        .and_then(|range| contents.volumes.iter().find(|known| known.range == *range));
    let file_system = match change.and_then(|change| change.make.as_ref()) {
        Some((kind, label)) => Some(made(*kind, label.clone())),
        None if change.is_some_and(Change::is_copy) => change
            .and_then(|change| change.fs)
            .map(|kind| made(kind, None)),
        None => before
            .and_then(|volume| volume.file_system.clone())
            .map(|known| renamed(known, change)),
    };
    Volume {
        partition: Some(index),
        range: partition.range.clone(),
        file_system,
        error: before.and_then(|volume| volume.error.clone()),
    }
}

fn made(kind: FsKind, label: Option<String>) -> FileSystem {
    FileSystem {
        kind,
        label,
        uuid: None,
        size: None,
        usage: None,
        block_size: None,
        notes: Vec::new(),
        details: Vec::new(),
    }
}

fn renamed(mut known: FileSystem, change: Option<&Change>) -> FileSystem {
    let Some(change) = change else { return known };
    if let Some(label) = &change.label {
        known.label = Some(label.clone()).filter(|label| !label.is_empty());
    }
    match &change.new_uuid {
        Some(Identifier::Random) => known.uuid = None,
        Some(wanted @ Identifier::Exactly(_)) => known.uuid = wanted.text(known.kind).ok(),
        None => {}
    }
    if let (Some(usage), Some(before), Some(after)) =
        (&mut known.usage, &change.before, &change.after)
    {
        let (before, after) = (before.end - before.start, after.end - after.start);
        usage.free = (usage.free + after).saturating_sub(before);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::edit::fixture::{MIB, two_ext4};
    use crate::op::edit::{Edit, fold};
    use crate::table::TableKind;

    fn after(texts: &[&str]) -> Contents {
        let contents = two_ext4();
        let edits: Vec<Edit> = texts
            .iter()
            .map(|text| Edit::parse(text, TableKind::Mbr).unwrap())
            .collect();
        preview(&contents, &fold(&contents, &edits).unwrap())
    }

    #[test]
    fn file_systems_go_with_their_partitions() {
        let shown = after(&["resize-disk 3G", "move 2 2G", "resize 1 1500M", "label 2 x"]);
        let [one, two] = shown.volumes.as_slice() else {
            panic!("two volumes");
        };
        assert_eq!(one.range, MIB..1501 * MIB);
        let known = one.file_system.as_ref().unwrap();
        assert_eq!(known.label.as_deref(), Some("data1"));
        assert_eq!(known.usage.unwrap().free, 1250 * MIB);
        let known = two.file_system.as_ref().unwrap();
        assert_eq!(known.label.as_deref(), Some("x"));
        assert_eq!(shown.table.disk_size, 3 << 30);
    }

    #[test]
    fn what_is_new_is_empty() {
        let shown = after(&[
            "delete 1",
            "format 2 swap",
            "create 1M 100M linux ext4 boot",
        ]);
        let kinds: Vec<_> = shown
            .volumes
            .iter()
            .map(|volume| volume.file_system.as_ref().map(|known| known.kind))
            .collect();
        assert_eq!(kinds, [Some(FsKind::Ext4), Some(FsKind::Swap)]);
        assert!(
            shown.volumes[0]
                .file_system
                .as_ref()
                .unwrap()
                .usage
                .is_none()
        );
    }
}
