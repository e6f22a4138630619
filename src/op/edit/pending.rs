//! Edits that wait to be applied: a list that is kept as short as what it says, with undo and redo.
//!
//! Nothing is written and nothing is asked: everything here is a fold of the list over what was
//! read of the disk.

use crate::inspect::Contents;
use crate::op::edit::{Change, Draft, Edit, Refused};
use crate::table::{Partition, PartitionTable};

/// The edits of one disk that are not applied yet.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    edits: Vec<Edit>,
    /// The lists before each change of the list, the oldest first.
    past: Vec<Vec<Edit>>,
    /// The lists that undoing has left, the next one last.
    future: Vec<Vec<Edit>>,
}

impl Pending {
    /// The edits, in their order.
    #[must_use]
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Whether there is something to undo.
    #[must_use]
    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    /// Whether there is something to redo.
    #[must_use]
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }

    /// Adds edits of `contents`, which undo takes back together. What they make superfluous goes:
    /// two resizes of one partition are one, and a partition that is made and deleted was never
    /// there.
    ///
    /// # Errors
    /// Why they cannot be made after those that wait; nothing is changed then.
    pub fn push(&mut self, contents: &Contents, edits: &[Edit]) -> Result<(), Refused> {
        let mut list = self.edits.clone();
        list.extend_from_slice(edits);
        let outcome = fold(contents, &list)?;
        let shortest = shorten(contents, list, edits.len(), &outcome);
        self.replace(shortest);
        Ok(())
    }

    /// Goes back by one step. Answers whether there was one.
    pub fn undo(&mut self) -> bool {
        let Some(before) = self.past.pop() else {
            return false;
        };
        self.future.push(std::mem::replace(&mut self.edits, before));
        true
    }

    /// Makes again what was undone last. Answers whether there was something.
    pub fn redo(&mut self) -> bool {
        let Some(next) = self.future.pop() else {
            return false;
        };
        self.past.push(std::mem::replace(&mut self.edits, next));
        true
    }

    /// Gives all of them up; that can be undone too.
    pub fn discard(&mut self) {
        if !self.edits.is_empty() {
            self.replace(Vec::new());
        }
    }

    /// What the disk shall look like.
    ///
    /// # Errors
    /// Why that cannot be, when `contents` is not what the edits were made for.
    pub fn draft(&self, contents: &Contents) -> Result<Draft, Refused> {
        fold(contents, &self.edits)
    }

    /// Keeps what can be done to a disk that has changed meanwhile, and answers the rest.
    pub fn keep_possible(&mut self, contents: &Contents) -> Vec<Edit> {
        let mut kept: Vec<Edit> = Vec::new();
        let mut dropped = Vec::new();
        for edit in std::mem::take(&mut self.edits) {
            kept.push(edit);
            if fold(contents, &kept).is_err() {
                dropped.extend(kept.pop());
            }
        }
        self.edits = kept;
        if !dropped.is_empty() {
            // What led here led from another disk.
            self.past.clear();
            self.future.clear();
        }
        dropped
    }

    fn replace(&mut self, edits: Vec<Edit>) {
        if self.edits != edits {
            self.past.push(std::mem::replace(&mut self.edits, edits));
            self.future.clear();
        }
    }
}

/// The disk after `edits`. How small file systems can be made is left to the trial, which asks
/// their tools: here an edit says how large, not "as small as it gets".
///
/// # Errors
/// Why the first impossible one cannot be made.
pub fn fold(contents: &Contents, edits: &[Edit]) -> Result<Draft, Refused> {
    let mut draft = Draft::new(contents);
    let mut minimum = |_: &Change| Err("its smallest size is not known here".to_owned());
    for edit in edits {
        draft.edit(edit, &mut minimum)?;
    }
    Ok(draft)
}

