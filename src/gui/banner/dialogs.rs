//! Asking for another file of the chain.

use std::path::{Path, PathBuf};

use relm4::adw::prelude::*;
use relm4::gtk::gio;
use relm4::{ComponentSender, adw, gtk};

use super::{Banner, BannerInput};
use crate::format;
use crate::i18n::{fill, gettext};

/// Asks whether `path` may be opened. Nothing is opened unless the user says so.
pub(super) fn ask_to_allow(
    path: &Path,
    reason: &str,
    near: &impl IsA<gtk::Widget>,
    sender: &ComponentSender<Banner>,
) {
    let name = format::file_name(path);
    let heading = fill(&gettext("Open “{name}”?"), &[("name", &name)]);
    let body = fill(
        &gettext(
            "The image names this file as a part of it:\n{path}\n\nPlatter opens it only with your permission: {reason}. Allow it if you trust the image; nothing is written to the file.",
        ),
        &[("path", &format::short_path(path)), ("reason", reason)],
    );
    let dialog = adw::MessageDialog::new(window_of(near).as_ref(), Some(&heading), Some(&body));
    dialog.add_response("cancel", &gettext("_Cancel"));
    dialog.add_response("allow", &gettext("_Allow"));
    dialog.set_default_response(Some("cancel"));
    dialog.set_close_response("cancel");
    let (input, allowed) = (sender.input_sender().clone(), path.to_path_buf());
    dialog.connect_response(Some("allow"), move |_, _| {
        input.emit(BannerInput::Allowed(allowed.clone()));
    });
    dialog.present();
}

/// Asks where the file is that the image means by `meant`. The dialog is no widget: the caller
/// keeps it.
pub(super) fn ask_where(
    meant: PathBuf,
    near: &impl IsA<gtk::Widget>,
    sender: &ComponentSender<Banner>,
) -> gtk::FileChooserNative {
    let name = format::file_name(&meant);
    let dialog = gtk::FileChooserNative::new(
        Some(&fill(&gettext("Locate “{name}”"), &[("name", &name)])),
        window_of(near).as_ref(),
        gtk::FileChooserAction::Open,
        Some(&gettext("_Open")),
        Some(&gettext("_Cancel")),
    );
    dialog.set_modal(true);
    if let Some(folder) = meant.parent().filter(|folder| folder.is_dir()) {
        // Not being able to start there is no reason not to start.
        let _ = dialog.set_current_folder(Some(&gio::File::for_path(folder)));
    }
    let input = sender.input_sender().clone();
    dialog.connect_response(move |dialog, response| {
        let chosen = dialog.file().and_then(|file| file.path());
        if let Some(chosen) = chosen.filter(|_| response == gtk::ResponseType::Accept) {
            let meant = meant.clone();
            input.emit(BannerInput::Located { meant, chosen });
        }
    });
    dialog.show();
    dialog
}

fn window_of(widget: &impl IsA<gtk::Widget>) -> Option<gtk::Window> {
    widget.root().and_downcast()
}
