//! How big a new image would be: `qemu-img measure`.
//!
//! The figures are QEMU's, so that a volume made of that size fits what QEMU writes: metadata as
//! `preallocation=metadata` lays it out, data a cluster at a time.

use std::ops::ControlFlow;

use crate::chain::{Chain, MapDetail, MapEntry};
use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Bitmap, FormatDetails, ImageInfo};

/// Largest L1 table that QEMU accepts, in bytes.
const MAX_L1_BYTES: u64 = 32 << 20;

const SECTOR: u64 = 512;

/// The image that would be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MeasureTarget {
    /// The guest disk byte for byte.
    Raw,
    /// QCOW2 with this layout.
    Qcow2(Qcow2Layout),
}

/// What decides the size of a QCOW2 image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Qcow2Layout {
    /// Bytes of a cluster: a power of two from 512 to 2 MiB.
    pub cluster_size: u64,
    /// Bits of a refcount: a power of two from 1 to 64.
    pub refcount_bits: u32,
    /// L2 entries with subclusters are twice as long.
    pub extended_l2: bool,
    /// Version 3 can hold bitmaps.
    pub version: u32,
    /// Space for all data is set aside (`preallocation=falloc` or `full`).
    pub preallocate_data: bool,
    /// It gets a backing file, of which nobody knows what it saves.
    pub has_backing: bool,
}

impl Default for Qcow2Layout {
    fn default() -> Self {
        Self {
            cluster_size: 64 << 10,
            refcount_bits: 16,
            extended_l2: false,
            version: 3,
            preallocate_data: false,
            has_backing: false,
        }
    }
}

/// What was measured, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Measurement {
    /// The file with the data that there is now.
    pub required: u64,
    /// The file when the guest has written everything.
    pub fully_allocated: u64,
    /// What copying the source's bitmaps adds; `None` where source or target has none.
    pub bitmaps: Option<u64>,
}

/// Measures an empty guest disk of `size` bytes.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when the target cannot hold such a disk.
pub fn measure_size(size: u64, target: &MeasureTarget) -> Result<Measurement> {
    match target {
        MeasureTarget::Raw => raw(size),
        MeasureTarget::Qcow2(layout) => layout.measure(size, 0),
    }
}

/// Measures a copy of the guest disk of `chain` without its backing files: one pass over its map.
///
/// # Errors
/// As [`measure_size`] and [`Chain::for_each_map_entry`], or on cancel.
pub fn measure_chain(
    chain: &Chain,
    target: &MeasureTarget,
    control: &Control,
) -> Result<Measurement, Stop> {
    let source = chain
        .active()
        .info()
        .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the image is not open"))?;
    let size = source.virtual_size;
    let layout = match target {
        MeasureTarget::Raw => return Ok(raw(size)?),
        MeasureTarget::Qcow2(layout) => layout,
    };
    // Without a look at the data: the answer may be that it does not fit at all.
    layout.measure(size, 0)?;
    let data = if layout.has_backing {
        round_up(size, layout.cluster_size)?
    } else {
        data_bytes(chain, layout.cluster_size, control)?
    };
    let mut measured = layout.measure(size, data)?;
    measured.bitmaps = bitmaps_size(source, layout)?;
    Ok(measured)
}

impl Qcow2Layout {
    /// The file for a guest disk of `size` bytes with `data` bytes in touched clusters.
    fn measure(&self, size: u64, data: u64) -> Result<Measurement> {
        let virtual_size = round_up(size, self.cluster_size)?;
        let l2_tables =
            (virtual_size / self.cluster_size).div_ceil(self.cluster_size / self.l2_entry_size());
        if l2_tables > MAX_L1_BYTES / 8 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "The image size is too large (try using a larger cluster size)",
            ));
        }
        let metadata = self.metadata_size(virtual_size)?;
        let fully_allocated = metadata.checked_add(virtual_size).ok_or_else(too_large)?;
        let required = if self.preallocate_data {
            fully_allocated
        } else {
            metadata.checked_add(data).ok_or_else(too_large)?
        };
        Ok(Measurement {
            required,
            fully_allocated,
            bitmaps: None,
        })
    }

    fn l2_entry_size(&self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// Header, L1 and L2 tables for the whole disk, and the refcounts of all that and of the data.
    fn metadata_size(&self, virtual_size: u64) -> Result<u64> {
        let cluster = self.cluster_size;
        let l2_bytes = round_up(virtual_size / cluster * self.l2_entry_size(), cluster)?;
        let l1_bytes = round_up(l2_bytes / cluster * 8, cluster)?;
        let tables = cluster + l2_bytes + l1_bytes;
        let used = tables.checked_add(virtual_size).ok_or_else(too_large)?;
        Ok(tables + self.refcounts_size(used / cluster))
    }

    /// The refcount structures for `clusters` others and for themselves.
    fn refcounts_size(&self, clusters: u64) -> u64 {
        let counts_in_block = self.cluster_size * 8 / u64::from(self.refcount_bits);
        let blocks_in_table_cluster = self.cluster_size / 8;
        let mut own = 0;
        loop {
            let blocks = (clusters + own).div_ceil(counts_in_block);
            let table = blocks.div_ceil(blocks_in_table_cluster);
            if blocks + table == own {
                return own * self.cluster_size;
            }
            own = blocks + table;
        }
    }
}

fn raw(size: u64) -> Result<Measurement> {
    let size = round_up(size, SECTOR)?;
    Ok(Measurement {
        required: size,
        fully_allocated: size,
        bitmaps: None,
    })
}

