//! Bytes at offsets, without any format: files and block devices, memory, a window of another
//! storage, and a double that fails on purpose.

mod devices;
mod fault;
mod file;
mod holders;
mod host_space;
mod lock;
mod log;
mod memory;
mod moves;
mod new_file;
mod runs;
mod stamp;
mod sys;
mod window;

use std::fmt::Debug;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::path::Path;

pub use devices::{BlockDevice, block_devices};
pub use fault::{Calls, Failure, Fault, FaultStorage, WriteFaultStorage};
pub use file::{FileId, FileStorage, is_disk_full};
pub use holders::{Holder, holders};
pub use host_space::HostSpace;
pub use lock::LockMode;
pub use log::{Change, Crash, CrashFile, CrashPlan, Crashes, LogStorage, Loss, Record, WriteLog};
pub use memory::MemoryStorage;
pub use moves::{Move, check_moves, overwritten, vacated};
pub use new_file::{NewFile, rename_to_free_name};
pub use stamp::FileStamp;
pub use window::{WindowStorage, WritableWindow};

pub(crate) use runs::Joiner;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};

/// A stretch of a storage that is one thing throughout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run {
    /// The bytes it covers.
    pub range: Range<u64>,
    /// Reads as zeroes without anything behind it (a hole, an unwritten preallocation).
    pub hole: bool,
}

/// Bytes at offsets. All methods take `&self` and may be called from several threads at once.
pub trait Storage: Debug + Send + Sync {
    /// The length in bytes, now.
    ///
    /// # Errors
    /// When the host cannot tell.
    fn size(&self) -> Result<u64>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfBounds`] when the end lies behind the end of the storage,
    /// [`ErrorKind::Io`] when the host fails.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// Visits data and holes of `range` in order, without gaps, until the visitor breaks. A storage
    /// that cannot tell calls everything data. The part of `range` behind the end is not visited.
    ///
    /// # Errors
    /// When the host fails.
    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        let end = range.end.min(self.size()?);
        if range.start < end {
            let _ = visit(Run {
                range: range.start..end,
                hole: false,
            });
        }
        Ok(())
    }

    /// Bytes the host has allocated for it; `None` where that has no meaning (a block device).
    ///
    /// # Errors
    /// When the host cannot tell.
    fn allocated(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The file it is, for messages and identity; `None` for memory, and for files without a name.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// The open file behind it, where there is just one, byte for byte.
    fn host_file(&self) -> Option<&File> {
        None
    }

    /// Opened for change, it moves bytes by multiples of this distance without copying them
    /// ([`WritableStorage::remap`]); `None` where it cannot.
    fn moves_by(&self) -> Option<u64> {
        None
    }

    /// Like [`Self::read_at`], but what lies behind the end reads as zeroes: the way a guest sees
    /// the last, cut cluster of an image file.
    ///
    /// # Errors
    /// As [`Self::read_at`], except for the end.
    fn read_padded_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let there = self.size()?.saturating_sub(offset).min(buf.len() as u64);
        let there = usize::try_from(there).unwrap_or(buf.len());
        let (head, tail) = buf.split_at_mut(there);
        tail.fill(0);
        if head.is_empty() {
            Ok(())
        } else {
            self.read_at(head, offset)
        }
    }
}

/// A storage that can be changed. A write that reaches behind the end makes the storage longer;
/// what lies between the old end and the write reads as zeroes.
///
/// Nothing is durable before [`Self::flush`]; until then a crash may keep any part of what was
/// written since the last one, in any order.
pub trait WritableStorage: Storage {
    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the host fails (a full disk too), naming file, offset and operation.
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()>;

    /// Makes `range` read as zeroes without giving its space back: the host reserves what is not
    /// there yet, where it can do that faster than by writing.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    fn write_zeroes(&self, range: Range<u64>) -> Result<()>;

    /// Makes `range` read as zeroes and gives its space back as far as the host can. Bytes behind
    /// the end are left alone; the length stays.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    fn punch_hole(&self, range: Range<u64>) -> Result<()>;

    /// Reserves space for `range` so that writing there cannot run out of it; reads zeroes where
    /// nothing was. Makes the storage longer where needed.
    ///
    /// # Errors
    /// As [`Self::write_at`]; [`ErrorKind::Unsupported`] where the host cannot reserve.
    fn allocate(&self, range: Range<u64>) -> Result<()>;

    /// Whether the host can let this and `source` share space, so that copying from there with
    /// [`Self::copy_from`] moves no bytes.
    fn shares_with(&self, source: &dyn Storage) -> bool {
        let _ = source;
        false
    }

    /// Lets the host copy the bytes `range` of `source` to `offset`; shared, not copied, where it
    /// can. `false` when it did not copy all of them.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    fn copy_from(&self, source: &dyn Storage, range: Range<u64>, offset: u64) -> Result<bool> {
        let _ = (source, range, offset);
        Ok(false)
    }

    /// Lets the host put the bytes `range` at `offset` too, where it can do that without copying
    /// them; both places stay apart and are on the disk. `false` when not all of it was done.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    fn share_within(&self, range: Range<u64>, offset: u64) -> Result<bool> {
        let _ = (range, offset);
        Ok(false)
    }

    /// A number that the next [`Self::remap`] changes, at the moment in which all of it takes
    /// effect, and that survives a crash with it. `None` where there is no such number, and when
    /// a failure has left it unknown.
    fn layout_mark(&self) -> Option<u64> {
        None
    }

    /// Makes all of `moves` at once ([`check_moves`]), without copying more than the edges: bytes
    /// that go nowhere and to which nothing comes stay, and what is left behind ([`vacated`]) reads as
    /// zeroes. Durable on return; a crash at any moment leaves the storage as it was, or with all
    /// moves made. So does an error or a cancel, unless everything fails from then on.
    ///
    /// # Errors
    /// As [`check_moves`]; [`ErrorKind::Unsupported`] for a distance that is no multiple of
    /// [`Storage::moves_by`]; as [`Self::write_at`].
    fn remap(&self, moves: &[Move], control: &Control) -> Result<(), Stop> {
        let _ = (moves, control);
        Err(Error::unsupported("this storage moves bytes by copying them only").into())
    }

    /// Cuts the storage or lengthens it with zeroes.
    ///
    /// # Errors
    /// As [`Self::write_at`]; [`ErrorKind::Unsupported`] for what has a fixed length.
    fn set_len(&self, length: u64) -> Result<()>;

    /// Lets the host begin to make durable what was written so far, and does not wait for it: a
    /// later [`Self::flush`] has less to do. A hint; nothing can be concluded from it.
    fn start_flush(&self) {}

    /// Returns once everything written so far is durable, length included.
    ///
    /// # Errors
    /// As [`Self::write_at`]. After a failure nobody knows what is durable.
    fn flush(&self) -> Result<()>;
}

/// The check every storage makes before it reads.
pub(crate) fn check_bounds(length: usize, offset: u64, size: u64) -> Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::new(
            ErrorKind::OutOfBounds,
            format!("read of {length} bytes passes the end at {size:#x}"),
        )
        .with_offset(offset)),
    }
}
