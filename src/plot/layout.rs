//! The map's viewport: what of the disk is shown where, at which scale, and what is under a pixel.
//!
//! Scales go in steps of four bytes to one: a cell becomes two by two cells on the curve. At the
//! coarsest scale the whole disk fits. All places are logical pixels, x to the right; for people
//! who read from right to left the picture is [mirrored](Layout::mirrored).

use std::ops::Range;
use std::sync::Arc;

use crate::plot::cell::Cell;
pub use crate::plot::grid::{Arrangement, Spot};
use crate::plot::grid::{Grid, Shape, Size, bands, pixels, stack_bands};
use crate::plot::hilbert::Curve;
use crate::plot::summary::{LEVEL_STEP, Summary};

/// A rectangle in the widget, in logical pixels.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: i64,
    /// Top edge.
    pub y: i64,
    /// Width.
    pub width: i64,
    /// Height.
    pub height: i64,
}

/// Most squares of the curve at the coarsest scale.
const MAX_SQUARES: u64 = 128;
/// A cell is at least this wide and high at the coarsest scale, the gap to the next included.
const MIN_PITCH: i64 = 8;
/// A small disk's cells are not made larger.
const MAX_PITCH: i64 = 24;
/// Below this size in either direction nothing sensible can be shown.
const MIN_AREA: i64 = 48;

/// What is shown where.
#[derive(Clone, Debug)]
pub struct Layout {
    arrangement: Arrangement,
    /// Part of the widget that is painted at most.
    view: Size,
    fit_shift: u32,
    grid: Grid,
    /// Pixel of the plane at the widget's top left (top right when mirrored).
    origin: (i64, i64),
    mirrored: bool,
}

impl Layout {
    /// Lays out a disk of `size` bytes in `area` (width and height) so that all of it shows.
    /// `regions` are the partitions, `header` the pixels for the name above each of their bands;
    /// other arrangements ignore both.
    #[must_use]
    pub fn new(
        size: u64,
        arrangement: Arrangement,
        regions: &[Range<u64>],
        header: u32,
        area: (u32, u32),
    ) -> Self {
        let area = (
            i64::from(area.0).max(MIN_AREA),
            i64::from(area.1).max(MIN_AREA),
        );
        let grid = match arrangement {
            Arrangement::Hilbert => fit_curve(size, area),
            Arrangement::Linear => fit_rows(size, area),
            Arrangement::Partitions => {
                fit_bands(size, bands(size, regions), i64::from(header), area)
            }
        };
        let extent = grid.extent();
        Self {
            arrangement,
            view: (extent.0.min(area.0), extent.1.min(area.1)),
            fit_shift: grid.shift,
            grid,
            origin: (0, 0),
            mirrored: false,
        }
    }

    /// The same, mirrored: the disk starts at the right.
    #[must_use]
    pub fn mirrored(mut self, mirrored: bool) -> Self {
        self.mirrored = mirrored;
        self
    }

    /// Whether the disk starts at the right.
    #[must_use]
    pub fn is_mirrored(&self) -> bool {
        self.mirrored
    }

    /// How it is laid out.
    #[must_use]
    pub fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// Bytes of one cell.
    #[must_use]
    pub fn cell_bytes(&self) -> u64 {
        1 << self.grid.shift
    }

    /// log2 of [`Self::cell_bytes`].
    #[must_use]
    pub fn shift(&self) -> u32 {
        self.grid.shift
    }

    /// Width and height of the part of the widget that is painted.
    #[must_use]
    pub fn view(&self) -> (i64, i64) {
        self.view
    }

    /// Width and height of a cell, the gap to the next included.
    #[must_use]
    pub fn pitch(&self) -> (i64, i64) {
        self.grid.pitch
    }

