//! Persistent dirty bitmaps, changed: what is new goes to new clusters, one write of the header
//! leads to the new directory, and what is old is freed after that.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::image::info::Bitmap;
use crate::image::qcow2::bitmap::{
    self, BitmapCluster, BitmapEntry, Directory, MAX_BITMAPS, MAX_DIRECTORY_BYTES, MAX_NAME,
};
use crate::image::qcow2::table::read_entries;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::structures::Structure;
use crate::image::qcow2::{extension, feature};
use crate::image::writer::BitmapEdit;
use crate::storage::Storage;

/// Granularities are powers of two in this range.
const GRANULARITIES: Range<u64> = 1 << 9..(1 << 31) + 1;
/// Default granularities: the cluster size within these bounds.
const DEFAULT_GRANULARITIES: (u64, u64) = (4096, 65_536);
/// Most bytes that the bits of one bitmap take.
pub(super) const MAX_BITMAP_BYTES: u64 = 0x2000_0000;
/// Bits of a table entry that are an offset.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

/// Clusters in a row: host offset and number.
pub(super) type Run = (u64, u64);

impl State {
    /// Makes one change of the bitmap `name`, durable on return.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::InvalidInput`] for a name that is taken or a bad
    /// granularity; [`ErrorKind::Unsupported`] for what cannot be stored and for a bitmap that was
    /// not saved properly.
    pub(super) fn edit_bitmap(&mut self, name: &str, edit: &BitmapEdit) -> Result<()> {
        self.checkpoint()?;
        self.store_recorded()?;
        let mut entries = self.bitmap_entries()?;
        let place = entries.iter().position(|entry| entry.facts.name == name);
        let mut old = Vec::new();
        match (edit, place) {
            (BitmapEdit::Add { .. }, Some(_)) => {
                let message = format!("Bitmap already exists: {name}");
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
            (BitmapEdit::Add { granularity }, None) => {
                entries.push(self.new_bitmap(name, *granularity, &entries)?);
            }
            (_, None) => return Err(bitmap::not_found(name)),
            (BitmapEdit::Remove, Some(place)) => {
                old = self.clusters_of(&entries.remove(place))?;
            }
            (BitmapEdit::Clear, Some(place)) => {
                entries[place].check_usable()?;
                old = self.clusters_of(&entries[place])?;
                let clusters = vec![BitmapCluster::Zeroes; entries[place].table_size as usize];
                entries[place].table_offset = self.write_bitmap_table(&clusters)?;
            }
            (BitmapEdit::Enable | BitmapEdit::Disable, Some(place)) => {
                entries[place].check_usable()?;
                entries[place].facts.auto = *edit == BitmapEdit::Enable;
            }
        }
        self.store_bitmaps(&entries, old)
    }

    /// Sets the bits of `dirty`, ascending ranges of guest bytes, in the bitmap `name`; durable on
    /// return.
    ///
    /// # Errors
    /// As [`Self::edit_bitmap`].
    pub(super) fn merge_into_bitmap(&mut self, name: &str, dirty: &[Range<u64>]) -> Result<()> {
        self.checkpoint()?;
        self.store_recorded()?;
        let mut entries = self.bitmap_entries()?;
        let Some(entry) = entries.iter_mut().find(|entry| entry.facts.name == name) else {
            return Err(bitmap::not_found(name));
        };
        entry.check_usable()?;
        let old = self.set_bits(entry, dirty)?;
        self.store_bitmaps(&entries, old)
    }

    /// Removes all bitmaps, also those that nobody could use.
    pub(super) fn drop_bitmaps(&mut self) -> Result<()> {
        let entries = self.bitmap_entries()?;
        let mut old = Vec::new();
        for entry in &entries {
            old.extend(self.clusters_of(entry)?);
        }
        if entries.is_empty() {
            return Ok(());
        }
        self.store_bitmaps(&[], old)
    }

    pub(super) fn bitmap_entries(&self) -> Result<Vec<BitmapEntry>> {
        let storage = self.storage.as_ref() as &dyn Storage;
        let entries = bitmap::read(storage, &self.header.fields)?;
        if entries.iter().any(|entry| entry.has_extra_data) {
            return Err(Error::unsupported("Bitmap extra data is not supported"));
        }
        Ok(entries)
    }

    /// An enabled bitmap without a bit set; its table is written.
    fn new_bitmap(
        &mut self,
        name: &str,
        granularity: Option<u32>,
        others: &[BitmapEntry],
    ) -> Result<BitmapEntry> {
        let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidInput, message));
        let (least, most) = DEFAULT_GRANULARITIES;
        let default = self.cluster_size().clamp(least, most);
        let granularity = granularity.map_or(default, u64::from);
        if !GRANULARITIES.contains(&granularity) || !granularity.is_power_of_two() {
            return invalid("Granularity must be power of 2 and at least 512");
        }
        if name.is_empty() {
            return invalid("Bitmap name cannot be empty");
        }
        if self.header.fields.version < 3 {
            return Err(Error::unsupported(
                "Cannot store dirty bitmaps in qcow2 v2 files",
            ));
        }
        if name.len() > usize::from(MAX_NAME) {
            let message = format!("Name length exceeds maximum ({MAX_NAME} characters)");
            return Err(Error::unsupported(message));
        }
        if others.len() >= MAX_BITMAPS as usize {
            return Err(Error::unsupported(
                "Maximum number of persistent bitmaps is already reached",
            ));
        }
        let bits = self.header.fields.size.div_ceil(granularity);
        if bits.div_ceil(8) > MAX_BITMAP_BYTES {
            return Err(Error::unsupported(
                "Too much space will be occupied by the bitmap. Use larger granularity",
            ));
        }
        // At most 2^29 bytes in clusters of 512 at least.
        let entries = bits.div_ceil(8).div_ceil(self.cluster_size());
        let table_size = u32::try_from(entries).unwrap_or(u32::MAX);
        let clusters = vec![BitmapCluster::Zeroes; table_size as usize];
        Ok(BitmapEntry {
            facts: Bitmap {
                name: name.to_owned(),
                granularity,
                in_use: false,
                auto: true,
            },
            table_offset: self.write_bitmap_table(&clusters)?,
            table_size,
            has_extra_data: false,
            flags_offset: 0,
        })
    }

    /// Writes a table to new clusters: host offset. A table of no entries (of an empty disk) takes
    /// a cluster too.
    pub(super) fn write_bitmap_table(&mut self, clusters: &[BitmapCluster]) -> Result<u64> {
        let bytes: Vec<u8> = clusters
            .iter()
            .flat_map(|cluster| cluster.encode().to_be_bytes())
            .collect();
        self.write_bitmap_structure(bytes)
    }

    fn write_bitmap_structure(&mut self, mut bytes: Vec<u8>) -> Result<u64> {
        let clusters = (bytes.len() as u64).div_ceil(self.cluster_size()).max(1);
        let length = clusters << self.cluster_bits();
        bytes.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        let host = self.allocate_for(clusters, Structure::Bitmap)?;
        self.storage.write_at(&bytes, host)?;
        Ok(host)
    }

    /// The clusters of a bitmap, to be freed. Of a damaged table only what is sure.
    fn clusters_of(&mut self, entry: &BitmapEntry) -> Result<Vec<Run>> {
        let size = self.cluster_size();
        let storage = self.storage.as_ref() as &dyn Storage;
        let table_clusters = (u64::from(entry.table_size) * 8).div_ceil(size).max(1);
        let mut runs = vec![(entry.table_offset, table_clusters)];
        for value in read_entries(storage, entry.table_offset, entry.table_size)? {
            let offset = value & OFFSET_MASK;
            if offset != 0 && offset.is_multiple_of(size) {
                runs.push((offset, 1));
            }
        }
        Ok(runs)
    }

    /// Writes a new directory, leads the header to it, and frees the old one and what `old` names.
    pub(super) fn store_bitmaps(
        &mut self,
        entries: &[BitmapEntry],
        mut old: Vec<Run>,
    ) -> Result<()> {
        let size = self.cluster_size();
        if let Some(directory) = Directory::find(&self.header.fields)? {
            old.push((directory.offset, directory.size.div_ceil(size)));
        }
        let new = if entries.is_empty() {
            None
        } else {
            Some(self.write_directory(entries)?)
        };
        // What the header will lead to is durable and counted before it does.
        self.checkpoint()?;
        self.change_header(|state| {
            let bit = feature::BITMAPS;
            let features = &mut state.header.fields.autoclear_features;
            *features = if new.is_some() {
                *features | bit
            } else {
                *features & !bit
            };
            let data = new.as_ref().map(bitmap::encode_extension);
            state.set_extension(extension::BITMAPS, data);
        })?;
        for (host, count) in old {
            self.free_bitmap_clusters(host, count)?;
        }
        self.has_enabled_bitmaps = entries.iter().any(|entry| entry.facts.auto);
        self.checkpoint()
    }

    fn write_directory(&mut self, entries: &[BitmapEntry]) -> Result<Directory> {
        let bytes = bitmap::encode(entries);
        let size = bytes.len() as u64;
        if size > MAX_DIRECTORY_BYTES {
            return Err(Error::unsupported(
                "Not enough space in the bitmap directory",
            ));
        }
        Ok(Directory {
            count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            size,
            offset: self.write_bitmap_structure(bytes)?,
        })
    }

    /// Frees clusters that a bitmap says are its own, unless something else is there.
    fn free_bitmap_clusters(&mut self, host: u64, count: u64) -> Result<()> {
        let first = host >> self.cluster_bits();
        for cluster in first..first.saturating_add(count) {
            let structure = self.structures.get(cluster);
            let is_other = structure.is_some_and(|structure| structure != Structure::Bitmap);
            if !is_other && self.refcounts.get(cluster)? > 0 {
                self.structures.forget(cluster, 1);
                self.free(cluster << self.cluster_bits(), 1);
            }
        }
        Ok(())
    }

    /// Sets bits of `entry` in copies of its clusters and gives it a new table; what it does not
    /// need any more.
    pub(super) fn set_bits(
        &mut self,
        entry: &mut BitmapEntry,
        dirty: &[Range<u64>],
    ) -> Result<Vec<Run>> {
        let (size, cluster_size) = (self.header.fields.size, self.cluster_size());
        let storage = self.storage.as_ref() as &dyn Storage;
        let mut clusters = bitmap::read_table(storage, &self.header.fields, entry)?;
        let table_clusters = (clusters.len() as u64 * 8).div_ceil(cluster_size).max(1);
        let mut old = vec![(entry.table_offset, table_clusters)];
        let per_cluster = cluster_size * 8;
        let bits = entry.bits(size);
        let mut chunk = Chunk::default();
        for range in dirty {
            let end = range.end.min(size).div_ceil(entry.facts.granularity);
            let mut at = range.start / entry.facts.granularity;
            while at < end {
                let index = usize::try_from(at / per_cluster).unwrap_or(usize::MAX);
                let first = at - at % per_cluster;
                let last = bits.min(first + per_cluster);
                if chunk.index != Some(index) {
                    self.store_chunk(&mut chunk, &mut clusters, &mut old)?;
                    let storage = self.storage.as_ref() as &dyn Storage;
                    chunk.load(storage, index, clusters[index], last - first, cluster_size)?;
                }
                let stop = end.min(last);
                chunk.set(at - first..stop - first);
                at = stop;
            }
        }
        self.store_chunk(&mut chunk, &mut clusters, &mut old)?;
        entry.table_offset = self.write_bitmap_table(&clusters)?;
        Ok(old)
    }

    /// Writes the bits of `chunk` to a new cluster, if they need one.
    fn store_chunk(
        &mut self,
        chunk: &mut Chunk,
        clusters: &mut [BitmapCluster],
        old: &mut Vec<Run>,
    ) -> Result<()> {
        let Some(index) = chunk.index.take() else {
            return Ok(());
        };
        if let BitmapCluster::At(host) = clusters[index] {
            old.push((host, 1));
        }
        clusters[index] = if chunk.is_full() {
            BitmapCluster::Ones
        } else {
            let host = self.allocate_for(1, Structure::Bitmap)?;
            self.storage.write_at(&chunk.bytes, host)?;
            BitmapCluster::At(host)
        };
        Ok(())
    }
}

