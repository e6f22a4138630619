//! The map as a drawing: scalable vector graphics, one path a class.

use std::fmt::Write;

use crate::plot::cell::{Cell, Class, Share};
use crate::plot::layout::{Layout, Rect};
use crate::plot::raster::{Differing, Kind, Palette, Rgb, gauge, least_mark, mark};

/// Height of a line of the legend.
const LINE: i64 = 22;
/// Distance of everything from the border, and of the map from its legend.
const MARGIN: i64 = 16;

/// Draws what `layout` shows, with a title above and the legend's lines below.
/// Colours are the palette's; patterns are left to the legend, a drawing can be zoomed.
#[must_use]
pub fn draw(
    layout: &Layout,
    palette: &Palette,
    title: &str,
    legend: &[(Kind, String)],
    share: impl Fn(Cell) -> Share,
    differing: Option<Differing<'_>>,
) -> String {
    let (width, height) = layout.view();
    let top = MARGIN + LINE;
    let lines = i64::try_from(legend.len()).unwrap_or(0);
    let mut svg = String::new();
    let total = (
        width + 2 * MARGIN,
        top + height + MARGIN + LINE * lines + MARGIN,
    );
    let paper = hex(palette.paper);
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" \
         font-family=\"Cantarell, sans-serif\" font-size=\"13\">\n<title>{2}</title>\n\
         <rect width=\"{0}\" height=\"{1}\" fill=\"{paper}\"/>\n\
         <text x=\"{MARGIN}\" y=\"{3}\" font-weight=\"bold\" fill=\"{4}\">{2}</text>",
        total.0,
        total.1,
        escape(title),
        MARGIN + LINE / 2,
        hex(contrast(palette.paper)),
    );
    for (class, path) in Class::ALL.into_iter().zip(paths(layout, top, share)) {
        let fill = hex(palette.ink(class).ground);
        let _ = writeln!(
            svg,
            "<path id=\"{}\" fill=\"{fill}\" d=\"{path}\"/>",
            class.name()
        );
    }
    if let Some(differing) = differing {
        let fill = hex(palette.different.ground);
        let path = differences(layout, top, differing);
        let _ = writeln!(svg, "<path id=\"different\" fill=\"{fill}\" d=\"{path}\"/>");
    }
    for (number, (kind, text)) in (0..).zip(legend) {
        let y = top + height + MARGIN + number * LINE;
        let _ = writeln!(
            svg,
            "<rect x=\"{MARGIN}\" y=\"{y}\" width=\"12\" height=\"12\" rx=\"3\" fill=\"{}\" stroke=\"{}\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{}\">{}</text>",
            hex(palette.ink(*kind).ground),
            hex(palette.ink(*kind).mark),
            MARGIN + 20,
            y + 11,
            hex(contrast(palette.paper)),
            escape(text),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The cells of each class as one path, neighbours in a row joined.
fn paths(layout: &Layout, top: i64, share: impl Fn(Cell) -> Share) -> [String; Class::ALL.len()] {
    let mut paths: [String; Class::ALL.len()] = Default::default();
    for (spot, rect) in layout.visible() {
        let inner = inner(rect);
        for (class, part) in gauge(&share(spot.cell), inner, least_mark(inner)) {
            add(&mut paths[class as usize], part, layout.view(), top);
        }
    }
    paths
}

/// What differs, as one path.
fn differences(layout: &Layout, top: i64, differing: Differing<'_>) -> String {
    let mut path = String::new();
    for (spot, rect) in layout.visible() {
        let inner = inner(rect);
        if let Some(part) = mark(differing, spot.guest, inner, 2 * least_mark(inner)) {
            add(&mut path, part, layout.view(), top);
        }
    }
    path
}

/// A cell without the gap to the next.
fn inner(rect: Rect) -> Rect {
    Rect {
        width: rect.width - 1,
        height: rect.height - 1,
        ..rect
    }
}

/// Adds a rectangle, cut to the view, to a path.
fn add(path: &mut String, part: Rect, (width, height): (i64, i64), top: i64) {
    let (x, y) = (part.x.max(0), part.y.max(0));
    let (right, bottom) = (
        (part.x + part.width).min(width),
        (part.y + part.height).min(height),
    );
    if x < right && y < bottom {
        let _ = write!(
            path,
            "M{} {}h{}v{}h-{}z",
            x + MARGIN,
            y + top,
            right - x,
            bottom - y,
            right - x
        );
    }
}

fn hex(colour: Rgb) -> String {
    format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2)
}

/// Black or white, whichever reads on `paper`.
fn contrast(paper: Rgb) -> Rgb {
    let light = u32::from(paper.0) * 3 + u32::from(paper.1) * 6 + u32::from(paper.2);
    if light > 1280 {
        Rgb(0x1e, 0x1e, 0x1e)
    } else {
        Rgb(0xff, 0xff, 0xff)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        // Control characters are not allowed in XML at all.
        .replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::layout::Arrangement;
    use crate::plot::raster::Ink;
    use crate::units::GIB;

    #[test]
    fn names_are_escaped_and_every_class_has_its_path() {
        let layout = Layout::new(GIB, Arrangement::Hilbert, &[], 0, (300, 200));
        let grey = |shade| Rgb(shade, shade, shade);
        let palette = Palette {
            paper: grey(255),
            inks: [0, 50, 100, 150, 200].map(|shade| Ink {
                ground: grey(shade),
                mark: grey(shade),
            }),
            different: Ink {
                ground: grey(10),
                mark: grey(10),
            },
        };
        let legend = [(Class::Data.into(), "Data <5 GiB>".to_owned())];
        let first = |guest: std::ops::Range<u64>| u64::from(guest.start == 0);
        let svg = draw(
            &layout,
            &palette,
            "a&b\u{1}\".qcow2",
            &legend,
            |cell| {
                Share::only(
                    if cell.index % 2 == 0 {
                        Class::Data
                    } else {
                        Class::Zero
                    },
                    9,
                )
            },
            Some(&first),
        );
        assert!(svg.contains("<title>a&amp;b &quot;.qcow2</title>"));
        assert!(svg.contains("Data &lt;5 GiB&gt;"));
        let cells = Cell::count(GIB, layout.shift());
        let data = svg
            .lines()
            .find(|line| line.contains("id=\"data\""))
            .unwrap();
        assert_eq!(data.matches('M').count() as u64, cells.div_ceil(2));
        let different = svg.lines().find(|line| line.contains("id=\"different\""));
        assert_eq!(different.unwrap().matches('M').count(), 1);
        assert!(svg.contains("<path id=\"compressed\" fill=\"#646464\" d=\"\"/>"));
    }
}
