//! L1 tables: read when they are first needed.

use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::storage::Storage;
use crate::units::HostOffset;

/// Bits of an L1 entry that are the offset of an L2 table.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

/// An L1 table of at most 32 MiB (checked with the header or the snapshot entry).
#[derive(Debug)]
pub(super) struct L1Table {
    offset: u64,
    size: u32,
    entries: OnceLock<Vec<u64>>,
}

impl L1Table {
    pub(super) fn new(offset: u64, size: u32) -> Self {
        Self {
            offset,
            size,
            entries: OnceLock::new(),
        }
    }

    /// The entries as they are on disk. Read once, without holding anybody up: should two threads
    /// come first, both read.
    pub(super) fn entries(&self, storage: &dyn Storage) -> Result<&[u64]> {
        if let Some(entries) = self.entries.get() {
            return Ok(entries);
        }
        let entries = read_entries(storage, self.offset, self.size)
            .map_err(|error| error.with_field("l1_table_offset"))?;
        Ok(self.entries.get_or_init(|| entries))
    }
}

/// Where the L2 table of L1 entry `index` is; `None` when there is none.
pub(super) fn l2_table_offset(
    entry: u64,
    index: u64,
    cluster_size: u64,
) -> Result<Option<HostOffset>> {
    let offset = entry & OFFSET_MASK;
    if offset == 0 {
        return Ok(None);
    }
    if !offset.is_multiple_of(cluster_size) {
        return Err(Error::corrupt(format!(
            "L2 table offset {offset:#x} unaligned (L1 index: {index:#x})"
        )));
    }
    Ok(Some(HostOffset(offset)))
}

/// Reads `count` big-endian 64-bit entries at `offset`. The caller has bounded `count`.
pub(super) fn read_entries(storage: &dyn Storage, offset: u64, count: u32) -> Result<Vec<u64>> {
    let length = count as usize * 8;
    let size = storage.size()?;
    // Before anything is allocated: a table behind the end costs nothing.
    if offset
        .checked_add(length as u64)
        .is_none_or(|end| end > size)
    {
        return Err(Error::corrupt(format!(
            "table of {count} entries passes the end of the file at {size:#x}"
        ))
        .with_offset(offset));
    }
    let mut bytes = vec![0; length];
    storage.read_at(&mut bytes, offset)?;
    let (entries, _) = bytes.as_chunks::<8>();
    Ok(entries
        .iter()
        .map(|entry| u64::from_be_bytes(*entry))
        .collect())
}
