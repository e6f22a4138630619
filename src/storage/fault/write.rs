//! A storage whose changes fail on purpose.

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::storage::fault::Fault;
use crate::storage::{Run, Storage, WritableStorage};

/// A disk takes these many bytes whole or not at all.
const SECTOR: u64 = 512;

/// Which calls are counted, and can fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Calls {
    /// Those that change bytes or the length.
    Writes,
    /// [`WritableStorage::flush`].
    Flushes,
    /// Both.
    Changes,
    /// Those, and [`Storage::read_at`].
    All,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// `EIO`, nothing done.
    Io,
    /// `ENOSPC`, nothing done.
    NoSpace,
    /// `ENOSPC` after the first half of the bytes, in whole sectors of 512.
    Short,
}

/// Another storage, of which some changes fail.
///
/// An error has the cause, the offset and the path that [`crate::storage::FileStorage`] would give
/// it.
#[derive(Debug)]
pub struct WriteFaultStorage {
    inner: Arc<dyn WritableStorage>,
    path: PathBuf,
    calls: Calls,
    fault: Fault,
    failure: Failure,
    counter: AtomicU64,
    failed: AtomicU64,
}

impl WriteFaultStorage {
    /// `inner` under the name `path`, with those of `calls` that `fault` says failing as `failure`
    /// says.
    #[must_use]
    pub fn new(
        inner: Arc<dyn WritableStorage>,
        path: impl Into<PathBuf>,
        calls: Calls,
        fault: Fault,
        failure: Failure,
    ) -> Self {
        Self {
            inner,
            path: path.into(),
            calls,
            fault,
            failure,
            counter: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// How many calls failed so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many calls were counted so far.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }

    /// Whether this call of `kind` is one that fails.
    fn fails(&self, kind: Calls) -> bool {
        let counts = match self.calls {
            Calls::All => true,
            Calls::Changes => kind != Calls::All,
            calls => calls == kind,
        };
        let fails = counts
            && self
                .fault
                .is_at(self.counter.fetch_add(1, Ordering::Relaxed));
        if fails {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        fails
    }

    fn error(&self, what: String) -> Error {
        let cause = match self.failure {
            Failure::Io => libc::EIO,
            Failure::NoSpace | Failure::Short => libc::ENOSPC,
        };
        Error::io(what, io::Error::from_raw_os_error(cause)).with_path(&self.path)
    }

    /// A call about `range`: done by `work` on all of it, or on what a failure leaves.
    fn change(
        &self,
        range: Range<u64>,
        what: &str,
        work: impl FnOnce(Range<u64>) -> Result<()>,
    ) -> Result<()> {
        if !self.fails(Calls::Writes) {
            return work(range);
        }
        let length = range.end.saturating_sub(range.start);
        if self.failure == Failure::Short {
            let end = (range.start + length / 2) / SECTOR * SECTOR;
            work(range.start..end.max(range.start))?;
        }
        let what = format!("cannot {what}: {length} bytes");
        Err(self.error(what).with_offset(range.start))
    }
}

impl Storage for WriteFaultStorage {
    fn size(&self) -> Result<u64> {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        if self.calls == Calls::All && self.fails(Calls::All) {
            let what = format!("cannot read {} bytes", buf.len());
            return Err(self.error(what).with_offset(offset));
        }
        self.inner.read_at(buf, offset)
    }

    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.for_each_run(range, visit)
    }

    fn allocated(&self) -> Result<Option<u64>> {
        self.inner.allocated()
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

impl WritableStorage for WriteFaultStorage {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let range = offset..offset.saturating_add(buf.len() as u64);
        self.change(range, "write", |range| {
            let length = usize::try_from(range.end - range.start).unwrap_or(buf.len());
            self.inner.write_at(&buf[..length], range.start)
        })
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        self.change(range, "write zeroes", |range| {
            self.inner.write_zeroes(range)
        })
    }

    fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        self.change(range, "punch a hole", |range| self.inner.punch_hole(range))
    }

    fn allocate(&self, range: Range<u64>) -> Result<()> {
        self.change(range, "reserve space", |range| self.inner.allocate(range))
    }

    fn set_len(&self, length: u64) -> Result<()> {
        if self.fails(Calls::Writes) {
            let what = format!("cannot set the length to {length}");
            return Err(self.error(what).with_offset(length));
        }
        self.inner.set_len(length)
    }

    fn flush(&self) -> Result<()> {
        if self.fails(Calls::Flushes) {
            return Err(self.error("cannot flush".to_owned()));
        }
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MemoryStorage, is_disk_full};

    fn faulty(calls: Calls, fault: Fault, failure: Failure) -> WriteFaultStorage {
        let memory = Arc::new(MemoryStorage::new(vec![0; 8]));
        WriteFaultStorage::new(memory, "disk.raw", calls, fault, failure)
    }

    #[test]
    fn counts_what_it_is_told_to() {
        for (calls, fails) in [
            (Calls::Writes, [false, true, false, false]),
            (Calls::Flushes, [false, false, false, true]),
            (Calls::Changes, [false, true, false, false]),
            (Calls::All, [true, false, false, false]),
        ] {
            let storage = faulty(calls, Fault::Once(1), Failure::Io);
            let results = [
                storage.write_at(&[1], 0).and(storage.read_at(&mut [0], 0)),
                storage.set_len(9),
                storage.flush(),
                storage.flush(),
            ];
            assert_eq!(results.map(|result| result.is_err()), fails, "{calls:?}");
            assert_eq!(storage.failed(), 1);
        }
    }

    #[test]
    fn a_short_write_leaves_its_first_half() {
        let storage = faulty(Calls::Writes, Fault::From(0), Failure::Short);
        let error = storage.write_at(&[1; 1200], 2).unwrap_err();
        assert!(is_disk_full(&error));
        assert_eq!(
            error.to_string(),
            "disk.raw: cannot write: 1200 bytes (at offset 0x2)"
        );
        assert_eq!(storage.size().unwrap(), 512);
        let mut bytes = [9; 4];
        storage.read_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [0, 0, 1, 1]);
        assert!(storage.write_zeroes(0..8).is_err());
        assert_eq!(storage.failed(), 2);
    }
}
