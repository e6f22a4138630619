//! FAT12, FAT16 and FAT32, after Microsoft's "FAT: General Overview of On-Disk Format" 1.03 and
//! the checks of Linux.

mod entries;
mod resize;
mod serial;

use std::collections::HashSet;
use std::ops::ControlFlow;

use entries::{Entries, Visit};
pub(in crate::fs) use resize::{least, resize};
pub(in crate::fs) use serial::set_serial;

use super::extents::Extents;
use super::volume::{Piece, Volume};
use super::{FileSystem, FsKind};
use crate::codec::{Fields, printable};
use crate::error::{Error, Result};

/// Clusters from which on it is no FAT12, no FAT16, no FAT at all.
const FAT12_END: u64 = 0xff5;
const FAT16_END: u64 = 0xfff5;
const FAT32_END: u64 = 0x0fff_fff7;
const ENTRY: usize = 32;
/// Clusters of a FAT32 root directory searched for the label.
const MAX_ROOT_CLUSTERS: usize = 100;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    let boot = volume.head(0);
    let has_name = ["FAT12   ", "FAT16   ", "FAT     ", "MSDOS"]
        .iter()
        .any(|name| volume.has(54, name.as_bytes()))
        || ["FAT32   ", "MSWIN"]
            .iter()
            .any(|name| volume.has(82, name.as_bytes()));
    // Old DOS wrote no name; then the boot signature and a jump have to be there.
    let looks_bootable = volume.has(510, &[0x55, 0xaa])
        && boot.u8(0).is_ok_and(|jump| matches!(jump, 0xeb | 0xe9))
        && !volume.has(54, b"HPFS")
        && !volume.has(54, b"JFS");
    (has_name || looks_bootable) && Layout::read(boot).is_ok()
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let boot = volume.head(0);
    let layout = Layout::read(boot)?;
    let mut fs = FileSystem::new(layout.kind);
    // FAT32 has longer fields before the part that both have.
    let extended = if layout.kind == FsKind::Fat32 { 64 } else { 36 };
    let has_extended = boot.u8(extended + 2)? == 0x29;
    if has_extended || boot.u8(extended + 2)? == 0x28 {
        let serial = boot.le32(extended + 3)?;
        fs.uuid = Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff));
    }
    fs.label = root_label(volume, &layout)?;
    if fs.label.is_none() && has_extended {
        fs.label = oem_text(boot.slice(extended + 7, 11)?).filter(|label| label != "NO NAME");
    }
    fs.size = Some(layout.sectors * layout.sector_size);
    fs.block_size = Some(layout.cluster_size);

    let is_dirty = boot.u8(extended + 1)? & 1 != 0 || !was_shut_down(volume, &layout)?;
    if is_dirty {
        fs.note("was not unmounted cleanly");
    }
    if let Some(free) = free_clusters(volume, &layout, is_dirty)? {
        let free = free * layout.cluster_size;
        fs.set_free(layout.sectors * layout.sector_size, free);
    }
    fs.detail("cluster size", format!("{} bytes", layout.cluster_size));
    Ok(fs)
}

/// Where everything is, in bytes unless said otherwise. All sums of it fit 64 bits.
struct Layout {
    kind: FsKind,
    sector_size: u64,
    sectors: u64,
    cluster_size: u64,
    /// Of the first FAT.
    fat_start: u64,
    fat_size: u64,
    /// Of FAT12 and FAT16.
    root_start: u64,
    root_size: u64,
    data_start: u64,
    clusters: u64,
    /// Of FAT32.
    root_cluster: u64,
    info_sector: u64,
}

