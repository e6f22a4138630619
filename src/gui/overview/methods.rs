//! Showing what is new of an image, and only that.

use relm4::ComponentSender;
use relm4::adw::prelude::*;
use relm4::gtk;

use super::header::{Header, Pill, header};
use super::space::{Space, SpaceBar, space};
use super::{
    COLUMN_SPACING, COLUMN_WIDTH, LISTS_PER_COLUMN, Overview, OverviewInput, OverviewWidgets,
    columns, groups,
};
use crate::a11y;
use crate::disk_layout;
use crate::facts::Tone;
use crate::i18n::gettext;
use crate::pane::{PaneInput, PaneOutput};
use crate::session::Document;
use crate::widgets::fact_list::FactList;
use crate::widgets::partition_bar::PartitionBar;
use crate::widgets::usage_bar;

impl Overview {
    pub(super) fn new(sender: &ComponentSender<Self>) -> Self {
        let input = sender.input_sender().clone();
        let bar = PartitionBar::new(&gettext("Partitions"), move |segment| {
            input.emit(OverviewInput::SegmentClicked(segment));
        });
        let columns = columns::new(COLUMN_WIDTH, COLUMN_SPACING);
        let lists = [(); 2].map(|()| {
            let column = gtk::Box::new(gtk::Orientation::Vertical, COLUMN_SPACING);
            columns.append(&column);
            (0..LISTS_PER_COLUMN)
                .map(|_| {
                    let input = sender.input_sender().clone();
                    let list = FactList::new(move |action| {
                        input.emit(OverviewInput::Fact(action));
                    });
                    column.append(list.root());
                    list
                })
                .collect()
        });
        Self {
            document: None,
            visible: false,
            header: Header::default(),
            space: Space::default(),
            bar,
            columns,
            lists,
        }
    }

    pub(super) fn take(&mut self, input: PaneInput, widgets: &OverviewWidgets) {
        match input {
            PaneInput::Show(document) => self.document = Some(document),
            PaneInput::Clear => self.document = None,
            PaneInput::Visible(visible) => self.visible = visible,
            PaneInput::Reveal(_) => return,
        }
        if let Some(document) = self.document.clone().filter(|_| self.visible) {
            self.show(&document, widgets);
        }
    }

    fn show(&mut self, document: &Document, widgets: &OverviewWidgets) {
        self.show_header(header(document), widgets);
        self.show_space(space(document), widgets);
        let stretches = document
            .contents_to_show()
            .map(|it| disk_layout::stretches(it));
        let segments = disk_layout::segments(&stretches.unwrap_or_default());
        self.bar.root().set_visible(!segments.is_empty());
        self.bar.show(segments);
        for (lists, groups) in self.lists.iter_mut().zip(groups::groups(document)) {
            let mut groups = groups.into_iter();
            for list in lists {
                list.show(groups.next().unwrap_or_default());
            }
        }
    }

    pub(super) fn show_partition(&self, segment: usize, sender: &ComponentSender<Self>) {
        self.bar.select(None);
        sender
            .output_sender()
            .emit(PaneOutput::ShowSegment(segment));
    }

    fn show_header(&mut self, header: Header, widgets: &OverviewWidgets) {
        if self.header == header {
            return;
        }
        widgets.badge.set_label(header.badge);
        widgets
            .badge
            .set_css_classes(&["format-badge", &header.badge.to_lowercase()]);
        widgets.name.set_label(&header.name);
        widgets.line.set_label(&header.line);
        while let Some(pill) = widgets.pills.first_child() {
            widgets.pills.remove(&pill);
        }
        for pill in &header.pills {
            widgets.pills.append(&pill_label(pill));
        }
        self.header = header;
    }

    fn show_space(&mut self, space: Space, widgets: &OverviewWidgets) {
        if self.space == space {
            return;
        }
        while let Some(child) = widgets.bars.first_child() {
            widgets.bars.remove(&child);
        }
        for (row, bar) in (0..).zip(&space.bars) {
            attach_bar(&widgets.bars, row, bar);
        }
        widgets
            .note
            .set_label(space.note.as_deref().unwrap_or_default());
        widgets.note.set_visible(space.note.is_some());
        self.space = space;
    }
}

fn attach_bar(grid: &gtk::Grid, row: i32, content: &SpaceBar) {
    let title = gtk::Label::builder()
        .label(&content.title)
        .xalign(0.0)
        .wrap(true)
        .build();
    let bar = usage_bar::new();
    bar.set_hexpand(true);
    bar.add_css_class("space-bar");
    bar.add_css_class(content.class);
    usage_bar::show(&bar, Some(content.fraction), &content.title, &content.value);
    let value = gtk::Label::builder()
        .label(&content.value)
        .xalign(0.0)
        .css_classes(["numeric"])
        .build();
    for (column, widget) in [title.upcast(), bar.upcast(), value.upcast::<gtk::Widget>()]
        .iter()
        .enumerate()
    {
        widget.set_tooltip_text(
            Some(&content.tooltip)
                .filter(|text| !text.is_empty())
                .map(String::as_str),
        );
        grid.attach(widget, i32::try_from(column).unwrap_or(0), row, 1, 1);
    }
}

fn pill_label(pill: &Pill) -> gtk::Label {
    let class = match pill.tone {
        Tone::Neutral => "accent",
        Tone::Good => "success",
        Tone::Warning => "warning",
        Tone::Bad => "error",
    };
    let label = gtk::Label::builder()
        .label(&pill.text)
        .css_classes(["pill-label", class])
        .build();
    a11y::name(&label, &pill.text);
    label
}
