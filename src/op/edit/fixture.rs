//! A small disk for the tests of this folder.

use crate::fs::{FileSystem, FsKind, Usage};
use crate::inspect::{Contents, Volume};
use crate::table::{Partition, PartitionTable, PartitionType, Role, TableKind};

pub(super) const MIB: u64 = 1 << 20;

/// The guide's thumb drive: 966 MiB, MBR, ext4 at 1–501 MiB (half full) and at 501–901 MiB.
pub(super) fn two_ext4() -> Contents {
    let partition = |number: u32, mib: std::ops::Range<u64>| Partition {
        number,
        range: mib.start * MIB..mib.end * MIB,
        kind: PartitionType::Mbr(0x83),
        type_name: "Linux".to_owned(),
        name: None,
        uuid: Some(format!("1234abcd-{number:02}")),
        attributes: 0,
        active: false,
        role: Role::Primary,
    };
    let partitions = vec![partition(1, 1..501), partition(2, 501..901)];
    let volumes = partitions
        .iter()
        .enumerate()
        .map(|(index, partition)| Volume {
            partition: Some(index),
            range: partition.range.clone(),
            file_system: Some(FileSystem {
                kind: FsKind::Ext4,
                label: Some(format!("data{}", partition.number)),
                uuid: None,
                size: Some(partition.range.end - partition.range.start),
                usage: Some(Usage {
                    used: 250 * MIB,
                    free: 250 * MIB,
                }),
                block_size: Some(4096),
                notes: Vec::new(),
                details: Vec::new(),
            }),
            error: None,
        })
        .collect();
    Contents {
        table: PartitionTable {
            kind: TableKind::Mbr,
            sector_size: 512,
            disk_size: 966 * MIB,
            id: Some("0x1234abcd".to_owned()),
            partitions,
            usable: 512..966 * MIB,
            entries: 4,
            damage: Vec::new(),
        },
        volumes,
        moves_by: None,
    }
}
