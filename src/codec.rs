//! Integers out of bytes that nobody vouches for: a cursor with bounds, in either byte order.

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use crate::error::{Error, Result};

/// Reads fields from a slice at absolute positions. A read past the end is an error that names the
/// position, never a panic.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    base: u64,
}

impl<'a> Fields<'a> {
    /// Fields of `bytes`, which start at offset `base` of the file (only for messages).
    #[must_use]
    pub fn new(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, base }
    }

    /// The `length` bytes at `at`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when they are not all there.
    pub fn slice(&self, at: usize, length: usize) -> Result<&'a [u8]> {
        at.checked_add(length)
            .and_then(|end| self.bytes.get(at..end))
            .ok_or_else(|| {
                Error::corrupt(format!(
                    "structure of {} bytes is too short",
                    self.bytes.len()
                ))
                .with_offset(self.base.saturating_add(at as u64))
            })
    }

    /// The byte at `at`.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub fn u8(&self, at: usize) -> Result<u8> {
        Ok(self.slice(at, 1)?[0])
    }

    /// The big-endian 16-bit integer at `at`.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub fn be16(&self, at: usize) -> Result<u16> {
        self.slice(at, 2).map(BigEndian::read_u16)
    }

    /// The big-endian 32-bit integer at `at`.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub fn be32(&self, at: usize) -> Result<u32> {
        self.slice(at, 4).map(BigEndian::read_u32)
    }

    /// The big-endian 64-bit integer at `at`.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub fn be64(&self, at: usize) -> Result<u64> {
        self.slice(at, 8).map(BigEndian::read_u64)
    }

    /// The little-endian 16-bit integer at `at`.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub fn le16(&self, at: usize) -> Result<u16> {
        self.slice(at, 2).map(LittleEndian::read_u16)
    }

    /// The little-endian 32-bit integer at `at`.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub fn le32(&self, at: usize) -> Result<u32> {
        self.slice(at, 4).map(LittleEndian::read_u32)
    }

    /// The little-endian 64-bit integer at `at`.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub fn le64(&self, at: usize) -> Result<u64> {
        self.slice(at, 8).map(LittleEndian::read_u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_byte_orders_and_refuses_the_end() {
        let fields = Fields::new(&[1, 2, 3, 4, 5, 6, 7, 8], 0x100);
        assert_eq!(fields.be16(0).unwrap(), 0x0102);
        assert_eq!(fields.le32(2).unwrap(), 0x0605_0403);
        assert_eq!(fields.be64(0).unwrap(), 0x0102_0304_0506_0708);
        assert_eq!(fields.u8(8).unwrap_err().offset(), Some(0x108));
        assert!(fields.slice(usize::MAX, 2).is_err());
    }
}
