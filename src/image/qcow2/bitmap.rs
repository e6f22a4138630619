//! Persistent dirty bitmaps: their directory, and their bits.

use std::ops::{ControlFlow, Range};

use crate::codec::Fields;
use crate::error::{Error, ErrorKind, Result};
use crate::image::info::Bitmap;
use crate::image::qcow2::extension;
use crate::image::qcow2::feature;
use crate::image::qcow2::header::{Header, text};
use crate::image::qcow2::stream::Stream;
use crate::image::qcow2::table::read_entries;
use crate::storage::Storage;
use crate::units::{KIB, MIB};

pub(super) const MAX_BITMAPS: u32 = 65_535;
/// Largest directory, in bytes.
pub(super) const MAX_DIRECTORY_BYTES: u64 = 64 * MIB - KIB;
/// Most entries of the table of one bitmap.
const MAX_TABLE_ENTRIES: u32 = 0x0800_0000;
pub(super) const MAX_NAME: u16 = 1023;
const EXTENSION_LENGTH: usize = 24;
const ENTRY_HEADER: usize = 24;

pub(super) const FLAG_IN_USE: u32 = 1 << 0;
pub(super) const FLAG_AUTO: u32 = 1 << 1;
const FLAG_EXTRA_DATA_COMPATIBLE: u32 = 1 << 2;
const TYPE_DIRTY_TRACKING: u8 = 1;

/// Bits of a table entry that are an offset.
const TABLE_OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const TABLE_RESERVED: u64 = 0xff00_0000_0000_01fe;
/// "All bits are one", in an entry without a cluster.
const ALL_ONES: u64 = 1;

/// A bitmap of the directory: what is shown, and where its table is.
#[derive(Clone, Debug)]
pub(super) struct BitmapEntry {
    pub(super) facts: Bitmap,
    pub(super) table_offset: u64,
    /// In entries of 8 bytes.
    pub(super) table_size: u32,
    /// It has data of its own that nobody here understands.
    pub(super) has_extra_data: bool,
    /// Where its flags are in the file.
    pub(super) flags_offset: u64,
}

/// Where the directory is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory {
    pub(super) count: u32,
    pub(super) size: u64,
    pub(super) offset: u64,
}

impl Directory {
    /// The bitmaps extension of `header`. `None` without one, and when the autoclear bit is not
    /// set: then a program that knows no bitmaps wrote to the image, and the extension is stale.
    pub(super) fn find(header: &Header) -> Result<Option<Self>> {
        if header.autoclear_features & feature::BITMAPS == 0 {
            return Ok(None);
        }
        let Some(data) = header.extension(extension::BITMAPS) else {
            return Ok(None);
        };
        if data.len() != EXTENSION_LENGTH {
            return Err(Error::corrupt(format!(
                "bitmaps extension is {} bytes long, not {EXTENSION_LENGTH}",
                data.len()
            )));
        }
        let fields = Fields::new(data, 0);
        let directory = Self {
            count: fields.be32(0)?,
            size: fields.be64(8)?,
            offset: fields.be64(16)?,
        };
        directory.check(header)?;
        Ok(Some(directory))
    }

    fn check(&self, header: &Header) -> Result<()> {
        if self.count == 0 || self.count > MAX_BITMAPS {
            return Err(Error::corrupt(format!(
                "bitmaps extension counts {} bitmaps, not 1 to {MAX_BITMAPS}",
                self.count
            )));
        }
        if self.size > MAX_DIRECTORY_BYTES {
            return Err(Error::corrupt(format!(
                "bitmap directory of {} bytes is too large",
                self.size
            )));
        }
        if !self.offset.is_multiple_of(header.cluster_size()) {
            return Err(Error::corrupt(format!(
                "bitmap directory offset {:#x} invalid",
                self.offset
            )));
        }
        Ok(())
    }
}

/// The bitmap of that name.
pub(super) fn find(storage: &dyn Storage, header: &Header, name: &str) -> Result<BitmapEntry> {
    let entries = read(storage, header)?;
    let entry = entries.into_iter().find(|entry| entry.facts.name == name);
    entry.ok_or_else(|| not_found(name))
}

/// The error for a bitmap that is not there.
pub(super) fn not_found(name: &str) -> Error {
    let message = format!("Dirty bitmap '{name}' not found");
    Error::new(ErrorKind::NotFound, message)
}

impl BitmapEntry {
    /// Refuses a bitmap that was not saved properly, or says more than is understood here.
    pub(super) fn check_usable(&self) -> Result<()> {
        if self.facts.in_use {
            return Err(Error::unsupported(format!(
                "Bitmap '{}' is inconsistent and cannot be used\n\
                 Try block-dirty-bitmap-remove to delete this bitmap from disk",
                self.facts.name
            )));
        }
        if self.has_extra_data {
            return Err(Error::unsupported("Bitmap extra data is not supported"));
        }
        Ok(())
    }

