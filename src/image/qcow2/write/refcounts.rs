//! Refcounts of host clusters, of every width, through a bounded write-back cache.
//!
//! What is in the cache may be written at any time: an increment comes before the reference it
//! counts, and a decrement is made only after the reference's removal is durable (see `flush`). A
//! block that is new is not in the table on disk before it is there itself.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Error, Result};
use crate::image::qcow2::header::{Header, MAX_REFCOUNT_TABLE_BYTES};
use crate::image::qcow2::table::read_entries;
use crate::image::qcow2::write::blocks::Blocks;
use crate::storage::{Storage, WritableStorage};

/// Bits of a refcount table entry that are the offset of a refcount block.
const BLOCK_OFFSET_MASK: u64 = 0xffff_ffff_ffff_fe00;
/// Refcount blocks that are kept, in bytes.
const CACHE_BYTES: usize = 32 << 20;
/// Entries of the table in a sector: what is written of it when one changes.
const ENTRIES_PER_SECTOR: usize = 64;

/// The refcounts of an image. Clusters are numbered from the start of the file; a cluster that no
/// block describes has refcount 0.
#[derive(Debug)]
pub(super) struct Refcounts {
    storage: Arc<dyn WritableStorage>,
    cluster_bits: u32,
    /// A refcount has `1 << order` bits.
    order: u32,
    /// Offset of the block of each index, 0 for none; reserved bits as they were.
    table: Vec<u64>,
    table_offset: u64,
    /// Sectors of the table that are not on disk yet.
    dirty_sectors: BTreeSet<usize>,
    /// The table on disk is elsewhere: this one must be written as a whole, then the header.
    moved: bool,
    blocks: Blocks,
}

/// A change of the refcounts of a run of clusters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Change {
    /// Clusters, by number.
    pub(super) clusters: Range<u64>,
    /// What is added to each.
    pub(super) delta: i64,
}

impl Refcounts {
    /// Reads the table (at most 8 MiB; the header has been checked), no block.
    pub(super) fn open(storage: Arc<dyn WritableStorage>, header: &Header) -> Result<Self> {
        let entries = u64::from(header.refcount_table_clusters) * header.cluster_size() / 8;
        let table = read_entries(
            storage.as_ref() as &dyn Storage,
            header.refcount_table_offset,
            u32::try_from(entries).unwrap_or(u32::MAX),
        )
        .map_err(|error| error.with_field("refcount table"))?;
        let cluster_size = header.cluster_size();
        for (entry, index) in table.iter().zip(0_u64..) {
            let offset = entry & BLOCK_OFFSET_MASK;
            if !offset.is_multiple_of(cluster_size) {
                return Err(Error::corrupt(format!(
                    "Refblock offset {offset:#x} unaligned (reftable index: {index:#x})"
                ))
                .with_offset(header.refcount_table_offset + index * 8)
                .with_field("refcount table"));
            }
        }
        let block_bytes = usize::try_from(cluster_size).unwrap_or(usize::MAX);
        Ok(Self {
            blocks: Blocks::new(
                Arc::clone(&storage),
                "refcount block",
                block_bytes,
                CACHE_BYTES,
            ),
            storage,
            cluster_bits: header.cluster_bits,
            order: header.refcount_order,
            table,
            table_offset: header.refcount_table_offset,
            dirty_sectors: BTreeSet::new(),
            moved: false,
        })
    }

    /// The largest refcount that fits.
    pub(super) fn max(&self) -> u64 {
        u64::MAX >> (64 - (1_u32 << self.order))
    }

    /// Clusters that a block describes.
    pub(super) fn per_block(&self) -> u64 {
        8 << self.cluster_bits >> self.order
    }

    /// Blocks that the table has room for.
    pub(super) fn table_entries(&self) -> u64 {
        self.table.len() as u64
    }

    /// The table's place: offset and clusters.
    pub(super) fn table_place(&self) -> (u64, u64) {
        let bytes = self.table.len() as u64 * 8;
        (self.table_offset, bytes >> self.cluster_bits)
    }

