//! The properties of a partition, and of the file system in it: all that has a name or a number
//! and is not its place.

use platter::fs::FsKind;
use platter::fs::change::{Action, Capability, Identifier, capability};
use platter::op::edit::{Draft, Edit};
use platter::table::{Partition, PartitionTable, Role, TableKind};
use relm4::adw::prelude::*;
use relm4::{adw, gtk};
use uuid::Uuid;

use super::edit_dialog::{Asking, EditDialog, trimmed};
use super::target::{self, Target};
use super::type_rows::TypeRows;
use crate::a11y;
use crate::describe;
use crate::i18n::{fill, gettext};

/// Attribute bits of a GPT that mean the same for every type.
const COMMON: [u64; 3] = [1 << 0, 1 << 1, 1 << 2];
/// Least width of the rows in pixels: a UUID has room.
const WIDTH: i32 = 420;
/// The first bit that has no switch.
const FIRST_OTHER: u32 = 3;

/// What is known of the file system of a partition, pending edits included.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    pub(super) kind: FsKind,
    pub(super) label: String,
    /// Empty where it is drawn when the edits are applied.
    pub(super) uuid: String,
}

/// Shows the dialog.
pub(super) fn ask(asking: &Asking, draft: &Draft, target: &Target, inside: Option<Inside>) {
    let number = target.number.to_string();
    let heading = fill(&gettext("Partition {number}"), &[("number", &number)]);
    let mut dialog = EditDialog::new(asking, &heading, "", &gettext("_Change"));
    dialog.widen(WIDTH);
    let of_table = table_rows(&mut dialog, &draft.table, &target.partition);
    let of_content = inside.map(|inside| content_rows(&mut dialog, inside));
    let target = target.clone();
    dialog.run(move || {
        let mut edits = of_table.edits(target.number, &target.partition)?;
        if let Some(rows) = &of_content {
            edits.extend(rows.edits(target.number));
        }
        Ok(edits)
    });
}

/// The rows for what the table says.
struct TableRows {
    kind: TypeRows,
    name: Option<adw::EntryRow>,
    uuid: Option<adw::EntryRow>,
    /// Switches for [`COMMON`], and the numbers of all others.
    attributes: Option<([gtk::Switch; 3], adw::EntryRow)>,
    active: Option<gtk::Switch>,
}

fn table_rows(dialog: &mut EditDialog, table: &PartitionTable, partition: &Partition) -> TableRows {
    let is_gpt = table.kind == TableKind::Gpt;
    let name = is_gpt.then(|| {
        let name = partition.name.as_deref().unwrap_or_default();
        dialog.entry(&gettext("Name"), name)
    });
    let kind = TypeRows::new(table.kind, partition.kind);
    dialog.add(&kind.name);
    dialog.add(&kind.code);
    dialog.watch(&kind.code);
    let uuid = is_gpt.then(|| {
        let uuid = partition.uuid.as_deref().unwrap_or_default();
        let row = dialog.entry(&gettext("Partition UUID"), uuid);
        row.add_suffix(&draw_button(&row, || Uuid::new_v4().to_string()));
        row
    });
    let is_primary = partition.role == Role::Primary;
    let active = (!is_gpt && is_primary).then(|| {
        let subtitle = gettext("Boot code of the disk starts what is in it");
        dialog.switch(&gettext("Active"), &subtitle, partition.active)
    });
    let attributes = is_gpt.then(|| attribute_rows(dialog, partition, &kind));
    TableRows {
        kind,
        name,
        uuid,
        attributes,
        active,
    }
}

