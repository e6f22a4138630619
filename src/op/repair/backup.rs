//! The file that holds what a repair may overwrite.
//!
//! All numbers are big-endian.
//!
//! | offset | bytes | is |
//! |---|---|---|
//! | 0 | 8 | `PLTREPBK` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | state: 1 the repair has not ended, 2 it has, 3 the backup is being put back |
//! | 16 | 8 | length of the image in bytes |
//! | 24 | 8 | inode number of the image |
//! | 32 | 4 | number of pieces |
//! | 36 | 4 | CRC-32C of the table of pieces |
//! | 40 | 8 | where the checksums after the repair are, 0 without |
//! | 48 | 4 | CRC-32C of those |
//! | 508 | 4 | CRC-32C of the 508 bytes before |
//!
//! The table follows at 512: for each piece its offset in the image (8 bytes), its length (4, at
//! most 1 MiB) and the CRC-32C of its bytes (4). Then come the bytes of the pieces, one behind the
//! other. The checksums after the repair are 4 bytes for each piece. The first sector is the only
//! one that is ever written twice.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder};

use crate::codec::Fields;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{FileStorage, NewFile, Storage, WritableStorage};

const MAGIC: &[u8; 8] = b"PLTREPBK";
const VERSION: u32 = 1;
const HEADER: usize = 512;
const TABLE_AT: u64 = 512;
/// Bytes of the table for a piece.
const ENTRY: u64 = 16;
/// Bytes of a checksum.
const SUM: u64 = 4;
/// Longest piece.
pub(super) const PIECE: u64 = 1 << 20;
/// Pieces at most: more than any image has L2 tables that are repaired.
const MAX_PIECES: u64 = 6 << 20;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// The repair has not ended, or was stopped.
    Unfinished,
    /// It has ended: what is in the image now is known.
    Repaired,
    /// The pieces are being put back.
    Restoring,
}

/// Some bytes of the image as they were.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    /// Where in the image.
    pub(super) offset: u64,
    pub(super) length: u32,
    /// CRC-32C.
    pub(super) sum: u32,
}

impl Piece {
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.length))
    }

    /// Reads the piece of the image as it is now into `buf`; what was behind its end is zero.
    pub(super) fn read<'b>(&self, image: &dyn Storage, buf: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        buf.resize(self.length as usize, 0);
        image.read_padded_at(buf, self.offset)?;
        Ok(buf)
    }
}

/// The first sector.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) state: State,
    pub(super) image_length: u64,
    pub(super) inode: u64,
    pieces: u32,
    table_sum: u32,
    sums_at: u64,
    sums_sum: u32,
}

impl Header {
    /// Makes the first sector say this, durably.
    pub(super) fn write(&self, backup: &dyn WritableStorage) -> Result<()> {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        BigEndian::write_u32(&mut bytes[8..], VERSION);
        let state = match self.state {
            State::Unfinished => 1,
            State::Repaired => 2,
            State::Restoring => 3,
        };
        BigEndian::write_u32(&mut bytes[12..], state);
        BigEndian::write_u64(&mut bytes[16..], self.image_length);
        BigEndian::write_u64(&mut bytes[24..], self.inode);
        BigEndian::write_u32(&mut bytes[32..], self.pieces);
        BigEndian::write_u32(&mut bytes[36..], self.table_sum);
        BigEndian::write_u64(&mut bytes[40..], self.sums_at);
        BigEndian::write_u32(&mut bytes[48..], self.sums_sum);
        let sum = crc32c::crc32c(&bytes[..508]);
        BigEndian::write_u32(&mut bytes[508..], sum);
        backup.write_at(&bytes, 0)?;
        backup.flush()
    }