/// The shortest list found that has the same outcome. Each turn leaves one edit out, puts a later
/// one of the same kind in an earlier one's place, or leaves out two that undo each other.
///
/// The list was as short as that before its last `fresh` edits came: what goes has to do with one
/// of them, so that the work grows with the list and not with its square.
fn shorten(contents: &Contents, mut list: Vec<Edit>, fresh: usize, outcome: &Draft) -> Vec<Edit> {
    let is_as_good =
        |list: &Vec<Edit>| fold(contents, list).is_ok_and(|draft| is_same(&draft, outcome));
    loop {
        let shorter = candidates(&list, fresh).find(is_as_good);
        match shorter {
            Some(shorter) => list = shorter,
            None => return list,
        }
    }
}

/// Lists that are shorter by one or two edits.
fn candidates(list: &[Edit], fresh: usize) -> impl Iterator<Item = Vec<Edit>> + '_ {
    let without = |index: usize| {
        let mut shorter = list.to_vec();
        shorter.remove(index);
        shorter
    };
    let one = (0..list.len()).map(without);
    let first_fresh = list.len().saturating_sub(fresh);
    let late = first_fresh..list.len();
    let pairs = move || {
        let late = late.clone();
        late.flat_map(|late| (0..late).map(move |early| (early, late)))
    };
    let replaced = pairs()
        .filter(|(early, late)| is_same_kind(&list[*early], &list[*late]))
        .map(move |(early, late)| {
            let mut shorter = list.to_vec();
            shorter[early] = shorter.remove(late);
            shorter
        });
    let both = pairs().map(move |(early, late)| {
        let mut shorter = without(late);
        shorter.remove(early);
        shorter
    });
    one.chain(replaced).chain(both)
}

fn is_same_kind(one: &Edit, other: &Edit) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other) && one.number() == other.number()
}

/// Whether two drafts make the same disk. Identifiers of what is new are drawn at random each
/// time.
fn is_same(one: &Draft, other: &Draft) -> bool {
    let is_new = |draft: &Draft, partition: &Partition| {
        draft.changes.iter().any(|change| {
            change.number_before.is_none() && change.after.as_ref() == Some(&partition.range)
        })
    };
    one.rewrites_table == other.rewrites_table
        && one.notes == other.notes
        && is_same_table(&one.table, &other.table, |partition| is_new(one, partition))
        && one.changes.len() == other.changes.len()
        && one
            .changes
            .iter()
            .zip(&other.changes)
            .all(|(one, other)| is_same_change(one, other))
}

fn is_same_table(
    one: &PartitionTable,
    other: &PartitionTable,
    is_new: impl Fn(&Partition) -> bool,
) -> bool {
    let facts = |partition: &Partition| {
        (
            partition.number,
            partition.range.clone(),
            partition.kind,
            partition.name.clone(),
            partition.attributes,
            partition.active,
            partition.role,
        )
    };
    one.kind == other.kind
        && one.disk_size == other.disk_size
        && one.partitions.len() == other.partitions.len()
        && one
            .partitions
            .iter()
            .zip(&other.partitions)
            .all(|(one, other)| {
                facts(one) == facts(other) && (is_new(one) || one.uuid == other.uuid)
            })
}

fn is_same_change(one: &Change, other: &Change) -> bool {
    let place = |change: &Change| {
        (
            change.number_before,
            change.before.clone(),
            change.after.clone(),
            change.role(),
        )
    };
    let content = |change: &Change| {
        (
            change.make.clone(),
            change.label.clone(),
            change.new_uuid.clone(),
            change.check,
            change.repair,
            change.copied.clone(),
        )
    };
    // What was to happen to a partition that is deleted does not count.
    place(one) == place(other) && (one.after.is_none() || content(one) == content(other))
}