    /// Bits of the bitmap of a disk of `size` bytes.
    pub(super) fn bits(&self, size: u64) -> u64 {
        size.div_ceil(self.facts.granularity)
    }
}

/// An entry of the table of a bitmap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BitmapCluster {
    /// All bits are 0.
    Zeroes,
    /// All bits are 1.
    Ones,
    /// The bits are in the cluster at this host offset.
    At(u64),
}

impl BitmapCluster {
    fn parse(entry: u64, cluster_size: u64) -> Option<Self> {
        let offset = entry & TABLE_OFFSET_MASK;
        match (offset, entry & ALL_ONES) {
            _ if entry & TABLE_RESERVED != 0 || !offset.is_multiple_of(cluster_size) => None,
            (0, 0) => Some(Self::Zeroes),
            (0, _) => Some(Self::Ones),
            (offset, 0) => Some(Self::At(offset)),
            _ => None,
        }
    }

    /// As on disk.
    pub(super) fn encode(self) -> u64 {
        match self {
            Self::Zeroes => 0,
            Self::Ones => ALL_ONES,
            Self::At(offset) => offset,
        }
    }
}

/// Reads the table of a bitmap, which must be as long as the disk asks for, or longer.
pub(super) fn read_table(
    storage: &dyn Storage,
    header: &Header,
    entry: &BitmapEntry,
) -> Result<Vec<BitmapCluster>> {
    let wrong = |what: String| {
        Error::corrupt(format!("bitmap '{}': {what}", entry.facts.name))
            .with_offset(entry.table_offset)
            .with_field("bitmap table")
    };
    let bytes = entry.bits(header.size).div_ceil(8);
    let expected = bytes.div_ceil(header.cluster_size());
    if u64::from(entry.table_size) < expected {
        return Err(wrong(format!(
            "a table of {} entries, but the disk needs {expected}",
            entry.table_size
        )));
    }
    read_entries(storage, entry.table_offset, entry.table_size)?
        .into_iter()
        .map(|value| {
            BitmapCluster::parse(value, header.cluster_size())
                .ok_or_else(|| wrong(format!("a wrong entry {value:#x}")))
        })
        .collect()
}

/// Visits the ranges of guest bytes that the bitmap calls dirty, ascending and apart, until the
/// visitor breaks.
pub(super) fn for_each_dirty(
    storage: &dyn Storage,
    header: &Header,
    entry: &BitmapEntry,
    visit: &mut dyn FnMut(Range<u64>) -> ControlFlow<()>,
) -> Result<()> {
    let granularity = entry.facts.granularity;
    let bits = entry.bits(header.size);
    let per_cluster = header.cluster_size() * 8;
    let mut bytes = vec![0; usize::try_from(header.cluster_size()).unwrap_or(usize::MAX)];
    // A run of bits that may go on.
    let mut run = 0..0;
    let mut emit = |run: &Range<u64>| {
        let end = run.end.saturating_mul(granularity).min(header.size);
        match run.is_empty() {
            true => ControlFlow::Continue(()),
            false => visit(run.start * granularity..end),
        }
    };
    for (index, cluster) in (0..).zip(read_table(storage, header, entry)?) {
        let first: u64 = index * per_cluster;
        let last = bits.min(first + per_cluster);
        match cluster {
            BitmapCluster::Zeroes => continue,
            BitmapCluster::Ones => bytes.fill(0xff),
            BitmapCluster::At(offset) => storage.read_padded_at(&mut bytes, offset)?,
        }
        let mut at = first;
        while at < last {
            let (set, length) = bit_run(&bytes, at - first, last - first);
            if set && run.end != at {
                if emit(&run).is_break() {
                    return Ok(());
                }
                run = at..at;
            }
            if set {
                run.end += length;
            }
            at += length;
        }
    }
    let _ = emit(&run);
    Ok(())
}

/// Whether the bit at `at` is set, and how many bits up to `end` are like it.
fn bit_run(bytes: &[u8], at: u64, end: u64) -> (bool, u64) {
    let byte = |at: u64| bytes[usize::try_from(at / 8).unwrap_or(usize::MAX)];
    let set = byte(at) >> (at % 8) & 1 != 0;
    let whole = if set { 0xff } else { 0 };
    let mut next = at;
    while next < end {
        if next.is_multiple_of(8) && byte(next) == whole {
            next += 8;
        } else if (byte(next) >> (next % 8) & 1 != 0) == set {
            next += 1;
        } else {
            break;
        }
    }
    (set, next.min(end) - at)
}