    fn read(backup: &dyn Storage) -> Result<Self> {
        let mut bytes = [0; HEADER];
        backup.read_padded_at(&mut bytes, 0)?;
        let fields = Fields::new(&bytes, 0);
        if bytes[..8] != *MAGIC {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "not the backup of a repair",
            ));
        }
        if fields.be32(508)? != crc32c::crc32c(&bytes[..508]) {
            return Err(Error::corrupt("the first sector is damaged").with_offset(0));
        }
        if fields.be32(8)? != VERSION {
            return Err(Error::unsupported(format!(
                "version {} is not known",
                fields.be32(8)?
            )));
        }
        let state = match fields.be32(12)? {
            1 => State::Unfinished,
            2 => State::Repaired,
            3 => State::Restoring,
            other => {
                return Err(
                    Error::corrupt(format!("there is no state {other}")).with_field("state")
                );
            }
        };
        Ok(Self {
            state,
            image_length: fields.be64(16)?,
            inode: fields.be64(24)?,
            pieces: fields.be32(32)?,
            table_sum: fields.be32(36)?,
            sums_at: fields.be64(40)?,
            sums_sum: fields.be32(48)?,
        })
    }

    /// The pieces are being put back into the file `inode`.
    pub(super) fn restoring(&self, inode: u64) -> Self {
        Self {
            state: State::Restoring,
            inode,
            ..self.clone()
        }
    }

    /// They have been: nothing else is in the image.
    pub(super) fn restored(&self) -> Self {
        Self {
            state: State::Repaired,
            sums_at: 0,
            sums_sum: 0,
            ..self.clone()
        }
    }
}

/// A backup that was read and found whole.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) header: Header,
    pub(super) pieces: Vec<Piece>,
    /// The checksum of each piece after the repair, where that has ended.
    pub(super) sums: Option<Vec<u32>>,
}

impl Content {
    pub(super) fn read(backup: &dyn Storage) -> Result<Self> {
        let header = Header::read(backup)?;
        let count = u64::from(header.pieces);
        if count > MAX_PIECES {
            return Err(Error::corrupt(format!("{count} pieces are too many")));
        }
        let table = read_table(backup, TABLE_AT, count * ENTRY, header.table_sum)?;
        let mut pieces = Vec::with_capacity(table.len() / length(ENTRY));
        let mut end = 0;
        for entry in table.chunks_exact(length(ENTRY)) {
            let piece = Piece {
                offset: BigEndian::read_u64(entry),
                length: BigEndian::read_u32(&entry[8..]),
                sum: BigEndian::read_u32(&entry[12..]),
            };
            let fits = piece.offset >= end && piece.end() <= header.image_length;
            if !fits || u64::from(piece.length) > PIECE {
                return Err(Error::corrupt("the table of pieces makes no sense"));
            }
            end = piece.end();
            pieces.push(piece);
        }
        let sums = match header.sums_at {
            0 => None,
            at => {
                let bytes = read_table(backup, at, count * SUM, header.sums_sum)?;
                Some(
                    bytes
                        .chunks_exact(length(SUM))
                        .map(BigEndian::read_u32)
                        .collect(),
                )
            }
        };
        Ok(Self {
            header,
            pieces,
            sums,
        })
    }

