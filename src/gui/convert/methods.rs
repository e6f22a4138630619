//! From the fields to a draft.

use std::path::{Path, PathBuf};

use platter::chain::OpenPolicy;
use platter::image::{Format, Preallocation};
use platter::storage::BlockDevice;
use relm4::adw::prelude::*;
use relm4::{ComponentSender, gtk};

use super::draft::{Wish, draft};
use super::{ConvertForm, ConvertFormWidgets, ConvertInput};
use crate::file_chooser;
use crate::format;
use crate::i18n::{fill, gettext};
use crate::image_choices;
use crate::operation::FormOutput;
use crate::subject::Subject;

/// What the devices are called: "/dev/sdb · 16 GiB · SanDisk Ultra · in use: /home".
pub(super) fn devices(devices: &[BlockDevice]) -> gtk::StringList {
    let titles: Vec<String> = devices
        .iter()
        .map(|device| {
            let mut parts = vec![device.node.display().to_string(), format::size(device.size)];
            parts.extend(device.model.clone());
            if !device.used_by.is_empty() {
                let users = device.used_by.join(", ");
                parts.push(fill(&gettext("in use: {users}"), &[("users", &users)]));
            }
            parts.join(" · ")
        })
        .collect();
    image_choices::list(&titles)
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
        let is_qcow2 = format == Format::Qcow2;
        for only_qcow2 in [
            widgets.compress_row.upcast_ref::<gtk::Widget>(),
            widgets.snapshots_row.upcast_ref(),
            widgets.cluster.upcast_ref(),
            widgets.compression.upcast_ref(),
        ] {
            only_qcow2.set_sensitive(is_qcow2);
        }
        let name = widgets.name.text();
        let name = name.trim();
        let output = match &self.subject {
            None => {
                FormOutput::Incomplete(Some(gettext("There is no device to make an image of.")))
            }
            Some(_) if name.is_empty() => FormOutput::Incomplete(None),
            Some(_) if name.contains('/') => {
                FormOutput::Incomplete(Some(gettext("A file name has no slash.")))
            }
            Some(subject) => {
                let wish = self.wish(widgets, self.folder.join(name), format);
                FormOutput::Ready(draft(subject.clone(), wish))
            }
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }

    fn wish(&self, widgets: &ConvertFormWidgets, target: PathBuf, format: Format) -> Wish {
        let is_qcow2 = format == Format::Qcow2;
        let space = image_choices::chosen(&widgets.space, &image_choices::SPACES)
            .unwrap_or(Preallocation::Off);
        let of_raw = !is_qcow2 && space == Preallocation::Metadata;
        Wish {
            target,
            format,
            compress: is_qcow2 && widgets.compress.is_active(),
            cluster_size: image_choices::chosen(&widgets.cluster, &image_choices::CLUSTER_SIZES)
                .unwrap_or(64 << 10),
            compression: image_choices::chosen(&widgets.compression, &image_choices::COMPRESSIONS)
                .map(|(compression, _)| compression)
                .unwrap_or_default(),
            preallocation: if of_raw { Preallocation::Off } else { space },
            verify: widgets.verify.is_active(),
            snapshots: is_qcow2 && widgets.snapshots.is_active(),
            used_by: image_choices::chosen(&widgets.device, &self.devices)
                .map(|device| device.used_by)
                .unwrap_or_default(),
        }
    }

    /// What is copied is the device that is chosen now.
    pub(super) fn follow_device(
        &mut self,
        widgets: &ConvertFormWidgets,
        sender: &ComponentSender<Self>,
    ) {
        if let Some(device) = image_choices::chosen(&widgets.device, &self.devices) {
            self.subject = Some(Subject {
                path: device.node,
                format: Format::Raw,
                policy: OpenPolicy::default(),
            });
        }
        self.propose(widgets, sender);
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
        image_choices::chosen(&self.format, &image_choices::FORMATS).unwrap_or(Format::Qcow2)
    }
}
