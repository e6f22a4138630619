//! Allocation groups of XFS: filling the last one up, and making new ones.

use super::damaged;
use super::geometry::{Geometry, is_signed, sign};
use crate::codec::Fields;
use crate::error::{Error, Result};
use crate::storage::{Storage, WritableStorage};

/// Nothing, where a block or an inode could be named.
const NONE: u32 = u32::MAX;
/// Header of a block of a tree.
const TREE_HEADER: usize = 56;
const TREE_CHECKSUM: usize = 52;
/// Of free space in such a block: start and count.
const RECORD: usize = 8;
/// Checksums of the headers of a group.
const SPACE_CHECKSUM: usize = 216;
const INODES_CHECKSUM: usize = 312;
const LIST_CHECKSUM: usize = 32;

/// A tree of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tree {
    /// Free space by where it begins.
    ByStart,
    /// Free space by its length.
    ByCount,
    /// Inodes.
    Inodes,
    /// Chunks with free inodes.
    FreeInodes,
    /// Who owns which blocks.
    Owners,
    /// Extents that several files have.
    Shared,
}

impl Tree {
    fn magic(self) -> &'static [u8; 4] {
        match self {
            Self::ByStart => b"AB3B",
            Self::ByCount => b"AB3C",
            Self::Inodes => b"IAB3",
            Self::FreeInodes => b"FIB3",
            Self::Owners => b"RMB3",
            Self::Shared => b"R3FC",
        }
    }
}

/// A group that exists, as it will be.
pub(super) struct Group {
    start: u64,
    sector: u64,
    /// The header of free space and that of inodes: one sector each.
    space: Vec<u8>,
    inodes: Vec<u8>,
    /// The trees of free space, and where they are.
    by_start: (u64, Vec<u8>),
    by_count: (u64, Vec<u8>),
    /// Start and count of what is free, ascending.
    free: Vec<(u32, u32)>,
    length: u64,
}

impl Group {
    pub(super) fn read(partition: &dyn Storage, geometry: &Geometry, number: u64) -> Result<Self> {
        let start = geometry.start_of(number);
        let sector = geometry.sector_size;
        let read = |at, length| {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            partition.read_at(&mut bytes, at)?;
            Ok::<_, Error>(bytes)
        };
        let space = read(start + sector, sector)?;
        let inodes = read(start + 2 * sector, sector)?;
        let is_right = space.starts_with(b"XAGF")
            && inodes.starts_with(b"XAGI")
            && is_signed(&space, SPACE_CHECKSUM)
            && is_signed(&inodes, INODES_CHECKSUM);
        if !is_right {
            return Err(damaged("a header of its last group is damaged"));
        }
        let fields = Fields::new(&space, start + sector);
        let length = geometry.length_of(number);
        if u64::from(fields.be32(12)?) != length {
            return Err(damaged("its last group knows another length"));
        }
        if fields.be32(28)? != 1 || fields.be32(32)? != 1 {
            return Err(Error::unsupported(
                "the free space of its last group is too scattered: run xfs_growfs in the guest",
            ));
        }
        let tree = |root: u32, tree: Tree| {
            if u64::from(root) >= length {
                return Err(damaged("a tree of its last group lies outside of it"));
            }
            let at = start + u64::from(root) * geometry.block_size;
            let bytes = read(at, geometry.block_size)?;
            if !bytes.starts_with(tree.magic()) || !is_signed(&bytes, TREE_CHECKSUM) {
                return Err(damaged("a tree of its last group is damaged"));
            }
            Ok((at, bytes))
        };
        let by_start = tree(fields.be32(16)?, Tree::ByStart)?;
        let by_count = tree(fields.be32(20)?, Tree::ByCount)?;
        let free = records(&by_start.1, by_start.0, length)?;
        if records(&by_count.1, by_count.0, length)?.len() != free.len() {
            return Err(damaged("the trees of its last group differ"));
        }
        Ok(Self {
            start,
            sector,
            space,
            inodes,
            by_start,
            by_count,
            free,
            length,
        })
    }

