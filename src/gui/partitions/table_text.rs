//! The table as text, in the form of `sfdisk --dump`: written to a file, and read from one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use platter::op::edit::Edit;
use relm4::ComponentSender;
use relm4::gtk;

use super::{Partitions, PartitionsCommand};
use crate::file_chooser;
use crate::format;
use crate::i18n::{fill, gettext};
use crate::pane::{ErrorReport, PaneOutput};
use crate::save_text;

/// Bytes that are read; what is longer is refused further on.
const LONGEST_TEXT: u64 = (1 << 20) + 1;

impl Partitions {
    /// Asks for a file to write the table to, as it is on the disk: what waits is left out.
    pub(super) fn export_table(&self, root: &gtk::Stack, sender: &ComponentSender<Self>) {
        let Some(document) = &self.document else {
            return;
        };
        let Some(contents) = &document.contents else {
            return;
        };
        let text = contents.table.dump(&document.path.to_string_lossy());
        let name = format!("{}.sfdisk", format::file_name(&document.path));
        let title = gettext("Export the Partition Table");
        let output = sender.output_sender().clone();
        save_text::ask(root, &title, &name, Rc::from(text), move |name| {
            let text = fill(&gettext("Saved {name}"), &[("name", &name)]);
            output.emit(PaneOutput::Toast(text));
        });
    }

    /// Asks for a file, and makes an edit of it.
    pub(super) fn import_table(&mut self, root: &gtk::Stack, sender: &ComponentSender<Self>) {
        let folder = self.document.as_ref().and_then(|it| it.path.parent());
        let folder = folder.unwrap_or(Path::new("/")).to_path_buf();
        let (background, output) = (self.background.clone(), sender.command_sender().clone());
        let chooser = file_chooser::choose(
            root,
            &gettext("Import a Partition Table"),
            gtk::FileChooserAction::Open,
            &folder,
            move |path| {
                let output = output.clone();
                background.run(move || {
                    let made = read(&path)
                        .map(|text| Edit::Import {
                            file: path.clone(),
                            text,
                        })
                        .map_err(|error| unreadable(&path, &error));
                    output.emit(PartitionsCommand::Imported(made));
                });
            },
        );
        self.chooser = Some(chooser);
    }
}

fn read(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(LONGEST_TEXT)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> ErrorReport {
    ErrorReport {
        heading: gettext("The Table Cannot Be Imported"),
        body: fill(
            &gettext("“{file}” cannot be read as text."),
            &[("file", &format::file_name(path))],
        ),
        details: format!("{}: {error}", path.display()),
    }
}