    /// By how many pixels a picture of `other`, which has the same scale, is off; `None` when it
    /// shows something else.
    #[must_use]
    pub fn offset_of(&self, other: &Self) -> Option<(i64, i64)> {
        let same = self.arrangement == other.arrangement
            && self.grid.same_places(&other.grid)
            && self.mirrored == other.mirrored
            && self.view == other.view;
        let dx = self.origin.0 - other.origin.0;
        let dx = if self.mirrored { dx } else { -dx };
        same.then(|| (dx, other.origin.1 - self.origin.1))
    }

    /// Whether the coarsest scale is shown.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        self.grid.shift == self.fit_shift
    }

    /// Whether a finer scale exists.
    #[must_use]
    pub fn can_zoom_in(&self) -> bool {
        self.grid.shift >= Cell::MIN_SHIFT + LEVEL_STEP
    }

    /// Shows the whole disk again.
    pub fn fit(&mut self) {
        self.grid = self.grid.at_shift(self.fit_shift);
        if let Shape::Rows { phase, .. } = &mut self.grid.shape {
            *phase = 0;
        }
        self.origin = (0, 0);
        self.clamp();
    }

    /// Zooms in by `steps` scales (out when negative), as far as scales go. What is under the
    /// widget's pixel `at` stays there, as far as the plane's border and, for bands, the rows let
    /// it.
    pub fn zoom(&mut self, steps: i32, at: (i64, i64)) {
        let at = (self.flip(at.0, 1), at.1);
        for _ in 0..steps.unsigned_abs() {
            let shift = if steps > 0 && self.can_zoom_in() {
                self.grid.shift - LEVEL_STEP
            } else if steps < 0 && !self.is_fit() {
                self.grid.shift + LEVEL_STEP
            } else {
                return;
            };
            self.zoom_to(shift, at);
        }
    }

    /// Moves the picture by so many pixels.
    pub fn pan(&mut self, dx: i64, dy: i64) {
        let dx = if self.mirrored { -dx } else { dx };
        self.origin.0 = self.origin.0.saturating_sub(dx);
        self.origin.1 = self.origin.1.saturating_sub(dy);
        self.clamp();
    }

    /// Moves the picture so that a guest byte is in the middle.
    pub fn center_on(&mut self, byte: u64) {
        if let Some((x, y)) = self.grid.corner_of(byte) {
            let pitch = self.grid.pitch;
            self.origin = (
                x + (pitch.0 - self.view.0) / 2,
                y + (pitch.1 - self.view.1) / 2,
            );
            self.clamp();
        }
    }

    /// Moves the picture no more than needed to show a guest byte whole.
    pub fn reveal(&mut self, byte: u64) {
        let Some(rect) = self.rect_of(byte) else {
            return;
        };
        let outside = |start: i64, length: i64, view: i64| {
            start.min(0) + (start + length - view).max(0).min(start.max(0))
        };
        let dx = outside(rect.x, rect.width, self.view.0);
        let dy = outside(rect.y, rect.height, self.view.1);
        self.pan(-dx, -dy);
    }

    /// The same disk in a widget of another size: same scale where there is one, same middle.
    #[must_use]
    pub fn resized(&self, regions: &[Range<u64>], header: u32, area: (u32, u32)) -> Self {
        let mut next = Self::new(self.grid.size, self.arrangement, regions, header, area)
            .mirrored(self.mirrored);
        if self.is_fit() || self.grid.shift >= next.fit_shift {
            return next;
        }
        next.grid = next.grid.at_shift(self.grid.shift);
        if let Some(middle) = self.spot_at(self.view.0 / 2, self.view.1 / 2) {
            next.center_on(middle.guest.start);
        }
        next.clamp();
        next
    }

    /// What is at a pixel of the widget.
    #[must_use]
    pub fn spot_at(&self, x: i64, y: i64) -> Option<Spot> {
        let inside = (0..self.view.0).contains(&x) && (0..self.view.1).contains(&y);
        let x = self.flip(x, 1);
        inside.then(|| self.grid.spot_at(x + self.origin.0, y + self.origin.1))?
    }

    /// Where the spot with a guest byte is in the widget; outside the view when it is not shown.
    #[must_use]
    pub fn rect_of(&self, byte: u64) -> Option<Rect> {
        let (x, y) = self.grid.corner_of(byte)?;
        Some(self.rect_at(x - self.origin.0, y - self.origin.1))
    }

    /// The spot with a guest byte, shown or not.
    #[must_use]
    pub fn spot_of(&self, byte: u64) -> Option<Spot> {
        let (x, y) = self.grid.corner_of(byte)?;
        self.grid.spot_at(x, y)
    }

    /// The spot `columns` to the right and `rows` below that of a guest byte, shown or not; past a
    /// band's name to the next band.
    #[must_use]
    pub fn neighbour(&self, byte: u64, columns: i64, rows: i64) -> Option<Spot> {
        let (x, y) = self.grid.corner_of(byte)?;
        let columns = if self.mirrored { -columns } else { columns };
        let x = x.saturating_add(columns.saturating_mul(self.grid.pitch.0));
        let mut y = y.saturating_add(rows.saturating_mul(self.grid.pitch.1));
        if let Shape::Bands { header, tops, .. } = &self.grid.shape
            && let Some(top) = tops.iter().rfind(|top| **top <= y)
            && y < top + header
        {
            y = if rows > 0 { top + header } else { top - 1 };
        }
        self.grid.spot_at(x, y)
    }

    /// All spots in view, with their rectangles, row by row.
    pub fn visible(&self) -> impl Iterator<Item = (Spot, Rect)> + '_ {
        let pitch = self.grid.pitch;
        let starts = |origin: i64, view: i64, pitch: i64| {
            (0..=view / pitch + 1).map(move |i| i * pitch - origin.rem_euclid(pitch))
        };
        self.row_tops()
            .flat_map(move |y| starts(self.origin.0, self.view.0, pitch.0).map(move |x| (x, y)))
            .filter_map(move |(x, y)| {
                let spot = self
                    .grid
                    .spot_at(x + self.origin.0, y + self.origin.1)
                    .filter(|_| x < self.view.0)?;
                Some((spot, self.rect_at(x, y)))
            })
    }

    /// The guest bytes in view, in order, neighbours joined.
    #[must_use]
    pub fn visible_ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<_> = self.visible().map(|(spot, _)| spot.guest).collect();
        ranges.sort_by_key(|range| range.start);
        ranges.dedup_by(|next, range| {
            let joined = next.start <= range.end;
            if joined {
                range.end = range.end.max(next.end);
            }
            joined
        });
        ranges
    }

    /// The bands in view: their guest bytes and the top of the place for their name.
    pub fn visible_bands(&self) -> impl Iterator<Item = (Range<u64>, i64)> + '_ {
        let (bands, tops): (&[_], &[_]) = match &self.grid.shape {
            Shape::Bands { bands, tops, .. } => (bands, tops),
            _ => (&[], &[]),
        };
        bands
            .iter()
            .zip(tops)
            .map(|(band, top)| (band.clone(), top - self.origin.1))
            .filter(|(_, y)| *y < self.view.1)
    }

    fn zoom_to(&mut self, shift: u32, at: (i64, i64)) {
        let (x, y) = (at.0 + self.origin.0, at.1 + self.origin.1);
        let old = self.grid.clone();
        self.grid = old.at_shift(shift);
        match &mut self.grid.shape {
            Shape::Curve { .. } => {
                let scale = |plane: i64| {
                    if shift < old.shift {
                        plane << ((old.shift - shift) / 2)
                    } else {
                        plane >> ((shift - old.shift) / 2)
                    }
                };
                self.origin = (scale(x) - at.0, scale(y) - at.1);
            }
            Shape::Rows { columns, phase } => {
                let byte = nearest_byte(&old, x, y);
                let column = u64::try_from(x.div_euclid(old.pitch.0)).unwrap_or(0) % *columns;
                let index = Cell::containing(byte, shift).index;
                *phase = (column + *columns - index % *columns) % *columns;
                let row = (index + *phase) / *columns;
                self.origin.1 = pixels(row, old.pitch.1) + y.rem_euclid(old.pitch.1) - at.1;
            }
            Shape::Bands { .. } => {
                let byte = nearest_byte(&old, x, y);
                let before = old.corner_of(byte).map_or(0, |corner| corner.1);
                let after = self.grid.corner_of(byte).map_or(0, |corner| corner.1);
                self.origin.1 += after - before;
            }
        }
        self.clamp();
    }

    /// The left edge of something `width` wide, counted from the other side when mirrored.
    fn flip(&self, x: i64, width: i64) -> i64 {
        if self.mirrored {
            self.view.0 - x - width
        } else {
            x
        }
    }

    /// The rectangle of the cell whose edges, as the disk runs, are at `x` and `y` in the view.
    fn rect_at(&self, x: i64, y: i64) -> Rect {
        let (width, height) = self.grid.pitch;
        Rect {
            x: self.flip(x, width),
            y,
            width,
            height,
        }
    }

    fn clamp(&mut self) {
        let extent = self.grid.extent();
        self.origin.0 = self.origin.0.clamp(0, (extent.0 - self.view.0).max(0));
        self.origin.1 = self.origin.1.clamp(0, (extent.1 - self.view.1).max(0));
    }

    /// Top edges, in the widget, of the rows of cells in view.
    fn row_tops(&self) -> Box<dyn Iterator<Item = i64> + '_> {
        let pitch = self.grid.pitch.1;
        let (origin, view) = (self.origin.1, self.view.1);
        let Shape::Bands {
            tops,
            header,
            height,
            ..
        } = &self.grid.shape
        else {
            let first = -origin.rem_euclid(pitch);
            return Box::new(
                (0..)
                    .map(move |i| first + i * pitch)
                    .take_while(move |y| *y < view),
            );
        };
        let ends = tops.iter().skip(1).chain([height]);
        Box::new(tops.iter().zip(ends).flat_map(move |(top, end)| {
            let start = top + header - origin;
            // Rows above the view are skipped at once: a band can have billions.
            let skip = (-start).max(0) / pitch;
            (skip..)
                .map(move |i| start + i * pitch)
                .take_while(move |y| *y < (end - origin).min(view))
        }))
    }
}

