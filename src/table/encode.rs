//! The bytes of a table, in the order in which they may be written.
//!
//! Boot code, and what a GPT keeps beside its partitions, stay as they are on the disk.

use std::ops::Range;

use super::{PartitionTable, PartitionType, Role, TableKind, gpt, mbr};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Storage, WritableStorage};
use crate::units::{MIB, align_down};

/// Bytes that belong somewhere on the disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TableWrite {
    /// Byte offset on the disk.
    pub offset: u64,
    /// Whole sectors.
    pub bytes: Vec<u8>,
}

/// The writes that give `disk` this table: groups, each of which must be durable before the next
/// is begun. Of a GPT the backup copy comes first, so that at every moment one copy is whole.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when there is no table, or the disk has another size than the table
/// was made for; I/O errors.
pub fn encode(table: &PartitionTable, disk: &dyn Storage) -> Result<Vec<Vec<TableWrite>>> {
    if disk.size()? != table.disk_size {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the table was made for a disk of another size",
        ));
    }
    match table.kind {
        TableKind::Gpt => gpt::encode(table, disk),
        TableKind::Mbr => encode_mbr(table, disk),
        TableKind::None => Err(Error::new(
            ErrorKind::InvalidInput,
            "there is no table to write",
        )),
    }
}

/// Writes the table to `disk`; durable on return.
///
/// # Errors
/// As [`encode`] and [`WritableStorage::write_at`].
pub fn write(table: &PartitionTable, disk: &dyn WritableStorage) -> Result<()> {
    for group in encode(table, disk as &dyn Storage)? {
        for write in group {
            disk.write_at(&write.bytes, write.offset)?;
        }
        disk.flush()?;
    }
    Ok(())
}

/// Logical partitions from the last to the first, then the MBR that makes them known, then what is
/// left of a GPT is wiped.
fn encode_mbr(table: &PartitionTable, disk: &dyn Storage) -> Result<Vec<Vec<TableWrite>>> {
    let mut groups = Vec::new();
    let records = boot_records(table);
    if !records.is_empty() {
        groups.push(records);
    }
    let mut sector = mbr::boot_sector(disk)?;
    mbr::sign(&mut sector, signature(table));
    let main = table
        .partitions
        .iter()
        .filter(|partition| partition.role != Role::Logical);
    for slot in 0..4 {
        mbr::put_entry(&mut sector, slot, None);
    }
    for partition in main {
        let slot = usize::try_from(partition.number - 1).unwrap_or(usize::MAX);
        let entry = mbr::NewEntry {
            active: partition.active,
            kind: code(partition.kind),
            first: partition.range.start / table.sector_size,
            base: 0,
            sectors: (partition.range.end - partition.range.start) / table.sector_size,
        };
        mbr::put_entry(&mut sector, slot, Some(&entry));
    }
    groups.push(vec![TableWrite {
        offset: 0,
        bytes: sector.to_vec(),
    }]);
    let remains = gpt::wipe(disk, table.disk_size)?;
    if !remains.is_empty() {
        groups.push(remains);
    }
    Ok(groups)
}

/// The extended boot records, the last first.
fn boot_records(table: &PartitionTable) -> Vec<TableWrite> {
    let size = table.sector_size;
    let extended = table.partitions.iter().find(|p| p.role == Role::Extended);
    let Some(extended) = extended else {
        return Vec::new();
    };
    let base = extended.range.start;
    let logical: Vec<_> = table
        .partitions
        .iter()
        .filter(|p| p.role == Role::Logical)
        .collect();
    let mut places = Vec::new();
    let mut cursor = base;
    for (index, partition) in logical.iter().enumerate() {
        places.push(if index == 0 {
            base
        } else {
            record_place(cursor..partition.range.start, size)
        });
        cursor = partition.range.end;
    }
    let mut writes = vec![];
    for (index, partition) in logical.iter().enumerate() {
        let place = places[index];
        let mut sector = [0; 512];
        mbr::sign(&mut sector, None);
        let entry = mbr::NewEntry {
            active: partition.active,
            kind: code(partition.kind),
            first: partition.range.start / size,
            base: place / size,
            sectors: (partition.range.end - partition.range.start) / size,
        };
        mbr::put_entry(&mut sector, 0, Some(&entry));
        if let (Some(next), Some(next_place)) = (logical.get(index + 1), places.get(index + 1)) {
            let link = mbr::NewEntry {
                active: false,
                kind: 0x05,
                first: next_place / size,
                base: base / size,
                sectors: (next.range.end - next_place) / size,
            };
            mbr::put_entry(&mut sector, 1, Some(&link));
        }
        writes.push(TableWrite {
            offset: place,
            bytes: sector.to_vec(),
        });
    }
    if logical.is_empty() {
        let mut sector = [0; 512];
        mbr::sign(&mut sector, None);
        writes.push(TableWrite {
            offset: base,
            bytes: sector.to_vec(),
        });
    }
    writes.reverse();
    writes
}

/// Where the record of a logical partition stands: on a whole MiB if one is free, as the usual
/// tools do, else right in front of the partition.
fn record_place(gap: Range<u64>, sector_size: u64) -> u64 {
    let last = gap.end.saturating_sub(sector_size);
    let aligned = align_down(last, MIB);
    if aligned >= gap.start { aligned } else { last }
}

fn signature(table: &PartitionTable) -> Option<u32> {
    let digits = table.id.as_deref()?.strip_prefix("0x")?;
    u32::from_str_radix(digits, 16).ok()
}

fn code(kind: PartitionType) -> u8 {
    match kind {
        PartitionType::Mbr(code) => code,
        PartitionType::Gpt(_) => 0,
    }
}
