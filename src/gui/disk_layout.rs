//! The guest disk as stretches side by side: what the partition strip draws and the partitions
//! table lists.

use std::ops::Range;

use platter::fs::FileSystem;
use platter::inspect::{Contents, Volume};
use platter::table::{Partition, Region, Role, TableKind};

use crate::describe;
use crate::format;
use crate::i18n::{fill, gettext};
use crate::widgets::partition_bar::Segment;

/// A gap shorter than this is there for alignment: nobody looks for space in it.
const LEAST_FREE: u64 = platter::units::MIB;

/// Colours that partitions take in turn; the style sheets define as many.
const COLOURS: usize = 6;

/// What a stretch is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StretchKind {
    /// A partition: its index in the table.
    Partition(usize),
    /// An extended partition, which only holds others.
    Extended(usize),
    /// The whole disk, without a table.
    WholeDisk,
    /// Space that no partition uses; inside the extended partition if `logical`.
    Free {
        /// It could only hold a logical partition.
        logical: bool,
    },
}

/// A stretch of the guest disk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// What it is.
    pub(crate) kind: StretchKind,
    /// The bytes.
    pub(crate) range: Range<u64>,
    /// Its colour, for partitions and the whole disk.
    pub(crate) colour: Option<usize>,
    /// What people call it: file system label, else partition name, else its type.
    pub(crate) title: String,
    /// The file system, or what else it is.
    pub(crate) content: Option<String>,
    /// Bytes in use, where the file system says so.
    pub(crate) used: Option<u64>,
}

impl Stretch {
    /// Its length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// "ext4 · 1 GiB".
    pub(crate) fn subtitle(&self) -> String {
        let size = format::size(self.size());
        match &self.content {
            Some(content) => format!("{content} · {size}"),
            None => size,
        }
    }

    /// "410 MiB used".
    pub(crate) fn used_text(&self) -> Option<String> {
        let used = format::size(self.used?);
        Some(fill(&gettext("{size} used"), &[("size", &used)]))
    }

    /// All in one line, for a tooltip and a screen reader.
    pub(crate) fn sentence(&self) -> String {
        let mut parts = vec![self.subtitle()];
        parts.extend(self.used_text());
        parts.join(" · ")
    }

    /// Of its size, what is used.
    pub(crate) fn used_fraction(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "a fraction of a bar")]
        let fraction = self.used? as f64 / self.size().max(1) as f64;
        Some(fraction.min(1.0))
    }

    /// Whether it is part of the strip. An extended partition is not: what it contains is.
    pub(crate) fn is_in_strip(&self) -> bool {
        !matches!(self.kind, StretchKind::Extended(_))
    }
}

/// The strip of the stretches that are part of it.
pub(crate) fn segments(stretches: &[Stretch]) -> Vec<Segment> {
    stretches
        .iter()
        .filter(|stretch| stretch.is_in_strip())
        .map(|stretch| Segment {
            size: stretch.size(),
            colour: stretch.colour,
            title: stretch.title.clone(),
            lines: [Some(stretch.subtitle()), stretch.used_text()]
                .into_iter()
                .flatten()
                .collect(),
            fill: stretch.used_fraction(),
            description: stretch.sentence(),
        })
        .collect()
}

/// All stretches in disk order; an extended partition is followed by what it contains.
pub(crate) fn stretches(contents: &Contents) -> Vec<Stretch> {
    if contents.table.kind == TableKind::None {
        return whole_disk(contents);
    }
    contents
        .table
        .regions()
        .into_iter()
        .filter_map(|region| match region {
            Region::Partition(index) => Some(partition_stretch(contents, index)),
            Region::Free { range, logical } => free_stretch(range, logical),
        })
        .collect()
}

/// The volume of a partition, with what was found in it.
pub(crate) fn volume_of(contents: &Contents, partition: Option<usize>) -> Option<&Volume> {
    contents
        .volumes
        .iter()
        .find(|volume| volume.partition == partition)
}

fn whole_disk(contents: &Contents) -> Vec<Stretch> {
    let volume = volume_of(contents, None);
    let file_system = volume.and_then(|volume| volume.file_system.as_ref());
    let title = file_system
        .and_then(|found| found.label.clone())
        .unwrap_or_else(|| match file_system {
            Some(_) => gettext("Whole disk"),
            None => gettext("Nothing recognised"),
        });
    vec![Stretch {
        kind: StretchKind::WholeDisk,
        range: 0..contents.table.disk_size,
        colour: file_system.map(|_| 2),
        title,
        content: file_system.map(|found| describe::fs_name(found.kind)),
        used: used(file_system),
    }]
}

fn partition_stretch(contents: &Contents, index: usize) -> Stretch {
    let partition = &contents.table.partitions[index];
    let is_extended = partition.role == Role::Extended;
    let file_system =
        volume_of(contents, Some(index)).and_then(|volume| volume.file_system.as_ref());
    Stretch {
        kind: if is_extended {
            StretchKind::Extended(index)
        } else {
            StretchKind::Partition(index)
        },
        range: partition.range.clone(),
        colour: Some(index % COLOURS),
        title: title(partition, file_system),
        content: file_system.map(|found| describe::fs_name(found.kind)),
        used: used(file_system),
    }
}

