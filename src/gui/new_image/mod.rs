//! The form of *New Image*, and of *New Overlay*: that is a new image with a backing file.

mod draft;
mod messages;
mod methods;

use std::path::{Path, PathBuf};

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{NewImageInit, NewImageInput};

use crate::i18n::gettext;
use crate::image_choices as choices;
use crate::operation::{Ask, FormOutput, Request, form};
use crate::subject::Subject;

/// What the window is asked for to make an image in `folder`.
pub(crate) fn request(folder: &Path) -> Request {
    Request {
        heading: gettext("New Image"),
        about: String::new(),
        ask: Ask::Form(form::<NewImageForm>(NewImageInit {
            folder: folder.to_path_buf(),
            name: methods::free_name(folder, "disk"),
            backing: None,
        })),
    }
}

/// What the window is asked for to make an overlay of `document`.
pub(crate) fn overlay_request(subject: &Subject) -> Option<Request> {
    let folder = subject.path.parent()?.to_path_buf();
    let stem = subject.path.file_stem()?.to_string_lossy();
    Some(Request {
        heading: gettext("New Overlay"),
        about: subject.name(),
        ask: Ask::Form(form::<NewImageForm>(NewImageInit {
            name: methods::free_name(&folder, &format!("{stem}-overlay")),
            folder,
            backing: Some(subject.path.clone()),
        })),
    })
}

/// The form's model.
pub(crate) struct NewImageForm {
    folder: PathBuf,
    backing: Option<PathBuf>,
    /// The file dialog while it is open: it is no widget, nobody else keeps it.
    file_dialog: Option<gtk::FileChooserNative>,
}

#[relm4::component(pub(crate))]
impl Component for NewImageForm {
    type Init = NewImageInit;
    type Input = NewImageInput;
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
                    connect_changed => NewImageInput::Changed,
                },
                #[name = "folder"]
                add = &adw::ActionRow {
                    set_title: &gettext("Folder"),
                    set_use_markup: false,
                    set_activatable: true,
                    connect_activated => NewImageInput::FolderClicked,
                    add_suffix = &gtk::Image {
                        set_icon_name: Some("folder-open-symbolic"),
                    },
                },
            },

            adw::PreferencesGroup {
                #[name = "purpose"]
                add = &adw::ComboRow {
                    set_title: &gettext("For"),
                    set_model: Some(&choices::list(&choices::purposes())),
                    set_visible: init.backing.is_none(),
                    connect_selected_notify => NewImageInput::PurposeChosen,
                },
                #[name = "size"]
                add = &adw::EntryRow {
                    set_title: &methods::size_title(init.backing.is_some()),
                    set_text: if init.backing.is_some() { "" } else { "20 GiB" },
                    set_activates_default: true,
                    connect_changed => NewImageInput::Changed,
                },
                #[name = "backing"]
                add = &adw::ActionRow {
                    set_title: &gettext("Backing file"),
                    set_use_markup: false,
                    set_activatable: true,
                    connect_activated => NewImageInput::BackingClicked,

                    #[name = "forget"]
                    add_suffix = &gtk::Button {
                        set_icon_name: "edit-clear-symbolic",
                        set_valign: gtk::Align::Center,
                        add_css_class: "flat",
                        connect_clicked => NewImageInput::BackingChosen(None),
                    },
                    add_suffix = &gtk::Image {
                        set_icon_name: Some("folder-open-symbolic"),
                    },
                },
            },

            adw::PreferencesGroup {
                #[name = "options"]
                add = &adw::ExpanderRow {
                    set_title: &gettext("Options"),

                    #[name = "format"]
                    add_row = &adw::ComboRow {
                        set_title: &gettext("Format"),
                        set_model: Some(&choices::list(&choices::formats())),
                        connect_selected_notify => NewImageInput::Changed,
                    },
                    #[name = "space"]
                    add_row = &adw::ComboRow {
                        set_title: &gettext("Space"),
                        set_model: Some(&choices::list(&choices::spaces())),
                        connect_selected_notify => NewImageInput::Changed,
                    },
                    #[name = "cluster"]
                    add_row = &adw::ComboRow {
                        set_title: &gettext("Cluster size"),
                        set_model: Some(&choices::list(&choices::cluster_sizes())),
                        set_selected: choices::USUAL_CLUSTER_SIZE,
                        connect_selected_notify => NewImageInput::Changed,
                    },
                    #[name = "compression"]
                    add_row = &adw::ComboRow {
                        set_title: &gettext("Compression"),
                        set_model: Some(&choices::list(&choices::COMPRESSIONS.map(|(_, name)| name.to_owned()))),
                        connect_selected_notify => NewImageInput::Changed,
                    },
                    #[name = "subclusters_row"]
                    add_row = &adw::ActionRow {
                        set_title: &gettext("Subclusters"),
                        set_subtitle: &gettext("Overlays copy less on small writes"),
                        #[name = "subclusters"]
                        add_suffix = &gtk::Switch {
                            set_valign: gtk::Align::Center,
                            connect_active_notify => NewImageInput::Changed,
                        },
                        set_activatable_widget: Some(&subclusters),
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
            folder: init.folder,
            backing: init.backing,
            file_dialog: None,
        };
        widgets.name_parts();
        sender.input(NewImageInput::Changed);
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
            NewImageInput::Changed => self.propose(widgets, &sender),
            NewImageInput::PurposeChosen => self.follow_purpose(widgets),
            NewImageInput::FolderClicked => self.choose_folder(root, &sender),
            NewImageInput::FolderChosen(folder) => {
                self.folder = folder;
                self.propose(widgets, &sender);
            }
            NewImageInput::BackingClicked => self.choose_backing(root, &sender),
            NewImageInput::BackingChosen(backing) => self.set_backing(backing, widgets, &sender),
        }
    }
}
