//! Partition tables on any storage: MBR with extended and logical partitions, GPT, or none.
//!
//! GPT is read as the UEFI specification (2.10, chapter 5) lays it down, MBR as Linux and the DOS
//! descendants do it. Where both are on a disk, Linux decides what counts: a GPT needs its
//! protective MBR.

mod convert;
mod damage;
mod dump;
mod ebr;
mod edit;
mod encode;
mod gpt;
mod mbr;
mod regions;
#[cfg(test)]
mod tests;
mod types;

use std::ops::Range;

pub use edit::{NewPartition, Refusal};
pub use encode::{TableWrite, encode, write};
use uuid::Uuid;

use crate::error::Result;
use crate::phrase::{Phrase, gettext_noop};
use crate::storage::Storage;

/// Which table a disk has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TableKind {
    /// GUID partition table.
    Gpt,
    /// Master boot record ("dos", "msdos").
    Mbr,
    /// No table: empty, or one file system over the whole disk ("superfloppy").
    None,
}

/// Place of an MBR partition in the scheme. GPT partitions are all primary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// An entry of the main table.
    Primary,
    /// The container of the logical ones.
    Extended,
    /// Inside the extended one.
    Logical,
}

/// What a partition is for, as its table says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PartitionType {
    /// GPT type GUID.
    Gpt(Uuid),
    /// MBR type byte.
    Mbr(u8),
}

/// The usual name of a partition type ("EFI System", "Linux LVM"); `None` if it has none.
#[must_use]
pub fn type_name(kind: PartitionType) -> Option<&'static str> {
    match kind {
        PartitionType::Gpt(guid) => types::gpt_name(guid),
        PartitionType::Mbr(code) => types::mbr_name(code),
    }
}

/// The types that have a usual name in a table of this kind, with it; none without a table.
#[must_use]
pub fn named_types(kind: TableKind) -> Vec<(PartitionType, &'static str)> {
    match kind {
        TableKind::Gpt => types::GPT
            .iter()
            .map(|(guid, name)| (PartitionType::Gpt(*guid), *name))
            .collect(),
        TableKind::Mbr => types::MBR
            .iter()
            .map(|(code, name)| (PartitionType::Mbr(*code), *name))
            .collect(),
        TableKind::None => Vec::new(),
    }
}

/// One partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// As Linux numbers it: GPT entry index + 1, MBR 1 to 4, logical ones from 5.
    pub number: u32,
    /// The bytes of the disk it covers.
    pub range: Range<u64>,
    /// Its type.
    pub kind: PartitionType,
    /// The type's usual name ("Linux filesystem", "EFI System"); "unknown" with the code if none.
    pub type_name: String,
    /// The GPT partition name.
    pub name: Option<String>,
    /// The GPT partition GUID, or "signature-number" for MBR.
    pub uuid: Option<String>,
    /// GPT attribute bits, raw.
    pub attributes: u64,
    /// The MBR boot flag, or GPT's legacy boot attribute.
    pub active: bool,
    /// Place in an MBR; `Primary` in a GPT.
    pub role: Role,
}

impl Partition {
    /// The largest power of two (1 GiB at most) that divides the start: what it is aligned to.
    #[must_use]
    pub fn alignment(&self) -> u64 {
        1 << self.range.start.trailing_zeros().min(30)
    }

    /// What its GPT attribute bits say, in words ("required", "read-only"); a bit without a known
    /// meaning as "bit N". Empty for an MBR partition.
    #[must_use]
    pub fn describe_attributes(&self) -> Vec<String> {
        match self.kind {
            PartitionType::Gpt(kind) => gpt::describe_attributes(kind, self.attributes),
            PartitionType::Mbr(_) => Vec::new(),
        }
    }
}

/// Something wrong with a table, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// A sentence without final stop: "backup GPT is not at the end of the disk: the disk has
    /// grown by 5 GiB".
    pub message: Phrase,
    /// Where on the disk.
    pub offset: u64,
    /// Partitions may be wrong or missing because of it; otherwise the table works as it is.
    pub serious: bool,
}

/// A stretch of the disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Region {
    /// Index in [`PartitionTable::partitions`].
    Partition(usize),
    /// Space no partition uses. Inside the extended partition when `logical`.
    Free {
        /// The bytes.
        range: Range<u64>,
        /// It could only hold a logical partition.
        logical: bool,
    },
}

/// The table of a disk.
#[derive(Clone, Debug)]
pub struct PartitionTable {
    /// Which.
    pub kind: TableKind,
    /// Logical sector size the table was written for: 512 or 4096.
    pub sector_size: u64,
    /// Size of the disk in bytes.
    pub disk_size: u64,
    /// GPT disk GUID, or the MBR signature as "0x1234abcd".
    pub id: Option<String>,
    /// In order of their start.
    pub partitions: Vec<Partition>,
    /// Bytes that partitions may use (between the GPT structures; from sector 1 for MBR).
    pub usable: Range<u64>,
    /// Entries that it has room for: of a GPT as its header says, of an MBR 4, without a table 0.
    pub entries: u32,
    /// What is wrong with it.
    pub damage: Vec<Damage>,
}

impl PartitionTable {
    /// Partitions and free space (of at least one sector) in disk order. Logical partitions and
    /// the free space between them follow their extended partition.
    #[must_use]
    pub fn regions(&self) -> Vec<Region> {
        regions::regions(self)
    }
}

/// Reads the table of a disk. A damaged table is read as far as it goes, with
/// [`PartitionTable::damage`] saying what is wrong.
///
/// # Errors
/// Only when reading the disk fails.
pub fn read(disk: &dyn Storage) -> Result<PartitionTable> {
    let disk_size = disk.size()?;
    let boot = mbr::BootSector::read(disk)?;
    let copies = gpt::Copies::find(disk, disk_size)?;
    if gpt::counts(disk, disk_size, &boot, copies.as_ref())? {
        return gpt::read(disk_size, &boot, copies.as_ref());
    }
    let mut table = mbr::read(disk, disk_size, &boot)?;
    if table.kind == TableKind::Mbr && copies.is_some_and(|copies| copies.any_good()) {
        table.damage.push(Damage {
            message: Phrase::new(gettext_noop("a GPT is on the disk too, but the MBR has no protective partition for it: Linux reads the MBR")),
            offset: 0,
            serious: false,
        });
    }
    Ok(table)
}

/// The bytes of the disk in which its table is, beside the first sector: boot records of logical
/// partitions, or both copies of a GPT. In order, without overlaps.
///
/// # Errors
/// Only when reading the disk fails.
pub fn places(disk: &dyn Storage) -> Result<Vec<Range<u64>>> {
    let disk_size = disk.size()?;
    let boot = mbr::BootSector::read(disk)?;
    let copies = gpt::Copies::find(disk, disk_size)?;
    let mut places = match &copies {
        Some(copies) => copies.places(disk_size),
        None => Vec::new(),
    };
    for at in mbr::record_places(disk, disk_size, &boot)? {
        places.push(at..at.saturating_add(512).min(disk_size));
    }
    places.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in places {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    Ok(joined)
}

/// Order of [`PartitionTable::partitions`]: an extended partition before what it contains.
fn sort(partitions: &mut [Partition]) {
    partitions.sort_by_key(|partition| {
        (
            partition.range.start,
            partition.role == Role::Logical,
            partition.number,
        )
    });
}
