//! Dirty bitmaps of a disk that gets another size: QEMU reads none whose table is longer or shorter
//! than the disk needs.
//!
//! No single write can change size and tables. So the write that changes the size also says that
//! the bitmaps are not to be believed (the autoclear bit), and the write that leads to the new
//! tables says that they are again. A crash between the two costs the bitmaps, as a crash of QEMU
//! does.

use crate::error::{Error, Result};
use crate::image::qcow2::bitmap::{self, BitmapCluster, BitmapEntry, Directory};
use crate::image::qcow2::feature;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::bitmaps::MAX_BITMAP_BYTES;
use crate::image::qcow2::write::structures::Structure;
use crate::storage::Storage;

/// The bitmaps before the size changes.
#[derive(Debug)]
pub(super) struct Bitmaps {
    entries: Vec<(BitmapEntry, Vec<BitmapCluster>)>,
    directory: Directory,
}

impl State {
    /// Reads the tables of the bitmaps, which must be usable for a disk of `size` bytes. `None`
    /// when there are none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for damaged ones; [`crate::ErrorKind::Unsupported`] when one
    /// would get too large.
    pub(super) fn bitmaps_to_resize(&self, size: u64) -> Result<Option<Bitmaps>> {
        let Some(directory) = Directory::find(&self.header.fields)? else {
            return Ok(None);
        };
        let storage = self.storage.as_ref() as &dyn Storage;
        let mut entries = Vec::new();
        for entry in self.bitmap_entries()? {
            let bytes = entry.bits(size).div_ceil(8);
            if bytes > MAX_BITMAP_BYTES {
                return Err(Error::unsupported(format!(
                    "the dirty bitmap '{}' would take {bytes} bytes, at most {MAX_BITMAP_BYTES} \
                     are allowed",
                    entry.facts.name
                )));
            }
            let table = bitmap::read_table(storage, &self.header.fields, &entry)?;
            entries.push((entry, table));
        }
        Ok(Some(Bitmaps { entries, directory }))
    }

    /// From the next write of the header on, the bitmaps are not to be believed.
    pub(super) fn suspend_bitmaps(&mut self) {
        self.header.fields.autoclear_features &= !feature::BITMAPS;
    }

    /// Gives the bitmaps tables for the size that the disk has now, what is new being clean;
    /// durable on return.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn resume_bitmaps(&mut self, bitmaps: Bitmaps) -> Result<()> {
        let cluster_size = self.cluster_size();
        let size = self.header.fields.size;
        let directory = bitmaps.directory;
        let mut old = vec![(directory.offset, directory.size.div_ceil(cluster_size))];
        let mut entries = Vec::new();
        for (mut entry, mut table) in bitmaps.entries {
            let table_clusters = (table.len() as u64 * 8).div_ceil(cluster_size).max(1);
            old.push((entry.table_offset, table_clusters));
            let bits = entry.bits(size);
            let needed = bits.div_ceil(8).div_ceil(cluster_size);
            let needed = usize::try_from(needed).unwrap_or(usize::MAX);
            let cut = table.split_off(needed.min(table.len()));
            old.extend(cut.iter().filter_map(|cluster| match cluster {
                BitmapCluster::At(host) => Some((*host, 1)),
                _ => None,
            }));
            if let Some(BitmapCluster::At(host)) = table.last().copied()
                && table.len() == needed
            {
                let first = (needed as u64 - 1) * cluster_size * 8;
                let last = self.cut_bits(host, bits - first)?;
                if last != host {
                    old.push((host, 1));
                }
                table.truncate(needed - 1);
                table.push(BitmapCluster::At(last));
            }
            table.resize(needed, BitmapCluster::Zeroes);
            entry.table_offset = self.write_bitmap_table(&table)?;
            // Bounded by the bytes of a bitmap.
            entry.table_size = u32::try_from(needed).unwrap_or(u32::MAX);
            entries.push(entry);
        }
        self.store_bitmaps(&entries, old)
    }

    /// A cluster of a bitmap in which only the first `bits` may be set: the one at `host`, or a
    /// copy of it.
    fn cut_bits(&mut self, host: u64, bits: u64) -> Result<u64> {
        let size = usize::try_from(self.cluster_size()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size];
        let storage = self.storage.as_ref() as &dyn Storage;
        storage.read_padded_at(&mut bytes, host)?;
        let whole = usize::try_from(bits / 8).unwrap_or(usize::MAX).min(size);
        let mut is_cut = false;
        for (byte, index) in bytes[whole..].iter_mut().zip(0_usize..) {
            let kept = if index == 0 {
                // Less than 8 of them.
                (1_u8 << (bits % 8)) - 1
            } else {
                0
            };
            is_cut |= *byte & !kept != 0;
            *byte &= kept;
        }
        if !is_cut {
            return Ok(host);
        }
        let copy = self.allocate_for(1, Structure::Bitmap)?;
        self.storage.write_at(&bytes, copy)?;
        Ok(copy)
    }
}
