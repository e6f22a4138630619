//! Space-filling curves: neighbours on the disk are neighbours on the map.
//!
//! [`Curve`] fills a rectangle of `columns` by `rows` squares with one path, and each square with a
//! Hilbert curve of any order, entered where the path comes from and left where it goes on. Finer
//! orders refine coarser ones: zooming in magnifies the picture and rearranges nothing.

/// A corner of a square, as 0 or 1 in x and y.
type Corner = (u32, u32);

/// Place of the `index`th point of the Hilbert curve in a square of side 2^`order`. The curve runs
/// from (0, 0) to (2^order - 1, 0). `order` is at most 31.
#[must_use]
pub fn place(order: u32, index: u64) -> (u32, u32) {
    let (mut x, mut y) = (0_u32, 0_u32);
    for level in 0..order {
        let quadrant = (index >> (2 * level)) & 3;
        let side = 1_u32 << level;
        (x, y) = match quadrant {
            0 => (y, x),
            1 => (x, y + side),
            2 => (x + side, y + side),
            _ => (2 * side - 1 - y, side - 1 - x),
        };
    }
    (x, y)
}

/// The index of the point at (`x`, `y`): the inverse of [`place`].
#[must_use]
pub fn index(order: u32, mut x: u32, mut y: u32) -> u64 {
    let mut index = 0;
    for level in (0..order).rev() {
        let side = 1_u32 << level;
        let (quadrant, inner) = match (x >= side, y >= side) {
            (false, false) => (0, (y, x)),
            (false, true) => (1, (x, y - side)),
            (true, true) => (2, (x - side, y - side)),
            (true, false) => (3, (side - 1 - y, 2 * side - 1 - x)),
        };
        index |= quadrant << (2 * level);
        (x, y) = inner;
    }
    index
}

/// A path through all squares of a rectangle.
#[derive(Clone, Debug)]
pub struct Curve {
    columns: u32,
    rows: u32,
    squares: Vec<Square>,
    /// Index in `squares` by row and column.
    lookup: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Square {
    column: u32,
    row: u32,
    entry: Corner,
    exit: Corner,
}

impl Curve {
    /// Whether a path exists that only ever steps to a neighbour (one parity of the sides does not
    /// allow it).
    #[must_use]
    pub fn is_possible(columns: u32, rows: u32) -> bool {
        let (long, short) = (columns.max(rows), columns.min(rows));
        short > 0 && (long.is_multiple_of(2) || !short.is_multiple_of(2))
    }

    /// The path through `columns` by `rows` squares, which must be [possible](Self::is_possible)
    /// and few (their number is what memory is taken for).
    #[must_use]
    pub fn new(columns: u32, rows: u32) -> Self {
        let mut path = Vec::new();
        let (across, down) = ((signed(columns), 0), (0, signed(rows)));
        if columns >= rows {
            fill((0, 0), across, down, &mut path);
        } else {
            fill((0, 0), down, across, &mut path);
        }
        let squares = join(&path);
        let mut lookup = vec![0; squares.len()];
        for (number, square) in (0..).zip(&squares) {
            lookup[(square.row * columns + square.column) as usize] = number;
        }
        Self {
            columns,
            rows,
            squares,
            lookup,
        }
    }

    /// Squares across.
    #[must_use]
    pub fn columns(&self) -> u32 {
        self.columns
    }

    /// Squares down.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Column and row of the `index`th point, where each square has 2^`order` points a side.
    /// `None` past the end.
    #[must_use]
    pub fn place(&self, order: u32, index: u64) -> Option<(u32, u32)> {
        let square = self
            .squares
            .get(usize::try_from(index >> (2 * order)).ok()?)?;
        let inner = square.turn(order, place(order, index & ((1 << (2 * order)) - 1)));
        Some((
            (square.column << order) + inner.0,
            (square.row << order) + inner.1,
        ))
    }

    /// The index of the point at a column and row: the inverse of [`Self::place`].
    #[must_use]
    pub fn index(&self, order: u32, x: u32, y: u32) -> Option<u64> {
        let (column, row) = (x >> order, y >> order);
        if column >= self.columns || row >= self.rows {
            return None;
        }
        let number = *self.lookup.get((row * self.columns + column) as usize)?;
        let square = self.squares.get(number as usize)?;
        let mask = (1 << order) - 1;
        let inner = square.turn_back(order, (x & mask, y & mask));
        Some((u64::from(number) << (2 * order)) + index(order, inner.0, inner.1))
    }
}

impl Square {
    /// Turns a place of the standard curve so that it runs from this square's entry to its exit.
    fn turn(&self, order: u32, (along, across): (u32, u32)) -> (u32, u32) {
        let (x, y) = if self.entry.1 == self.exit.1 {
            (along, across)
        } else {
            (across, along)
        };
        self.mirror(order, (x, y))
    }

    fn turn_back(&self, order: u32, place: (u32, u32)) -> (u32, u32) {
        let (x, y) = self.mirror(order, place);
        if self.entry.1 == self.exit.1 {
            (x, y)
        } else {
            (y, x)
        }
    }