impl Layout {
    fn read(boot: Fields<'_>) -> Result<Self> {
        let bad = |field| Error::corrupt("makes no sense in a FAT boot sector").with_field(field);
        let sector_size = u64::from(boot.le16(11)?);
        if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
            return Err(bad("BPB_BytsPerSec"));
        }
        let sectors_per_cluster = u64::from(boot.u8(13)?);
        if !sectors_per_cluster.is_power_of_two() {
            return Err(bad("BPB_SecPerClus"));
        }
        let reserved = u64::from(boot.le16(14)?);
        if reserved == 0 {
            return Err(bad("BPB_RsvdSecCnt"));
        }
        let fats = u64::from(boot.u8(16)?);
        if fats == 0 || fats > 4 {
            return Err(bad("BPB_NumFATs"));
        }
        if !matches!(boot.u8(21)?, 0xf0 | 0xf8..) {
            return Err(bad("BPB_Media"));
        }
        let short = u64::from(boot.le16(19)?);
        let sectors = if short == 0 {
            u64::from(boot.le32(32)?)
        } else {
            short
        };
        let short_fat = u64::from(boot.le16(22)?);
        let is_fat32 = short_fat == 0;
        let fat_sectors = if is_fat32 {
            u64::from(boot.le32(36)?)
        } else {
            short_fat
        };
        if fat_sectors == 0 {
            return Err(bad("BPB_FATSz32"));
        }
        let root_size = u64::from(boot.le16(17)?) * ENTRY as u64;
        let root_start = reserved + fats * fat_sectors;
        let data_start = root_start + root_size.div_ceil(sector_size);
        let data_sectors = sectors
            .checked_sub(data_start)
            .ok_or_else(|| bad("BPB_TotSec32"))?;
        let clusters = data_sectors / sectors_per_cluster;
        let kind = match clusters {
            _ if is_fat32 => FsKind::Fat32,
            0..FAT12_END => FsKind::Fat12,
            _ => FsKind::Fat16,
        };
        if clusters >= if is_fat32 { FAT32_END } else { FAT16_END } {
            return Err(bad("BPB_TotSec32"));
        }
        Ok(Self {
            kind,
            sector_size,
            sectors,
            cluster_size: sectors_per_cluster * sector_size,
            fat_start: reserved * sector_size,
            fat_size: fat_sectors * sector_size,
            root_start: root_start * sector_size,
            root_size,
            data_start: data_start * sector_size,
            clusters,
            root_cluster: u64::from(boot.le32(44)?),
            info_sector: u64::from(boot.le16(48)?),
        })
    }

    /// First byte of cluster `number`; the first cluster is number 2.
    fn cluster(&self, number: u64) -> Option<u64> {
        let index = number.checked_sub(2)?;
        (index < self.clusters).then(|| self.data_start + index * self.cluster_size)
    }
}

/// The volume label in the root directory, which Windows and Linux show; the one in the boot
/// sector is only a copy from the day of formatting.
fn root_label(volume: &Volume<'_>, layout: &Layout) -> Result<Option<String>> {
    if layout.kind != FsKind::Fat32 {
        let length = usize::try_from(layout.root_size).unwrap_or(0);
        let directory = volume.read(layout.root_start, length)?;
        return Ok(directory.and_then(|bytes| label_entry(&bytes).ok().flatten()));
    }
    let mut seen = HashSet::new();
    let mut cluster = layout.root_cluster;
    while seen.len() < MAX_ROOT_CLUSTERS && seen.insert(cluster) {
        let Some(offset) = layout.cluster(cluster) else {
            break;
        };
        let length = usize::try_from(layout.cluster_size).unwrap_or(0);
        let Some(directory) = volume.read(offset, length)? else {
            break;
        };
        match label_entry(&directory) {
            Ok(Some(label)) => return Ok(Some(label)),
            Ok(None) => {}
            Err(EndOfDirectory) => break,
        }
        let Some(entry) = volume.read(layout.fat_start + cluster * 4, 4)? else {
            break;
        };
        cluster = u64::from(Fields::new(&entry, 0).le32(0)? & 0x0fff_ffff);
    }
    Ok(None)
}

struct EndOfDirectory;

