//! What is shown instead of the panes when an image cannot be opened.

mod helpers;

use std::rc::Rc;

use relm4::adw::prelude::*;
use relm4::gtk::glib;
use relm4::prelude::*;
use relm4::{adw, gtk};

use crate::i18n::gettext;
use crate::session::Document;

/// The page's model: what it says.
#[derive(Default)]
pub(crate) struct FailurePage {
    text: helpers::FailureText,
}

/// To the page.
#[derive(Debug)]
pub(crate) enum FailurePageInput {
    /// The image that cannot be opened.
    Show(Rc<Document>),
    /// The details were asked for.
    CopyClicked,
}

/// From the page.
#[derive(Debug)]
pub(crate) enum FailurePageOutput {
    /// Put the details on the clipboard.
    Copy(String),
}

#[relm4::component(pub(crate))]
impl SimpleComponent for FailurePage {
    type Init = ();
    type Input = FailurePageInput;
    type Output = FailurePageOutput;

    view! {
        adw::StatusPage {
            set_icon_name: Some("dialog-error-symbolic"),
            #[watch]
            set_title: &model.text.title,
            #[watch]
            // Markup to GTK; an engine's message can have any file name in it.
            set_description: Some(&glib::markup_escape_text(&model.text.sentence)),

            adw::Clamp {
                set_maximum_size: 560,

                gtk::Box {
                    set_orientation: gtk::Orientation::Vertical,
                    set_spacing: 24,

                    gtk::Box {
                        set_halign: gtk::Align::Center,
                        set_spacing: 12,

                        gtk::Button {
                            #[watch]
                            set_visible: model.text.may_work_later,
                            set_label: &gettext("_Try Again"),
                            set_use_underline: true,
                            set_action_name: Some("win.reload"),
                            add_css_class: "pill",
                            add_css_class: "suggested-action",
                        },
                        gtk::Button {
                            set_label: &gettext("_Close"),
                            set_use_underline: true,
                            set_action_name: Some("win.close-image"),
                            add_css_class: "pill",
                        },
                    },

                    gtk::Expander {
                        set_label: Some(&gettext("Details")),

                        gtk::Box {
                            set_orientation: gtk::Orientation::Vertical,
                            set_spacing: 6,
                            set_margin_top: 6,

                            gtk::Label {
                                #[watch]
                                set_label: &model.text.details,
                                set_wrap: true,
                                set_wrap_mode: gtk::pango::WrapMode::WordChar,
                                set_selectable: true,
                                set_xalign: 0.0,
                                add_css_class: "monospace",
                                add_css_class: "caption",
                            },
                            gtk::Button {
                                set_label: &gettext("Co_py"),
                                set_use_underline: true,
                                set_halign: gtk::Align::Start,
                                connect_clicked => FailurePageInput::CopyClicked,
                            },
                        },
                    },
                },
            },
        }
    }

    fn init(
        (): Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let model = Self::default();
        let widgets = view_output!();
        ComponentParts { model, widgets }
    }

    fn update(&mut self, message: Self::Input, sender: ComponentSender<Self>) {
        match message {
            FailurePageInput::Show(document) => self.text = helpers::failure_text(&document),
            FailurePageInput::CopyClicked => {
                let details = self.text.details.clone();
                sender
                    .output_sender()
                    .emit(FailurePageOutput::Copy(details));
            }
        }
    }
}
