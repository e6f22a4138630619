//! A storage in memory, for tests and for structures that were assembled first.

use crate::error::Result;
use crate::storage::{Storage, check_bounds};

/// Owned bytes as a [`Storage`].
#[derive(Debug, Default)]
pub struct MemoryStorage {
    bytes: Vec<u8>,
}

impl MemoryStorage {
    /// A storage of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

impl Storage for MemoryStorage {
    fn size(&self) -> Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(buf.len(), offset, self.bytes.len() as u64)?;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "bounded by the vector's length"
        )]
        let start = offset as usize;
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }
}
