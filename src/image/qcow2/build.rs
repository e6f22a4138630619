//! A new image with its content, written front to back: the guest's clusters in the order of the
//! disk, L2 tables between them, each once, then L1 table, refcounts and header.
//!
//! The builder decides about places and writes the metadata; whoever uses it writes the data, when
//! and on as many threads as suits. Nothing is an image before [`Qcow2Builder::finish`]: there is
//! no order of writes to keep, and a file belongs under another name until then. On a device, which
//! has none, the header comes when the rest is durable.

mod packing;
mod recount;
mod tables;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::driver::StoredCluster;
use crate::image::qcow2::create::{
    Qcow2Options, Qcow2Tables, RefcountLayout, Refcounts, clear_old, write_header,
};
use crate::image::qcow2::entry::{COMPRESSED, COPIED, CompressedCluster, SUBCLUSTERS, ZERO};
use crate::image::writer::Before;
use crate::storage::WritableStorage;
use crate::units::HostOffset;

use packing::Packing;
use recount::Recount;
use tables::Tables;

/// End of the host offsets that an L2 entry can hold.
const OFFSET_END: u64 = 1 << 56;

/// What of a placed run of clusters is data. Only images with subclusters tell the difference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Filled<'a> {
    /// Everything.
    All,
    /// Nothing yet: it has a place and reads as the backing file, or as zeroes without one.
    Nothing,
    /// For each cluster, bit `i` says whether subcluster `i` is data.
    Subclusters(&'a [u32]),
}

/// An image on its way. Everything is placed in ascending guest order, each cluster once; what is
/// left out is unallocated.
#[derive(Debug)]
pub struct Qcow2Builder {
    options: Qcow2Options,
    storage: Arc<dyn WritableStorage>,
    before: Before,
    /// The first byte that nothing has, a multiple of the cluster size.
    tail: u64,
    packing: Packing,
    tables: Tables,
}

impl Qcow2Builder {
    /// Begins an image with these options in `storage`, which is empty, or a device: what that
    /// held is no image any more.
    ///
    /// # Errors
    /// As [`Qcow2Options::check`]; I/O errors of a device.
    pub fn new(
        options: Qcow2Options,
        storage: Arc<dyn WritableStorage>,
        before: Before,
    ) -> Result<Self> {
        options.check()?;
        if before == Before::Old {
            clear_old(storage.as_ref(), options.cluster_size)?;
        }
        Ok(Self {
            storage,
            before,
            tail: options.cluster_size,
            packing: Packing::new(options.cluster_size, options.refcount_bits),
            tables: Tables::new(&options),
            options,
        })
    }

    /// The options it was begun with.
    #[must_use]
    pub fn options(&self) -> &Qcow2Options {
        &self.options
    }

    /// Whether [`Self::place_zeroes`] can be used: version 2 has no such clusters.
    #[must_use]
    pub fn has_zero_clusters(&self) -> bool {
        self.options.version >= 3
    }

    /// Places the clusters that `guest` touches, side by side, and answers where: in the external
    /// data file if there is one, else in the image. `guest` begins at a cluster.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the file would be too large; I/O errors of the tables.
    pub fn place_data(&mut self, guest: Range<u64>, filled: Filled<'_>) -> Result<HostOffset> {
        let cluster = self.options.cluster_size;
        let first = guest.start / cluster;
        let count = guest.end.div_ceil(cluster) - first;
        let host = if self.options.data_file.is_some() {
            first * cluster
        } else {
            self.take(count)?
        };
        for index in 0..count {
            let bitmap = match filled {
                Filled::All => u64::from(u32::MAX),
                Filled::Nothing => 0,
                Filled::Subclusters(bitmaps) => {
                    let bitmap = usize::try_from(index).ok().and_then(|at| bitmaps.get(at));
                    u64::from(bitmap.copied().unwrap_or(u32::MAX))
                }
            };
            let word = COPIED | (host + index * cluster);
            self.set(first + index, word, bitmap)?;
        }
        Ok(HostOffset(host))
    }

