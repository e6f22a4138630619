//! The dialog of a job that takes longer than half a second.

use std::rc::Rc;

use platter::job::{Busy, JobId, State, Status};
use relm4::adw::prelude::*;
use relm4::gtk::{glib, pango};
use relm4::{adw, gtk};

use super::{JobsInput, helpers};
use crate::a11y;
use crate::describe;
use crate::i18n::gettext;

/// The dialog, open.
pub(super) struct ProgressDialog {
    job: JobId,
    window: adw::Window,
    line: gtk::Label,
    bar: gtk::ProgressBar,
    numbers: gtk::Label,
    cancel: gtk::Button,
}

impl ProgressDialog {
    /// Opens it for the job of `status`; `act` takes what its buttons ask for.
    pub(super) fn open(
        parent: &gtk::Window,
        status: &Status,
        act: impl Fn(JobsInput) + 'static,
    ) -> Self {
        let act = Rc::new(act);
        let job = status.id;
        let title = describe::phrase(&status.title);
        let line = label(&[]);
        let numbers = label(&["dim-label", "numeric", "caption"]);
        let bar = gtk::ProgressBar::new();
        let cancel = button(&gettext("_Cancel"), &act, move || {
            JobsInput::CancelClicked(job)
        });
        let background = button(&gettext("_Run in Background"), &act, || {
            JobsInput::BackgroundClicked
        });
        let buttons = gtk::Box::builder()
            .spacing(12)
            .margin_top(12)
            .homogeneous(true)
            .build();
        buttons.append(&cancel);
        buttons.append(&background);
        let heading = label(&["title-3"]);
        heading.set_label(&title);
        let content = gtk::Box::builder()
            .orientation(gtk::Orientation::Vertical)
            .spacing(9)
            .css_classes(["progress-dialog"])
            .build();
        for widget in [&heading, &line] {
            content.append(widget);
        }
        content.append(&bar);
        content.append(&numbers);
        content.append(&buttons);
        let window = adw::Window::builder()
            .title(&title)
            .transient_for(parent)
            .modal(true)
            .resizable(false)
            .default_width(440)
            .content(&content)
            .build();
        let closing = Rc::clone(&act);
        window.connect_close_request(move |_| {
            // The job goes on: who wants it to stop says so.
            closing(JobsInput::BackgroundClicked);
            glib::Propagation::Stop
        });
        window.set_default_widget(Some(&background));
        background.grab_focus();
        window.present();
        Self {
            job,
            window,
            line,
            bar,
            numbers,
            cancel,
        }
    }

    pub(super) fn job(&self) -> JobId {
        self.job
    }

    /// Shows how far the job is.
    pub(super) fn show(&self, status: &Status, waits_for: Option<&Busy>) {
        self.line.set_label(&helpers::doing(status, waits_for));
        match status.reading.fraction {
            Some(fraction) => self.bar.set_fraction(fraction),
            None => self.bar.pulse(),
        }
        let numbers = helpers::numbers(&status.reading);
        a11y::name_and_value(&self.bar, &gettext("Progress"), &numbers);
        self.numbers.set_label(&numbers);
        self.cancel
            .set_sensitive(!matches!(status.state, State::Cancelling));
    }

    pub(super) fn close(&self) {
        self.window.destroy();
    }
}

fn label(classes: &[&str]) -> gtk::Label {
    gtk::Label::builder()
        .xalign(0.0)
        .wrap(true)
        .wrap_mode(pango::WrapMode::WordChar)
        .css_classes(
            classes
                .iter()
                .copied()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
        .build()
}

fn button<F: Fn(JobsInput) + 'static>(
    text: &str,
    act: &Rc<F>,
    message: impl Fn() -> JobsInput + 'static,
) -> gtk::Button {
    let button = gtk::Button::with_mnemonic(text);
    let act = Rc::clone(act);
    button.connect_clicked(move |_| act(message()));
    button
}