    /// Counts from the side where the entry is.
    fn mirror(&self, order: u32, (x, y): (u32, u32)) -> (u32, u32) {
        let last = (1 << order) - 1;
        let from = |corner, value| if corner == 0 { value } else { last - value };
        (from(self.entry.0, x), from(self.entry.1, y))
    }
}

fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Walks through the rectangle at `at` spanned by the axis-parallel vectors `a`, along which the
/// path makes its way, and `b`: the generalised Hilbert curve ("gilbert") of J. Červený. Depth of
/// the recursion is logarithmic.
fn fill(at: (i32, i32), a: (i32, i32), b: (i32, i32), path: &mut Vec<(i32, i32)>) {
    let (width, height) = ((a.0 + a.1).abs(), (b.0 + b.1).abs());
    let unit = |v: (i32, i32)| (v.0.signum(), v.1.signum());
    let add = |v: (i32, i32), w: (i32, i32)| (v.0 + w.0, v.1 + w.1);
    let sub = |v: (i32, i32), w: (i32, i32)| (v.0 - w.0, v.1 - w.1);
    let neg = |v: (i32, i32)| (-v.0, -v.1);
    if width == 1 || height == 1 {
        let (step, steps) = if height == 1 {
            (unit(a), width)
        } else {
            (unit(b), height)
        };
        path.extend((0..steps).map(|i| (at.0 + step.0 * i, at.1 + step.1 * i)));
        return;
    }
    // Halves are kept even, so that each part can be crossed without a diagonal step.
    let half = |v: (i32, i32), length: i32| {
        let half = length / 2 + i32::from(length / 2 % 2 != 0 && length > 2);
        (unit(v).0 * half, unit(v).1 * half)
    };
    let near = half(a, width);
    if 2 * width > 3 * height {
        fill(at, near, b, path);
        fill(add(at, near), sub(a, near), b, path);
        return;
    }
    let near = (a.0 / 2, a.1 / 2);
    let side = half(b, height);
    fill(at, side, near, path);
    fill(add(at, side), a, sub(b, side), path);
    let last = add(add(at, sub(a, unit(a))), sub(side, unit(b)));
    fill(last, neg(side), neg(sub(a, near)), path);
}

/// Gives each square of the path the corners through which the curve comes and goes: the entry lies
/// across the border from the exit before, the exit on the side of the next square.
fn join(path: &[(i32, i32)]) -> Vec<Square> {
    let mut entry: Corner = (0, 0);
    let mut squares = Vec::with_capacity(path.len());
    for (number, &(x, y)) in path.iter().enumerate() {
        let step = path
            .get(number + 1)
            .map_or((1 - 2 * signed(entry.0), 0), |next| {
                (next.0 - x, next.1 - y)
            });
        let exit = exit_towards(entry, step);
        squares.push(Square {
            column: x.unsigned_abs(),
            row: y.unsigned_abs(),
            entry,
            exit,
        });
        entry = if step.0 == 0 {
            (exit.0, 1 - exit.1)
        } else {
            (1 - exit.0, exit.1)
        };
    }
    squares
}

/// The corner next to `entry` that lies on the side `step` leaves through.
fn exit_towards(entry: Corner, step: (i32, i32)) -> Corner {
    let side = |step: i32| u32::from(step > 0);
    if step.0 != 0 {
        let x = side(step.0);
        let y = if x == entry.0 { 1 - entry.1 } else { entry.1 };
        (x, y)
    } else {
        let y = side(step.1);
        let x = if y == entry.1 { 1 - entry.0 } else { entry.0 };
        (x, y)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_step(a: (u32, u32), b: (u32, u32)) -> bool {
        a.0.abs_diff(b.0) + a.1.abs_diff(b.1) == 1
    }

    #[test]
    fn the_square_curve_visits_every_point_once() {
        for order in 0..6 {
            let side = 1 << order;
            let points: Vec<_> = (0..1 << (2 * order)).map(|i| place(order, i)).collect();
            assert_eq!(points[0], (0, 0));
            assert_eq!(points[points.len() - 1], (side - 1, 0));
            assert!(
                points.windows(2).all(|pair| is_step(pair[0], pair[1])),
                "{order}"
            );
            for (number, &(x, y)) in (0..).zip(&points) {
                assert_eq!(index(order, x, y), number);
            }
        }
    }

    #[test]
    fn rectangles_are_filled_without_a_jump() {
        let sides = (1..=20).flat_map(|columns| (1..=20).map(move |rows| (columns, rows)));
        for (columns, rows) in sides.filter(|(c, r)| Curve::is_possible(*c, *r)) {
            let curve = Curve::new(columns, rows);
            for order in 0..3 {
                let count = u64::from(columns * rows) << (2 * order);
                let points: Vec<_> = (0..count).map(|i| curve.place(order, i).unwrap()).collect();
                assert_eq!(curve.place(order, count), None);
                let jump = points.windows(2).find(|pair| !is_step(pair[0], pair[1]));
                assert_eq!(jump, None, "{columns}x{rows}, order {order}");
                for (number, &(x, y)) in (0..).zip(&points) {
                    assert_eq!(
                        curve.index(order, x, y),
                        Some(number),
                        "{columns}x{rows}, order {order}"
                    );
                }
            }
        }
    }

    #[test]
    fn outside_is_nowhere() {
        let curve = Curve::new(4, 3);
        assert_eq!(curve.index(2, 16, 0), None);
        assert_eq!(curve.index(2, 0, 12), None);
        assert!(curve.index(2, 15, 11).is_some());
    }

    proptest! {
        #[test]
        fn a_finer_order_refines_the_coarser(
            columns in 1_u32..12, rows in 1_u32..12, order in 0_u32..14, part in 0.0..1.0,
        ) {
            prop_assume!(Curve::is_possible(columns, rows));
            let curve = Curve::new(columns, rows);
            let count = u64::from(columns * rows) << (2 * (order + 1));
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any point will do")]
            let fine = ((count as f64 * part) as u64).min(count - 1);
            let (x, y) = curve.place(order + 1, fine).unwrap();
            prop_assert_eq!(curve.place(order, fine / 4), Some((x / 2, y / 2)));
            prop_assert_eq!(curve.index(order + 1, x, y), Some(fine));
        }
    }
}
