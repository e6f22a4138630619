//! A table of the other kind with the same partitions, where nothing is lost.

use std::ops::Range;

use uuid::{Uuid, uuid};

use super::{Partition, PartitionTable, PartitionType, Refusal, Role, TableKind, gpt, sort, types};
use crate::phrase::{Phrase, gettext_noop};

/// What the types of one kind of table are in the other. Of several with the same code, or the same
/// GUID, the first is taken.
const PAIRS: &[(u8, Uuid)] = &[
    (0x83, uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4")),
    (0x82, uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")),
    (0xef, uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")),
    (0x8e, uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928")),
    (0xfd, uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e")),
    (0x07, uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")),
    (0x0c, uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")),
    (0x0b, uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")),
    (0x0e, uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")),
    (0x06, uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")),
    (0x04, uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")),
    (0x01, uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")),
    (0x27, uuid!("de94bba4-06d1-4d40-a16a-bfd50179d6ac")),
    (0xa5, uuid!("516e7cb4-6ecf-11d6-8ff8-00022d09712b")),
    (0xaf, uuid!("48465300-0000-11aa-aa11-00306543ecac")),
    // Types that only one of the two tables has.
    (0x83, uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915")),
    (0x83, uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8")),
    (0x83, uuid!("44479540-f297-41b2-9af7-d131d5f0458a")),
    (0x83, uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")),
];

impl PartitionTable {
    /// The same partitions in a GPT, at the same places and under the same numbers; logical ones
    /// become plain ones. `disk` is the new GUID of the disk; `draw` makes one for each partition.
    ///
    /// # Errors
    /// [`Refusal::WrongTable`] when it is no MBR; [`Refusal::WouldLose`] with the sectors that the
    /// GPT needs and a partition has, or the type that a GPT has no name for.
    pub fn to_gpt(&self, disk: Uuid, mut draw: impl FnMut() -> Uuid) -> Result<Self, Refusal> {
        if self.kind != TableKind::Mbr {
            return Err(Refusal::WrongTable("the disk has no MBR to be converted"));
        }
        let mut table = Self::new_gpt(self.disk_size, self.sector_size, disk)?;
        for partition in &self.partitions {
            if partition.role == Role::Extended {
                continue;
            }
            table.check_room(partition)?;
            let PartitionType::Mbr(code) = partition.kind else {
                continue;
            };
            let Some((_, guid)) = PAIRS.iter().find(|(known, _)| *known == code) else {
                return Err(Refusal::WouldLose(format!(
                    "partition {} has the type 0x{code:02x}, which a GPT does not know: give it \
                     another type first",
                    partition.number
                )));
            };
            table.partitions.push(Partition {
                kind: PartitionType::Gpt(*guid),
                type_name: types::gpt_name(*guid).unwrap_or("unknown").to_owned(),
                name: None,
                uuid: Some(draw().to_string()),
                attributes: if partition.active {
                    gpt::LEGACY_BOOT
                } else {
                    0
                },
                role: Role::Primary,
                ..partition.clone()
            });
        }
        sort(&mut table.partitions);
        Ok(table)
    }

    /// The same partitions in an MBR, all of them primary. Names and GUIDs of partitions have no
    /// place there: [`Self::lost_in_mbr`] says which go.
    ///
    /// # Errors
    /// [`Refusal::WrongTable`] when it is no GPT; [`Refusal::WouldLose`] for more than four
    /// partitions, one that ends behind what 32 bits can count, and types or attributes that an
    /// MBR has no code for.
    pub fn to_mbr(&self, signature: u32) -> Result<Self, Refusal> {
        if self.kind != TableKind::Gpt {
            return Err(Refusal::WrongTable("the disk has no GPT to be converted"));
        }
        let count = self.partitions.len();
        if count > 4 {
            return Err(Refusal::WouldLose(format!(
                "an MBR has room for 4 partitions, and there are {count}"
            )));
        }
        let mut table = Self::new_mbr(self.disk_size, self.sector_size, signature)?;
        for partition in &self.partitions {
            table.check_room(partition)?;
            let code = mbr_type(partition)?;
            let lost = partition.attributes & !gpt::LEGACY_BOOT;
            if lost != 0 {
                return Err(Refusal::WouldLose(format!(
                    "partition {} would lose its attributes ({})",
                    partition.number,
                    partition.describe_attributes().join(", ")
                )));
            }
            table.partitions.push(Partition {
                kind: PartitionType::Mbr(code),
                type_name: types::mbr_name(code).unwrap_or("unknown").to_owned(),
                name: None,
                attributes: 0,
                ..partition.clone()
            });
        }
        if table.partitions.iter().filter(|one| one.active).count() > 1 {
            return Err(Refusal::WouldLose(
                "an MBR boots from one partition, and several are marked".to_owned(),
            ));
        }
        table.renumber_primary();
        table.put_in_order();
        Ok(table)
    }

    /// What of a GPT an MBR has no place for, although nothing that works depends on it: a sentence
    /// each.
    #[must_use]
    pub fn lost_in_mbr(&self) -> Vec<Phrase> {
        let names = self.partitions.iter().filter_map(|partition| {
            let name = partition.name.as_ref()?;
            let number = partition.number;
            let lost = Phrase::new(gettext_noop("partition {number} loses its name “{name}”"));
            Some(lost.count("number", u64::from(number)).text("name", name))
        });
        let guids = (!self.partitions.is_empty()).then(|| {
            Phrase::new(gettext_noop(
                "the partitions get other identifiers (PARTUUID): whatever names them must be changed",
            ))
        });
        names.chain(guids).collect()
    }

    /// Whether the structures of this table leave a partition of another one alone.
    fn check_room(&self, partition: &Partition) -> Result<(), Refusal> {
        let size = self.sector_size;
        let sectors = |bytes: &Range<u64>| (bytes.start / size, (bytes.end / size).max(1) - 1);
        let (first, last) = sectors(&partition.range);
        let (usable_first, usable_last) = sectors(&self.usable);
        let number = partition.number;
        if !partition.range.start.is_multiple_of(size) || !partition.range.end.is_multiple_of(size)
        {
            return Err(Refusal::NotSectors(size));
        }
        if first < usable_first {
            return Err(Refusal::WouldLose(format!(
                "the table needs the sectors up to {}, and partition {number} begins in sector \
                 {first}",
                usable_first - 1
            )));
        }
        if last > usable_last {
            return Err(Refusal::WouldLose(format!(
                "partitions can reach up to sector {usable_last}, and partition {number} reaches \
                 up to sector {last}"
            )));
        }
        Ok(())
    }

    /// Numbers above 4 become the lowest that is free.
    fn renumber_primary(&mut self) {
        let mut free: Vec<u32> = (1..=4)
            .filter(|number| self.partition(*number).is_none())
            .collect();
        free.reverse();
        for partition in &mut self.partitions {
            if partition.number > 4
                && let Some(number) = free.pop()
            {
                partition.number = number;
            }
        }
    }
}

fn mbr_type(partition: &Partition) -> Result<u8, Refusal> {
    let PartitionType::Gpt(guid) = partition.kind else {
        return Err(Refusal::WrongTable(
            "the type belongs to another kind of table",
        ));
    };
    let pair = PAIRS.iter().find(|(_, known)| *known == guid);
    pair.map(|(code, _)| *code).ok_or_else(|| {
        Refusal::WouldLose(format!(
            "partition {} has the type {}, which an MBR does not know: give it another type first",
            partition.number, partition.type_name
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::NewPartition;
    use crate::units::{GIB, MIB};

    fn mbr(partitions: &[(Range<u64>, u8, Role)]) -> PartitionTable {
        let mut table = PartitionTable::new_mbr(GIB, 512, 7).unwrap();
        for (range, code, role) in partitions {
            let new = NewPartition {
                range: range.clone(),
                kind: PartitionType::Mbr(*code),
                role: *role,
                name: None,
                uuid: None,
            };
            table.add(new).unwrap();
        }
        table
    }

    fn drawn() -> impl FnMut() -> Uuid {
        let mut next = 100;
        move || {
            next += 1;
            Uuid::from_u128(next)
        }
    }

    #[test]
    fn logical_partitions_become_plain_ones_and_keep_their_numbers() {
        let table = mbr(&[
            (MIB..10 * MIB, 0x0c, Role::Primary),
            (10 * MIB..100 * MIB, 0x05, Role::Extended),
            (11 * MIB..20 * MIB, 0x83, Role::Logical),
            (21 * MIB..30 * MIB, 0x82, Role::Logical),
        ]);
        let gpt = table.to_gpt(Uuid::from_u128(1), drawn()).unwrap();
        let numbers: Vec<u32> = gpt.partitions.iter().map(|one| one.number).collect();
        assert_eq!(numbers, [1, 5, 6]);
        assert!(gpt.partitions.iter().all(|one| one.role == Role::Primary));
        let back = gpt.to_mbr(9).unwrap();
        let codes: Vec<_> = back
            .partitions
            .iter()
            .map(|one| (one.number, one.kind))
            .collect();
        let mbr = PartitionType::Mbr;
        // Basic data is what NTFS and FAT share in a GPT; the usual code comes back.
        assert_eq!(codes, [(1, mbr(0x07)), (2, mbr(0x83)), (3, mbr(0x82))]);
    }

    #[test]
    fn what_does_not_fit_is_said_with_its_numbers() {
        let early = mbr(&[(33 * 512..MIB, 0x83, Role::Primary)]);
        let why = early.to_gpt(Uuid::nil(), drawn()).unwrap_err().to_string();
        assert!(
            why.contains("up to 33") && why.contains("sector 33"),
            "{why}"
        );
        let late = mbr(&[(MIB..GIB, 0x83, Role::Primary)]);
        let why = late.to_gpt(Uuid::nil(), drawn()).unwrap_err().to_string();
        assert!(why.contains("2097118") && why.contains("2097151"), "{why}");
        let odd = mbr(&[(MIB..2 * MIB, 0x99, Role::Primary)]);
        let why = odd.to_gpt(Uuid::nil(), drawn()).unwrap_err().to_string();
        assert!(why.contains("0x99"), "{why}");
    }

    #[test]
    fn an_mbr_refuses_what_it_has_no_place_for() {
        let mut gpt = mbr(&[(MIB..2 * MIB, 0x83, Role::Primary)])
            .to_gpt(Uuid::from_u128(1), drawn())
            .unwrap();
        gpt.set_name(1, "root").unwrap();
        assert!(gpt.lost_in_mbr()[0].to_string().contains("“root”"));
        gpt.set_attributes(1, 1).unwrap();
        let why = gpt.to_mbr(7).unwrap_err().to_string();
        assert!(why.contains("required"), "{why}");
        gpt.set_attributes(1, 0).unwrap();
        for start in 2..6 {
            let new = NewPartition {
                range: start * MIB..(start + 1) * MIB,
                kind: gpt.partitions[0].kind,
                role: Role::Primary,
                name: None,
                uuid: Some(Uuid::from_u128(start.into())),
            };
            gpt.add(new).unwrap();
        }
        let why = gpt.to_mbr(7).unwrap_err().to_string();
        assert!(why.contains("there are 5"), "{why}");
    }
}
