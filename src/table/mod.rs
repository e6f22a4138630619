//! Partition tables on any storage: MBR with extended and logical partitions, GPT, or none.

use std::ops::Range;

use uuid::Uuid;

use crate::error::Result;
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
}

/// Something wrong with a table, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// A sentence without final stop: "backup GPT is not at the end of the disk: the disk has
    /// grown by 5 GiB".
    pub message: String,
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
    /// What is wrong with it.
    pub damage: Vec<Damage>,
}

impl PartitionTable {
    /// Partitions and free space (of at least one sector) in disk order. Logical partitions and
    /// the free space between them follow their extended partition.
    #[must_use]
    pub fn regions(&self) -> Vec<Region> {
        Vec::new()
    }
}

/// Reads the table of a disk. A damaged table is read as far as it goes, with
/// [`PartitionTable::damage`] saying what is wrong.
///
/// # Errors
/// Only when reading the disk fails.
pub fn read(disk: &dyn Storage) -> Result<PartitionTable> {
    let disk_size = disk.size()?;
    Ok(PartitionTable {
        kind: TableKind::None,
        sector_size: 512,
        disk_size,
        id: None,
        partitions: Vec::new(),
        usable: 0..disk_size,
        damage: Vec::new(),
    })
}
