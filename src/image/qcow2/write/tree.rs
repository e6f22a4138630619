//! All that an L1 table leads to, at once: L2 tables are read and written in the order of the file
//! and in big pieces, and refcounts summed up before they change.
//!
//! The state must be at rest on the disk ([`State::settle`]): the caches of single tables know
//! nothing of what is written here.

use std::ops::Range;
use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::image::qcow2::entry::{COMPRESSED, COPIED, CompressedCluster, OFFSET_MASK};
use crate::image::qcow2::table::{L2_TABLE_MASK, read_table};
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::deltas::{Deltas, Part};
use crate::storage::{Storage, WritableStorage};

/// L2 tables that lie side by side are read together, up to so many bytes.
const PIECE: usize = 4 << 20;

/// The L2 tables of an L1 table, and what each reference of theirs counts.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// Host offsets in the order of the file. A table that is named twice counts twice.
    tables: Vec<u64>,
    delta: i8,
}

impl Tree {
    /// The tables that `entries` of an L1 table name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when one is not where a cluster begins.
    pub(super) fn new(entries: &[u64], delta: i8, cluster_bits: u32) -> Result<Self> {
        let mut tables: Vec<u64> = entries
            .iter()
            .map(|entry| entry & L2_TABLE_MASK)
            .filter(|offset| *offset != 0)
            .collect();
        tables.sort_unstable();
        let is_aligned = |offset: &&u64| offset.is_multiple_of(1 << cluster_bits);
        if let Some(wrong) = tables.iter().find(|offset| !is_aligned(offset)) {
            return Err(
                Error::corrupt(format!("L2 table offset {wrong:#x} unaligned"))
                    .with_field("L1 entry"),
            );
        }
        Ok(Self { tables, delta })
    }
}

/// How the entries of the tables are laid out.
#[derive(Clone, Copy, Debug)]
struct Layout {
    cluster_bits: u32,
    /// Bytes of an entry.
    entry_size: usize,
    has_data_file: bool,
}

