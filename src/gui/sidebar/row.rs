//! One image of the sidebar.

use std::rc::Rc;

use relm4::gtk::{self, pango, prelude::*};

use super::helpers::{RowFacts, row_facts};
use crate::a11y;
use crate::i18n::{fill, gettext};
use crate::session::{Document, DocumentId};
use crate::widgets::usage_bar;

/// The widgets of a row, and what they show.
pub(super) struct Row {
    id: DocumentId,
    shown: Rc<Document>,
    root: gtk::ListBoxRow,
    name: gtk::Label,
    pill: gtk::Label,
    bar: gtk::ProgressBar,
    status: gtk::Label,
}

impl Row {
    pub(super) fn new(document: &Rc<Document>, close: impl Fn(DocumentId) + 'static) -> Self {
        let id = document.id;
        let name = gtk::Label::builder()
            .xalign(0.0)
            .hexpand(true)
            .ellipsize(pango::EllipsizeMode::Middle)
            .css_classes(["heading"])
            .build();
        let pill = gtk::Label::builder().css_classes(["pill-label"]).build();
        let close_button = gtk::Button::builder()
            .icon_name("window-close-symbolic")
            .css_classes(["flat", "circular", "row-close"])
            .valign(gtk::Align::Center)
            .build();
        close_button.connect_clicked(move |_| close(id));
        let bar = usage_bar::new();
        let status = gtk::Label::builder()
            .xalign(0.0)
            .ellipsize(pango::EllipsizeMode::End)
            .build();

        let top = gtk::Box::new(gtk::Orientation::Horizontal, 6);
        top.append(&name);
        top.append(&pill);
        top.append(&close_button);
        let content = gtk::Box::new(gtk::Orientation::Vertical, 3);
        content.append(&top);
        content.append(&bar);
        content.append(&status);
        content.add_css_class("sidebar-row");
        let root = gtk::ListBoxRow::builder().child(&content).build();

        let row = Self {
            id,
            shown: Rc::clone(document),
            root,
            name,
            pill,
            bar,
            status,
        };
        let facts = row_facts(document);
        a11y::icon_button(
            &close_button,
            &fill(&gettext("Close {name}"), &[("name", &facts.name)]),
        );
        row.set(document, &facts);
        row
    }

    pub(super) fn id(&self) -> DocumentId {
        self.id
    }

    pub(super) fn root(&self) -> &gtk::ListBoxRow {
        &self.root
    }

    pub(super) fn show(&mut self, document: &Rc<Document>) {
        if !Rc::ptr_eq(&self.shown, document) {
            self.shown = Rc::clone(document);
            self.set(document, &row_facts(document));
        }
    }

    fn set(&self, document: &Document, facts: &RowFacts) {
        self.name.set_label(&facts.name);
        self.pill.set_visible(facts.pill.is_some());
        self.pill.set_label(facts.pill.unwrap_or_default());
        self.status.set_label(&facts.status);
        usage_bar::show(
            &self.bar,
            facts.fraction,
            &gettext("On disk"),
            &facts.status,
        );
        self.root
            .set_tooltip_text(Some(&document.path.display().to_string()));
        self.status.set_css_classes(if facts.failed {
            &["error", "caption"]
        } else {
            &["dim-label", "caption"]
        });
        a11y::name(&self.root, &facts.name);
        a11y::describe(&self.root, &facts.status);
    }
}