/// The bits of one cluster of a bitmap, while they are changed.
#[derive(Debug, Default)]
struct Chunk {
    index: Option<usize>,
    bytes: Vec<u8>,
    /// How many of the bits stand for bytes of the disk.
    bits: u64,
}

impl Chunk {
    fn load(
        &mut self,
        storage: &dyn Storage,
        index: usize,
        cluster: BitmapCluster,
        bits: u64,
        cluster_size: u64,
    ) -> Result<()> {
        let length = usize::try_from(cluster_size).unwrap_or(usize::MAX);
        self.bytes.clear();
        self.bytes.resize(length, 0);
        self.bits = bits;
        match cluster {
            BitmapCluster::Zeroes => {}
            BitmapCluster::Ones => self.set(0..bits),
            BitmapCluster::At(host) => storage.read_padded_at(&mut self.bytes, host)?,
        }
        self.index = Some(index);
        Ok(())
    }

    fn set(&mut self, bits: Range<u64>) {
        let mut at = bits.start;
        while at < bits.end {
            let byte = usize::try_from(at / 8).unwrap_or(usize::MAX);
            if at.is_multiple_of(8) && bits.end - at >= 8 {
                self.bytes[byte] = 0xff;
                at += 8;
            } else {
                self.bytes[byte] |= 1 << (at % 8);
                at += 1;
            }
        }
    }

    fn is_full(&self) -> bool {
        let whole = usize::try_from(self.bits / 8).unwrap_or(usize::MAX);
        let mask = (1_u8 << (self.bits % 8)) - 1;
        self.bytes[..whole].iter().all(|byte| *byte == 0xff)
            && (mask == 0 || self.bytes[whole] & mask == mask)
    }
}