/// A byte at or before a place in the plane.
fn nearest_byte(grid: &Grid, x: i64, y: i64) -> u64 {
    let spot = grid
        .spot_at(x, y)
        .or_else(|| grid.spot_at(0, y))
        .or_else(|| grid.spot_at(0, y + grid.pitch.1 * 4));
    let last = grid.size.saturating_sub(1);
    let before_start = y <= 0 || matches!(grid.shape, Shape::Rows { .. }) && y < grid.pitch.1;
    spot.map_or(if before_start { 0 } else { last }, |spot| spot.guest.start)
}

/// The scales that the summary has cells for, finest first, up to one cell for the whole disk.
fn scales(size: u64) -> impl Iterator<Item = u32> {
    let base = Summary::base_shift(size);
    let finest = Cell::MIN_SHIFT + (base - Cell::MIN_SHIFT) % LEVEL_STEP;
    (finest..64)
        .step_by(LEVEL_STEP as usize)
        .scan(false, move |done, shift| {
            (!std::mem::replace(done, Cell::count(size, shift) <= 1)).then_some(shift)
        })
}

/// The finest scale and the largest cells with which the curve fits into `area`.
fn fit_curve(size: u64, area: Size) -> Grid {
    let square_shift = scales(size)
        .find(|shift| Cell::count(size, *shift) <= MAX_SQUARES)
        .unwrap_or(Cell::MIN_SHIFT);
    let squares = i64::try_from(Cell::count(size, square_shift).max(1)).unwrap_or(1);
    let fits = scales(size)
        .filter(|shift| *shift <= square_shift)
        .find_map(|shift| Some((shift, fit_squares(squares, square_shift - shift, area)?)));
    // MIN_AREA has room for the squares themselves, if not for the gaps between them.
    let (shift, (columns, rows, pitch)) = fits.unwrap_or((square_shift, (16, 8, (3, 6))));
    Grid {
        size,
        shift,
        pitch,
        shape: Shape::Curve {
            curve: Arc::new(Curve::new(columns, rows)),
            square_shift,
        },
    }
}

