//! A write-back cache of tables of one size: L2 tables, refcount blocks.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::image::qcow2::table::read_table;
use crate::storage::{Storage, WritableStorage};

/// What is written of a changed table: the blocks of a host file system.
const PAGE: usize = 4096;

/// Tables by host offset. A table that was changed stays until it is written; the caller bounds
/// how many there are with [`Self::is_over_limit`].
#[derive(Debug)]
pub(super) struct Blocks {
    storage: Arc<dyn WritableStorage>,
    /// For messages.
    what: &'static str,
    /// Bytes of a table.
    size: usize,
    /// Tables that are kept.
    limit: usize,
    blocks: HashMap<u64, Block>,
    /// Offsets in the order in which the hand of the clock passes them.
    clock: VecDeque<u64>,
    dirty: BTreeSet<u64>,
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    /// One bit a page that is not on disk yet.
    dirty: Vec<u64>,
    /// Nothing on disk leads to it yet: it may be written at any time.
    fresh: bool,
    /// Since the hand last passed.
    used: bool,
}

impl Blocks {
    /// A cache of about `limit` bytes for tables of `size` bytes.
    pub(super) fn new(
        storage: Arc<dyn WritableStorage>,
        what: &'static str,
        size: usize,
        limit: usize,
    ) -> Self {
        Self {
            storage,
            what,
            size,
            limit: (limit / size).max(4),
            blocks: HashMap::new(),
            clock: VecDeque::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// The table at `offset`, read when it is not here.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] behind the end of the file; I/O errors.
    pub(super) fn get(&mut self, offset: u64) -> Result<&[u8]> {
        Ok(&self.load(offset)?.bytes)
    }

    /// That table, for changing the bytes in `part` of it (and no others).
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) fn get_mut(&mut self, offset: u64, part: Range<usize>) -> Result<&mut [u8]> {
        self.load(offset)?.mark(&part);
        self.dirty.insert(offset);
        // Just loaded.
        Ok(self
            .blocks
            .get_mut(&offset)
            .map_or(&mut [][..], |block| &mut block.bytes))
    }

    /// Puts a table here that nothing on disk leads to yet.
    pub(super) fn insert_fresh(&mut self, offset: u64, bytes: Vec<u8>) {
        debug_assert_eq!(bytes.len(), self.size);
        let mut block = Block {
            dirty: vec![0; bytes.len().div_ceil(PAGE).div_ceil(64)],
            bytes,
            fresh: true,
            used: true,
        };
        block.mark(&(0..self.size));
        self.make_room();
        if self.blocks.insert(offset, block).is_none() {
            self.clock.push_back(offset);
        }
        self.dirty.insert(offset);
    }

    /// Forgets a table that was given back, with its changes.
    pub(super) fn remove(&mut self, offset: u64) {
        self.blocks.remove(&offset);
        self.dirty.remove(&offset);
    }

    /// Forgets all tables, which must be written.
    pub(super) fn clear(&mut self) {
        debug_assert!(self.dirty.is_empty());
        self.blocks.clear();
        self.clock.clear();
    }

    /// Whether there are changes to write.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether the changed tables take more than half of the room: time to write them.
    pub(super) fn is_over_limit(&self) -> bool {
        self.dirty.len() > self.limit / 2
    }

    /// Writes all changes; whether there were any.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn write_all(&mut self) -> Result<bool> {
        let offsets: Vec<u64> = self.dirty.iter().copied().collect();
        self.write(&offsets)
    }