    /// Offsets of all blocks, in the order of what they describe.
    pub(super) fn block_offsets(&self) -> impl Iterator<Item = u64> + '_ {
        self.table
            .iter()
            .map(|entry| entry & BLOCK_OFFSET_MASK)
            .filter(|offset| *offset != 0)
    }

    /// Whether cluster `cluster` has a place for its refcount.
    pub(super) fn has_block(&self, cluster: u64) -> bool {
        self.block_of(cluster / self.per_block()).is_some()
    }

    /// The refcount of a cluster.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when the block lies behind the end of the file; I/O errors.
    pub(super) fn get(&mut self, cluster: u64) -> Result<u64> {
        let Some(block) = self.block_of(cluster / self.per_block()) else {
            return Ok(0);
        };
        let index = self.index_in_block(cluster);
        let order = self.order;
        self.write_when_full()?;
        Ok(get(self.blocks.get(block)?, order, index))
    }

    /// How many clusters from `clusters.start` on have the refcount of the first one, and that
    /// refcount.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) fn run(&mut self, clusters: Range<u64>) -> Result<(u64, u64)> {
        let value = self.get(clusters.start)?;
        let mut at = clusters.start + 1;
        while at < clusters.end {
            let end = self.end_of_block(at).min(clusters.end);
            let Some(block) = self.block_of(at / self.per_block()) else {
                if value != 0 {
                    break;
                }
                at = end;
                continue;
            };
            let (order, first) = (self.order, self.index_in_block(at));
            let bytes = self.blocks.get(block)?;
            let count = usize::try_from(end - at).unwrap_or(usize::MAX);
            let same = (first..first + count)
                .take_while(|index| get(bytes, order, *index) == value)
                .count() as u64;
            at += same;
            if at < end {
                break;
            }
        }
        Ok((value, at - clusters.start))
    }

    /// Adds `delta` to the refcounts of `clusters`. See [`Self::adjust_many`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn adjust(&mut self, clusters: Range<u64>, delta: i64) -> Result<()> {
        self.adjust_many(&[Change { clusters, delta }], &mut |_| ())
    }

    /// Makes all `changes`, which should ascend so that each block is touched once, and calls
    /// `freed` with runs of clusters that went from a refcount to 0. On an error nothing is
    /// changed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when a refcount does not fit its width;
    /// [`crate::ErrorKind::Corrupt`] when one would get below 0 or has no block (see
    /// [`Self::add_block`]); I/O errors.
    pub(super) fn adjust_many(
        &mut self,
        changes: &[Change],
        freed: &mut dyn FnMut(Range<u64>),
    ) -> Result<()> {
        for (index, change) in changes.iter().enumerate() {
            let mut at = change.clusters.start;
            while at < change.clusters.end {
                let end = self.end_of_block(at).min(change.clusters.end);
                if let Err(error) = self.adjust_in_block(at..end, change.delta, freed) {
                    self.undo(&changes[..index], change.clusters.start..at, change.delta)?;
                    return Err(error);
                }
                at = end;
            }
        }
        Ok(())
    }

    /// The first run of clusters with refcount 0 at or behind `from` that is at least `min` long,
    /// cut to `max`. Always finds one: behind the last block everything is free.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) fn find_free(&mut self, from: u64, min: u64, max: u64) -> Result<Range<u64>> {
        let mut run = from..from;
        loop {
            let end = self.end_of_block(run.end);
            let Some(block) = self.block_of(run.end / self.per_block()) else {
                // Blocks behind the table are never met: all is free there.
                let rest = max - (run.end - run.start).min(max);
                let is_behind_all = run.end / self.per_block() >= self.table_entries();
                run.end = if is_behind_all {
                    run.end + rest
                } else {
                    end.min(run.end + rest)
                };
                if run.end - run.start >= max {
                    return Ok(run);
                }
                continue;
            };
            let (order, first) = (self.order, self.index_in_block(run.end));
            let base = run.end - first as u64;
            self.write_when_full()?;
            let bytes = self.blocks.get(block)?;
            let count = usize::try_from(end - base).unwrap_or(usize::MAX);
            for index in first..count {
                let cluster = base + index as u64;
                if get(bytes, order, index) == 0 {
                    run.end = cluster + 1;
                    if run.end - run.start >= max {
                        return Ok(run);
                    }
                } else if run.end > run.start && run.end - run.start >= min {
                    return Ok(run);
                } else {
                    run = cluster + 1..cluster + 1;
                }
            }
        }
    }

    /// The last cluster below `end` that is in use.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) fn last_used(&mut self, end: u64) -> Result<Option<u64>> {
        let mut end = end.min(self.table_entries() * self.per_block());
        while end > 0 {
            let index = (end - 1) / self.per_block();
            let start = index * self.per_block();
            if let Some(block) = self.block_of(index) {
                let (order, count) = (self.order, self.index_in_block(end - 1) + 1);
                let bytes = self.blocks.get(block)?;
                let found = (0..count).rev().find(|at| get(bytes, order, *at) != 0);
                if let Some(found) = found {
                    return Ok(Some(start + found as u64));
                }
            }
            end = start;
        }
        Ok(None)
    }

    /// The highest block below `index` that counts nothing but, at most, itself: index and host
    /// offset. The first block counts the header and is never one of these.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) fn empty_block_below(&mut self, index: u64) -> Result<Option<(u64, u64)>> {
        for index in (1..index.min(self.table_entries())).rev() {
            let Some(block) = self.block_of(index) else {
                continue;
            };
            let own = block >> self.cluster_bits;
            let counts_itself = own / self.per_block() == index;
            let (order, count) = (self.order, self.index_in_block(self.per_block() - 1) + 1);
            let own = self.index_in_block(own);
            let bytes = self.blocks.get(block)?;
            let is_empty =
                (0..count).all(|at| get(bytes, order, at) == 0 || counts_itself && at == own);
            if is_empty {
                return Ok(Some((index, block)));
            }
        }
        Ok(None)
    }

    /// Takes a block out of the table and out of memory: all that it counts, itself included, is
    /// free once the table is on disk.
    pub(super) fn remove_block(&mut self, index: u64) {
        if let Some(offset) = self.block_of(index)
            && let Ok(index) = usize::try_from(index)
        {
            self.blocks.remove(offset);
            self.table[index] = 0;
            self.dirty_sectors.insert(index / ENTRIES_PER_SECTOR);
        }
    }

    /// Puts a new block for the clusters around `block_index * per_block()` into the table, at
    /// host cluster `at`, which it counts itself if it describes it; else the caller counts it.
    /// The table must have room.
    pub(super) fn add_block(&mut self, block_index: u64, at: u64) {
        let Ok(index) = usize::try_from(block_index) else {
            return;
        };
        let mut bytes = vec![0; 1 << self.cluster_bits];
        if at / self.per_block() == block_index {
            put(&mut bytes, self.order, self.index_in_block(at), 1);
        }
        let offset = at << self.cluster_bits;
        self.blocks.insert_fresh(offset, bytes);
        self.table[index] = offset;
        self.dirty_sectors.insert(index / ENTRIES_PER_SECTOR);
    }

    /// Makes room for `clusters` clusters of table. It must get a new place with
    /// [`Self::move_table`] at once.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] above 8 MiB.
    pub(super) fn lengthen_table(&mut self, clusters: u64) -> Result<()> {
        let bytes = clusters << self.cluster_bits;
        if bytes > MAX_REFCOUNT_TABLE_BYTES {
            return Err(Error::unsupported(format!(
                "the image file cannot grow: its refcount table would take {bytes} bytes, at most \
                 {MAX_REFCOUNT_TABLE_BYTES} are allowed"
            )));
        }
        let entries = usize::try_from(bytes / 8).unwrap_or(usize::MAX);
        self.table.resize(entries.max(self.table.len()), 0);
        Ok(())
    }

    /// The table will be written to `offset`; the header follows (see `flush`).
    pub(super) fn move_table(&mut self, offset: u64) {
        self.table_offset = offset;
        self.moved = true;
    }

    /// Whether the header must be switched to the table, which [`Self::write_blocks`] wrote.
    pub(super) fn has_moved(&self) -> bool {
        self.moved
    }

    /// Whether entries of the table in its place must be written.
    pub(super) fn has_dirty_table(&self) -> bool {
        !self.dirty_sectors.is_empty()
    }

    /// Whether there is anything to write.
    pub(super) fn is_dirty(&self) -> bool {
        self.moved || self.has_dirty_table() || self.blocks.is_dirty()
    }

    /// Writes the blocks, and the table where it has a new place; whether anything was written.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn write_blocks(&mut self) -> Result<bool> {
        let wrote = self.blocks.write_all()?;
        if !self.moved {
            return Ok(wrote);
        }
        let bytes: Vec<u8> = self.table.iter().flat_map(|e| e.to_be_bytes()).collect();
        self.storage.write_at(&bytes, self.table_offset)?;
        self.dirty_sectors.clear();
        Ok(true)
    }

    /// Writes changed entries of the table. Their blocks must be durable.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn write_table(&mut self) -> Result<()> {
        for sector in std::mem::take(&mut self.dirty_sectors) {
            let first = sector * ENTRIES_PER_SECTOR;
            let entries = &self.table[first..(first + ENTRIES_PER_SECTOR).min(self.table.len())];
            let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_be_bytes()).collect();
            self.storage
                .write_at(&bytes, self.table_offset + first as u64 * 8)?;
        }
        Ok(())
    }

    /// The header leads to the table now.
    pub(super) fn table_switched(&mut self) {
        self.moved = false;
    }

    fn block_of(&self, index: u64) -> Option<u64> {
        let index = usize::try_from(index).ok()?;
        let offset = self.table.get(index)? & BLOCK_OFFSET_MASK;
        (offset != 0).then_some(offset)
    }

    fn block_for_change(&self, cluster: u64) -> Result<u64> {
        self.block_of(cluster / self.per_block()).ok_or_else(|| {
            Error::corrupt(format!("cluster {cluster:#x} is in use but not counted"))
                .with_offset(cluster << self.cluster_bits)
                .with_field("refcount table")
        })
    }

    fn index_in_block(&self, cluster: u64) -> usize {
        // Less than the 2^24 bits of a cluster.
        usize::try_from(cluster % self.per_block()).unwrap_or(usize::MAX)
    }

    fn end_of_block(&self, cluster: u64) -> u64 {
        (cluster / self.per_block() + 1) * self.per_block()
    }

    /// `clusters` are in one block. Changes all of them or none.
    fn adjust_in_block(
        &mut self,
        clusters: Range<u64>,
        delta: i64,
        freed: &mut dyn FnMut(Range<u64>),
    ) -> Result<()> {
        let block = self.block_for_change(clusters.start)?;
        let (order, max) = (self.order, self.max());
        let first = self.index_in_block(clusters.start);
        let count = usize::try_from(clusters.end - clusters.start).unwrap_or(usize::MAX);
        self.write_when_full()?;
        let bytes = self.blocks.get(block)?;
        let fits = |value: u64| value.checked_add_signed(delta).filter(|new| *new <= max);
        if let Some(wrong) =
            (first..first + count).find(|index| fits(get(bytes, order, *index)).is_none())
        {
            let cluster = clusters.start + (wrong - first) as u64;
            return Err(if delta < 0 {
                self.underflow(cluster)
            } else {
                self.overflow(cluster)
            });
        }
        let part = part_of(order, first..first + count);
        let bytes = self.blocks.get_mut(block, part)?;
        let mut zeroes = 0..0;
        for (index, cluster) in (first..first + count).zip(clusters) {
            let value = get(bytes, order, index).wrapping_add_signed(delta);
            put(bytes, order, index, value);
            if value != 0 || delta >= 0 {
                continue;
            }
            if zeroes.end != cluster {
                if !Range::is_empty(&zeroes) {
                    freed(zeroes);
                }
                zeroes = cluster..cluster;
            }
            zeroes.end = cluster + 1;
        }
        if !zeroes.is_empty() {
            freed(zeroes);
        }
        Ok(())
    }

    fn undo(&mut self, done: &[Change], part: Range<u64>, delta: i64) -> Result<()> {
        self.adjust(part, -delta)?;
        for change in done.iter().rev() {
            self.adjust(change.clusters.clone(), -change.delta)?;
        }
        Ok(())
    }

    /// Keeps the cache within its bound; see the module's comment on why any time is right.
    fn write_when_full(&mut self) -> Result<()> {
        if self.blocks.is_over_limit() {
            self.blocks.write_all()?;
        }
        Ok(())
    }

    #[cold]
    fn overflow(&self, cluster: u64) -> Error {
        Error::unsupported(format!(
            "a refcount would pass {}, the most that {} bits hold",
            self.max(),
            1_u32 << self.order
        ))
        .with_offset(cluster << self.cluster_bits)
        .with_field("refcount")
    }

    #[cold]
    fn underflow(&self, cluster: u64) -> Error {
        Error::corrupt("a cluster in use has refcount 0; the image must be repaired first")
            .with_offset(cluster << self.cluster_bits)
            .with_field("refcount")
    }
}

