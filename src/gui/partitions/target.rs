//! What can be done with a stretch of the disk, and the edits that a drag or a form means.

use std::ops::Range;

use platter::fs::change::{Action, Capability, capability};
use platter::inspect::Contents;
use platter::op::edit::{Alignment, Amount, Draft, Edit};
use platter::plot::strip::Limits;
use platter::table::{Partition, Role, TableKind};
use platter::units::{MIB, align_up};

use super::smallest::Smallest;
use crate::describe;
use crate::disk_layout::{Stretch, StretchKind, volume_of};
use crate::format;
use crate::i18n::{fill, gettext};

/// A partition as it will be, with what an edit needs to know of it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The number that edits call it by.
    pub(super) number: u32,
    pub(super) partition: Partition,
    pub(super) limits: Limits,
}

/// The partition of a stretch of `shown`, the disk as `draft` makes it.
pub(super) fn target(
    shown: &Contents,
    draft: &Draft,
    smallest: &Smallest,
    stretch: &Stretch,
) -> Option<Target> {
    let (StretchKind::Partition(index) | StretchKind::Extended(index)) = stretch.kind else {
        return None;
    };
    let partition = shown.table.partitions.get(index)?.clone();
    let number = draft.number_in_edits(index)?;
    let room = draft.room_around(number)?;
    let is_last = shown
        .table
        .partitions
        .iter()
        .all(|other| other.range.start <= partition.range.start || other.role == Role::Logical);
    let limits = Limits {
        room,
        open_end: is_last && partition.role == Role::Primary,
        least: least(shown, draft, smallest, &partition, index),
        alignment: step(draft),
    };
    Some(Target {
        number,
        partition,
        limits,
    })
}

/// The fewest bytes that hold what is in a partition: what its tool says, else what is used; the
/// tool has the last word in the trial.
fn least(
    shown: &Contents,
    draft: &Draft,
    smallest: &Smallest,
    partition: &Partition,
    index: usize,
) -> u64 {
    let inside = shown
        .table
        .partitions
        .iter()
        .filter(|other| partition.role == Role::Extended && other.role == Role::Logical);
    let step = step(draft);
    if partition.role == Role::Extended {
        let end = inside.map(|logical| logical.range.end).max();
        return end.map_or(step, |end| end.saturating_sub(partition.range.start));
    }
    let Some(change) = draft.change_of(partition) else {
        return step;
    };
    let (None, Some(before)) = (&change.make, &change.before) else {
        return step;
    };
    let whole = before.end - before.start;
    let Some(fs) = change.fs else {
        return whole;
    };
    match capability(fs, Action::Shrink) {
        Capability::Native | Capability::Tool { .. } => {
            let volume = volume_of(shown, Some(index));
            let usage = volume.and_then(|volume| volume.file_system.as_ref()?.usage);
            let used = usage.map_or(0, |usage| usage.used);
            let used = smallest.of(change).map_or(used, |least| least.bytes);
            align_up(used, step).unwrap_or(whole).clamp(step, whole)
        }
        Capability::Missing { .. } | Capability::Never(_) => whole,
    }
}

/// The distance of two places where borders go, in bytes.
pub(super) fn step(draft: &Draft) -> u64 {
    draft.alignment.step(draft.table.sector_size)
}

/// The limits of a partition, each with its reason: what it needs, what ends the room before it
/// and behind it, and where borders go.
pub(super) fn reasons(draft: &Draft, smallest: &Smallest, target: &Target) -> String {
    let limits = &target.limits;
    let change = draft.change_of(&target.partition);
    let least = change.and_then(|change| smallest.of(change));
    let needs = why_not_smaller(draft, target).unwrap_or_else(|| {
        let size = format::size(limits.least);
        match least {
            Some(least) => fill(
                &gettext("At least {size}: {reason}."),
                &[
                    ("size", &size),
                    ("reason", &describe::phrase(&least.reason)),
                ],
            ),
            None => fill(&gettext("At least {size}."), &[("size", &size)]),
        }
    });
    let most = fill(
        &gettext("At most {size}: {before}, {behind}."),
        &[
            ("size", &format::size(limits.room.end - limits.room.start)),
            ("before", &before(draft, &target.partition)),
            ("behind", &behind(draft, &target.partition)),
        ],
    );
    let step = describe_step(draft);
    [needs, most, step].join(" ")
}

fn describe_step(draft: &Draft) -> String {
    match draft.alignment {
        Alignment::Sector => gettext("Borders can be dragged to any sector."),
        Alignment::Cylinder => gettext("Borders that are dragged go by cylinders."),
        Alignment::Mib | Alignment::FourKib => fill(
            &gettext("Borders that are dragged go by {size}."),
            &[("size", &format::size(step(draft)))],
        ),
    }
}

/// Those that a partition cannot overlap.
fn beside<'a>(draft: &'a Draft, partition: &'a Partition) -> impl Iterator<Item = &'a Partition> {
    let is_logical = |it: &Partition| it.role == Role::Logical;
    draft.table.partitions.iter().filter(move |other| {
        is_logical(other) == is_logical(partition) && other.range != partition.range
    })
}

fn before(draft: &Draft, partition: &Partition) -> String {
    let others = beside(draft, partition).filter(|it| it.range.end <= partition.range.start);
    match others.max_by_key(|it| it.range.end) {
        Some(other) => fill(
            &gettext("partition {number} ends before it"),
            &[("number", &other.number.to_string())],
        ),
        None if partition.role == Role::Logical => {
            gettext("the extended partition begins before it")
        }
        None => gettext("the disk begins before it"),
    }
}

