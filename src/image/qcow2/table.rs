//! L1 tables, read when they are first needed, and the tables they lead to.

use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;
use crate::units::HostOffset;

/// Bits of an L1 entry that are the offset of an L2 table.
pub(super) const L2_TABLE_MASK: u64 = 0x00ff_ffff_ffff_fe00;

/// An L1 table of at most 32 MiB (checked with the header or the snapshot entry).
#[derive(Debug)]
pub(super) struct L1Table {
    offset: u64,
    size: u32,
    cluster_size: u64,
    entries: OnceLock<Vec<u64>>,
}

impl L1Table {
    pub(super) fn new(offset: u64, size: u32, cluster_size: u64) -> Self {
        Self {
            offset,
            size,
            cluster_size,
            entries: OnceLock::new(),
        }
    }

    /// The entries as they are on disk. Read once, without holding anybody up: should two threads
    /// come first, both read.
    ///
    /// A table with more entries in use than the file has clusters is refused: its L2 tables
    /// cannot all be different, and walking it would take longer than the file is long.
    pub(super) fn entries(&self, storage: &dyn Storage) -> Result<&[u64]> {
        if let Some(entries) = self.entries.get() {
            return Ok(entries);
        }
        let entries = read_entries(storage, self.offset, self.size)
            .map_err(|error| error.with_field("L1 table"))?;
        let used = entries
            .iter()
            .filter(|entry| **entry & L2_TABLE_MASK != 0)
            .count();
        let clusters = storage.size()?.div_ceil(self.cluster_size);
        if used as u64 > clusters {
            return Err(Error::corrupt(format!(
                "L1 table uses {used} L2 tables, but the file has {clusters} clusters"
            ))
            .with_offset(self.offset)
            .with_field("L1 table"));
        }
        Ok(self.entries.get_or_init(|| entries))
    }

    /// Where the L2 table of L1 entry `index` is; `None` when there is none. A snapshot's L1 table
    /// may be shorter than the disk: there is nothing behind its end.
    pub(super) fn l2_table(&self, storage: &dyn Storage, index: u64) -> Result<Option<HostOffset>> {
        let entries = self.entries(storage)?;
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| entries.get(index));
        let offset = entry.map_or(0, |entry| entry & L2_TABLE_MASK);
        if offset == 0 {
            return Ok(None);
        }
        if !offset.is_multiple_of(self.cluster_size) {
            return Err(Error::corrupt(format!(
                "L2 table offset {offset:#x} unaligned (L1 index: {index:#x})"
            ))
            .with_offset(self.offset + index * 8)
            .with_field("L1 entry"));
        }
        Ok(Some(HostOffset(offset)))
    }
}

/// Reads `count` big-endian 64-bit entries at `offset`. The caller has bounded `count`.
pub(super) fn read_entries(storage: &dyn Storage, offset: u64, count: u32) -> Result<Vec<u64>> {
    let length = count as usize * 8;
    // Before anything is allocated: a table behind the end costs nothing.
    if offset
        .checked_add(length as u64)
        .is_none_or(|end| storage.size().is_ok_and(|size| end > size))
    {
        return Err(past_the_end(offset));
    }
    let mut bytes = vec![0; length];
    storage.read_at(&mut bytes, offset)?;
    let (entries, _) = bytes.as_chunks::<8>();
    Ok(entries
        .iter()
        .map(|entry| u64::from_be_bytes(*entry))
        .collect())
}

/// Fills `buf` from the structure `what` at `offset`. Guest data behind the end of the file reads
/// as zeroes, but a structure there is damage: the file has been cut.
pub(super) fn read_table(
    storage: &dyn Storage,
    buf: &mut [u8],
    offset: u64,
    what: &'static str,
) -> Result<()> {
    storage.read_at(buf, offset).map_err(|error| {
        let error = if error.kind() == ErrorKind::OutOfBounds {
            past_the_end(offset)
        } else {
            error
        };
        error.with_field(what)
    })
}

fn past_the_end(offset: u64) -> Error {
    Error::corrupt("the file ends before this structure does").with_offset(offset)
}
