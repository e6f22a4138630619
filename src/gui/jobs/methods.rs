//! Running jobs, and showing how far they are.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use platter::job::{Event, Job, JobId, Manager, State, Status, WhenBusy};
use relm4::adw::prelude::*;
use relm4::gtk::{gio, glib};
use relm4::{ComponentSender, Sender, gtk};

use super::progress_dialog::ProgressDialog;
use super::row::JobRow;
use super::{Jobs, JobsInit, JobsInput, JobsOutput, JobsWidgets, Tracked, helpers, report_window};
use crate::a11y;
use crate::describe;
use crate::file_manager;
use crate::i18n::gettext;
use crate::operation::{Asks, Operation};
use crate::operation_window::OperationInput;
use crate::pane::ErrorReport;
use crate::widgets::ring::Ring;

/// A shorter job shows no dialog.
const PATIENCE: Duration = Duration::from_millis(500);
/// Ten times a second is as often as progress is read.
const TICK: Duration = Duration::from_millis(100);
/// More at once only take the disk from each other.
const SLOTS: usize = 4;

impl Jobs {
    pub(super) fn new(init: JobsInit, sender: &ComponentSender<Self>) -> Self {
        let input = sender.input_sender().clone();
        let listener = Box::new(move |event| input.emit(JobsInput::Told(event)));
        Self {
            application: init.application,
            window: init.window,
            manager: Manager::new(init.background.handle(), SLOTS, listener),
            tracked: HashMap::new(),
            dialog: None,
            rows: Vec::new(),
            ring: Ring::new(),
            ticking: false,
            inhibited: None,
        }
    }

    /// Jobs that run or wait.
    pub(crate) fn live(&self) -> usize {
        self.manager.live()
    }

    pub(super) fn submit(
        &mut self,
        operation: Operation,
        asker: Option<Sender<OperationInput>>,
        sender: &ComponentSender<Self>,
    ) {
        let Operation { plan, work, after } = operation;
        let job = Job::of_plan(&plan, work);
        // A job that may wait is never refused.
        let Ok(id) = self.manager.submit(job, WhenBusy::Wait) else {
            return;
        };
        let tracked = Tracked {
            after,
            asker,
            in_background: false,
        };
        self.tracked.insert(id, tracked);
        let input = sender.input_sender().clone();
        glib::timeout_add_local_once(PATIENCE, move || input.emit(JobsInput::Due(id)));
        self.start_ticking(sender);
    }

    pub(super) fn take(
        &mut self,
        event: Event,
        widgets: &JobsWidgets,
        sender: &ComponentSender<Self>,
    ) {
        match event {
            Event::Started(id) => {
                if let Some(status) = self.manager.status(id) {
                    sender.output_sender().emit(JobsOutput::Began {
                        id,
                        title: describe::phrase(&status.title),
                        writes: status.writes,
                    });
                }
            }
            Event::Finished(id) => self.finish(id, sender),
            Event::Idle => sender.output_sender().emit(JobsOutput::Idle),
        }
        self.inhibit();
        self.draw(widgets, sender);
    }

    /// Draws what has changed, and goes on doing so while there is anything to come.
    pub(super) fn draw(&mut self, widgets: &JobsWidgets, sender: &ComponentSender<Self>) {
        let statuses = self.manager.statuses();
        widgets.button.set_visible(!statuses.is_empty());
        let (fraction, words) = helpers::summary(&statuses);
        let seconds = statuses
            .iter()
            .map(|status| status.elapsed.as_secs_f64())
            .fold(0.0, f64::max);
        self.ring.show(fraction, seconds);
        widgets.button.set_tooltip_text(Some(&words));
        a11y::describe(&widgets.button, &words);
        if let Some(dialog) = &self.dialog
            && let Some(status) = statuses.iter().find(|status| status.id == dialog.job())
        {
            dialog.show(status, self.manager.waits_for(status.id).as_ref());
        }
        if widgets.button.popover().is_some_and(|it| it.is_visible()) {
            self.draw_rows_of(&statuses, widgets, sender);
        }
    }

    pub(super) fn draw_rows(&mut self, widgets: &JobsWidgets, sender: &ComponentSender<Self>) {
        let statuses = self.manager.statuses();
        self.draw_rows_of(&statuses, widgets, sender);
    }

    pub(super) fn open_dialog(&mut self, id: JobId, sender: &ComponentSender<Self>) {
        let Some(status) = self.manager.status(id) else {
            return;
        };
        let in_background = self
            .tracked
            .get(&id)
            .is_none_or(|tracked| tracked.in_background);
        if status.state.is_finished() || in_background || self.dialog.is_some() {
            return;
        }
        let input = sender.input_sender().clone();
        let dialog = ProgressDialog::open(&self.window, &status, move |message| {
            input.emit(message);
        });
        dialog.show(&status, self.manager.waits_for(id).as_ref());
        self.dialog = Some(dialog);
    }

    /// The job goes on by itself.
    pub(super) fn close_dialog(&mut self) {
        if let Some(dialog) = self.dialog.take() {
            if let Some(tracked) = self.tracked.get_mut(&dialog.job()) {
                tracked.in_background = true;
            }
            dialog.close();
        }
    }

    pub(super) fn cancel(
        &mut self,
        id: JobId,
        widgets: &JobsWidgets,
        sender: &ComponentSender<Self>,
    ) {
        self.manager.cancel(id);
        self.draw(widgets, sender);
    }

