//! The master boot record: four entries in the first sector.

use super::damage::Findings;
use super::{Partition, PartitionTable, PartitionType, Role, TableKind, ebr, sort, types};
use crate::codec::Fields;
use crate::error::Result;
use crate::phrase::{Phrase, gettext_noop};
use crate::storage::Storage;
use crate::units::align_down;

/// Sectors that the 32-bit fields of an MBR can address.
const ADDRESSABLE_SECTORS: u64 = 1 << 32;
pub(super) const PROTECTIVE: u8 = 0xee;

/// One of the four entries of an MBR or EBR.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// 1 to 4.
    pub(super) slot: u8,
    pub(super) flag: u8,
    pub(super) kind: u8,
    pub(super) start: u32,
    pub(super) sectors: u32,
}

impl Entry {
    /// Linux goes by the size, not the type: hybrid ISO images have partitions of type 0.
    pub(super) fn is_used(self) -> bool {
        self.sectors != 0
    }

    pub(super) fn is_extended(self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    /// The partition it describes, its start counted from sector `base`.
    pub(super) fn partition(self, number: u32, base: u64, layout: Layout) -> Partition {
        let first = base.saturating_add(u64::from(self.start));
        let last = first.saturating_add(u64::from(self.sectors));
        Partition {
            number,
            range: first.saturating_mul(layout.sector_size)
                ..last.saturating_mul(layout.sector_size),
            kind: PartitionType::Mbr(self.kind),
            type_name: types::mbr_name(self.kind)
                .map_or_else(|| format!("unknown (0x{:02x})", self.kind), str::to_owned),
            name: None,
            uuid: (layout.signature != 0).then(|| format!("{:08x}-{number:02x}", layout.signature)),
            attributes: 0,
            active: self.flag == 0x80,
            role: Role::Primary,
        }
    }
}

/// An entry to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewEntry {
    pub(super) active: bool,
    pub(super) kind: u8,
    /// First sector, from the start of the disk.
    pub(super) first: u64,
    /// The sector that the field counts from: 0 in the MBR.
    pub(super) base: u64,
    pub(super) sectors: u64,
}

/// The first 512 bytes of the disk.
pub(super) fn boot_sector(disk: &dyn Storage) -> Result<[u8; 512]> {
    let mut sector = [0; 512];
    disk.read_padded_at(&mut sector, 0)?;
    Ok(sector)
}

/// Ends a boot record in 55 AA, and gives it a disk signature.
pub(super) fn sign(sector: &mut [u8; 512], signature: Option<u32>) {
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    if let Some(signature) = signature {
        sector[440..444].copy_from_slice(&signature.to_le_bytes());
    }
}

/// Writes entry `slot` (0 to 3) of a boot record; `None` empties it.
pub(super) fn put_entry(sector: &mut [u8; 512], slot: usize, entry: Option<&NewEntry>) {
    let at = 446 + slot.min(3) * 16;
    let bytes = &mut sector[at..at + 16];
    bytes.fill(0);
    let Some(entry) = entry else {
        return;
    };
    let field = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let last = entry.first + entry.sectors.saturating_sub(1);
    bytes[0] = if entry.active { 0x80 } else { 0 };
    bytes[1..4].copy_from_slice(&chs(entry.first));
    bytes[4] = entry.kind;
    bytes[5..8].copy_from_slice(&chs(last));
    bytes[8..12].copy_from_slice(&field(entry.first - entry.base));
    bytes[12..16].copy_from_slice(&field(entry.sectors));
}

/// The address of a sector as head, sector and cylinder of the usual invented geometry (255 heads,
/// 63 sectors); the largest one for what lies behind its 8 GiB. Nobody reads it any more.
fn chs(sector: u64) -> [u8; 3] {
    const HEADS: u64 = 255;
    const SECTORS: u64 = 63;
    let cylinder = sector / (HEADS * SECTORS);
    if cylinder > 1023 {
        return [0xfe, 0xff, 0xff];
    }
    let byte = |value: u64| u8::try_from(value & 0xff).unwrap_or(0);
    let head = sector / SECTORS % HEADS;
    let in_track = sector % SECTORS + 1;
    [
        byte(head),
        byte(in_track | (cylinder >> 8 << 6)),
        byte(cylinder),
    ]
}

/// What all partitions of one MBR share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) sector_size: u64,
    /// The disk signature ("NT serial number").
    pub(super) signature: u32,
}