impl Edit {
    /// The number of the partition it is about; `None` for the disk, its table, and a partition
    /// that it makes.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::ResizeDisk(_)
            | Self::NewTable(_)
            | Self::Create { .. }
            | Self::RepairGpt
            | Self::ConvertTable(_)
            | Self::Import { .. }
            | Self::Copy { .. } => None,
            Self::Format { number, .. } => Some(*number),
            Self::Delete(number)
            | Self::Move(number, _)
            | Self::Resize(number, _)
            | Self::Label(number, _)
            | Self::Name(number, _)
            | Self::Type(number, _)
            | Self::PartitionUuid(number, _)
            | Self::FsUuid(number, _)
            | Self::Attributes(number, _)
            | Self::Active(number, _)
            | Self::Check(number)
            | Self::Repair(number) => Some(*number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::edit::fixture::{MIB, two_ext4};
    use crate::table::TableKind;

    fn edit(text: &str) -> Edit {
        Edit::parse(text, TableKind::Mbr).unwrap()
    }

    fn list(pending: &Pending) -> Vec<String> {
        pending.edits().iter().map(ToString::to_string).collect()
    }

    fn pushed(texts: &[&str]) -> Pending {
        let contents = two_ext4();
        let mut pending = Pending::default();
        for text in texts {
            pending
                .push(&contents, &[edit(text)])
                .unwrap_or_else(|why| panic!("{text}: {why}"));
        }
        pending
    }

    #[test]
    fn what_is_overtaken_goes() {
        assert_eq!(
            list(&pushed(&["resize 2 300M", "resize 2 310M"])),
            ["resize 2 310M"]
        );
        assert_eq!(list(&pushed(&["label 1 a", "label 1 b"])), ["label 1 b"]);
        // Back to what it is.
        assert!(pushed(&["resize 2 300M", "resize 2 400M"]).is_empty());
        assert!(pushed(&["resize-disk 3G", "resize-disk 966M"]).is_empty());
        // A partition that is made and deleted was never there; its edits go with it.
        assert!(pushed(&["create 901M max linux ext4", "label 3 new", "delete 3"]).is_empty());
        // What was done to a partition that is deleted is not done.
        assert_eq!(
            list(&pushed(&["label 2 x", "resize 2 200M", "delete 2"])),
            ["delete 2"]
        );
        assert_eq!(
            list(&pushed(&["active 1 on", "new-table mbr"])),
            ["new-table mbr"]
        );
    }

    #[test]
    fn moves_of_one_partition_are_one_also_around_another_edit() {
        let all = [
            "resize-disk 4G",
            "move 2 1000M",
            "resize 1 600M",
            "move 2 1525M",
            "resize 1 1524M",
        ];
        assert_eq!(
            list(&pushed(&all)),
            ["resize-disk 4G", "move 2 1525M", "resize 1 1524M"]
        );
    }

    #[test]
    fn what_cannot_be_changes_nothing() {
        let contents = two_ext4();
        let mut pending = pushed(&["resize 2 300M"]);
        assert!(pending.push(&contents, &[edit("move 1 100M")]).is_err());
        assert!(pending.push(&contents, &[edit("delete 7")]).is_err());
        assert_eq!(list(&pending), ["resize 2 300M"]);
    }

    #[test]
    fn undo_and_redo_go_through_the_lists() {
        let contents = two_ext4();
        let mut pending = pushed(&["resize 2 300M", "resize 2 310M"]);
        assert!(pending.undo());
        assert_eq!(list(&pending), ["resize 2 300M"]);
        assert!(pending.redo());
        assert!(!pending.redo());
        pending.discard();
        assert!(pending.is_empty());
        assert!(pending.undo());
        assert_eq!(list(&pending), ["resize 2 310M"]);
        assert!(pending.can_redo());
        pending.push(&contents, &[edit("label 1 a")]).unwrap();
        assert!(!pending.can_redo());
    }

    #[test]
    fn a_disk_that_changed_keeps_what_it_can() {
        let mut contents = two_ext4();
        let mut pending = pushed(&["label 1 a", "delete 2"]);
        contents.table.partitions.pop();
        contents.volumes.pop();
        let dropped = pending.keep_possible(&contents);
        assert_eq!(dropped, [edit("delete 2")]);
        assert_eq!(list(&pending), ["label 1 a"]);
        assert!(!pending.can_undo());
        assert_eq!(pending.draft(&contents).unwrap().table.disk_size, 966 * MIB);
    }
}
