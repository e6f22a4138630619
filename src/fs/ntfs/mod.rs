//! NTFS, as the documentation of the Linux-NTFS project describes it.

mod hibernation;
mod record;

use std::ops::Range;

pub(in crate::fs) use hibernation::unfit;
use record::{Attribute, Record};

use super::extents::{Extents, add_zero_bits};
use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, utf16le};
use crate::error::{Error, Result};

/// Numbers of records in the master file table.
const VOLUME: u64 = 3;
const BITMAP: u64 = 6;
/// Types of attributes.
const VOLUME_NAME: u32 = 0x60;
const VOLUME_INFORMATION: u32 = 0x70;
const DATA: u32 = 0x80;
const DIRTY: u16 = 1;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    volume.has(3, b"NTFS    ") && Layout::read(volume.head(0)).is_ok()
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let boot = volume.head(0);
    let layout = Layout::read(boot)?;
    let mut fs = FileSystem::new(FsKind::Ntfs);
    fs.uuid = Some(format!("{:016X}", boot.le64(72)?));
    let size = layout.sectors.saturating_mul(layout.sector_size);
    fs.size = Some(size);
    fs.block_size = Some(layout.cluster_size);
    fs.detail("cluster size", format!("{} bytes", layout.cluster_size));

    match layout.record(volume, VOLUME)? {
        Some(record) => read_volume_record(&mut fs, &record)?,
        None => fs.note("its master file table cannot be read"),
    }
    if let Some(record) = layout.record(volume, BITMAP)? {
        let used = used_clusters(volume, &layout, &record)?;
        if let Some(free) = used.and_then(|used| layout.clusters().checked_sub(used)) {
            fs.set_free(size, free.saturating_mul(layout.cluster_size));
        }
    }
    Ok(fs)
}

fn read_volume_record(fs: &mut FileSystem, record: &Record) -> Result<()> {
    if let Some(Attribute::Resident(name)) = record.attribute(VOLUME_NAME) {
        fs.label = utf16le(&name);
    }
    if let Some(Attribute::Resident(information)) = record.attribute(VOLUME_INFORMATION)
        && information.len() >= 12
    {
        let information = Fields::new(&information, 0);
        let (major, minor) = (information.u8(8)?, information.u8(9)?);
        fs.detail("version", format!("{major}.{minor}"));
        if information.le16(10)? & DIRTY != 0 {
            fs.note("is marked dirty: Windows will check it");
        }
    }
    Ok(())
}

fn used_clusters(volume: &Volume<'_>, layout: &Layout, record: &Record) -> Result<Option<u64>> {
    match bitmap_ranges(layout, record) {
        Some(ranges) => volume.count_ones(&ranges, layout.clusters()),
        None => Ok(None),
    }
}

/// Visits the free clusters; see [`super::free_extents`].
pub(super) fn free_extents(volume: &Volume<'_>, extents: &mut Extents<'_>) -> Result<bool> {
    let Ok(layout) = Layout::read(volume.head(0)) else {
        return Ok(false);
    };
    let record = layout.record(volume, BITMAP)?;
    let Some(ranges) = record.and_then(|record| bitmap_ranges(&layout, &record)) else {
        return Ok(false);
    };
    extents.set_unit(layout.cluster_size, 0);
    add_zero_bits(volume, &ranges, layout.clusters(), extents)
}

/// Where the contents of `$Bitmap` lie: a bit a cluster.
fn bitmap_ranges(layout: &Layout, record: &Record) -> Option<Vec<Range<u64>>> {
    let Some(Attribute::Runs(runs)) = record.attribute(DATA) else {
        return None;
    };
    runs.iter()
        .map(|run| {
            let start = run.start.checked_mul(layout.cluster_size)?;
            Some(start..run.end.checked_mul(layout.cluster_size)?)
        })
        .collect()
}

struct Layout {
    sector_size: u64,
    sectors: u64,
    cluster_size: u64,
    mft_start: u64,
    record_size: usize,
}

impl Layout {
    fn read(boot: Fields<'_>) -> Result<Self> {
        let bad = |field| Error::corrupt("makes no sense in an NTFS boot sector").with_field(field);
        let sector_size = u64::from(boot.le16(11)?);
        if !sector_size.is_power_of_two() || !(256..=4096).contains(&sector_size) {
            return Err(bad("bytes per sector"));
        }
        // Above 128 it is a negative power of two, for clusters over 64 KiB.
        let sectors_per_cluster = match boot.u8(13)? {
            count @ 1..=128 if count.is_power_of_two() => u64::from(count),
            count @ 244..=255 => 1 << (256 - u64::from(count)),
            _ => return Err(bad("sectors per cluster")),
        };
        let cluster_size = sector_size * sectors_per_cluster;
        // The same for records, which are smaller than a cluster as a rule.
        let record_size = match boot.u8(64)? {
            count @ 1..=64 => u64::from(count) * cluster_size,
            count @ 225..=255 => 1 << (256 - u64::from(count)),
            _ => return Err(bad("clusters per MFT record")),
        };
        if !(256..=64 << 10).contains(&record_size) || !record_size.is_power_of_two() {
            return Err(bad("clusters per MFT record"));
        }
        let sectors = boot.le64(40)?;
        let mft_start = boot.le64(48)?.checked_mul(cluster_size);
        if sectors == 0 || sectors.checked_mul(sector_size).is_none() {
            return Err(bad("total sectors"));
        }
        Ok(Self {
            sector_size,
            sectors,
            cluster_size,
            mft_start: mft_start.ok_or_else(|| bad("MFT cluster"))?,
            record_size: usize::try_from(record_size).unwrap_or(1024),
        })
    }

    fn clusters(&self) -> u64 {
        self.sectors * self.sector_size / self.cluster_size
    }

    /// One of the first records, which lie one behind the other.
    fn record(&self, volume: &Volume<'_>, number: u64) -> Result<Option<Record>> {
        let offset = self.mft_start.checked_add(number * self.record_size as u64);
        let Some(offset) = offset else {
            return Ok(None);
        };
        Ok(volume.read(offset, self.record_size)?.and_then(Record::new))
    }
}
