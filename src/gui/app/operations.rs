//! From the wish for an operation to its end: dialogs, the jobs, and what they change.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use platter::job::JobId;
use platter::{Control, Stop};
use relm4::adw;
use relm4::adw::prelude::*;
use relm4::gtk::{gio, glib};
use relm4::prelude::*;

use super::{App, AppCommand, AppInput, AppWidgets, dialogs};
use crate::describe;
use crate::i18n::{fill, gettext};
use crate::image_operation::ImageOperation;
use crate::jobs::{JobsInput, JobsOutput};
use crate::menu;
use crate::operation::{Ask, Draft, Offer, Operation, Request};
use crate::operation_window::{OperationInit, OperationInput, OperationOutput, OperationWindow};
use crate::pane::ErrorReport;
use crate::session::EditRequest;
use crate::subject::Subject;

/// The menu of the selected image.
pub(super) fn image_menu() -> gio::Menu {
    menu::sections(
        "win",
        &[
            &[
                (gettext("_Resize Disk…"), "resize-disk"),
                (gettext("_Convert…"), "convert-image"),
                (gettext("C_ompare…"), "compare-image"),
                (gettext("Chec_k…"), "check-image"),
            ],
            &[
                (gettext("New Over_lay…"), "new-overlay"),
                (gettext("Co_mmit…"), "commit-image"),
                (gettext("Other _Backing File…"), "rebase-image"),
                (gettext("_Flatten…"), "flatten-image"),
            ],
            &[(gettext("Move to _Trash…"), "delete-image")],
        ],
    )
}

/// The dialogs of operations, and which files jobs are changing.
#[derive(Default)]
pub(super) struct Operations {
    /// Open, or hidden while their jobs run.
    windows: Vec<(u64, Controller<OperationWindow>)>,
    next: u64,
    writing: Vec<(JobId, Rc<str>, Vec<PathBuf>)>,
}

impl Operations {
    fn sender_of(&self, number: u64) -> Option<relm4::Sender<OperationInput>> {
        let (_, window) = self.windows.iter().find(|(known, _)| *known == number)?;
        Some(window.sender().clone())
    }

    fn files_by_job(&self) -> Vec<(Rc<str>, Vec<PathBuf>)> {
        let of_job =
            |(_, title, files): &(JobId, Rc<str>, Vec<PathBuf>)| (Rc::clone(title), files.clone());
        self.writing.iter().map(of_job).collect()
    }
}

impl App {
    /// Where the selected image is, or where documents are.
    pub(super) fn usual_folder(&self) -> PathBuf {
        let selected = self.session.selected();
        let beside = selected.and_then(|document| document.path.parent());
        let documents = glib::user_special_dir(glib::UserDirectory::Documents);
        beside
            .map(Path::to_path_buf)
            .or(documents)
            .filter(|folder| folder.is_dir())
            .unwrap_or_else(glib::home_dir)
    }

    pub(super) fn operate_on_selected(
        &mut self,
        operation: ImageOperation,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) {
        let (selected, open) = (self.session.selected(), self.session.documents());
        let request = selected.and_then(|document| operation.of_document(document, open));
        if let Some(request) = request {
            self.operate(request, root, sender);
        }
    }

    pub(super) fn operate_on_file(
        &mut self,
        operation: ImageOperation,
        subject: Subject,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) {
        if let Some(request) = operation.of_file(subject, self.session.documents()) {
            self.operate(request, root, sender);
        }
    }

    pub(super) fn operate(
        &mut self,
        request: Request,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) {
        if let Ask::Nothing(draft) = request.ask {
            self.draw_up(draft, sender);
            return;
        }
        self.operations.next += 1;
        let number = self.operations.next;
        let init = OperationInit {
            parent: root.clone().upcast(),
            background: self.background.clone(),
            request,
        };
        let window = OperationWindow::builder()
            .launch(init)
            .forward(sender.input_sender(), move |output| {
                AppInput::Operation(number, output)
            });
        self.operations.windows.push((number, window));
    }

    pub(super) fn serve_operation(
        &mut self,
        number: u64,
        output: OperationOutput,
        widgets: &AppWidgets,
        root: &adw::ApplicationWindow,
    ) {
        match output {
            OperationOutput::Run(operation) => {
                let asker = self.operations.sender_of(number);
                self.jobs.emit(JobsInput::Submit(operation, asker));
            }
            OperationOutput::Copy(text) => dialogs::copy(&text, root, &widgets.toasts),
            OperationOutput::Closed => {
                self.operations
                    .windows
                    .retain(|(known, _)| *known != number);
            }
        }
    }

