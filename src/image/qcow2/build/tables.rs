//! The L1 table of an image on its way, and the L2 tables: filled in guest order and written in
//! batches, each once.

use crate::error::Result;
use crate::image::qcow2::create::Qcow2Options;
use crate::image::qcow2::entry::COPIED;
use crate::storage::WritableStorage;

/// L2 tables are written in batches of about this many bytes.
const BATCH: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Tables {
    cluster: u64,
    entry_size: usize,
    /// Encoded only when written: at most 32 MiB.
    l1: Vec<u64>,
    /// L1 indices of the tables in `bytes`, the last of which is being filled.
    indices: Vec<u64>,
    bytes: Vec<u8>,
}

impl Tables {
    pub(super) fn new(options: &Qcow2Options) -> Self {
        Self {
            cluster: options.cluster_size,
            entry_size: length(options.l2_entry_size()),
            l1: vec![0; length(options.l1_entries())],
            indices: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Sets the entry of a guest cluster; `bitmap` is for images with subclusters. Clusters come
    /// in ascending order.
    pub(super) fn set(
        &mut self,
        cluster: u64,
        word: u64,
        bitmap: u64,
        tail: &mut u64,
        storage: &dyn WritableStorage,
    ) -> Result<()> {
        let per_table = self.cluster / self.entry_size as u64;
        let index = cluster / per_table;
        if self.indices.last() != Some(&index) {
            if self.bytes.len() >= BATCH {
                self.finish(tail, storage)?;
            }
            self.indices.push(index);
            self.bytes
                .resize(self.bytes.len() + length(self.cluster), 0);
        }
        let table = self.bytes.len() - length(self.cluster);
        let at = table + length(cluster % per_table) * self.entry_size;
        self.bytes[at..at + 8].copy_from_slice(&word.to_be_bytes());
        if self.entry_size == 16 {
            self.bytes[at + 8..at + 16].copy_from_slice(&bitmap.to_be_bytes());
        }
        Ok(())
    }

    /// Writes the tables there are at the end of the file.
    pub(super) fn finish(&mut self, tail: &mut u64, storage: &dyn WritableStorage) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        storage.write_at(&self.bytes, *tail)?;
        for index in self.indices.drain(..) {
            if let Some(entry) = self.l1.get_mut(length(index)) {
                *entry = COPIED | *tail;
            }
            *tail += self.cluster;
        }
        self.bytes.clear();
        Ok(())
    }

    /// The entries of the L1 table, as far as their tables were written.
    pub(super) fn l1(&self) -> &[u64] {
        &self.l1
    }

    /// Bytes of an L2 entry.
    pub(super) fn entry_size(&self) -> usize {
        self.entry_size
    }

    /// Writes the L1 table at the end of the file; where. An empty table is nowhere.
    pub(super) fn write_l1(&self, tail: &mut u64, storage: &dyn WritableStorage) -> Result<u64> {
        if self.l1.is_empty() {
            return Ok(0);
        }
        let offset = *tail;
        let mut at = offset;
        for part in self.l1.chunks(BATCH / 8) {
            let bytes: Vec<u8> = part.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            storage.write_at(&bytes, at)?;
            at += bytes.len() as u64;
        }
        *tail = at.next_multiple_of(self.cluster);
        Ok(offset)
    }
}

/// Bounded by the format's limits: a cluster, or a table.
fn length(bounded: u64) -> usize {
    usize::try_from(bounded).unwrap_or(usize::MAX)
}
