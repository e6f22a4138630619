//! A file as a crash left it: memory that can be changed and set back.

use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Storage, WritableStorage, check_bounds};

/// One file after a crash. It may be changed as any storage (a repair does); the next crash takes
/// all that back.
#[derive(Debug, Default)]
pub struct CrashFile {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// How to set back what was changed since the last [`CrashFile::keep`], the latest last.
    undo: Vec<Undo>,
}

#[derive(Debug)]
enum Undo {
    /// These bytes were here.
    Bytes { offset: usize, old: Vec<u8> },
    /// The file was as long as this.
    Grown { length: usize },
    /// The file went on with this.
    Cut { tail: Vec<u8> },
}

impl CrashFile {
    /// A file that holds `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            state: RwLock::new(State {
                bytes,
                undo: Vec::new(),
            }),
        }
    }

    /// A copy of the bytes as they are now.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.read().bytes.clone()
    }

    /// Takes back all changes since the last [`Self::keep`].
    pub(super) fn set_back(&self) {
        let mut state = self.write();
        while let Some(undo) = state.undo.pop() {
            match undo {
                Undo::Bytes { offset, old } => {
                    state.bytes[offset..offset + old.len()].copy_from_slice(&old);
                }
                Undo::Grown { length } => state.bytes.truncate(length),
                Undo::Cut { tail } => state.bytes.extend(tail),
            }
        }
    }

    /// Makes the changes since the last time those that stay.
    pub(super) fn keep(&self) {
        self.write().undo.clear();
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set_len(&mut self, length: usize) {
        let before = self.bytes.len();
        if length < before {
            let tail = self.bytes.split_off(length);
            self.undo.push(Undo::Cut { tail });
        } else if length > before {
            self.bytes.resize(length, 0);
            self.undo.push(Undo::Grown { length: before });
        }
    }

    fn change(&mut self, range: Range<usize>, change: impl FnOnce(&mut [u8])) {
        let place = &mut self.bytes[range.clone()];
        let old = place.to_vec();
        change(place);
        self.undo.push(Undo::Bytes {
            offset: range.start,
            old,
        });
    }
}

impl Storage for CrashFile {
    fn size(&self) -> Result<u64> {
        Ok(self.read().bytes.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let state = self.read();
        check_bounds(buf.len(), offset, state.bytes.len() as u64)?;
        let start = index(offset)?;
        buf.copy_from_slice(&state.bytes[start..start + buf.len()]);
        Ok(())
    }
}

impl WritableStorage for CrashFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let start = index(offset)?;
        let end = index(offset.saturating_add(buf.len() as u64))?;
        let mut state = self.write();
        if end > state.bytes.len() {
            state.set_len(end);
        }
        state.change(start..end, |place| place.copy_from_slice(buf));
        Ok(())
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        self.allocate(range.clone())?;
        self.punch_hole(range)
    }

    fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        let mut state = self.write();
        let end = index(range.end)?.min(state.bytes.len());
        let start = index(range.start)?.min(end);
        state.change(start..end, |place| place.fill(0));
        Ok(())
    }

    fn allocate(&self, range: Range<u64>) -> Result<()> {
        let end = index(range.end)?;
        let mut state = self.write();
        if end > state.bytes.len() {
            state.set_len(end);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.write().set_len(index(length)?);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// The length of a file in memory that no test needs.
const LIMIT: u64 = 1 << 32;

fn index(offset: u64) -> Result<usize> {
    usize::try_from(offset)
        .ok()
        .filter(|_| offset <= LIMIT)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::OutOfBounds,
                format!("{offset:#x} is more than a file in memory holds"),
            )
        })
}
