//! The interface of an image that can be changed.

use std::fmt::Debug;
use std::ops::{ControlFlow, Range};

use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::image::check::{CheckReport, Finding};
use crate::image::driver::SnapshotSelector;
use crate::image::extent::Extent;
use crate::image::info::{FileReference, Format, Snapshot};
use crate::storage::{Move, Storage};
use crate::units::GuestOffset;

/// How the space of a new part of a disk is prepared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Preallocation {
    /// Not at all.
    #[default]
    Off,
    /// Tables are there, the space they point to is a hole of the host file.
    Metadata,
    /// The host has reserved the space.
    Falloc,
    /// The space was written with zeroes.
    Full,
}

/// What a storage holds before an image is written to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Before {
    /// Nothing: it has no length yet, and nobody will look at it before it is complete.
    Nothing,
    /// Something, as a block device does. It must not be taken for the new image at any moment.
    Old,
}

/// What a repair may touch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repair {
    /// Give back what is referenced by nothing.
    Leaks,
    /// Make references and refcounts agree.
    All,
}

/// Called with the ranges of the file that a repair may overwrite, ascending and apart, before the
/// first of its writes: metadata, and never guest data. An error ends the repair, and nothing was
/// changed. What lies behind the end of the file is to be ignored.
pub type SaveMetadata<'a> = dyn Fn(&[Range<u64>]) -> Result<()> + Sync + 'a;

/// What became of a repair.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// What was found before.
    pub before: CheckReport,
    /// What was found and done, in the order in which it happened and in the words of the field's
    /// own checker. Of each kind of work at most [`CheckReport::MAX_FINDINGS`] are kept.
    pub steps: Vec<Finding>,
    /// Corruptions that are gone.
    pub corruptions_fixed: u64,
    /// Leaks that are gone.
    pub leaks_fixed: u64,
    /// The structures that count references are broken themselves, which only [`Repair::All`] can
    /// mend: nothing was changed.
    pub needs_rebuild: bool,
    /// What a check finds now.
    pub after: CheckReport,
}

/// Header properties that can be changed without touching guest data; `None` leaves one as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Amendment {
    /// QCOW2 version 2 (`compat=0.10`) or 3 (`compat=1.1`).
    pub version: Option<u32>,
    /// Refcounts may lag behind after a crash.
    pub lazy_refcounts: Option<bool>,
    /// Width of a refcount: 1, 2, 4 … 64.
    pub refcount_bits: Option<u32>,
    /// The backing file, or that there is none.
    pub backing: Option<Option<FileReference>>,
    /// The name of the external data file.
    pub data_file: Option<String>,
    /// Guest and host offsets in the external data file are the same.
    pub data_file_raw: Option<bool>,
}

/// One change of the dirty bitmaps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BitmapEdit {
    /// Adds an enabled, empty bitmap.
    Add {
        /// Bytes a bit stands for; the default follows the cluster size.
        granularity: Option<u32>,
    },
    /// Removes the bitmap.
    Remove,
    /// Sets all its bits to 0.
    Clear,
    /// Records writes from now on.
    Enable,
    /// Records no more.
    Disable,
}

/// One image file opened for change. All methods take `&self` and may be called from several
/// threads.
///
/// Nothing is durable before [`Self::flush`]. A crash at any moment leaves an image with every byte
/// that was flushed, and at worst leaks. Dropping a writer without a flush loses what was written
/// since, never more.
pub trait ImageWriter: Debug + Send + Sync {
    /// The format.
    fn format(&self) -> Format;

    /// The virtual size in bytes, now.
    fn virtual_size(&self) -> u64;

