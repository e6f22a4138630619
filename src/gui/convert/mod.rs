//! The form of *Convert*: a copy of the disk in a format of choice, without backing files.

mod draft;
mod messages;
mod methods;

use std::path::{Path, PathBuf};

use platter::storage::{BlockDevice, block_devices};

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{ConvertInit, ConvertInput};

use crate::a11y;
use crate::i18n::gettext;
use crate::image_choices;
use crate::operation::{Ask, FormOutput, Request, form};
use crate::subject::Subject;

/// What the window is asked for to convert the disk of an image.
pub(crate) fn request(subject: Subject) -> Option<Request> {
    let folder = subject.path.parent()?.to_path_buf();
    Some(Request {
        heading: gettext("Convert"),
        about: subject.name(),
        ask: Ask::Form(form::<ConvertForm>(ConvertInit {
            name: methods::free_name(&subject.path),
            folder,
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
            name: methods::free_name(&folder.join("disk")),
            folder: folder.to_path_buf(),
            subject: None,
            devices: block_devices(),
        })),
    }
}

/// The form's model.
pub(crate) struct ConvertForm {
    subject: Option<Subject>,
    devices: Vec<BlockDevice>,
    folder: PathBuf,
    /// The file dialog while it is open: it is no widget, nobody else keeps it.
    file_dialog: Option<gtk::FileChooserNative>,
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
                set_visible: init.subject.is_none(),

                #[name = "device"]
                add = &adw::ComboRow {
                    set_title: &gettext("Device"),
                    set_model: Some(&methods::devices(&init.devices)),
                    connect_selected_notify => ConvertInput::DeviceChosen,
                },
            },

            adw::PreferencesGroup {
                #[name = "name"]
                add = &adw::EntryRow {
                    set_title: &gettext("File name"),
                    set_text: &init.name,
                    set_activates_default: true,
                    connect_changed => ConvertInput::Changed,
                },
                #[name = "place"]
                add = &adw::ActionRow {
                    set_title: &gettext("Folder"),
                    set_use_markup: false,
                    set_activatable: true,
                    connect_activated => ConvertInput::FolderClicked,
                    add_suffix = &gtk::Image {
                        set_icon_name: Some("folder-open-symbolic"),
                    },
                },
            },

            adw::PreferencesGroup {
                #[name = "format"]
                add = &adw::ComboRow {
                    set_title: &gettext("Format"),
                    set_model: Some(&image_choices::list(&image_choices::formats())),
                    connect_selected_notify => ConvertInput::FormatChosen,
                },
                #[name = "compress_row"]
                add = &adw::ActionRow {
                    set_title: &gettext("Compress"),
                    set_subtitle: &gettext("Smaller, and slower to write to later"),
                    #[name = "compress"]
                    add_suffix = &gtk::Switch {
                        set_valign: gtk::Align::Center,
                        connect_active_notify => ConvertInput::Changed,
                    },
                    set_activatable_widget: Some(&compress),
                },
                #[name = "snapshots_row"]
                add = &adw::ActionRow {
                    set_title: &gettext("Keep snapshots"),
                    set_subtitle: &gettext("Each becomes a snapshot of the new image"),
                    #[name = "snapshots"]
                    add_suffix = &gtk::Switch {
                        set_valign: gtk::Align::Center,
                        connect_active_notify => ConvertInput::Changed,
                    },
                    set_activatable_widget: Some(&snapshots),
                },
                add = &adw::ActionRow {
                    set_title: &gettext("Verify"),
                    set_subtitle: &gettext("The new image is read again and compared before it gets its name"),
                    set_subtitle_lines: 0,
                    #[name = "verify"]
                    add_suffix = &gtk::Switch {
                        set_valign: gtk::Align::Center,
                        connect_active_notify => ConvertInput::Changed,
                    },
                    set_activatable_widget: Some(&verify),
                },
                add = &adw::ExpanderRow {
                    set_title: &gettext("Options"),

                    #[name = "cluster"]
                    add_row = &adw::ComboRow {
                        set_title: &gettext("Cluster size"),
                        set_model: Some(&image_choices::list(&image_choices::cluster_sizes())),
                        set_selected: image_choices::USUAL_CLUSTER_SIZE,
                        connect_selected_notify => ConvertInput::Changed,
                    },
                    #[name = "compression"]
                    add_row = &adw::ComboRow {
                        set_title: &gettext("Compression"),
                        set_model: Some(&image_choices::list(&image_choices::COMPRESSIONS.map(|(_, name)| name.to_owned()))),
                        connect_selected_notify => ConvertInput::Changed,
                    },
                    #[name = "space"]
                    add_row = &adw::ComboRow {
                        set_title: &gettext("Space"),
                        set_model: Some(&image_choices::list(&image_choices::spaces())),
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
        let widgets = view_output!();
        let model = Self {
            subject: init.subject,
            devices: init.devices,
            folder: init.folder,
            file_dialog: None,
        };
        a11y::name(&widgets.compress, &gettext("Compress"));
        a11y::name(&widgets.snapshots, &gettext("Keep snapshots"));
        a11y::name(&widgets.verify, &gettext("Verify"));
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
        root: &Self::Root,
    ) {
        match message {
            ConvertInput::Changed => self.propose(widgets, &sender),
            ConvertInput::DeviceChosen => self.follow_device(widgets, &sender),
            ConvertInput::FormatChosen => self.follow_format(widgets, &sender),
            ConvertInput::FolderClicked => self.choose_folder(root, &sender),
            ConvertInput::FolderChosen(folder) => {
                self.folder = folder;
                self.propose(widgets, &sender);
            }
        }
    }
}