    /// Gives it `length` blocks. Answers how many more are free.
    ///
    /// # Errors
    /// When its trees have no room for that.
    pub(super) fn extend(&mut self, length: u64) -> Result<u64> {
        let more = length - self.length;
        let (start, count) = (narrow(self.length)?, narrow(more)?);
        match self.free.last_mut() {
            Some(last) if u64::from(last.0) + u64::from(last.1) == self.length => last.1 += count,
            _ => self.free.push((start, count)),
        }
        if TREE_HEADER + self.free.len() * RECORD > self.by_start.1.len() {
            return Err(Error::unsupported(
                "the free space of its last group is too scattered: run xfs_growfs in the guest",
            ));
        }
        fill(&mut self.by_start.1, &self.free);
        let mut by_count = self.free.clone();
        by_count.sort_by_key(|(start, count)| (*count, *start));
        fill(&mut self.by_count.1, &by_count);
        let longest = by_count.last().map_or(0, |(_, count)| *count);
        let free = Fields::new(&self.space, self.start).be32(52)?;
        put(&mut self.space, 12, narrow(length)?);
        put(&mut self.space, 52, free.saturating_add(count));
        put(&mut self.space, 56, longest);
        put(&mut self.inodes, 12, narrow(length)?);
        sign(&mut self.space, SPACE_CHECKSUM);
        sign(&mut self.inodes, INODES_CHECKSUM);
        self.length = length;
        Ok(more)
    }

    pub(super) fn write(&self, partition: &dyn WritableStorage) -> Result<()> {
        for (at, bytes) in [&self.by_start, &self.by_count] {
            partition.write_at(bytes, *at)?;
        }
        partition.write_at(&self.space, self.start + self.sector)?;
        partition.write_at(&self.inodes, self.start + 2 * self.sector)
    }
}

/// Makes a group of `length` blocks where none is, all but its headers free. Answers how many
/// blocks are.
pub(super) fn make(
    partition: &dyn WritableStorage,
    geometry: &Geometry,
    number: u64,
    length: u64,
) -> Result<u64> {
    let new = New {
        geometry,
        number: narrow(number)?,
        // Behind superblock, the two headers and the list of spare blocks.
        first: narrow(geometry.sector_size * 3 / geometry.block_size + 1)?,
        length: narrow(length)?,
    };
    let used = new.first + narrow(geometry.features.trees().count() as u64)?;
    let free = new
        .length
        .checked_sub(used)
        .ok_or_else(|| Error::unsupported("a group of XFS has no room for its headers"))?;
    let start = geometry.start_of(number);
    for (block, tree) in (new.first..).zip(geometry.features.trees()) {
        let at = start + u64::from(block) * geometry.block_size;
        partition.write_at(&new.tree(tree, at, (used, free)), at)?;
    }
    let sector = geometry.sector_size;
    partition.write_at(&new.space(free), start + sector)?;
    partition.write_at(&new.inodes(), start + 2 * sector)?;
    partition.write_at(&new.list(), start + 3 * sector)?;
    Ok(u64::from(free))
}

/// A group that is being made.
struct New<'a> {
    geometry: &'a Geometry,
    number: u32,
    /// The block of its first tree.
    first: u32,
    length: u32,
}

