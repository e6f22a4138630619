//! Keeping a text as a file of the user's choice.

use std::rc::Rc;

use relm4::adw::prelude::*;
use relm4::gtk::gio;
use relm4::{adw, gtk};

use crate::i18n::gettext;

/// Asks where to, above the window of `asker`, proposing `name`, and writes `text` there; `saved`
/// gets the name of the file.
pub(crate) fn ask(
    asker: &impl IsA<gtk::Widget>,
    title: &str,
    name: &str,
    text: Rc<str>,
    saved: impl Fn(String) + 'static,
) {
    let parent = asker.as_ref().root().and_downcast::<gtk::Window>();
    let dialog = gtk::FileChooserNative::new(
        Some(title),
        parent.as_ref(),
        gtk::FileChooserAction::Save,
        Some(&gettext("_Save")),
        Some(&gettext("_Cancel")),
    );
    dialog.set_modal(true);
    dialog.set_current_name(name);
    // The dialog is no widget: its own handler keeps it until it has answered.
    let kept = dialog.clone();
    let saved: Rc<dyn Fn(String)> = Rc::new(saved);
    dialog.connect_response(move |dialog, response| {
        if response == gtk::ResponseType::Accept
            && let Some(file) = dialog.file()
        {
            save(&file, &text, parent.as_ref(), &saved);
        }
        kept.destroy();
    });
    dialog.show();
}

fn save(file: &gio::File, text: &str, parent: Option<&gtk::Window>, saved: &Rc<dyn Fn(String)>) {
    let (parent, saved) = (parent.cloned(), Rc::clone(saved));
    let name = file.basename().unwrap_or_default();
    file.replace_contents_async(
        text.as_bytes().to_vec(),
        None,
        false,
        gio::FileCreateFlags::REPLACE_DESTINATION,
        gio::Cancellable::NONE,
        move |result| match result {
            Ok(_) => saved(name.display().to_string()),
            Err((_, error)) => {
                let heading = gettext("The Text Could Not Be Saved");
                let dialog =
                    adw::MessageDialog::new(parent.as_ref(), Some(&heading), Some(error.message()));
                dialog.add_response("close", &gettext("_Close"));
                dialog.present();
            }
        },
    );
}
