//! Closing the window: not under running jobs, unless the user says what is to become of them.

use relm4::adw::prelude::*;
use relm4::{ComponentController, ComponentSender, adw};

use super::{App, AppInput, QuitAnswer};
use crate::i18n::{counted, gettext};
use crate::jobs::JobsInput;

impl App {
    pub(super) fn close_window(
        &mut self,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) {
        match self.live_jobs() {
            0 => self.leave(root),
            live => ask(live, root, sender),
        }
    }

    pub(super) fn take_quit_answer(&mut self, answer: QuitAnswer, root: &adw::ApplicationWindow) {
        self.quitting = answer != QuitAnswer::Stay;
        if answer == QuitAnswer::CancelJobs {
            self.jobs.emit(JobsInput::StopAll);
        }
        // They may have ended while the question stood.
        self.close_if_quitting(root);
    }

    pub(super) fn close_if_quitting(&self, root: &adw::ApplicationWindow) {
        if self.quitting && self.live_jobs() == 0 {
            self.leave(root);
        }
    }

    fn live_jobs(&self) -> usize {
        self.jobs.model().live()
    }

    fn leave(&self, root: &adw::ApplicationWindow) {
        self.remember_window(root);
        root.destroy();
    }
}

fn ask(live: usize, root: &adw::ApplicationWindow, sender: &ComponentSender<App>) {
    let heading = counted(
        "{n} Job Is Running",
        "{n} Jobs Are Running",
        live as u64,
        &[],
    );
    let body = gettext(
        "Platter can close when everything is done, or cancel what is running: it stops at the next safe point, and the images stay whole.",
    );
    let dialog = adw::MessageDialog::new(Some(root), Some(&heading), Some(&body));
    let answers = [
        ("stay", gettext("_Keep Working"), QuitAnswer::Stay),
        ("wait", gettext("_Quit When Done"), QuitAnswer::Wait),
        (
            "cancel",
            gettext("_Cancel Jobs and Quit"),
            QuitAnswer::CancelJobs,
        ),
    ];
    for (id, label, _) in &answers {
        dialog.add_response(id, label);
    }
    dialog.set_response_appearance("cancel", adw::ResponseAppearance::Destructive);
    dialog.set_default_response(Some("stay"));
    dialog.set_close_response("stay");
    let input = sender.input_sender().clone();
    dialog.connect_response(None, move |_, response| {
        let answer = answers.iter().find(|(id, ..)| *id == response);
        let answer = answer.map_or(QuitAnswer::Stay, |(.., answer)| *answer);
        input.emit(AppInput::QuitAnswered(answer));
    });
    dialog.present();
}