impl New<'_> {
    fn sector(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.geometry.sector_size).unwrap_or(512)]
    }

    /// The block of a tree; 0 for one that it does not have.
    fn root(&self, wanted: Tree) -> u32 {
        let mut trees = (self.first..).zip(self.geometry.features.trees());
        trees
            .find(|(_, tree)| *tree == wanted)
            .map_or(0, |(block, _)| block)
    }

    fn space(&self, free: u32) -> Vec<u8> {
        let mut bytes = self.sector();
        bytes[..4].copy_from_slice(b"XAGF");
        let (owners, shared) = (self.root(Tree::Owners), self.root(Tree::Shared));
        for (at, value) in [
            (4, 1),
            (8, self.number),
            (12, self.length),
            (16, self.root(Tree::ByStart)),
            (20, self.root(Tree::ByCount)),
            (24, owners),
            (28, 1),
            (32, 1),
            (36, u32::from(owners != 0)),
            // The list of spare blocks is empty: its last entry is before its first.
            (40, 1),
            (44, 0),
            (52, free),
            (56, free),
            (80, u32::from(owners != 0)),
            (84, u32::from(shared != 0)),
            (88, shared),
            (92, u32::from(shared != 0)),
        ] {
            put(&mut bytes, at, value);
        }
        bytes[64..80].copy_from_slice(&self.geometry.identifier);
        sign(&mut bytes, SPACE_CHECKSUM);
        bytes
    }

    fn inodes(&self) -> Vec<u8> {
        let mut bytes = self.sector();
        bytes[..4].copy_from_slice(b"XAGI");
        let free_inodes = self.root(Tree::FreeInodes);
        let counts = self.geometry.features.inode_counts;
        for (at, value) in [
            (4, 1),
            (8, self.number),
            (12, self.length),
            (20, self.root(Tree::Inodes)),
            (24, 1),
            (32, NONE),
            (36, NONE),
            (328, free_inodes),
            (332, u32::from(free_inodes != 0)),
            (336, u32::from(counts)),
            (340, u32::from(counts && free_inodes != 0)),
        ] {
            put(&mut bytes, at, value);
        }
        // Inodes that were removed while they were open: none.
        bytes[40..296].fill(0xff);
        bytes[296..312].copy_from_slice(&self.geometry.identifier);
        sign(&mut bytes, INODES_CHECKSUM);
        bytes
    }

    fn list(&self) -> Vec<u8> {
        let mut bytes = self.sector();
        bytes[36..].fill(0xff);
        bytes[..4].copy_from_slice(b"XAFL");
        put(&mut bytes, 4, self.number);
        bytes[8..24].copy_from_slice(&self.geometry.identifier);
        sign(&mut bytes, LIST_CHECKSUM);
        bytes
    }

    /// The only block of a tree, at this byte offset.
    fn tree(&self, tree: Tree, at: u64, free: (u32, u32)) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.geometry.block_size).unwrap_or(0)];
        bytes[..4].copy_from_slice(tree.magic());
        put(&mut bytes, 8, NONE);
        put(&mut bytes, 12, NONE);
        bytes[16..24].copy_from_slice(&(at / 512).to_be_bytes());
        bytes[32..48].copy_from_slice(&self.geometry.identifier);
        put(&mut bytes, 48, self.number);
        match tree {
            Tree::ByStart | Tree::ByCount => fill(&mut bytes, &[free]),
            Tree::Owners => self.fill_owners(&mut bytes),
            Tree::Inodes | Tree::FreeInodes | Tree::Shared => sign(&mut bytes, TREE_CHECKSUM),
        }
        bytes
    }

    /// Who owns the headers: start, count and owner each.
    fn fill_owners(&self, bytes: &mut [u8]) {
        // In the field's numbering, from the top down.
        const OF_FILE_SYSTEM: u64 = (-3_i64).cast_unsigned();
        const OF_FREE_SPACE: u64 = (-5_i64).cast_unsigned();
        const OF_INODES: u64 = (-6_i64).cast_unsigned();
        const OF_SHARED: u64 = (-8_i64).cast_unsigned();
        let (inodes, owners) = (self.root(Tree::Inodes), self.root(Tree::Owners));
        let shared = self.root(Tree::Shared);
        let mut records = vec![
            (0, self.first, OF_FILE_SYSTEM),
            (self.first, inodes - self.first, OF_FREE_SPACE),
            (inodes, owners - inodes, OF_INODES),
            (owners, 1, OF_FREE_SPACE),
        ];
        if shared != 0 {
            records.push((shared, 1, OF_SHARED));
        }
        for (index, (start, count, owner)) in records.iter().enumerate() {
            let at = TREE_HEADER + index * 24;
            put(bytes, at, *start);
            put(bytes, at + 4, *count);
            bytes[at + 8..at + 16].copy_from_slice(&owner.to_be_bytes());
        }
        let count = u16::try_from(records.len()).unwrap_or(0);
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        sign(bytes, TREE_CHECKSUM);
    }
}

/// The records of the only block of a tree of free space, in its order.
fn records(bytes: &[u8], at: u64, length: u64) -> Result<Vec<(u32, u32)>> {
    let fields = Fields::new(bytes, at);
    let count = usize::from(fields.be16(6)?);
    if fields.be16(4)? != 0 || TREE_HEADER + count * RECORD > bytes.len() {
        return Err(damaged("a tree of its last group makes no sense"));
    }
    let record = |index| {
        let at = TREE_HEADER + index * RECORD;
        let (start, count) = (fields.be32(at)?, fields.be32(at + 4)?);
        if count == 0 || u64::from(start) + u64::from(count) > length {
            return Err(damaged("free space of its last group lies outside of it"));
        }
        Ok((start, count))
    };
    (0..count).map(record).collect()
}

/// Writes these records, and nothing else, into the only block of a tree of free space.
fn fill(bytes: &mut [u8], records: &[(u32, u32)]) {
    let count = u16::try_from(records.len()).unwrap_or(0);
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    for (index, (start, count)) in records.iter().enumerate() {
        let at = TREE_HEADER + index * RECORD;
        put(bytes, at, *start);
        put(bytes, at + 4, *count);
    }
    sign(bytes, TREE_CHECKSUM);
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn narrow(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| damaged("its groups are too large"))
}