/// The refcount at `index` of a block. Narrower than a byte, refcounts fill each byte from its low
/// end.
fn get(block: &[u8], order: u32, index: usize) -> u64 {
    match order {
        0..=2 => {
            let bit = index << order;
            let mask = u8::MAX >> (8 - (1_u32 << order));
            u64::from(block[bit / 8] >> (bit % 8) & mask)
        }
        3 => u64::from(block[index]),
        4 => u64::from(BigEndian::read_u16(&block[index * 2..])),
        5 => u64::from(BigEndian::read_u32(&block[index * 4..])),
        _ => BigEndian::read_u64(&block[index * 8..]),
    }
}

/// Sets the refcount at `index`; `value` fits.
#[allow(clippy::cast_possible_truncation, reason = "checked by the callers")]
fn put(block: &mut [u8], order: u32, index: usize, value: u64) {
    match order {
        0..=2 => {
            let bit = index << order;
            let mask = u8::MAX >> (8 - (1_u32 << order)) << (bit % 8);
            let byte = &mut block[bit / 8];
            *byte = *byte & !mask | (value as u8) << (bit % 8);
        }
        3 => block[index] = value as u8,
        4 => BigEndian::write_u16(&mut block[index * 2..], value as u16),
        5 => BigEndian::write_u32(&mut block[index * 4..], value as u32),
        _ => BigEndian::write_u64(&mut block[index * 8..], value),
    }
}