    /// Marks the clusters that `guest` touches as zeroes, whatever the backing file holds.
    ///
    /// # Errors
    /// As [`Self::place_data`]; [`ErrorKind::Unsupported`] without [`Self::has_zero_clusters`].
    pub fn place_zeroes(&mut self, guest: Range<u64>) -> Result<()> {
        if !self.has_zero_clusters() {
            return Err(Error::unsupported("version 2 has no zero clusters"));
        }
        let cluster = self.options.cluster_size;
        let (word, bitmap) = if self.options.extended_l2 {
            (0, u64::from(u32::MAX) << SUBCLUSTERS)
        } else {
            (ZERO, 0)
        };
        for index in guest.start / cluster..guest.end.div_ceil(cluster) {
            self.set(index, word, bitmap)?;
        }
        Ok(())
    }

    /// Places `length` compressed bytes (less than a cluster) of the cluster at `guest`.
    ///
    /// # Errors
    /// As [`Self::place_data`].
    pub fn place_compressed(&mut self, guest: u64, length: u64) -> Result<HostOffset> {
        let host = self.packing.place(None, length, &mut self.tail);
        self.packing.count(host, length);
        self.set_compressed(guest, host, length)?;
        Ok(HostOffset(host))
    }

    /// Places compressed clusters of another image together, which lie in `source` there, as they
    /// are; answers where the bytes of `source` have to be copied to.
    ///
    /// # Errors
    /// As [`Self::place_data`].
    pub fn place_stored(
        &mut self,
        clusters: &[StoredCluster],
        source: Range<u64>,
    ) -> Result<HostOffset> {
        // The entries count sectors, so the bytes keep their place within one.
        let length = source.end - source.start;
        let start = self
            .packing
            .place(Some(source.start % 512), length, &mut self.tail);
        for cluster in clusters {
            let host = start + (cluster.host.0 - source.start);
            self.packing.count(host, cluster.length);
            self.set_compressed(cluster.guest, host, cluster.length)?;
        }
        Ok(HostOffset(start))
    }

    /// Writes what is left of the metadata, and the header last of all. Nothing is durable before
    /// the storage is flushed.
    ///
    /// # Errors
    /// I/O errors; [`ErrorKind::InvalidInput`] when the file is too large for its refcounts.
    pub fn finish(mut self, control: &Control) -> Result<(), Stop> {
        let cluster = self.options.cluster_size;
        self.tables.finish(&mut self.tail, self.storage.as_ref())?;
        let l1_table_offset = self
            .tables
            .write_l1(&mut self.tail, self.storage.as_ref())?;
        let refcounts =
            RefcountLayout::new(cluster, self.options.refcount_bits, self.tail / cluster, 0)?;
        self.check_end(refcounts.clusters().saturating_mul(cluster))?;
        let mut recount = Recount::new(&self.tables, self.storage.as_ref(), cluster);
        let mut shared = |index| recount.refcount(index);
        let counts = if self.packing.is_empty() {
            Refcounts::Ones
        } else {
            Refcounts::Each(&mut shared)
        };
        refcounts.write(self.storage.as_ref(), counts, control)?;
        self.storage.set_len(refcounts.clusters() * cluster)?;
        let header = self.options.header(&Qcow2Tables {
            l1_table_offset,
            refcount_table_offset: refcounts.table_offset(),
            refcount_table_clusters: refcounts.table_clusters(),
            ..Qcow2Tables::default()
        })?;
        Ok(write_header(self.storage.as_ref(), &header, self.before)?)
    }

    /// Takes clusters from the end of the file.
    fn take(&mut self, clusters: u64) -> Result<u64> {
        let start = self.tail;
        let length = clusters.checked_mul(self.options.cluster_size);
        let end = length.and_then(|length| start.checked_add(length));
        self.tail = end.unwrap_or(u64::MAX);
        self.check_end(self.tail)?;
        Ok(start)
    }

    fn check_end(&self, end: u64) -> Result<()> {
        if end <= OFFSET_END {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "the image file would pass 2^56 bytes",
        ))
    }

    fn set_compressed(&mut self, guest: u64, host: u64, length: u64) -> Result<()> {
        let cluster_bits = self.options.cluster_size.trailing_zeros();
        let entry = CompressedCluster::encode(host, length, cluster_bits).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "the image file is too large for compressed clusters",
            )
        })?;
        self.set(guest / self.options.cluster_size, COMPRESSED | entry, 0)
    }

    fn set(&mut self, cluster: u64, word: u64, bitmap: u64) -> Result<()> {
        self.tables
            .set(cluster, word, bitmap, &mut self.tail, self.storage.as_ref())
    }
}
