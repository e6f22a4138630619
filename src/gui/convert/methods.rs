//! From the fields to a draft.

use std::path::{Path, PathBuf};

use platter::image::Format;
use relm4::ComponentSender;
use relm4::adw::prelude::*;
use relm4::gtk;

use super::draft::{Wish, draft};
use super::{ConvertForm, ConvertFormWidgets, ConvertInput};
use crate::file_chooser;
use crate::format;
use crate::i18n::gettext;
use crate::operation::FormOutput;

/// The formats that can be made.
const FORMATS: [Format; 2] = [Format::Qcow2, Format::Raw];

pub(super) fn formats() -> gtk::StringList {
    let titles = [
        gettext("QCOW2: snapshots, overlays, compression"),
        gettext("Raw: understood by everything"),
    ];
    gtk::StringList::new(&titles.each_ref().map(String::as_str))
}

/// A name beside `source` that is free.
pub(super) fn free_name(source: &Path) -> String {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    let is_free = |name: &String| source.with_file_name(name).symlink_metadata().is_err();
    let first = format!("{stem}.qcow2");
    if is_free(&first) {
        return first;
    }
    (2..1000)
        .map(|n| format!("{stem}-{n}.qcow2"))
        .find(is_free)
        .unwrap_or(first)
}

impl ConvertForm {
    pub(super) fn propose(&self, widgets: &ConvertFormWidgets, sender: &ComponentSender<Self>) {
        widgets
            .place
            .set_subtitle(&format::short_path(&self.folder));
        let format = widgets.chosen_format();
        let compresses = format == Format::Qcow2;
        widgets.compress_row.set_sensitive(compresses);
        let name = widgets.name.text();
        let name = name.trim();
        let output = if name.is_empty() {
            FormOutput::Incomplete(None)
        } else if name.contains('/') {
            FormOutput::Incomplete(Some(gettext("A file name has no slash.")))
        } else {
            let wish = Wish {
                target: self.folder.join(name),
                format,
                compress: compresses && widgets.compress.is_active(),
            };
            FormOutput::Ready(draft(self.subject.clone(), wish))
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }

    /// The name ends as the format's names do.
    pub(super) fn follow_format(
        &self,
        widgets: &ConvertFormWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let name = PathBuf::from(widgets.name.text());
        let name = name.with_extension(widgets.chosen_format().name());
        // Where that is no change, nothing would be proposed.
        if widgets.name.text().as_str() == name.to_string_lossy() {
            self.propose(widgets, sender);
        } else {
            widgets.name.set_text(&name.to_string_lossy());
        }
    }

    pub(super) fn choose_folder(&mut self, root: &gtk::Box, sender: &ComponentSender<Self>) {
        let input = sender.input_sender().clone();
        let dialog = file_chooser::choose(
            root,
            &gettext("Choose a Folder"),
            gtk::FileChooserAction::SelectFolder,
            &self.folder,
            move |path| input.emit(ConvertInput::FolderChosen(path)),
        );
        self.file_dialog = Some(dialog);
    }
}

impl ConvertFormWidgets {
    fn chosen_format(&self) -> Format {
        let index = usize::try_from(self.format.selected()).unwrap_or_default();
        FORMATS.get(index).copied().unwrap_or(Format::Qcow2)
    }
}
