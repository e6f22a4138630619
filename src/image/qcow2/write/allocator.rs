//! Where new clusters go, and what becomes of those nobody needs any more.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::refcounts::Change;
use crate::image::qcow2::write::structures::Structure;

/// End of the host offsets that an L2 entry can hold.
const OFFSET_END: u64 = 1 << 56;
/// Runs of freed clusters that wait; more than these are dealt with early.
const MAX_PENDING: usize = 1 << 18;

/// What the allocator remembers.
#[derive(Debug, Default)]
pub(super) struct Allocator {
    /// No cluster below this one is free.
    first_free: u64,
    /// Clusters from here on were never written, by anybody: they read as zeroes.
    blank_from: u64,
    /// Where the next compressed cluster goes, in the middle of a host cluster.
    compressed_at: Option<u64>,
    /// References that are gone, but not yet from the disk: their refcounts fall after the next
    /// barrier.
    pending: Vec<Range<u64>>,
}

impl Allocator {
    /// For a file of `length` bytes.
    pub(super) fn new(length: u64, cluster_bits: u32) -> Self {
        Self {
            blank_from: length.div_ceil(1 << cluster_bits),
            ..Self::default()
        }
    }

    /// Whether references wait to be dropped.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn is_over_limit(&self) -> bool {
        self.pending.len() > MAX_PENDING
    }

    /// Whether the file may end in the middle of a sector: behind compressed data.
    pub(super) fn may_end_anywhere(&self) -> bool {
        self.compressed_at.is_some()
    }

    /// Takes the references that wait, as changes that touch each refcount block once.
    pub(super) fn take_pending(&mut self) -> Vec<Change> {
        let mut runs = std::mem::take(&mut self.pending);
        runs.sort_unstable_by_key(|run| run.start);
        let mut changes: Vec<Change> = Vec::with_capacity(runs.len());
        for run in runs {
            match changes.last_mut() {
                Some(last) if last.clusters.end == run.start => last.clusters.end = run.end,
                _ => changes.push(Change {
                    clusters: run,
                    delta: -1,
                }),
            }
        }
        changes
    }

    /// `clusters` can be used again.
    pub(super) fn freed(&mut self, clusters: &Range<u64>, cluster_bits: u32) {
        self.first_free = self.first_free.min(clusters.start);
        if self
            .compressed_at
            .is_some_and(|at| clusters.contains(&(at >> cluster_bits)))
        {
            self.compressed_at = None;
        }
    }
}

impl State {
    /// Allocates `count` clusters in a row, each with refcount 1, and answers the host offset of
    /// the first. What they hold is anything.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when the file cannot get longer;
    /// [`crate::ErrorKind::Corrupt`] when a structure of the image is in a cluster that is counted
    /// as free; I/O errors.
    pub(super) fn allocate(&mut self, count: u64) -> Result<u64> {
        let run = self.allocate_run(count, count)?;
        Ok(run.start << self.cluster_bits())
    }

    /// Allocates the first free clusters, at most `max` (and at least one): host offset of the
    /// first, and how many.
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub(super) fn allocate_up_to(&mut self, max: u64) -> Result<(u64, u64)> {
        let run = self.allocate_run(1, max)?;
        Ok((run.start << self.cluster_bits(), run.end - run.start))
    }

    /// As [`Self::allocate`] for one cluster; whether it was never written and reads as zeroes.
    ///
    /// # Errors
    /// As there.
    pub(super) fn allocate_maybe_blank(&mut self) -> Result<(u64, bool)> {
        let blank_from = self.allocator.blank_from;
        let run = self.allocate_run(1, 1)?;
        Ok((run.start << self.cluster_bits(), run.start >= blank_from))
    }

    /// As [`Self::allocate`], for a structure.
    ///
    /// # Errors
    /// As there.
    pub(super) fn allocate_for(&mut self, count: u64, what: Structure) -> Result<u64> {
        let host = self.allocate(count)?;
        self.structures
            .claim(host >> self.cluster_bits(), count, what)?;
        Ok(host)
    }

    /// Allocates `length` bytes (at most a cluster) for compressed data, at any byte; adds a
    /// reference to each host cluster that they are in.
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub(super) fn allocate_bytes(&mut self, length: u64) -> Result<u64> {
        let (bits, size) = (self.cluster_bits(), self.cluster_size());
        if let Some(at) = self.allocator.compressed_at {
            let cluster = at >> bits;
            let room = size - at % size;
            let shares = self.refcounts.get(cluster)?;
            if shares > 0 && shares < self.refcounts.max() {
                if length <= room {
                    self.refcounts.adjust(cluster..cluster + 1, 1)?;
                    self.allocator.compressed_at = (length < room).then_some(at + length);
                    return Ok(at);
                }
                // Goes on in the next cluster, if that is free.
                let next = self.refcounts.find_free(cluster + 1, 1, 1)?;
                if next.start == cluster + 1 && self.refcounts.has_block(next.start) {
                    self.check_allocation(&next)?;
                    self.refcounts.adjust(cluster..cluster + 2, 1)?;
                    self.allocator.blank_from = self.allocator.blank_from.max(next.end);
                    if self.allocator.first_free == next.start {
                        self.allocator.first_free = next.end;
                    }
                    self.allocator.compressed_at = Some(at + length);
                    return Ok(at);
                }
            }
        }
        let at = self.allocate(1)?;
        self.allocator.compressed_at = (length < size).then_some(at + length);
        Ok(at)
    }