    pub(super) fn serve_jobs(
        &mut self,
        output: JobsOutput,
        widgets: &AppWidgets,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) {
        match output {
            JobsOutput::Began { id, title, writes } => {
                self.operations.writing.push((id, title.into(), writes));
                self.session.mark_busy(&self.operations.files_by_job());
                self.show_session(widgets);
            }
            JobsOutput::Ended {
                id,
                writes,
                opens,
                applied,
                compared,
                asks,
            } => {
                self.operations.writing.retain(|(known, ..)| *known != id);
                for path in writes.iter().filter(|_| applied) {
                    self.session.forget_edits(path);
                }
                self.read_folders_beside(&writes, sender);
                self.read_changed(&writes, sender);
                self.session.mark_busy(&self.operations.files_by_job());
                if let Some(compared) = compared {
                    self.session.take_comparison(&compared);
                }
                match opens {
                    Some(path) => self.open_paths(&[path], widgets, sender),
                    None => self.show_session(widgets),
                }
                if let Some(request) = asks {
                    self.operate(request, root, sender);
                }
            }
            JobsOutput::Toast { text, offer } => widgets.toast(&text, offer, sender),
            JobsOutput::Failed(report) => dialogs::present_error(&report, root, sender),
            JobsOutput::Copy(text) => dialogs::copy(&text, root, &widgets.toasts),
            JobsOutput::Idle => self.close_if_quitting(root),
        }
    }

    /// Small operations need no dialog.
    pub(super) fn run_drawn_up(
        &mut self,
        result: Result<Operation, Stop>,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) {
        match result {
            Ok(operation) => self.jobs.emit(JobsInput::Submit(operation, None)),
            Err(Stop::Cancelled) => {}
            Err(Stop::Failed(error)) => {
                let report = ErrorReport {
                    heading: gettext("It Cannot Be Done"),
                    body: describe::operation_error(&error),
                    details: describe::error_details(&error),
                };
                dialogs::present_error(&report, root, sender);
            }
        }
    }

    /// Changes the edits that wait for the selected disk.
    pub(super) fn edit(
        &mut self,
        request: &EditRequest,
        widgets: &AppWidgets,
        sender: &ComponentSender<Self>,
    ) {
        match self.session.edit_selected(request) {
            Ok(()) => self.show_session(widgets),
            Err(why) => {
                let text = gettext("It cannot be done: {reason}.");
                let text = fill(&text, &[("reason", &why.to_string())]);
                widgets.toast(&text, None, sender);
                // Whoever showed it done is put right.
                self.show_session(widgets);
            }
        }
    }

    fn draw_up(&self, draft: Draft, sender: &ComponentSender<Self>) {
        let output = sender.command_sender().clone();
        self.background.run(move || {
            output.emit(AppCommand::DrawnUp(draft.draw_up(&Control::new())));
        });
    }

    /// Who stands on what may be another thing now beside images that stand on none of `files`.
    fn read_folders_beside(&self, files: &[PathBuf], sender: &ComponentSender<Self>) {
        let documents = self.session.documents().iter();
        let beside = documents.filter(|document| {
            let folder = document.path.parent();
            files.iter().any(|file| file.parent() == folder)
                && !files.iter().any(|file| document.uses(file))
        });
        for document in beside {
            self.read_folder(document, sender);
        }
    }

    /// Reads every image again that stands on one of `files`. One whose own file is gone closes.
    fn read_changed(&mut self, files: &[PathBuf], sender: &ComponentSender<Self>) {
        let changed: Vec<_> = self
            .session
            .documents()
            .iter()
            .filter(|document| files.iter().any(|file| document.uses(file)))
            .map(Rc::clone)
            .collect();
        for document in changed {
            self.stop_opening(document.id);
            if !document.path.exists() {
                self.session.close(document.id);
            } else if let Some(document) = self.session.reopen(document.id, document.policy.clone())
            {
                self.read(&document, sender);
            }
        }
    }
}

impl AppWidgets {
    /// Says something in passing, with what can be done about it. What offers nothing is said at
    /// once, and an offer comes back after it.
    pub(super) fn toast(&self, text: &str, offer: Option<Offer>, sender: &ComponentSender<App>) {
        let toast = adw::Toast::new(&glib::markup_escape_text(text));
        if offer.is_none() {
            toast.set_priority(adw::ToastPriority::High);
        }
        if let Some(offer) = offer {
            toast.set_button_label(Some(&match offer {
                Offer::Undo(_) => gettext("_Undo"),
                Offer::Differences(_) => gettext("_Show on Map"),
            }));
            toast.set_timeout(10);
            let input = sender.input_sender().clone();
            toast.connect_button_clicked(move |_| {
                input.emit(match offer.clone() {
                    Offer::Undo(draft) => AppInput::Operate(Request {
                        heading: String::new(),
                        about: String::new(),
                        ask: Ask::Nothing(draft),
                    }),
                    Offer::Differences(image) => AppInput::MapRequested(image),
                });
            });
        }
        self.toasts.add_toast(toast);
    }
}
