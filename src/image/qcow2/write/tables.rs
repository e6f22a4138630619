//! The L1 table in memory, and L2 tables that may be changed.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::image::qcow2::entry::COPIED;
use crate::image::qcow2::header::Header;
use crate::image::qcow2::table::{L2_TABLE_MASK, read_entries};
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::structures::Structure;
use crate::storage::{Storage, WritableStorage};

/// Entries in a sector: what is written of the table when one changes.
const ENTRIES_PER_SECTOR: usize = 64;

/// The active L1 table: all of it, at most 32 MiB.
#[derive(Debug)]
pub(super) struct L1 {
    offset: u64,
    entries: Vec<u64>,
    dirty_sectors: BTreeSet<usize>,
}

impl L1 {
    /// Reads the table of `header`.
    pub(super) fn open(storage: &dyn Storage, header: &Header) -> Result<Self> {
        let entries = read_entries(storage, header.l1_table_offset, header.l1_size)
            .map_err(|error| error.with_field("L1 table"))?;
        for (entry, index) in entries.iter().zip(0_u64..) {
            let offset = entry & L2_TABLE_MASK;
            if !offset.is_multiple_of(header.cluster_size()) {
                return Err(Error::corrupt(format!(
                    "L2 table offset {offset:#x} unaligned (L1 index: {index:#x})"
                ))
                .with_offset(header.l1_table_offset + index * 8)
                .with_field("L1 entry"));
            }
        }
        Ok(Self::new(header.l1_table_offset, entries))
    }

    /// A table that is on disk at `offset` with these entries.
    pub(super) fn new(offset: u64, entries: Vec<u64>) -> Self {
        Self {
            offset,
            entries,
            dirty_sectors: BTreeSet::new(),
        }
    }

    /// Where the table is.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The entries with their flags.
    pub(super) fn entries(&self) -> &[u64] {
        &self.entries
    }

    /// The host offset of L2 table `index`.
    pub(super) fn l2_table(&self, index: usize) -> Option<u64> {
        let offset = self.entries.get(index)? & L2_TABLE_MASK;
        (offset != 0).then_some(offset)
    }

    /// Changes an entry in its place: written at the second barrier of the next flush.
    pub(super) fn set(&mut self, index: usize, entry: u64) {
        if self.entries[index] != entry {
            self.entries[index] = entry;
            self.dirty_sectors.insert(index / ENTRIES_PER_SECTOR);
        }
    }

    /// Whether there are changes to write.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty_sectors.is_empty()
    }

    /// Writes the changed sectors.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn write(&mut self, storage: &dyn WritableStorage) -> Result<()> {
        for sector in std::mem::take(&mut self.dirty_sectors) {
            let first = sector * ENTRIES_PER_SECTOR;
            let end = (first + ENTRIES_PER_SECTOR).min(self.entries.len());
            let bytes = encode(&self.entries[first..end]);
            storage.write_at(&bytes, self.offset + first as u64 * 8)?;
        }
        Ok(())
    }
}

/// Entries as they are on disk.
pub(super) fn encode(entries: &[u64]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|entry| entry.to_be_bytes())
        .collect()
}

impl State {
    /// The bytes of the L2 table of L1 entry `index`, as they are now; `None` when there is none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] behind the end of the file; I/O errors.
    pub(super) fn l2_table(&mut self, index: usize) -> Result<Option<&[u8]>> {
        match self.l1.l2_table(index) {
            Some(offset) => self.l2.get(offset).map(Some),
            None => Ok(None),
        }
    }

