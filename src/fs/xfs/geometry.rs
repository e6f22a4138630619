//! What the superblock of XFS says, as far as it is needed to make the file system larger.

use super::{NEEDS_REPAIR, VERSION_5, Volume, damaged};
use crate::codec::Fields;
use crate::error::{Error, Result};
use crate::storage::{Storage, WritableStorage};

/// Features that are known here, and known to change nothing but what is handled.
mod read_only {
    pub(super) const FREE_INODES: u32 = 1;
    pub(super) const OWNERS: u32 = 1 << 1;
    pub(super) const SHARED: u32 = 1 << 2;
    pub(super) const INODE_COUNTS: u32 = 1 << 3;
    pub(super) const KNOWN: u32 = FREE_INODES | OWNERS | SHARED | INODE_COUNTS;
}

/// File types in directories, sparse inodes, another identifier in the metadata, big timestamps,
/// big extent counters.
const INCOMPATIBLE_KNOWN: u32 = 1 | 1 << 1 | OTHER_IDENTIFIER | 1 << 3 | 1 << 5;
const OTHER_IDENTIFIER: u32 = 1 << 2;
const CHECKSUM: usize = 224;

/// The trees that a group has beside those that all have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    pub(super) free_inodes: bool,
    pub(super) owners: bool,
    pub(super) shared: bool,
    /// The blocks of the inode trees are counted.
    pub(super) inode_counts: bool,
}

/// Sizes, in blocks unless it is said.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    /// In bytes.
    pub(super) block_size: u64,
    /// In bytes.
    pub(super) sector_size: u64,
    pub(super) blocks: u64,
    pub(super) groups: u64,
    pub(super) group_blocks: u64,
    pub(super) free: u64,
    /// In bytes from the start.
    pub(super) log_start: u64,
    /// In bytes.
    pub(super) log_length: u64,
    /// The identifier in all metadata.
    pub(super) identifier: [u8; 16],
    pub(super) features: Features,
}

impl Geometry {
    pub(super) fn read(volume: &Volume<'_>) -> Result<Self> {
        let superblock = volume.head(0);
        let layout = super::Layout::read(superblock)?;
        judge(superblock, layout.sector_size)?;
        let read_only = superblock.be32(212)?;
        let group_blocks = u64::from(superblock.be32(84)?);
        let groups = u64::from(superblock.be32(88)?);
        if groups
            .checked_sub(1)
            .and_then(|full| full.checked_mul(group_blocks))
            .is_none_or(|full| full >= layout.blocks)
        {
            return Err(damaged("its groups do not fit its size"));
        }
        let place = superblock.be64(48)?;
        let shift = u32::from(superblock.u8(124)?).min(63);
        let (log_group, log_block) = (place >> shift, place & ((1 << shift) - 1));
        let log = log_group
            .checked_mul(group_blocks)
            .and_then(|start| start.checked_add(log_block))
            .filter(|start| *start < layout.blocks)
            .ok_or_else(|| damaged("its log lies outside of it"))?;
        let identifier = if superblock.be32(216)? & OTHER_IDENTIFIER != 0 {
            superblock.slice(248, 16)?
        } else {
            superblock.slice(32, 16)?
        };
        let has = |feature| read_only & feature != 0;
        let geometry = Self {
            block_size: layout.block_size,
            sector_size: layout.sector_size as u64,
            blocks: layout.blocks,
            groups,
            group_blocks,
            free: superblock.be64(144)?,
            log_start: log * layout.block_size,
            log_length: u64::from(superblock.be32(96)?) * layout.block_size,
            identifier: identifier.try_into().unwrap_or_default(),
            features: Features {
                free_inodes: has(read_only::FREE_INODES),
                owners: has(read_only::OWNERS),
                shared: has(read_only::SHARED),
                inode_counts: has(read_only::INODE_COUNTS),
            },
        };
        if geometry.log_start.saturating_add(geometry.log_length)
            > geometry.blocks * geometry.block_size
        {
            return Err(damaged("its log reaches over its end"));
        }
        Ok(geometry)
    }

    /// Length of a group that exists.
    pub(super) fn length_of(&self, group: u64) -> u64 {
        (self.blocks - group * self.group_blocks).min(self.group_blocks)
    }

    /// Where a group begins, in bytes.
    pub(super) fn start_of(&self, group: u64) -> u64 {
        group * self.group_blocks * self.block_size
    }

    /// The superblock of every group that exists.
    pub(super) fn superblocks(&self, partition: &dyn Storage) -> Result<Vec<Vec<u8>>> {
        let read = |group| {
            let mut bytes = vec![0; usize::try_from(self.sector_size).unwrap_or(512)];
            partition.read_at(&mut bytes, self.start_of(group))?;
            if !bytes.starts_with(b"XFSB") || !is_signed(&bytes, CHECKSUM) {
                return Err(damaged("a copy of its superblock is damaged"));
            }
            Ok(bytes)
        };
        (0..self.groups).map(read).collect()
    }

    /// Writes a superblock with another size, number of groups and free blocks.
    pub(super) fn write_superblock(
        &self,
        partition: &dyn WritableStorage,
        group: u64,
        bytes: &mut [u8],
        (blocks, groups, free): (u64, u64, u64),
    ) -> Result<()> {
        bytes[8..16].copy_from_slice(&blocks.to_be_bytes());
        let groups = u32::try_from(groups).unwrap_or(u32::MAX);
        bytes[88..92].copy_from_slice(&groups.to_be_bytes());
        bytes[144..152].copy_from_slice(&free.to_be_bytes());
        sign(bytes, CHECKSUM);
        partition.write_at(bytes, self.start_of(group))
    }
}

fn judge(superblock: Fields<'_>, sector_size: usize) -> Result<()> {
    if superblock.be16(100)? & 0xf != VERSION_5 {
        return Err(Error::unsupported(
            "XFS without checksums grows only while it is mounted",
        ));
    }
    if !is_signed(superblock.slice(0, sector_size)?, CHECKSUM) {
        return Err(damaged("the checksum of its superblock does not match"));
    }
    let incompatible = superblock.be32(216)?;
    if incompatible & NEEDS_REPAIR != 0 || superblock.u8(126)? != 0 {
        return Err(damaged("it needs xfs_repair"));
    }
    let is_plain = superblock.be32(212)? & !read_only::KNOWN == 0
        && incompatible & !INCOMPATIBLE_KNOWN == 0
        && superblock.be64(16)? == 0;
    if !is_plain {
        return Err(Error::unsupported(
            "this XFS has a real-time part or newer features: run xfs_growfs in the guest",
        ));
    }
    if superblock.be64(48)? == 0 {
        return Err(Error::unsupported(
            "the log of this XFS is on another device: run xfs_growfs in the guest",
        ));
    }
    Ok(())
}

/// Whether the checksum at `at` is that of the rest.
pub(super) fn is_signed(bytes: &[u8], at: usize) -> bool {
    bytes.len() >= at + 4 && bytes[at..at + 4] == checksum(bytes, at)
}

/// Writes the checksum of the rest to `at`.
pub(super) fn sign(bytes: &mut [u8], at: usize) {
    let sum = checksum(bytes, at);
    bytes[at..at + 4].copy_from_slice(&sum);
}

fn checksum(bytes: &[u8], at: usize) -> [u8; 4] {
    let sum = crc32c::crc32c(&bytes[..at]);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    crc32c::crc32c_append(sum, &bytes[at + 4..]).to_le_bytes()
}
