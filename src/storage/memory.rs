//! A storage in memory, for tests and for structures that were assembled first.

use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Storage, WritableStorage, check_bounds};

/// Owned bytes as a [`Storage`].
#[derive(Debug, Default)]
pub struct MemoryStorage {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryStorage {
    /// A storage of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: RwLock::new(bytes),
        }
    }

    /// A copy of the bytes as they are now.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.read().clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<u8>> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<u8>> {
        self.bytes.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn size(&self) -> Result<u64> {
        Ok(self.read().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let bytes = self.read();
        check_bounds(buf.len(), offset, bytes.len() as u64)?;
        let start = index(offset)?;
        buf.copy_from_slice(&bytes[start..start + buf.len()]);
        Ok(())
    }
}

impl WritableStorage for MemoryStorage {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let (start, end) = (index(offset)?, index(end_of(offset, buf.len() as u64)?)?);
        let mut bytes = self.write();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(buf);
        Ok(())
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        self.allocate(range.clone())?;
        self.punch_hole(range)
    }

    fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        let mut bytes = self.write();
        let end = index(range.end)?.min(bytes.len());
        let start = index(range.start)?.min(end);
        bytes[start..end].fill(0);
        Ok(())
    }

    fn allocate(&self, range: Range<u64>) -> Result<()> {
        let end = index(range.end)?;
        let mut bytes = self.write();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.write().resize(index(length)?, 0);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn end_of(offset: u64, length: u64) -> Result<u64> {
    offset
        .checked_add(length)
        .ok_or_else(|| Error::new(ErrorKind::OutOfBounds, "a write passes 2^64"))
}

/// More than this is a mistake of a test or a hostile length, not a structure.
const LIMIT: u64 = 1 << 32;

fn index(offset: u64) -> Result<usize> {
    match usize::try_from(offset) {
        Ok(index) if offset <= LIMIT => Ok(index),
        _ => Err(Error::new(
            ErrorKind::OutOfBounds,
            format!("{offset:#x} is more than a memory storage holds"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_cuts_and_zeroes() {
        let memory = MemoryStorage::new(vec![1; 8]);
        memory.write_at(&[2; 4], 10).unwrap();
        assert_eq!(memory.to_vec(), [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 2, 2, 2, 2]);
        memory.punch_hole(12..100).unwrap();
        memory.write_zeroes(2..4).unwrap();
        memory.set_len(13).unwrap();
        assert_eq!(memory.to_vec(), [1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 2, 2, 0]);
        assert!(memory.write_at(&[0], u64::MAX).is_err());
        assert!(memory.set_len(u64::MAX).is_err());
    }
}
