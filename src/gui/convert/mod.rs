//! The form of *Convert*: a copy of the disk in a format of choice, without backing files.

mod draft;
mod messages;
mod methods;

use std::path::Path;

use platter::storage::{BlockDevice, block_devices};

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{ConvertInit, ConvertInput};

use crate::i18n::gettext;
use crate::image_choices::{self, LayoutRows};
use crate::new_file::{NewFile, NewFileInit, NewFileInput};
use crate::operation::{Ask, FormOutput, Request, form};
use crate::subject::Subject;
use crate::widgets::switch_row::SwitchRow;

/// What the window is asked for to convert the disk of an image.
pub(crate) fn request(subject: Subject) -> Option<Request> {
    Some(Request {
        heading: gettext("Convert"),
        about: subject.name(),
        ask: Ask::Form(form::<ConvertForm>(ConvertInit {
            target: NewFileInit::beside(&subject.path)?,
            subject: Some(subject),
            devices: Vec::new(),
        })),
    })
}

/// What the window is asked for to make an image of a device, in `folder`.
pub(crate) fn device_request(folder: &Path) -> Request {
    Request {
        heading: gettext("Image of a Device"),
        about: String::new(),
        ask: Ask::Form(form::<ConvertForm>(ConvertInit {
            target: NewFileInit {
                folder: folder.to_path_buf(),
                stem: "disk".to_owned(),
            },
            subject: None,
            devices: block_devices(),
        })),
    }
}

/// The form's model.
pub(crate) struct ConvertForm {
    subject: Option<Subject>,
    devices: Vec<BlockDevice>,
    target: Controller<NewFile>,
    layout: LayoutRows,
}

#[relm4::component(pub(crate))]
impl Component for ConvertForm {
    type Init = ConvertInit;
    type Input = ConvertInput;
    type Output = FormOutput;
    type CommandOutput = ();

    view! {
        gtk::Box {
            set_orientation: gtk::Orientation::Vertical,
            set_spacing: 18,

            adw::PreferencesGroup {
                set_visible: model.subject.is_none(),

                #[name = "device"]
                add = &adw::ComboRow {
                    set_title: &gettext("Device"),
                    set_use_markup: false,
                    set_use_subtitle: true,
                    set_model: Some(&methods::devices(&model.devices)),
                    connect_selected_notify => ConvertInput::DeviceChosen,
                },
            },

            append = model.target.widget(),

            adw::PreferencesGroup {
                #[name = "format"]
                add = &adw::ComboRow {
                    set_title: &gettext("Format"),
                    set_use_markup: false,
                    set_use_subtitle: true,
                    set_model: Some(&image_choices::list(&image_choices::formats())),
                    connect_selected_notify => ConvertInput::FormatChosen,
                },
                #[name = "compress"]
                #[template]
                add = &SwitchRow {
                    set_title: &gettext("Compress"),
                    set_subtitle: &gettext("Smaller, and slower to write to later"),
                    #[template_child]
                    switch {
                        connect_active_notify => ConvertInput::Changed,
                    },
                },
                #[name = "snapshots"]
                #[template]
                add = &SwitchRow {
                    set_title: &gettext("Keep snapshots"),
                    set_subtitle: &gettext("Each becomes a snapshot of the new image"),
                    #[template_child]
                    switch {
                        connect_active_notify => ConvertInput::Changed,
                    },
                },
                #[name = "verify"]
                #[template]
                add = &SwitchRow {
                    set_title: &gettext("Verify"),
                    set_subtitle: &gettext("The new image is read again and compared before it gets its name"),
                    #[template_child]
                    switch {
                        connect_active_notify => ConvertInput::Changed,
                    },
                },
                add = &adw::ExpanderRow {
                    set_title: &gettext("Options"),

                    #[local_ref]
                    add_row = cluster -> adw::ComboRow {
                        connect_selected_notify => ConvertInput::Changed,
                    },
                    #[local_ref]
                    add_row = compression -> adw::ComboRow {
                        connect_selected_notify => ConvertInput::Changed,
                    },
                    #[local_ref]
                    add_row = space -> adw::ComboRow {
                        connect_selected_notify => ConvertInput::Changed,
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
        let target = NewFile::builder()
            .launch(init.target)
            .forward(sender.input_sender(), |_| ConvertInput::Changed);
        let model = Self {
            subject: init.subject,
            devices: init.devices,
            target,
            layout: LayoutRows::new(),
        };
        let LayoutRows {
            space,
            cluster,
            compression,
        } = &model.layout;
        let widgets = view_output!();
        sender.input(if model.subject.is_some() {
            ConvertInput::Changed
        } else {
            ConvertInput::DeviceChosen
        });
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
            ConvertInput::Changed => self.propose(widgets, &sender),
            ConvertInput::DeviceChosen => self.follow_device(widgets, &sender),
            ConvertInput::FormatChosen => {
                let ending = widgets.chosen_format().name();
                self.target.emit(NewFileInput::EndsAs(ending));
            }
        }
    }
}
