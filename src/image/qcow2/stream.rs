//! A forward reader for tables whose entries have no fixed length.

use crate::error::{Error, Result};
use crate::storage::Storage;

/// What is read at a time, at least.
const CHUNK: u64 = 64 * 1024;

/// Reads a part of a storage front to back, a big read at a time.
pub(super) struct Stream<'a> {
    storage: &'a dyn Storage,
    /// Where the next byte is.
    offset: u64,
    /// Nothing behind this is read.
    end: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was taken.
    taken: usize,
}

impl<'a> Stream<'a> {
    /// Reads from `offset`, at most `limit` bytes and never behind the end of the storage.
    pub(super) fn new(storage: &'a dyn Storage, offset: u64, limit: u64) -> Result<Self> {
        Ok(Self {
            storage,
            offset,
            end: offset.saturating_add(limit).min(storage.size()?),
            buffer: Vec::new(),
            taken: 0,
        })
    }

    /// Where the next byte is in the storage.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&[u8]> {
        self.fill(length)?;
        let start = self.taken;
        self.taken += length;
        self.offset += length as u64;
        Ok(&self.buffer[start..self.taken])
    }

    /// Passes over `length` bytes; the end may lie among them.
    pub(super) fn skip(&mut self, length: u64) {
        let buffered = self.buffer.len() - self.taken;
        self.taken += usize::try_from(length).map_or(buffered, |length| length.min(buffered));
        self.offset = self.offset.saturating_add(length);
    }

    fn fill(&mut self, length: usize) -> Result<()> {
        let buffered = self.buffer.len() - self.taken;
        if buffered >= length {
            return Ok(());
        }
        let left = self.end.saturating_sub(self.offset);
        if left < length as u64 {
            return Err(Error::corrupt("the table ends early").with_offset(self.offset));
        }
        let want = usize::try_from(left.min(CHUNK.max(length as u64))).unwrap_or(length);
        let mut buffer = vec![0; want];
        self.storage.read_at(&mut buffer, self.offset)?;
        self.buffer = buffer;
        self.taken = 0;
        Ok(())
    }
}
