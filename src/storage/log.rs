//! A storage in memory that writes down every change, so that tests can try what each possible
//! crash would have left ([`WriteLog::crashes`]).

mod crash;
mod image;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crash::{Crash, CrashPlan, Crashes, Loss};
pub use image::CrashFile;

use crate::error::Result;
use crate::storage::{MemoryStorage, Storage, WritableStorage};

/// One call that changed a storage or made it durable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// [`WritableStorage::write_at`].
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// [`WritableStorage::write_zeroes`].
    Zeroes(Range<u64>),
    /// [`WritableStorage::punch_hole`].
    Punch(Range<u64>),
    /// [`WritableStorage::allocate`].
    Allocate(Range<u64>),
    /// [`WritableStorage::set_len`].
    SetLen(u64),
    /// [`WritableStorage::flush`].
    Flush,
}

/// A change and the file it was made to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The number of the file: [`LogStorage::file`].
    pub file: usize,
    /// What was done.
    pub change: Change,
}

/// The changes of one or more files in the order in which they were made. Clones refer to the same
/// log.
#[derive(Clone, Debug, Default)]
pub struct WriteLog {
    shared: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    /// The files as they were when they were added.
    before: Vec<Vec<u8>>,
    records: Vec<Record>,
}

impl WriteLog {
    /// An empty log without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file that holds `bytes`, durably, before its first change.
    #[must_use]
    pub fn storage(&self, bytes: Vec<u8>) -> Arc<LogStorage> {
        let mut log = self.lock();
        let file = log.before.len();
        log.before.push(bytes.clone());
        Arc::new(LogStorage {
            log: self.clone(),
            file,
            path: PathBuf::from(format!("file{file}")),
            memory: MemoryStorage::new(bytes),
        })
    }

    /// Changes so far: the stop point behind the last of them.
    #[must_use]
    pub fn position(&self) -> usize {
        self.lock().records.len()
    }

    /// The changes so far.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.lock().records.clone()
    }

    /// What a crash at each stop point could have left, as far as `plan` goes. Later changes are
    /// not looked at.
    #[must_use]
    pub fn crashes(&self, plan: CrashPlan) -> Crashes {
        let log = self.lock();
        Crashes::new(&log.before, log.records.clone(), plan)
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One file of a [`WriteLog`].
#[derive(Debug)]
pub struct LogStorage {
    log: WriteLog,
    file: usize,
    path: PathBuf,
    memory: MemoryStorage,
}

impl LogStorage {
    /// Its number in the log: files are counted from 0 in the order in which they were added.
    #[must_use]
    pub fn file(&self) -> usize {
        self.file
    }

    /// A copy of the bytes as they are now.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.memory.to_vec()
    }

    /// Makes a change and writes it down; changes of several threads come in the order in which
    /// they take effect.
    fn change(&self, change: Change, make: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut log = self.log.lock();
        make()?;
        log.records.push(Record {
            file: self.file,
            change,
        });
        Ok(())
    }
}

impl Storage for LogStorage {
    fn size(&self) -> Result<u64> {
        self.memory.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.memory.read_at(buf, offset)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

impl WritableStorage for LogStorage {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let bytes = Arc::from(buf);
        self.change(Change::Write { offset, bytes }, || {
            self.memory.write_at(buf, offset)
        })
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        self.change(Change::Zeroes(range.clone()), || {
            self.memory.write_zeroes(range)
        })
    }

    fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        self.change(Change::Punch(range.clone()), || {
            self.memory.punch_hole(range)
        })
    }

    fn allocate(&self, range: Range<u64>) -> Result<()> {
        self.change(Change::Allocate(range.clone()), || {
            self.memory.allocate(range)
        })
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.change(Change::SetLen(length), || self.memory.set_len(length))
    }

    fn flush(&self) -> Result<()> {
        self.change(Change::Flush, || self.memory.flush())
    }
}

#[cfg(test)]
mod tests;