fn title(partition: &Partition, file_system: Option<&FileSystem>) -> String {
    let label = file_system.and_then(|found| found.label.as_ref());
    let name = partition.name.as_ref().filter(|name| !name.is_empty());
    label.or(name).unwrap_or(&partition.type_name).clone()
}

fn used(file_system: Option<&FileSystem>) -> Option<u64> {
    Some(file_system?.usage?.used)
}

fn free_stretch(range: Range<u64>, logical: bool) -> Option<Stretch> {
    (range.end - range.start >= LEAST_FREE).then(|| Stretch {
        kind: StretchKind::Free { logical },
        range,
        colour: None,
        title: gettext("Unallocated"),
        content: None,
        used: None,
    })
}

#[cfg(test)]
pub(crate) mod fixture {
    //! A small disk as an engine would describe it.

    use platter::fs::{FileSystem, FsKind, Usage};
    use platter::inspect::{Contents, Volume};
    use platter::table::{Partition, PartitionTable, PartitionType, Role, TableKind};

    pub(crate) const MIB: u64 = 1 << 20;

    pub(crate) fn file_system(kind: FsKind, label: Option<&str>, used: Option<u64>) -> FileSystem {
        FileSystem {
            kind,
            label: label.map(str::to_owned),
            uuid: Some("1234-ABCD".to_owned()),
            size: Some(100 * MIB),
            usage: used.map(|used| Usage {
                used,
                free: 100 * MIB - used,
            }),
            block_size: Some(4096),
            notes: Vec::new(),
            details: Vec::new(),
        }
    }

    pub(crate) fn partition(number: u32, mib: std::ops::Range<u64>, role: Role) -> Partition {
        Partition {
            number,
            range: mib.start * MIB..mib.end * MIB,
            kind: PartitionType::Mbr(0x83),
            type_name: "Linux".to_owned(),
            name: None,
            uuid: None,
            attributes: 0,
            active: number == 1,
            role,
        }
    }

    /// 1–101 MiB ext4 "root", 101–301 MiB extended with 102–202 MiB of something unknown, then
    /// free space to 400 MiB.
    pub(crate) fn mbr_disk() -> Contents {
        let partitions = vec![
            partition(1, 1..101, Role::Primary),
            partition(2, 101..301, Role::Extended),
            partition(5, 102..202, Role::Logical),
        ];
        let volume = |index: usize, file_system| Volume {
            partition: Some(index),
            range: partitions[index].range.clone(),
            file_system,
            error: None,
        };
        let volumes = vec![
            volume(
                0,
                Some(file_system(FsKind::Ext4, Some("root"), Some(25 * MIB))),
            ),
            volume(2, None),
        ];
        Contents {
            table: PartitionTable {
                kind: TableKind::Mbr,
                sector_size: 512,
                disk_size: 400 * MIB,
                id: Some("0x1234abcd".to_owned()),
                partitions,
                usable: 512..400 * MIB,
                entries: 4,
                damage: Vec::new(),
            },
            volumes,
            moves_by: None,
        }
    }

    /// FAT16 over the whole disk.
    pub(crate) fn superfloppy() -> Contents {
        Contents {
            table: PartitionTable {
                kind: TableKind::None,
                sector_size: 512,
                disk_size: 100 * MIB,
                id: None,
                partitions: Vec::new(),
                usable: 0..100 * MIB,
                entries: 4,
                damage: Vec::new(),
            },
            volumes: vec![Volume {
                partition: None,
                range: 0..100 * MIB,
                file_system: Some(file_system(FsKind::Fat16, None, None)),
                error: None,
            }],
            moves_by: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{mbr_disk, superfloppy};
    use super::*;

    #[test]
    fn a_disk_is_listed_in_order_with_its_free_space() {
        let all = stretches(&mbr_disk());
        let kinds: Vec<_> = all.iter().map(|stretch| stretch.kind).collect();
        assert!(kinds.contains(&StretchKind::Partition(0)));
        assert!(kinds.contains(&StretchKind::Extended(1)));
        assert!(kinds.contains(&StretchKind::Free { logical: true }));
        assert!(kinds.contains(&StretchKind::Free { logical: false }));
        assert_eq!(
            all.iter().filter(|stretch| stretch.is_in_strip()).count(),
            all.len() - 1
        );
        let root = &all[kinds
            .iter()
            .position(|kind| *kind == StretchKind::Partition(0))
            .unwrap()];
        assert_eq!(root.title, "root");
        assert_eq!(root.used_fraction(), Some(0.25));
        assert!(root.sentence().contains("ext4") && root.sentence().contains("used"));
    }

    #[test]
    fn a_disk_without_a_table_is_one_volume() {
        let all = stretches(&superfloppy());
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].kind, StretchKind::WholeDisk);
        assert_eq!(all[0].content.as_deref(), Some("FAT16"));
        assert_eq!(all[0].used_fraction(), None);
    }
}
