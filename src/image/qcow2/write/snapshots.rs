//! Internal snapshots: taking, applying, deleting, renaming.
//!
//! A snapshot is a copy of the L1 table and a reference more to everything that it leads to. What
//! is referenced by several trees must not be written in place: the copied flags, which allow
//! that, are cleared when a snapshot is taken, and set again for what only the active tables lead
//! to when one is deleted.
//!
//! The order of writes (‖ is a barrier):
//! - take: dirty bit ‖ refcounts up, copy of the L1 table, copied flags cleared, new snapshot table ‖
//!   header: the new table, dirty bit off ‖ old table freed
//! - apply: refcounts up, new active L1 table ‖ header: that table and its size ‖ refcounts down
//! - delete: new snapshot table ‖ header: that table, dirty bit ‖ refcounts down, copied flags set ‖
//!   dirty bit off ‖
//! - rename: new snapshot table ‖ header ‖ old table freed
//!
//! Version 2 has no dirty bit: there a crash may leave copied flags that a check complains about,
//! with QEMU as with us. They never say that something shared may be written.

use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::image::driver::SnapshotSelector;
use crate::image::info::Snapshot;
use crate::image::qcow2::bitmap::Directory;
use crate::image::qcow2::entry::COPIED;
use crate::image::qcow2::feature;
use crate::image::qcow2::snapshot::SnapshotEntry;
use crate::image::qcow2::table::L1Table;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::snapshot_table::{NewSnapshot, PlacedTable, SnapshotTable};
use crate::image::qcow2::write::structures::Structure;
use crate::image::qcow2::write::tables::encode;
use crate::image::qcow2::write::tree::Tree;
use crate::storage::Storage;

impl State {
    /// Takes a snapshot of the disk as it is now, of which `facts` say everything but the id, where
    /// that is empty or taken; durable on return. Answers its id.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] with an external data file, when a refcount does not fit
    /// its width and when there are too many; [`crate::ErrorKind::InvalidInput`] for a name that
    /// is too long; I/O errors. Then nothing is changed.
    pub(super) fn create_snapshot(
        &mut self,
        facts: &Snapshot,
        control: &Control,
    ) -> Result<String, Stop> {
        self.check_has_snapshots()?;
        self.settle()?;
        let mut table = SnapshotTable::read(self)?;
        let mut facts = facts.clone();
        if facts.id.is_empty() || table.has_id(&facts.id) {
            facts.id = table.new_id();
        }
        let entries = without_flags(self.l1.entries());
        let tree = Tree::new(&entries, 1, self.cluster_bits())?;
        self.set_dirty()?;
        let placed = match self.prepare_snapshot(&mut table, &facts, &entries, &tree, control) {
            Ok(placed) => placed,
            Err(stop) => {
                self.clear_dirty()?;
                return Err(stop);
            }
        };
        let outcome = self.enter_snapshot(&tree, &entries, placed);
        outcome.map_err(|error| self.poison(error))?;
        self.drop_snapshot_table(table.place())?;
        Ok(facts.id)
    }

    /// Sets the disk back to a snapshot, its size too; durable on return.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Unsupported`] with an external data
    /// file, with dirty bitmaps, and for another size in version 2; I/O errors.
    pub(super) fn apply_snapshot(
        &mut self,
        selector: &SnapshotSelector,
        control: &Control,
    ) -> Result<(), Stop> {
        if Directory::find(&self.header.fields)?.is_some() {
            let error = Error::unsupported("Device has active dirty bitmaps");
            return Err(error.with_field("bitmaps").into());
        }
        self.check_has_snapshots()?;
        self.settle()?;
        let table = SnapshotTable::read(self)?;
        let snapshot = table.entry(table.find(selector)?);
        let size = snapshot.facts.virtual_size / 512 * 512;
        let fields = &self.header.fields;
        if size != fields.size && fields.version < 3 {
            return Err(Error::unsupported("Can't resize a v2 image which has snapshots").into());
        }
        let needed = usize::try_from(fields.l1_entries_for(size)).unwrap_or(usize::MAX);
        let mut entries = without_flags(&self.snapshot_entries(snapshot)?);
        // The check of the snapshot's entry saw to that it reaches.
        entries.resize(entries.len().max(needed.min(1 << 22)), 0);
        let bits = self.cluster_bits();
        let trees = [
            Tree::new(&entries, 1, bits)?,
            Tree::new(self.l1.entries(), -1, bits)?,
        ];
        self.count_up(&trees, control)?;
        let written = self
            .clear_copied(&trees[0])
            .and_then(|()| self.write_new_l1(&entries));
        let host = match written {
            Ok(host) => host,
            Err(error) => {
                self.uncount_all(&trees)?;
                return Err(error.into());
            }
        };
        self.switch_l1(host, entries, size)?;
        let outcome = self
            .count_down(&trees, control, &mut |_, _| Ok(()))
            .and_then(|()| self.checkpoint());
        Ok(outcome.map_err(|error| self.poison(error))?)
    }

