//! The part of a form that says what a new file is called and where it is made.

use std::path::{Path, PathBuf};

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

use crate::file_row::{FileRow, FileRowInit};
use crate::format;
use crate::i18n::gettext;

/// What the part is started with.
pub(crate) struct NewFileInit {
    /// Where the file is made, unless the user says otherwise.
    pub(crate) folder: PathBuf,
    /// What it is called there, but for the ending and a number that makes it a free name.
    pub(crate) stem: String,
}

impl NewFileInit {
    /// Beside `source`, and called alike.
    pub(crate) fn beside(source: &Path) -> Option<Self> {
        Some(Self {
            folder: source.parent()?.to_path_buf(),
            stem: source.file_stem()?.to_string_lossy().into_owned(),
        })
    }
}

/// The part's model.
pub(crate) struct NewFile {
    folder: PathBuf,
    /// As it is typed.
    name: String,
    folder_row: Controller<FileRow>,
}

/// To the part.
#[derive(Debug)]
pub(crate) enum NewFileInput {
    /// The file is called this.
    Named(String),
    /// The file is made in this folder.
    In(PathBuf),
    /// The name ends as those of this format do.
    EndsAs(&'static str),
}

/// The part says something else now.
#[derive(Debug)]
pub(crate) struct NewFileChanged;

#[relm4::component(pub(crate))]
impl Component for NewFile {
    type Init = NewFileInit;
    type Input = NewFileInput;
    type Output = NewFileChanged;
    type CommandOutput = ();

    view! {
        adw::PreferencesGroup {
            #[name = "entry"]
            add = &adw::EntryRow {
                set_title: &gettext("File name"),
                set_text: &model.name,
                set_activates_default: true,
                connect_changed[sender] => move |entry| {
                    sender.input(NewFileInput::Named(entry.text().into()));
                },
            },
            add = model.folder_row.widget(),
        }
    }

    fn init(
        init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let folder_row = FileRow::builder()
            .launch(FileRowInit {
                title: gettext("Folder"),
                question: gettext("Choose a Folder"),
                action: gtk::FileChooserAction::SelectFolder,
                folder: init.folder.clone(),
                beside: None,
            })
            .forward(sender.input_sender(), NewFileInput::In);
        let model = Self {
            name: free_name(&init.folder, &init.stem),
            folder: init.folder,
            folder_row,
        };
        model.show_folder();
        let widgets = view_output!();
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
            NewFileInput::Named(name) => self.name = name,
            NewFileInput::In(folder) => {
                self.folder = folder;
                self.show_folder();
            }
            NewFileInput::EndsAs(ending) => {
                let name = Path::new(&self.name).with_extension(ending);
                self.name = name.to_string_lossy().into_owned();
                widgets.entry.set_text(&self.name);
            }
        }
        // A part without its form has nobody to tell.
        let _ = sender.output(NewFileChanged);
    }
}

impl NewFile {
    /// The file; what is wrong with its name, where that can be said.
    pub(crate) fn path(&self) -> Result<PathBuf, Option<String>> {
        let name = self.name.trim();
        if name.is_empty() {
            Err(None)
        } else if name.contains('/') {
            Err(Some(gettext("A file name has no slash.")))
        } else {
            Ok(self.folder.join(name))
        }
    }

    fn show_folder(&self) {
        let folder = format::short_path(&self.folder);
        self.folder_row.widget().set_subtitle(&folder);
    }
}

/// `STEM.qcow2` where that is free, else `STEM-2.qcow2`…
fn free_name(folder: &Path, stem: &str) -> String {
    let is_free = |name: &String| folder.join(name).symlink_metadata().is_err();
    let first = format!("{stem}.qcow2");
    if is_free(&first) {
        return first;
    }
    (2..1000)
        .map(|n| format!("{stem}-{n}.qcow2"))
        .find(is_free)
        .unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_proposed_that_is_free() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(free_name(folder.path(), "disk"), "disk.qcow2");
        std::fs::write(folder.path().join("disk.qcow2"), "").unwrap();
        assert_eq!(free_name(folder.path(), "disk"), "disk-2.qcow2");
    }
}