/// The directory of `entries` as it is on disk. None of them has extra data.
pub(super) fn encode(entries: &[BitmapEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let Bitmap {
            name,
            granularity,
            in_use,
            auto,
        } = &entry.facts;
        let in_use = if *in_use { FLAG_IN_USE } else { 0 };
        let auto = if *auto { FLAG_AUTO } else { 0 };
        // A power of two between 2^9 and 2^31.
        let granularity_bits = u8::try_from(granularity.trailing_zeros()).unwrap_or(u8::MAX);
        let name_length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&entry.table_offset.to_be_bytes());
        bytes.extend_from_slice(&entry.table_size.to_be_bytes());
        bytes.extend_from_slice(&(in_use | auto).to_be_bytes());
        bytes.extend_from_slice(&[TYPE_DIRTY_TRACKING, granularity_bits]);
        bytes.extend_from_slice(&name_length.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// The extension that leads to a directory.
pub(super) fn encode_extension(directory: &Directory) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&directory.count.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&directory.size.to_be_bytes());
    bytes.extend_from_slice(&directory.offset.to_be_bytes());
    bytes
}

/// Reads the directory.
pub(super) fn read(storage: &dyn Storage, header: &Header) -> Result<Vec<BitmapEntry>> {
    let Some(directory) = Directory::find(header)? else {
        return Ok(Vec::new());
    };
    let mut stream = Stream::new(storage, directory.offset, directory.size)?;
    let mut entries = Vec::new();
    for _ in 0..directory.count {
        entries.push(read_entry(&mut stream, header.cluster_size())?);
    }
    if stream.offset() != directory.offset.saturating_add(directory.size) {
        return Err(
            Error::corrupt("bitmap directory is longer than its entries")
                .with_offset(stream.offset()),
        );
    }
    Ok(entries)
}

fn read_entry(stream: &mut Stream<'_>, cluster_size: u64) -> Result<BitmapEntry> {
    let start = stream.offset();
    let wrong = |message: String| Error::corrupt(message).with_offset(start);
    let head = Fields::new(stream.take(ENTRY_HEADER)?, start);
    let table_offset = head.be64(0)?;
    let table_size = head.be32(8)?;
    let flags = head.be32(12)?;
    let kind = head.u8(16)?;
    let granularity_bits = head.u8(17)?;
    let name_length = head.be16(18)?;
    let extra_length = head.be32(20)?;

    if kind != TYPE_DIRTY_TRACKING {
        return Err(wrong(format!("bitmap of unknown type {kind}")));
    }
    if flags & !(FLAG_IN_USE | FLAG_AUTO | FLAG_EXTRA_DATA_COMPATIBLE) != 0 {
        return Err(wrong(format!("bitmap with unknown flags {flags:#x}")));
    }
    if !(9..=31).contains(&granularity_bits) {
        return Err(wrong(format!(
            "bitmap granularity 2^{granularity_bits} is not 2^9 to 2^31"
        )));
    }
    if table_size > MAX_TABLE_ENTRIES {
        return Err(wrong(format!("bitmap table of {table_size} entries")));
    }
    if table_offset == 0 || !table_offset.is_multiple_of(cluster_size) || table_size == 0 {
        return Err(wrong(format!(
            "bitmap table offset {table_offset:#x} invalid"
        )));
    }
    if name_length == 0 || name_length > MAX_NAME {
        return Err(wrong(format!("bitmap name of {name_length} bytes")));
    }
    stream.skip(u64::from(extra_length));
    let name = text(stream.take(usize::from(name_length))?);
    let length = stream.offset() - start;
    stream.skip(length.next_multiple_of(8) - length);
    Ok(BitmapEntry {
        facts: Bitmap {
            name,
            granularity: 1 << granularity_bits,
            in_use: flags & FLAG_IN_USE != 0,
            auto: flags & FLAG_AUTO != 0,
        },
        table_offset,
        table_size,
        has_extra_data: extra_length > 0,
        flags_offset: start + 12,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bits_are_found() {
        let bytes = [0b1110_0001, 0xff, 0x0f, 0];
        let mut at = 0;
        let mut runs = Vec::new();
        while at < 30 {
            let (set, length) = bit_run(&bytes, at, 30);
            runs.push((set, length));
            at += length;
        }
        assert_eq!(runs, [(true, 1), (false, 4), (true, 15), (false, 10)]);
    }

    #[test]
    fn table_entries_are_what_they_were() {
        for cluster in [
            BitmapCluster::Zeroes,
            BitmapCluster::Ones,
            BitmapCluster::At(0x50000),
        ] {
            assert_eq!(BitmapCluster::parse(cluster.encode(), 65536), Some(cluster));
        }
        for wrong in [2, 0x50001, 0x50200, 1 << 63] {
            assert_eq!(BitmapCluster::parse(wrong, 65536), None, "{wrong:#x}");
        }
    }
}
