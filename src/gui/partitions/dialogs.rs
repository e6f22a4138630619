//! The dialogs of the pane: each makes edits, which wait in the list.

use std::ops::Range;

use platter::fs::FsKind;
use platter::fs::change::{Action, Capability, capability};
use platter::op::edit::{Amount, Draft, Edit};
use platter::table::{PartitionType, Role, TableKind};
use platter::units::{align_down, align_up};
use relm4::adw;
use relm4::adw::prelude::*;

use super::edit_dialog::{Asking, EditDialog, trimmed};
use super::target::{self, Target};
use crate::format;
use crate::i18n::{fill, gettext};
use crate::size_input;

/// A size or place in words that mean none.
pub(super) fn no_size() -> Option<String> {
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

pub(super) fn about(template: &str, target: &Target) -> String {
    fill(template, &[("number", &target.number.to_string())])
}
