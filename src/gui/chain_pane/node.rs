//! The widget of one node: a button with name, marks, facts and a bar of what it holds.

use relm4::gtk::{self, pango, prelude::*};

use crate::a11y;
use crate::chain_pane::helpers::{NodeText, Tone};

/// Builds the button of a node. `active` marks the open image, `missing` what is not there.
pub(super) fn build(text: &NodeText, active: bool, missing: bool) -> gtk::Button {
    let content = gtk::Box::new(gtk::Orientation::Vertical, 2);
    content.append(&name(text));
    if !text.marks.is_empty() {
        content.append(&marks(text));
    }
    content.append(&facts(text));
    if let Some(share) = text.share {
        content.append(&bar(share));
    }
    let button = gtk::Button::builder()
        .child(&content)
        .css_classes(["chain-node", "card"])
        .tooltip_text(&text.sentence)
        .build();
    if active {
        button.add_css_class("active-image");
    }
    if missing {
        button.add_css_class("missing-image");
    }
    a11y::name(&button, &text.sentence);
    button
}

fn name(text: &NodeText) -> gtk::Label {
    gtk::Label::builder()
        .label(&text.name)
        .xalign(0.0)
        .ellipsize(pango::EllipsizeMode::Middle)
        .css_classes(["heading"])
        .build()
}

fn marks(text: &NodeText) -> gtk::Box {
    let row = gtk::Box::new(gtk::Orientation::Horizontal, 4);
    for (tone, mark) in &text.marks {
        let class = match tone {
            Tone::Info => "info",
            Tone::Warning => "warning",
            Tone::Error => "error",
        };
        let label = gtk::Label::builder()
            .label(mark)
            .ellipsize(pango::EllipsizeMode::End)
            .css_classes(["pill-label", class])
            .build();
        row.append(&label);
    }
    row
}

fn facts(text: &NodeText) -> gtk::Label {
    gtk::Label::builder()
        .label(&text.facts)
        .xalign(0.0)
        .ellipsize(pango::EllipsizeMode::End)
        .css_classes(["caption", "dim-label"])
        .build()
}

/// Decoration: the number is in the facts.
fn bar(share: f64) -> gtk::ProgressBar {
    gtk::ProgressBar::builder()
        .fraction(share)
        .accessible_role(gtk::AccessibleRole::Presentation)
        .valign(gtk::Align::End)
        .vexpand(true)
        .build()
}
