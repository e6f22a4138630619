//! The block groups of an ext file system: where their bitmaps are, and what is free in them.

use std::ops::{ControlFlow, Range};

use super::super::extents::{Extents, zero_runs};
use super::super::volume::Volume;
use super::{Features, SUPERBLOCK};
use crate::codec::Fields;
use crate::error::Result;

const INCOMPAT_META_BG: u32 = 0x10;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
const RO_COMPAT_GDT_CSUM: u32 = 0x10;
const RO_COMPAT_BIGALLOC: u32 = 0x200;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// The group's bitmap was never written: it is what the group's own structures make it.
const BLOCK_UNINIT: u16 = 0x2;
/// Descriptors are read so many groups at a time, and bitmaps so many bytes.
const BATCH: usize = 256;
const MAX_BITMAPS: u64 = 1 << 20;
/// Bytes of all bitmaps. 16 TiB of 4 KiB blocks have half as many.
const MAX_TOTAL: u64 = 1 << 30;

/// Visits the free blocks; see [`super::super::free_extents`].
pub(in crate::fs) fn free_extents(volume: &Volume<'_>, extents: &mut Extents<'_>) -> Result<bool> {
    let Some(layout) = Layout::read(volume)? else {
        return Ok(false);
    };
    extents.set_unit(layout.cluster_size, layout.first_block * layout.block_size);
    let mut walk = Walk {
        volume,
        layout: &layout,
        bitmaps: Bitmaps::default(),
    };
    for first in (0..layout.groups).step_by(BATCH) {
        let Some(groups) = walk.descriptors(first)? else {
            return Ok(false);
        };
        for (index, group) in groups.iter().enumerate() {
            let number = first + index as u64;
            match walk.group(number, group, &groups[index..], extents)? {
                Some(ControlFlow::Continue(())) => {}
                Some(ControlFlow::Break(())) => return Ok(true),
                None => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// Geometry, checked: nothing in it is zero, and no product of it overflows.
struct Layout {
    block_size: u64,
    blocks: u64,
    first_block: u64,
    /// With bigalloc a bit stands for a cluster of blocks.
    cluster_size: u64,
    clusters_per_group: u64,
    blocks_per_group: u64,
    groups: u64,
    inode_table_blocks: u64,
    descriptor_size: usize,
    reserved_descriptor_blocks: u64,
    has_uninit: bool,
    backups: Backups,
}

/// Which groups have a copy of the superblock and the descriptors.
enum Backups {
    All,
    /// 0, 1 and the powers of 3, 5 and 7.
    Sparse,
    /// 0 and these two.
    Two([u64; 2]),
}

impl Layout {
    fn read(volume: &Volume<'_>) -> Result<Option<Self>> {
        let superblock = volume.head(SUPERBLOCK);
        let features = Features::read(superblock)?;
        let (log_block, log_cluster) = (superblock.le32(24)?, superblock.le32(28)?);
        if log_block > 6 || features.incompat & INCOMPAT_META_BG != 0 {
            return Ok(None);
        }
        let block_size = 1024_u64 << log_block;
        let has_bigalloc = features.ro_compat & RO_COMPAT_BIGALLOC != 0;
        let cluster_size = match log_cluster {
            log if has_bigalloc && (log_block..=20).contains(&log) => 1024_u64 << log,
            _ if has_bigalloc => return Ok(None),
            _ => block_size,
        };
        let blocks_per_group = u64::from(superblock.le32(32)?);
        let clusters_per_group = if has_bigalloc {
            u64::from(superblock.le32(36)?)
        } else {
            blocks_per_group
        };
        let ratio = cluster_size / block_size;
        let fits = clusters_per_group != 0
            && clusters_per_group <= block_size * 8
            && clusters_per_group.is_multiple_of(8)
            && clusters_per_group * ratio == blocks_per_group;
        let blocks = features.join(superblock.le32(4)?, superblock.le32(0x150)?);
        let first_block = u64::from(superblock.le32(20)?);
        let sane = fits && first_block <= 1 && blocks <= volume.size() / block_size;
        if !sane || first_block >= blocks {
            return Ok(None);
        }
        let groups = (blocks - first_block).div_ceil(blocks_per_group);
        let descriptor_size = match superblock.le16(254)? {
            size if features.incompat & super::INCOMPAT_64BIT != 0 => usize::from(size),
            _ => 32,
        };
        let valid = (32..=1024).contains(&descriptor_size) && descriptor_size.is_power_of_two();
        let total = groups.saturating_mul(clusters_per_group / 8);
        if total > MAX_TOTAL || !valid {
            return Ok(None);
        }
        let inode_bytes =
            u64::from(superblock.le32(40)?) * u64::from(superblock.le16(88)?.max(128));
        let uninit = RO_COMPAT_GDT_CSUM | RO_COMPAT_METADATA_CSUM;
        Ok(Some(Self {
            block_size,
            blocks,
            first_block,
            cluster_size,
            clusters_per_group,
            blocks_per_group,
            groups,
            inode_table_blocks: inode_bytes.div_ceil(block_size),
            descriptor_size,
            reserved_descriptor_blocks: u64::from(superblock.le16(206)?),
            has_uninit: features.ro_compat & uninit != 0,
            backups: Backups::read(superblock, &features)?,
        }))
    }

    /// Clusters of a group; the last one may have fewer.
    fn clusters_in(&self, group: u64) -> u64 {
        let before = group * self.blocks_per_group + self.first_block;
        let blocks = (self.blocks - before).min(self.blocks_per_group);
        blocks.div_ceil(self.cluster_size / self.block_size)
    }

    fn descriptor_blocks(&self) -> u64 {
        (self.groups * self.descriptor_size as u64).div_ceil(self.block_size)
    }
}

impl Backups {
    fn read(superblock: Fields<'_>, features: &Features) -> Result<Self> {
        Ok(if features.compat & COMPAT_SPARSE_SUPER2 != 0 {
            let groups = [superblock.le32(0x24c)?, superblock.le32(0x250)?];
            Self::Two(groups.map(u64::from))
        } else if features.ro_compat & RO_COMPAT_SPARSE_SUPER != 0 {
            Self::Sparse
        } else {
            Self::All
        })
    }

    fn are_in(&self, group: u64) -> bool {
        let is_power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        match self {
            _ if group == 0 => true,
            Self::All => true,
            Self::Sparse => group == 1 || [3, 5, 7].into_iter().any(is_power_of),
            Self::Two(groups) => groups.contains(&group),
        }
    }
}

struct Descriptor {
    block_bitmap: u64,
    inode_bitmap: u64,
    inode_table: u64,
    is_uninit: bool,
}

/// The bitmaps read last: those of neighbouring groups lie side by side.
#[derive(Default)]
struct Bitmaps {
    blocks: Range<u64>,
    bytes: Vec<u8>,
}

struct Walk<'a> {
    volume: &'a Volume<'a>,
    layout: &'a Layout,
    bitmaps: Bitmaps,
}

impl Walk<'_> {
    /// The descriptors of the groups from `first` on, a batch at most.
    fn descriptors(&self, first: u64) -> Result<Option<Vec<Descriptor>>> {
        let layout = self.layout;
        let size = layout.descriptor_size;
        let count = usize::try_from(layout.groups - first).map_or(BATCH, |left| left.min(BATCH));
        let table = (layout.first_block + 1) * layout.block_size;
        let offset = table + first * size as u64;
        let Some(bytes) = self.volume.read(offset, count * size)? else {
            return Ok(None);
        };
        let descriptors = bytes.chunks_exact(size).map(|bytes| {
            let fields = Fields::new(bytes, offset);
            let block = |low: usize, high: usize| -> Result<u64> {
                let high = if size >= 64 { fields.le32(high)? } else { 0 };
                Ok(u64::from(high) << 32 | u64::from(fields.le32(low)?))
            };
            Ok(Descriptor {
                block_bitmap: block(0, 32)?,
                inode_bitmap: block(4, 36)?,
                inode_table: block(8, 40)?,
                is_uninit: layout.has_uninit && fields.le16(18)? & BLOCK_UNINIT != 0,
            })
        });
        descriptors.collect::<Result<_>>().map(Some)
    }

    /// Adds what is free in a group; `None` when its bitmap is not there. `following` are this
    /// and the next groups, whose bitmaps may be read at once.
    fn group(
        &mut self,
        number: u64,
        group: &Descriptor,
        following: &[Descriptor],
        extents: &mut Extents<'_>,
    ) -> Result<Option<ControlFlow<()>>> {
        let count = self.layout.clusters_in(number);
        let base = number * self.layout.clusters_per_group;
        if group.is_uninit {
            let bitmap = self.own_structures(number, group);
            return Ok(Some(zero_runs(&bitmap, count, base, extents)));
        }
        if !self.bitmaps.blocks.contains(&group.block_bitmap) && !self.read_bitmaps(following)? {
            return Ok(None);
        }
        let index = group.block_bitmap - self.bitmaps.blocks.start;
        let start = usize::try_from(index * self.layout.block_size).unwrap_or(usize::MAX);
        let bitmap = self.bitmaps.bytes.get(start..).unwrap_or_default();
        Ok(Some(zero_runs(bitmap, count, base, extents)))
    }

    fn read_bitmaps(&mut self, following: &[Descriptor]) -> Result<bool> {
        let block_size = self.layout.block_size;
        let Some(first) = following.first().map(|group| group.block_bitmap) else {
            return Ok(false);
        };
        let side_by_side = following
            .iter()
            .zip(0..MAX_BITMAPS / block_size)
            .take_while(|(group, index)| {
                !group.is_uninit && group.block_bitmap.checked_sub(*index) == Some(first)
            })
            .count() as u64;
        let length = usize::try_from(side_by_side * block_size).unwrap_or(0);
        let offset = first.saturating_mul(block_size);
        // Block 0 is none: it holds the superblock, or what boots.
        let bytes = if first == 0 {
            None
        } else {
            self.volume.read(offset, length)?
        };
        let Some(bytes) = bytes else {
            return Ok(false);
        };
        self.bitmaps = Bitmaps {
            blocks: first..first + side_by_side,
            bytes,
        };
        Ok(true)
    }

    /// The bitmap that a group begins its life with: superblock and descriptors, if they have a
    /// copy here, and those of its own structures that lie inside.
    fn own_structures(&self, number: u64, group: &Descriptor) -> Vec<u8> {
        let layout = self.layout;
        let start = number * layout.blocks_per_group + layout.first_block;
        let mut bitmap = vec![0_u8; usize::try_from(layout.clusters_per_group / 8).unwrap_or(0)];
        let mut mark = |blocks: Range<u64>| {
            let end = start + layout.blocks_per_group;
            let ratio = layout.cluster_size / layout.block_size;
            let first = blocks.start.clamp(start, end) - start;
            let last = blocks.end.clamp(start, end) - start;
            set_bits(&mut bitmap, first / ratio..last.div_ceil(ratio));
        };
        if layout.backups.are_in(number) {
            let descriptors = layout.descriptor_blocks() + layout.reserved_descriptor_blocks;
            mark(start..start + 1 + descriptors);
        }
        let one = |block: u64| block..block.saturating_add(1);
        mark(one(group.block_bitmap));
        mark(one(group.inode_bitmap));
        let table = group.inode_table;
        mark(table..table.saturating_add(layout.inode_table_blocks));
        bitmap
    }
}

/// Sets the bits of `range`, as far as the bitmap reaches; whole bytes at once.
fn set_bits(bitmap: &mut [u8], range: Range<u64>) {
    let end = range.end.min(bitmap.len() as u64 * 8);
    let mut bit = range.start;
    while bit < end {
        let index = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let whole = usize::try_from((end - bit) / 8).unwrap_or(0);
        if bit.is_multiple_of(8) && whole > 0 {
            bitmap[index..index + whole].fill(0xff);
            bit += whole as u64 * 8;
        } else {
            bitmap[index] |= 1 << (bit % 8);
            bit += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_lie_in_powers() {
        let groups: Vec<u64> = (0..130)
            .filter(|group| Backups::Sparse.are_in(*group))
            .collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
        assert!(Backups::Two([1, 40]).are_in(40) && !Backups::Two([1, 40]).are_in(3));
    }

    #[test]
    fn bits_are_set_one_by_one_and_in_bytes() {
        let mut bitmap = [0; 4];
        set_bits(&mut bitmap, 5..19);
        assert_eq!(bitmap, [0b1110_0000, 0xff, 0b0000_0111, 0]);
        set_bits(&mut bitmap, 30..1000);
        assert_eq!(bitmap[3], 0b1100_0000);
        set_bits(&mut bitmap, 1000..2000);
    }
}
