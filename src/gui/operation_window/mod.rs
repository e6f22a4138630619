//! The window of one operation: its form, if it has one, what it will do, and the question.

mod messages;
mod methods;
mod plan_view;

use platter::Control;
use platter::op::plan::Plan;
use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{
    Drawn, OperationCommand, OperationInit, OperationInput, OperationOutput,
};

use crate::background::Background;
use crate::i18n::gettext;
use crate::operation::{Ask, Draft, Form};
use crate::widgets::error_box::ErrorBox;

/// Of the window, in pixels.
const WIDTH: i32 = 560;

/// The window's model.
pub(crate) struct OperationWindow {
    background: Background,
    form: Option<Form>,
    /// The operation as the fields have it.
    draft: Option<Draft>,
    /// Counts the drafts: what is found out of an earlier one is dropped.
    generation: u64,
    /// Stops the looking at a draft that has been replaced.
    looking: Control,
    /// What is shown.
    plan: Option<Box<Plan>>,
    /// What tries it, if that is possible.
    trial: Option<Draft>,
    /// The job that is waited for only tries it.
    trying: bool,
    error: ErrorBox,
}

#[relm4::component(pub(crate))]
impl Component for OperationWindow {
    type Init = OperationInit;
    type Input = OperationInput;
    type Output = OperationOutput;
    type CommandOutput = OperationCommand;

    view! {
        #[name = "window"]
        adw::Window {
            set_modal: true,
            set_destroy_with_parent: true,
            set_default_width: WIDTH,
            set_transient_for: Some(&init.parent),
            set_title: Some(&init.request.heading),

            #[name = "frame"]
            #[wrap(Some)]
            set_content = &gtk::Box {
                set_orientation: gtk::Orientation::Vertical,

                adw::HeaderBar {
                    set_show_start_title_buttons: false,
                    set_show_end_title_buttons: false,

                    #[wrap(Some)]
                    set_title_widget = &adw::WindowTitle {
                        set_title: &init.request.heading,
                        set_subtitle: &init.request.about,
                    },

                    #[name = "cancel"]
                    pack_start = &gtk::Button {
                        set_label: &gettext("_Cancel"),
                        set_use_underline: true,
                        connect_clicked => OperationInput::Dismissed,
                    },

                    #[name = "confirm"]
                    pack_end = &gtk::Button {
                        set_label: &gettext("_Go On"),
                        set_use_underline: true,
                        set_sensitive: false,
                        connect_clicked => OperationInput::Confirmed,
                    },
                },

                gtk::ScrolledWindow {
                    set_hscrollbar_policy: gtk::PolicyType::Never,
                    set_propagate_natural_height: true,
                    set_max_content_height: 640,
                    set_vexpand: true,

                    adw::Clamp {
                        set_maximum_size: 600,

                        #[name = "content"]
                        gtk::Box {
                            set_orientation: gtk::Orientation::Vertical,
                            set_spacing: 18,
                            add_css_class: "operation",

                            append: model.error.root(),
                            append = &adw::Bin {
                                set_child: model.form.as_ref().map(|form| &form.widget),
                                set_visible: model.form.is_some(),
                            },
                            #[name = "reason"]
                            append = &gtk::Label {
                                set_visible: false,
                                set_wrap: true,
                                set_xalign: 0.0,
                                add_css_class: "dim-label",
                            },
                            #[name = "tried"]
                            append = &adw::Bin {
                                set_visible: false,
                            },
                            #[name = "place"]
                            append = &adw::Bin {},
                            #[name = "time"]
                            append = &gtk::Label {
                                set_visible: false,
                                set_wrap: true,
                                set_xalign: 0.0,
                                add_css_class: "dim-label",
                                add_css_class: "caption",
                            },
                            #[name = "try_it"]
                            append = &gtk::Button {
                                set_label: &gettext("_Try It on a Private Copy"),
                                set_use_underline: true,
                                set_halign: gtk::Align::Start,
                                set_visible: false,
                                connect_clicked => OperationInput::TryClicked,
                            },
                        },
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
        let mut model = Self::new(init.background, &sender);
        let draft = match init.request.ask {
            Ask::Form(build) => {
                model.form = Some(build(sender.input_sender()));
                None
            }
            Ask::Sheet(draft) | Ask::Nothing(draft) => Some(draft),
        };
        let widgets = view_output!();
        widgets.connect_keys(&sender);
        if let Some(draft) = draft {
            model.look_at(draft, &widgets, &sender);
        }
        model.appear_soon(&sender);
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
            OperationInput::Form(output) => self.take_form(output, widgets, &sender),
            OperationInput::Confirmed => self.look_again(widgets, &sender),
            OperationInput::TryClicked => self.try_it(widgets, &sender),
            OperationInput::Due => widgets.appear(),
            OperationInput::Dismissed => self.close(widgets, &sender),
            OperationInput::Copy(text) => sender.output_sender().emit(OperationOutput::Copy(text)),
            OperationInput::Ended(state) => self.take_end(state, widgets, &sender),
        }
    }

    fn update_cmd_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: Self::CommandOutput,
        sender: ComponentSender<Self>,
        _root: &Self::Root,
    ) {
        match message {
            OperationCommand::DrawnUp(generation, result) => {
                self.show_drawn(generation, result, widgets, &sender);
            }
            OperationCommand::Sampled(generation, estimate) => {
                self.show_estimate(generation, estimate, widgets);
            }
            OperationCommand::LookedAgain(generation, result) => {
                self.run(generation, result, widgets, &sender);
            }
            OperationCommand::TrialDrawn(generation, result) => {
                self.run_trial(generation, result, widgets, &sender);
            }
        }
    }
}
