//! The directory of persistent dirty bitmaps.

use crate::codec::Fields;
use crate::error::{Error, Result};
use crate::image::info::Bitmap;
use crate::image::qcow2::extension;
use crate::image::qcow2::feature;
use crate::image::qcow2::header::{Header, text};
use crate::image::qcow2::stream::Stream;
use crate::storage::Storage;
use crate::units::{KIB, MIB};

const MAX_BITMAPS: u32 = 65_535;
/// Largest directory, in bytes.
const MAX_DIRECTORY_BYTES: u64 = 64 * MIB - KIB;
/// Most entries of the table of one bitmap.
const MAX_TABLE_ENTRIES: u32 = 0x0800_0000;
const MAX_NAME: u16 = 1023;
const EXTENSION_LENGTH: usize = 24;
const ENTRY_HEADER: usize = 24;

const FLAG_IN_USE: u32 = 1 << 0;
const FLAG_AUTO: u32 = 1 << 1;
const FLAG_EXTRA_DATA_COMPATIBLE: u32 = 1 << 2;
const TYPE_DIRTY_TRACKING: u8 = 1;

/// A bitmap of the directory: what is shown, and where its table is.
#[derive(Clone, Debug)]
pub(super) struct BitmapEntry {
    pub(super) facts: Bitmap,
    #[allow(dead_code, reason = "the check counts the table's clusters")]
    pub(super) table_offset: u64,
    /// In entries of 8 bytes.
    #[allow(dead_code, reason = "as above")]
    pub(super) table_size: u32,
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
    })
}