/// The bytes of a block that refcounts are in.
fn part_of(order: u32, indices: Range<usize>) -> Range<usize> {
    (indices.start << order) / 8..(indices.end << order).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::qcow2::write::tests::empty_image;
    use crate::storage::MemoryStorage;

    impl Refcounts {
        /// Sets a refcount, whatever it was.
        fn set(&mut self, cluster: u64, value: u64) -> Result<()> {
            let block = self.block_for_change(cluster)?;
            let (order, index) = (self.order, self.index_in_block(cluster));
            let part = part_of(order, index..index + 1);
            put(self.blocks.get_mut(block, part)?, order, index, value);
            Ok(())
        }
    }

    fn open(order: u32) -> (Arc<MemoryStorage>, Refcounts) {
        let memory = Arc::new(MemoryStorage::new(empty_image(9, order, 1 << 20)));
        let storage: Arc<dyn WritableStorage> = Arc::clone(&memory) as _;
        let header = Header::read(memory.as_ref()).unwrap();
        let refcounts = Refcounts::open(storage, &header).unwrap();
        (memory, refcounts)
    }

    #[test]
    fn counts_in_every_width() {
        for order in 0..=6 {
            let (_, mut refcounts) = open(order);
            let last = refcounts.per_block() - 1;
            assert_eq!(refcounts.run(0..last).unwrap(), (1, 4));
            for cluster in [5, 7, last] {
                refcounts.set(cluster, refcounts.max()).unwrap();
            }
            for (cluster, expected) in [(4, 0), (5, refcounts.max()), (6, 0), (8, 0)] {
                assert_eq!(
                    refcounts.get(cluster).unwrap(),
                    expected,
                    "{order} {cluster}"
                );
            }
            assert_eq!(refcounts.find_free(0, 1, 9).unwrap(), 4..5);
            assert_eq!(refcounts.find_free(0, 2, 2).unwrap(), 8..10);
            assert_eq!(refcounts.find_free(last, 3, 3).unwrap(), last + 1..last + 4);
            // No block there.
            assert_eq!(refcounts.get(last + 1).unwrap(), 0);
            assert!(refcounts.adjust(last + 1..last + 2, 1).is_err());
        }
    }

    #[test]
    fn changes_all_or_nothing_and_tells_what_is_free() {
        for order in 0..=6 {
            let (memory, mut refcounts) = open(order);
            let top = refcounts.max();
            refcounts.set(9, top).unwrap();
            let wrong = [
                Change {
                    clusters: 5..8,
                    delta: 1,
                },
                Change {
                    clusters: 8..10,
                    delta: 1,
                },
            ];
            assert!(refcounts.adjust_many(&wrong, &mut |_| ()).is_err());
            assert_eq!(refcounts.run(4..9).unwrap(), (0, 5));
            assert!(refcounts.adjust(5..6, -1).is_err());
            refcounts.set(9, 1).unwrap();
            refcounts.adjust(5..9, 1).unwrap();
            let mut freed = Vec::new();
            let fall = [
                Change {
                    clusters: 5..7,
                    delta: -1,
                },
                Change {
                    clusters: 8..10,
                    delta: -1,
                },
            ];
            refcounts
                .adjust_many(&fall, &mut |run| freed.push(run))
                .unwrap();
            assert_eq!(freed, [5..7, 8..10]);
            assert!(refcounts.write_blocks().unwrap());
            let header = Header::read(memory.as_ref()).unwrap();
            let mut again = Refcounts::open(Arc::clone(&memory) as _, &header).unwrap();
            assert_eq!(again.get(7).unwrap(), 1);
            assert_eq!(again.get(8).unwrap(), 0);
        }
    }
}
