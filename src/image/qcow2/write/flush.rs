//! Barriers: in which order changes reach the disk, so that a crash at any moment costs at most
//! leaked clusters and what was not flushed.
//!
//! 1. Guest data, refcount blocks (with the references that are new), tables that nothing on disk
//!    leads to yet. ‖ Where there are new refcount blocks: entries of the refcount table, or the
//!    header that leads to a new one. ‖
//! 2. L2 entries and L1 entries in their places. ‖
//! 3. References that are gone now: refcounts fall, clusters become free, their space goes back to
//!    the host. The next barrier makes that durable; losing it leaks.
//!
//! ‖ is one flush of the storage; what is not needed is left out: usually two.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::image::qcow2::feature;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::structures::Structure;

impl State {
    /// Takes all changes so far to the disk, in order. Nobody may be in the middle of a change:
    /// the caller holds [`super::Qcow2Writer::exclusive`].
    ///
    /// # Errors
    /// I/O errors. Then nobody knows what is on the disk: this and everything else fails from now
    /// on.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        self.check_usable()?;
        let outcome = self.write_in_order();
        outcome.map_err(|error| self.poison(error))
    }

    /// Writes the fixed fields of the header, durable on return. What it leads to must be durable
    /// already.
    ///
    /// # Errors
    /// As [`Self::checkpoint`].
    pub(super) fn write_header(&mut self) -> Result<()> {
        self.check_usable()?;
        let outcome = self.write_header_fields();
        outcome.map_err(|error| self.poison(error))
    }

    /// Writes the whole header anew (extensions, backing file name, version), durable on return.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when it does not fit; then nothing is changed on disk, and the
    /// caller puts [`super::header::HeaderCluster::fields`] back. As [`Self::checkpoint`].
    pub(super) fn rewrite_header(&mut self) -> Result<()> {
        self.check_usable()?;
        let outcome = self.header.rewrite(self.storage.as_ref());
        let outcome = outcome.and_then(|()| self.storage.flush());
        match outcome {
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(error),
            outcome => outcome.map_err(|error| self.poison(error)),
        }
    }

    /// Sets the dirty bit, durable on return, so that a crash from now on makes the next writer
    /// repair the image. Version 2 has none: nothing happens.
    ///
    /// # Errors
    /// As [`Self::checkpoint`].
    pub(super) fn set_dirty(&mut self) -> Result<()> {
        if self.header.fields.version < 3 || self.header.is_dirty() {
            return Ok(());
        }
        self.header.fields.incompatible_features |= feature::DIRTY;
        self.write_header()
    }

    /// Makes everything durable, refcounts that fell included, then clears the dirty bit.
    ///
    /// # Errors
    /// As [`Self::checkpoint`].
    pub(super) fn clear_dirty(&mut self) -> Result<()> {
        self.checkpoint()?;
        if !self.header.is_dirty() {
            return Ok(());
        }
        // The refcounts that fell were written after the last barrier.
        self.storage.flush().map_err(|error| self.poison(error))?;
        self.header.fields.incompatible_features &= !feature::DIRTY;
        self.write_header()
    }

    /// Whether there is anything that a checkpoint would write.
    pub(super) fn has_changes(&self) -> bool {
        self.l1.is_dirty()
            || self.l2.is_dirty()
            || self.refcounts.is_dirty()
            || self.allocator.has_pending()
    }

    /// Whether it is time for a checkpoint, because what waits for it takes much memory.
    pub(super) fn is_over_limit(&self) -> bool {
        self.l2.is_over_limit() || self.allocator.is_over_limit()
    }

    /// Refuses everything after a failure that left the disk in an unknown state.
    ///
    /// # Errors
    /// The first failure, in short.
    pub(super) fn check_usable(&self) -> Result<()> {
        match &self.poisoned {
            Some((kind, message)) => Err(Error::new(
                *kind,
                format!("an earlier write failed: {message}"),
            )),
            None => Ok(()),
        }
    }

    /// Remembers that the state of the disk is not known any more.
    pub(super) fn poison(&mut self, error: Error) -> Error {
        self.poisoned
            .get_or_insert_with(|| (error.kind(), error.to_string()));
        error
    }

    /// A structure would have been overwritten: the image is damaged. Marks it so (version 3) and
    /// refuses everything from now on.
    #[cold]
    pub(super) fn refuse_overlap(&mut self, error: Error) -> Error {
        if self.header.fields.version >= 3 && self.poisoned.is_none() {
            self.header.fields.incompatible_features |= feature::CORRUPT;
            // The error tells more than a failure to write it down.
            let _ = self.write_header_fields();
        }
        self.poison(error)
    }

    fn write_header_fields(&mut self) -> Result<()> {
        self.header.write_fields(self.storage.as_ref())?;
        self.storage.flush()
    }

    fn write_in_order(&mut self) -> Result<()> {
        self.exclusive_l2 = None;
        if self.allocator.may_end_anywhere() {
            // Whole sectors, for readers past the host's cache.
            let length = self.storage.size()?;
            if !length.is_multiple_of(512) {
                self.storage.set_len(length.next_multiple_of(512))?;
            }
        }
        // Refcounts that fell after the last barrier may go with this one.
        self.refcounts.write_blocks()?;
        self.l2.write_fresh()?;
        if let Some(data) = &self.data_file {
            data.flush()?;
        }
        self.storage.flush()?;
        if self.refcounts.has_moved() {
            let (offset, clusters) = self.refcounts.table_place();
            self.header.fields.refcount_table_offset = offset;
            self.header.fields.refcount_table_clusters =
                u32::try_from(clusters).unwrap_or(u32::MAX);
            self.write_header_fields()?;
            self.refcounts.table_switched();
        }
        if self.refcounts.has_dirty_table() {
            self.refcounts.write_table()?;
            self.storage.flush()?;
        }
        if self.l1.is_dirty() || self.l2.is_dirty() {
            self.l2.write_all()?;
            self.l1.write(self.storage.as_ref())?;
            self.storage.flush()?;
        }
        self.drop_references()
    }

    /// Lets refcounts fall for references that are gone from the disk.
    pub(super) fn drop_references(&mut self) -> Result<()> {
        if !self.allocator.has_pending() {
            return Ok(());
        }
        let changes = self.allocator.take_pending();
        let mut freed: Vec<Range<u64>> = Vec::new();
        self.refcounts
            .adjust_many(&changes, &mut |run| match freed.last_mut() {
                Some(last) if last.end == run.start => last.end = run.end,
                _ => freed.push(run),
            })?;
        self.refcounts.write_blocks()?;
        for run in freed {
            self.reclaim(&run);
        }
        Ok(())
    }

    /// `clusters` are free now.
    pub(super) fn reclaim(&mut self, clusters: &Range<u64>) {
        let bits = self.cluster_bits();
        let l2 = &mut self.l2;
        self.structures.forget_run(clusters, &mut |cluster, what| {
            if what == Structure::L2Table {
                l2.remove(cluster << bits);
            }
        });
        self.allocator.freed(clusters, bits);
        // Nobody reads free clusters: a host that keeps their space has lost nothing.
        let _ = self
            .storage
            .punch_hole(clusters.start << bits..clusters.end << bits);
    }
}