fn attribute_rows(
    dialog: &mut EditDialog,
    partition: &Partition,
    kind: &TypeRows,
) -> ([gtk::Switch; 3], adw::EntryRow) {
    let row = dialog.folded(&gettext("Attributes"));
    let titles = [
        (gettext("Required"), gettext("The machine needs it")),
        (
            gettext("No block IO"),
            gettext("Firmware does not look into it"),
        ),
        (
            gettext("Legacy boot"),
            gettext("BIOS boot code starts what is in it"),
        ),
    ];
    let mut titles = titles.into_iter().zip(COMMON);
    let switches = [(); 3].map(|()| {
        let ((title, subtitle), bit) = titles.next().unwrap_or_default();
        dialog.switch(&title, &subtitle, partition.attributes & bit != 0)
    });
    let others = dialog.entry(
        &gettext("Other bits, by number"),
        &numbers(partition.attributes),
    );
    let show = {
        let (switches, others) = (switches.clone(), others.clone());
        let (kind, partition) = (kind.clone(), partition.clone());
        move || {
            let mut shown = partition.clone();
            shown.kind = kind.kind().unwrap_or(shown.kind);
            shown.attributes = bits(&switches, &others).unwrap_or(0);
            let words = shown.describe_attributes();
            row.set_subtitle(&match words.as_slice() {
                [] => gettext("None"),
                words => words.join(", "),
            });
        }
    };
    show();
    for switch in &switches {
        let show = show.clone();
        switch.connect_active_notify(move |_| show());
    }
    for row in [&others, &kind.code] {
        let show = show.clone();
        row.connect_changed(move |_| show());
    }
    (switches, others)
}

