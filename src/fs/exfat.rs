//! exFAT, after Microsoft's file system specification.

use std::ops::Range;

use super::extents::{Extents, add_zero_bits};
use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, utf16le};
use crate::error::{Error, Result};

const VOLUME_DIRTY: u16 = 0x2;
const MEDIA_FAILURE: u16 = 0x4;
/// Clusters of the root directory looked at; label and bitmap are at its beginning.
const MAX_ROOT_CLUSTERS: usize = 64;
const MAX_ROOT_BYTES: u64 = 1 << 20;
/// Clusters of the allocation bitmap; it is hardly ever fragmented.
const MAX_BITMAP_CLUSTERS: usize = 1 << 16;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    volume.has(3, b"EXFAT   ")
        && volume.has(510, &[0x55, 0xaa])
        && Layout::read(volume.head(0)).is_ok()
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let boot = volume.head(0);
    let layout = Layout::read(boot)?;
    let mut fs = FileSystem::new(FsKind::ExFat);
    let serial = boot.le32(100)?;
    fs.uuid = Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff));
    let size = layout.sectors.checked_mul(layout.sector_size);
    fs.size = size;
    fs.block_size = Some(layout.cluster_size);

    let flags = boot.le16(106)?;
    if flags & VOLUME_DIRTY != 0 {
        fs.note("was not unmounted cleanly");
    }
    if flags & MEDIA_FAILURE != 0 {
        fs.note("the medium failed while it was in use");
    }
    let root = Root::read(volume, &layout)?;
    fs.label = root.label;
    let used = match root.bitmap {
        Some((cluster, length)) => used_clusters(volume, &layout, cluster, length)?,
        None => None,
    };
    let used = used.or_else(|| layout.estimate(boot.u8(112).unwrap_or(0xff)));
    if let (Some(size), Some(used)) = (size, used) {
        let free = layout.clusters.saturating_sub(used);
        fs.set_free(size, free.saturating_mul(layout.cluster_size));
    }
    if root.bitmap.is_none() {
        fs.note("has no allocation bitmap in its root directory");
    }
    fs.detail("cluster size", format!("{} bytes", layout.cluster_size));
    Ok(fs)
}

struct Layout {
    sector_size: u64,
    sectors: u64,
    cluster_size: u64,
    clusters: u64,
    fat_start: u64,
    heap_start: u64,
    root_cluster: u32,
}

impl Layout {
    fn read(boot: Fields<'_>) -> Result<Self> {
        let bad =
            |field| Error::corrupt("makes no sense in an exFAT boot sector").with_field(field);
        let sector_shift = boot.u8(108)?;
        let cluster_shift = boot.u8(109)?;
        if !(9..=12).contains(&sector_shift) {
            return Err(bad("BytesPerSectorShift"));
        }
        if cluster_shift > 25 - sector_shift {
            return Err(bad("SectorsPerClusterShift"));
        }
        if !matches!(boot.u8(110)?, 1 | 2) {
            return Err(bad("NumberOfFats"));
        }
        let sector_size = 1 << sector_shift;
        let layout = Self {
            sector_size,
            sectors: boot.le64(72)?,
            cluster_size: sector_size << cluster_shift,
            clusters: u64::from(boot.le32(92)?),
            fat_start: u64::from(boot.le32(80)?) * sector_size,
            heap_start: u64::from(boot.le32(88)?) * sector_size,
            root_cluster: boot.le32(96)?,
        };
        if layout.sectors == 0 || layout.sectors.checked_mul(sector_size).is_none() {
            return Err(bad("VolumeLength"));
        }
        if layout.cluster(layout.root_cluster).is_none() {
            return Err(bad("FirstClusterOfRootDirectory"));
        }
        Ok(layout)
    }

    /// First byte of a cluster; the first cluster is number 2.
    fn cluster(&self, number: u32) -> Option<u64> {
        let index = u64::from(number).checked_sub(2)?;
        (index < self.clusters).then(|| self.heap_start + index * self.cluster_size)
    }

