//! A new refcount structure, written where nothing is, and switched to by one write of the header.
//!
//! Blocks and table take the first free clusters, as `qemu-img check -r` places them; in a file
//! that is too long for one pass they stand behind its end.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::PoisonError;

use crate::control::Stop;
use crate::error::{Error, Result};
use crate::image::qcow2::check::Subject;
use crate::image::qcow2::check::counts::{Counts, PAGE};
use crate::image::qcow2::check::refcounts::encode;
use crate::image::qcow2::header::{Header, MAX_REFCOUNT_TABLE_BYTES};
use crate::storage::WritableStorage;

/// Where the fields of the refcount table begin in the header, and where the refcount order ends.
const TABLE_AT: u64 = 48;
const ORDER_AT: usize = 96;
const ORDER_END: usize = 100;
/// Bytes of a refcount table entry.
const ENTRY: u64 = 8;
/// Refcounts that are written at once, in bytes.
const WRITE: u64 = 1 << 20;

/// Where a new refcount table is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::image::qcow2) struct NewTable {
    pub(in crate::image::qcow2) offset: u64,
    pub(in crate::image::qcow2) clusters: u32,
    /// Log2 of the bits of its refcounts.
    pub(in crate::image::qcow2) order: u32,
}

/// What decides where things are.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    cluster_bits: u32,
    order: u32,
    /// Clusters that are counted.
    file_clusters: u64,
    /// Nothing new may be put below this cluster.
    first_free: u64,
    /// How often clusters behind the end of the file are referenced. They may be inside it when
    /// the structure is written.
    cut_off: BTreeMap<u64, u32>,
}

/// Calls its argument with the counts of each window of the file, in order.
pub(super) type ForEachWindow<'a> =
    dyn Fn(&mut dyn FnMut(&Counts) -> Result<(), Stop>) -> Result<(), Stop> + 'a;

impl Geometry {
    pub(super) fn new(subject: &Subject<'_>, order: u32) -> Self {
        Self {
            cluster_bits: subject.cluster_bits,
            order,
            file_clusters: subject.file_clusters(),
            first_free: 0,
            cut_off: std::mem::take(
                &mut subject
                    .cut_off
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
            ),
        }
    }

    /// With `clusters` that may be counted, those behind the end of the file included; all of the
    /// file is taken, whatever its refcounts.
    pub(super) fn behind(subject: &Subject<'_>, clusters: u64, order: u32) -> Self {
        Self {
            first_free: subject.file_clusters(),
            file_clusters: clusters,
            ..Self::new(subject, order)
        }
    }

    /// Clusters that a block counts.
    fn block_clusters(&self) -> u64 {
        1 << (self.cluster_bits + 3 - self.order)
    }

    /// Entries that fill a cluster of the table.
    fn entries_per_cluster(&self) -> u64 {
        (1 << self.cluster_bits) / ENTRY
    }

    fn max_refcount(&self) -> u64 {
        u64::MAX >> (64 - (1 << self.order))
    }
}

/// Writes a structure that says what the counts say, and its own clusters. Nothing refers to it
/// yet, and it is not flushed.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] when the table would be larger than any program takes; I/O
/// errors.
pub(super) fn write(
    geometry: &Geometry,
    storage: &dyn WritableStorage,
    windows: &ForEachWindow<'_>,
) -> Result<NewTable, Stop> {
    let mut used = Vec::new();
    let mut plan = None;
    windows(&mut |counts| {
        note_used_blocks(geometry, counts, &mut used);
        if counts.window() == (0..geometry.file_clusters + 1) {
            let free = |from: u64| counts.first_zero(from.max(geometry.first_free));
            plan = Some(Plan::new(geometry, std::mem::take(&mut used), &free)?);
        }
        Ok(())
    })?;
    let plan = match plan {
        Some(plan) => plan,
        None => Plan::new(geometry, used, &|from| from.max(geometry.file_clusters + 1))?,
    };
    windows(&mut |counts| Ok(plan.write_blocks(storage, counts)?))?;
    plan.write_table(storage)?;
    Ok(plan.new_table())
}

