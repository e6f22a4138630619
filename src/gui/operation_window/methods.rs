//! Looking at a draft, asking, and what happens to the window meanwhile.

use std::time::Duration;

use platter::job::State;
use platter::op::sample::{Effort, Estimate};
use platter::{Control, Error, Stop};
use relm4::adw::prelude::*;
use relm4::gtk::glib;
use relm4::{ComponentSender, gtk};

use super::{
    Drawn, OperationCommand, OperationInput, OperationOutput, OperationWindow,
    OperationWindowWidgets, WIDTH, plan_view,
};
use crate::background::Background;
use crate::describe;
use crate::i18n::gettext;
use crate::operation::{Draft, FormOutput, Operation};
use crate::widgets::error_box::ErrorBox;

/// How long a window waits for its first plan.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long a window takes to get another size.
const SETTLING: Duration = Duration::from_millis(150);

impl OperationWindow {
    pub(super) fn new(background: Background, sender: &ComponentSender<Self>) -> Self {
        let input = sender.input_sender().clone();
        Self {
            background,
            form: None,
            draft: None,
            generation: 0,
            looking: Control::new(),
            plan: None,
            trial: None,
            trying: false,
            error: ErrorBox::new(move |text| input.emit(OperationInput::Copy(text))),
        }
    }

    pub(super) fn take_form(
        &mut self,
        output: FormOutput,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        match output {
            FormOutput::Ready(draft) => self.look_at(draft, widgets, sender),
            FormOutput::Incomplete(reason) => {
                self.forget_draft(widgets);
                widgets.say(reason.as_deref());
            }
        }
    }

    /// A window that changes its size while it comes up may keep the wrong one, so it waits for
    /// its first plan; but not for long.
    pub(super) fn appear_soon(&self, sender: &ComponentSender<Self>) {
        let input = sender.input_sender().clone();
        glib::timeout_add_local_once(PATIENCE, move || {
            // The window may be gone by now.
            let _ = input.send(OperationInput::Due);
        });
    }

    /// Draws up `draft` off the main thread.
    pub(super) fn look_at(
        &mut self,
        draft: Draft,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        widgets.confirm.set_sensitive(false);
        self.generation += 1;
        let generation = self.generation;
        self.draft = Some(draft);
        self.draw_up(sender, move |result| {
            OperationCommand::DrawnUp(generation, result)
        });
    }

    /// Of two wishes for a size on the way, the window manager may grant the first one last.
    fn fit_again(&self, sender: &ComponentSender<Self>) {
        let input = sender.input_sender().clone();
        glib::timeout_add_local_once(SETTLING, move || {
            // The window may be gone by now.
            let _ = input.send(OperationInput::Due);
        });
    }

    pub(super) fn show_drawn(
        &mut self,
        generation: u64,
        result: Result<Drawn, Stop>,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        if generation != self.generation {
            return;
        }
        match result {
            Ok(drawn) => {
                self.show_plan(&drawn, widgets, sender);
                self.sample(drawn.operation.after.effort, sender);
            }
            Err(Stop::Cancelled) => {}
            Err(Stop::Failed(error)) => {
                self.plan = None;
                widgets.time.set_visible(false);
                widgets.place.set_child(gtk::Widget::NONE);
                // A form's fields are being filled in: its reason is no failure yet.
                if self.form.is_some() {
                    widgets.say(Some(&describe::operation_error(&error)));
                } else {
                    self.show_error(&error);
                    widgets.appear();
                }
            }
        }
    }

    /// Tries a little of the work, to say how long all of it takes.
    fn sample(&self, effort: Option<Effort>, sender: &ComponentSender<Self>) {
        let Some(effort) = effort else { return };
        let (generation, control) = (self.generation, self.looking.clone());
        let output = sender.command_sender().clone();
        self.background.run(move || {
            // What cannot be read is told by the operation itself.
            let estimate = effort.sample(&control).ok().flatten();
            output.emit(OperationCommand::Sampled(generation, estimate));
        });
    }

