//! A small ring that fills as work goes on, or turns while nobody knows how far it is.

use std::cell::Cell;
use std::f64::consts::{FRAC_PI_2, TAU};
use std::rc::Rc;

use relm4::gtk::{self, cairo, prelude::*};

const SIZE: i32 = 16;
const WIDTH: f64 = 2.5;
/// Turns a second.
const SPEED: f64 = 0.8;

/// The ring.
#[derive(Clone)]
pub(crate) struct Ring {
    root: gtk::DrawingArea,
    shown: Rc<Cell<Shown>>,
}

/// From and to, as shares of the circle from the top.
#[derive(Clone, Copy, Default)]
struct Shown {
    from: f64,
    to: f64,
}

impl Ring {
    /// An empty ring, in the colour of text around it.
    pub(crate) fn new() -> Self {
        let root = gtk::DrawingArea::builder()
            .content_width(SIZE)
            .content_height(SIZE)
            .halign(gtk::Align::Center)
            .valign(gtk::Align::Center)
            .accessible_role(gtk::AccessibleRole::Presentation)
            .build();
        let shown = Rc::new(Cell::new(Shown::default()));
        let drawn = Rc::clone(&shown);
        root.set_draw_func(move |area, context, width, height| {
            // A ring that cannot be drawn is none: nothing hangs on it.
            let _ = draw(area, context, f64::from(width.min(height)), drawn.get());
        });
        Self { root, shown }
    }

    pub(crate) fn root(&self) -> &gtk::DrawingArea {
        &self.root
    }

    /// Shows `fraction` (0 to 1); without one, a piece that turns with `seconds`.
    pub(crate) fn show(&self, fraction: Option<f64>, seconds: f64) {
        let shown = match fraction {
            Some(fraction) => Shown {
                from: 0.0,
                to: fraction.clamp(0.0, 1.0),
            },
            None => {
                let from = (seconds * SPEED).fract();
                Shown {
                    from,
                    to: from + 0.25,
                }
            }
        };
        self.shown.set(shown);
        self.root.queue_draw();
    }
}

fn draw(
    area: &gtk::DrawingArea,
    context: &cairo::Context,
    size: f64,
    shown: Shown,
) -> Result<(), cairo::Error> {
    let color = area.style_context().color();
    let (red, green, blue) = (
        f64::from(color.red()),
        f64::from(color.green()),
        f64::from(color.blue()),
    );
    let (center, radius) = (size / 2.0, (size - WIDTH) / 2.0);
    context.set_line_width(WIDTH);
    context.set_source_rgba(red, green, blue, 0.25);
    context.arc(center, center, radius, 0.0, TAU);
    context.stroke()?;
    context.set_source_rgba(red, green, blue, f64::from(color.alpha()));
    let angle = |share: f64| share * TAU - FRAC_PI_2;
    context.arc(center, center, radius, angle(shown.from), angle(shown.to));
    context.stroke()
}
