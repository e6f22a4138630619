//! The map as pixels.
//!
//! A cell is a small gauge: its classes are stacked from the bottom up by their share of the bytes,
//! each at least a pixel high, so that a single cluster in a tebibyte still shows, and every colour
//! on the map is a colour of the legend. A pattern tells the classes apart without colours.

use std::ops::Range;

use crate::plot::cell::{Cell, Class, Share};
use crate::plot::grid::pixels;
use crate::plot::layout::{Layout, Rect};
use crate::plot::summary::Summary;

/// A colour without transparency.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// What a class looks like: a ground with a pattern on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ink {
    /// Most of the area.
    pub ground: Rgb,
    /// The pattern's lines or dots.
    pub mark: Rgb,
}

/// Colours of the map.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Palette {
    /// Behind and between the cells.
    pub paper: Rgb,
    /// By class, in the order of [`Class::ALL`].
    pub inks: [Ink; Class::ALL.len()],
    /// Where the disk differs from the one that it is compared with.
    pub different: Ink,
}

impl Palette {
    /// The look of something on the map.
    #[must_use]
    pub fn ink(&self, kind: impl Into<Kind>) -> Ink {
        match kind.into() {
            Kind::Of(class) => self.inks[class as usize],
            Kind::Different => self.different,
        }
    }
}

/// What can be seen on the map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// What becomes of guest bytes.
    Of(Class),
    /// Bytes that differ from those of another disk: drawn over the rest.
    Different,
}

impl From<Class> for Kind {
    fn from(class: Class) -> Self {
        Self::Of(class)
    }
}

/// How many bytes of a guest range differ from those of another disk.
pub type Differing<'a> = &'a dyn Fn(Range<u64>) -> u64;

/// Pixels, opaque, four bytes each in the order blue, green, red, alpha: what cairo and GDK take
/// without converting.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `width * height * 4` bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Largest width and height: three screens.
    const MAX_SIDE: usize = 16384;

    /// A picture of one colour; sides are cut to a sane size and are at least one pixel.
    #[must_use]
    pub fn new(width: usize, height: usize, paper: Rgb) -> Self {
        let (width, height) = (
            width.clamp(1, Self::MAX_SIDE),
            height.clamp(1, Self::MAX_SIDE),
        );
        let mut pixels = vec![u8::MAX; width * height * 4];
        for pixel in pixels.chunks_exact_mut(4) {
            pixel[..3].copy_from_slice(&[paper.2, paper.1, paper.0]);
        }
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Fills a rectangle, cut to the picture, with the pattern of `kind`.
    pub fn fill(&mut self, rect: Rect, kind: impl Into<Kind>, ink: Ink) {
        let kind = kind.into();
        let cut = |value: i64, most: usize| usize::try_from(value).unwrap_or(0).min(most);
        let (left, right) = (
            cut(rect.x, self.width),
            cut(rect.x + rect.width, self.width),
        );
        let (top, bottom) = (
            cut(rect.y, self.height),
            cut(rect.y + rect.height, self.height),
        );
        for y in top..bottom {
            let row = &mut self.pixels[(y * self.width + left) * 4..(y * self.width + right) * 4];
            for (x, pixel) in (left..).zip(row.chunks_exact_mut(4)) {
                let colour = if is_marked(kind, x, y) {
                    ink.mark
                } else {
                    ink.ground
                };
                pixel[..3].copy_from_slice(&[colour.2, colour.1, colour.0]);
            }
        }
    }
}

/// Draws what `layout` shows, `scale` device pixels to a logical one, and over it what differs.
pub fn draw(
    layout: &Layout,
    scale: u32,
    palette: &Palette,
    share: impl Fn(Cell) -> Share,
    differing: Option<Differing<'_>>,
) -> Picture {
    let scale = i64::from(scale.clamp(1, 8));
    let side = |logical: i64| usize::try_from(logical * scale).unwrap_or(0);
    let (width, height) = layout.view();
    let mut picture = Picture::new(side(width), side(height), palette.paper);
    for (spot, rect) in layout.visible() {
        // The gap between cells is one logical pixel, and stays thin on fine screens.
        let inner = Rect {
            x: rect.x * scale,
            y: rect.y * scale,
            width: rect.width * scale - scale,
            height: rect.height * scale - scale,
        };
        let share = share(spot.cell);
        let least = least_mark(inner);
        for (class, part) in gauge(&share, inner, least) {
            picture.fill(part, class, palette.ink(class));
        }
        if let Some(part) = differing.and_then(|differing| {
            // Twice as high as others at least: it is what is looked for.
            mark(differing, spot.guest, inner, 2 * least)
        }) {
            picture.fill(part, Kind::Different, palette.different);
        }
    }
    picture
}