    /// Writes the tables that nothing on disk leads to; whether there were any.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn write_fresh(&mut self) -> Result<bool> {
        let is_fresh = |offset: &u64| self.blocks.get(offset).is_some_and(|block| block.fresh);
        let offsets: Vec<u64> = self.dirty.iter().copied().filter(is_fresh).collect();
        self.write(&offsets)
    }

    fn write(&mut self, offsets: &[u64]) -> Result<bool> {
        for offset in offsets {
            if let Some(block) = self.blocks.get_mut(offset) {
                block.write(self.storage.as_ref(), *offset)?;
            }
            self.dirty.remove(offset);
        }
        Ok(!offsets.is_empty())
    }

    fn load(&mut self, offset: u64) -> Result<&mut Block> {
        if !self.blocks.contains_key(&offset) {
            let mut bytes = vec![0; self.size];
            let storage: &dyn Storage = self.storage.as_ref();
            read_table(storage, &mut bytes, offset, self.what)?;
            self.make_room();
            self.clock.push_back(offset);
            let block = Block {
                dirty: vec![0; bytes.len().div_ceil(PAGE).div_ceil(64)],
                bytes,
                fresh: false,
                used: false,
            };
            self.blocks.insert(offset, block);
        }
        let block = self.blocks.entry(offset).or_insert_with(|| Block {
            bytes: vec![0; self.size],
            dirty: Vec::new(),
            fresh: false,
            used: false,
        });
        block.used = true;
        Ok(block)
    }

    /// Drops tables that are on disk until one more fits. Each is passed at most twice: changed
    /// ones stay.
    fn make_room(&mut self) {
        let mut passes = self.clock.len() * 2;
        while self.blocks.len() >= self.limit && passes > 0 {
            passes -= 1;
            let Some(offset) = self.clock.pop_front() else {
                return;
            };
            let is_dirty = self.dirty.contains(&offset);
            let Some(block) = self.blocks.get_mut(&offset) else {
                continue;
            };
            if std::mem::take(&mut block.used) || is_dirty {
                self.clock.push_back(offset);
            } else {
                self.blocks.remove(&offset);
            }
        }
    }
}

impl Block {
    fn mark(&mut self, part: &Range<usize>) {
        for page in part.start / PAGE..part.end.div_ceil(PAGE) {
            self.dirty[page / 64] |= 1 << (page % 64);
        }
    }

    /// Writes the changed pages, neighbours together.
    fn write(&mut self, storage: &dyn WritableStorage, offset: u64) -> Result<()> {
        let pages = self.bytes.len().div_ceil(PAGE);
        let is_dirty = |page: usize| self.dirty[page / 64] >> (page % 64) & 1 != 0;
        let mut page = 0;
        while page < pages {
            let first = page;
            while page < pages && is_dirty(page) {
                page += 1;
            }
            if page > first {
                let end = (page * PAGE).min(self.bytes.len());
                let start = first * PAGE;
                storage.write_at(&self.bytes[start..end], offset + start as u64)?;
            }
            page += 1;
        }
        self.dirty.fill(0);
        self.fresh = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn writes_changed_pages_only_and_keeps_within_its_limit() {
        let memory = Arc::new(MemoryStorage::new(vec![7; 64 * 16384]));
        let mut blocks = Blocks::new(Arc::clone(&memory) as _, "table", 16384, 8 * 16384);
        blocks.get_mut(16384, 5000..5001).unwrap()[5000] = 1;
        // Behind our back: a page that is written again would hide it.
        memory.write_at(&[9], 16384 + 12288).unwrap();
        for table in 2..64 {
            blocks.get(table * 16384).unwrap();
            assert!(blocks.blocks.len() <= 8);
        }
        assert_eq!(blocks.get(16384).unwrap()[5000], 1);
        blocks.insert_fresh(0, vec![3; 16384]);
        assert!(blocks.write_fresh().unwrap());
        assert!(blocks.is_dirty());
        assert_eq!(memory.to_vec()[16384 + 5000], 7);
        assert!(blocks.write_all().unwrap());
        assert!(!blocks.write_all().unwrap());
        let bytes = memory.to_vec();
        assert_eq!((bytes[0], bytes[16384 + 5000]), (3, 1));
        assert_eq!(bytes[16384 + 12288], 9);
    }
}
