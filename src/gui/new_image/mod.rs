//! The form of *New Image*, and of *New Overlay*: that is a new image with a backing file.

mod draft;
mod messages;
mod methods;

use std::path::{Path, PathBuf};

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{NewImageInit, NewImageInput};

use crate::file_row::FileRow;
use crate::i18n::gettext;
use crate::image_choices::{self as choices, LayoutRows};
use crate::new_file::{NewFile, NewFileInit};
use crate::operation::{Ask, FormOutput, Request, form};
use crate::subject::Subject;
use crate::widgets::switch_row::SwitchRow;

/// What the window is asked for to make an image in `folder`.
pub(crate) fn request(folder: &Path) -> Request {
    Request {
        heading: gettext("New Image"),
        about: String::new(),
        ask: Ask::Form(form::<NewImageForm>(NewImageInit {
            target: NewFileInit {
                folder: folder.to_path_buf(),
                stem: "disk".to_owned(),
            },
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
            target: NewFileInit {
                folder,
                stem: format!("{stem}-overlay"),
            },
            backing: Some(subject.path.clone()),
        })),
    })
}

/// The form's model.
pub(crate) struct NewImageForm {
    target: Controller<NewFile>,
    backing: Option<PathBuf>,
    backing_row: Controller<FileRow>,
    /// Beside the row.
    forget: gtk::Button,
    layout: LayoutRows,
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

            append = model.target.widget(),

            adw::PreferencesGroup {
                #[name = "purpose"]
                add = &adw::ComboRow {
                    set_title: &gettext("For"),
                    set_use_markup: false,
                    set_use_subtitle: true,
                    set_model: Some(&choices::list(&choices::purposes())),
                    set_visible: model.backing.is_none(),
                    connect_selected_notify => NewImageInput::PurposeChosen,
                },
                #[name = "size"]
                add = &adw::EntryRow {
                    set_title: &methods::size_title(model.backing.is_some()),
                    set_text: if model.backing.is_some() { "" } else { "20 GiB" },
                    set_activates_default: true,
                    connect_changed => NewImageInput::Changed,
                },
                add = model.backing_row.widget(),
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
                    #[local_ref]
                    add_row = space -> adw::ComboRow {
                        connect_selected_notify => NewImageInput::Changed,
                    },
                    #[local_ref]
                    add_row = cluster -> adw::ComboRow {
                        connect_selected_notify => NewImageInput::Changed,
                    },
                    #[local_ref]
                    add_row = compression -> adw::ComboRow {
                        connect_selected_notify => NewImageInput::Changed,
                    },
                    #[name = "subclusters"]
                    #[template]
                    add_row = &SwitchRow {
                        set_title: &gettext("Subclusters"),
                        set_subtitle: &gettext("Overlays copy less on small writes"),
                        #[template_child]
                        switch {
                            connect_active_notify => NewImageInput::Changed,
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
        let model = Self::new(init, &sender);
        let LayoutRows {
            space,
            cluster,
            compression,
        } = &model.layout;
        let widgets = view_output!();
        sender.input(NewImageInput::Changed);
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
            NewImageInput::Changed => self.propose(widgets, &sender),
            NewImageInput::PurposeChosen => self.follow_purpose(widgets),
            NewImageInput::BackingChosen(backing) => self.set_backing(backing, widgets, &sender),
        }
    }
}