/// Columns and rows of squares, and the cells' pitch, that leave least of `area` empty.
fn fit_squares(squares: i64, zoom: u32, area: Size) -> Option<(u32, u32, Size)> {
    let side = 1_i64.checked_shl(zoom / 2)?;
    let mut best: Option<(i64, u32, u32, Size)> = None;
    for columns in 1..=squares {
        let rows = (squares + columns - 1) / columns;
        let (Ok(columns), Ok(rows)) = (u32::try_from(columns), u32::try_from(rows)) else {
            continue;
        };
        if !Curve::is_possible(columns, rows) {
            continue;
        }
        let across = i64::from(columns) * side;
        let down = i64::from(rows) * side;
        let (x, y) = (area.0 / across, area.1 / down);
        if x.min(y) < MIN_PITCH {
            continue;
        }
        // Cells may be a little higher than wide or the other way round, to fill the area.
        let pitch = (
            x.min(y * 5 / 4).min(MAX_PITCH),
            y.min(x * 5 / 4).min(MAX_PITCH),
        );
        // Squares that the disk does not fill weigh twice: they look like a part of it.
        let all = i64::from(columns) * i64::from(rows);
        let filled = squares * side * side * pitch.0 * pitch.1 * squares / all;
        if best.is_none_or(|(most, ..)| filled > most) {
            best = Some((filled, columns, rows, pitch));
        }
    }
    best.map(|(_, columns, rows, pitch)| (columns, rows, pitch))
}

