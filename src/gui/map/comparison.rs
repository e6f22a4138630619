//! Where the disk differs from another one: a card of its own, and the way from place to place.

use std::sync::Arc;

use platter::plot::raster::{Kind, Palette};
use relm4::gtk::{self, prelude::*};
use relm4::prelude::*;

use super::cards::{Swatch, card, wrapping};
use super::{MapInput, MapPane, MapPaneWidgets};
use crate::a11y;
use crate::comparison::Comparison;
use crate::format;
use crate::i18n::{counted, fill, gettext};
use crate::pane::PaneOutput;

/// Names the other disk, says how much differs and leads to it.
#[derive(Debug)]
pub(super) struct ComparisonCard {
    pub(super) root: gtk::Box,
    swatch: Swatch,
    sentence: gtk::Label,
    previous: gtk::Button,
    next: gtk::Button,
    close: gtk::Button,
}

impl ComparisonCard {
    pub(super) fn new() -> Self {
        let root = card(&gettext("Comparison"), gtk::AccessibleRole::Group);
        root.set_visible(false);
        let swatch = Swatch::new(gtk::Align::Start);
        let sentence = wrapping("");
        sentence.set_hexpand(true);
        let line = gtk::Box::builder().spacing(9).build();
        line.append(&swatch.root);
        line.append(&sentence);
        root.append(&line);
        let button = |icon: &str, name: &str| {
            let button = gtk::Button::builder()
                .icon_name(icon)
                .css_classes(["flat"])
                .build();
            a11y::icon_button(&button, name);
            button
        };
        let previous = button("go-up-symbolic", &gettext("Previous difference"));
        let next = button("go-down-symbolic", &gettext("Next difference"));
        let close = button("window-close-symbolic", &gettext("Hide the differences"));
        close.set_hexpand(true);
        close.set_halign(gtk::Align::End);
        let buttons = gtk::Box::new(gtk::Orientation::Horizontal, 6);
        for button in [&previous, &next, &close] {
            buttons.append(button);
        }
        root.append(&buttons);
        Self {
            root,
            swatch,
            sentence,
            previous,
            next,
            close,
        }
    }

    /// Shows the colours of the map.
    pub(super) fn set_palette(&self, palette: &Palette, scale: i32) {
        self.swatch.paint(Kind::Different, palette, scale);
    }

    fn show(&self, compared: Option<&Comparison>) {
        self.root.set_visible(compared.is_some());
        let text = compared.map(sentence).unwrap_or_default();
        self.sentence.set_label(&text);
        let differs = compared.is_some_and(|compared| !compared.found.is_empty());
        self.previous.set_sensitive(differs);
        self.next.set_sensitive(differs);
    }
}

/// How the disk differs from the other one.
pub(super) fn sentence(compared: &Comparison) -> String {
    let name = format::file_name(&compared.other);
    if compared.found.is_empty() {
        return fill(&gettext("Equal to {name}"), &[("name", &name)]);
    }
    let size = format::size(compared.found.bytes());
    counted(
        "Differs from {name} in {n} place, {size}",
        "Differs from {name} in {n} places, {size}",
        compared.found.count(),
        &[("name", &name), ("size", &size)],
    )
}

/// Connects the buttons of the card.
pub(super) fn connect(model: &MapPane, sender: &ComponentSender<MapPane>) {
    let card = &model.comparison;
    for (button, forward) in [(&card.previous, false), (&card.next, true)] {
        let input = sender.input_sender().clone();
        button.connect_clicked(move |_| input.emit(MapInput::Difference(forward)));
    }
    let input = sender.input_sender().clone();
    card.close
        .connect_clicked(move |_| input.emit(MapInput::ComparisonClosed));
}

/// Gives the differences up.
pub(super) fn close(sender: &ComponentSender<MapPane>) {
    // The window outlives its panes.
    let _ = sender.output(PaneOutput::ForgetComparison);
}

impl MapPane {
    pub(super) fn compared(&self) -> Option<Arc<Comparison>> {
        self.document.as_ref()?.compared.clone()
    }

    pub(super) fn show_comparison(&self) {
        let compared = self.compared();
        self.comparison.show(compared.as_deref());
        self.save_differences.set_enabled(compared.is_some());
    }

    /// Selects the cell of the next difference after the selected cell, or of the one before it;
    /// behind the last comes the first.
    pub(super) fn select_difference(
        &mut self,
        forward: bool,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let Some(compared) = self.compared() else {
            return;
        };
        let (found, cell) = (&compared.found, self.selected.as_ref());
        let place = if forward {
            found.range_from(cell.map_or(0, |cell| cell.end))
        } else {
            found.previous(cell.map_or(u64::MAX, |cell| cell.start))
        };
        let around = || {
            if forward {
                found.range_from(0)
            } else {
                found.previous(u64::MAX)
            }
        };
        let place = place.or_else(around).map(|range| range.start);
        let Some(layout) = self.layout.as_ref() else {
            return;
        };
        if let Some(spot) = place.and_then(|byte| layout.spot_of(byte)) {
            self.select(Some(spot), widgets, sender);
        }
    }
}
