//! Tiles: cells finer than the summary's base, counted for what is visible and kept a while.

use std::collections::HashMap;
use std::sync::Arc;

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::plot::cell::{Cell, Class, Share};
use crate::plot::summary::{CellCounts, Summary, visit_map};

/// Cells of one tile, as log2: a square of 32 by 32 on the Hilbert curve.
const TILE_SHIFT: u32 = 10;

/// Names a tile: 2^10 cells of 2^`shift` bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TileKey {
    shift: u32,
    index: u64,
}

impl TileKey {
    /// The tile that `cell` is in.
    #[must_use]
    pub fn of(cell: Cell) -> Self {
        Self {
            shift: cell.shift,
            index: cell.index >> TILE_SHIFT,
        }
    }
}

/// What is known of a disk: the summary, and the tiles that were asked for last.
#[derive(Debug)]
pub struct MapCells {
    summary: Arc<Summary>,
    tiles: HashMap<TileKey, Tile>,
    clock: u64,
}

#[derive(Debug)]
struct Tile {
    cells: Vec<Share>,
    last_use: u64,
}

impl MapCells {
    /// Most tiles that are kept: 20 MiB.
    const MAX_TILES: usize = 512;

    /// Knows the summary only.
    #[must_use]
    pub fn new(summary: Arc<Summary>) -> Self {
        Self {
            summary,
            tiles: HashMap::new(),
            clock: 0,
        }
    }

    /// The summary.
    #[must_use]
    pub fn summary(&self) -> &Arc<Summary> {
        &self.summary
    }

    /// What lies in `cell`: exact when its tile is there (or none is needed), estimated otherwise.
    #[must_use]
    pub fn share(&self, cell: Cell) -> Share {
        if let Some(share) = self.summary.share(cell) {
            return share;
        }
        let key = TileKey::of(cell);
        let place = cell.index - (key.index << TILE_SHIFT);
        let exact = self.tiles.get(&key).and_then(|tile| {
            let place = usize::try_from(place).ok()?;
            tile.cells.get(place).copied()
        });
        exact.unwrap_or_else(|| self.summary.estimate(cell))
    }

    /// The tiles that must be read before all of `cells` are exact, in guest order. Those that are
    /// there count as used now.
    pub fn missing(&mut self, cells: impl Iterator<Item = Cell>) -> Vec<TileKey> {
        let mut missing = Vec::new();
        self.clock += 1;
        for cell in cells {
            if self.summary.share(cell).is_some() {
                continue;
            }
            let key = TileKey::of(cell);
            match self.tiles.get_mut(&key) {
                Some(tile) => tile.last_use = self.clock,
                None if missing.last() == Some(&key) => {}
                None => missing.push(key),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Reads one tile of `chain`, the chain of the summary.
    ///
    /// # Errors
    /// As [`Summary::read`].
    pub fn load(&mut self, chain: &Chain, key: TileKey, control: &Control) -> Result<(), Stop> {
        let first = key.index << TILE_SHIFT;
        let cell = |index| Cell {
            shift: key.shift,
            index,
        };
        let size = self.summary.size();
        let last = first + (1 << TILE_SHIFT) - 1;
        let range = cell(first).guest(size).start..cell(last).guest(size).end;
        let mut counts = CellCounts::new(key.shift, first, 1 << TILE_SHIFT);
        visit_map(chain, range, control, |entry| {
            counts.add(entry.guest.clone(), Class::of(entry));
        })?;
        self.insert(key, counts.into_cells());
        Ok(())
    }

    fn insert(&mut self, key: TileKey, cells: Vec<Share>) {
        if self.tiles.len() >= Self::MAX_TILES {
            let oldest = self.tiles.iter().min_by_key(|(_, tile)| tile.last_use);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.tiles.remove(&oldest);
            }
        }
        let last_use = self.clock;
        self.tiles.insert(key, Tile { cells, last_use });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::summary::SummaryBuilder;
    use crate::units::TIB;

    fn cells(shift: u32, indices: impl Iterator<Item = u64>) -> impl Iterator<Item = Cell> {
        indices.map(move |index| Cell { shift, index })
    }

    #[test]
    fn only_fine_cells_need_tiles_and_each_once() {
        let mut map = MapCells::new(Arc::new(SummaryBuilder::new(TIB).finish()));
        let (base, _) = map.summary().base();
        assert!(map.missing(cells(base, 0..5000)).is_empty());
        let missing = map.missing(cells(base - 2, (0..3000).chain(10..20)));
        assert_eq!(missing.len(), 3);
        map.insert(
            missing[1],
            vec![Share::only(Class::Data, 7); 1 << TILE_SHIFT],
        );
        assert_eq!(map.missing(cells(base - 2, 0..3000)).len(), 2);
        let inside = Cell {
            shift: base - 2,
            index: 1500,
        };
        assert_eq!(map.share(inside), Share::only(Class::Data, 7));
    }

    #[test]
    fn the_tile_unused_for_longest_goes_first() {
        let mut map = MapCells::new(Arc::new(SummaryBuilder::new(64 * TIB).finish()));
        let shift = map.summary().base().0 - 2;
        let tile = |index: u64| cells(shift, std::iter::once(index << TILE_SHIFT));
        for index in 0..MapCells::MAX_TILES as u64 {
            let missing = map.missing(tile(index));
            map.insert(missing[0], Vec::new());
        }
        assert!(map.missing(tile(0)).is_empty(), "used again");
        let missing = map.missing(tile(100_000));
        map.insert(missing[0], Vec::new());
        assert_eq!(map.tiles.len(), MapCells::MAX_TILES);
        assert!(map.missing(tile(0)).is_empty());
        assert_eq!(map.missing(tile(1)).len(), 1);
    }
}
