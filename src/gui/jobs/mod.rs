//! The jobs of the window: a button in the header bar with a ring, a popover that lists them, and
//! a dialog for one that takes longer than half a second.

mod helpers;
mod messages;
mod methods;
mod progress_dialog;
mod report_window;
mod row;

use std::collections::HashMap;

use platter::job::{JobId, Manager};
use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{Sender, adw, gtk};

pub(crate) use messages::{JobsInit, JobsInput, JobsOutput};

use crate::a11y;
use crate::i18n::gettext;
use crate::operation::After;
use crate::operation_window::OperationInput;
use crate::widgets::ring::Ring;
use progress_dialog::ProgressDialog;
use row::JobRow;

/// The model.
pub(crate) struct Jobs {
    application: adw::Application,
    window: gtk::Window,
    manager: Manager,
    /// What is to be done after each job that is not over.
    tracked: HashMap<JobId, Tracked>,
    /// The one that the user looks at.
    dialog: Option<ProgressDialog>,
    rows: Vec<JobRow>,
    ring: Ring,
    ticking: bool,
    /// Keeps the computer awake while something is written.
    inhibited: Option<u32>,
}

/// What the window knows of a job beside its status.
struct Tracked {
    after: After,
    /// Who asked for it.
    asker: Option<Sender<OperationInput>>,
    /// The user let it go on by itself, or has not seen a dialog of it yet.
    in_background: bool,
}

#[relm4::component(pub(crate))]
impl Component for Jobs {
    type Init = JobsInit;
    type Input = JobsInput;
    type Output = JobsOutput;
    type CommandOutput = ();

    view! {
        #[name = "button"]
        gtk::MenuButton {
            set_visible: false,
            set_child: Some(model.ring.root()),

            #[wrap(Some)]
            set_popover = &gtk::Popover {
                add_css_class: "jobs",
                connect_show => JobsInput::Opened,

                gtk::Box {
                    set_orientation: gtk::Orientation::Vertical,
                    set_spacing: 12,

                    gtk::ScrolledWindow {
                        set_hscrollbar_policy: gtk::PolicyType::Never,
                        set_propagate_natural_height: true,
                        set_max_content_height: 420,
                        set_width_request: 380,

                        #[name = "list"]
                        gtk::ListBox {
                            set_selection_mode: gtk::SelectionMode::None,
                            add_css_class: "boxed-list",
                        },
                    },

                    #[name = "clear"]
                    gtk::Button {
                        set_label: &gettext("_Clear Finished"),
                        set_use_underline: true,
                        set_halign: gtk::Align::Center,
                        connect_clicked => JobsInput::ClearClicked,
                    },
                },
            },
        }
    }

    fn init(
        init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let model = Self::new(init, &sender);
        let widgets = view_output!();
        a11y::icon_button(&widgets.button, &gettext("Jobs"));
        a11y::name(&widgets.list, &gettext("Jobs"));
        ComponentParts { model, widgets }
    }

    fn update_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: Self::Input,
        sender: ComponentSender<Self>,
        _root: &Self::Root,
    ) {
        match message {
            JobsInput::Submit(operation, asker) => self.submit(operation, asker, &sender),
            JobsInput::Told(event) => self.take(event, widgets, &sender),
            JobsInput::Tick => self.draw(widgets, &sender),
            JobsInput::Due(id) => self.open_dialog(id, &sender),
            JobsInput::BackgroundClicked => self.close_dialog(),
            JobsInput::Opened => self.draw_rows(widgets, &sender),
            JobsInput::CancelClicked(id) => self.cancel(id, widgets, &sender),
            JobsInput::ReportClicked(id) => {
                // Open behind the report, it would take the next click.
                widgets.button.popdown();
                self.show_report(id, &sender);
            }
            JobsInput::FileClicked(id) => self.show_file(id),
            JobsInput::ClearClicked => self.clear(widgets, &sender),
            JobsInput::StopAll => self.manager.cancel_all(),
            JobsInput::Copy(text) => sender.output_sender().emit(JobsOutput::Copy(text)),
        }
    }
}
