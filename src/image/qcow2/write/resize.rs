//! Another size for the disk.
//!
//! Everything that the new size needs is prepared beside what is there: entries behind the old end
//! that nobody sees, or another L1 table. Then one write of the header's first sector switches
//! size, length and place of the L1 table together, so that a crash leaves the old disk or the new
//! one. What is not needed any more is freed after that.

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::qcow2::entry::COPIED;
use crate::image::qcow2::header::MAX_L1_BYTES;
use crate::image::qcow2::table::L2_TABLE_MASK;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::tree::Tree;
use crate::image::writer::Preallocation;

impl State {
    /// Gives the disk `size` bytes; durable on return.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a part of a sector, to cut without `shrink` and to
    /// preallocate where nothing is new; [`ErrorKind::Unsupported`] for more than the L1 table can
    /// map, in version 2 with snapshots or over a longer backing file; I/O errors.
    pub(super) fn resize(
        &mut self,
        size: u64,
        shrink: bool,
        preallocation: Preallocation,
        control: &Control,
    ) -> Result<(), Stop> {
        let old = self.header.fields.size;
        self.check_resize(old, size, shrink, preallocation)?;
        self.settle()?;
        let bitmaps = self.bitmaps_to_resize(size)?;
        if size < old {
            self.shrink(size, control)?;
        } else if size > old {
            self.grow(size, preallocation, control)?;
        }
        self.fit_data_file(size, size)?;
        if let Some(bitmaps) = bitmaps.filter(|_| size != old) {
            let outcome = self.resume_bitmaps(bitmaps);
            outcome.map_err(|error| self.poison(error))?;
        }
        Ok(())
    }

    fn check_resize(
        &self,
        old: u64,
        size: u64,
        shrink: bool,
        preallocation: Preallocation,
    ) -> Result<()> {
        let refuse = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
        let fields = &self.header.fields;
        if !size.is_multiple_of(512) {
            return refuse("The new size must be a multiple of 512".into());
        }
        if fields.version < 3 && fields.nb_snapshots > 0 {
            return Err(Error::unsupported(
                "Can't resize a v2 image which has snapshots",
            ));
        }
        if size < old && !shrink {
            return refuse(format!("{size} bytes are less than the {old} there are"));
        }
        if size <= old && preallocation != Preallocation::Off {
            return refuse("preallocation can only be used for growing images".into());
        }
        if fields.l1_entries_for(size) > MAX_L1_BYTES / 8 {
            return Err(Error::unsupported(
                "Failed to grow the L1 table: File too large",
            ));
        }
        Ok(())
    }

    fn shrink(&mut self, size: u64, control: &Control) -> Result<()> {
        let kept = self.l1_length_for(size);
        let entries = self.l1.entries().to_vec();
        let (kept, cut) = entries.split_at(kept.min(entries.len()));
        let mut kept = kept.to_vec();
        let tree = Tree::new(cut, -1, self.cluster_bits())?;
        let cut_table = match kept.last_mut() {
            Some(entry) => self.cut_table(entry, size)?,
            None => None,
        };
        let prepared = self.write_new_l1(&kept);
        if let (Err(_), Some((_, new, _))) = (&prepared, &cut_table) {
            self.release(*new, 1)?;
        }
        let host = prepared?;
        self.suspend_bitmaps();
        self.switch_l1(host, kept, size)?;
        let outcome = self.drop_behind(size, cut_table, tree, control);
        outcome.map_err(|error| self.poison(error))
    }

    /// When the disk ends within the reach of the L2 table of `entry`, makes a copy of the table
    /// that ends there, on its way to the disk, and changes `entry` to it. Answers the old table,
    /// the new one and the clusters that the new one does not refer to any more.
    fn cut_table(&mut self, entry: &mut u64, size: u64) -> Result<Option<CutTable>> {
        let old = *entry & L2_TABLE_MASK;
        let within = size % self.format.table_reach();
        if old == 0 || within == 0 {
            return Ok(None);
        }
        let first = within.div_ceil(self.cluster_size()) * self.format.entry_size();
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let mut table = self.l2.get(old)?.to_vec();
        let Some(tail) = table.get_mut(first..) else {
            return Ok(None);
        };
        if tail.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let references = self.references(old, tail)?;
        tail.fill(0);
        let new = self.allocate(1)?;
        if let Err(error) = self.storage.write_at(&table, new) {
            self.release(new, 1)?;
            return Err(error);
        }
        *entry = new | COPIED;
        Ok(Some((old, new, references)))
    }

    /// Frees what lay behind the new end of the disk, which is durable.
    fn drop_behind(
        &mut self,
        size: u64,
        cut_table: Option<CutTable>,
        tree: Tree,
        control: &Control,
    ) -> Result<()> {
        if let Some((old, _, references)) = cut_table {
            self.free(old, 1);
            for clusters in references {
                // What a damaged entry led to stays, when it is more than data.
                for clusters in self.structures.without(clusters) {
                    let count = clusters.end - clusters.start;
                    self.free(clusters.start << self.cluster_bits(), count);
                }
            }
        }
        self.l2.clear();
        self.count_down(&[tree], control, &mut |_, _| Ok(()))?;
        self.zero_tail(size, false)?;
        self.checkpoint()?;
        self.drop_empty_refcount_blocks()?;
        self.cut_file()
    }

    /// Frees refcount blocks that count nothing but themselves: they would keep the file long.
    pub(super) fn drop_empty_refcount_blocks(&mut self) -> Result<()> {
        let bits = self.cluster_bits();
        let mut index = u64::MAX;
        while let Some((empty, offset)) = self.refcounts.empty_block_below(index)? {
            index = empty;
            self.refcounts.remove_block(empty);
            let cluster = offset >> bits;
            if self.refcounts.has_block(cluster) {
                // Counted by another block, which may be empty then: it is looked at later, as
                // its index is lower, or stays.
                self.free(offset, 1);
                self.checkpoint()?;
            } else {
                self.structures.forget(cluster, 1);
            }
        }
        self.checkpoint()
    }

    /// Cuts the file behind its last cluster in use.
    pub(super) fn cut_file(&mut self) -> Result<()> {
        let file = self.storage.size()?;
        let clusters = file.div_ceil(self.cluster_size());
        let last = self.refcounts.last_used(clusters)?;
        let end = last.map_or(0, |last| (last + 1) << self.cluster_bits());
        if end < file && end > 0 {
            self.storage.set_len(end)?;
        }
        self.storage.flush()
    }

    /// An external data file is as long as the disk; before the disk gets longer, with nothing
    /// behind the old end.
    pub(super) fn fit_data_file(&self, keep: u64, size: u64) -> Result<()> {
        let Some(data) = &self.data_file else {
            return Ok(());
        };
        let length = data.size()?;
        if length > keep {
            data.punch_hole(keep..length)?;
        }
        if length != size {
            data.set_len(size)?;
        }
        data.flush()
    }

    /// Entries that the L1 table needs for a disk of `size` bytes, which is not too large.
    pub(super) fn l1_length_for(&self, size: u64) -> usize {
        usize::try_from(self.header.fields.l1_entries_for(size)).unwrap_or(usize::MAX)
    }
}

/// Old table, new table, clusters that only the old one refers to.
type CutTable = (u64, u64, Vec<std::ops::Range<u64>>);