    /// The cluster after `number` in its file; `None` at the end.
    fn next(&self, volume: &Volume<'_>, number: u32) -> Result<Option<u32>> {
        let entry = volume.read(self.fat_start + u64::from(number) * 4, 4)?;
        let next = entry.and_then(|bytes| Fields::new(&bytes, 0).le32(0).ok());
        Ok(next.filter(|next| self.cluster(*next).is_some()))
    }

    /// Used clusters by the percentage in the boot sector; 0xff says that it is not known.
    fn estimate(&self, percent: u8) -> Option<u64> {
        (percent <= 100).then(|| self.clusters / 100 * u64::from(percent))
    }
}

/// What the root directory says about the volume.
#[derive(Default)]
struct Root {
    label: Option<String>,
    /// First cluster and length in bytes of the allocation bitmap.
    bitmap: Option<(u32, u64)>,
}

impl Root {
    fn read(volume: &Volume<'_>, layout: &Layout) -> Result<Self> {
        let mut root = Self::default();
        let mut cluster = Some(layout.root_cluster);
        let length = layout.cluster_size.min(MAX_ROOT_BYTES);
        for _ in 0..MAX_ROOT_CLUSTERS {
            let Some(number) = cluster else {
                break;
            };
            let Some(offset) = layout.cluster(number) else {
                break;
            };
            let length = usize::try_from(length).unwrap_or(0);
            let Some(directory) = volume.read(offset, length)? else {
                break;
            };
            if !root.scan(&directory)? {
                break;
            }
            cluster = layout.next(volume, number)?;
        }
        Ok(root)
    }

    /// False at the end of the directory.
    fn scan(&mut self, directory: &[u8]) -> Result<bool> {
        for entry in directory.chunks_exact(32) {
            let fields = Fields::new(entry, 0);
            match entry[0] {
                0 => return Ok(false),
                0x81 if entry[1] & 1 == 0 => {
                    self.bitmap = Some((fields.le32(20)?, fields.le64(24)?));
                }
                0x83 => {
                    let units = usize::from(entry[1]).min(11);
                    self.label = utf16le(fields.slice(2, units * 2)?);
                }
                _ => {}
            }
            if self.label.is_some() && self.bitmap.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn used_clusters(
    volume: &Volume<'_>,
    layout: &Layout,
    first: u32,
    length: u64,
) -> Result<Option<u64>> {
    match bitmap_ranges(volume, layout, first, length)? {
        Some(ranges) => volume.count_ones(&ranges, layout.clusters),
        None => Ok(None),
    }
}

/// Visits the free clusters; see [`super::free_extents`].
pub(super) fn free_extents(volume: &Volume<'_>, extents: &mut Extents<'_>) -> Result<bool> {
    let Ok(layout) = Layout::read(volume.head(0)) else {
        return Ok(false);
    };
    let Some((first, length)) = Root::read(volume, &layout)?.bitmap else {
        return Ok(false);
    };
    let Some(ranges) = bitmap_ranges(volume, &layout, first, length)? else {
        return Ok(false);
    };
    extents.set_unit(layout.cluster_size, layout.heap_start);
    add_zero_bits(volume, &ranges, layout.clusters, extents)
}

/// Where the allocation bitmap lies; `None` when it is too short or its chain ends early.
fn bitmap_ranges(
    volume: &Volume<'_>,
    layout: &Layout,
    first: u32,
    length: u64,
) -> Result<Option<Vec<Range<u64>>>> {
    let needed = layout.clusters.div_ceil(8);
    if length < needed {
        return Ok(None);
    }
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut found = 0;
    let mut cluster = Some(first);
    while found < needed {
        let offset = cluster.and_then(|number| layout.cluster(number));
        let (Some(number), Some(start)) = (cluster, offset) else {
            return Ok(None);
        };
        let end = start + layout.cluster_size;
        found += layout.cluster_size;
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
        if found < needed {
            if found / layout.cluster_size >= MAX_BITMAP_CLUSTERS as u64 {
                return Ok(None);
            }
            cluster = layout.next(volume, number)?;
        }
    }
    Ok(Some(ranges))
}
