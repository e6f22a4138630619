//! The bytes of a GPT: protective MBR and two copies, after the UEFI specification 2.10, 5.2 and 5.3.

use uuid::Uuid;

use super::Copies;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;
use crate::table::encode::TableWrite;
use crate::table::{PartitionTable, PartitionType, mbr};

const ENTRY_SIZE: u32 = 128;
/// Entries of a GPT for which nothing else was asked.
pub(in crate::table) const USUAL_ENTRIES: u32 = 128;
const HEADER_BYTES: u32 = 92;
const REVISION: u32 = 0x0001_0000;

/// Bytes of the entry array of a table as this module writes it, in whole sectors.
pub(in crate::table) fn array_bytes(entries: u32, sector_size: u64) -> u64 {
    (u64::from(entries) * u64::from(ENTRY_SIZE)).next_multiple_of(sector_size)
}

/// The writes for a GPT; see [`crate::table::encode()`].
pub(in crate::table) fn encode(
    table: &PartitionTable,
    disk: &dyn Storage,
) -> Result<Vec<Vec<TableWrite>>> {
    let size = table.sector_size;
    let last = table.disk_size / size - 1;
    let array_sectors = array_bytes(table.entries, size) / size;
    let old = Copies::find(disk, table.disk_size)?;
    let mut array = array_of(table, old.as_ref())?;
    let crc = crc32fast::hash(&array);
    array.resize(
        usize::try_from(array_bytes(table.entries, size)).unwrap_or(0),
        0,
    );
    check_room(table, array_sectors)?;
    let disk_id = table.id.as_deref().and_then(|id| Uuid::parse_str(id).ok());
    let disk_id = disk_id.ok_or_else(|| invalid("the table has no disk GUID"))?;
    let header = |own: u64, alternate: u64, entries_at: u64| {
        let place = Place {
            own,
            alternate,
            entries_at,
            entries_crc: crc,
        };
        header_sector(table, disk_id, &place)
    };
    let at = |sector: u64, bytes: Vec<u8>| TableWrite {
        offset: sector * size,
        bytes,
    };
    let backup_array = last - array_sectors;
    let mut groups = vec![
        vec![
            at(backup_array, array.clone()),
            at(last, header(last, 1, backup_array)),
        ],
        vec![at(2, array), at(1, header(1, last, 2))],
        vec![TableWrite {
            offset: 0,
            bytes: protective(table, disk)?,
        }],
    ];
    let stale = old.as_ref().and_then(|old| stale_backup(old, table, last));
    groups.extend(stale.map(|write| vec![write]));
    Ok(groups)
}

/// The writes that make the headers of a GPT unrecognisable, for a disk that gets another table.
pub(in crate::table) fn wipe(disk: &dyn Storage, disk_size: u64) -> Result<Vec<TableWrite>> {
    let Some(copies) = Copies::find(disk, disk_size)? else {
        return Ok(Vec::new());
    };
    let size = copies.sector_size;
    let zeroes = |sector: u64| TableWrite {
        offset: sector * size,
        bytes: vec![0; usize::try_from(size).unwrap_or(512)],
    };
    let primary = (!copies.primary.is_nothing()).then(|| zeroes(1));
    let backup = (!copies.backup.is_nothing()).then(|| zeroes(copies.backup_at));
    Ok(primary.into_iter().chain(backup).collect())
}

/// The old backup header of a disk that has grown: left alone it would be taken for the better
/// copy one day. It stays where a partition lies on it by now.
fn stale_backup(old: &Copies, table: &PartitionTable, last: u64) -> Option<TableWrite> {
    let size = table.sector_size;
    let offset = old.backup_at.checked_mul(size)?;
    let is_ours = old.backup.good()?.header.disk.to_string() == table.id.clone()?;
    let in_use = table
        .partitions
        .iter()
        .any(|partition| partition.range.contains(&offset));
    let elsewhere =
        old.sector_size == size && old.backup_at != last && offset >= table.usable.start;
    (is_ours && elsewhere && !in_use).then(|| TableWrite {
        offset,
        bytes: vec![0; usize::try_from(size).unwrap_or(512)],
    })
}