fn fit_rows(size: u64, area: Size) -> Grid {
    let fit = |shift: u32| {
        let cells = i64::try_from(Cell::count(size, shift)).ok()?;
        let pitch = (MIN_PITCH..=MAX_PITCH)
            .rev()
            .find(|pitch| (area.0 / pitch).saturating_mul(area.1 / pitch) >= cells)?;
        let columns = area.0 / pitch;
        let rows = (cells + columns - 1) / columns;
        let high = (area.1 / rows.max(1)).clamp(pitch, pitch * 5 / 4);
        Some((shift, columns, (area.0 / columns, high)))
    };
    let found = scales(size).find_map(fit);
    let (shift, columns, pitch) = found.unwrap_or((Cell::MIN_SHIFT, 1, (MIN_PITCH, MIN_PITCH)));
    Grid {
        size,
        shift,
        pitch,
        shape: Shape::Rows {
            columns: columns.unsigned_abs(),
            phase: 0,
        },
    }
}

fn fit_bands(size: u64, bands: Vec<Range<u64>>, header: i64, area: Size) -> Grid {
    let stack = |shift: u32, pitch: i64| {
        let columns = (area.0 / pitch).unsigned_abs();
        let (tops, height) = stack_bands(&bands, columns, header, shift, pitch);
        (shift, pitch, columns, tops, height)
    };
    let fit = |shift: u32| {
        (MIN_PITCH..=MAX_PITCH)
            .rev()
            .map(|pitch| stack(shift, pitch))
            .find(|(.., height)| *height <= area.1)
    };
    // More bands than fit even with a row each: the coarsest scale, to be scrolled.
    let coarsest = scales(size).last().unwrap_or(Cell::MIN_SHIFT);
    let (shift, pitch, columns, tops, height) = scales(size)
        .find_map(fit)
        .unwrap_or_else(|| stack(coarsest, MIN_PITCH));
    Grid {
        size,
        shift,
        pitch: (pitch, pitch),
        shape: Shape::Bands {
            columns,
            bands: bands.into(),
            header,
            tops,
            height,
        },
    }
}

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    reason = "lists of regions can have one region"
)]
mod tests;
