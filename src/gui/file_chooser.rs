//! Asking for a file or folder that is there.

use std::path::{Path, PathBuf};

use relm4::gtk::{self, gio, prelude::*};

use crate::i18n::gettext;

/// Asks for a file, or for a folder, beginning in `folder`; `then` gets the choice. The dialog is
/// no widget: it lives as long as who asked keeps it.
pub(crate) fn choose(
    asker: &impl IsA<gtk::Widget>,
    title: &str,
    action: gtk::FileChooserAction,
    folder: &Path,
    then: impl Fn(PathBuf) + 'static,
) -> gtk::FileChooserNative {
    let window = asker.as_ref().root().and_downcast::<gtk::Window>();
    let dialog = gtk::FileChooserNative::new(
        Some(title),
        window.as_ref(),
        action,
        Some(&gettext("_Choose")),
        Some(&gettext("_Cancel")),
    );
    dialog.set_modal(true);
    // Not being able to start there is no reason not to start.
    let _ = dialog.set_current_folder(Some(&gio::File::for_path(folder)));
    dialog.connect_response(move |dialog, response| {
        let chosen = dialog.file().and_then(|file| file.path());
        if let Some(path) = chosen.filter(|_| response == gtk::ResponseType::Accept) {
            then(path);
        }
    });
    dialog.show();
    dialog
}
