//! From the fields to a draft.

use std::path::PathBuf;

use platter::image::Format;
use platter::units::ByteSize;
use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

use super::draft::{Wish, draft};
use super::{NewImageForm, NewImageFormWidgets, NewImageInit, NewImageInput};
use crate::a11y;
use crate::file_row::{FileRow, FileRowInit};
use crate::format;
use crate::i18n::gettext;
use crate::image_choices::{self as choices, LayoutRows};
use crate::new_file::{NewFile, NewFileInput};
use crate::operation::FormOutput;

/// A disk is a whole number of these.
const SECTOR: u64 = 512;

impl NewImageForm {
    pub(super) fn new(init: NewImageInit, sender: &ComponentSender<Self>) -> Self {
        let forget = gtk::Button::builder()
            .icon_name("edit-clear-symbolic")
            .valign(gtk::Align::Center)
            .css_classes(["flat"])
            .build();
        a11y::icon_button(&forget, &gettext("No backing file"));
        let input = sender.input_sender().clone();
        forget.connect_clicked(move |_| input.emit(NewImageInput::BackingChosen(None)));
        let backing_row = FileRow::builder()
            .launch(FileRowInit {
                title: gettext("Backing file"),
                question: gettext("Choose a Backing File"),
                action: gtk::FileChooserAction::Open,
                folder: init.target.folder.clone(),
                beside: Some(forget.clone()),
            })
            .forward(sender.input_sender(), |path| {
                NewImageInput::BackingChosen(Some(path))
            });
        let target = NewFile::builder()
            .launch(init.target)
            .forward(sender.input_sender(), |_| NewImageInput::Changed);
        Self {
            target,
            backing: init.backing,
            backing_row,
            forget,
            layout: LayoutRows::new(),
        }
    }

    pub(super) fn propose(&self, widgets: &NewImageFormWidgets, sender: &ComponentSender<Self>) {
        self.show_backing();
        let format = widgets.chosen_format();
        self.layout.follow(format);
        let is_qcow2 = format == Format::Qcow2;
        widgets.subclusters.set_sensitive(is_qcow2);
        self.backing_row.widget().set_sensitive(is_qcow2);
        let output = match self.wish(widgets, format) {
            Ok(wish) => FormOutput::Ready(draft(wish)),
            Err(reason) => FormOutput::Incomplete(reason),
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }

    fn show_backing(&self) {
        let none = gettext("None: the disk begins empty");
        let line = self.backing.as_deref().map_or(none, format::short_path);
        self.backing_row.widget().set_subtitle(&line);
        self.forget.set_visible(self.backing.is_some());
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
            &self.layout.space,
            choices::SPACES.iter().position(|it| *it == space),
        );
        self.target.emit(NewFileInput::EndsAs(format.name()));
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

    /// What the fields say, or why they say nothing.
    fn wish(&self, widgets: &NewImageFormWidgets, format: Format) -> Result<Wish, Option<String>> {
        let path = self.target.model().path()?;
        let backing = self.backing.clone().filter(|_| format == Format::Qcow2);
        let text = widgets.size.text();
        let size = size(&text);
        let is_given = !text.trim().is_empty();
        if (is_given && size.is_none()) || (!is_given && backing.is_none()) {
            return Err(Some(gettext("Type a size such as 20G or 512M.")));
        }
        Ok(Wish {
            path,
            format,
            size,
            backing,
            preallocation: self.layout.preallocation(format),
            cluster_size: self.layout.cluster_size(),
            compression: self.layout.compression(),
            subclusters: widgets.subclusters.switch.is_active(),
        })
    }
}

impl NewImageFormWidgets {
    fn chosen_format(&self) -> Format {
        choices::chosen(&self.format, &choices::FORMATS).unwrap_or(Format::Qcow2)
    }
}

pub(super) fn size_title(has_backing: bool) -> String {
    if has_backing {
        gettext("Size, if not that of the backing file")
    } else {
        gettext("Size")
    }
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
}
