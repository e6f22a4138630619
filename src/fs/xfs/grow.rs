//! Making XFS larger, as its kernel does: the last allocation group is filled up, new ones are put
//! behind it, and then the superblocks say so. After the "XFS Algorithms & Data Structures" book.
//!
//! Nothing that exists is moved. The headers of the last group change only when it is shorter than
//! the others, and only if its trees of free space are one block each.

use super::geometry::{Features, Geometry};
use super::group::{self, Group};
use super::log::Log;
use super::{Volume, damaged};
use crate::error::{Error, Result};
use crate::storage::WritableStorage;

/// A shorter rest, in blocks, makes no allocation group.
const LEAST_BLOCKS: u64 = 64;
/// The same in bytes: the field's own checker reads further than a shorter one reaches.
const LEAST_BYTES: u64 = 1 << 20;

/// Makes the file system as large as `partition`.
///
/// # Errors
/// [`crate::ErrorKind::Refused`] for one that was not unmounted cleanly or is damaged;
/// [`crate::ErrorKind::Unsupported`] for one with features under which this is not all, or whose
/// last group is too scattered; I/O errors. Nothing is changed then.
pub(in crate::fs) fn grow(partition: &dyn WritableStorage) -> Result<()> {
    let volume = Volume::open(partition)?;
    let old = Geometry::read(&volume)?;
    if old.blocks.saturating_mul(old.block_size) > partition.size()? {
        return Err(damaged("it reaches over the end of its partition"));
    }
    let log = Log {
        partition,
        start: old.log_start,
        blocks: old.log_length / 512,
    };
    log.must_be_empty()?;
    let new = target(&old, partition.size()? / old.block_size);
    if new <= old.blocks {
        return Ok(());
    }
    let groups = new.div_ceil(old.group_blocks);
    if groups > u64::from(u32::MAX >> 1) {
        return Err(Error::unsupported("XFS has no room for so many groups"));
    }
    // All that can be refused is looked at before the first write.
    let mut superblocks = old.superblocks(partition)?;
    let last = old.groups - 1;
    let length = (new - last * old.group_blocks).min(old.group_blocks);
    let mut more = 0;
    let mut extended = None;
    if length > old.length_of(last) {
        let mut group = Group::read(partition, &old, last)?;
        more += group.extend(length)?;
        extended = Some(group);
    }
    for number in old.groups..groups {
        let length = (new - number * old.group_blocks).min(old.group_blocks);
        more += group::make(partition, &old, number, length)?;
    }
    if let Some(group) = extended {
        group.write(partition)?;
    }
    let free = old.free + more;
    let template = superblocks[0].clone();
    superblocks.resize(usize::try_from(groups).unwrap_or(0), template);
    // The first one counts, and is last.
    for (number, bytes) in (0..).zip(&mut superblocks).skip(1) {
        old.write_superblock(partition, number, bytes, (new, groups, free))?;
    }
    if let Some(first) = superblocks.first_mut() {
        old.write_superblock(partition, 0, first, (new, groups, free))?;
    }
    Ok(())
}

/// The blocks that it can have of `room`.
fn target(old: &Geometry, room: u64) -> u64 {
    let rest = room % old.group_blocks;
    let least = LEAST_BLOCKS.max(LEAST_BYTES / old.block_size);
    if rest != 0 && rest < least && room > old.blocks {
        (room - rest).max(old.blocks)
    } else {
        room
    }
}

impl Features {
    /// Blocks at the start of a group before its trees, which are a block each in this order: free
    /// space twice, inodes, free inodes, owners, shared extents.
    pub(super) fn trees(self) -> impl Iterator<Item = group::Tree> {
        use group::Tree::{ByCount, ByStart, FreeInodes, Inodes, Owners, Shared};
        let all = [
            (ByStart, true),
            (ByCount, true),
            (Inodes, true),
            (FreeInodes, self.free_inodes),
            (Owners, self.owners),
            (Shared, self.shared),
        ];
        all.into_iter()
            .filter_map(|(tree, there)| there.then_some(tree))
    }
}