fn label_entry(directory: &[u8]) -> Result<Option<String>, EndOfDirectory> {
    const VOLUME_ID: u8 = 0x08;
    const DIRECTORY: u8 = 0x10;
    const LONG_NAME: u8 = 0x0f;
    for entry in directory.chunks_exact(ENTRY) {
        let attributes = entry[11];
        match entry[0] {
            0 => return Err(EndOfDirectory),
            0xe5 => continue, // deleted
            _ => {}
        }
        let is_label = attributes & (VOLUME_ID | DIRECTORY) == VOLUME_ID
            && attributes & 0x3f != LONG_NAME
            // A label has no contents.
            && entry[20..22] == [0, 0]
            && entry[26..28] == [0, 0];
        if is_label {
            let mut name = [0; 11];
            name.copy_from_slice(&entry[..11]);
            if name[0] == 0x05 {
                name[0] = 0xe5; // stands for a first letter that would mean "deleted"
            }
            return Ok(oem_text(&name));
        }
    }
    Ok(None)
}

/// Text in the code page of whoever wrote it; anything outside ASCII is shown as unknown, unless it
/// happens to be UTF-8.
fn oem_text(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    printable(&String::from_utf8_lossy(text))
}

/// The flag in the second entry of the FAT, which Windows clears while a volume is in use.
fn was_shut_down(volume: &Volume<'_>, layout: &Layout) -> Result<bool> {
    let (at, length, flag) = match layout.kind {
        FsKind::Fat32 => (4, 4, 1 << 27),
        FsKind::Fat16 => (2, 2, 1 << 15),
        _ => return Ok(true), // FAT12 has no room for it
    };
    let Some(entry) = volume.read(layout.fat_start + at, length)? else {
        return Ok(true);
    };
    let mut bytes = [0; 4];
    bytes[..length].copy_from_slice(&entry);
    Ok(u32::from_le_bytes(bytes) & flag != 0)
}

/// FAT32 writes the number of free clusters down, as a hint; it is believed on a clean volume when
/// it is possible. Otherwise the FAT is counted.
fn free_clusters(volume: &Volume<'_>, layout: &Layout, is_dirty: bool) -> Result<Option<u64>> {
    if layout.kind == FsKind::Fat32
        && !is_dirty
        && let Some(free) = noted_free(volume, layout)?
    {
        return Ok(Some(free));
    }
    count_free(volume, layout)
}

fn noted_free(volume: &Volume<'_>, layout: &Layout) -> Result<Option<u64>> {
    let Some(bytes) = volume.read(layout.info_sector * layout.sector_size, 512)? else {
        return Ok(None);
    };
    let info = Fields::new(&bytes, 0);
    if info.slice(0, 4)? != b"RRaA" || info.slice(484, 4)? != b"rrAa" {
        return Ok(None);
    }
    let free = u64::from(info.le32(488)?);
    Ok((free <= layout.clusters).then_some(free))
}

fn count_free(volume: &Volume<'_>, layout: &Layout) -> Result<Option<u64>> {
    let mut free = 0;
    let counted = scan_free(volume, layout, &mut |clusters| {
        free += clusters.end - clusters.start;
        ControlFlow::Continue(())
    })?;
    Ok(counted.then_some(free))
}

/// Streams the first FAT and visits runs of free clusters, the first cluster being number 0. False
/// when the FAT is too short or too long.
fn scan_free(volume: &Volume<'_>, layout: &Layout, visit: Visit<'_>) -> Result<bool> {
    let bits: u64 = match layout.kind {
        FsKind::Fat32 => 32,
        FsKind::Fat16 => 16,
        _ => 12,
    };
    let length = ((layout.clusters + 2) * bits).div_ceil(8);
    if length > layout.fat_size {
        return Ok(false);
    }
    let range = layout.fat_start..layout.fat_start + length;
    let mut entries = Entries::new(bits, layout.clusters, visit);
    let scanned = volume.scan(range, &mut |piece| match piece {
        Piece::Data(bytes) => entries.feed(bytes),
        Piece::Zeroes(length) => entries.feed_zeroes(length),
    })?;
    entries.finish();
    Ok(scanned)
}

/// Visits the free clusters; see [`super::free_extents`].
pub(super) fn free_extents(volume: &Volume<'_>, extents: &mut Extents<'_>) -> Result<bool> {
    let Ok(layout) = Layout::read(volume.head(0)) else {
        return Ok(false);
    };
    extents.set_unit(layout.cluster_size, layout.data_start);
    scan_free(volume, &layout, &mut |clusters| extents.add(clusters))
}