/// The part of a cell's rectangle, from the bottom up, that stands for the bytes of `guest` that
/// differ; none when they do not.
pub(super) fn mark(
    differing: Differing<'_>,
    guest: Range<u64>,
    rect: Rect,
    least: i64,
) -> Option<Rect> {
    let length = guest.end.saturating_sub(guest.start).max(1);
    let bytes = differing(guest);
    if bytes == 0 {
        return None;
    }
    let exact = i128::from(rect.height) * i128::from(bytes) / i128::from(length);
    let height = i64::try_from(exact).unwrap_or(rect.height);
    let height = height.max(least).min(rect.height);
    Some(Rect {
        y: rect.y + rect.height - height,
        height,
        ..rect
    })
}

/// Height of the least part of a cell that the eye finds.
pub(super) fn least_mark(cell: Rect) -> i64 {
    (cell.height / 6).max(1)
}

/// Draws the whole disk as one strip, a gauge for each device pixel across: the minimap.
#[must_use]
pub fn draw_strip(
    summary: &Summary,
    (width, height): (u32, u32),
    scale: u32,
    mirrored: bool,
    palette: &Palette,
    differing: Option<Differing<'_>>,
) -> Picture {
    let side = |logical: u32| usize::try_from(logical.saturating_mul(scale)).unwrap_or(0);
    let mut picture = Picture::new(side(width), side(height), palette.paper);
    let columns = u64::try_from(picture.width).unwrap_or(0);
    let start = |column: u64| {
        let start = u128::from(summary.size()) * u128::from(column) / u128::from(columns.max(1));
        u64::try_from(start).unwrap_or(u64::MAX)
    };
    for (x, column) in (0_i64..).zip(0..columns) {
        let guest = start(column)..start(column + 1);
        let share = summary.range_share(guest.clone());
        let rect = Rect {
            x: if mirrored {
                pixels(columns - 1 - column, 1)
            } else {
                x
            },
            y: 0,
            width: 1,
            height: i64::try_from(picture.height).unwrap_or(0),
        };
        let least = 2 * i64::from(scale);
        for (class, part) in gauge(&share, rect, least) {
            picture.fill(part, class, palette.ink(class));
        }
        if let Some(part) = differing.and_then(|it| mark(it, guest, rect, 3 * least)) {
            picture.fill(part, Kind::Different, palette.different);
        }
    }
    picture
}

/// Divides a cell's rectangle among its classes, the first at the bottom, none less than `least`
/// pixels high unless there is no room.
pub fn gauge(share: &Share, rect: Rect, least: i64) -> impl Iterator<Item = (Class, Rect)> {
    let mut heights = [0_i64; Class::ALL.len()];
    let total = share.total().max(1);
    let classes = i64::try_from(share.classes().count()).unwrap_or(1);
    let least = least.min(rect.height / classes.max(1)).max(1);
    let mut given = 0;
    for class in share.classes() {
        let exact = i128::from(rect.height) * i128::from(share.of(class)) / i128::from(total);
        let height = i64::try_from(exact).unwrap_or(0).max(least);
        heights[class as usize] = height;
        given += height;
    }
    // Rounding leaves a few pixels over; the tallest class gets them. What the small ones have too
    // much, whichever is the tallest then gives.
    while let Some(tallest) = heights.iter_mut().max()
        && given != rect.height
        && (given < rect.height || *tallest > 1)
    {
        let step = (rect.height - given).max(-1);
        *tallest += step;
        given += step;
    }
    let mut bottom = rect.y + rect.height;
    Class::ALL
        .into_iter()
        .zip(heights)
        .filter(|(_, height)| *height > 0)
        .map(move |(class, height)| {
            bottom -= height;
            let part = Rect {
                y: bottom,
                height,
                ..rect
            };
            (class, part)
        })
}