/// Makes the header point to `table`, by one write inside its first sector. What was written before
/// must be durable.
pub(in crate::image::qcow2) fn switch(
    storage: &dyn WritableStorage,
    header: &Header,
    table: NewTable,
) -> Result<()> {
    let mut bytes = [0; ORDER_END];
    storage.read_at(&mut bytes[..72], 0)?;
    let at = 48;
    bytes[at..at + 8].copy_from_slice(&table.offset.to_be_bytes());
    bytes[at + 8..at + 12].copy_from_slice(&table.clusters.to_be_bytes());
    if table.order == header.refcount_order {
        return storage.write_at(&bytes[at..at + 12], TABLE_AT);
    }
    storage.read_at(&mut bytes[72..], 72)?;
    bytes[ORDER_AT..].copy_from_slice(&table.order.to_be_bytes());
    storage.write_at(&bytes[at..], TABLE_AT)
}

/// Notes which blocks have refcounts to hold.
fn note_used_blocks(geometry: &Geometry, counts: &Counts, used: &mut Vec<bool>) {
    let window = counts.window();
    let block = geometry.block_clusters();
    let mut at = window.start;
    while at < window.end {
        let end = (at / block + 1).saturating_mul(block).min(window.end);
        let any = counts.first_nonzero(at..end).is_some();
        let index = usize::try_from(at / block).unwrap_or(usize::MAX);
        if any {
            if used.len() <= index {
                used.resize(index + 1, false);
            }
            used[index] = true;
        }
        at = end;
    }
}

/// Where every block and the table will be.
#[derive(Debug)]
struct Plan<'a> {
    geometry: &'a Geometry,
    /// Which blocks have something to hold.
    used: Vec<bool>,
    /// The cluster of each block; 0 without one.
    blocks: Vec<u64>,
    /// Entries of the table: whole clusters of them.
    entries: u64,
    /// The clusters of the table.
    table: Range<u64>,
    /// All clusters that are taken for the structure.
    taken: BTreeSet<u64>,
}

impl<'a> Plan<'a> {
    /// `free` answers the first cluster from its argument on that was free before.
    fn new(geometry: &'a Geometry, used: Vec<bool>, free: &dyn Fn(u64) -> u64) -> Result<Self> {
        let mut plan = Self {
            geometry,
            used,
            blocks: Vec::new(),
            entries: 0,
            table: 0..0,
            taken: BTreeSet::new(),
        };
        plan.cover(0, geometry.file_clusters + 1, free)?;
        loop {
            let length = plan.entries / geometry.entries_per_cluster();
            let table = plan.take_run(length, free);
            let grown = plan.cover(table.start, table.end, free)?;
            if !grown {
                plan.table = table;
                return Ok(plan);
            }
        }
    }

    /// Gives every used block that counts one of the clusters `first..end` a place; whether the
    /// table grew for that.
    fn cover(&mut self, first: u64, mut end: u64, free: &dyn Fn(u64) -> u64) -> Result<bool> {
        let size = self.geometry.block_clusters();
        let before = self.entries;
        let mut from = 0;
        let mut index = first / size;
        while index * size < end {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            let is_used = self.used.get(at).copied().unwrap_or(false);
            if is_used && self.blocks.get(at).is_none_or(|block| *block == 0) {
                self.make_room(index)?;
                // What a block counts that was placed already must not change any more.
                from = from.max(index * size);
                let cluster = self.first_free(from, free);
                self.take(cluster);
                end = end.max(cluster + 1);
                from = cluster;
                self.blocks[at] = cluster;
            }
            index += 1;
        }
        Ok(self.entries > before)
    }

    fn make_room(&mut self, index: u64) -> Result<()> {
        if index >= self.entries {
            self.entries = (index + 1).next_multiple_of(self.geometry.entries_per_cluster());
        }
        if self.entries * ENTRY > MAX_REFCOUNT_TABLE_BYTES {
            return Err(Error::unsupported(format!(
                "the refcount table would need {} bytes, at most {MAX_REFCOUNT_TABLE_BYTES} are \
                 allowed",
                self.entries * ENTRY
            )));
        }
        let entries = usize::try_from(self.entries).unwrap_or(usize::MAX);
        self.blocks.resize(entries, 0);
        Ok(())
    }

