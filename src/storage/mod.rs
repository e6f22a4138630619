//! Bytes at offsets, without any format: files and block devices, memory, a window of another
//! storage, and a double that fails on purpose.

mod fault;
mod file;
mod holders;
mod lock;
mod memory;
mod runs;
mod sys;
mod window;

use std::fmt::Debug;
use std::ops::{ControlFlow, Range};
use std::path::Path;

pub use fault::{Fault, FaultStorage};
pub use file::{FileId, FileStorage};
pub use holders::{Holder, holders};
pub use lock::LockMode;
pub use memory::MemoryStorage;
pub use window::WindowStorage;

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

    /// The file it is, for messages and identity; `None` for memory.
    fn path(&self) -> Option<&Path> {
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
