//! What the pane says: the table's head, its rows, and the details of one of them.

use platter::fs::FileSystem;
use platter::fs::change::{Action, Capability, capability};
use platter::inspect::Contents;
use platter::op::edit::{Alignment, Change, Draft};
use platter::table::{Partition, PartitionTable, Role, TableKind};
use platter::units::{KIB, MIB};

use super::smallest::Smallest;
use super::target;
use super::type_rows::type_code;
use crate::describe;
use crate::disk_layout::{Stretch, StretchKind, volume_of};
use crate::facts::{Fact, FactGroup, Tone};
use crate::format;
use crate::i18n::{counted, fill, gettext};

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Colour of its mark; none for free space.
    pub(super) colour: Option<usize>,
    /// A logical partition, or space for one: shown under its extended partition.
    pub(super) indented: bool,
    /// Number and type, or that it is unallocated.
    pub(super) partition: String,
    pub(super) file_system: String,
    pub(super) label: String,
    /// Where it begins, in bytes.
    pub(super) start: u64,
    /// Where it began, where pending edits move it.
    pub(super) was_start: Option<u64>,
    /// How long it is, in bytes.
    pub(super) size: u64,
    /// How long it was, where pending edits change that.
    pub(super) was: Option<u64>,
    /// Bytes used, and that of its size.
    pub(super) used: Option<(u64, f64)>,
    /// How small it can be made, or why it cannot be made smaller.
    pub(super) least: Option<Result<u64, String>>,
    /// Where its start lies.
    pub(super) alignment: Option<Alignment>,
}

/// "GPT · 512 B sectors · aligned to 1 MiB".
pub(super) fn head(table: &PartitionTable) -> String {
    let mut parts = vec![describe::table_name(table.kind)];
    let sectors = format::size(table.sector_size);
    parts.push(fill(&gettext("{size} sectors"), &[("size", &sectors)]));
    let starts = table.partitions.iter().map(|it| it.range.start);
    let worst = starts
        .map(|start| Alignment::of(start, table.sector_size))
        .max_by_key(|alignment| Alignment::ALL.iter().position(|known| known == alignment));
    parts.extend(worst.map(aligned));
    parts.join(" · ")
}

/// "aligned to 1 MiB".
pub(super) fn aligned(alignment: Alignment) -> String {
    let size = |size| {
        let size = format::size(size);
        fill(&gettext("aligned to {size}"), &[("size", &size)])
    };
    match alignment {
        Alignment::Mib => size(MIB),
        Alignment::FourKib => size(4 * KIB),
        Alignment::Cylinder => gettext("aligned to cylinders"),
        Alignment::Sector => gettext("not aligned"),
    }
}

/// Whether current disks are fast with it: they read and write 4 KiB at least.
pub(super) fn is_good(alignment: Alignment) -> bool {
    matches!(alignment, Alignment::Mib | Alignment::FourKib)
}

/// The rows, one for each stretch.
pub(super) fn rows(
    contents: &Contents,
    stretches: &[Stretch],
    draft: Option<&Draft>,
    smallest: &Smallest,
) -> Vec<Row> {
    stretches
        .iter()
        .map(|stretch| row(contents, stretch, draft, smallest))
        .collect()
}

fn row(contents: &Contents, stretch: &Stretch, draft: Option<&Draft>, smallest: &Smallest) -> Row {
    let partition = partition_of(contents, stretch.kind);
    let change = draft
        .zip(partition)
        .and_then(|(draft, partition)| draft.change_of(partition));
    let before = change.and_then(|change| change.before.as_ref());
    let start_before = before.map(|before| before.start);
    let size_before = before.map(|before| before.end - before.start);
    let file_system = file_system_of(contents, stretch.kind);
    Row {
        colour: stretch.colour,
        indented: is_logical(stretch.kind, partition),
        partition: row_title(stretch, partition),
        file_system: stretch.content.clone().unwrap_or_default(),
        label: file_system
            .and_then(|found| found.label.clone())
            .or_else(|| partition?.name.clone())
            .unwrap_or_default(),
        start: stretch.range.start,
        was_start: start_before.filter(|before| *before != stretch.range.start),
        size: stretch.size(),
        was: size_before.filter(|before| *before != stretch.size()),
        used: stretch.used.zip(stretch.used_fraction()),
        least: change.and_then(|change| least(change, smallest)),
        alignment: partition
            .map(|partition| Alignment::of(partition.range.start, contents.table.sector_size)),
    }
}

/// Only of what was on the disk, and is to stay.
fn least(change: &Change, smallest: &Smallest) -> Option<Result<u64, String>> {
    if change.make.is_some() || change.before.is_none() {
        return None;
    }
    match capability(change.fs?, Action::Shrink) {
        Capability::Native | Capability::Tool { .. } => {
            smallest.of(change).map(|least| Ok(least.bytes))
        }
        Capability::Never(why) => Some(Err(gettext(why))),
        Capability::Missing { package, .. } => Some(Err(target::missing(package))),
    }
}