    fn first_free(&self, from: u64, free: &dyn Fn(u64) -> u64) -> u64 {
        let mut cluster = free(from);
        while self.taken.contains(&cluster) || self.geometry.cut_off.contains_key(&cluster) {
            cluster = free(cluster + 1);
        }
        cluster
    }

    /// Takes the first `length` free clusters that follow each other.
    fn take_run(&mut self, length: u64, free: &dyn Fn(u64) -> u64) -> Range<u64> {
        let mut start = self.first_free(0, free);
        let mut end = start + 1;
        while end - start < length {
            let next = self.first_free(end, free);
            if next != end {
                start = next;
            }
            end = next + 1;
        }
        (start..end).for_each(|cluster| self.take(cluster));
        start..end
    }

    fn take(&mut self, cluster: u64) {
        self.taken.insert(cluster);
        let block = usize::try_from(cluster / self.geometry.block_clusters());
        let block = block.unwrap_or(usize::MAX);
        if self.used.len() <= block {
            self.used.resize(block + 1, false);
        }
        self.used[block] = true;
    }

    /// Writes what the blocks say about the window of `counts`; with the last window, about
    /// everything behind it too.
    fn write_blocks(&self, storage: &dyn WritableStorage, counts: &Counts) -> Result<()> {
        let Geometry {
            cluster_bits,
            order,
            file_clusters,
            ..
        } = *self.geometry;
        let size = self.geometry.block_clusters();
        let window = counts.window();
        let is_last = window.end > file_clusters;
        let step = size.min((WRITE * 8) >> order).max(PAGE.min(size));
        let mut bytes = Vec::new();
        for (index, block) in (0..).zip(&self.blocks).filter(|(_, block)| **block != 0) {
            let first: u64 = index * size;
            let end = if is_last { first + size } else { window.end };
            let mut at = first.max(window.start);
            let end = end.min(first + size);
            while at < end {
                let clusters = at..end.min(at + step);
                self.encode(counts, &clusters, &mut bytes);
                let skipped = ((at - first) << order) / 8;
                storage.write_at(&bytes, (block << cluster_bits) + skipped)?;
                at = clusters.end;
            }
        }
        Ok(())
    }

    /// The refcounts of `clusters`.
    fn encode(&self, counts: &Counts, clusters: &Range<u64>, bytes: &mut Vec<u8>) {
        let order = self.geometry.order;
        let max = self.geometry.max_refcount();
        let length = ((clusters.end - clusters.start) << order) / 8;
        bytes.clear();
        bytes.resize(usize::try_from(length).unwrap_or(0), 0);
        counts.for_each_nonzero(clusters.clone(), &mut |cluster, count| {
            let refcount = u64::from(count).min(max);
            encode(bytes, order, cluster - clusters.start, refcount);
        });
        for (cluster, count) in self.geometry.cut_off.range(clusters.clone()) {
            let refcount = u64::from(*count).min(max);
            encode(bytes, order, cluster - clusters.start, refcount);
        }
        for cluster in self.taken.range(clusters.clone()) {
            encode(bytes, order, cluster - clusters.start, 1);
        }
    }

    fn write_table(&self, storage: &dyn WritableStorage) -> Result<()> {
        let bits = self.geometry.cluster_bits;
        let bytes: Vec<u8> = self
            .blocks
            .iter()
            .flat_map(|block| (block << bits).to_be_bytes())
            .collect();
        storage.write_at(&bytes, self.table.start << bits)
    }

    fn new_table(&self) -> NewTable {
        let clusters = self.table.end - self.table.start;
        NewTable {
            offset: self.table.start << self.geometry.cluster_bits,
            clusters: u32::try_from(clusters).unwrap_or(u32::MAX),
            order: self.geometry.order,
        }
    }
}
