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

/// Text an image chose, made safe to show: what would steer a terminal or reorder the line
/// (control characters, bidirectional overrides) becomes U+FFFD. `None` when nothing is left after
/// trimming.
#[must_use]
pub fn printable(text: &str) -> Option<String> {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let safe: String = text
        .chars()
        .map(|c| {
            if steers(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    let trimmed = safe.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// [`printable`] text of UTF-8 bytes up to the first NUL; what is no UTF-8 becomes U+FFFD.
#[must_use]
pub fn utf8(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    printable(&String::from_utf8_lossy(text))
}

/// [`printable`] text of little-endian UTF-16 up to the first NUL; lone surrogates become U+FFFD.
#[must_use]
pub fn utf16le(bytes: &[u8]) -> Option<String> {
    let units = bytes
        .chunks_exact(2)
        .map(LittleEndian::read_u16)
        .take_while(|unit| *unit != 0);
    let text: String = char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    printable(&text)
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

    #[test]
    fn text_of_an_image_cannot_steer_the_terminal() {
        assert_eq!(utf8(b"data\0rest").as_deref(), Some("data"));
        assert_eq!(utf8(b"  \0"), None);
        assert_eq!(
            utf8(b"a\x1b[31m\xffb").as_deref(),
            Some("a\u{fffd}[31m\u{fffd}b")
        );
        let name: Vec<u8> = "Über\u{202e}\u{1f4be}\0junk"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(utf16le(&name).as_deref(), Some("Über\u{fffd}\u{1f4be}"));
        assert_eq!(utf16le(&[0x00, 0xd8]).as_deref(), Some("\u{fffd}"));
        assert_eq!(utf16le(&[]), None);
    }
}