fn row_title(stretch: &Stretch, partition: Option<&Partition>) -> String {
    match partition {
        // Translators: a partition's number and type, for example "1 EFI System".
        Some(partition) => fill(
            &gettext("{number} {type}"),
            &[
                ("number", &partition.number.to_string()),
                ("type", &partition.type_name),
            ],
        ),
        None if stretch.kind == StretchKind::WholeDisk => gettext("Whole disk"),
        None => stretch.title.clone(),
    }
}

fn is_logical(kind: StretchKind, partition: Option<&Partition>) -> bool {
    kind == StretchKind::Free { logical: true }
        || partition.is_some_and(|partition| partition.role == Role::Logical)
}

/// The facts of one stretch: what the table says of it, and what was found in it.
pub(super) fn details(contents: &Contents, stretch: &Stretch) -> [FactGroup; 2] {
    let partition = partition_of(contents, stretch.kind);
    let title = match partition {
        Some(partition) => {
            let number = partition.number.to_string();
            fill(&gettext("Partition {number}"), &[("number", &number)])
        }
        None => row_title(stretch, None),
    };
    let mut place = partition.map(table_facts).unwrap_or_default();
    place.extend(place_facts(stretch, contents.table.sector_size));
    let sector_size = contents.table.sector_size;
    place.extend(partition.map(|partition| alignment_fact(partition, sector_size)));
    [
        FactGroup::new(title, place),
        FactGroup::new(
            gettext("File System"),
            content_facts(contents, stretch.kind),
        ),
    ]
}

fn table_facts(partition: &Partition) -> Vec<Fact> {
    let code = type_code(partition.kind);
    let mut facts = vec![
        Fact::new(gettext("Type"), &partition.type_name)
            .subtitle(&code)
            .copying(&code),
    ];
    let name = partition.name.iter().filter(|name| !name.is_empty());
    facts.extend(name.map(|name| Fact::new(gettext("Name"), name)));
    facts.extend(
        partition
            .uuid
            .iter()
            .map(|uuid| Fact::new(gettext("UUID"), uuid)),
    );
    match partition.role {
        Role::Primary => {}
        Role::Extended => facts.push(Fact::new(gettext("Role"), gettext("extended"))),
        Role::Logical => facts.push(Fact::new(gettext("Role"), gettext("logical"))),
    }
    let mut flags = partition.describe_attributes();
    if partition.active && flags.is_empty() {
        flags.push(gettext("bootable"));
    }
    if !flags.is_empty() {
        facts.push(Fact::new(gettext("Flags"), flags.join(", ")));
    }
    facts
}

fn place_facts(stretch: &Stretch, sector_size: u64) -> Vec<Fact> {
    let sectors = |bytes: u64| {
        let sector = bytes / sector_size.max(1);
        fill(&gettext("sector {n}"), &[("n", &format::number(sector))])
    };
    let count = stretch.size() / sector_size.max(1);
    vec![
        Fact::size(gettext("Start"), stretch.range.start).subtitle(sectors(stretch.range.start)),
        Fact::size(gettext("End"), stretch.range.end).subtitle(sectors(stretch.range.end)),
        Fact::size(gettext("Size"), stretch.size()).subtitle(counted(
            "{n} sector",
            "{n} sectors",
            count,
            &[],
        )),
    ]
}

fn alignment_fact(partition: &Partition, sector_size: u64) -> Fact {
    let fact = Fact::size(gettext("Alignment"), partition.alignment());
    let alignment = Alignment::of(partition.range.start, sector_size);
    if is_good(alignment) {
        return fact;
    }
    let subtitle = match alignment {
        Alignment::Cylinder => gettext("On a cylinder, as DOS had it: slow on most disks of today"),
        _ => gettext("Slow on most disks: a multiple of 1 MiB is usual"),
    };
    fact.subtitle(subtitle).tone(Tone::Warning)
}

fn content_facts(contents: &Contents, kind: StretchKind) -> Vec<Fact> {
    let index = match kind {
        StretchKind::Partition(index) => Some(index),
        StretchKind::WholeDisk => None,
        StretchKind::Extended(_) | StretchKind::Free { .. } => return Vec::new(),
    };
    let Some(volume) = volume_of(contents, index) else {
        return Vec::new();
    };
    if let Some(error) = &volume.error {
        return vec![
            Fact::new(gettext("Cannot be read"), "")
                .subtitle(error)
                .copying(error)
                .tone(Tone::Bad),
        ];
    }
    match &volume.file_system {
        Some(found) => file_system_facts(found),
        None => vec![Fact::new(gettext("Content"), gettext("nothing recognised"))],
    }
}

fn file_system_facts(found: &FileSystem) -> Vec<Fact> {
    let mut facts = vec![Fact::new(
        gettext("File system"),
        describe::fs_name(found.kind),
    )];
    facts.extend(
        found
            .label
            .iter()
            .map(|label| Fact::new(gettext("Label"), label)),
    );
    facts.extend(
        found
            .uuid
            .iter()
            .map(|uuid| Fact::new(gettext("UUID"), uuid)),
    );
    facts.extend(found.size.map(|bytes| Fact::size(gettext("Size"), bytes)));
    if let Some(usage) = found.usage {
        facts.push(Fact::size(gettext("Used"), usage.used));
        facts.push(Fact::size(gettext("Free"), usage.free));
    }
    facts.extend(
        found
            .block_size
            .map(|bytes| Fact::size(gettext("Block size"), bytes)),
    );
    facts.extend(
        found
            .details
            .iter()
            .map(|(name, value)| Fact::new(*name, value)),
    );
    facts.extend(found.notes.iter().map(|note| {
        Fact::new(gettext("Note"), "")
            .subtitle(note)
            .copying(note)
            .tone(Tone::Warning)
    }));
    facts
}

