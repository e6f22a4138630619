//! Where everything is in a new image, and the writing of all of it but the header.

use std::ops::Range;

use crate::control::{Control, Stop};
use crate::error::Result;
use crate::image::qcow2::create::refcounts::{RefcountLayout, Refcounts};
use crate::image::qcow2::create::{Qcow2Options, Qcow2Tables, clear_old, invalid};
use crate::image::qcow2::entry::COPIED;
use crate::image::writer::{Before, Preallocation};
use crate::storage::WritableStorage;
use crate::units::MIB;

/// End of the host offsets that an L2 entry can hold.
const OFFSET_END: u64 = 1 << 56;
/// Tables are encoded and written in pieces of this many bytes.
const PIECE: u64 = 4 * MIB;

/// The parts of a new image, in bytes of the file, in their order behind the header.
pub(super) struct Layout {
    cluster_size: u64,
    entry_size: u64,
    refcounts: RefcountLayout,
    l1_entries: u64,
    l1_offset: u64,
    /// Preallocated L2 tables, whole clusters.
    l2: Range<u64>,
    /// The guest's clusters: in this file, or in the external data file.
    data: Range<u64>,
    size: u64,
    has_data_file: bool,
    preallocation: Preallocation,
}

impl Layout {
    pub(super) fn new(options: &Qcow2Options) -> Result<Self> {
        let cluster = options.cluster_size;
        let preallocation = options.effective_preallocation();
        let l1_entries = options.l1_entries();
        let l1_clusters = (l1_entries * 8).div_ceil(cluster);
        let has_data_file = options.data_file.is_some();
        let (l2_clusters, data_clusters) = match preallocation {
            Preallocation::Off => (0, 0),
            _ => (l1_entries, options.size.div_ceil(cluster)),
        };
        let data_in_file = if has_data_file { 0 } else { data_clusters };
        if data_clusters.saturating_mul(cluster) > OFFSET_END {
            return Err(invalid("the disk is too large to be preallocated"));
        }
        let refcounts = RefcountLayout::new(
            cluster,
            options.refcount_bits,
            1,
            l1_clusters + l2_clusters + data_in_file,
        )?;
        if refcounts.clusters().saturating_mul(cluster) > OFFSET_END {
            return Err(invalid("the disk is too large to be preallocated"));
        }
        let l1_offset = refcounts.end() * cluster;
        let l2_start = l1_offset + l1_clusters * cluster;
        let l2_end = l2_start + l2_clusters * cluster;
        let data_start = if has_data_file { 0 } else { l2_end };
        Ok(Self {
            cluster_size: cluster,
            entry_size: options.l2_entry_size(),
            refcounts,
            l1_entries,
            l1_offset,
            l2: l2_start..l2_end,
            data: data_start..data_start + data_clusters * cluster,
            size: options.size,
            has_data_file,
            preallocation,
        })
    }

    pub(super) fn tables(&self) -> Qcow2Tables {
        Qcow2Tables {
            // QEMU leaves the offset of an empty table at 0.
            l1_table_offset: if self.l1_entries == 0 {
                0
            } else {
                self.l1_offset
            },
            refcount_table_offset: self.refcounts.table_offset(),
            refcount_table_clusters: self.refcounts.table_clusters(),
            ..Qcow2Tables::default()
        }
    }

    /// Writes everything but the header. On return the file is as long as it will be.
    pub(super) fn write(
        &self,
        storage: &dyn WritableStorage,
        data_file: Option<&dyn WritableStorage>,
        before: Before,
        control: &Control,
    ) -> Result<(), Stop> {
        self.prepare(storage, before)?;
        control.enter("writing tables", self.l2.end - self.cluster_size);
        self.refcounts.write(storage, Refcounts::Ones, control)?;
        if self.preallocation != Preallocation::Off {
            self.write_l1(storage)?;
            self.write_l2(storage, control)?;
        }
        match data_file {
            Some(data_file) => {
                data_file.set_len(self.size)?;
                self.prepare_data(data_file, 0..self.size, before, control)
            }
            None => self.prepare_data(storage, self.data.clone(), before, control),
        }
    }

