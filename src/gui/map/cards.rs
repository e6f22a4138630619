//! The cards beside the map: its legend, and what is under the pointer or selected.

use platter::plot::cell::{Class, Share};
use platter::plot::layout::Rect;
use platter::plot::raster::{Kind, Palette, Picture};
use relm4::gtk::{self, pango, prelude::*};

use super::details::Details;
use super::helpers::class_name;
use super::render::texture;
use crate::format;
use crate::i18n::gettext;

/// Colour, name and sum of each class.
#[derive(Debug)]
pub(super) struct LegendCard {
    pub(super) root: gtk::Box,
    rows: Vec<LegendRow>,
    layers: gtk::Label,
}

#[derive(Debug)]
struct LegendRow {
    class: Class,
    swatch: Swatch,
    sum: gtk::Label,
}

impl LegendCard {
    pub(super) fn new() -> Self {
        let root = card(&gettext("Legend"), gtk::AccessibleRole::Group);
        let grid = gtk::Grid::builder()
            .column_spacing(9)
            .row_spacing(6)
            .build();
        let layers = wrapping("");
        layers.add_css_class("dim-label");
        layers.add_css_class("map-caption");
        layers.set_visible(false);
        // The line below each class is free for what it is made up of.
        let rows = (0..).step_by(2).zip(Class::ALL).map(|(number, class)| {
            let swatch = Swatch::new(gtk::Align::Center);
            let name = wrapping(&class_name(class));
            name.set_hexpand(true);
            let sum = gtk::Label::builder()
                .xalign(1.0)
                .valign(gtk::Align::Start)
                .css_classes(["dim-label", "numeric"])
                .build();
            grid.attach(&swatch.root, 0, number, 1, 1);
            grid.attach(&name, 1, number, 1, 1);
            grid.attach(&sum, 2, number, 1, 1);
            if class == Class::Backing {
                grid.attach(&layers, 1, number + 1, 2, 1);
            }
            LegendRow { class, swatch, sum }
        });
        let rows = rows.collect();
        root.append(&grid);
        Self { root, rows, layers }
    }

    /// Shows the colours of the map.
    pub(super) fn set_palette(&self, palette: &Palette, scale: i32) {
        for row in &self.rows {
            row.swatch.paint(row.class, palette, scale);
        }
    }

    /// Says how the data of backing layers is spread, a line each.
    pub(super) fn set_layers(&self, lines: &[String]) {
        self.layers.set_visible(!lines.is_empty());
        self.layers.set_label(&lines.join("\n"));
    }

    /// Shows the sums, or none.
    pub(super) fn set_sums(&self, share: Option<&Share>) {
        for row in &self.rows {
            let bytes = share.map(|share| share.of(row.class));
            row.sum
                .set_label(&bytes.map_or_else(String::new, format::size));
            let exact = bytes.map(format::exact_bytes);
            row.sum.set_tooltip_text(exact.as_deref());
        }
    }
}

/// What something looks like on the map, beside its name.
#[derive(Debug)]
pub(super) struct Swatch {
    pub(super) root: gtk::Image,
}

impl Swatch {
    /// In logical pixels.
    const SIDE: i32 = 14;

    pub(super) fn new(valign: gtk::Align) -> Self {
        let root = gtk::Image::builder()
            .pixel_size(Self::SIDE)
            .accessible_role(gtk::AccessibleRole::Presentation)
            .valign(valign)
            .css_classes(["map-swatch"])
            .build();
        Self { root }
    }

    /// Shows the colours of `kind`.
    pub(super) fn paint(&self, kind: impl Into<Kind>, palette: &Palette, scale: i32) {
        let kind = kind.into();
        let side = Self::SIDE * scale.max(1);
        let pixels = usize::try_from(side).unwrap_or(0);
        let mut picture = Picture::new(pixels, pixels, palette.paper);
        let rect = Rect {
            width: side.into(),
            height: side.into(),
            ..Rect::default()
        };
        picture.fill(rect, kind, palette.ink(kind));
        self.root.set_paintable(Some(&texture(picture)));
    }
}

/// The facts of a cell, line by line.
#[derive(Debug)]
pub(super) struct DetailsCard {
    pub(super) root: gtk::Box,
    heading: gtk::Label,
    hint: gtk::Label,
    grid: gtk::Grid,
    rows: Vec<(gtk::Label, gtk::Label)>,
}

impl DetailsCard {
    pub(super) fn new() -> Self {
        // A status region: screen readers say what changes in it.
        let root = card("", gtk::AccessibleRole::Status);
        let heading = root.first_child().and_downcast().unwrap_or_default();
        let grid = gtk::Grid::builder()
            .column_spacing(9)
            .row_spacing(6)
            .visible(false)
            .build();
        let hint = wrapping(&gettext(
            "Point at a cell, or move to one with the arrow keys.",
        ));
        hint.add_css_class("dim-label");
        root.append(&hint);
        root.append(&grid);
        let card = Self {
            root,
            heading,
            hint,
            grid,
            rows: Vec::new(),
        };
        card.clear();
        card
    }

    /// Shows the facts of a cell.
    pub(super) fn show(&mut self, details: &Details) {
        self.heading.set_label(&details.heading());
        self.hint.set_visible(false);
        self.grid.set_visible(true);
        let rows = details.rows();
        while self.rows.len() < rows.len() {
            self.add_row();
        }
        for (number, (caption, value)) in self.rows.iter().enumerate() {
            let row = rows.get(number);
            caption.set_visible(row.is_some());
            value.set_visible(row.is_some());
            if let Some((caption_text, value_text)) = row {
                caption.set_label(caption_text);
                value.set_label(value_text);
            }
        }
    }

    /// Shows no cell.
    pub(super) fn clear(&self) {
        self.heading.set_label(&gettext("Cell"));
        self.hint.set_visible(true);
        self.grid.set_visible(false);
    }

    fn add_row(&mut self) {
        let caption = gtk::Label::builder()
            .xalign(0.0)
            .valign(gtk::Align::Start)
            .css_classes(["dim-label"])
            .build();
        let value = wrapping("");
        value.set_hexpand(true);
        value.add_css_class("numeric");
        let number = i32::try_from(self.rows.len()).unwrap_or(i32::MAX);
        self.grid.attach(&caption, 0, number, 1, 1);
        self.grid.attach(&value, 1, number, 1, 1);
        self.rows.push((caption, value));
    }
}

pub(super) fn card(title: &str, role: gtk::AccessibleRole) -> gtk::Box {
    let card = gtk::Box::builder()
        .orientation(gtk::Orientation::Vertical)
        .spacing(9)
        .hexpand(true)
        .accessible_role(role)
        .css_classes(["card", "map-card"])
        .build();
    let title = wrapping(title);
    title.add_css_class("map-title");
    card.append(&title);
    card
}

pub(super) fn wrapping(text: &str) -> gtk::Label {
    gtk::Label::builder()
        .label(text)
        .xalign(0.0)
        .wrap(true)
        .wrap_mode(pango::WrapMode::WordChar)
        // No text makes the card wider, or the map would move.
        .max_width_chars(16)
        .build()
}