/// What is wrong with the table, in words.
pub(super) fn damage(table: &PartitionTable) -> FactGroup {
    let mut facts: Vec<Fact> = table
        .damage
        .iter()
        .map(|damage| {
            let title = if damage.serious {
                gettext("The partition table is damaged")
            } else {
                gettext("The partition table is not as it should be")
            };
            let message = describe::sentence(&damage.message);
            Fact::new(title, "")
                .subtitle(&message)
                .copying(&message)
                .tone(if damage.serious {
                    Tone::Bad
                } else {
                    Tone::Warning
                })
        })
        .collect();
    // One repair mends all of it.
    if let (TableKind::Gpt, Some(first)) = (table.kind, facts.first_mut()) {
        first.offers = Some((gettext("Re_pair GPT"), "partition.repair-gpt"));
    }
    FactGroup::new(String::new(), facts)
}

/// A sentence for a disk without a table.
pub(super) fn note(table: &PartitionTable) -> Option<String> {
    match table.kind {
        TableKind::None if table.damage.is_empty() => Some(gettext(
            "This disk has no partition table: its content begins at the first byte.",
        )),
        _ => None,
    }
}

fn partition_of(contents: &Contents, kind: StretchKind) -> Option<&Partition> {
    match kind {
        StretchKind::Partition(index) | StretchKind::Extended(index) => {
            contents.table.partitions.get(index)
        }
        StretchKind::WholeDisk | StretchKind::Free { .. } => None,
    }
}

fn file_system_of(contents: &Contents, kind: StretchKind) -> Option<&FileSystem> {
    let index = match kind {
        StretchKind::Partition(index) => Some(index),
        StretchKind::WholeDisk => None,
        StretchKind::Extended(_) | StretchKind::Free { .. } => return None,
    };
    volume_of(contents, index)?.file_system.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_layout::fixture::{mbr_disk, superfloppy};
    use crate::disk_layout::stretches;

    fn plain(text: &str) -> String {
        text.replace('\u{a0}', " ")
    }

    #[test]
    fn the_head_says_the_least_alignment() {
        let mut contents = mbr_disk();
        assert_eq!(
            plain(&head(&contents.table)),
            "MBR · 512 B sectors · aligned to 1 MiB"
        );
        contents.table.partitions[0].range.start = 63 * 512;
        assert_eq!(
            plain(&head(&contents.table)),
            "MBR · 512 B sectors · aligned to cylinders"
        );
    }

    #[test]
    fn rows_show_use_and_alignment() {
        let contents = mbr_disk();
        let stretches = stretches(&contents);
        let rows = rows(&contents, &stretches, None, &Smallest::default());
        let root = rows.iter().find(|row| row.label == "root").unwrap();
        assert_eq!(root.partition, "1 Linux");
        assert_eq!(root.file_system, "ext4");
        assert_eq!(root.used, Some((25 << 20, 0.25)));
        assert_eq!(root.alignment, Some(Alignment::Mib));
        let logical = rows
            .iter()
            .find(|row| row.partition.starts_with('5'))
            .unwrap();
        assert!(logical.indented);
        let free = rows.last().unwrap();
        assert_eq!((free.colour, free.alignment), (None, None));
    }

    #[test]
    fn details_say_what_is_odd() {
        let mut contents = mbr_disk();
        contents.table.partitions[0].range.start = 63 * 512;
        let all = stretches(&contents);
        let stretch = all
            .iter()
            .find(|stretch| stretch.kind == StretchKind::Partition(0))
            .unwrap();
        let [place, content] = details(&contents, stretch);
        let find = |group: &FactGroup, title: &str| {
            group
                .facts
                .iter()
                .find(|fact| fact.title == title)
                .unwrap()
                .clone()
        };
        assert_eq!(place.title, "Partition 1");
        assert_eq!(find(&place, "Type").copied(), "0x83");
        assert_eq!(find(&place, "Flags").value, "bootable");
        assert_eq!(find(&place, "Start").subtitle.as_deref(), Some("sector 63"));
        assert_eq!(find(&place, "Alignment").tone, Tone::Warning);
        assert_eq!(find(&content, "UUID").value, "1234-ABCD");
    }

    #[test]
    fn a_disk_without_a_table_says_so() {
        let contents = superfloppy();
        assert!(
            note(&contents.table)
                .unwrap()
                .contains("no partition table")
        );
        let stretches = stretches(&contents);
        let [place, content] = details(&contents, &stretches[0]);
        assert_eq!(place.title, "Whole disk");
        assert_eq!(content.facts[0].value, "FAT16");
        assert_eq!(note(&mbr_disk().table), None);
    }
}