    /// The length first, so that what cannot be so long fails at once; then zeroes where the
    /// metadata goes.
    fn prepare(&self, storage: &dyn WritableStorage, before: Before) -> Result<()> {
        storage.set_len(match self.preallocation {
            // The last table may be cut where its entries end, as QEMU does.
            Preallocation::Off => self.l1_offset + self.l1_entries * 8,
            _ if self.has_data_file => self.l2.end,
            _ => self.data.end,
        })?;
        match before {
            // Header and refcounts get their whole clusters, so that the host has the space; the
            // rest stays a hole until it is written.
            Before::Nothing => storage.write_zeroes(0..self.refcounts.end() * self.cluster_size),
            Before::Old => {
                if self.preallocation == Preallocation::Falloc && !self.has_data_file {
                    // Devices cannot reserve; what they hold is not lost over that.
                    storage.allocate(self.data.clone())?;
                }
                clear_old(storage, self.cluster_size)?;
                storage.write_zeroes(self.cluster_size..self.l2.end)?;
                storage.flush()
            }
        }
    }

    fn write_l1(&self, storage: &dyn WritableStorage) -> Result<()> {
        let table: Vec<u8> = (0..self.l1_entries)
            .map(|index| COPIED | (self.l2.start + index * self.cluster_size))
            .flat_map(u64::to_be_bytes)
            .collect();
        storage.write_at(&table, self.l1_offset)
    }

    /// All L2 tables as one long array of entries: they lie side by side.
    fn write_l2(&self, storage: &dyn WritableStorage, control: &Control) -> Result<(), Stop> {
        let step = as_length(self.entry_size);
        let mut piece = vec![0; as_length(PIECE.min(self.l2.end - self.l2.start))];
        let mut cluster = self.data.start;
        let mut at = self.l2.start;
        while at < self.l2.end {
            control.checkpoint()?;
            let length = piece.len().min(as_length(self.l2.end - at));
            for entry in piece[..length].chunks_exact_mut(step) {
                // With subclusters, the second word stays 0: a place, but nothing in it.
                let word = if cluster < self.data.end {
                    COPIED | cluster
                } else {
                    0
                };
                entry[..8].copy_from_slice(&word.to_be_bytes());
                cluster += self.cluster_size;
            }
            storage.write_at(&piece[..length], at)?;
            // The flush in the end finds little left, of the refcounts before them either.
            storage.start_flush();
            control.advance(length as u64);
            at += length as u64;
        }
        Ok(())
    }

    /// What the guest's clusters hold: nothing yet, so they must read as zeroes.
    fn prepare_data(
        &self,
        storage: &dyn WritableStorage,
        range: Range<u64>,
        before: Before,
        control: &Control,
    ) -> Result<(), Stop> {
        match (self.preallocation, before) {
            (Preallocation::Off, _) | (Preallocation::Metadata, Before::Nothing) => Ok(()),
            (Preallocation::Metadata, Before::Old) => Ok(storage.write_zeroes(range)?),
            (Preallocation::Falloc, _) => Ok(storage.allocate(range)?),
            (Preallocation::Full, _) => write_zeroes(storage, range, control),
        }
    }
}

/// Writes zeroes, and does not merely reserve them.
pub(super) fn write_zeroes(
    storage: &dyn WritableStorage,
    range: Range<u64>,
    control: &Control,
) -> Result<(), Stop> {
    control.enter("writing zeroes", range.end - range.start);
    let zeroes = vec![0; as_length(PIECE)];
    let mut at = range.start;
    while at < range.end {
        control.checkpoint()?;
        let length = zeroes.len().min(as_length(range.end - at));
        storage.write_at(&zeroes[..length], at)?;
        control.advance(length as u64);
        at += length as u64;
    }
    Ok(())
}

fn as_length(bounded: u64) -> usize {
    usize::try_from(bounded).unwrap_or(usize::MAX)
}
