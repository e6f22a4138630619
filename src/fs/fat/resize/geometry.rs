//! Where everything is after a resize.

use super::MOST_CLUSTERS;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::FsKind;
use crate::fs::fat::{FAT12_END, FAT16_END, FAT32_END, Layout};
use crate::units::ByteSize;

/// The file system as it will be. Bytes unless said otherwise.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) sectors: u64,
    /// Copies of the table.
    pub(super) fats: u64,
    pub(super) fat_size: u64,
    pub(super) root_start: u64,
    data_start: u64,
    cluster_size: u64,
    pub(super) clusters: u64,
    /// By how many clusters the data begins later than before: what was cluster 2 + `shift` is 2.
    pub(super) shift: u64,
}

/// Bits of an entry of the table.
pub(super) fn bits(kind: FsKind) -> u64 {
    match kind {
        FsKind::Fat32 => 32,
        FsKind::Fat16 => 16,
        _ => 12,
    }
}

/// The fewest clusters that a file system of this type can have. A FAT32 that has fewer than the
/// specification asks for is left to be what it is.
pub(super) fn fewest(layout: &Layout) -> u64 {
    match layout.kind {
        FsKind::Fat32 if layout.clusters >= FAT16_END => FAT16_END,
        FsKind::Fat16 => FAT12_END,
        _ => 1,
    }
}

fn most(kind: FsKind) -> u64 {
    match kind {
        FsKind::Fat32 => FAT32_END - 1,
        FsKind::Fat16 => FAT16_END - 1,
        _ => FAT12_END - 1,
    }
}

impl Geometry {
    /// The largest of the same type in `size` bytes.
    pub(super) fn new(old: &Layout, size: u64) -> Result<Self> {
        let sectors = (size / old.sector_size).min(u64::from(u32::MAX));
        let fats = (old.root_start - old.fat_start) / old.fat_size;
        let mut fat_size = old.fat_size;
        // Tables grow together, by whole clusters.
        let mut step = old.sector_size;
        while !(fats * step).is_multiple_of(old.cluster_size) {
            step *= 2;
        }
        loop {
            let longer = fats * (fat_size - old.fat_size);
            let data_start = old.data_start + longer;
            let room = (sectors * old.sector_size).checked_sub(data_start);
            let clusters = room.unwrap_or(0) / old.cluster_size;
            let needed = ((clusters + 2) * bits(old.kind)).div_ceil(8);
            if needed > fat_size {
                fat_size += (needed - fat_size).next_multiple_of(step);
                continue;
            }
            judge(old, clusters)?;
            return Ok(Self {
                sectors,
                fats,
                fat_size,
                root_start: old.root_start + longer,
                data_start,
                cluster_size: old.cluster_size,
                clusters,
                shift: longer / old.cluster_size,
            });
        }
    }

    /// The first byte of a cluster.
    pub(super) fn place(&self, cluster: u32) -> u64 {
        self.data_start + u64::from(cluster).saturating_sub(2) * self.cluster_size
    }

    /// What a cluster is called that keeps its place; `None` when it cannot.
    pub(super) fn kept(&self, cluster: u32) -> Option<u32> {
        let new = u64::from(cluster).checked_sub(self.shift)?;
        ((2..self.clusters + 2).contains(&new)).then(|| u32::try_from(new).unwrap_or(0))
    }

    /// What a cluster in use is called afterwards; `moves` are those that have to move, in order.
    pub(super) fn renumber(&self, moves: &[(u32, u32)], cluster: u32) -> u32 {
        let moved = moves.binary_search_by_key(&cluster, |(old, _)| *old);
        match moved {
            Ok(index) => moves[index].1,
            Err(_) => self.kept(cluster).unwrap_or(0),
        }
    }
}

fn judge(old: &Layout, clusters: u64) -> Result<()> {
    let name = old.kind.name();
    let (fewest, most) = (fewest(old), most(old.kind));
    let size = ByteSize(old.cluster_size);
    let refuse = |why: String| Err(Error::new(ErrorKind::Refused, why));
    if clusters > most {
        return refuse(format!(
            "a {name} has at most {most} clusters, which are {size} here ({}), and would have \
             {clusters}: it has to be formatted anew with larger clusters or another type",
            ByteSize(most * old.cluster_size)
        ));
    }
    if clusters < fewest {
        return refuse(format!(
            "a {name} has at least {fewest} clusters, which are {size} here ({}), and would have \
             {clusters}: with fewer it would be taken for another type",
            ByteSize(fewest * old.cluster_size)
        ));
    }
    if clusters > MOST_CLUSTERS {
        return refuse(format!(
            "FAT file systems are resized up to {MOST_CLUSTERS} clusters, and it would have \
             {clusters}"
        ));
    }
    Ok(())
}
