//! The summary pyramid: what lies where on a whole disk, in memory that does not grow with it.
//!
//! One pass over the chain's map counts the bytes of each class in at most [`Summary::MAX_CELLS`]
//! cells; coarser levels add four cells to one. Finer cells than the base are counted on demand,
//! for what is visible, as tiles ([`crate::plot::tiles`]).

use std::ops::{ControlFlow, Range};

use crate::chain::{Chain, MapDetail, MapEntry};
use crate::control::{Control, Stop};
use crate::error::Error;
use crate::plot::cell::{Cell, Class, Share};

/// log2 of how many cells become one on the next level.
pub const LEVEL_STEP: u32 = 2;

/// Exact sums over the whole disk.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Bytes of each class.
    pub share: Share,
    /// Bytes that each layer holds as they are, by index in [`Chain::links`].
    pub data_by_depth: Vec<u64>,
}

/// What lies where on a disk, at every scale from one cell down to the base.
#[derive(Clone, Debug)]
pub struct Summary {
    size: u64,
    base_shift: u32,
    /// The base first; each next one has a quarter of the cells. Never empty.
    levels: Vec<Vec<Share>>,
    totals: Totals,
}

impl Summary {
    /// Most cells of the base: about one for each point of a picture of 360 by 360.
    pub const MAX_CELLS: u64 = 1 << 17;

    /// log2 of the base's cell length for a disk of `size` bytes.
    #[must_use]
    pub fn base_shift(size: u64) -> u32 {
        let mut shift = Cell::MIN_SHIFT;
        while Cell::count(size, shift) > Self::MAX_CELLS {
            shift += 1;
        }
        shift
    }

    /// Reads the whole map of `chain`.
    ///
    /// # Errors
    /// When the active layer is not open or a table is damaged, or on cancel.
    pub fn read(chain: &Chain, control: &Control) -> Result<Self, Stop> {
        let Some(info) = chain.active().info() else {
            return Err(Error::unsupported("the image is not open").into());
        };
        let mut builder = SummaryBuilder::new(info.virtual_size);
        control.enter("reading the map", info.virtual_size);
        visit_map(chain, 0..info.virtual_size, control, |entry| {
            control.advance(entry.guest.end - entry.guest.start);
            builder.add(entry);
        })?;
        Ok(builder.finish())
    }

    /// Virtual size of the disk in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The sums over all.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The smallest cells that [`Self::share`] knows, in guest order.
    #[must_use]
    pub fn base(&self) -> (u32, &[Share]) {
        (self.base_shift, &self.levels[0])
    }

    /// What lies in `cell`, if its size is one of the pyramid's levels.
    #[must_use]
    pub fn share(&self, cell: Cell) -> Option<Share> {
        let up = cell.shift.checked_sub(self.base_shift)?;
        if up % LEVEL_STEP != 0 {
            return None;
        }
        let level = self.levels.get(usize::try_from(up / LEVEL_STEP).ok()?);
        match level {
            Some(level) => level.get(usize::try_from(cell.index).ok()?).copied(),
            None if cell.index == 0 => Some(self.totals.share),
            None => None,
        }
    }

    /// What lies in any range of guest bytes: exact for whole base cells, estimated for the parts
    /// of cells at its ends.
    #[must_use]
    pub fn range_share(&self, range: Range<u64>) -> Share {
        let mut sum = Share::default();
        let mut start = range.start;
        let end = range.end.min(self.size);
        while start < end {
            let cell = Cell::containing(start, self.base_shift);
            let whole = cell.guest(self.size);
            let part = start..whole.end.min(end);
            let share = self.share(cell).unwrap_or_default();
            if part == whole {
                sum.merge(&share);
            } else {
                sum.merge(&share.scaled(part.end - part.start, whole.end - whole.start));
            }
            start = part.end;
        }
        sum
    }

