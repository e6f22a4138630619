//! What a job did, step by step; it can be copied and saved.

use std::rc::Rc;

use platter::job::{Report, State};
use relm4::adw::prelude::*;
use relm4::{adw, gtk};

use super::helpers;
use crate::a11y;
use crate::describe;
use crate::i18n::gettext;
use crate::save_text;

/// Shows `report`; `copy` takes its text for the clipboard.
pub(super) fn present(report: &Report, parent: &gtk::Window, copy: impl Fn(String) + 'static) {
    let text: Rc<str> = report.to_text().into();
    let copy_button = gtk::Button::from_icon_name("edit-copy-symbolic");
    a11y::icon_button(&copy_button, &gettext("Copy the report"));
    let copied = Rc::clone(&text);
    copy_button.connect_clicked(move |_| copy(copied.to_string()));

    let save_button = gtk::Button::with_mnemonic(&gettext("_Save…"));
    let header = adw::HeaderBar::new();
    header.set_title_widget(Some(&adw::WindowTitle::new(&gettext("Report"), "")));
    header.pack_start(&save_button);
    header.pack_end(&copy_button);

    let content = gtk::Box::new(gtk::Orientation::Vertical, 0);
    content.append(&header);
    content.append(
        &gtk::ScrolledWindow::builder()
            .hscrollbar_policy(gtk::PolicyType::Never)
            .propagate_natural_height(true)
            .max_content_height(560)
            .vexpand(true)
            .child(&steps(report))
            .build(),
    );
    let window = adw::Window::builder()
        .title(gettext("Report"))
        .transient_for(parent)
        .modal(true)
        .default_width(520)
        .content(&content)
        .build();
    let above = window.clone();
    save_button.connect_clicked(move |_| {
        let title = gettext("Save Report");
        save_text::ask(&above, &title, "platter-report.txt", Rc::clone(&text), drop);
    });
    let keys = gtk::ShortcutController::new();
    keys.add_shortcut(gtk::Shortcut::new(
        gtk::ShortcutTrigger::parse_string("Escape"),
        Some(gtk::NamedAction::new("window.close")),
    ));
    window.add_controller(keys);
    window.present();
}

fn steps(report: &Report) -> gtk::Box {
    let content = gtk::Box::builder()
        .orientation(gtk::Orientation::Vertical)
        .spacing(18)
        .css_classes(["operation"])
        .build();
    let group = adw::PreferencesGroup::builder()
        .title(describe::phrase(&report.title))
        .description(outcome(report))
        .build();
    for step in &report.steps {
        group.add(&row(
            &describe::phase(step.phase),
            &helpers::elapsed(step.elapsed),
        ));
    }
    group.add(&row(
        &gettext("Altogether"),
        &helpers::elapsed(report.elapsed),
    ));
    content.append(&group);
    if let Some(details) = details(report) {
        content.append(
            &gtk::Label::builder()
                .label(details)
                .wrap(true)
                .selectable(true)
                .xalign(0.0)
                .css_classes(["monospace", "caption"])
                .build(),
        );
    }
    content
}

fn row(title: &str, value: &str) -> adw::ActionRow {
    let row = adw::ActionRow::builder()
        .use_markup(false)
        .title(title)
        .activatable(false)
        .build();
    row.add_suffix(
        &gtk::Label::builder()
            .label(value)
            .css_classes(["dim-label", "numeric"])
            .build(),
    );
    a11y::name(&row, title);
    a11y::describe(&row, value);
    row
}

fn outcome(report: &Report) -> String {
    match &report.state {
        State::Queued | State::Running | State::Cancelling => gettext("Not finished yet"),
        State::Done(outcome) => {
            let message = outcome.message.as_ref().map(describe::phrase);
            message.unwrap_or_else(|| gettext("Done"))
        }
        State::Cancelled => gettext("Cancelled"),
        State::Failed(error) => describe::operation_error(error),
    }
}

fn details(report: &Report) -> Option<String> {
    match &report.state {
        State::Done(outcome) if !outcome.notes.is_empty() => Some(outcome.notes.join("\n")),
        State::Failed(error) => Some(describe::error_details(error)),
        _ => None,
    }
}
