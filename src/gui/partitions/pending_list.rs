//! The edits that wait, and what can be done with them: below the pane, as long as there are any.

use platter::op::edit::Step;
use relm4::{
    adw,
    gtk::{self, prelude::*},
};

use crate::a11y;
use crate::describe;
use crate::i18n::{counted, gettext};

/// How much of the list is shown, in pixels, before it scrolls.
const HEIGHT: i32 = 150;

/// The list.
#[derive(Debug)]
pub(super) struct PendingList {
    root: gtk::Revealer,
    title: gtk::Label,
    rows: gtk::ListBox,
    shown: Vec<Step>,
}

impl PendingList {
    pub(super) fn new() -> Self {
        let title = gtk::Label::builder()
            .xalign(0.0)
            .hexpand(true)
            .ellipsize(gtk::pango::EllipsizeMode::End)
            .css_classes(["heading"])
            .build();
        let head = gtk::Box::builder()
            .spacing(6)
            .css_classes(["pending-head"])
            .build();
        head.append(&title);
        for (icon, label, action) in [
            ("edit-undo-symbolic", gettext("Undo"), "undo"),
            ("edit-redo-symbolic", gettext("Redo"), "redo"),
        ] {
            let button = gtk::Button::builder()
                .icon_name(icon)
                .action_name(format!("partition.{action}"))
                .css_classes(["flat"])
                .build();
            a11y::icon_button(&button, &label);
            head.append(&button);
        }
        for (label, action, class) in [
            (gettext("Di_scard All"), "discard", "flat"),
            (gettext("_Apply…"), "apply", "suggested-action"),
        ] {
            let button = gtk::Button::builder()
                .label(label)
                .use_underline(true)
                .action_name(format!("partition.{action}"))
                .css_classes([class])
                .build();
            head.append(&button);
        }
        let rows = gtk::ListBox::builder()
            .selection_mode(gtk::SelectionMode::None)
            .css_classes(["pending-rows"])
            .build();
        a11y::name(&rows, &gettext("Pending changes"));
        let scrolled = gtk::ScrolledWindow::builder()
            .child(&rows)
            .hscrollbar_policy(gtk::PolicyType::Never)
            .propagate_natural_height(true)
            .max_content_height(HEIGHT)
            .build();
        let card = gtk::Box::builder()
            .orientation(gtk::Orientation::Vertical)
            .css_classes(["card", "pending"])
            .build();
        card.append(&head);
        card.append(&scrolled);
        let clamp = adw::Clamp::builder()
            .maximum_size(1000)
            .tightening_threshold(700)
            .child(&card)
            .build();
        let root = gtk::Revealer::builder()
            .transition_type(gtk::RevealerTransitionType::SlideUp)
            .child(&clamp)
            .build();
        Self {
            root,
            title,
            rows,
            shown: Vec::new(),
        }
    }

    pub(super) fn root(&self) -> &gtk::Revealer {
        &self.root
    }

    /// Shows these edits; none of them, and nothing to redo, hides the list.
    pub(super) fn show(&mut self, steps: Vec<Step>, can_redo: bool) {
        self.root.set_reveal_child(!steps.is_empty() || can_redo);
        if steps.is_empty() {
            self.title.set_label(&gettext("No pending changes"));
        } else {
            self.title.set_label(&counted(
                "{n} pending change",
                "{n} pending changes",
                steps.len() as u64,
                &[],
            ));
        }
        if self.shown == steps {
            return;
        }
        while let Some(row) = self.rows.first_child() {
            self.rows.remove(&row);
        }
        for (number, step) in (1..).zip(&steps) {
            self.rows.append(&row(number, step));
        }
        self.shown = steps;
    }
}

fn row(number: usize, step: &Step) -> gtk::ListBoxRow {
    let what = describe::phrase(&step.what);
    let note = step.note.as_ref().map(describe::phrase);
    let content = gtk::Box::builder().spacing(10).build();
    content.append(
        &gtk::Label::builder()
            .label(number.to_string())
            .css_classes(["pending-number", "numeric"])
            .valign(gtk::Align::Center)
            .build(),
    );
    content.append(
        &gtk::Label::builder()
            .label(&what)
            .xalign(0.0)
            .wrap(true)
            .build(),
    );
    if let Some(note) = &note {
        content.append(
            &gtk::Label::builder()
                .label(format!("— {note}"))
                .xalign(0.0)
                .wrap(true)
                .hexpand(true)
                .css_classes(["dim-label", "caption"])
                .build(),
        );
    }
    let row = gtk::ListBoxRow::builder()
        .child(&content)
        .activatable(false)
        .build();
    a11y::name(&row, &what);
    a11y::describe(&row, &note.unwrap_or_default());
    row
}
