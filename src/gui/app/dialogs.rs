//! Dialogs of the main window.

use std::path::PathBuf;

use platter::APP_ID;
use relm4::adw::prelude::*;
use relm4::gtk::gio;
use relm4::{ComponentSender, adw, gtk};

use super::{App, AppInput};
use crate::i18n::gettext;
use crate::pane::ErrorReport;

/// File name endings that disk images usually have; the content decides what a file is.
const IMAGE_PATTERNS: [&str; 20] = [
    "*.qcow2", "*.qcow", "*.img", "*.raw", "*.iso", "*.vmdk", "*.vdi", "*.vhd", "*.vhdx", "*.qed",
    "*.hdd", "*.hds", "*.dmg", "*.bin", "*.dd", "*.cow", "*.vpc", "*.luks", "*.cloop", "*.image",
];

impl App {
    pub(super) fn choose_files(
        &mut self,
        parent: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) {
        let dialog = gtk::FileChooserNative::new(
            Some(&gettext("Open Disk Images")),
            Some(parent),
            gtk::FileChooserAction::Open,
            Some(&gettext("_Open")),
            Some(&gettext("_Cancel")),
        );
        dialog.set_modal(true);
        dialog.set_select_multiple(true);
        for filter in filters() {
            dialog.add_filter(&filter);
        }
        if let Some(folder) = self
            .session
            .selected()
            .and_then(|document| document.path.parent())
        {
            // Not being able to start there is no reason not to start.
            let _ = dialog.set_current_folder(Some(&gio::File::for_path(folder)));
        }
        let input = sender.input_sender().clone();
        dialog.connect_response(move |dialog, response| {
            if response == gtk::ResponseType::Accept {
                input.emit(AppInput::OpenPaths(chosen(dialog)));
            }
        });
        dialog.show();
        self.file_dialog = Some(dialog);
    }
}

fn chosen(dialog: &gtk::FileChooserNative) -> Vec<PathBuf> {
    dialog
        .files()
        .iter::<gio::File>()
        .filter_map(|file| file.ok()?.path())
        .collect()
}

fn filters() -> [gtk::FileFilter; 2] {
    let images = gtk::FileFilter::new();
    images.set_name(Some(&gettext("Disk images")));
    for pattern in IMAGE_PATTERNS {
        images.add_suffix(pattern.trim_start_matches("*."));
    }
    let all = gtk::FileFilter::new();
    all.set_name(Some(&gettext("All files")));
    all.add_pattern("*");
    [images, all]
}

/// Puts `text` on the clipboard and says so.
pub(super) fn copy(text: &str, window: &adw::ApplicationWindow, toasts: &adw::ToastOverlay) {
    window.clipboard().set_text(text);
    let toast = adw::Toast::new(&gettext("Copied"));
    toast.set_timeout(2);
    // Not only when the offer of an earlier toast has run out.
    toast.set_priority(adw::ToastPriority::High);
    toasts.add_toast(toast);
}

/// Says what failed, and why; the engine's words are there for who wants them.
pub(super) fn present_error(
    report: &ErrorReport,
    parent: &adw::ApplicationWindow,
    sender: &ComponentSender<App>,
) {
    let dialog = adw::MessageDialog::new(Some(parent), Some(&report.heading), Some(&report.body));
    dialog.add_response("copy", &gettext("Copy _Details"));
    dialog.add_response("close", &gettext("_Close"));
    dialog.set_default_response(Some("close"));
    dialog.set_close_response("close");
    let details = gtk::Label::builder()
        .label(&report.details)
        .wrap(true)
        .wrap_mode(gtk::pango::WrapMode::WordChar)
        .selectable(true)
        .xalign(0.0)
        .css_classes(["monospace", "caption"])
        .build();
    let expander = gtk::Expander::builder()
        .label(gettext("Details"))
        .child(&details)
        .build();
    dialog.set_extra_child(Some(&expander));
    let (input, text) = (sender.input_sender().clone(), report.details.clone());
    dialog.connect_response(Some("copy"), move |_, _| {
        input.emit(AppInput::Copy(text.clone()));
    });
    dialog.present();
}

/// The About window.
pub(super) fn present_about(parent: &adw::ApplicationWindow) {
    adw::AboutWindow::builder()
        .transient_for(parent)
        .modal(true)
        .application_name("Platter")
        .application_icon(APP_ID)
        .version(env!("CARGO_PKG_VERSION"))
        .comments(gettext("See what is inside virtual disks"))
        .license_type(gtk::License::Gpl30)
        // Translators: put your name here, one translator a line.
        .translator_credits(gettext("translator-credits"))
        .build()
        .present();
}