    /// Drops a reference to each of `count` clusters from host offset `host` on. Their refcounts
    /// fall, and what is free then is reused, only after the barrier that makes the removal of
    /// these references durable.
    pub(super) fn free(&mut self, host: u64, count: u64) {
        let first = host >> self.cluster_bits();
        let run = first..first + count;
        match self.allocator.pending.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => self.allocator.pending.push(run),
        }
    }

    /// Takes back an allocation that nothing refers to yet, not even in memory: free at once.
    ///
    /// # Errors
    /// As [`crate::image::qcow2::write::refcounts::Refcounts::adjust_many`].
    pub(super) fn release(&mut self, host: u64, count: u64) -> Result<()> {
        let bits = self.cluster_bits();
        let first = host >> bits;
        self.refcounts.adjust(first..first + count, -1)?;
        self.structures.forget(first, count);
        self.allocator.freed(&(first..first + count), bits);
        Ok(())
    }

    /// As [`Self::release`], for [`Self::allocate_bytes`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn release_bytes(&mut self, host: u64, length: u64) -> Result<()> {
        let bits = self.cluster_bits();
        let (first, last) = (host >> bits, (host + length - 1) >> bits);
        self.refcounts.adjust(first..last + 1, -1)?;
        for cluster in first..=last {
            if self.refcounts.get(cluster)? == 0 {
                self.allocator.freed(&(cluster..cluster + 1), bits);
            }
        }
        Ok(())
    }

    fn allocate_run(&mut self, min: u64, max: u64) -> Result<Range<u64>> {
        loop {
            let from = self.allocator.first_free;
            let run = self.refcounts.find_free(from, min, max)?;
            self.check_allocation(&run)?;
            if self.add_missing_block(&run)? {
                continue;
            }
            self.refcounts.adjust(run.clone(), 1)?;
            self.allocator.blank_from = self.allocator.blank_from.max(run.end);
            // A run of several clusters may have been looked for behind smaller gaps.
            if min == 1 || run.start == from {
                self.allocator.first_free = run.end;
            }
            return Ok(run);
        }
    }

    fn check_allocation(&mut self, run: &Range<u64>) -> Result<()> {
        if run.end > OFFSET_END >> self.cluster_bits() {
            return Err(Error::unsupported("the image file cannot get any longer"));
        }
        let count = run.end - run.start;
        let checked = self.structures.check_free(run.start, count, "new data");
        checked.map_err(|error| self.refuse_overlap(error))
    }

    /// Gives the first part of `run` that has none a refcount block; whether that was needed: then
    /// the run may not be free any more.
    fn add_missing_block(&mut self, run: &Range<u64>) -> Result<bool> {
        let per_block = self.refcounts.per_block();
        let blocks = run.start / per_block..(run.end - 1) / per_block + 1;
        let Some(index) = blocks
            .into_iter()
            .find(|index| !self.refcounts.has_block(index * per_block))
        else {
            return Ok(false);
        };
        if index >= self.refcounts.table_entries() {
            self.grow_refcount_table(index)?;
            return Ok(true);
        }
        // In front of the run, so that the run can still be in one piece. The block that counts
        // the place is this one itself, or one that is there already.
        let at = run.start;
        let claimed = self.structures.claim(at, 1, Structure::RefcountBlock);
        claimed.map_err(|error| self.refuse_overlap(error))?;
        self.refcounts.add_block(index, at);
        self.allocator.blank_from = self.allocator.blank_from.max(at + 1);
        if at / per_block != index {
            self.refcounts.adjust(at..at + 1, 1)?;
        }
        Ok(true)
    }

    /// Moves the refcount table to a place where it has room for block `index`, and more.
    fn grow_refcount_table(&mut self, index: u64) -> Result<()> {
        let (old, old_clusters) = self.refcounts.table_place();
        let needed = (index + 1).div_ceil(self.cluster_size() / 8);
        let clusters = (needed + 1).max(old_clusters + old_clusters / 2 + 1);
        self.refcounts.lengthen_table(clusters)?;
        // With the room in memory, its own clusters can be counted already.
        let host = self.allocate_for(clusters, Structure::RefcountTable)?;
        self.refcounts.move_table(host);
        self.free(old, old_clusters);
        Ok(())
    }
}
