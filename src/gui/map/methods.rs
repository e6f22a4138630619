//! What the pane does when it is shown an image, and how its picture follows.

use std::rc::Rc;
use std::sync::Arc;

use platter::plot::layout::{Arrangement, Layout};
use platter::plot::summary::Summary;
use platter::{Control, Stop};
use relm4::adw::prelude::*;
use relm4::gtk;
use relm4::gtk::{gdk, gio};
use relm4::prelude::*;

use super::cards::{DetailsCard, LegendCard};
use super::comparison::{ComparisonCard, sentence};
use super::details::Details;
use super::export::plot_picture;
use super::helpers::{band_name, layer_texts, plot_title, scale_text, summary_text};
use super::latest::Latest;
use super::palette::Theme;
use super::render::{self, Frame, FrameRequest, texture};
use super::subject::{Subject, SubjectKey, regions};
use super::{MapCommand, MapInput, MapPane, MapPaneWidgets};
use crate::a11y;
use crate::describe;
use crate::pane::PaneInit;
use crate::session::Document;
use crate::widgets::map_canvas::{CanvasContent, MapCanvas};
use crate::widgets::map_plot::PlotLook;
use crate::widgets::map_strip::MapStrip;

impl MapPane {
    /// Summaries of so many disks are kept, for coming back: 7 MiB each.
    const MOST_RECENT: usize = 3;
    /// Height of the minimap.
    const STRIP_HEIGHT: u32 = 26;

    pub(super) fn new(init: PaneInit, sender: &ComponentSender<Self>) -> Self {
        let input = sender.input_sender().clone();
        let canvas = MapCanvas::new(move |width, height| {
            input.emit(MapInput::CanvasResized(width, height));
        });
        let input = sender.input_sender().clone();
        let strip = MapStrip::new(move |width| {
            input.emit(MapInput::StripResized(width));
        });
        let input = sender.input_sender().clone();
        let plot = MapStrip::new(move |width| {
            input.emit(MapInput::PlotResized(width));
        });
        Self {
            background: init.background,
            visible: false,
            document: None,
            reading: None,
            subject: None,
            recent: Vec::new(),
            arrangement: Arrangement::default(),
            layout: None,
            area: (0, 0),
            strip_width: 0,
            plot_width: 0,
            theme: Theme::current(),
            pictured: None,
            pointer: None,
            hovered: None,
            selected: None,
            described: None,
            spoken: String::new(),
            cell_spoken: String::new(),
            to_reveal: None,
            frames: Latest::default(),
            details: Latest::default(),
            canvas,
            strip,
            plot,
            legend: LegendCard::new(),
            comparison: ComparisonCard::new(),
            save_differences: gio::SimpleAction::new("differences-csv", None),
            card: DetailsCard::new(),
            file_dialog: None,
        }
    }

