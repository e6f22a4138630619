//! The form of *Convert*: a copy of the disk in a format of choice, without backing files.

mod draft;
mod messages;
mod methods;

use std::path::PathBuf;

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{ConvertInit, ConvertInput};

use crate::a11y;
use crate::i18n::gettext;
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
            subject,
        })),
    })
}

/// The form's model.
pub(crate) struct ConvertForm {
    subject: Subject,
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
                    set_model: Some(&methods::formats()),
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
            folder: init.folder,
            file_dialog: None,
        };
        a11y::name(&widgets.compress, &gettext("Compress"));
        sender.input(ConvertInput::Changed);
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
            ConvertInput::FormatChosen => self.follow_format(widgets, &sender),
            ConvertInput::FolderClicked => self.choose_folder(root, &sender),
            ConvertInput::FolderChosen(folder) => {
                self.folder = folder;
                self.propose(widgets, &sender);
            }
        }
    }
}
