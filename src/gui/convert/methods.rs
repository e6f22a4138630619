//! From the fields to a draft.

use std::path::PathBuf;

use platter::chain::OpenPolicy;
use platter::image::Format;
use platter::storage::BlockDevice;
use relm4::adw::prelude::*;
use relm4::gtk;
use relm4::prelude::*;

use super::draft::{Wish, draft};
use super::{ConvertForm, ConvertFormWidgets};
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

impl ConvertForm {
    pub(super) fn propose(&self, widgets: &ConvertFormWidgets, sender: &ComponentSender<Self>) {
        let format = widgets.chosen_format();
        self.layout.follow(format);
        for only_qcow2 in [&widgets.compress, &widgets.snapshots] {
            only_qcow2.set_sensitive(format == Format::Qcow2);
        }
        let output = match (&self.subject, self.target.model().path()) {
            (None, _) => {
                FormOutput::Incomplete(Some(gettext("There is no device to make an image of.")))
            }
            (Some(_), Err(reason)) => FormOutput::Incomplete(reason),
            (Some(subject), Ok(target)) => {
                let wish = self.wish(widgets, target, format);
                FormOutput::Ready(draft(subject.clone(), wish))
            }
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }

    fn wish(&self, widgets: &ConvertFormWidgets, target: PathBuf, format: Format) -> Wish {
        let is_qcow2 = format == Format::Qcow2;
        Wish {
            target,
            format,
            compress: is_qcow2 && widgets.compress.switch.is_active(),
            cluster_size: self.layout.cluster_size(),
            compression: self.layout.compression(),
            preallocation: self.layout.preallocation(format),
            verify: widgets.verify.switch.is_active(),
            snapshots: is_qcow2 && widgets.snapshots.switch.is_active(),
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
}

impl ConvertFormWidgets {
    pub(super) fn chosen_format(&self) -> Format {
        image_choices::chosen(&self.format, &image_choices::FORMATS).unwrap_or(Format::Qcow2)
    }
}