/// The entries of a boot record, if it ends in 55 AA.
pub(super) fn entries(sector: &[u8]) -> Result<Option<[Entry; 4]>> {
    let fields = Fields::new(sector, 0);
    if fields.slice(510, 2)? != [0x55, 0xaa] {
        return Ok(None);
    }
    entries_unsigned(fields).map(Some)
}

fn entries_unsigned(fields: Fields<'_>) -> Result<[Entry; 4]> {
    let entry = |slot: u8| -> Result<Entry> {
        let at = 446 + 16 * (usize::from(slot) - 1);
        Ok(Entry {
            slot,
            flag: fields.u8(at)?,
            kind: fields.u8(at + 4)?,
            start: fields.le32(at + 8)?,
            sectors: fields.le32(at + 12)?,
        })
    };
    Ok([entry(1)?, entry(2)?, entry(3)?, entry(4)?])
}

/// The first sector of a disk.
#[derive(Debug)]
pub(super) struct BootSector {
    /// It ends in 55 AA.
    pub(super) signed: bool,
    disk_signature: u32,
    entries: [Entry; 4],
    /// It describes a file system: FAT, exFAT or NTFS over the whole disk.
    pub(super) is_file_system: bool,
}

impl BootSector {
    pub(super) fn read(disk: &dyn Storage) -> Result<Self> {
        let mut sector = [0; 512];
        disk.read_padded_at(&mut sector, 0)?;
        let fields = Fields::new(&sector, 0);
        Ok(Self {
            signed: fields.slice(510, 2)? == [0x55, 0xaa],
            disk_signature: fields.le32(440)?,
            entries: entries_unsigned(fields)?,
            is_file_system: has_parameter_block(fields)?,
        })
    }

    /// The entry that protects a GPT from programs that do not know it.
    pub(super) fn protective(&self) -> Option<Entry> {
        self.entries
            .into_iter()
            .find(|entry| entry.kind == PROTECTIVE && entry.is_used())
    }

    /// The entries beside the protective one.
    pub(super) fn ordinary(&self) -> impl Iterator<Item = Entry> {
        self.entries
            .into_iter()
            .filter(|entry| entry.is_used() && entry.kind != PROTECTIVE)
    }

    /// Whether the four entries can be a partition table at all. Boot code or messages in their
    /// place do not survive this.
    fn is_sane(&self) -> bool {
        let flags = self.entries.iter().map(|entry| entry.flag);
        self.signed && flags.into_iter().all(|flag| matches!(flag, 0 | 0x80))
    }

    /// Whether it is a partition table rather than the boot sector of a file system.
    pub(super) fn has_partitions(&self, disk_size: u64) -> bool {
        self.is_sane()
            && self
                .ordinary()
                .any(|entry| u64::from(entry.start) * 512 < disk_size)
            // mkfs.fat can write an entry from sector 0 on into its own boot sector, for Windows.
            && !(self.is_file_system && self.ordinary().any(|entry| entry.start == 0))
    }

    fn is_table(&self, disk_size: u64) -> bool {
        let empty_table = self.is_sane()
            && !self.is_file_system
            && self.disk_signature != 0
            && self.entries.iter().all(|entry| !entry.is_used());
        self.has_partitions(disk_size) || empty_table
    }
}

/// A BIOS parameter block in the strict sense of the FAT and NTFS boot sectors, or exFAT's.
fn has_parameter_block(fields: Fields<'_>) -> Result<bool> {
    if matches!(fields.slice(3, 8)?, b"NTFS    " | b"EXFAT   ") {
        return Ok(true);
    }
    let jump = fields.u8(0)?;
    let bytes_per_sector = fields.le16(11)?;
    let sectors_per_cluster = fields.u8(13)?;
    let reserved = fields.le16(14)?;
    let fats = fields.u8(16)?;
    let media = fields.u8(21)?;
    let sectors = u32::from(fields.le16(19)?).max(fields.le32(32)?);
    Ok(matches!(jump, 0xeb | 0xe9)
        && bytes_per_sector.is_power_of_two()
        && (512..=4096).contains(&bytes_per_sector)
        && sectors_per_cluster.is_power_of_two()
        && reserved != 0
        && matches!(fats, 1 | 2)
        && (media == 0xf0 || media >= 0xf8)
        && sectors != 0)
}