    pub(super) fn clear(&mut self, widgets: &JobsWidgets, sender: &ComponentSender<Self>) {
        for status in self.manager.statuses() {
            self.manager.forget(status.id);
        }
        if self.manager.live() == 0 {
            widgets.button.popdown();
        }
        self.draw(widgets, sender);
        self.draw_rows(widgets, sender);
    }

    pub(super) fn show_report(&self, id: JobId, sender: &ComponentSender<Self>) {
        if let Some(report) = self.manager.report(id) {
            let input = sender.input_sender().clone();
            report_window::present(&report, &self.window, move |text| {
                input.emit(JobsInput::Copy(text));
            });
        }
    }

    pub(super) fn show_file(&self, id: JobId) {
        let status = self.manager.status(id);
        if let Some(path) = status.as_ref().and_then(Status::file) {
            file_manager::show(path, &self.window);
        }
    }

    fn finish(&mut self, id: JobId, sender: &ComponentSender<Self>) {
        if self.dialog.as_ref().is_some_and(|it| it.job() == id)
            && let Some(dialog) = self.dialog.take()
        {
            dialog.close();
        }
        let (Some(status), Some(tracked)) = (self.manager.status(id), self.tracked.remove(&id))
        else {
            return;
        };
        let output = sender.output_sender();
        let compared = tracked.after.compared.as_deref();
        let compared = compared.and_then(OnceLock::get).cloned();
        let asks = match status.state {
            State::Done(_) => tracked.after.asks.as_ref().and_then(Asks::request),
            _ => None,
        };
        if let Some(words) = helpers::ended(&status) {
            // What was short has been seen.
            if status.elapsed >= PATIENCE {
                self.notify(id, &words);
            }
            let offer = match status.state {
                State::Done(_) => helpers::offer(tracked.after.undo, compared.as_deref()),
                _ => None,
            };
            // Who is asked about the result sees it.
            if !matches!(status.state, State::Failed(_)) && asks.is_none() {
                output.emit(JobsOutput::Toast { text: words, offer });
            }
        }
        let made = match &status.state {
            State::Done(outcome) if tracked.after.opens => outcome.made.clone(),
            _ => None,
        };
        output.emit(JobsOutput::Ended {
            id,
            writes: status.writes.clone(),
            opens: made,
            applied: tracked.after.applies_edits && matches!(status.state, State::Done(_)),
            compared,
            asks,
        });
        match (tracked.asker, status.state) {
            (Some(asker), state) => asker.emit(OperationInput::Ended(state)),
            (None, State::Failed(error)) => output.emit(JobsOutput::Failed(ErrorReport {
                heading: gettext("The Job Failed"),
                body: describe::operation_error(&error),
                details: describe::error_details(&error),
            })),
            (None, _) => {}
        }
    }

    /// For who looks elsewhere. The dialog of the job has just closed: where the focus goes is seen
    /// a moment later.
    fn notify(&self, id: JobId, words: &str) {
        let (application, words) = (self.application.clone(), words.to_owned());
        glib::timeout_add_local_once(PATIENCE, move || {
            if application.windows().iter().any(GtkWindowExt::is_active) {
                return;
            }
            let notification = gio::Notification::new(&words);
            application.send_notification(Some(&format!("job-{id:?}")), &notification);
        });
    }

    /// A computer that goes to sleep, or is logged out of, in the middle of a write helps nobody.
    fn inhibit(&mut self) {
        let writing = self.manager.is_writing();
        match (writing, self.inhibited) {
            (true, None) => {
                let flags =
                    gtk::ApplicationInhibitFlags::SUSPEND | gtk::ApplicationInhibitFlags::LOGOUT;
                let reason = gettext("A disk image is being changed");
                let cookie = self
                    .application
                    .inhibit(Some(&self.window), flags, Some(&reason));
                self.inhibited = (cookie != 0).then_some(cookie);
            }
            (false, Some(cookie)) => {
                self.application.uninhibit(cookie);
                self.inhibited = None;
            }
            _ => {}
        }
    }

    fn start_ticking(&mut self, sender: &ComponentSender<Self>) {
        if self.ticking {
            return;
        }
        self.ticking = true;
        let input = sender.input_sender().clone();
        let manager = self.manager.clone();
        glib::timeout_add_local(TICK, move || {
            input.emit(JobsInput::Tick);
            if manager.live() > 0 {
                glib::ControlFlow::Continue
            } else {
                glib::ControlFlow::Break
            }
        });
    }

    fn draw_rows_of(
        &mut self,
        statuses: &[Status],
        widgets: &JobsWidgets,
        sender: &ComponentSender<Self>,
    ) {
        self.rows.retain(|row| {
            let kept = statuses.iter().any(|status| status.id == row.job());
            if !kept {
                widgets.list.remove(row.root());
            }
            kept
        });
        for status in statuses {
            let known = self.rows.iter().position(|row| row.job() == status.id);
            let index = known.unwrap_or_else(|| {
                let input = sender.input_sender().clone();
                let row = JobRow::new(status, move |message| input.emit(message));
                // The newest first.
                widgets.list.prepend(row.root());
                self.rows.push(row);
                self.rows.len() - 1
            });
            self.rows[index].show(status, self.manager.waits_for(status.id).as_ref());
        }
        let any_over = statuses.iter().any(|status| status.state.is_finished());
        widgets.clear.set_sensitive(any_over);
    }
}