    /// As [`crate::image::ImageDriver::read_at`], with what was written so far.
    ///
    /// # Errors
    /// As there.
    fn read_at(
        &self,
        buf: &mut [u8],
        offset: GuestOffset,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<()>;

    /// As [`crate::image::ImageDriver::for_each_extent`], with what was written so far.
    ///
    /// # Errors
    /// As there.
    fn for_each_extent(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<()>;

    /// Writes `buf` at a guest offset. What a cluster holds beside it is kept, copied from the
    /// backing file where the image does not hold it yet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::OutOfBounds`] behind the virtual size,
    /// [`crate::ErrorKind::Corrupt`] for damaged tables, I/O errors (a full disk too).
    fn write_at(&self, buf: &[u8], offset: GuestOffset) -> Result<()>;

    /// Writes one whole cluster (at the end of the disk: what is left of it) compressed, or plain
    /// where that is no larger.
    ///
    /// # Errors
    /// As [`Self::write_at`]; [`crate::ErrorKind::Unsupported`] where the format or the image has
    /// no compression; [`crate::ErrorKind::InvalidInput`] for anything but a whole cluster.
    fn write_compressed(&self, cluster: &[u8], offset: GuestOffset) -> Result<()> {
        let _ = (cluster, offset);
        Err(self.lacks("compression"))
    }

    /// Makes `range` read as zeroes, whatever the backing file holds. With `discard` its space is
    /// given back, else clusters that have a place keep it.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    fn write_zeroes(&self, range: Range<u64>, discard: bool) -> Result<()>;

    /// The guest does not need `range` any more. Whole clusters (subclusters) of it read as zeroes
    /// from now on, or, with `reveal_backing`, as the backing file; the rest stays.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    fn discard(&self, range: Range<u64>, reveal_backing: bool) -> Result<()>;

    /// Lets the host begin to make guest data durable that was written so far, see
    /// [`crate::storage::WritableStorage::start_flush`].
    fn start_flush(&self) {}

    /// Makes all writes so far durable, in an order that no crash turns into corruption.
    ///
    /// # Errors
    /// I/O errors.
    fn flush(&self) -> Result<()>;

    /// Grows the disk, or cuts it if `shrink` is set; crash-safe, durable on return.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for a size it cannot have or to cut without `shrink`;
    /// [`crate::ErrorKind::Unsupported`] for reasons of the format (snapshots in version 2 …).
    fn resize(
        &self,
        size: u64,
        shrink: bool,
        preallocation: Preallocation,
        control: &Control,
    ) -> Result<(), Stop> {
        let _ = (size, shrink, preallocation, control);
        Err(self.lacks("resizing").into())
    }

    /// Takes an internal snapshot of the disk as it is now; durable on return. Answers its id.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the format has none.
    fn create_snapshot(&self, name: &str, control: &Control) -> Result<String, Stop> {
        let _ = (name, control);
        Err(self.lacks("internal snapshots").into())
    }

    /// Takes a snapshot of the disk as it is now, which is called, dated and numbered as `facts`
    /// say, with a machine's state of [`Snapshot::vm_state_size`] bytes where that is given; durable
    /// on return. The id is another one where a snapshot has it already. For a copy of an image;
    /// its disk may be longer afterwards when this fails.
    ///
    /// # Errors
    /// As [`Self::create_snapshot`] and [`Self::resize`].
    fn keep_snapshot(
        &self,
        facts: &Snapshot,
        vm_state: Option<&dyn Storage>,
        control: &Control,
    ) -> Result<(), Stop> {
        let _ = (facts, vm_state, control);
        Err(self.lacks("internal snapshots").into())
    }

    /// Sets the disk back to a snapshot; durable on return.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; as [`Self::create_snapshot`].
    fn apply_snapshot(&self, snapshot: &SnapshotSelector, control: &Control) -> Result<(), Stop> {
        let _ = (snapshot, control);
        Err(self.lacks("internal snapshots").into())
    }

    /// Deletes a snapshot; durable on return.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; as [`Self::create_snapshot`].
    fn delete_snapshot(&self, snapshot: &SnapshotSelector, control: &Control) -> Result<(), Stop> {
        let _ = (snapshot, control);
        Err(self.lacks("internal snapshots").into())
    }

    /// Gives a snapshot another name; durable on return.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; as [`Self::create_snapshot`].
    fn rename_snapshot(&self, snapshot: &SnapshotSelector, name: &str) -> Result<()> {
        let _ = (snapshot, name);
        Err(self.lacks("internal snapshots"))
    }

    /// Changes properties of the header; durable on return.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when the format or the image cannot have them.
    fn amend(&self, amendment: &Amendment, control: &Control) -> Result<(), Stop> {
        let _ = (amendment, control);
        Err(self.lacks("amending").into())
    }

    /// Changes the dirty bitmap `name`; durable on return.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Unsupported`] where the format has none.
    fn edit_bitmap(&self, name: &str, edit: &BitmapEdit) -> Result<()> {
        let _ = (name, edit);
        Err(self.lacks("dirty bitmaps"))
    }

    /// Sets in the bitmap `name` every bit whose bytes are dirty in `dirty` (ascending ranges of
    /// guest bytes); durable on return.
    ///
    /// # Errors
    /// As [`Self::edit_bitmap`].
    fn merge_into_bitmap(&self, name: &str, dirty: &[Range<u64>]) -> Result<()> {
        let _ = (name, dirty);
        Err(self.lacks("dirty bitmaps"))
    }

    /// Checks the metadata and mends what `repair` says.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when the format has no check.
    fn repair(&self, repair: Repair, control: &Control) -> Result<RepairReport, Stop> {
        let _ = (repair, control);
        Err(self.lacks("repairing").into())
    }

    /// Gives up all guest data, so that everything reads as the backing file again; durable on
    /// return. For an overlay after a commit, whose backing file has the same bytes: its dirty
    /// bitmaps take it for no change.
    ///
    /// # Errors
    /// I/O errors.
    fn make_empty(&self, control: &Control) -> Result<(), Stop> {
        let _ = control;
        Err(self.lacks("emptying").into())
    }

    /// As [`crate::storage::WritableStorage::share_within`], of guest bytes.
    ///
    /// # Errors
    /// As there.
    fn share_within(&self, range: Range<u64>, offset: u64) -> Result<bool> {
        let _ = (range, offset);
        Ok(false)
    }

    /// As [`crate::storage::Storage::moves_by`], of the guest disk.
    fn moves_by(&self) -> Option<u64> {
        None
    }

    /// As [`crate::storage::WritableStorage::layout_mark`].
    fn layout_mark(&self) -> Option<u64> {
        None
    }

    /// As [`crate::storage::WritableStorage::remap`], of guest bytes.
    ///
    /// # Errors
    /// As there.
    fn remap(&self, moves: &[Move], control: &Control) -> Result<(), Stop> {
        let _ = (moves, control);
        Err(self.lacks("moving without copying").into())
    }

    /// Marks the image as one whose partitions are being edited, so that no other program opens
    /// it and [`crate::image::open_writable`] refuses it; or takes the mark away. Durable on return.
    /// `false` where the format has no such mark.
    ///
    /// # Errors
    /// I/O errors.
    fn guard_edit(&self, unfinished: bool) -> Result<bool> {
        let _ = unfinished;
        Ok(false)
    }

    /// The error of a method that a format has not.
    fn lacks(&self, what: &str) -> Error {
        Error::unsupported(format!("{} images do not support {what}", self.format()))
    }
}
