//! The dialogs of the pane: each makes edits, which wait in the list.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use platter::fs::FsKind;
use platter::fs::change::{Action, Capability, capability};
use platter::op::edit::{Amount, Draft, Edit};
use platter::table::{PartitionType, Role, TableKind};
use platter::units::{align_down, align_up};
use relm4::adw;
use relm4::adw::prelude::*;

use super::edit_dialog::{Asking, EditDialog, quietly, trimmed};
use super::target::{self, Target};
use crate::format;
use crate::i18n::{fill, gettext};
use crate::size_input;

/// A size or place in words that mean none.
fn no_size() -> Option<String> {
    Some(gettext("Type a size such as 20G, +2G or 50 %."))
}

/// A new partition in free space.
pub(super) fn new_partition(asking: &Asking, draft: &Draft, free: &Range<u64>, logical: bool) {
    let step = target::step(draft);
    let start = align_up(free.start, step).map_or(free.end, |start| start.min(free.end));
    let end = align_down(free.end, step).max(start);
    let room = fill(
        &gettext("{size} are free here."),
        &[("size", &format::size(end - start))],
    );
    let dialog = EditDialog::new(asking, &gettext("New Partition"), &room, &gettext("_Add"));
    let before = dialog.entry(&gettext("Free space before"), &size_input::text(0));
    let size = dialog.entry(&gettext("Size"), &size_input::text(end - start));
    let fs = file_system_row(&dialog, true);
    let label = dialog.entry(&gettext("Label"), "");
    let kinds = role_choices(draft, logical);
    let role = (kinds.len() > 1).then(|| {
        let names: Vec<String> = kinds.iter().map(|role| role_name(*role)).collect();
        dialog.combo(&gettext("Kind"), &names, 0)
    });
    let free = free.clone();
    dialog.run(move || {
        let before = size_input::parse(&before.text()).ok_or_else(no_size)?;
        let length = size_input::size(&size.text(), end - start).ok_or_else(no_size)?;
        let role = role
            .as_ref()
            .and_then(|row| kinds.get(row.selected() as usize))
            .or(kinds.first())
            .copied()
            .unwrap_or(Role::Primary);
        let fs = chosen_file_system(&fs, true)?;
        let first = start.saturating_add(before);
        if first.saturating_add(length) > free.end {
            return Err(Some(fill(
                &gettext("There are only {size} from there."),
                &[("size", &format::size(free.end.saturating_sub(first)))],
            )));
        }
        let label = Some(trimmed(&label).to_string()).filter(|label| !label.is_empty());
        let is_extended = role == Role::Extended;
        Ok(vec![Edit::Create {
            start: first,
            end: Amount::More(length),
            kind: is_extended.then_some(PartitionType::Mbr(0x05)),
            role,
            fs: fs.filter(|_| !is_extended),
            label: label.filter(|_| fs.is_some() && !is_extended),
        }])
    });
}

fn role_choices(draft: &Draft, logical: bool) -> Vec<Role> {
    if logical {
        return vec![Role::Logical];
    }
    let is_extended = |role| role == Role::Extended;
    let has_extended = draft.table.partitions.iter().any(|it| is_extended(it.role));
    if draft.table.kind == TableKind::Mbr && !has_extended {
        vec![Role::Primary, Role::Extended]
    } else {
        vec![Role::Primary]
    }
}

fn role_name(role: Role) -> String {
    match role {
        Role::Primary => gettext("Primary"),
        Role::Extended => gettext("Extended"),
        Role::Logical => gettext("Logical"),
    }
}

/// The file systems that can be made; first of all none, if that is a choice.
fn file_system_row(dialog: &EditDialog, none: bool) -> adw::ComboRow {
    let none = none.then(|| gettext("None"));
    let known = target::file_systems().into_iter().map(|(_, name)| name);
    let names: Vec<String> = none.into_iter().chain(known).collect();
    // ext4, which is the third.
    let usual = if names.len() > target::file_systems().len() {
        3
    } else {
        2
    };
    dialog.combo(&gettext("File system"), &names, usual)
}

fn chosen_file_system(row: &adw::ComboRow, none: bool) -> Result<Option<FsKind>, Option<String>> {
    let index = row.selected() as usize;
    let index = if none {
        index.checked_sub(1)
    } else {
        Some(index)
    };
    let known = target::file_systems();
    let Some((fs, _)) = index.and_then(|index| known.get(index)) else {
        return Ok(None);
    };
    match capability(*fs, Action::Make) {
        Capability::Missing { package, .. } => Err(Some(target::missing(package))),
        _ => Ok(Some(*fs)),
    }
}

