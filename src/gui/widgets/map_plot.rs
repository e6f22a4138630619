//! The plot of what is stored by guest offset: axes and areas by plotters, for the screen and for
//! files.

use platter::plot::allocation::{AllocationSeries, ticks};
use platter::plot::cell::Class;
use platter::plot::raster::{Palette, Rgb};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters_cairo::CairoBackend;
use relm4::gtk::cairo;

use crate::format;

/// How the plot looks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlotLook {
    /// Colours of the areas.
    pub(crate) palette: Palette,
    /// Axis and its names.
    pub(crate) text: Rgb,
    /// Height of the letters in pixels of the drawing.
    pub(crate) font_size: f64,
    /// A line is as many pixels of the drawing thick.
    pub(crate) line: u32,
    /// The disk starts at the right.
    pub(crate) mirrored: bool,
}

/// Fills `root` with the paper's colour.
///
/// # Errors
/// When the backend fails.
pub(crate) fn fill<B: DrawingBackend>(
    root: &DrawingArea<B, Shift>,
    look: &PlotLook,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    root.fill(&colour(look.palette.paper))
}

/// Paints the plot through cairo, with paper, onto the whole of `context`, which is `size` pixels
/// large. The context must not be clipped: the backend would shrink the plot to the clip.
///
/// # Errors
/// When cairo fails.
pub(crate) fn paint(
    context: &cairo::Context,
    size: (u32, u32),
    series: &AllocationSeries,
    look: &PlotLook,
) -> Result<(), cairo::Error> {
    let failed = |_| cairo::Error::InvalidStatus;
    let root = CairoBackend::new(context, size)
        .map_err(|_| cairo::Error::InvalidSize)?
        .into_drawing_area();
    fill(&root, look).map_err(failed)?;
    draw(&root, series, look).map_err(failed)
}

/// Draws `series` onto `root`, which is empty.
///
/// # Errors
/// When the backend fails.
pub(crate) fn draw<B: DrawingBackend>(
    root: &DrawingArea<B, Shift>,
    series: &AllocationSeries,
    look: &PlotLook,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let (width, _) = root.dim_in_pixel();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a font's height"
    )]
    let letter = look.font_size.max(1.0) as u32;
    let offsets = BytesAxis {
        most: series.size.max(1),
        ticks: ticks(series.size, u64::from(width / (letter * 9)).clamp(1, 12)),
        mirrored: look.mirrored,
    };
    let peak = series.peak();
    let height = BytesAxis {
        most: peak.max(1),
        ticks: if peak == 0 {
            Vec::new()
        } else {
            ticks(peak, 2)
        },
        mirrored: false,
    };
    let mut chart = ChartBuilder::on(root)
        .margin_left(letter)
        .margin_right(letter * 3)
        .margin_top(letter)
        .x_label_area_size(letter * 2)
        .y_label_area_size(letter * 5)
        .build_cartesian_2d(offsets, height)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(colour(look.text).mix(0.4).stroke_width(look.line))
        .x_labels(16)
        .y_labels(4)
        .set_all_tick_mark_size(letter / 3)
        .label_style(
            ("sans-serif", look.font_size)
                .into_font()
                .color(&colour(look.text)),
        )
        .draw()?;
    // Each area reaches from the axis to the top of its class; what lies below is painted later.
    let stacked = [Class::Compressed, Class::Backing, Class::Data];
    for (number, class) in stacked.into_iter().enumerate() {
        let below = &stacked[number..];
        if series.steps.iter().all(|share| share.of(class) == 0) {
            continue;
        }
        let fill = colour(look.palette.ink(class).ground);
        let outline = series.outline(|class| below.contains(&class));
        chart.draw_series(AreaSeries::new(outline, 0.0, fill.filled()))?;
    }
    root.present()
}

fn colour(rgb: Rgb) -> RGBColor {
    RGBColor(rgb.0, rgb.1, rgb.2)
}

/// Bytes along an axis, from 0, with marks at round binary numbers.
struct BytesAxis {
    most: u64,
    ticks: Vec<u64>,
    mirrored: bool,
}

impl BytesAxis {
    #[allow(
        clippy::cast_precision_loss,
        reason = "a plot is not finer than 53 bits"
    )]
    fn end(&self) -> f64 {
        self.most as f64
    }
}

impl Ranged for BytesAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let limit = if self.mirrored {
            (limit.1, limit.0)
        } else {
            limit
        };
        RangedCoordf64::from(0.0..self.end()).map(value, limit)
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a plot is not finer than 53 bits"
    )]
    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.iter().map(|tick| *tick as f64).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..self.end()
    }
}

impl ValueFormatter<f64> for BytesAxis {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "only our own marks are formatted"
    )]
    fn format_ext(&self, value: &f64) -> String {
        format::size(*value as u64)
    }
}

#[cfg(test)]
mod tests {
    use platter::plot::raster::Ink;
    use platter::plot::summary::SummaryBuilder;

    use super::*;

    #[test]
    fn the_axis_reads_in_binary_units_in_both_directions() {
        let ink = Ink {
            ground: Rgb(1, 2, 3),
            mark: Rgb(1, 2, 3),
        };
        let mut look = PlotLook {
            palette: Palette {
                paper: Rgb(255, 255, 255),
                inks: [ink; 5],
                different: ink,
            },
            text: Rgb(0, 0, 0),
            font_size: 11.0,
            line: 1,
            mirrored: false,
        };
        let summary = SummaryBuilder::new(40 << 30).finish();
        let series = AllocationSeries::new(&summary, 100);
        let place = |look: &PlotLook| {
            let mut svg = String::new();
            let root = SVGBackend::with_string(&mut svg, (600, 100)).into_drawing_area();
            draw(&root, &series, look).unwrap();
            drop(root);
            let lines: Vec<_> = svg.lines().collect();
            let label = lines.iter().position(|line| line.contains("40\u{a0}GiB"));
            let element = lines[label.unwrap() - 1];
            let x = element
                .split("x=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap();
            x.parse::<i32>().unwrap()
        };
        assert!(place(&look) > 500);
        look.mirrored = true;
        assert!(place(&look) < 100);
    }
}
