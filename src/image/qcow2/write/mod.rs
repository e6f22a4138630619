//! Changing QCOW2 images.
//!
//! | file | is |
//! |---|---|
//! | `header` | the header cluster, changed field by field |
//! | `blocks` | a write-back cache of tables |
//! | `refcounts` | how often clusters are referenced |
//! | `structures` | which clusters must not be overwritten |
//! | `allocator` | where new clusters go |
//! | `tables` | L1 and L2 tables |
//! | `mapping`, `entries` | what an L2 entry says of a cluster |
//! | `guest`, `cow` | guest writes, with what was there before around them |
//! | `zero` | zeroes and discards |
//! | `pack` | compressed writes, giving up everything |
//! | `read` | guest data and extents as they are now |
//! | `deltas`, `tree` | many refcounts and L2 tables at once |
//! | `snapshots`, `snapshot_table` | internal snapshots |
//! | `resize`, `grow`, `bitmap_sizes` | another size |
//! | `remap` | guest bytes at other offsets, without copying |
//! | `amend` | properties of the header |
//! | `guard` | the mark that keeps others out while partitions are edited |
//! | `bitmaps`, `tracking` | dirty bitmaps |
//! | `flush` | the order in which all that reaches the disk |
//!
//! Refcounts are kept exact, also where the image allows them to lag behind (`lazy_refcounts`):
//! that costs nothing here, as only what was flushed must be counted.

mod allocator;
mod amend;
mod bitmap_sizes;
mod bitmaps;
mod blocks;
mod cow;
mod deltas;
mod entries;
mod flush;
mod grow;
mod guard;
mod guest;
mod header;
mod keep;
mod mapping;
mod pack;
mod read;
mod refcounts;
mod remap;
mod resize;
mod snapshot_table;
mod snapshots;
mod structures;
mod tables;
#[cfg(test)]
mod tests;
mod tracking;
mod tree;
mod zero;

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::driver::{SnapshotSelector, check_range};
use crate::image::extent::Extent;
use crate::image::info::{Format, Snapshot, UNFINISHED_EDIT};
use crate::image::qcow2::entry::L2Format;
use crate::image::qcow2::header::Header;
use crate::image::qcow2::{self, bitmap, check, feature, snapshot};
use crate::image::registry::WritableFiles;
use crate::image::writer::{
    Amendment, BitmapEdit, ImageWriter, Preallocation, Repair, RepairReport,
};
use crate::storage::{Move, Storage, WritableStorage};
use crate::units::GuestOffset;

use allocator::Allocator;
use blocks::Blocks;
use header::HeaderCluster;
use refcounts::Refcounts;
use snapshot_table::snapshot_of_now;
use structures::{Structure, Structures};
use tables::L1;
use tracking::Tracking;

/// L2 tables that are kept, in bytes.
const L2_CACHE_BYTES: usize = 32 << 20;

/// A QCOW2 image opened for change.
#[derive(Debug)]
pub(in crate::image) struct Qcow2Writer {
    storage: Arc<dyn WritableStorage>,
    /// Where guest data is: the external data file or [`Self::storage`].
    data: Arc<dyn WritableStorage>,
    state: Mutex<State>,
    /// Held for reading by whoever reads or writes guest data, from looking up where it is to the
    /// end of the I/O; for writing by whoever needs all that to be at rest: a flush, because it
    /// makes freed clusters usable again, and every operation on the image as a whole. Taken
    /// before `state`.
    inflight: RwLock<()>,
}

/// Everything that changes, but for guest data on its way.
#[derive(Debug)]
struct State {
    storage: Arc<dyn WritableStorage>,
    data_file: Option<Arc<dyn WritableStorage>>,
    backing: Option<Arc<dyn Storage>>,
    header: HeaderCluster,
    format: L2Format,
    l1: L1,
    /// Active L2 tables by host offset; others through [`Blocks::get`] alone.
    l2: Blocks,
    refcounts: Refcounts,
    allocator: Allocator,
    structures: Structures,
    /// The L2 table that was last found to be referenced once.
    exclusive_l2: Option<u64>,
    /// Bitmaps that would have to record guest writes.
    has_enabled_bitmaps: bool,
    /// What they have to record.
    tracking: Tracking,
    /// The names of those that are marked as being in use, by us.
    tracked: Vec<String>,
    /// Why nothing works any more.
    poisoned: Option<(ErrorKind, String)>,
    /// Opened by who knows what to do with an unfinished edit.
    in_edit: bool,
}

