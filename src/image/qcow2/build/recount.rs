//! The refcounts of host clusters with compressed data, from the L2 tables that lead there: in
//! little memory, whatever the size of the file.

use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::image::qcow2::build::tables::Tables;
use crate::image::qcow2::entry::{COMPRESSED, CompressedCluster};
use crate::image::qcow2::table::L2_TABLE_MASK;
use crate::storage::WritableStorage;

/// Bytes of L2 tables that are read together.
const READ: usize = 256 << 10;

/// Compressed clusters come in the order of the file, but for those that were copied together:
/// these are out of order within as many bytes as are copied at once.
const DISORDER: u64 = 4 << 20;

/// Counts host clusters, asked in ascending order.
#[derive(Debug)]
pub(super) struct Recount<'a> {
    tables: &'a Tables,
    storage: &'a dyn WritableStorage,
    cluster: u64,
    /// The next L1 index to be read.
    next: usize,
    /// L2 entries that were read, as far as they are compressed, last one first.
    entries: Vec<CompressedCluster>,
    bytes: Vec<u8>,
    /// Counts of the host clusters from `first` on.
    counts: VecDeque<u64>,
    first: u64,
}

impl<'a> Recount<'a> {
    /// All of `tables` must have been written to `storage`.
    pub(super) fn new(tables: &'a Tables, storage: &'a dyn WritableStorage, cluster: u64) -> Self {
        Self {
            tables,
            storage,
            cluster,
            next: 0,
            entries: Vec::new(),
            bytes: Vec::new(),
            counts: VecDeque::new(),
            first: 0,
        }
    }

    /// How often host cluster `index` is referenced; everything that is not compressed is once.
    ///
    /// # Errors
    /// I/O errors of the tables; [`crate::ErrorKind::Corrupt`] when these are not what was written.
    pub(super) fn refcount(&mut self, index: u64) -> Result<u64> {
        while self.first < index {
            self.counts.pop_front();
            self.first += 1;
        }
        // Whatever lies behind this has only what lies behind `index` after it.
        let horizon = index + DISORDER / self.cluster + 2;
        while let Some(place) = self.peek()? {
            if place.host / self.cluster > horizon {
                break;
            }
            self.entries.pop();
            self.count(place)?;
        }
        Ok(self.counts.front().map_or(1, |count| (*count).max(1)))
    }

    fn count(&mut self, place: CompressedCluster) -> Result<()> {
        for index in place.host / self.cluster..place.end().div_ceil(self.cluster) {
            let at = index
                .checked_sub(self.first)
                .and_then(|at| usize::try_from(at).ok());
            let at = at.ok_or_else(|| {
                Error::corrupt("the L2 tables are not those that were written")
                    .with_offset(place.host)
            })?;
            if self.counts.len() <= at {
                self.counts.resize(at + 1, 0);
            }
            self.counts[at] += 1;
        }
        Ok(())
    }

    /// The next compressed cluster in the order of the tables.
    fn peek(&mut self) -> Result<Option<CompressedCluster>> {
        while self.entries.is_empty() && self.read()? {}
        Ok(self.entries.last().copied())
    }

    /// Reads the next tables that lie side by side; `false` when there are no more.
    fn read(&mut self) -> Result<bool> {
        let l1 = self.tables.l1();
        let rest = l1.get(self.next..).unwrap_or_default();
        let Some(skipped) = rest.iter().position(|entry| *entry != 0) else {
            return Ok(false);
        };
        let rest = &rest[skipped..];
        let start = rest.first().map_or(0, |entry| entry & L2_TABLE_MASK);
        let size = usize::try_from(self.cluster).unwrap_or(usize::MAX);
        let most = (READ / size).max(1);
        let tables = rest.iter().take(most).zip(0_u64..);
        let count = tables
            .take_while(|(entry, index)| **entry & L2_TABLE_MASK == start + index * self.cluster)
            .count();
        self.next += skipped + count;
        self.bytes.resize(count * size, 0);
        self.storage.read_at(&mut self.bytes, start)?;
        let cluster_bits = self.cluster.trailing_zeros();
        let words = self.bytes.as_chunks::<8>().0.iter();
        let words = words.step_by(self.tables.entry_size() / 8).rev();
        let compressed = words
            .map(|word| u64::from_be_bytes(*word))
            .filter(|word| word & COMPRESSED != 0);
        self.entries
            .extend(compressed.map(|word| CompressedCluster::parse(word, cluster_bits)));
        Ok(true)
    }
}