    /// What is to be expected in a cell smaller than the base's, judged by the base cell around it.
    #[must_use]
    pub fn estimate(&self, cell: Cell) -> Share {
        if let Some(share) = self.share(cell) {
            return share;
        }
        let guest = cell.guest(self.size);
        let around = Cell::containing(guest.start, self.base_shift.max(cell.shift));
        let whole = around.guest(self.size);
        let index = usize::try_from(around.index).unwrap_or(usize::MAX);
        self.levels[0].get(index).map_or_else(Share::default, |s| {
            s.scaled(guest.end - guest.start, whole.end - whole.start)
        })
    }
}

/// Counts map entries into a [`Summary`].
#[derive(Debug)]
pub struct SummaryBuilder {
    size: u64,
    counts: CellCounts,
    totals: Totals,
}

impl SummaryBuilder {
    /// Nothing counted yet of a disk of `size` bytes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        let shift = Summary::base_shift(size);
        Self {
            size,
            counts: CellCounts::new(shift, 0, Cell::count(size, shift)),
            totals: Totals::default(),
        }
    }

    /// Counts one entry; its bytes past the end of the disk are left out.
    pub fn add(&mut self, entry: &MapEntry) {
        let class = Class::of(entry);
        let guest = entry.guest.start..entry.guest.end.min(self.size);
        let length = guest.end.saturating_sub(guest.start);
        self.totals.share.add(class, length);
        let plain = matches!(class, Class::Data | Class::Backing);
        if plain && entry.depth < Chain::MAX_LINKS {
            let by_depth = &mut self.totals.data_by_depth;
            if by_depth.len() <= entry.depth {
                by_depth.resize(entry.depth + 1, 0);
            }
            by_depth[entry.depth] = by_depth[entry.depth].saturating_add(length);
        }
        self.counts.add(guest, class);
    }

    /// Adds up the coarser levels.
    #[must_use]
    pub fn finish(self) -> Summary {
        let base_shift = self.counts.shift;
        let mut levels = vec![self.counts.cells];
        while let Some(finer) = levels.last()
            && finer.len() > 1
        {
            let coarser = finer.chunks(1 << LEVEL_STEP).map(|four| {
                let mut sum = Share::default();
                four.iter().for_each(|share| sum.merge(share));
                sum
            });
            let coarser = coarser.collect();
            levels.push(coarser);
        }
        Summary {
            size: self.size,
            base_shift,
            levels,
            totals: self.totals,
        }
    }
}

/// Bytes of each class in a run of neighbouring cells.
#[derive(Debug)]
pub(super) struct CellCounts {
    shift: u32,
    first: u64,
    cells: Vec<Share>,
}

impl CellCounts {
    /// `count` cells from `first` on; the caller bounds `count`.
    pub(super) fn new(shift: u32, first: u64, count: u64) -> Self {
        let count = usize::try_from(count).unwrap_or(0);
        Self {
            shift,
            first,
            cells: vec![Share::default(); count],
        }
    }

    /// Counts `guest` as `class`, in the cells that it meets.
    pub(super) fn add(&mut self, guest: Range<u64>, class: Class) {
        if guest.is_empty() {
            return;
        }
        let mut start = guest.start;
        let mut index = start >> self.shift;
        while start < guest.end {
            let cell_end = ((u128::from(index) + 1) << self.shift).min(u128::from(guest.end));
            let end = u64::try_from(cell_end).unwrap_or(guest.end);
            let place = index.checked_sub(self.first);
            let cell = place
                .and_then(|place| usize::try_from(place).ok())
                .and_then(|place| self.cells.get_mut(place));
            if let Some(cell) = cell {
                cell.add(class, end - start);
            }
            start = end;
            index += 1;
        }
    }

    pub(super) fn into_cells(self) -> Vec<Share> {
        self.cells
    }
}