/// Whether a pixel belongs to the pattern of a kind: data is plain, data of backing files dotted,
/// compressed data hatched, zeroes ruled, what nobody holds is plain, and what differs is hatched
/// crosswise.
fn is_marked(kind: Kind, x: usize, y: usize) -> bool {
    match kind {
        Kind::Of(Class::Data | Class::Unallocated) => false,
        Kind::Of(Class::Backing) => x % 4 == 1 && y % 4 == 1 || x % 4 == 3 && y % 4 == 3,
        Kind::Of(Class::Compressed) => (x + y).is_multiple_of(4),
        Kind::Of(Class::Zero) => y % 3 == 1,
        Kind::Different => (x + y).is_multiple_of(4) || (x + 3 * y).is_multiple_of(4),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::MapEntry;
    use crate::plot::layout::Arrangement;
    use crate::plot::summary::SummaryBuilder;
    use crate::units::{GIB, TIB};

    fn palette() -> Palette {
        let shades = [10, 60, 110, 160, 210];
        Palette {
            paper: Rgb(255, 255, 255),
            inks: shades.map(|shade| Ink {
                ground: Rgb(shade, shade, shade),
                mark: Rgb(shade + 1, shade, shade),
            }),
            different: Ink {
                ground: Rgb(240, 240, 240),
                mark: Rgb(240, 240, 240),
            },
        }
    }

    fn rect(height: i64) -> Rect {
        Rect {
            x: 3,
            y: 5,
            width: 4,
            height,
        }
    }

    #[test]
    fn a_byte_in_a_tebibyte_shows() {
        let mut share = Share::only(Class::Unallocated, 1 << 40);
        share.add(Class::Compressed, 1);
        let parts: Vec<_> = gauge(&share, rect(7), 1).collect();
        assert_eq!(parts[0].0, Class::Compressed);
        assert_eq!((parts[0].1.y, parts[0].1.height), (11, 1));
        assert_eq!((parts[1].1.y, parts[1].1.height), (5, 6));
    }

    #[test]
    fn the_picture_has_the_colours_of_what_is_there() {
        let layout = Layout::new(GIB, Arrangement::Linear, &[], 0, (300, 200));
        let palette = palette();
        let picture = draw(
            &layout,
            2,
            &palette,
            |cell| {
                let class = if cell.index == 0 {
                    Class::Data
                } else {
                    Class::Zero
                };
                Share::only(class, 5)
            },
            None,
        );
        let (width, height) = layout.view();
        assert_eq!(picture.width as i64, width * 2);
        assert_eq!(picture.pixels.len() as i64, width * height * 16);
        assert_eq!(picture.pixels[..4], [10, 10, 10, 255]);
        let second = usize::try_from(layout.pitch().0).unwrap() * 2 * 4;
        assert_eq!(picture.pixels[second..second + 4], [160, 160, 160, 255]);
        assert_eq!(
            picture.pixels[second - 4..second],
            [255, 255, 255, 255],
            "the gap"
        );
    }

    #[test]
    fn the_strip_shows_one_cluster_and_can_be_mirrored() {
        let mut builder = SummaryBuilder::new(64 * TIB);
        let mut entry = MapEntry {
            guest: 0..64 * TIB - 512,
            depth: 0,
            present: false,
            zero: true,
            data: false,
            compressed: false,
            host: None,
        };
        builder.add(&entry);
        entry.guest = 64 * TIB - 512..64 * TIB;
        (entry.data, entry.present) = (true, true);
        builder.add(&entry);
        let summary = builder.finish();
        for mirrored in [false, true] {
            let strip = draw_strip(&summary, (300, 20), 2, mirrored, &palette(), None);
            assert_eq!((strip.width, strip.height), (600, 40));
            let blue: Vec<u8> = strip.pixels.chunks(4).map(|pixel| pixel[0]).collect();
            let x = if mirrored { 0 } else { 599 };
            assert_eq!(blue.iter().filter(|blue| **blue == 10).count(), 4);
            assert_eq!(blue[600 * 39 + x], 10, "at the bottom");
        }
    }

    #[test]
    fn what_differs_is_drawn_over_the_rest() {
        let layout = Layout::new(GIB, Arrangement::Linear, &[], 0, (300, 200));
        let share = |_| Share::only(Class::Data, 5);
        let one_byte = |guest: Range<u64>| u64::from(guest.contains(&0));
        let picture = draw(&layout, 1, &palette(), share, Some(&one_byte));
        let height = usize::try_from(layout.pitch().1).unwrap() - 1;
        let blue = |row: usize, x: usize| picture.pixels[(row * picture.width + x) * 4];
        assert_eq!(blue(0, 0), 10, "most of the cell is as it was");
        assert_eq!(blue(height - 1, 0), 240, "a byte shows");
        let next = usize::try_from(layout.pitch().0).unwrap();
        assert_eq!(blue(height - 1, next), 10, "the next cell does not differ");
        let all = |guest: Range<u64>| guest.end - guest.start;
        let all = draw(&layout, 1, &palette(), share, Some(&all));
        assert_eq!(all.pixels[0], 240);
        let summary = SummaryBuilder::new(64 * TIB).finish();
        let size = (300, 20);
        let strip = draw_strip(&summary, size, 1, false, &palette(), Some(&one_byte));
        let marked = strip.pixels.chunks(4).filter(|pixel| pixel[0] == 240);
        assert_eq!(marked.count(), 6);
    }

    proptest! {
        #[test]
        fn a_gauge_fills_its_cell(
            bytes in prop::array::uniform5(0_u64..1 << 50), height in 5_i64..40, least in 0_i64..4,
        ) {
            let mut share = Share::default();
            for (class, bytes) in Class::ALL.into_iter().zip(bytes) {
                share.add(class, bytes);
            }
            prop_assume!(share.total() > 0);
            let parts: Vec<_> = gauge(&share, rect(height), least).collect();
            prop_assert_eq!(parts.len(), share.classes().count());
            let mut bottom = 5 + height;
            for (_, part) in parts {
                bottom -= part.height;
                prop_assert_eq!(part.y, bottom);
                prop_assert!(part.height > 0);
            }
            prop_assert_eq!(bottom, 5);
        }
    }
}