    /// Deletes a snapshot; durable on return. What only it referred to is given back to the host.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; as [`Self::create_snapshot`].
    pub(super) fn delete_snapshot(
        &mut self,
        selector: &SnapshotSelector,
        control: &Control,
    ) -> Result<(), Stop> {
        self.settle()?;
        let mut table = SnapshotTable::read(self)?;
        let index = table.find(selector)?;
        self.check_has_snapshots()?;
        let snapshot = table.entry(index).clone();
        let entries = self.snapshot_entries(&snapshot)?;
        let tree = Tree::new(&entries, -1, self.cluster_bits())?;
        control.checkpoint()?;
        table.remove(index);
        let placed = self.place_snapshot_table(&table)?;
        self.checkpoint()?;
        self.enter_snapshot_table(placed);
        if self.header.fields.version >= 3 {
            self.header.fields.incompatible_features |= feature::DIRTY;
        }
        self.write_header()?;
        let l1_clusters = (entries.len() as u64 * 8).div_ceil(self.cluster_size());
        let outcome = self
            .count_down(&[tree], control, &mut |state, sums| state.set_copied(sums))
            .and_then(|()| {
                if l1_clusters > 0 {
                    self.free(snapshot.l1_table_offset, l1_clusters);
                }
                self.drop_snapshot_table(table.place())
            })
            .and_then(|()| self.clear_dirty());
        Ok(outcome.map_err(|error| self.poison(error))?)
    }

    /// Gives a snapshot another name; durable on return.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::InvalidInput`] for a name that is too
    /// long; I/O errors.
    pub(super) fn rename_snapshot(
        &mut self,
        selector: &SnapshotSelector,
        name: &str,
    ) -> Result<()> {
        self.settle()?;
        let mut table = SnapshotTable::read(self)?;
        table.rename(table.find(selector)?, name)?;
        let placed = self.place_snapshot_table(&table)?;
        self.checkpoint()?;
        self.enter_snapshot_table(placed);
        self.write_header()?;
        self.drop_snapshot_table(table.place())
    }

    /// Guest data in another file is not counted, so it cannot be shared.
    fn check_has_snapshots(&self) -> Result<()> {
        if self.header.fields.has_data_file() {
            return Err(Error::unsupported(
                "an image with an external data file has no internal snapshots",
            ));
        }
        Ok(())
    }

    /// The entries of a snapshot's L1 table.
    fn snapshot_entries(&self, snapshot: &SnapshotEntry) -> Result<Vec<u64>> {
        let storage: &dyn Storage = self.storage.as_ref();
        let size = self.cluster_size();
        let table = L1Table::new(snapshot.l1_table_offset, snapshot.l1_size, size);
        table.entries(storage).map(<[u64]>::to_vec)
    }

    /// Everything that a new snapshot needs and that changes nothing yet. Undone on an error.
    fn prepare_snapshot(
        &mut self,
        table: &mut SnapshotTable,
        facts: &Snapshot,
        entries: &[u64],
        tree: &Tree,
        control: &Control,
    ) -> Result<PlacedTable, Stop> {
        let bytes = encode(entries);
        let clusters = (bytes.len() as u64).div_ceil(self.cluster_size());
        let mut l1 = 0;
        if clusters > 0 {
            l1 = self.allocate_for(clusters, Structure::SnapshotL1Table)?;
        }
        let new = NewSnapshot {
            facts,
            l1_table_offset: l1,
            // At most 32 MiB of them.
            l1_size: u32::try_from(entries.len()).unwrap_or(u32::MAX),
        };
        let placed = self
            .storage
            .write_at(&bytes, l1)
            .and_then(|()| table.push(&new))
            .and_then(|()| self.place_snapshot_table(table));
        let counted = placed.map_err(Stop::from).and_then(|placed| {
            match self.count_up(std::slice::from_ref(tree), control) {
                Ok(()) => Ok(placed),
                Err(stop) => {
                    self.release(placed.offset, placed.clusters)?;
                    Err(stop)
                }
            }
        });
        if counted.is_err() && clusters > 0 {
            self.release(l1, clusters)?;
        }
        counted
    }

    /// Makes a prepared snapshot one.
    fn enter_snapshot(&mut self, tree: &Tree, entries: &[u64], placed: PlacedTable) -> Result<()> {
        self.clear_copied(tree)?;
        for (index, entry) in entries.iter().enumerate() {
            self.l1.set(index, *entry);
        }
        // No reference is new in it, so it need not wait for the refcounts.
        self.l1.write(self.storage.as_ref())?;
        self.checkpoint()?;
        self.enter_snapshot_table(placed);
        self.header.fields.incompatible_features &= !feature::DIRTY;
        self.write_header()
    }

    /// Frees a table that the header on disk does not lead to any more.
    pub(super) fn drop_snapshot_table(&mut self, old: PlacedTable) -> Result<()> {
        if old.clusters > 0 {
            self.free(old.offset, old.clusters);
        }
        self.drop_references()
    }
}

/// L1 entries that allow no writing in place.
fn without_flags(entries: &[u64]) -> Vec<u64> {
    entries.iter().map(|entry| entry & !COPIED).collect()
}