/// Reads the MBR, its extended partitions, or finds that there is no table.
pub(super) fn read(
    disk: &dyn Storage,
    disk_size: u64,
    boot: &BootSector,
) -> Result<PartitionTable> {
    let mut findings = Findings::default();
    if !boot.is_table(disk_size) {
        if boot.signed && !boot.is_file_system && boot.ordinary().next().is_some() {
            findings.note(
                446,
                Phrase::new(gettext_noop("the first sector ends in the boot signature 55 AA, but its partition entries make no sense")),
            );
        }
        return Ok(no_table(disk_size, findings));
    }
    let layout = Layout {
        sector_size: sector_size(disk, disk_size, boot)?,
        signature: boot.disk_signature,
    };
    let mut partitions = Vec::new();
    let mut containers = Vec::new();
    for entry in boot.ordinary() {
        let mut partition = entry.partition(u32::from(entry.slot), 0, layout);
        if entry.is_extended() {
            partition.role = Role::Extended;
            containers.push(entry);
        }
        partitions.push(partition);
    }
    if containers.len() > 1 {
        let message = Phrase::new(gettext_noop("{number} extended partitions instead of one"));
        findings.note(446, message.count("number", containers.len() as u64));
    }
    ebr::read(disk, &containers, layout, &mut partitions, &mut findings)?;
    sort(&mut partitions);
    findings.judge_ranges(&partitions, disk_size);
    judge_active(&partitions, &mut findings);

    let reach = ADDRESSABLE_SECTORS * layout.sector_size;
    if disk_size > reach {
        let message = Phrase::new(gettext_noop(
            "an MBR reaches only {reach} of this {size} disk",
        ));
        findings.note(446, message.size("reach", reach).size("size", disk_size));
    }
    let usable_end = align_down(disk_size, layout.sector_size).min(reach);
    Ok(PartitionTable {
        kind: TableKind::Mbr,
        sector_size: layout.sector_size,
        disk_size,
        id: (layout.signature != 0).then(|| format!("0x{:08x}", layout.signature)),
        partitions,
        usable: layout.sector_size.min(usable_end)..usable_end,
        entries: 4,
        damage: findings.finish(),
    })
}

/// Byte offsets of the boot records in which the logical partitions are.
pub(super) fn record_places(
    disk: &dyn Storage,
    disk_size: u64,
    boot: &BootSector,
) -> Result<Vec<u64>> {
    if !boot.is_table(disk_size) {
        return Ok(Vec::new());
    }
    let layout = Layout {
        sector_size: sector_size(disk, disk_size, boot)?,
        signature: boot.disk_signature,
    };
    let containers: Vec<Entry> = boot
        .ordinary()
        .filter(|entry| entry.is_extended())
        .collect();
    ebr::places(disk, &containers, layout)
}

fn no_table(disk_size: u64, findings: Findings) -> PartitionTable {
    PartitionTable {
        kind: TableKind::None,
        sector_size: 512,
        disk_size,
        id: None,
        partitions: Vec::new(),
        usable: 0..disk_size,
        entries: 0,
        damage: findings.finish(),
    }
}

fn judge_active(partitions: &[Partition], findings: &mut Findings) {
    let active = partitions
        .iter()
        .filter(|partition| partition.active && partition.role != Role::Logical)
        .count();
    if active > 1 {
        let message = Phrase::new(gettext_noop("{number} partitions are marked active"));
        findings.note(446, message.count("number", active as u64));
    }
}

/// An MBR does not say how long its sectors are. 512, unless something a partition begins with
/// stands where 4096 would put it, and nothing where 512 would.
fn sector_size(disk: &dyn Storage, disk_size: u64, boot: &BootSector) -> Result<u64> {
    for entry in boot.ordinary() {
        let (first, sectors) = (u64::from(entry.start), u64::from(entry.sectors));
        if (first + sectors) * 4096 > disk_size || first == 0 {
            return Ok(512);
        }
        if begins_something(disk, first * 512)? {
            return Ok(512);
        }
        if begins_something(disk, first * 4096)? {
            return Ok(4096);
        }
    }
    Ok(512)
}

/// A boot record, an ext or an XFS superblock at `offset`.
fn begins_something(disk: &dyn Storage, offset: u64) -> Result<bool> {
    let mut head = [0; 2048];
    disk.read_padded_at(&mut head, offset)?;
    Ok(head[510..512] == [0x55, 0xaa]
        || head[1080..1082] == [0x53, 0xef]
        || head.starts_with(b"XFSB"))
}