impl State {
    /// Takes all changes to the disk and forgets the tables in memory.
    ///
    /// # Errors
    /// As [`State::checkpoint`].
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.has_changes() {
            self.checkpoint()?;
        }
        self.l2.clear();
        Ok(())
    }

    /// Counts the references of `trees` up: refcounts whose sum over all trees is positive rise.
    /// They are on their way to the disk only. On an error, or when cancelled, nothing is changed.
    ///
    /// # Errors
    /// As [`Deltas::apply`]; [`crate::ErrorKind::Corrupt`] for damaged entries; I/O errors.
    pub(super) fn count_up(&mut self, trees: &[Tree], control: &Control) -> Result<(), Stop> {
        let windows = Deltas::windows(self.file_clusters()?);
        for (index, window) in windows.iter().enumerate() {
            let outcome = self
                .sum_up(trees, window.clone(), control, &|| {
                    control.checkpoint().map_err(Stop::from)
                })
                .and_then(|sums| Ok(sums.apply(&mut self.refcounts, Part::Up, &mut |_| ())?));
            if let Err(stop) = outcome {
                self.uncount(trees, &windows[..index])?;
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Takes [`Self::count_up`] back, when what was to refer to `trees` did not come to be.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn uncount_all(&mut self, trees: &[Tree]) -> Result<()> {
        let windows = Deltas::windows(self.file_clusters()?);
        self.uncount(trees, &windows)
    }

    /// Counts the references of `trees`, whose removal is durable, down: refcounts whose sum over
    /// all trees is negative fall, and what nobody needs any more is given back to the host.
    /// Before that, `marked` is called for each window with marks of the clusters that are
    /// referenced once from now on. Structures of the image that damaged entries led to stay.
    ///
    /// # Errors
    /// As [`Self::count_up`]. Then refcounts may be too high.
    pub(super) fn count_down(
        &mut self,
        trees: &[Tree],
        control: &Control,
        marked: &mut dyn FnMut(&mut Self, &mut Deltas) -> Result<()>,
    ) -> Result<()> {
        let mut freed: Vec<Range<u64>> = Vec::new();
        for window in Deltas::windows(self.file_clusters()?) {
            // Not to be cancelled: half of it would leak.
            let mut sums = self.sum_up(trees, window, control, &|| Ok::<_, Error>(()))?;
            sums.apply(
                &mut self.refcounts,
                Part::Down,
                &mut |run| match freed.last_mut() {
                    Some(last) if last.end == run.start => last.end = run.end,
                    _ => freed.push(run),
                },
            )?;
            marked(self, &mut sums)?;
        }
        freed = self.keep_structures(freed)?;
        // At the end, because the tables themselves may be among them.
        control.enter("giving space back", freed.len() as u64);
        for run in freed {
            self.reclaim(&run);
            control.advance(1);
        }
        Ok(())
    }

    /// Counts the structures among these clusters again, whose refcount is 0 now; the rest.
    fn keep_structures(&mut self, freed: Vec<Range<u64>>) -> Result<Vec<Range<u64>>> {
        let mut rest = Vec::with_capacity(freed.len());
        for run in freed {
            let mut at = run.start;
            for part in self.structures.without(run.clone()) {
                self.refcounts.adjust(at..part.start, 1)?;
                at = part.end;
                rest.push(part);
            }
            self.refcounts.adjust(at..run.end, 1)?;
        }
        Ok(rest)
    }

    /// Clears the copied flags in the L2 tables of `tree`. Written, not flushed.
    ///
    /// # Errors
    /// As [`Self::count_up`].
    pub(super) fn clear_copied(&self, tree: &Tree) -> Result<()> {
        self.change_flags(tree, &|entry| entry & !COPIED)
    }

    /// Sets the copied flags of what the active tables lead to and `sums` has marked. Written or,
    /// in the L1 table, to be written with the next checkpoint.
    ///
    /// # Errors
    /// As [`Self::count_up`].
    pub(super) fn set_copied(&mut self, sums: &mut Deltas) -> Result<()> {
        sums.mark_exclusive(&mut self.refcounts)?;
        let bits = self.cluster_bits();
        let flagged = |entry: u64, mask: u64| {
            let host = entry & mask;
            if host != 0 && sums.is_marked(host >> bits) {
                entry | COPIED
            } else {
                entry
            }
        };
        let entries = self.l1.entries().to_vec();
        for (index, entry) in entries.iter().enumerate() {
            self.l1.set(index, flagged(*entry, L2_TABLE_MASK));
        }
        let tree = Tree::new(&entries, 0, bits)?;
        self.change_flags(&tree, &|entry| flagged(entry, OFFSET_MASK))
    }

    /// The clusters that some entries of the L2 table at `table` refer to, one by one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for damaged entries.
    pub(super) fn references(&self, table: u64, entries: &mut [u8]) -> Result<Vec<Range<u64>>> {
        let mut found = Vec::new();
        for_each_reference(self.layout(), table, entries, &mut |clusters| {
            found.push(clusters);
            Ok(())
        })?;
        Ok(found)
    }

    /// Clusters of the file, begun ones included.
    pub(super) fn file_clusters(&self) -> Result<u64> {
        Ok(self.storage.size()?.div_ceil(self.cluster_size()))
    }

    /// The sums of all references of `trees` to clusters in `window`.
    fn sum_up<E: From<Error>>(
        &self,
        trees: &[Tree],
        window: Range<u64>,
        control: &Control,
        checkpoint: &dyn Fn() -> Result<(), E>,
    ) -> Result<Deltas, E> {
        let layout = self.layout();
        let mut sums = Deltas::new(window);
        let tables: usize = trees.iter().map(|tree| tree.tables.len()).sum();
        control.enter("reading tables", tables as u64);
        for tree in trees {
            let delta = tree.delta;
            for_each_table(
                self.storage.as_ref(),
                &tree.tables,
                layout,
                &mut |offset, table| {
                    checkpoint()?;
                    control.advance(1);
                    sums.add(offset >> layout.cluster_bits, delta)?;
                    for_each_reference(layout, offset, table, &mut |mut clusters| {
                        clusters.try_for_each(|cluster| sums.add(cluster, delta))
                    })?;
                    Ok::<_, E>(false)
                },
            )?;
        }
        Ok(sums)
    }

    fn uncount(&mut self, trees: &[Tree], windows: &[Range<u64>]) -> Result<()> {
        let mut back = trees.to_vec();
        for tree in &mut back {
            tree.delta = -tree.delta;
        }
        for window in windows {
            let idle = Control::new();
            let sums = self.sum_up(&back, window.clone(), &idle, &|| Ok::<_, Error>(()))?;
            sums.apply(&mut self.refcounts, Part::Down, &mut |_| ())?;
        }
        Ok(())
    }

    /// Passes the entries in the tables of `tree` that refer to a cluster through `change`.
    fn change_flags(&self, tree: &Tree, change: &dyn Fn(u64) -> u64) -> Result<()> {
        let layout = self.layout();
        let mut tables = tree.tables.clone();
        tables.dedup();
        let storage = Arc::clone(&self.storage);
        for_each_table(storage.as_ref(), &tables, layout, &mut |_, table| {
            let mut is_changed = false;
            for word in first_words(table, layout.entry_size) {
                let entry = u64::from_be_bytes(*word);
                if entry & OFFSET_MASK == 0 || entry & COMPRESSED != 0 {
                    continue;
                }
                let new = change(entry);
                is_changed |= new != entry;
                *word = new.to_be_bytes();
            }
            Ok::<_, Error>(is_changed)
        })
    }

    fn layout(&self) -> Layout {
        let fields = &self.header.fields;
        Layout {
            cluster_bits: fields.cluster_bits,
            entry_size: if fields.extended_l2() { 16 } else { 8 },
            has_data_file: fields.has_data_file(),
        }
    }
}

/// Visits the tables at `offsets` (ascending), each with its bytes; one that the visitor says it
/// has changed is written back. A table that is named twice is visited twice.
fn for_each_table<E: From<Error>>(
    storage: &dyn WritableStorage,
    offsets: &[u64],
    layout: Layout,
    visit: &mut impl FnMut(u64, &mut [u8]) -> Result<bool, E>,
) -> Result<(), E> {
    let size = 1_usize << layout.cluster_bits;
    let reader: &dyn Storage = storage;
    let mut rest = offsets;
    let mut buffer = Vec::new();
    while let Some(first) = rest.first() {
        let side_by_side = rest
            .iter()
            .zip((*first..).step_by(size))
            .take((PIECE / size).max(1))
            .take_while(|(offset, expected)| *offset == expected)
            .count();
        let (group, after) = rest.split_at(side_by_side);
        rest = after;
        buffer.resize(group.len() * size, 0);
        read_table(reader, &mut buffer, *first, "L2 table")?;
        let mut changed = 0..0;
        let tables = group.iter().zip(buffer.chunks_exact_mut(size));
        for (index, (offset, table)) in tables.enumerate() {
            if visit(*offset, table)? {
                if changed.is_empty() {
                    changed.start = index;
                }
                changed.end = index + 1;
            }
        }
        if !changed.is_empty() {
            let bytes = &buffer[changed.start * size..changed.end * size];
            storage.write_at(bytes, first + (changed.start * size) as u64)?;
        }
    }
    Ok(())
}

/// Visits the clusters of the image file that the entries of a table refer to, in table order.
fn for_each_reference(
    layout: Layout,
    table_offset: u64,
    table: &mut [u8],
    visit: &mut impl FnMut(Range<u64>) -> Result<()>,
) -> Result<()> {
    let bits = layout.cluster_bits;
    for (word, index) in first_words(table, layout.entry_size).zip(0_u64..) {
        let entry = u64::from_be_bytes(*word);
        if entry == 0 {
            continue;
        }
        if entry & COMPRESSED != 0 {
            let place = CompressedCluster::parse(entry, bits);
            visit(place.host >> bits..((place.end() - 1) >> bits) + 1)?;
            continue;
        }
        let host = entry & OFFSET_MASK;
        if host == 0 || layout.has_data_file {
            continue;
        }
        if !host.is_multiple_of(1 << bits) {
            return Err(Error::corrupt(format!(
                "Cluster allocation offset {host:#x} unaligned (L2 offset: {table_offset:#x}, L2 \
                 index: {index:#x})"
            ))
            .with_offset(table_offset + index * layout.entry_size as u64)
            .with_field("L2 entry"));
        }
        visit(host >> bits..(host >> bits) + 1)?;
    }
    Ok(())
}

/// The first word of each entry of a table.
fn first_words(table: &mut [u8], entry_size: usize) -> impl Iterator<Item = &mut [u8; 8]> {
    table
        .chunks_exact_mut(entry_size)
        .filter_map(|entry| entry.first_chunk_mut::<8>())
}
