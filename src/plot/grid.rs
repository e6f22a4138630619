//! Where each cell of the map stands in the plane that the window shows a part of.
//!
//! A [`Grid`] is one arrangement at one scale. It maps guest bytes to places and back; both ways
//! agree, and every byte has exactly one place.

use std::ops::Range;
use std::sync::Arc;

use crate::plot::cell::Cell;
use crate::plot::hilbert::Curve;

/// How the disk is laid out in the plane.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Arrangement {
    /// Along a space-filling curve: what is near on the disk is near on the map.
    #[default]
    Hilbert,
    /// In rows, as text is read.
    Linear,
    /// In rows, a band for each partition and each gap between partitions.
    Partitions,
}

/// A cell as it is shown: in bands, a cell on a border shows only the bytes of its band.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spot {
    /// The cell.
    pub cell: Cell,
    /// The guest bytes that are meant. Never empty.
    pub guest: Range<u64>,
}

/// Width and height, in pixels.
pub(super) type Size = (i64, i64);

/// One arrangement at one scale.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Virtual size of the disk.
    pub(super) size: u64,
    /// log2 of a cell's bytes.
    pub(super) shift: u32,
    /// Pixels from one cell to the next.
    pub(super) pitch: Size,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Curve {
        curve: Arc<Curve>,
        /// log2 of the bytes of one square of the curve.
        square_shift: u32,
    },
    Rows {
        columns: u64,
        /// Places left blank in the first row: zooming keeps a byte's column by it.
        phase: u64,
    },
    Bands {
        columns: u64,
        bands: Arc<[Range<u64>]>,
        /// Pixels above each band for its name.
        header: i64,
        /// Top of each band, its header included.
        tops: Vec<i64>,
        height: i64,
    },
}

impl Grid {
    /// Pixels that the whole plane takes.
    pub(super) fn extent(&self) -> Size {
        let across = |columns: u64| pixels(columns, self.pitch.0);
        match &self.shape {
            Shape::Curve { curve, .. } => (
                across(u64::from(curve.columns()) << self.order()),
                pixels(u64::from(curve.rows()) << self.order(), self.pitch.1),
            ),
            Shape::Rows { columns, phase } => {
                // A shifted start needs a spare row, so that the byte under the pointer can stay.
                let cells = Cell::count(self.size, self.shift).saturating_add(*phase);
                let rows = cells.div_ceil(*columns) + u64::from(*phase > 0);
                (across(*columns), pixels(rows, self.pitch.1))
            }
            Shape::Bands {
                columns, height, ..
            } => (across(*columns), *height),
        }
    }

    /// The spot at a pixel of the plane.
    pub(super) fn spot_at(&self, x: i64, y: i64) -> Option<Spot> {
        let column = u64::try_from(x.div_euclid(self.pitch.0)).ok()?;
        match &self.shape {
            Shape::Curve { curve, .. } => {
                let row = u32::try_from(y.div_euclid(self.pitch.1)).ok()?;
                let index = curve.index(self.order(), u32::try_from(column).ok()?, row)?;
                self.spot(index, 0..self.size)
            }
            Shape::Rows { columns, phase } => {
                let row = u64::try_from(y.div_euclid(self.pitch.1)).ok()?;
                let index = row
                    .checked_mul(*columns)?
                    .checked_add(column)?
                    .checked_sub(*phase)?;
                (column < *columns).then(|| self.spot(index, 0..self.size))?
            }
            Shape::Bands {
                columns,
                bands,
                header,
                tops,
                ..
            } => {
                let number = tops.partition_point(|top| *top <= y).checked_sub(1)?;
                let inside = y - tops.get(number)? - header;
                let row = u64::try_from(inside.div_euclid(self.pitch.1)).ok()?;
                let band = bands.get(number)?;
                let first = Cell::containing(band.start, self.shift).index;
                let index = row
                    .checked_mul(*columns)?
                    .checked_add(column)?
                    .checked_add(first)?;
                (column < *columns).then(|| self.spot(index, band.clone()))?
            }
        }
    }