/// The image at rest: nobody else reads or writes until this is dropped.
#[derive(Debug)]
struct Exclusive<'a> {
    state: MutexGuard<'a, State>,
    _inflight: RwLockWriteGuard<'a, ()>,
}

impl std::ops::Deref for Exclusive<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl std::ops::DerefMut for Exclusive<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Qcow2Writer {
    /// Opens the image in `files`, which has no unfinished edit.
    #[cfg(test)]
    fn open(files: WritableFiles) -> Result<Self> {
        Self::open_for(files, false)
    }

    /// Opens the image in `files`; one with an unfinished edit only for who is `in_edit`.
    pub(in crate::image) fn open_for(files: WritableFiles, in_edit: bool) -> Result<Self> {
        let storage = Arc::clone(&files.storage);
        let state = State::open(files, in_edit)?;
        let data = Arc::clone(state.data_file.as_ref().unwrap_or(&storage));
        Ok(Self {
            data,
            storage,
            state: Mutex::new(state),
            inflight: RwLock::new(()),
        })
    }

    /// Waits until all reads and writes are done and keeps others out: for operations on the whole
    /// image. Fails when an earlier write left the disk in an unknown state.
    ///
    /// Verbs do their work on the [`State`] it leads to, and end with [`State::checkpoint`].
    fn exclusive(&self) -> Result<Exclusive<'_>> {
        let inflight = self
            .inflight
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let state = self.lock();
        state.check_usable()?;
        Ok(Exclusive {
            state,
            _inflight: inflight,
        })
    }

    /// Guest I/O begins; it ends with the drop.
    fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.inflight.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work of a verb while nobody else reads or writes.
    fn run<T>(&self, work: impl FnOnce(&mut State) -> Result<T, Stop>) -> Result<T, Stop> {
        let outcome = match self.exclusive() {
            Ok(mut state) => work(&mut state),
            Err(error) => Err(error.into()),
        };
        outcome.map_err(|stop| match stop {
            Stop::Failed(error) => Stop::Failed(self.name(error)),
            Stop::Cancelled => Stop::Cancelled,
        })
    }

    fn check_inside(&self, offset: u64, length: u64) -> Result<()> {
        let size = self.virtual_size();
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Error::new(
                ErrorKind::OutOfBounds,
                format!(
                    "change of {length} bytes at guest offset {offset:#x} passes the end of the \
                     disk at {size:#x}"
                ),
            )),
        }
    }

    /// Names the file in `error`.
    fn name(&self, error: Error) -> Error {
        match self.storage.path() {
            Some(path) => error.with_path(path),
            None => error,
        }
    }
}

impl Drop for Qcow2Writer {
    /// Who gives up in the middle leaves bitmaps that can be believed, where the disk allows it.
    fn drop(&mut self) {
        // After a panic, what is in memory may be half of something.
        if !self.state.is_poisoned() && self.lock().has_marked_bitmaps() {
            let _ = ImageWriter::flush(self);
        }
    }
}

impl ImageWriter for Qcow2Writer {
    fn format(&self) -> Format {
        Format::Qcow2
    }

    fn virtual_size(&self) -> u64 {
        self.lock().header.fields.size
    }