/// Bytes of the clusters in which the guest disk has data.
fn data_bytes(chain: &Chain, cluster_size: u64, control: &Control) -> Result<u64, Stop> {
    let mut counter = ClusterCounter::new(cluster_size);
    let mut cancelled = Ok(());
    chain.for_each_map_entry(0..u64::MAX, MapDetail::HostHoles, &mut |entry| {
        counter.add(&entry);
        cancelled = control.checkpoint();
        if cancelled.is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    cancelled?;
    Ok(counter.clusters.saturating_mul(cluster_size))
}

/// Counts the target clusters that data entries touch, each once.
struct ClusterCounter {
    shift: u32,
    clusters: u64,
    /// Clusters before this one are counted or passed.
    next: u64,
}

impl ClusterCounter {
    fn new(cluster_size: u64) -> Self {
        Self {
            shift: cluster_size.trailing_zeros(),
            clusters: 0,
            next: 0,
        }
    }

    fn add(&mut self, entry: &MapEntry) {
        if entry.zero || !entry.data || !entry.present || entry.guest.is_empty() {
            return;
        }
        let first = (entry.guest.start >> self.shift).max(self.next);
        let end = ((entry.guest.end - 1) >> self.shift) + 1;
        self.clusters += end.saturating_sub(first);
        self.next = self.next.max(end);
    }
}

/// What the persistent bitmaps of the source would take in the target.
fn bitmaps_size(source: &ImageInfo, layout: &Qcow2Layout) -> Result<Option<u64>> {
    let FormatDetails::Qcow2(details) = &source.details else {
        return Ok(None);
    };
    if layout.version < 3 || details.version < 3 {
        return Ok(None);
    }
    let cluster = layout.cluster_size;
    let mut content = 0_u64;
    let mut directory = 0_u64;
    for bitmap in details.bitmaps.iter().filter(|bitmap| !bitmap.in_use) {
        content = content
            .checked_add(bitmap_size(bitmap, source.virtual_size, cluster)?)
            .ok_or_else(too_large)?;
        // A fixed head of 24 bytes, then the name, padded to 8 bytes.
        directory += round_up(24 + bitmap.name.len() as u64, 8)?;
    }
    let total = content.checked_add(round_up(directory, cluster)?);
    total.map(Some).ok_or_else(too_large)
}

/// The clusters of a bitmap's bits and of the table of these clusters.
fn bitmap_size(bitmap: &Bitmap, virtual_size: u64, cluster: u64) -> Result<u64> {
    let bits = virtual_size.div_ceil(bitmap.granularity.max(1));
    let clusters = bits.div_ceil(8).div_ceil(cluster);
    let table = round_up(clusters.saturating_mul(8), cluster)?;
    clusters
        .checked_mul(cluster)
        .and_then(|content| content.checked_add(table))
        .ok_or_else(too_large)
}

fn round_up(value: u64, unit: u64) -> Result<u64> {
    value.checked_next_multiple_of(unit).ok_or_else(too_large)
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidInput, "the image size is too large")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{GIB, MIB, TIB};

    #[test]
    fn empty_images_have_the_sizes_of_qemu() {
        let layout = Qcow2Layout::default();
        for (size, layout, required, full) in [
            (GIB, layout, 393_216, 1_074_135_040),
            (0, layout, 196_608, 196_608),
            (513, layout, 327_680, 393_216),
            (
                GIB,
                Qcow2Layout {
                    cluster_size: 4096,
                    ..layout
                },
                2_637_824,
                1_076_379_648,
            ),
            (
                TIB,
                Qcow2Layout {
                    refcount_bits: 1,
                    ..layout
                },
                136_577_024,
                1_099_648_204_800,
            ),
            (
                TIB,
                Qcow2Layout {
                    extended_l2: true,
                    ..layout
                },
                302_252_032,
                1_099_813_879_808,
            ),
            (
                GIB,
                Qcow2Layout {
                    preallocate_data: true,
                    ..layout
                },
                1_074_135_040,
                1_074_135_040,
            ),
        ] {
            let measured = measure_size(size, &MeasureTarget::Qcow2(layout)).unwrap();
            assert_eq!(measured.required, required, "{size} {layout:?}");
            assert_eq!(measured.fully_allocated, full, "{size} {layout:?}");
        }
        assert_eq!(
            measure_size(513, &MeasureTarget::Raw).unwrap().required,
            1024
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let small = Qcow2Layout {
            cluster_size: 512,
            ..Qcow2Layout::default()
        };
        assert!(measure_size(TIB, &MeasureTarget::Qcow2(small)).is_err());
        let large = MeasureTarget::Qcow2(Qcow2Layout::default());
        assert!(measure_size(1 << 60, &large).is_err());
        assert!(measure_size(u64::MAX, &large).is_err());
        assert!(measure_size(u64::MAX, &MeasureTarget::Raw).is_err());
    }

    #[test]
    fn a_touched_cluster_counts_once() {
        let entry = |start: u64, end: u64, zero: bool| MapEntry {
            guest: start..end,
            depth: 0,
            present: true,
            zero,
            data: true,
            compressed: false,
            host: None,
        };
        let mut counter = ClusterCounter::new(MIB);
        counter.add(&entry(0, 4096, false));
        counter.add(&entry(4096, 8192, true));
        counter.add(&entry(8192, MIB + 1, false));
        counter.add(&entry(5 * MIB - 1, 6 * MIB, false));
        assert_eq!(counter.clusters, 4);
    }

    #[test]
    fn bitmaps_take_bits_table_and_directory() {
        let bitmap = |granularity| Bitmap {
            name: "b0".into(),
            granularity,
            in_use: false,
            auto: true,
        };
        let cluster = 64 << 10;
        assert_eq!(
            bitmap_size(&bitmap(4096), GIB, cluster).unwrap(),
            2 * cluster
        );
        assert_eq!(
            bitmap_size(&bitmap(512), TIB, cluster).unwrap(),
            4097 * cluster
        );
    }
}
