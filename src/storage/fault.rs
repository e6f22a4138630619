//! A storage that fails on purpose and counts what is asked of it. For tests: of behaviour when the
//! host fails, and of how much I/O an operation makes.

mod write;

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use write::{Calls, Failure, WriteFaultStorage};

use crate::error::{Error, Result};
use crate::storage::{Run, Storage};

/// Which calls fail, counted from 0 since the storage was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// None.
    Never,
    /// This one, and no other.
    Once(u64),
    /// This one and all after it.
    From(u64),
}

impl Fault {
    fn is_at(self, index: u64) -> bool {
        match self {
            Self::Never => false,
            Self::Once(nth) => index == nth,
            Self::From(nth) => index >= nth,
        }
    }
}

/// Another storage, with faults and counters.
///
/// A failing read has the cause `EIO`, as of a disk with bad sectors. The counters include failed
/// reads.
#[derive(Debug)]
pub struct FaultStorage {
    inner: Arc<dyn Storage>,
    fault: Fault,
    reads: AtomicU64,
    bytes: AtomicU64,
    run_queries: AtomicU64,
}

impl FaultStorage {
    /// `inner`, with the reads that `fault` says failing.
    #[must_use]
    pub fn new(inner: Arc<dyn Storage>, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            run_queries: AtomicU64::new(0),
        }
    }

    /// Calls of [`Storage::read_at`] so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Bytes asked for in those calls.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Calls of [`Storage::for_each_run`] so far.
    #[must_use]
    pub fn run_queries(&self) -> u64 {
        self.run_queries.load(Ordering::Relaxed)
    }

    /// Sets the counters to 0. Faults go on counting from 0 as well.
    pub fn reset(&self) {
        self.reads.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.run_queries.store(0, Ordering::Relaxed);
    }
}

impl Storage for FaultStorage {
    fn size(&self) -> Result<u64> {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let index = self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        if self.fault.is_at(index) {
            let cause = io::Error::from_raw_os_error(libc::EIO);
            let error = Error::io(format!("cannot read {} bytes", buf.len()), cause);
            return Err(match self.path() {
                Some(path) => error.with_path(path).with_offset(offset),
                None => error.with_offset(offset),
            });
        }
        self.inner.read_at(buf, offset)
    }

    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        self.run_queries.fetch_add(1, Ordering::Relaxed);
        self.inner.for_each_run(range, visit)
    }

    fn allocated(&self) -> Result<Option<u64>> {
        self.inner.allocated()
    }

    fn path(&self) -> Option<&Path> {
        self.inner.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::MemoryStorage;

    fn outcomes(fault: Fault) -> Vec<bool> {
        let memory = Arc::new(MemoryStorage::new(vec![0; 64]));
        let storage = FaultStorage::new(memory, fault);
        (0..4)
            .map(|_| match storage.read_at(&mut [0; 16], 8) {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io);
                    assert_eq!(error.offset(), Some(8));
                    false
                }
            })
            .collect()
    }

    #[test]
    fn fails_the_reads_it_was_told_to() {
        assert_eq!(outcomes(Fault::Never), [true, true, true, true]);
        assert_eq!(outcomes(Fault::Once(1)), [true, false, true, true]);
        assert_eq!(outcomes(Fault::From(1)), [true, false, false, false]);
    }

    #[test]
    fn counts_reads_and_bytes() {
        let memory = Arc::new(MemoryStorage::new(vec![0; 64]));
        let storage = FaultStorage::new(memory, Fault::Never);
        storage.read_at(&mut [0; 16], 0).unwrap();
        storage.read_padded_at(&mut [0; 32], 48).unwrap();
        assert_eq!((storage.reads(), storage.bytes()), (2, 32));
        storage.reset();
        assert_eq!((storage.reads(), storage.bytes()), (0, 0));
    }
}