    pub(super) fn show_estimate(
        &self,
        generation: u64,
        estimate: Option<Estimate>,
        widgets: &OperationWindowWidgets,
    ) {
        if generation == self.generation && self.plan.is_some() {
            // The line stays also without words: nothing moves under the pointer.
            let words = estimate.map(describe::estimate).unwrap_or_default();
            widgets.time.set_label(&words);
        }
    }

    /// The images may have changed since they were looked at: what runs is what they are now.
    pub(super) fn look_again(
        &mut self,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        if self.plan.is_none() || !widgets.confirm.is_sensitive() {
            return;
        }
        widgets.confirm.set_sensitive(false);
        let generation = self.generation;
        self.draw_up(sender, move |result| {
            OperationCommand::LookedAgain(generation, result)
        });
    }

    pub(super) fn run(
        &mut self,
        generation: u64,
        result: Result<Drawn, Stop>,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        if generation != self.generation {
            return;
        }
        match result {
            Ok(drawn) if Some(&drawn.operation.plan) == self.plan.as_ref() => {
                self.error.hide();
                widgets.window.set_visible(false);
                let run = OperationOutput::Run(drawn.operation);
                sender.output_sender().emit(run);
            }
            Ok(drawn) => {
                self.show_plan(&drawn, widgets, sender);
                widgets.say(Some(&gettext(
                    "Something has changed since you were asked. Please look again.",
                )));
            }
            Err(Stop::Cancelled) => {}
            Err(Stop::Failed(error)) => {
                self.show_error(&error);
                widgets.confirm.set_sensitive(true);
            }
        }
    }

    /// Draws up what tries the operation.
    pub(super) fn try_it(
        &mut self,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let Some(trial) = self.trial.clone() else {
            return;
        };
        widgets.try_it.set_sensitive(false);
        widgets.tried.set_visible(false);
        self.error.hide();
        let (generation, control) = (self.generation, Control::new());
        let output = sender.command_sender().clone();
        self.background.run(move || {
            let drawn = trial.draw_up(&control);
            output.emit(OperationCommand::TrialDrawn(generation, drawn));
        });
    }

    pub(super) fn run_trial(
        &mut self,
        generation: u64,
        result: Result<Operation, Stop>,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        if generation != self.generation {
            return;
        }
        match result {
            Ok(operation) => {
                self.trying = true;
                widgets.window.set_visible(false);
                let run = OperationOutput::Run(operation);
                sender.output_sender().emit(run);
            }
            Err(Stop::Cancelled) => {}
            Err(Stop::Failed(error)) => {
                self.show_error(&error);
                widgets.try_it.set_sensitive(true);
            }
        }
    }

    /// A trial gives the window back whatever came out.
    fn take_end_of_trial(
        &mut self,
        state: &State,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        self.trying = false;
        widgets.try_it.set_sensitive(true);
        match state {
            State::Done(outcome) => {
                widgets.tried.set_child(Some(&plan_view::tried(outcome)));
                widgets.tried.set_visible(true);
            }
            State::Failed(error) => self.show_error(error),
            _ => {}
        }
        self.fit_again(sender);
        widgets.window.present();
    }

    /// A job that failed gives the values back; any other end is the end of the window.
    pub(super) fn take_end(
        &mut self,
        state: State,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        if self.trying {
            self.take_end_of_trial(&state, widgets, sender);
            return;
        }
        let State::Failed(error) = state else {
            self.close(widgets, sender);
            return;
        };
        self.show_error(&error);
        widgets.confirm.set_sensitive(self.plan.is_some());
        widgets.window.present();
    }

    pub(super) fn close(&self, widgets: &OperationWindowWidgets, sender: &ComponentSender<Self>) {
        self.looking.cancel();
        widgets.window.destroy();
        sender.output_sender().emit(OperationOutput::Closed);
    }

    fn draw_up(
        &mut self,
        sender: &ComponentSender<Self>,
        answer: impl FnOnce(Result<Drawn, Stop>) -> OperationCommand + Send + 'static,
    ) {
        let Some(draft) = self.draft.clone() else {
            return;
        };
        self.looking.cancel();
        self.looking = Control::new();
        let (control, output) = (self.looking.clone(), sender.command_sender().clone());
        self.background.run(move || {
            let drawn = draft.draw_up(&control).map(|operation| {
                let space = operation.plan.space.as_ref();
                let space = space.and_then(platter::op::plan::SpaceNeeded::available);
                Drawn { operation, space }
            });
            output.emit(answer(drawn));
        });
    }

