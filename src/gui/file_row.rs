//! A row that asks for a file or a folder when it is activated.

use std::path::{Path, PathBuf};

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

use crate::file_chooser;

/// What the row is started with.
pub(crate) struct FileRowInit {
    /// The row's title.
    pub(crate) title: String,
    /// The title of the dialog.
    pub(crate) question: String,
    /// A file to open, or a folder.
    pub(crate) action: gtk::FileChooserAction,
    /// Where the dialog begins.
    pub(crate) folder: PathBuf,
    /// What stands at the end of the row, before its icon.
    pub(crate) beside: Option<gtk::Button>,
}

/// The row's model. Its output is what was chosen.
pub(crate) struct FileRow {
    question: String,
    action: gtk::FileChooserAction,
    folder: PathBuf,
    /// The dialog while it is open: it is no widget, nobody else keeps it.
    dialog: Option<gtk::FileChooserNative>,
}

/// To the row.
#[derive(Debug)]
pub(crate) enum FileRowInput {
    /// A file is wanted.
    Clicked,
    /// This file.
    Chosen(PathBuf),
}

#[relm4::component(pub(crate))]
impl Component for FileRow {
    type Init = FileRowInit;
    type Input = FileRowInput;
    type Output = PathBuf;
    type CommandOutput = ();

    view! {
        adw::ActionRow {
            set_use_markup: false,
            set_title: &init.title,
            set_title_lines: 0,
            set_activatable: true,
            connect_activated => FileRowInput::Clicked,
            add_suffix = &gtk::Box {
                set_spacing: 6,
                append?: &init.beside,
                gtk::Image {
                    set_icon_name: Some("folder-open-symbolic"),
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
            question: init.question,
            action: init.action,
            folder: init.folder,
            dialog: None,
        };
        ComponentParts { model, widgets }
    }

    fn update(&mut self, message: Self::Input, sender: ComponentSender<Self>, root: &Self::Root) {
        match message {
            FileRowInput::Clicked => {
                let input = sender.input_sender().clone();
                self.dialog = Some(file_chooser::choose(
                    root,
                    &self.question,
                    self.action,
                    &self.folder,
                    move |path| input.emit(FileRowInput::Chosen(path)),
                ));
            }
            FileRowInput::Chosen(path) => {
                self.folder = match self.action {
                    gtk::FileChooserAction::SelectFolder => path.clone(),
                    _ => path.parent().map_or_else(PathBuf::new, Path::to_path_buf),
                };
                // A row without its form has nobody to tell.
                let _ = sender.output(path);
            }
        }
    }
}