/// Place and size of a partition, as numbers that depend on each other.
pub(super) fn resize(asking: &Asking, draft: &Draft, target: &Target) {
    let range = target.partition.range.clone();
    let limits = target.limits.clone();
    let least = fill(
        &gettext("At least {size}."),
        &[("size", &format::size(limits.least))],
    );
    let most = fill(
        &gettext("Up to {size} without moving others."),
        &[("size", &format::size(limits.room.end - limits.room.start))],
    );
    let reason = target::why_not_smaller(draft, target).unwrap_or(least);
    let heading = fill(
        &gettext("Resize or Move Partition {number}"),
        &[("number", &target.number.to_string())],
    );
    let body = format!("{reason} {most}");
    let dialog = EditDialog::new(asking, &heading, &body, &gettext("_Change"));
    let room = limits.room.clone();
    let texts = move |range: &Range<u64>| {
        [
            size_input::text(range.start.saturating_sub(room.start)),
            size_input::text(range.end - range.start),
            size_input::text(room.end.saturating_sub(range.end)),
        ]
    };
    let [before, size, after] = texts(&range);
    let rows = Rc::new([
        dialog.entry(&gettext("Free space before"), &before),
        dialog.entry(&gettext("Size"), &size),
        dialog.entry(&gettext("Free space after"), &after),
    ]);
    let wanted = Rc::new(Cell::new(Some((range.start, range.end))));
    let quiet = Rc::new(Cell::new(false));
    for (index, row) in rows.iter().enumerate() {
        let (rows, wanted, quiet) = (Rc::clone(&rows), Rc::clone(&wanted), Rc::clone(&quiet));
        let (range, limits, texts) = (range.clone(), limits.clone(), texts);
        // The dialog has looked at the rows before they were brought in line.
        let look = dialog.look();
        row.connect_changed(move |_| {
            quietly(&quiet, || {
                let typed: [Option<u64>; 3] = [0, 1, 2].map(|row: usize| {
                    let text = rows[row].text();
                    if row == 1 {
                        size_input::size(&text, range.end - range.start)
                    } else {
                        size_input::parse(&text)
                    }
                });
                let now = placed(index, typed, &limits.room);
                wanted.set(now.clone().map(|now| (now.start, now.end)));
                if let Some(now) = now {
                    for (other, text) in texts(&now).into_iter().enumerate() {
                        if other != index && rows[other].text() != text {
                            rows[other].set_text(&text);
                        }
                    }
                }
                look();
            });
        });
    }
    let (draft, target) = (draft.clone(), target.clone());
    dialog.run(move || {
        let (start, end) = wanted.get().ok_or_else(no_size)?;
        if end - start < limits.least {
            return Err(Some(fill(
                &gettext("It needs at least {size}."),
                &[("size", &format::size(limits.least))],
            )));
        }
        Ok(target::edits(&draft, &target, &(start..end)))
    });
}

/// The place that the three numbers mean, of which the one of row `changed` was typed last: another
/// size leaves the start, another space before moves it, another space after moves the end.
fn placed(changed: usize, typed: [Option<u64>; 3], room: &Range<u64>) -> Option<Range<u64>> {
    let [before, size, after] = typed;
    let range = match changed {
        0 | 1 => {
            let start = room.start.checked_add(before?)?;
            start..start.checked_add(size?)?
        }
        _ => {
            let start = room.start.checked_add(before?)?;
            start..room.end.checked_sub(after?)?
        }
    };
    (range.start < range.end).then_some(range)
}

/// A new file system.
pub(super) fn format(asking: &Asking, target: &Target) {
    let heading = about(&gettext("Format Partition {number}"), target);
    let body = gettext("What is in it will be gone.");
    let dialog = EditDialog::new(asking, &heading, &body, &gettext("_Format"));
    let fs = file_system_row(&dialog, false);
    let label = dialog.entry(&gettext("Label"), "");
    let number = target.number;
    dialog.run(move || {
        let Some(fs) = chosen_file_system(&fs, false)? else {
            return Err(None);
        };
        let label = Some(trimmed(&label).to_string()).filter(|label| !label.is_empty());
        Ok(vec![Edit::Format { number, fs, label }])
    });
}

/// The name of a file system.
pub(super) fn label(asking: &Asking, target: &Target, old: &str) {
    let heading = about(&gettext("Label of Partition {number}"), target);
    let dialog = EditDialog::new(asking, &heading, "", &gettext("_Change"));
    let row = dialog.entry(&gettext("Label"), old);
    let (number, old) = (target.number, old.to_owned());
    dialog.run(move || {
        let new = trimmed(&row);
        if new == old {
            return Err(None);
        }
        Ok(vec![Edit::Label(number, new.into())])
    });
}

/// Another size of the disk.
pub(super) fn grow_disk(asking: &Asking, draft: &Draft) {
    let size = draft.table.disk_size;
    let body = fill(
        &gettext("The disk has {size}; its partitions need {least}."),
        &[
            ("size", &format::size(size)),
            ("least", &format::size(draft.table.minimum_disk_size())),
        ],
    );
    let heading = gettext("Size of the Disk");
    let dialog = EditDialog::new(asking, &heading, &body, &gettext("_Change"));
    let row = dialog.entry(&gettext("New size"), &size_input::text(size));
    dialog.run(move || {
        let new = size_input::size(&row.text(), size).ok_or_else(no_size)?;
        if new == size {
            return Err(None);
        }
        Ok(vec![Edit::ResizeDisk(Amount::Exactly(new))])
    });
}

fn about(template: &str, target: &Target) -> String {
    fill(template, &[("number", &target.number.to_string())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_was_typed_last_counts() {
        let room = 100..1000;
        let some = |before, size, after| [Some(before), Some(size), Some(after)];
        assert_eq!(placed(1, some(0, 500, 7), &room), Some(100..600));
        assert_eq!(placed(0, some(50, 500, 7), &room), Some(150..650));
        assert_eq!(placed(2, some(50, 500, 100), &room), Some(150..900));
        assert_eq!(placed(2, some(50, 500, 900), &room), None);
        assert_eq!(placed(1, [Some(0), None, Some(0)], &room), None);
    }
}