fn array_of(table: &PartitionTable, old: Option<&Copies>) -> Result<Vec<u8>> {
    let kept = old.and_then(|old| old.best()).map(|(copy, _)| copy);
    if let Some(copy) = kept
        && copy.header.entry_size != ENTRY_SIZE
    {
        return Err(Error::unsupported(format!(
            "a GPT with entries of {} bytes cannot be changed",
            copy.header.entry_size
        )));
    }
    const SIZE: usize = ENTRY_SIZE as usize;
    let mut array = vec![0; SIZE * table.entries as usize];
    for partition in &table.partitions {
        let index = partition.number.saturating_sub(1) as usize;
        let entry = array
            .get_mut(index * SIZE..(index + 1) * SIZE)
            .ok_or_else(|| invalid("a partition has a number that a GPT has no entry for"))?;
        let PartitionType::Gpt(kind) = partition.kind else {
            return Err(invalid("a partition has the type of another kind of table"));
        };
        let uuid = partition
            .uuid
            .as_deref()
            .and_then(|id| Uuid::parse_str(id).ok());
        let uuid = uuid.ok_or_else(|| invalid("a partition has no GUID"))?;
        entry[0..16].copy_from_slice(&kind.to_bytes_le());
        entry[16..32].copy_from_slice(&uuid.to_bytes_le());
        let (first, end) = (
            partition.range.start / table.sector_size,
            partition.range.end / table.sector_size,
        );
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&(end - 1).to_le_bytes());
        entry[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
        let name = partition.name.as_deref().unwrap_or_default();
        for (at, unit) in entry[56..].chunks_exact_mut(2).zip(name.encode_utf16()) {
            at.copy_from_slice(&unit.to_le_bytes());
        }
    }
    Ok(array)
}

/// Both arrays must lie beside the partitions: a header may claim otherwise.
fn check_room(table: &PartitionTable, array_sectors: u64) -> Result<()> {
    let size = table.sector_size;
    let head = (2 + array_sectors) * size;
    let tail = (1 + array_sectors) * size;
    let ends = table.partitions.iter().map(|partition| &partition.range);
    let fits = table.entries > 0
        && table.disk_size / size * size >= head + tail
        && ends.clone().all(|range| range.start >= head)
        && ends
            .clone()
            .all(|range| range.end <= table.disk_size / size * size - tail);
    if fits {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "the {} entries of the GPT have no room beside its partitions",
        table.entries
    )))
}

struct Place {
    own: u64,
    alternate: u64,
    entries_at: u64,
    entries_crc: u32,
}

fn header_sector(table: &PartitionTable, disk: Uuid, place: &Place) -> Vec<u8> {
    let mut sector = vec![0; usize::try_from(table.sector_size).unwrap_or(512)];
    let first_usable = table.usable.start / table.sector_size;
    let last_usable = table.usable.end / table.sector_size - 1;
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"EFI PART");
    put(8, &REVISION.to_le_bytes());
    put(12, &HEADER_BYTES.to_le_bytes());
    put(24, &place.own.to_le_bytes());
    put(32, &place.alternate.to_le_bytes());
    put(40, &first_usable.to_le_bytes());
    put(48, &last_usable.to_le_bytes());
    put(56, &disk.to_bytes_le());
    put(72, &place.entries_at.to_le_bytes());
    put(80, &table.entries.to_le_bytes());
    put(84, &ENTRY_SIZE.to_le_bytes());
    put(88, &place.entries_crc.to_le_bytes());
    let crc = crc32fast::hash(&sector[..HEADER_BYTES as usize]);
    sector[16..20].copy_from_slice(&crc.to_le_bytes());
    sector
}

/// The first sector with its boot code and, of a hybrid MBR, the entries that still are partitions
/// of the GPT; the protective entry covers the disk.
fn protective(table: &PartitionTable, disk: &dyn Storage) -> Result<Vec<u8>> {
    let size = table.sector_size;
    let mut sector = mbr::boot_sector(disk)?;
    let old = mbr::BootSector::read(disk)?;
    let has_protective = old.signed && old.protective().is_some();
    let hybrid: Vec<_> = old
        .ordinary()
        .filter(|entry| {
            let start = u64::from(entry.start) * size;
            let end = start + u64::from(entry.sectors) * size;
            let partitions = &mut table.partitions.iter();
            has_protective && partitions.any(|partition| partition.range == (start..end))
        })
        .map(|entry| usize::from(entry.slot) - 1)
        .collect();
    let kept = old.protective().filter(|_| has_protective);
    for slot in 0..4 {
        if !hybrid.contains(&slot) {
            mbr::put_entry(&mut sector, slot, None);
        }
    }
    mbr::sign(&mut sector, None);
    let slot = kept.map_or(0, |entry| usize::from(entry.slot) - 1);
    let sectors = table.disk_size / size - 1;
    let sectors = if hybrid.is_empty() {
        sectors
    } else {
        // What lies behind the protective entry of a hybrid MBR is its owner's choice.
        kept.map_or(sectors, |entry| u64::from(entry.sectors))
    };
    let entry = mbr::NewEntry {
        active: false,
        kind: mbr::PROTECTIVE,
        first: 1,
        base: 0,
        sectors: sectors.min(u64::from(u32::MAX)),
    };
    mbr::put_entry(&mut sector, slot, Some(&entry));
    Ok(sector.to_vec())
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
