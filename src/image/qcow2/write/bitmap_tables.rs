//! Tables of dirty bitmaps that must map a longer disk. What is new in it is clean.

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Error, Result};
use crate::image::qcow2::bitmap::{self, BitmapEntry, Directory};
use crate::image::qcow2::extension;
use crate::image::qcow2::table::{read_entries, read_table};
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::tables::encode;
use crate::storage::Storage;

/// Most bytes of the bits of one bitmap.
const MAX_BITMAP_BYTES: u64 = 512 << 20;

impl State {
    /// Gives bitmaps whose tables are too short for a disk of `size` bytes longer ones; durable on
    /// return. A table may be longer than its disk needs.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for a damaged directory; [`crate::ErrorKind::Unsupported`]
    /// when a bitmap would get too large; I/O errors.
    pub(super) fn lengthen_bitmap_tables(&mut self, size: u64) -> Result<()> {
        let Some(directory) = Directory::find(&self.header.fields)? else {
            return Ok(());
        };
        let storage: &dyn Storage = self.storage.as_ref();
        let entries = bitmap::read(storage, &self.header.fields)?;
        let short = |entry: &BitmapEntry| self.table_entries_for(entry, size);
        let needed: Vec<u64> = entries.iter().map(short).collect::<Result<_>>()?;
        let is_enough =
            |(entry, needed): (&BitmapEntry, &u64)| u64::from(entry.table_size) >= *needed;
        if entries.iter().zip(&needed).all(is_enough) {
            return Ok(());
        }
        // At most 64 MiB.
        let mut bytes = vec![0; usize::try_from(directory.size).unwrap_or(usize::MAX)];
        read_table(storage, &mut bytes, directory.offset, "bitmap directory")?;
        let mut old = Vec::new();
        let mut at = 0;
        for (entry, needed) in entries.iter().zip(needed) {
            if u64::from(entry.table_size) < needed {
                let new = self.lengthen_table(entry, needed)?;
                BigEndian::write_u64(&mut bytes[at..], new);
                // Bounded by the size of a bitmap.
                let needed = u32::try_from(needed).unwrap_or(u32::MAX);
                BigEndian::write_u32(&mut bytes[at + 8..], needed);
                old.push((entry.table_offset, u64::from(entry.table_size) * 8));
            }
            let name = usize::from(BigEndian::read_u16(&bytes[at + 18..]));
            let extra = BigEndian::read_u32(&bytes[at + 20..]) as usize;
            at += (24 + name + extra).next_multiple_of(8);
        }
        let clusters = directory.size.div_ceil(self.cluster_size());
        let place = self.allocate(clusters)?;
        self.storage.write_at(&bytes, place)?;
        self.checkpoint()?;
        old.push((directory.offset, directory.size));
        self.switch_directory(place)?;
        for (offset, bytes) in old {
            self.free(offset, bytes.div_ceil(self.cluster_size()));
        }
        Ok(())
    }

    /// Entries that the table of a bitmap needs.
    fn table_entries_for(&self, entry: &BitmapEntry, size: u64) -> Result<u64> {
        let bits = size.div_ceil(entry.facts.granularity);
        let bytes = bits.div_ceil(8);
        if bytes > MAX_BITMAP_BYTES {
            return Err(Error::unsupported(format!(
                "the dirty bitmap '{}' would take {bytes} bytes, at most {MAX_BITMAP_BYTES} are \
                 allowed",
                entry.facts.name
            )));
        }
        Ok(bytes.div_ceil(self.cluster_size()))
    }

    /// A copy of a bitmap's table with more entries, on its way to the disk: its host offset.
    fn lengthen_table(&mut self, entry: &BitmapEntry, needed: u64) -> Result<u64> {
        let storage: &dyn Storage = self.storage.as_ref();
        let mut table = read_entries(storage, entry.table_offset, entry.table_size)?;
        table.resize(usize::try_from(needed).unwrap_or(usize::MAX), 0);
        let place = self.allocate((needed * 8).div_ceil(self.cluster_size()))?;
        self.storage.write_at(&encode(&table), place)?;
        Ok(place)
    }

    /// Makes the header lead to the directory at `place`; durable on return.
    fn switch_directory(&mut self, place: u64) -> Result<()> {
        let extensions = &mut self.header.fields.extensions;
        let found = extensions
            .iter_mut()
            .find(|(kind, _)| *kind == extension::BITMAPS);
        if let Some((_, data)) = found {
            // Its length was checked when the directory was found.
            BigEndian::write_u64(&mut data[16..], place);
        }
        self.rewrite_header()
    }
}