    /// Makes sure that L1 entry `index` (inside the table) has an L2 table that nothing else
    /// refers to, new or copied from a snapshot's where needed; its host offset.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when the table is counted as free; as [`Self::allocate`].
    pub(super) fn l2_table_for_change(&mut self, index: usize) -> Result<u64> {
        let size = usize::try_from(self.cluster_size()).unwrap_or(usize::MAX);
        let Some(old) = self.l1.l2_table(index) else {
            let new = self.allocate_for(1, Structure::L2Table)?;
            self.l2.insert_fresh(new, vec![0; size]);
            self.l1.set(index, new | COPIED);
            return Ok(new);
        };
        if self.exclusive_l2 == Some(old) {
            return Ok(old);
        }
        match self.refcounts.get(old >> self.cluster_bits())? {
            0 => Err(uncounted(old, "L2 table")),
            1 => {
                self.l1.set(index, old | COPIED);
                self.exclusive_l2 = Some(old);
                Ok(old)
            }
            _ => {
                let bytes = self.l2.get(old)?.to_vec();
                let new = self.allocate_for(1, Structure::L2Table)?;
                self.l2.insert_fresh(new, bytes);
                self.l1.set(index, new | COPIED);
                self.structures.forget(old >> self.cluster_bits(), 1);
                self.free(old, 1);
                Ok(new)
            }
        }
    }

    /// The bytes `part` of the L2 table at `table` (from [`Self::l2_table_for_change`]) will
    /// change: all of the table's bytes.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn change_l2(&mut self, table: u64, part: Range<usize>) -> Result<&mut [u8]> {
        let claimed = self.structures.get(table >> self.cluster_bits());
        if claimed != Some(Structure::L2Table) {
            let error = Error::corrupt("an L2 table is where none may be").with_offset(table);
            return Err(self.refuse_overlap(error));
        }
        self.l2.get_mut(table, part)
    }

    /// Puts a new L1 table with `entries` onto the disk and makes it durable, refcounts included.
    /// Nothing leads to it before [`Self::switch_l1`]. Answers its host offset.
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub(super) fn write_new_l1(&mut self, entries: &[u64]) -> Result<u64> {
        let bytes = encode(entries);
        let clusters = (bytes.len() as u64).div_ceil(self.cluster_size()).max(1);
        let host = self.allocate_for(clusters, Structure::L1Table)?;
        if let Err(error) = self.storage.write_at(&bytes, host) {
            self.release(host, clusters)?;
            return Err(error);
        }
        self.checkpoint()?;
        Ok(host)
    }

    /// Makes the L1 table at `host` (from [`Self::write_new_l1`], with `entries`) the active one,
    /// and `size` the virtual size, in one write of one sector; durable on return. The clusters of
    /// the old L1 table itself are freed; what else its entries referred to is the caller's to
    /// free.
    ///
    /// # Errors
    /// I/O errors; then the writer is of no use any more.
    pub(super) fn switch_l1(&mut self, host: u64, entries: Vec<u64>, size: u64) -> Result<()> {
        self.checkpoint()?;
        let (old, old_entries) = (self.l1.offset(), self.l1.entries().len() as u64);
        let old_clusters = (old_entries * 8).div_ceil(self.cluster_size());
        self.header.fields.size = size;
        self.header.fields.l1_table_offset = host;
        self.header.fields.l1_size = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        self.write_header()?;
        self.claim_l2_tables(&entries)?;
        self.l1 = L1::new(host, entries);
        self.exclusive_l2 = None;
        if old_clusters > 0 {
            self.free(old, old_clusters);
        }
        Ok(())
    }

    /// Knows the tables of these L1 entries, and no others, as the active L2 tables.
    pub(super) fn claim_l2_tables(&mut self, entries: &[u64]) -> Result<()> {
        let bits = self.cluster_bits();
        for entry in self.l1.entries() {
            let cluster = (entry & L2_TABLE_MASK) >> bits;
            if self.structures.get(cluster) == Some(Structure::L2Table) {
                self.structures.forget(cluster, 1);
            }
        }
        for entry in entries {
            let offset = entry & L2_TABLE_MASK;
            if offset != 0 {
                self.structures
                    .claim(offset >> bits, 1, Structure::L2Table)
                    .map_err(|error| error.with_offset(offset))?;
            }
        }
        Ok(())
    }
}

/// The error for something in use with refcount 0.
#[cold]
pub(super) fn uncounted(host: u64, what: &'static str) -> Error {
    Error::corrupt(format!(
        "{what} is in use but has refcount 0; the image must be repaired first"
    ))
    .with_offset(host)
    .with_field("refcount")
}
