//! The list of recent images.

use std::path::{Path, PathBuf};

use relm4::adw::prelude::*;
use relm4::gtk::glib;
use relm4::{ComponentSender, adw, gtk};

use super::{StartPage, StartPageOutput};
use crate::a11y;
use crate::format;
use crate::i18n::{fill, gettext};

impl StartPage {
    pub(super) fn show(&mut self, paths: &[PathBuf], sender: &ComponentSender<Self>) {
        for row in self.rows.drain(..) {
            self.group.remove(&row);
        }
        for path in paths {
            let row = recent_row(path, sender);
            self.group.add(&row);
            self.rows.push(row);
        }
        self.group.set_visible(!paths.is_empty());
    }
}

fn recent_row(path: &Path, sender: &ComponentSender<StartPage>) -> adw::ActionRow {
    let name = format::file_name(path);
    let missing = !path.exists();
    let folder = format::folder(path);
    let subtitle = if missing {
        fill(&gettext("{folder} · not found"), &[("folder", &folder)])
    } else {
        folder
    };
    let row = adw::ActionRow::builder()
        .title(glib::markup_escape_text(&name))
        .subtitle(glib::markup_escape_text(&subtitle))
        .title_lines(1)
        .subtitle_lines(1)
        .activatable(!missing)
        .build();
    let icon = gtk::Image::from_icon_name("drive-harddisk-symbolic");
    row.add_prefix(&icon);
    if missing {
        icon.add_css_class("dim-label");
        row.add_css_class("missing");
    }

    let forget = gtk::Button::builder()
        .icon_name("window-close-symbolic")
        .valign(gtk::Align::Center)
        .css_classes(["flat", "circular"])
        .build();
    a11y::icon_button(
        &forget,
        &fill(&gettext("Remove {name} from the list"), &[("name", &name)]),
    );
    let (output, forgotten) = (sender.output_sender().clone(), path.to_path_buf());
    forget.connect_clicked(move |_| {
        output.emit(StartPageOutput::Forget(forgotten.clone()));
    });
    row.add_suffix(&forget);

    let (output, opened) = (sender.output_sender().clone(), path.to_path_buf());
    row.connect_activated(move |_| output.emit(StartPageOutput::Open(opened.clone())));
    row
}