    /// Top left corner, in the plane, of the spot that shows a guest byte of the disk.
    pub(super) fn corner_of(&self, byte: u64) -> Option<(i64, i64)> {
        if byte >= self.size {
            return None;
        }
        let index = Cell::containing(byte, self.shift).index;
        let (column, row, top) = match &self.shape {
            Shape::Curve { curve, .. } => {
                let (column, row) = curve.place(self.order(), index)?;
                (u64::from(column), u64::from(row), 0)
            }
            Shape::Rows { columns, phase } => {
                let place = index.checked_add(*phase)?;
                (place % columns, place / columns, 0)
            }
            Shape::Bands {
                columns,
                bands,
                header,
                tops,
                ..
            } => {
                let number = bands.partition_point(|band| band.end <= byte);
                let first = Cell::containing(bands.get(number)?.start, self.shift).index;
                let place = index - first;
                (place % columns, place / columns, tops.get(number)? + header)
            }
        };
        Some((
            pixels(column, self.pitch.0),
            top + pixels(row, self.pitch.1),
        ))
    }

    /// Whether every byte has the same place in `other`.
    pub(super) fn same_places(&self, other: &Self) -> bool {
        let same_shape = match (&self.shape, &other.shape) {
            (Shape::Curve { curve: one, .. }, Shape::Curve { curve: two, .. }) => {
                (one.columns(), one.rows()) == (two.columns(), two.rows())
            }
            (
                Shape::Rows { columns, phase },
                Shape::Rows {
                    columns: c,
                    phase: p,
                },
            ) => (columns, phase) == (c, p),
            (
                Shape::Bands { tops, bands, .. },
                Shape::Bands {
                    tops: t, bands: b, ..
                },
            ) => tops == t && bands == b,
            _ => false,
        };
        same_shape && (self.size, self.shift, self.pitch) == (other.size, other.shift, other.pitch)
    }

    /// The same arrangement at another scale.
    pub(super) fn at_shift(&self, shift: u32) -> Self {
        let mut grid = self.clone();
        grid.shift = shift;
        if let Shape::Bands {
            columns,
            bands,
            header,
            tops,
            height,
        } = &mut grid.shape
        {
            (*tops, *height) = stack_bands(bands, *columns, *header, shift, self.pitch.1);
        }
        grid
    }

    fn order(&self) -> u32 {
        match self.shape {
            Shape::Curve { square_shift, .. } => square_shift.saturating_sub(self.shift) / 2,
            _ => 0,
        }
    }

    fn spot(&self, index: u64, within: Range<u64>) -> Option<Spot> {
        let cell = Cell {
            shift: self.shift,
            index,
        };
        let whole = cell.guest(self.size);
        let guest = whole.start.max(within.start)..whole.end.min(within.end);
        (!guest.is_empty()).then_some(Spot { cell, guest })
    }
}

/// Tops of the bands and the height of all.
pub(super) fn stack_bands(
    bands: &[Range<u64>],
    columns: u64,
    header: i64,
    shift: u32,
    pitch: i64,
) -> (Vec<i64>, i64) {
    let mut top = 0_i64;
    let tops = bands.iter().map(|band| {
        let first = Cell::containing(band.start, shift).index;
        let count = Cell::count(band.end, shift).saturating_sub(first);
        let this = top;
        top = top.saturating_add(header + pixels(count.div_ceil(columns), pitch));
        this
    });
    let tops = tops.collect();
    (tops, top)
}

/// `regions` as bands: in disk order, without overlap, the gaps between them bands too.
pub(super) fn bands(size: u64, regions: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut regions = regions.to_vec();
    regions.sort_by_key(|region| (region.start, region.end));
    let mut bands = Vec::new();
    let mut end = 0;
    for region in regions {
        let band = region.start.max(end)..region.end.min(size);
        if band.is_empty() {
            continue;
        }
        if end < band.start {
            bands.push(end..band.start);
        }
        end = band.end;
        bands.push(band);
    }
    if end < size {
        bands.push(end..size);
    }
    bands
}

/// `count` times `pitch`, as far as numbers go.
pub(super) fn pixels(count: u64, pitch: i64) -> i64 {
    i64::try_from(count)
        .unwrap_or(i64::MAX)
        .saturating_mul(pitch)
}