    pub(super) fn show(
        &mut self,
        document: Rc<Document>,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let key = SubjectKey::from(&*document);
        let same = self.key() == Some(key);
        let before = self.contents();
        let compared_before = self.compared();
        if !same {
            self.leave();
        }
        self.document = Some(document);
        self.show_comparison();
        if same {
            let compared = self.compared();
            if compared.as_ref().map(Arc::as_ptr) != compared_before.as_ref().map(Arc::as_ptr) {
                self.redraw(widgets, sender);
            }
            // Read by now, or as pending edits will make them.
            let now = self.contents();
            let are_others = match (&before, &now) {
                (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
                (before, now) => before.is_some() != now.is_some(),
            };
            if are_others && self.arrangement == Arrangement::Partitions {
                self.layout = None;
                self.lay_out(widgets, sender);
            }
        } else if let Some(place) = self.recent.iter().position(|recent| recent.0.key == key) {
            let (subject, layout) = self.recent.remove(place);
            self.layout = layout;
            self.take_subject(subject, widgets, sender);
            return;
        } else {
            self.show_nothing(widgets);
        }
        self.read(widgets, sender);
    }

    pub(super) fn clear(&mut self, widgets: &MapPaneWidgets) {
        self.leave();
        self.document = None;
        self.show_comparison();
        self.show_nothing(widgets);
    }

    pub(super) fn set_visible(
        &mut self,
        visible: bool,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        self.visible = visible;
        self.read(widgets, sender);
    }

    pub(super) fn take_summary(
        &mut self,
        key: SubjectKey,
        result: Result<Box<Summary>, Stop>,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        if self.reading.as_ref().map(|reading| reading.0) != Some(key) {
            return;
        }
        self.reading = None;
        widgets.spinner.stop();
        let chain = self.document.as_ref().and_then(|known| known.full_chain());
        match (result, chain) {
            (Ok(summary), Some(chain)) => {
                let subject = Subject::new(key, chain.clone(), *summary);
                self.take_subject(subject, widgets, sender);
            }
            (Err(Stop::Failed(error)), _) => {
                let sentence = describe::error_sentence(&error);
                widgets.problem_page.set_description(Some(&sentence));
                widgets.pages.set_visible_child(&widgets.problem_page);
            }
            (Err(Stop::Cancelled), _) | (Ok(_), None) => {}
        }
    }

    pub(super) fn take_frame(&mut self, frame: Frame) {
        let wanted = self.key() == Some(frame.request.subject.key)
            && self.theme.palette() == frame.request.palette;
        let offset = self
            .layout
            .as_ref()
            .and_then(|layout| layout.offset_of(&frame.request.layout));
        // A picture of another place at the same scale is shown where it belongs meanwhile.
        if let (true, Some(offset)) = (wanted, offset) {
            self.pictured = Some(frame.request.layout);
            self.strip.set_frames(frame.strip_frames);
            self.canvas.update(|content| {
                content.picture = Some(frame.picture);
                content.offset = offset;
            });
        }
    }

    pub(super) fn take_strip(&self, key: SubjectKey, picture: gdk::Texture) {
        if self.key() == Some(key) {
            self.strip.set_picture(Some(picture));
        }
    }

    pub(super) fn take_plot(&self, key: SubjectKey, picture: gdk::Texture) {
        if self.key() == Some(key) {
            self.plot.set_picture(Some(picture));
        }
    }

    pub(super) fn take_details(&mut self, key: SubjectKey, details: &Details) {
        if self.key() == Some(key) && self.described.as_ref() == Some(&details.guest) {
            self.card.show(details);
            self.cell_spoken = details.spoken();
            self.describe_canvas();
        }
    }

    pub(super) fn resize_canvas(
        &mut self,
        (width, height): (i32, i32),
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let side = |pixels: i32| u32::try_from(pixels).unwrap_or(0);
        self.area = (side(width), side(height));
        self.lay_out(widgets, sender);
    }

    pub(super) fn resize_strip(&mut self, width: i32, sender: &ComponentSender<Self>) {
        self.strip_width = u32::try_from(width).unwrap_or(0);
        self.draw_strip(sender);
    }

    pub(super) fn resize_plot(&mut self, width: i32, sender: &ComponentSender<Self>) {
        self.plot_width = u32::try_from(width).unwrap_or(0);
        self.draw_plot(sender);
    }

    pub(super) fn change_look(&mut self, widgets: &MapPaneWidgets, sender: &ComponentSender<Self>) {
        self.theme = Theme::current();
        self.show_look();
        let mirrored = self.is_mirrored();
        if self
            .layout
            .as_ref()
            .is_some_and(|layout| layout.is_mirrored() != mirrored)
        {
            self.layout = None;
        }
        self.lay_out(widgets, sender);
        self.draw_strip(sender);
        self.draw_plot(sender);
    }

    /// Colours of what is not drawn anew with the map.
    pub(super) fn show_look(&self) {
        let palette = self.theme.palette();
        let scale = self.canvas.scale_factor();
        self.legend.set_palette(&palette, scale);
        self.comparison.set_palette(&palette, scale);
        self.strip.set_paper(palette.paper);
        let line = self.line_height();
        let height = |pixels: u32| i32::try_from(pixels).unwrap_or(0);
        self.card.root.set_width_request(height(line * 15));
        self.plot.set_height_request(height(plot_height(line)));
        self.strip.set_height_request(height(Self::STRIP_HEIGHT));
    }

    pub(super) fn arrange(
        &mut self,
        arrangement: Arrangement,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        self.arrangement = arrangement;
        self.layout = None;
        self.lay_out(widgets, sender);
    }

    /// Empties the pane, with a spinner if an image is being read.
    pub(super) fn show_nothing(&mut self, widgets: &MapPaneWidgets) {
        widgets.pages.set_visible_child(&widgets.map_page);
        self.canvas
            .update(|content| *content = CanvasContent::default());
        self.strip.set_picture(None);
        self.strip.set_frames(Vec::new());
        self.plot.set_picture(None);
        self.legend.set_sums(None);
        self.legend.set_layers(&[]);
        self.card.clear();
        widgets.plot_title.set_label("");
        widgets.scale.set_label("");
        widgets.zoom_in.set_sensitive(false);
        widgets.zoom_out.set_sensitive(false);
        widgets.export.set_sensitive(false);
        self.cell_spoken.clear();
        self.describe_canvas();
    }

    /// Shows what the layout says: called after every change of it.
    pub(super) fn show_view(&mut self, widgets: &MapPaneWidgets, sender: &ComponentSender<Self>) {
        let (Some(subject), Some(layout)) = (self.subject.clone(), self.layout.clone()) else {
            return;
        };
        widgets.scale.set_label(&scale_text(&layout));
        widgets.zoom_in.set_sensitive(layout.can_zoom_in());
        widgets.zoom_out.set_sensitive(!layout.is_fit());
        let contents = self.contents();
        let names: Vec<_> = layout
            .visible_bands()
            .map(|(band, top)| (band_name(&band, contents.as_deref()), top))
            .collect();
        let offset = self
            .pictured
            .as_ref()
            .and_then(|pictured| layout.offset_of(pictured));
        self.canvas.update(|content| {
            content.view = layout.view();
            content.names = names;
            match offset {
                Some(offset) => content.offset = offset,
                None => content.offset = (0, 0),
            }
        });
        self.show_frames();
        self.describe_canvas();
        let request = FrameRequest {
            subject,
            layout,
            compared: self.compared(),
            palette: self.theme.palette(),
            scale: self.scale(),
        };
        let output = sender.command_sender().clone();
        self.frames
            .post(request, &self.background, move |request, superseded| {
                let show = |frame| output.emit(MapCommand::Frame(Box::new(frame)));
                render::render(request, &|| superseded.get(), &show);
            });
    }

    /// Lays the disk out in the canvas as it is now.
    pub(super) fn lay_out(&mut self, widgets: &MapPaneWidgets, sender: &ComponentSender<Self>) {
        let Some(subject) = &self.subject else { return };
        if self.area.0 == 0 || self.area.1 == 0 {
            return;
        }
        let regions = regions(self.contents().as_ref(), subject.summary.size());
        let header = self.canvas.name_height();
        let layout = match self.layout.take() {
            Some(layout) => layout.resized(&regions, header, self.area),
            None => Layout::new(
                subject.summary.size(),
                self.arrangement,
                &regions,
                header,
                self.area,
            )
            .mirrored(self.is_mirrored()),
        };
        self.layout = Some(layout);
        if let Some(range) = self.to_reveal.take() {
            self.reveal(range, widgets, sender);
        } else {
            self.show_view(widgets, sender);
        }
    }

    /// Says the summary, the scale and the selected cell to screen readers.
    pub(super) fn describe_canvas(&mut self) {
        let mut text = match (&self.subject, &self.layout) {
            (Some(subject), Some(layout)) => {
                let mut text = summary_text(subject.summary.totals());
                if let Some(compared) = &self.compared() {
                    text = format!("{text}. {}", sentence(compared));
                }
                format!("{text}. {}", scale_text(layout))
            }
            _ => String::new(),
        };
        if !self.cell_spoken.is_empty() {
            text.push_str(". ");
            text.push_str(&self.cell_spoken);
        }
        if text != self.spoken {
            a11y::describe(&self.canvas, &text);
            self.spoken = text;
        }
    }

    pub(super) fn key(&self) -> Option<SubjectKey> {
        self.document.as_deref().map(SubjectKey::from)
    }

    pub(super) fn scale(&self) -> u32 {
        u32::try_from(self.canvas.scale_factor()).unwrap_or(1)
    }

    pub(super) fn plot_look(&self, scale: u32) -> PlotLook {
        PlotLook {
            palette: self.theme.palette(),
            text: self.theme.text(),
            // A caption's letters, without the space between lines.
            font_size: f64::from(self.line_height()) * 0.62 * f64::from(scale),
            line: scale,
            mirrored: self.is_mirrored(),
        }
    }

    /// Puts the disk that was shown aside.
    fn leave(&mut self) {
        if let Some((_, control)) = self.reading.take() {
            control.cancel();
        }
        if let Some(subject) = self.subject.take() {
            self.recent.push((subject, self.layout.take()));
            if self.recent.len() > Self::MOST_RECENT {
                self.recent.remove(0);
            }
        }
        self.frames.clear();
        self.details.clear();
        self.layout = None;
        self.pictured = None;
        self.hovered = None;
        self.selected = None;
        self.described = None;
        self.to_reveal = None;
    }

    /// Reads the map of the document, if it is to be seen and can be read.
    fn read(&mut self, widgets: &MapPaneWidgets, sender: &ComponentSender<Self>) {
        let Some(key) = self.key() else { return };
        if !self.visible || self.subject.is_some() || self.reading.is_some() {
            return;
        }
        let chain = self.document.as_ref().and_then(|known| known.full_chain());
        let Some(chain) = chain.cloned() else { return };
        let control = Control::new();
        self.reading = Some((key, control.clone()));
        widgets.spinner.start();
        let output = sender.command_sender().clone();
        self.background.run(move || {
            let result = Summary::read(&chain, &control).map(Box::new);
            output.emit(MapCommand::Read(key, result));
        });
    }

    fn take_subject(
        &mut self,
        subject: Subject,
        widgets: &MapPaneWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let totals = subject.summary.totals();
        self.legend.set_sums(Some(&totals.share));
        self.legend
            .set_layers(&layer_texts(&subject.chain, &totals.data_by_depth));
        widgets
            .plot_title
            .set_label(&plot_title(subject.series.step));
        a11y::name(&self.plot, &plot_title(subject.series.step));
        a11y::describe(&self.plot, &summary_text(totals));
        widgets.export.set_sensitive(true);
        widgets.pages.set_visible_child(&widgets.map_page);
        self.card.clear();
        self.subject = Some(subject);
        self.lay_out(widgets, sender);
        self.draw_strip(sender);
        self.draw_plot(sender);
    }

    fn draw_strip(&self, sender: &ComponentSender<Self>) {
        let Some(subject) = self.subject.clone() else {
            return;
        };
        if self.strip_width == 0 {
            return;
        }
        let (width, scale) = (self.strip_width, self.scale());
        let (palette, mirrored) = (self.theme.palette(), self.is_mirrored());
        let compared = self.compared();
        let output = sender.command_sender().clone();
        self.background.run(move || {
            let size = (width, Self::STRIP_HEIGHT);
            let disk = (&subject, compared.as_deref());
            let picture = render::strip(disk, size, scale, mirrored, &palette);
            output.emit(MapCommand::Strip(subject.key, picture));
        });
    }

    fn draw_plot(&self, sender: &ComponentSender<Self>) {
        let Some(subject) = self.subject.clone() else {
            return;
        };
        if self.plot_width == 0 {
            return;
        }
        let scale = self.scale();
        let look = self.plot_look(scale);
        let size = (
            self.plot_width * scale,
            plot_height(self.line_height()) * scale,
        );
        let output = sender.command_sender().clone();
        self.background
            .run(move || match plot_picture(&subject, &look, size) {
                Ok(picture) => output.emit(MapCommand::Plot(subject.key, texture(picture))),
                Err(error) => eprintln!("platter: the plot could not be drawn: {error}"),
            });
    }

    /// Draws map and minimap again, and describes the cell again.
    fn redraw(&mut self, widgets: &MapPaneWidgets, sender: &ComponentSender<Self>) {
        self.show_view(widgets, sender);
        self.draw_strip(sender);
        self.describe_again(sender);
    }

    pub(super) fn contents(&self) -> Option<Arc<platter::inspect::Contents>> {
        self.document.as_ref()?.contents_to_show().cloned()
    }

    /// Height of a line of text in the user's font.
    fn line_height(&self) -> u32 {
        let (_, height) = self.canvas.create_pango_layout(Some("0")).pixel_size();
        u32::try_from(height).unwrap_or(18)
    }

    fn is_mirrored(&self) -> bool {
        self.canvas.direction() == gtk::TextDirection::Rtl
    }
}

/// Height of the plot for a height of its letters.
fn plot_height(line: u32) -> u32 {
    line * 11 / 2
}