fn behind(draft: &Draft, partition: &Partition) -> String {
    let others = beside(draft, partition).filter(|it| it.range.start >= partition.range.end);
    match others.min_by_key(|it| it.range.start) {
        Some(other) => fill(
            &gettext("partition {number} begins behind it"),
            &[("number", &other.number.to_string())],
        ),
        None if partition.role == Role::Logical => gettext("the extended partition ends behind it"),
        None => gettext("the disk ends behind it"),
    }
}

/// Why a partition cannot be made smaller than it is; `None` when it can.
pub(super) fn why_not_smaller(draft: &Draft, target: &Target) -> Option<String> {
    let change = draft.change_of(&target.partition)?;
    if change.make.is_some() || change.before.is_none() {
        return None;
    }
    let Some(fs) = change.fs else {
        return Some(gettext(
            "What it contains is not known, so it cannot be made smaller.",
        ));
    };
    match capability(fs, Action::Shrink) {
        Capability::Native | Capability::Tool { .. } => None,
        Capability::Never(why) => Some(fill(
            &gettext("It cannot be made smaller: {reason}."),
            &[("reason", &gettext(why))],
        )),
        Capability::Missing { package, .. } => Some(missing(package)),
    }
}

/// "The package “xfsprogs” is needed for this."
pub(super) fn missing(package: &str) -> String {
    fill(
        &gettext("The package “{package}” is needed for this."),
        &[("package", package)],
    )
}

/// The edits that give a partition these bytes. Where they pass the end of the disk, the disk
/// grows first.
pub(super) fn edits(draft: &Draft, target: &Target, range: &Range<u64>) -> Vec<Edit> {
    let was = &target.partition.range;
    let (old, new) = (was.end - was.start, range.end.saturating_sub(range.start));
    let number = target.number;
    let mut edits: Vec<Edit> = growth(draft, range.end).into_iter().collect();
    let shift =
        (was.start != range.start).then_some(Edit::Move(number, Amount::Exactly(range.start)));
    let resize = (old != new).then_some(Edit::Resize(number, Amount::Exactly(new)));
    // What gets longer needs its new place first, what gets shorter has to fit it.
    if new > old {
        edits.extend(shift.into_iter().chain(resize));
    } else {
        edits.extend(resize.into_iter().chain(shift));
    }
    edits
}

/// The disk's growth that a partition needs which ends at `end`.
pub(super) fn growth(draft: &Draft, end: u64) -> Option<Edit> {
    let table = &draft.table;
    let more = end.checked_sub(table.usable.end).filter(|more| *more > 0)?;
    let size = table.disk_size.checked_add(align_up(more, MIB)?)?;
    Some(Edit::ResizeDisk(Amount::Exactly(size)))
}

/// File systems that can be made, with how they are called, and a note where a package is missing.
pub(super) fn file_systems() -> Vec<(platter::fs::FsKind, String)> {
    platter::op::edit::known_file_systems()
        .map(|fs| {
            let name = describe::fs_name(fs);
            let name = match capability(fs, Action::Make) {
                Capability::Missing { package, .. } => fill(
                    &gettext("{fs} (needs {package})"),
                    &[("fs", &name), ("package", package)],
                ),
                _ => name,
            };
            (fs, name)
        })
        .collect()
}

/// Whether the disk has a table at all.
pub(super) fn has_table(contents: &Contents) -> bool {
    contents.table.kind != TableKind::None
}

#[cfg(test)]
mod tests {
    use platter::op::edit::fold;

    use super::*;
    use crate::disk_layout::fixture::{MIB, mbr_disk};
    use crate::disk_layout::stretches;

    fn target_of(number: u32) -> (Draft, Target) {
        let contents = mbr_disk();
        let draft = fold(&contents, &[]).unwrap();
        let target = stretches(&contents)
            .iter()
            .filter_map(|stretch| target(&contents, &draft, &Smallest::default(), stretch))
            .find(|target| target.number == number)
            .unwrap();
        (draft, target)
    }

    fn words(edits: &[Edit]) -> Vec<String> {
        edits.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn room_is_what_the_neighbours_leave() {
        let (_, root) = target_of(1);
        assert_eq!(root.limits.room, MIB..101 * MIB);
        assert!(!root.limits.open_end);
        let (_, logical) = target_of(5);
        assert_eq!(logical.limits.room, 102 * MIB..301 * MIB);
        // Nobody knows what is in it.
        assert_eq!(logical.limits.least, 100 * MIB);
        let (draft, extended) = target_of(2);
        assert_eq!(extended.limits.room, 101 * MIB..400 * MIB);
        assert_eq!(extended.limits.least, 101 * MIB);
        assert!(why_not_smaller(&draft, &logical).is_some());
    }

    #[test]
    fn a_drag_becomes_the_edits_that_have_an_order() {
        let (draft, logical) = target_of(5);
        let edit = |range| words(&edits(&draft, &logical, &range));
        assert_eq!(edit(102 * MIB..301 * MIB), ["resize 5 199M"]);
        assert_eq!(edit(150 * MIB..250 * MIB), ["move 5 150M"]);
        assert_eq!(edit(110 * MIB..260 * MIB), ["move 5 110M", "resize 5 150M"]);
        assert_eq!(edit(152 * MIB..202 * MIB), ["resize 5 50M", "move 5 152M"]);
        assert!(edit(102 * MIB..202 * MIB).is_empty());
    }

    #[test]
    fn a_disk_grows_by_what_passes_its_end() {
        let (draft, _) = target_of(1);
        assert_eq!(growth(&draft, 400 * MIB), None);
        let growth = growth(&draft, 1024 * MIB + 1).unwrap();
        assert_eq!(growth.to_string(), "resize-disk 1025M");
    }
}
