//! Moving about on the map: zoom, pan, selection.

use std::ops::Range;

use platter::plot::layout::Spot;
use relm4::gtk::prelude::*;
use relm4::prelude::*;

use super::details::Details;
use super::helpers::byte_at;
use super::{MapCommand, MapPane, MapPaneWidgets};

impl MapPane {
    pub(super) fn zoom(
        &mut self,
        steps: i32,
        at: Option<(i64, i64)>,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let at = at.or_else(|| self.selected_place());
        let Some(layout) = &mut self.layout else {
            return;
        };
        let middle = (layout.view().0 / 2, layout.view().1 / 2);
        layout.zoom(steps, at.unwrap_or(middle));
        self.refine_selection();
        self.show_view(widgets, sender);
        self.describe(sender);
    }

    pub(super) fn fit(&mut self, widgets: &MapPaneWidgets, sender: &ComponentSender<Self>) {
        if let Some(layout) = &mut self.layout {
            layout.fit();
            self.refine_selection();
            self.show_view(widgets, sender);
            self.describe(sender);
        }
    }

    pub(super) fn pan(
        &mut self,
        dx: i64,
        dy: i64,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        if let Some(layout) = &mut self.layout {
            layout.pan(dx, dy);
            self.hovered = None;
            self.show_view(widgets, sender);
        }
    }

    pub(super) fn point_at(&mut self, at: Option<(i64, i64)>, sender: &ComponentSender<Self>) {
        if self.pointer == at {
            return;
        }
        self.pointer = at;
        self.hovered = at;
        self.show_frames();
        self.describe(sender);
    }

    pub(super) fn click(
        &mut self,
        at: (i64, i64),
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let spot = self
            .layout
            .as_ref()
            .and_then(|layout| layout.spot_at(at.0, at.1));
        self.select(spot, widgets, sender);
    }

    pub(super) fn step(
        &mut self,
        columns: i64,
        rows: i64,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let Some(selected) = self.selected.clone() else {
            return self.select_middle(widgets, sender);
        };
        let layout = self.layout.as_ref();
        let next = layout.and_then(|layout| layout.neighbour(selected.start, columns, rows));
        if next.is_some() {
            self.select(next, widgets, sender);
        }
    }

    pub(super) fn page(
        &mut self,
        pages: i64,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let Some(layout) = &self.layout else { return };
        let rows = (layout.view().1 / layout.pitch().1 - 1).max(1);
        let Some(selected) = self.selected.clone() else {
            return self.select_middle(widgets, sender);
        };
        // As far as there are cells, like in a text.
        let next = (1..=rows).rev().find_map(|rows| {
            let layout = self.layout.as_ref()?;
            layout.neighbour(selected.start, 0, pages * rows)
        });
        if next.is_some() {
            self.select(next, widgets, sender);
        }
    }

    pub(super) fn select_edge(
        &mut self,
        first: bool,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let Some(subject) = &self.subject else { return };
        let byte = if first {
            0
        } else {
            subject.summary.size().saturating_sub(1)
        };
        let spot = self.layout.as_ref().and_then(|layout| layout.spot_of(byte));
        self.select(spot, widgets, sender);
    }

    pub(super) fn select_middle(
        &mut self,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        if self.selected.is_some() {
            return;
        }
        let spot = self.layout.as_ref().and_then(|layout| {
            let (width, height) = layout.view();
            let middle = layout.spot_at(width / 2, height / 2);
            middle.or_else(|| Some(layout.visible().next()?.0))
        });
        self.select(spot, widgets, sender);
    }

    /// Selects a spot, which comes into view, or nothing.
    pub(super) fn select(
        &mut self,
        spot: Option<Spot>,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        self.selected = spot.map(|spot| spot.guest);
        self.hovered = None;
        if let (Some(selected), Some(layout)) = (&self.selected, &mut self.layout) {
            layout.reveal(selected.start);
        }
        self.show_view(widgets, sender);
        self.describe(sender);
    }

    /// Shows guest bytes as large as they fit, and selects the first cell of them.
    pub(super) fn reveal(
        &mut self,
        range: Range<u64>,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        /// Of this many cells, a range makes a picture.
        const CELLS: u64 = 256;
        let Some(layout) = &mut self.layout else {
            self.to_reveal = Some(range);
            return;
        };
        layout.fit();
        let middle = range.start + (range.end.saturating_sub(range.start)) / 2;
        while layout.can_zoom_in()
            && (range.end.saturating_sub(range.start)) / layout.cell_bytes() < CELLS
        {
            layout.zoom(1, (0, 0));
        }
        layout.center_on(middle);
        let spot = layout.spot_of(range.start);
        self.select(spot, widgets, sender);
        self.canvas.grab_focus();
    }

    pub(super) fn center_on_part(
        &mut self,
        part: f64,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let (Some(subject), Some(layout)) = (&self.subject, &mut self.layout) else {
            return;
        };
        let byte = byte_at(part, subject.summary.size(), layout.is_mirrored());
        layout.center_on(byte);
        self.show_view(widgets, sender);
    }

    /// Puts the frames around the hovered and the selected cell.
    pub(super) fn show_frames(&self) {
        let Some(layout) = &self.layout else { return };
        let hovered = self
            .hovered
            .and_then(|(x, y)| layout.spot_at(x, y))
            .and_then(|spot| layout.rect_of(spot.guest.start));
        let selected = self
            .selected
            .as_ref()
            .and_then(|range| layout.rect_of(range.start));
        self.canvas.update(|content| {
            content.hovered = hovered;
            content.selected = selected;
        });
    }

    /// Has the details of the cell under the pointer read or, if there is none, of the selected.
    fn describe(&mut self, sender: &ComponentSender<Self>) {
        let layout = self.layout.as_ref();
        let hovered = self
            .hovered
            .and_then(|(x, y)| Some(layout?.spot_at(x, y)?.guest));
        let wanted = hovered.or_else(|| self.selected.clone());
        if wanted == self.described {
            return;
        }
        self.described.clone_from(&wanted);
        let (Some(guest), Some(subject)) = (wanted, self.subject.clone()) else {
            self.details.clear();
            self.card.clear();
            self.cell_spoken.clear();
            self.describe_canvas();
            return;
        };
        let (contents, compared) = (self.contents(), self.compared());
        let output = sender.command_sender().clone();
        self.details
            .post(guest, &self.background, move |guest, superseded| {
                let contents = contents.as_deref();
                let stop = || superseded.get();
                let mut details = Details::read(&subject.chain, contents, guest, &stop);
                let compared = compared.as_deref();
                details.differs = compared.map(|it| it.found.bytes_in(details.guest.clone()));
                output.emit(MapCommand::Details(subject.key, Box::new(details)));
            });
    }

    /// Has the details read once more: more is known of the cell.
    pub(super) fn describe_again(&mut self, sender: &ComponentSender<Self>) {
        self.described = None;
        self.describe(sender);
    }

    /// After zooming, the selected cell is the one where the selected bytes start.
    fn refine_selection(&mut self) {
        let (Some(selected), Some(layout)) = (&self.selected, &self.layout) else {
            return;
        };
        self.selected = layout.spot_of(selected.start).map(|spot| spot.guest);
    }

    fn selected_place(&self) -> Option<(i64, i64)> {
        let layout = self.layout.as_ref()?;
        let rect = layout.rect_of(self.selected.as_ref()?.start)?;
        let place = (rect.x + rect.width / 2, rect.y + rect.height / 2);
        let (width, height) = layout.view();
        let inside = (0..width).contains(&place.0) && (0..height).contains(&place.1);
        inside.then_some(place)
    }
}
