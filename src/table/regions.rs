//! Partitions and the free space around them, in disk order.

use std::ops::Range;

use super::{Partition, PartitionTable, Region, Role};

pub(super) fn regions(table: &PartitionTable) -> Vec<Region> {
    let mut walk = Walk {
        sector_size: table.sector_size,
        end: table.usable.end,
        regions: Vec::with_capacity(table.partitions.len() * 2 + 1),
    };
    let mut cursor = table.usable.start;
    for (index, partition) in table.partitions.iter().enumerate() {
        if is_inside_extended(table, partition) {
            continue; // told with its extended partition
        }
        walk.free(cursor..partition.range.start, false);
        walk.regions.push(Region::Partition(index));
        if partition.role == Role::Extended {
            walk.inside_extended(table, index);
        }
        cursor = cursor.max(partition.range.end);
    }
    walk.free(cursor..table.usable.end, false);
    walk.regions
}

fn is_inside_extended(table: &PartitionTable, partition: &Partition) -> bool {
    partition.role == Role::Logical && extended_around(table, partition).is_some()
}

/// Index of the extended partition that `logical` begins in: the first, should several overlap.
fn extended_around(table: &PartitionTable, logical: &Partition) -> Option<usize> {
    table.partitions.iter().position(|extended| {
        extended.role == Role::Extended && extended.range.contains(&logical.range.start)
    })
}

struct Walk {
    sector_size: u64,
    /// No space is free behind it, whatever an extended partition claims.
    end: u64,
    regions: Vec<Region>,
}

impl Walk {
    fn free(&mut self, range: Range<u64>, logical: bool) {
        let range = range.start..range.end.min(self.end);
        if range.start < range.end && range.end - range.start >= self.sector_size {
            self.regions.push(Region::Free { range, logical });
        }
    }

    /// Every logical partition is preceded by the sector that describes it, and an empty extended
    /// partition begins with one: that sector is not free.
    fn inside_extended(&mut self, table: &PartitionTable, extended: usize) {
        let range = table.partitions[extended].range.clone();
        // The table may promise more than the disk has.
        let end = range.end.min(table.usable.end);
        let descriptor = self.sector_size;
        let mut cursor = range.start;
        for (index, partition) in table.partitions.iter().enumerate() {
            if partition.role != Role::Logical
                || extended_around(table, partition) != Some(extended)
            {
                continue;
            }
            let gap_end = partition.range.start.min(end);
            self.free(cursor.saturating_add(descriptor)..gap_end, true);
            self.regions.push(Region::Partition(index));
            cursor = cursor.max(partition.range.end);
        }
        if cursor == range.start {
            cursor = cursor.saturating_add(descriptor);
        }
        self.free(cursor..end, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{PartitionType, TableKind};

    fn partition(number: u32, range: Range<u64>, role: Role) -> Partition {
        Partition {
            number,
            range,
            kind: PartitionType::Mbr(0x83),
            type_name: String::new(),
            name: None,
            uuid: None,
            attributes: 0,
            active: false,
            role,
        }
    }

    fn table(partitions: Vec<Partition>, usable: Range<u64>) -> PartitionTable {
        PartitionTable {
            kind: TableKind::Mbr,
            sector_size: 512,
            disk_size: 1 << 20,
            id: None,
            partitions,
            usable,
            entries: 4,
            damage: Vec::new(),
        }
    }

    fn free(range: Range<u64>, logical: bool) -> Region {
        Region::Free { range, logical }
    }

    #[test]
    fn space_before_between_and_after() {
        let table = table(
            vec![
                partition(1, 1024..2048, Role::Primary),
                partition(2, 4096..8192, Role::Primary),
            ],
            512..10_000,
        );
        assert_eq!(
            table.regions(),
            [
                free(512..1024, false),
                Region::Partition(0),
                free(2048..4096, false),
                Region::Partition(1),
                free(8192..10_000, false),
            ]
        );
    }

    #[test]
    fn logical_ones_follow_their_extended_partition() {
        let table = table(
            vec![
                partition(1, 4096..65_536, Role::Extended),
                partition(5, 4608..8192, Role::Logical),
                partition(6, 16_384..32_768, Role::Logical),
                partition(2, 65_536..70_000, Role::Primary),
            ],
            512..70_000,
        );
        assert_eq!(
            table.regions(),
            [
                free(512..4096, false),
                Region::Partition(0),
                Region::Partition(1),
                free(8704..16_384, true),
                Region::Partition(2),
                free(32_768..65_536, true),
                Region::Partition(3),
            ]
        );
    }

    #[test]
    fn overlaps_slivers_and_the_outside_are_harmless() {
        let table = table(
            vec![
                partition(1, 0..8192, Role::Primary),
                partition(2, 1024..2048, Role::Primary),
                partition(3, 8300..u64::MAX, Role::Primary),
                partition(5, 9000..9100, Role::Logical),
            ],
            512..16_384,
        );
        assert_eq!(
            table.regions(),
            [0, 1, 2, 3].map(Region::Partition),
            "nothing is free, and every partition is told once"
        );
    }

    #[test]
    fn an_empty_disk_is_one_free_region() {
        assert_eq!(
            table(Vec::new(), 512..4096).regions(),
            [free(512..4096, false)]
        );
    }
}
