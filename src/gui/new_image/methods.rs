//! From the fields to a draft.

use std::path::{Path, PathBuf};

use platter::image::{Format, Preallocation};
use platter::units::ByteSize;
use relm4::adw::prelude::*;
use relm4::gtk;
use relm4::{ComponentSender, adw};

use super::draft::{Wish, draft};
use super::{NewImageForm, NewImageFormWidgets, NewImageInput};
use crate::a11y;
use crate::file_chooser;
use crate::format;
use crate::i18n::gettext;
use crate::image_choices as choices;
use crate::operation::FormOutput;

/// A disk is a whole number of these.
const SECTOR: u64 = 512;

impl NewImageForm {
    pub(super) fn propose(&self, widgets: &NewImageFormWidgets, sender: &ComponentSender<Self>) {
        widgets.show_places(&self.folder, self.backing.as_deref());
        let format = choices::chosen(&widgets.format, &choices::FORMATS);
        let is_raw = format == Some(Format::Raw);
        for only_qcow2 in [&widgets.cluster, &widgets.compression] {
            only_qcow2.set_sensitive(!is_raw);
        }
        widgets.subclusters_row.set_sensitive(!is_raw);
        widgets.backing.set_sensitive(!is_raw);
        let output = match self.wish(widgets) {
            Ok(wish) => FormOutput::Ready(draft(wish)),
            Err(reason) => FormOutput::Incomplete(reason),
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }

    /// Sets the fields that the purpose decides; their change proposes anew.
    pub(super) fn follow_purpose(&self, widgets: &NewImageFormWidgets) {
        let chosen = choices::chosen(&widgets.purpose, &choices::PURPOSES);
        let Some((format, space)) = chosen else {
            return;
        };
        let select = |row: &adw::ComboRow, index: Option<usize>| {
            if let Some(index) = index.and_then(|index| u32::try_from(index).ok()) {
                row.set_selected(index);
            }
        };
        select(
            &widgets.format,
            choices::FORMATS.iter().position(|it| *it == format),
        );
        select(
            &widgets.space,
            choices::SPACES.iter().position(|it| *it == space),
        );
        let ending = if format == Format::Raw {
            "raw"
        } else {
            "qcow2"
        };
        let name = PathBuf::from(widgets.name.text()).with_extension(ending);
        widgets.name.set_text(&name.to_string_lossy());
    }

    pub(super) fn set_backing(
        &mut self,
        backing: Option<PathBuf>,
        widgets: &NewImageFormWidgets,
        sender: &ComponentSender<Self>,
    ) {
        widgets.size.set_title(&size_title(backing.is_some()));
        self.backing = backing;
        self.propose(widgets, sender);
    }

    pub(super) fn choose_folder(&mut self, root: &gtk::Box, sender: &ComponentSender<Self>) {
        let title = gettext("Choose a Folder");
        let action = gtk::FileChooserAction::SelectFolder;
        self.choose(&title, action, root, sender, NewImageInput::FolderChosen);
    }

    pub(super) fn choose_backing(&mut self, root: &gtk::Box, sender: &ComponentSender<Self>) {
        let title = gettext("Choose a Backing File");
        let action = gtk::FileChooserAction::Open;
        self.choose(&title, action, root, sender, |path| {
            NewImageInput::BackingChosen(Some(path))
        });
    }

    fn choose(
        &mut self,
        title: &str,
        action: gtk::FileChooserAction,
        root: &gtk::Box,
        sender: &ComponentSender<Self>,
        message: fn(PathBuf) -> NewImageInput,
    ) {
        let input = sender.input_sender().clone();
        let dialog = file_chooser::choose(root, title, action, &self.folder, move |path| {
            input.emit(message(path));
        });
        self.file_dialog = Some(dialog);
    }

    /// What the fields say, or why they say nothing.
    fn wish(&self, widgets: &NewImageFormWidgets) -> Result<Wish, Option<String>> {
        let name = widgets.name.text();
        let name = name.trim();
        if name.is_empty() {
            return Err(None);
        }
        if name.contains('/') {
            return Err(Some(gettext("A file name has no slash.")));
        }
        let format = choices::chosen(&widgets.format, &choices::FORMATS).unwrap_or(Format::Qcow2);
        let backing = self.backing.clone().filter(|_| format == Format::Qcow2);
        let text = widgets.size.text();
        let size = size(&text);
        let is_given = !text.trim().is_empty();
        if (is_given && size.is_none()) || (!is_given && backing.is_none()) {
            return Err(Some(gettext("Type a size such as 20G or 512M.")));
        }
        let space = choices::chosen(&widgets.space, &choices::SPACES);
        let space = space.unwrap_or(Preallocation::Off);
        let of_raw = format == Format::Raw && space == Preallocation::Metadata;
        Ok(Wish {
            path: self.folder.join(name),
            format,
            size,
            backing,
            preallocation: if of_raw { Preallocation::Off } else { space },
            cluster_size: choices::chosen(&widgets.cluster, &choices::CLUSTER_SIZES)
                .unwrap_or(64 << 10),
            compression: choices::chosen(&widgets.compression, &choices::COMPRESSIONS)
                .map(|(compression, _)| compression)
                .unwrap_or_default(),
            subclusters: widgets.subclusters.is_active(),
        })
    }
}

impl NewImageFormWidgets {
    pub(super) fn name_parts(&self) {
        a11y::icon_button(&self.forget, &gettext("No backing file"));
        a11y::name(&self.subclusters, &gettext("Subclusters"));
    }

    fn show_places(&self, folder: &Path, backing: Option<&Path>) {
        self.folder.set_subtitle(&format::short_path(folder));
        let none = gettext("None: the disk begins empty");
        let backing_line = backing.map_or(none, format::short_path);
        self.backing.set_subtitle(&backing_line);
        self.forget.set_visible(backing.is_some());
    }
}

pub(super) fn size_title(has_backing: bool) -> String {
    if has_backing {
        gettext("Size, if not that of the backing file")
    } else {
        gettext("Size")
    }
}

/// `STEM.qcow2` where that is free, else `STEM-2.qcow2`…
pub(super) fn free_name(folder: &Path, stem: &str) -> String {
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

/// Rounded up to whole sectors.
fn size(text: &str) -> Option<u64> {
    let text = text
        .trim()
        .replace(['\u{a0}', '\u{202f}'], "")
        .replace(',', ".");
    let bytes = ByteSize::parse(&text).ok()?.0;
    bytes
        .checked_next_multiple_of(SECTOR)
        .filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_whole_sectors() {
        assert_eq!(size("1,5G"), Some(3 << 29));
        assert_eq!(size(" 1000 "), Some(1024));
        assert_eq!(size("0"), None);
        assert_eq!(size("big"), None);
    }

    #[test]
    fn a_name_is_proposed_that_is_free() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(free_name(folder.path(), "disk"), "disk.qcow2");
        std::fs::write(folder.path().join("disk.qcow2"), "").unwrap();
        assert_eq!(free_name(folder.path(), "disk"), "disk-2.qcow2");
    }
}
