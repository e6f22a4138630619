//! Showing a table, and following what is selected in strip and table.

use std::sync::Arc;

use platter::inspect::Contents;
use platter::op::edit::Alignment;
use relm4::ComponentSender;
use relm4::adw::prelude::*;
use relm4::gtk::{self, glib};

use super::actions::Actions;
use super::pending_list::PendingList;
use super::smallest::Smallest;
use super::table::Table;
use super::{Partitions, PartitionsInput, PartitionsWidgets, helpers};
use crate::describe;
use crate::disk_layout::{self, StretchKind};
use crate::i18n::gettext;
use crate::pane::{PaneInit, PaneInput};
use crate::session::Document;
use crate::widgets::columns;
use crate::widgets::context_menu::ContextMenu;
use crate::widgets::fact_list::FactList;
use crate::widgets::strip_editor::StripEditor;

const COLUMN_WIDTH: i32 = 340;
const COLUMN_SPACING: i32 = 24;

impl Partitions {
    pub(super) fn new(init: PaneInit, sender: &ComponentSender<Self>) -> Self {
        let alignment = init.settings.alignment();
        let input = sender.input_sender().clone();
        let strip = StripEditor::new(&gettext("Partitions"), move |output| {
            input.emit(PartitionsInput::Strip(output));
        });
        let input = sender.input_sender().clone();
        let asked = sender.input_sender().clone();
        let table = Table::new(
            move |row| input.emit(PartitionsInput::RowSelected(row)),
            move |row, place| asked.emit(PartitionsInput::RowMenu(row, place)),
        );
        let list = || {
            let input = sender.input_sender().clone();
            FactList::new(move |action| input.emit(PartitionsInput::Fact(action)))
        };
        let details = [list(), list()];
        let columns = columns::new(COLUMN_WIDTH, COLUMN_SPACING);
        for list in &details {
            columns.append(list.root());
        }
        let actions = Actions::new(alignment, sender);
        // Not a child of the stack: to a screen reader those are its pages, and GTK 4.8 crashes
        // over one that is none.
        let menu = ContextMenu::new(actions.of_table(), &super::actions::context_menu());
        Self {
            background: init.background,
            settings: init.settings,
            alignment,
            document: None,
            visible: false,
            contents: None,
            draft: None,
            smallest: Smallest::default(),
            stretches: Vec::new(),
            selected: None,
            strip,
            table,
            pending: PendingList::new(),
            actions,
            menu,
            damage: list(),
            details,
            columns,
            chooser: None,
            copied: None,
        }
    }

    pub(super) fn take(
        &mut self,
        input: PaneInput,
        widgets: &PartitionsWidgets,
        root: &gtk::Stack,
        sender: &ComponentSender<Self>,
    ) {
        match input {
            PaneInput::Show(document) => {
                // What is selected on one disk says nothing of another.
                if self
                    .document
                    .as_ref()
                    .is_some_and(|shown| shown.id != document.id)
                {
                    self.selected = None;
                }
                self.document = Some(document);
            }
            PaneInput::Clear => {
                self.document = None;
                self.smallest.forget();
            }
            PaneInput::Visible(visible) => self.visible = visible,
            PaneInput::Reveal(_) => return,
        }
        if let Some(document) = self.document.clone().filter(|_| self.visible) {
            self.show(&document, widgets, root);
            self.smallest
                .ask(&document, &self.background, sender.command_sender());
        }
    }

    fn show(&mut self, document: &Document, widgets: &PartitionsWidgets, root: &gtk::Stack) {
        let Some(contents) = document.contents_to_show() else {
            self.contents = None;
            widgets.show_status(document);
            root.set_visible_child_name("status");
            return;
        };
        root.set_visible_child_name("table");
        self.show_pending(document);
        if self
            .contents
            .as_ref()
            .is_some_and(|shown| Arc::ptr_eq(shown, contents))
        {
            return;
        }
        self.contents = Some(Arc::clone(contents));
        self.show_contents(contents, widgets);
    }

    /// Shows the same with what is known of it by now.
    pub(super) fn show_again(&mut self, widgets: &PartitionsWidgets) {
        if let Some(contents) = self.contents.clone() {
            self.show_contents(&contents, widgets);
        }
    }

    /// Borders go there from now on, and in later runs.
    pub(super) fn align(&mut self, alignment: Alignment, widgets: &PartitionsWidgets) {
        self.alignment = alignment;
        self.settings.set_alignment(alignment);
        self.actions.show_alignment(alignment);
        if let Some(draft) = &mut self.draft {
            draft.alignment = alignment;
        }
        self.show_again(widgets);
    }

    /// Selects a segment of the strip: the row of the table follows.
    pub(super) fn select_segment(&mut self, segment: usize) {
        let mut in_strip = self
            .stretches
            .iter()
            .enumerate()
            .filter(|(_, s)| s.is_in_strip());
        if let Some((row, _)) = in_strip.nth(segment) {
            self.select(row);
        }
    }

    /// Selects a stretch everywhere.
    pub(super) fn select(&mut self, row: usize) {
        let (Some(contents), Some(stretch)) = (&self.contents, self.stretches.get(row)) else {
            return;
        };
        let segment = stretch.is_in_strip().then(|| {
            self.stretches[..row]
                .iter()
                .filter(|before| before.is_in_strip())
                .count()
        });
        self.selected = Some(row);
        self.strip.select(segment);
        self.table.select(Some(row));
        let groups = helpers::details(contents, stretch);
        for (list, group) in self.details.iter_mut().zip(groups) {
            list.show(group);
        }
        self.enable_actions();
    }

    fn show_contents(&mut self, contents: &Contents, widgets: &PartitionsWidgets) {
        widgets.head.set_label(&helpers::head(&contents.table));
        let note = helpers::note(&contents.table);
        widgets.note.set_label(note.as_deref().unwrap_or_default());
        widgets.note.set_visible(note.is_some());
        self.damage.show(helpers::damage(&contents.table));
        let selected = self.selected_place();
        self.stretches = disk_layout::stretches(contents);
        self.strip.show(self.segments(contents));
        let rows = helpers::rows(
            contents,
            &self.stretches,
            self.draft.as_ref(),
            &self.smallest,
        );
        self.table.show(rows);
        self.select(selected.map_or_else(|| self.most_interesting(), |place| self.nearest(&place)));
    }

    /// The largest partition is most likely what one came for.
    fn most_interesting(&self) -> usize {
        let of_partition =
            |kind| !matches!(kind, StretchKind::Free { .. } | StretchKind::Extended(_));
        let candidates = self.stretches.iter().enumerate();
        candidates
            .max_by_key(|(_, stretch)| (of_partition(stretch.kind), stretch.size()))
            .map_or(0, |(row, _)| row)
    }
}

impl PartitionsWidgets {
    /// In place of a table: it is being read, or cannot be.
    fn show_status(&self, document: &Document) {
        let (icon, title, text) = match &document.contents_error {
            Some(error) => (
                Some("dialog-error-symbolic"),
                gettext("The Disk Cannot Be Read"),
                describe::error_sentence(error),
            ),
            None => (None, gettext("Reading the Disk…"), String::new()),
        };
        self.status.set_icon_name(icon);
        self.status.set_title(&title);
        let escaped = glib::markup_escape_text(&text);
        self.status.set_description(Some(&escaped));
    }
}