    fn show_plan(
        &mut self,
        drawn: &Drawn,
        widgets: &OperationWindowWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let plan = &drawn.operation.plan;
        if self.plan.as_ref() != Some(plan) {
            let input = sender.input_sender().clone();
            let copy = move |text| input.emit(OperationInput::Copy(text));
            let view = plan_view::build(plan, drawn.space, copy);
            widgets.place.set_child(Some(&view));
            let time = gettext("Trying how long it will take…");
            widgets.time.set_label(&time);
            let is_tried = drawn.operation.after.effort.is_some();
            widgets.time.set_visible(is_tried);
        }
        self.trial.clone_from(&drawn.operation.after.trial);
        widgets.try_it.set_visible(self.trial.is_some());
        widgets.say(None);
        self.fit_again(sender);
        widgets
            .confirm
            .set_sensitive(!plan_view::is_impossible(plan, drawn.space));
        widgets.ask(plan, self.form.is_some());
        self.plan = Some(plan.clone());
    }

    fn forget_draft(&mut self, widgets: &OperationWindowWidgets) {
        self.generation += 1;
        self.looking.cancel();
        self.draft = None;
        self.plan = None;
        widgets.place.set_child(gtk::Widget::NONE);
        widgets.time.set_visible(false);
        widgets.confirm.set_sensitive(false);
    }

    fn show_error(&self, error: &Error) {
        self.error.show(
            &describe::operation_error(error),
            &describe::error_details(error),
        );
    }
}

impl OperationWindowWidgets {
    /// Escape is Cancel.
    pub(super) fn connect_keys(&self, sender: &ComponentSender<OperationWindow>) {
        let keys = gtk::ShortcutController::new();
        let input = sender.input_sender().clone();
        keys.add_shortcut(gtk::Shortcut::new(
            gtk::ShortcutTrigger::parse_string("Escape"),
            Some(gtk::CallbackAction::new(move |_, _| {
                input.emit(OperationInput::Dismissed);
                glib::Propagation::Stop
            })),
        ));
        self.window.add_controller(keys);
        let input = sender.input_sender().clone();
        self.window.connect_close_request(move |_| {
            input.emit(OperationInput::Dismissed);
            glib::Propagation::Stop
        });
    }

    /// Names the button after what it does. What destroys is never the default.
    fn ask(&self, plan: &platter::op::plan::Plan, has_form: bool) {
        self.confirm.set_label(&describe::phrase(&plan.confirm));
        self.confirm.set_visible(!plan.is_report);
        self.cancel.set_label(&if plan.is_report {
            gettext("_Close")
        } else {
            gettext("_Cancel")
        });
        if plan.is_destructive() {
            self.confirm.remove_css_class("suggested-action");
            self.confirm.add_css_class("destructive-action");
            self.window.set_default_widget(Some(&self.cancel));
            if !has_form {
                self.cancel.grab_focus();
            }
        } else {
            self.confirm.remove_css_class("destructive-action");
            self.confirm.add_css_class("suggested-action");
            self.window.set_default_widget(Some(&self.confirm));
            // A focused button is what Return presses, whatever the default.
            if !has_form {
                self.confirm.grab_focus();
            }
        }
    }

    fn say(&self, reason: Option<&str>) {
        self.reason.set_label(reason.unwrap_or_default());
        self.reason.set_visible(reason.is_some());
        self.appear();
    }

    /// Shows the window if it has not been shown yet.
    pub(super) fn appear(&self) {
        self.fit();
        // Hidden again, it waits for its job.
        if !self.window.is_realized() {
            self.window.present();
        }
    }

    /// A window that is shown does not grow with its content by itself.
    fn fit(&self) {
        let (_, height, _, _) = self.frame.measure(gtk::Orientation::Vertical, WIDTH);
        if self.window.default_height() != height {
            self.window.set_default_size(WIDTH, height);
        }
    }
}
