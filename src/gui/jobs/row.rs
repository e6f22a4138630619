//! A job in the popover.

use platter::job::{Busy, JobId, State, Status};
use relm4::gtk::{self, pango, prelude::*};

use super::{JobsInput, helpers};
use crate::a11y;
use crate::describe;
use crate::i18n::{fill, gettext};

/// The row.
pub(super) struct JobRow {
    job: JobId,
    root: gtk::ListBoxRow,
    line: gtk::Label,
    numbers: gtk::Label,
    bar: gtk::ProgressBar,
    cancel: gtk::Button,
    report: gtk::Button,
    file: gtk::Button,
}

impl JobRow {
    /// A row for the job of `status`; `act` takes what its buttons ask for.
    pub(super) fn new(status: &Status, act: impl Fn(JobsInput) + Clone + 'static) -> Self {
        let job = status.id;
        let title = describe::phrase(&status.title);
        let label = |text: &str, classes: &[&str]| {
            gtk::Label::builder()
                .label(text)
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
        };
        let button = |icon: &str, template: String, message: fn(JobId) -> JobsInput| {
            let button = gtk::Button::builder()
                .icon_name(icon)
                .valign(gtk::Align::Center)
                .css_classes(["flat", "circular"])
                .build();
            a11y::icon_button(&button, &fill(&template, &[("job", &title)]));
            let act = act.clone();
            button.connect_clicked(move |_| act(message(job)));
            button
        };
        let cancel = button(
            "process-stop-symbolic",
            gettext("Cancel “{job}”"),
            JobsInput::CancelClicked,
        );
        let report = button(
            "view-list-symbolic",
            gettext("Report of “{job}”"),
            JobsInput::ReportClicked,
        );
        let file = button(
            "folder-symbolic",
            gettext("Show the file of “{job}”"),
            JobsInput::FileClicked,
        );
        let name = label(&title, &["heading"]);
        let line = label("", &["caption"]);
        let numbers = label("", &["caption", "dim-label", "numeric"]);
        let bar = gtk::ProgressBar::new();
        let texts = gtk::Box::builder()
            .orientation(gtk::Orientation::Vertical)
            .spacing(3)
            .hexpand(true)
            .build();
        for widget in [
            name.upcast_ref::<gtk::Widget>(),
            line.upcast_ref(),
            bar.upcast_ref(),
        ] {
            texts.append(widget);
        }
        texts.append(&numbers);
        let content = gtk::Box::builder()
            .spacing(6)
            .css_classes(["job-row"])
            .build();
        content.append(&texts);
        for button in [&report, &file, &cancel] {
            content.append(button);
        }
        let root = gtk::ListBoxRow::builder()
            .activatable(false)
            .focusable(false)
            .child(&content)
            .build();
        a11y::name(&root, &title);
        Self {
            job,
            root,
            line,
            numbers,
            bar,
            cancel,
            report,
            file,
        }
    }

    pub(super) fn job(&self) -> JobId {
        self.job
    }

    pub(super) fn root(&self) -> &gtk::ListBoxRow {
        &self.root
    }

    /// Shows how far it is.
    pub(super) fn show(&self, status: &Status, waits_for: Option<&Busy>) {
        let over = status.state.is_finished();
        self.line.set_label(&helpers::doing(status, waits_for));
        let numbers = if over {
            helpers::elapsed(status.elapsed)
        } else {
            helpers::numbers(&status.reading)
        };
        self.numbers.set_label(&numbers);
        self.bar.set_visible(!over);
        match status.reading.fraction {
            Some(fraction) => self.bar.set_fraction(fraction),
            None => self.bar.pulse(),
        }
        let phase = describe::phase(status.reading.phase);
        a11y::name_and_value(&self.bar, &gettext("Progress"), &phase);
        self.cancel.set_visible(!over);
        self.cancel
            .set_sensitive(!matches!(status.state, State::Cancelling));
        self.report.set_visible(over);
        let has_file = matches!(status.state, State::Done(_)) && status.file().is_some();
        self.file.set_visible(has_file);
        if matches!(status.state, State::Failed(_)) {
            self.line.add_css_class("error");
        }
    }
}