/// The numbers of the bits that have no switch.
fn numbers(attributes: u64) -> String {
    let set = (FIRST_OTHER..64).filter(|bit| attributes >> bit & 1 != 0);
    set.map(|bit| bit.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn bits(switches: &[gtk::Switch; 3], others: &adw::EntryRow) -> Option<u64> {
    let common = switches.iter().zip(COMMON);
    let common = common
        .filter(|(switch, _)| switch.is_active())
        .fold(0, |bits, (_, bit)| bits | bit);
    Some(common | other_bits(&others.text())?)
}

/// The bits of a list of numbers; `None` when one of them has a switch, or is none.
fn other_bits(text: &str) -> Option<u64> {
    text.split([',', ' '])
        .filter(|word| !word.is_empty())
        .try_fold(0, |bits, word| {
            let bit: u32 = word.parse().ok()?;
            (FIRST_OTHER..64)
                .contains(&bit)
                .then(|| bits | 1_u64 << bit)
        })
}

impl TableRows {
    /// What differs from `partition`.
    fn edits(&self, number: u32, partition: &Partition) -> Result<Vec<Edit>, Option<String>> {
        let mut edits = Vec::new();
        if let Some(row) = &self.name {
            let name = trimmed(row);
            if name != partition.name.as_deref().unwrap_or_default() {
                edits.push(Edit::Name(number, name.into()));
            }
        }
        let kind = self.kind.kind().ok_or_else(|| {
            let what = match partition.kind {
                platter::table::PartitionType::Gpt(_) => gettext("A type is a GUID."),
                platter::table::PartitionType::Mbr(_) => {
                    gettext("A type is a hexadecimal number up to 0xff.")
                }
            };
            Some(what)
        })?;
        if kind != partition.kind {
            edits.push(Edit::Type(number, kind));
        }
        if let Some(row) = &self.uuid {
            let text = trimmed(row);
            let uuid =
                Uuid::parse_str(&text).map_err(|_| Some(gettext("The partition needs a UUID.")))?;
            let old = partition
                .uuid
                .as_deref()
                .and_then(|old| Uuid::parse_str(old).ok());
            if Some(uuid) != old {
                edits.push(Edit::PartitionUuid(number, uuid));
            }
        }
        if let Some((switches, others)) = &self.attributes {
            let wrong = || Some(gettext("Other bits have numbers from 3 to 63."));
            let bits = bits(switches, others).ok_or_else(wrong)?;
            if bits != partition.attributes {
                edits.push(Edit::Attributes(number, bits));
            }
        }
        if let Some(switch) = &self.active
            && switch.is_active() != partition.active
        {
            edits.push(Edit::Active(number, switch.is_active()));
        }
        Ok(edits)
    }
}

/// The rows for what is in the partition; those are missing that cannot be changed.
struct ContentRows {
    inside: Inside,
    label: Option<adw::EntryRow>,
    uuid: Option<adw::EntryRow>,
}

fn content_rows(dialog: &mut EditDialog, inside: Inside) -> ContentRows {
    dialog.section(&describe::fs_name(inside.kind));
    let title = gettext("Label");
    let label = match refusal(inside.kind, Action::Label) {
        None => Some(dialog.entry(&title, &inside.label)),
        Some(why) => {
            dialog.add(&fixed(&title, &inside.label, &why));
            None
        }
    };
    let title = gettext("File system UUID");
    let uuid = match refusal(inside.kind, Action::Uuid) {
        None => {
            let row = dialog.entry(&title, &inside.uuid);
            let kind = inside.kind;
            let draw = move || Identifier::Random.text(kind).unwrap_or_default();
            row.add_suffix(&draw_button(&row, draw));
            Some(row)
        }
        Some(why) => {
            dialog.add(&fixed(&title, &inside.uuid, &why));
            None
        }
    };
    ContentRows {
        inside,
        label,
        uuid,
    }
}

impl ContentRows {
    fn edits(&self, number: u32) -> Vec<Edit> {
        let label = self.label.as_ref().map(trimmed);
        let label = label.filter(|label| *label != self.inside.label);
        let uuid = self.uuid.as_ref().map(trimmed);
        let uuid = uuid.filter(|uuid| !uuid.eq_ignore_ascii_case(&self.inside.uuid));
        let label = label.map(|label| Edit::Label(number, label.into()));
        let uuid = uuid.map(|uuid| Edit::FsUuid(number, Identifier::Exactly(uuid.into())));
        label.into_iter().chain(uuid).collect()
    }
}

/// Why something cannot be done to file systems of this kind; `None` when it can.
fn refusal(kind: FsKind, action: Action) -> Option<String> {
    match capability(kind, action) {
        Capability::Native | Capability::Tool { .. } => None,
        Capability::Missing { package, .. } => Some(target::missing(package)),
        Capability::Never(why) => Some(gettext(why)),
    }
}

/// A row for what cannot be changed, and why.
fn fixed(title: &str, value: &str, why: &str) -> adw::ActionRow {
    let row = adw::ActionRow::builder()
        .use_markup(false)
        .title(title)
        .subtitle(why)
        .subtitle_lines(3)
        .build();
    row.add_suffix(
        &gtk::Label::builder()
            .label(value)
            .css_classes(["dim-label"])
            .build(),
    );
    row
}

/// A button that puts another text into `row`.
fn draw_button(row: &adw::EntryRow, draw: impl Fn() -> String + 'static) -> gtk::Button {
    let button = gtk::Button::builder()
        .icon_name("view-refresh-symbolic")
        .valign(gtk::Align::Center)
        .css_classes(["flat"])
        .build();
    a11y::icon_button(
        &button,
        &fill(&gettext("New {what}"), &[("what", &row.title())]),
    );
    let row = row.downgrade();
    button.connect_clicked(move |_| {
        if let Some(row) = row.upgrade() {
            row.set_text(&draw());
        }
    });
    button
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_without_a_switch_are_numbers() {
        let attributes = 0b111 | 1 << 48 | 1 << 63;
        assert_eq!(numbers(attributes), "48, 63");
        assert_eq!(other_bits("48, 63"), Some(1 << 48 | 1 << 63));
        assert_eq!(other_bits("60 63"), Some(1 << 60 | 1 << 63));
        assert_eq!(other_bits(""), Some(0));
        for wrong in ["2", "64", "x", "-1", "60;61"] {
            assert_eq!(other_bits(wrong), None, "{wrong}");
        }
    }
}