    fn read_at(
        &self,
        buf: &mut [u8],
        offset: GuestOffset,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<()> {
        check_range(buf.len(), offset, self.virtual_size())
            .and_then(|()| self.read(buf, offset, missing))
            .map_err(|error| self.name(error))
    }

    fn for_each_extent(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<()> {
        self.walk(range, visit).map_err(|error| self.name(error))
    }

    fn write_at(&self, buf: &[u8], offset: GuestOffset) -> Result<()> {
        self.check_inside(offset.0, buf.len() as u64)
            .and_then(|()| self.write(buf, offset.0))
            .map_err(|error| self.name(error))
    }

    fn write_compressed(&self, cluster: &[u8], offset: GuestOffset) -> Result<()> {
        self.check_inside(offset.0, cluster.len() as u64)
            .and_then(|()| self.write_packed(cluster, offset.0))
            .map_err(|error| self.name(error))
    }

    fn write_zeroes(&self, range: Range<u64>, discard: bool) -> Result<()> {
        self.check_inside(range.start, range.end.saturating_sub(range.start))
            .and_then(|()| self.zero(range, discard))
            .map_err(|error| self.name(error))
    }

    fn discard(&self, range: Range<u64>, reveal_backing: bool) -> Result<()> {
        self.check_inside(range.start, range.end.saturating_sub(range.start))
            .and_then(|()| self.give_up(range, reveal_backing))
            .map_err(|error| self.name(error))
    }

    fn make_empty(&self, control: &Control) -> Result<(), Stop> {
        self.empty(control).map_err(|stop| match stop {
            Stop::Cancelled => Stop::Cancelled,
            Stop::Failed(error) => Stop::Failed(self.name(error)),
        })
    }

    fn start_flush(&self) {
        // Guest data may reach the disk before anything leads to it; tables are not written yet.
        self.data.start_flush();
    }

    fn flush(&self) -> Result<()> {
        self.exclusive()
            .and_then(|mut state| {
                state.checkpoint()?;
                state.store_recorded()
            })
            .map_err(|error| self.name(error))
    }

    fn resize(
        &self,
        size: u64,
        shrink: bool,
        preallocation: Preallocation,
        control: &Control,
    ) -> Result<(), Stop> {
        self.run(|state| state.resize(size, shrink, preallocation, control))
    }

    fn amend(&self, amendment: &Amendment, control: &Control) -> Result<(), Stop> {
        self.run(|state| state.amend(amendment, control))
    }

    fn edit_bitmap(&self, name: &str, edit: &BitmapEdit) -> Result<()> {
        self.exclusive()
            .and_then(|mut state| state.edit_bitmap(name, edit))
            .map_err(|error| self.name(error))
    }

    fn merge_into_bitmap(&self, name: &str, dirty: &[Range<u64>]) -> Result<()> {
        self.exclusive()
            .and_then(|mut state| state.merge_into_bitmap(name, dirty))
            .map_err(|error| self.name(error))
    }

    fn repair(&self, repair: Repair, control: &Control) -> Result<RepairReport, Stop> {
        self.run(|state| {
            state.clear_dirty()?;
            state.store_recorded()?;
            let header = Header::read(state.storage.as_ref())?;
            let report = check::repair(
                &header,
                state.storage.as_ref(),
                repair,
                &|_| Ok(()),
                control,
            )?;
            state.reopen()?;
            Ok(report)
        })
    }

    fn create_snapshot(&self, name: &str, control: &Control) -> Result<String, Stop> {
        self.run(|state| state.create_snapshot(&snapshot_of_now(name, state), control))
    }

    fn keep_snapshot(
        &self,
        facts: &Snapshot,
        vm_state: Option<&dyn Storage>,
        control: &Control,
    ) -> Result<(), Stop> {
        self.keep(facts, vm_state, control)
    }

    fn apply_snapshot(&self, snapshot: &SnapshotSelector, control: &Control) -> Result<(), Stop> {
        self.run(|state| state.apply_snapshot(snapshot, control))
    }

    fn delete_snapshot(&self, snapshot: &SnapshotSelector, control: &Control) -> Result<(), Stop> {
        self.run(|state| state.delete_snapshot(snapshot, control))
    }

    fn rename_snapshot(&self, snapshot: &SnapshotSelector, name: &str) -> Result<()> {
        self.exclusive()
            .and_then(|mut state| state.rename_snapshot(snapshot, name))
            .map_err(|error| self.name(error))
    }

    fn moves_by(&self) -> Option<u64> {
        self.lock().header.fields.moves_by()
    }

    fn layout_mark(&self) -> Option<u64> {
        let state = self.lock();
        state.check_usable().ok()?;
        Some(state.header.fields.l1_table_offset)
    }

    fn remap(&self, moves: &[Move], control: &Control) -> Result<(), Stop> {
        self.run(|state| state.remap(moves, control))
    }

    fn guard_edit(&self, unfinished: bool) -> Result<bool> {
        self.exclusive()
            .and_then(|mut state| state.guard_edit(unfinished))
            .map_err(|error| self.name(error))
    }
}

impl State {
    fn open(files: WritableFiles, in_edit: bool) -> Result<Self> {
        let storage = files.storage;
        let reader: &dyn Storage = storage.as_ref();
        let mut header = HeaderCluster::read(reader)?;
        check_writable(&header, files.data_file.is_some(), in_edit)?;
        if header.is_dirty() {
            qcow2::repair_unclosed(storage.as_ref())?;
            header = HeaderCluster::read(reader)?;
        }
        let fields = &header.fields;
        let table_bytes = usize::try_from(fields.cluster_size()).unwrap_or(usize::MAX);
        let mut state = Self {
            format: L2Format::new(fields),
            l1: L1::open(reader, fields)?,
            l2: Blocks::new(
                Arc::clone(&storage),
                "L2 table",
                table_bytes,
                L2_CACHE_BYTES,
            ),
            refcounts: Refcounts::open(Arc::clone(&storage), fields)?,
            allocator: Allocator::new(storage.size()?, fields.cluster_bits),
            structures: Structures::default(),
            exclusive_l2: None,
            has_enabled_bitmaps: has_enabled_bitmaps(reader, fields),
            tracking: Tracking::default(),
            tracked: Vec::new(),
            poisoned: None,
            in_edit,
            data_file: files.data_file,
            backing: files.backing,
            header,
            storage,
        };
        state.claim_structures()?;
        if state.header.clear_unknown_autoclear() {
            state.write_header()?;
        }
        Ok(state)
    }

    /// Reads everything anew from the disk, where all changes must be: after a repair.
    fn reopen(&mut self) -> Result<()> {
        let files = WritableFiles {
            storage: Arc::clone(&self.storage),
            data_file: self.data_file.clone(),
            backing: self.backing.clone(),
        };
        *self = Self::open(files, self.in_edit)?;
        Ok(())
    }

    /// Bytes of a cluster, as a power of two.
    fn cluster_bits(&self) -> u32 {
        self.header.fields.cluster_bits
    }

    /// Bytes of a cluster.
    fn cluster_size(&self) -> u64 {
        self.header.fields.cluster_size()
    }

    /// Claims the clusters of all structures. Two in one place are damage that no change may make
    /// worse.
    fn claim_structures(&mut self) -> Result<()> {
        let bits = self.cluster_bits();
        let size = self.cluster_size();
        let clusters = |bytes: u64| bytes.div_ceil(size);
        let fields = &self.header.fields;
        let snapshots = snapshot::read(self.storage.as_ref() as &dyn Storage, fields)?;
        if let Some(damage) = snapshots
            .iter()
            .find_map(|entry| entry.facts.damage.as_ref())
        {
            return Err(Error::corrupt(format!(
                "the snapshot table is damaged: {damage}"
            )));
        }
        let table_length = snapshots.iter().map(|entry| entry.length).sum();
        let (table, table_clusters) = self.refcounts.table_place();
        let known = &mut self.structures;
        known.claim(0, 1, Structure::Header)?;
        known.claim(
            fields.l1_table_offset >> bits,
            clusters(u64::from(fields.l1_size) * 8),
            Structure::L1Table,
        )?;
        known.claim(table >> bits, table_clusters, Structure::RefcountTable)?;
        for block in self.refcounts.block_offsets() {
            known.claim(block >> bits, 1, Structure::RefcountBlock)?;
        }
        known.claim(
            fields.snapshots_offset >> bits,
            clusters(table_length),
            Structure::SnapshotTable,
        )?;
        for snapshot in &snapshots {
            known.claim(
                snapshot.l1_table_offset >> bits,
                clusters(u64::from(snapshot.l1_size) * 8),
                Structure::SnapshotL1Table,
            )?;
        }
        let entries = self.l1.entries().to_vec();
        self.claim_l2_tables(&entries)
    }
}

/// Whether there are bitmaps that must record what is written. Who cannot tell says yes.
fn has_enabled_bitmaps(storage: &dyn Storage, header: &Header) -> bool {
    bitmap::read(storage, header).map_or(true, |bitmaps| {
        bitmaps.iter().any(|bitmap| bitmap.facts.auto)
    })
}

/// Refuses images that must not or cannot be changed.
fn check_writable(header: &HeaderCluster, has_data_file: bool, in_edit: bool) -> Result<()> {
    let fields = &header.fields;
    if fields.incompatible_features & feature::UNFINISHED_EDIT != 0 && !in_edit {
        return Err(Error::new(ErrorKind::Refused, UNFINISHED_EDIT));
    }
    if fields.incompatible_features & feature::CORRUPT != 0 {
        return Err(Error::unsupported(
            "the image is marked corrupt; it must be repaired before it can be changed",
        ));
    }
    if let Some(method) = fields.encryption {
        return Err(Error::unsupported(format!(
            "the guest data is encrypted ({})",
            method.name()
        )));
    }
    if fields.has_data_file() && !has_data_file {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the external data file is not open",
        ));
    }
    Ok(())
}