    /// Visits each piece with its bytes, which are as they were saved.
    pub(super) fn for_each(
        &self,
        backup: &dyn Storage,
        visit: &mut dyn FnMut(&Piece, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buf = Vec::new();
        let mut at = TABLE_AT + self.pieces.len() as u64 * ENTRY;
        for piece in &self.pieces {
            buf.resize(piece.length as usize, 0);
            backup.read_at(&mut buf, at)?;
            if crc32c::crc32c(&buf) != piece.sum {
                return Err(Error::corrupt("a piece is damaged").with_offset(at));
            }
            visit(piece, &buf)?;
            at += u64::from(piece.length);
        }
        Ok(())
    }
}

fn read_table(backup: &dyn Storage, at: u64, bytes: u64, sum: u32) -> Result<Vec<u8>> {
    let size = backup.size()?;
    if at.checked_add(bytes).is_none_or(|end| end > size) {
        return Err(Error::corrupt("it was cut off").with_offset(size));
    }
    let mut table = vec![0; length(bytes)];
    backup.read_at(&mut table, at)?;
    if crc32c::crc32c(&table) != sum {
        return Err(Error::corrupt("a table is damaged").with_offset(at));
    }
    Ok(table)
}

/// A backup that was just made; the repair goes on.
#[derive(Debug)]
pub(super) struct Saved {
    path: PathBuf,
    storage: Arc<FileStorage>,
    header: Header,
    pieces: Vec<Piece>,
    end: u64,
}

impl Saved {
    /// Saves `ranges` of `image`; durable on return.
    pub(super) fn write(path: &Path, image: &FileStorage, ranges: &[Range<u64>]) -> Result<Self> {
        let file = NewFile::create_private(path)?;
        let storage = Arc::clone(file.storage());
        let image_length = image.size()?;
        let mut pieces = cut(ranges, image_length);
        let count = pieces.len() as u64;
        if count > MAX_PIECES {
            return Err(Error::unsupported(format!(
                "the metadata is in {count} places, at most {MAX_PIECES} can be saved"
            )));
        }
        let mut buf = Vec::new();
        let mut at = TABLE_AT + count * ENTRY;
        for piece in &mut pieces {
            let bytes = piece.read(image, &mut buf)?;
            let sum = crc32c::crc32c(bytes);
            // Zeroes are a hole of the backup.
            if bytes.iter().any(|byte| *byte != 0) {
                storage.write_at(bytes, at)?;
            }
            piece.sum = sum;
            at += u64::from(piece.length);
        }
        storage.set_len(at)?;
        let table = encode(&pieces);
        storage.write_at(&table, TABLE_AT)?;
        let header = Header {
            state: State::Unfinished,
            image_length,
            inode: image.id().inode,
            pieces: u32::try_from(count).unwrap_or(u32::MAX),
            table_sum: crc32c::crc32c(&table),
            sums_at: 0,
            sums_sum: 0,
        };
        header.write(storage.as_ref())?;
        let path = file.target().to_path_buf();
        file.finish()?;
        Ok(Self {
            path,
            storage,
            header,
            pieces,
            end: at,
        })
    }

    /// Notes what is in `image` now that the repair has ended; durable on return. Where the backup
    /// is.
    pub(super) fn seal(self, image: &FileStorage) -> Result<PathBuf> {
        let mut buf = Vec::new();
        let mut sums = Vec::with_capacity(self.pieces.len() * length(SUM));
        for piece in &self.pieces {
            let sum = crc32c::crc32c(piece.read(image, &mut buf)?);
            sums.extend_from_slice(&sum.to_be_bytes());
        }
        self.storage.write_at(&sums, self.end)?;
        self.storage.flush()?;
        let sealed = Header {
            state: State::Repaired,
            sums_at: self.end,
            sums_sum: crc32c::crc32c(&sums),
            ..self.header
        };
        sealed.write(self.storage.as_ref())?;
        Ok(self.path)
    }
}

/// Pieces of what lies below `end`.
fn cut(ranges: &[Range<u64>], end: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for range in ranges {
        let mut at = range.start;
        while at < range.end.min(end) {
            let next = range.end.min(end).min(at.saturating_add(PIECE));
            pieces.push(Piece {
                offset: at,
                length: u32::try_from(next - at).unwrap_or(0),
                sum: 0,
            });
            at = next;
        }
    }
    pieces
}

fn encode(pieces: &[Piece]) -> Vec<u8> {
    let mut table = Vec::with_capacity(pieces.len() * length(ENTRY));
    for piece in pieces {
        table.extend_from_slice(&piece.offset.to_be_bytes());
        table.extend_from_slice(&piece.length.to_be_bytes());
        table.extend_from_slice(&piece.sum.to_be_bytes());
    }
    table
}

/// Bounded by the largest table.
fn length(bounded: u64) -> usize {
    usize::try_from(bounded).unwrap_or(usize::MAX)
}