/// Visits the map as the window draws it, looking at `control` now and then.
pub(super) fn visit_map(
    chain: &Chain,
    range: Range<u64>,
    control: &Control,
    mut visit: impl FnMut(&MapEntry),
) -> Result<(), Stop> {
    const ENTRIES_PER_CHECKPOINT: u32 = 1024;
    let mut left = ENTRIES_PER_CHECKPOINT;
    let mut cancelled = Ok(());
    control.checkpoint()?;
    chain.for_each_map_entry(range, MapDetail::Tables, &mut |entry| {
        visit(&entry);
        left -= 1;
        if left == 0 {
            left = ENTRIES_PER_CHECKPOINT;
            cancelled = control.checkpoint();
        }
        match cancelled {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(cancelled?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::{GIB, MIB, TIB};

    fn entry(guest: Range<u64>, depth: usize, data: bool) -> MapEntry {
        MapEntry {
            guest,
            depth,
            present: data,
            zero: !data,
            data,
            compressed: false,
            host: None,
        }
    }

    #[test]
    fn memory_is_bounded_whatever_the_size() {
        for size in [0, 1, 513, GIB, 64 * TIB, 1 << 63, u64::MAX] {
            let shift = Summary::base_shift(size);
            assert!(Cell::count(size, shift) <= Summary::MAX_CELLS, "{size}");
            assert!(shift == 9 || Cell::count(size, shift - 1) > Summary::MAX_CELLS);
        }
    }

    #[test]
    fn one_cluster_is_seen_at_every_level() {
        let mut builder = SummaryBuilder::new(64 * TIB);
        let cluster = 37 * TIB..37 * TIB + 65536;
        builder.add(&entry(0..cluster.start, 0, false));
        builder.add(&entry(cluster.clone(), 3, true));
        builder.add(&entry(cluster.end..64 * TIB, 0, false));
        let summary = builder.finish();
        let (base, _) = summary.base();
        for shift in (base..=46).step_by(2) {
            let share = summary.share(Cell::containing(cluster.start, shift));
            assert_eq!(share.unwrap().of(Class::Backing), 65536, "{shift}");
        }
        assert_eq!(summary.totals().share.total(), 64 * TIB);
        assert_eq!(summary.totals().data_by_depth, [0, 0, 0, 65536]);
        let small = Cell::containing(cluster.start, 20);
        assert_eq!(summary.range_share(0..64 * TIB), summary.totals().share);
        let around = summary.range_share(cluster.start - 5..cluster.end + 5);
        assert!(around.of(Class::Backing) > 0);
        assert!(summary.estimate(small).of(Class::Backing) > 0);
        assert!(summary.share(small).is_none());
        assert!(summary.share(Cell::containing(0, base + 1)).is_none());
    }

    #[test]
    fn entries_past_the_end_do_not_count() {
        let mut builder = SummaryBuilder::new(MIB);
        builder.add(&entry(0..2 * MIB, 0, true));
        builder.add(&entry(3 * MIB..4 * MIB, 0, true));
        let summary = builder.finish();
        assert_eq!(summary.totals().share, Share::only(Class::Data, MIB));
        let base: u64 = summary.base().1.iter().map(Share::total).sum();
        assert_eq!(base, MIB);
    }

    proptest! {
        #[test]
        fn each_level_sums_to_the_totals(
            cuts in prop::collection::btree_set(1_u64..3 * GIB, 1..40),
            size in 3 * GIB..5 * GIB,
        ) {
            let mut builder = SummaryBuilder::new(size);
            let mut start = 0;
            for (number, end) in cuts.into_iter().chain([size]).enumerate() {
                builder.add(&entry(start..end, number % 3, number % 2 == 0));
                start = end;
            }
            let summary = builder.finish();
            prop_assert_eq!(summary.totals().share.total(), size);
            for level in &summary.levels {
                let mut sum = Share::default();
                level.iter().for_each(|share| sum.merge(share));
                prop_assert_eq!(sum, summary.totals().share);
            }
            let by_depth: u64 = summary.totals().data_by_depth.iter().sum();
            prop_assert_eq!(by_depth, summary.totals().share.stored());
        }
    }
}
