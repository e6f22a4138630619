//! The frame of a dialog that makes edits: rows to fill in, the reason why it cannot be, and a
//! button that works once it can.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use platter::inspect::Contents;
use platter::op::edit::{Edit, Pending};
use relm4::adw::prelude::*;
use relm4::gtk::glib;
use relm4::{Sender, adw, gtk};

use super::PartitionsInput;
use crate::i18n::{fill, gettext};

/// Least width of a dialog's rows in pixels.
const WIDTH: i32 = 340;

/// What every dialog of the pane needs.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) window: Option<gtk::Window>,
    /// The disk as it was read, and what waits for it: edits must be possible after those.
    pub(super) contents: Arc<Contents>,
    pub(super) pending: Rc<Pending>,
    pub(super) input: Sender<PartitionsInput>,
}

type Make = Box<dyn Fn() -> Result<Vec<Edit>, Option<String>>>;

/// A dialog that is being put together.
pub(super) struct EditDialog {
    asking: Asking,
    dialog: adw::MessageDialog,
    group: adw::PreferencesGroup,
    reason: gtk::Label,
    make: Rc<RefCell<Option<Make>>>,
}

impl EditDialog {
    /// A dialog; `confirm` is what its button does.
    pub(super) fn new(asking: &Asking, heading: &str, body: &str, confirm: &str) -> Self {
        let dialog = adw::MessageDialog::new(asking.window.as_ref(), Some(heading), Some(body));
        dialog.add_response("cancel", &gettext("_Cancel"));
        dialog.add_response("confirm", confirm);
        dialog.set_close_response("cancel");
        dialog.set_default_response(Some("confirm"));
        dialog.set_response_appearance("confirm", adw::ResponseAppearance::Suggested);
        let reason = gtk::Label::builder()
            .wrap(true)
            .xalign(0.0)
            .css_classes(["dim-label"])
            .build();
        let group = adw::PreferencesGroup::builder()
            .width_request(WIDTH)
            .build();
        let content = gtk::Box::new(gtk::Orientation::Vertical, 12);
        content.append(&group);
        content.append(&reason);
        dialog.set_extra_child(Some(&content));
        Self {
            asking: asking.clone(),
            dialog,
            group,
            reason,
            make: Rc::default(),
        }
    }

    /// A row of text.
    pub(super) fn entry(&self, title: &str, text: &str) -> adw::EntryRow {
        let row = adw::EntryRow::builder()
            .title(title)
            .text(text)
            .activates_default(true)
            .build();
        self.group.add(&row);
        let look = self.look();
        row.connect_changed(move |_| look());
        row
    }

    /// A row of choices.
    pub(super) fn combo(&self, title: &str, choices: &[String], selected: u32) -> adw::ComboRow {
        let names: Vec<&str> = choices.iter().map(String::as_str).collect();
        let row = adw::ComboRow::builder()
            .title(title)
            .model(&gtk::StringList::new(&names))
            .selected(selected)
            .build();
        self.group.add(&row);
        let look = self.look();
        row.connect_selected_notify(move |_| look());
        row
    }

    /// Presents it. `make` makes edits of the rows, or says why it cannot.
    pub(super) fn run(self, make: impl Fn() -> Result<Vec<Edit>, Option<String>> + 'static) {
        self.make.replace(Some(Box::new(make)));
        self.look()();
        let (input, make) = (self.asking.input.clone(), Rc::clone(&self.make));
        self.dialog.connect_response(Some("confirm"), move |_, _| {
            if let Some(Ok(edits)) = make.borrow().as_ref().map(|make| make()) {
                input.emit(PartitionsInput::Edited(edits));
            }
        });
        self.dialog.present();
    }

    /// Looks whether the rows make sense by now.
    pub(super) fn look(&self) -> Rc<dyn Fn()> {
        let make = Rc::clone(&self.make);
        let (dialog, reason) = (self.dialog.downgrade(), self.reason.downgrade());
        let (contents, pending) = (
            Arc::clone(&self.asking.contents),
            Rc::clone(&self.asking.pending),
        );
        Rc::new(move || {
            let (Some(dialog), Some(reason)) = (dialog.upgrade(), reason.upgrade()) else {
                return;
            };
            let made = match make.borrow().as_ref() {
                Some(make) => make(),
                None => return,
            };
            let why_not = match made {
                Ok(edits) if edits.is_empty() => Some(String::new()),
                Ok(edits) => Pending::clone(&pending)
                    .push(&contents, &edits)
                    .err()
                    .map(|why| {
                        let text = gettext("It cannot be done: {reason}.");
                        fill(&text, &[("reason", &why.to_string())])
                    }),
                Err(why) => Some(why.unwrap_or_default()),
            };
            dialog.set_response_enabled("confirm", why_not.is_none());
            let text = why_not.unwrap_or_default();
            reason.set_visible(!text.is_empty());
            reason.set_label(&text);
        })
    }
}

/// Makes a row set others without being set back by them.
pub(super) fn quietly(quiet: &Rc<std::cell::Cell<bool>>, act: impl FnOnce()) {
    if !quiet.replace(true) {
        act();
        quiet.set(false);
    }
}

/// Text of a row without the spaces around it.
pub(super) fn trimmed(row: &adw::EntryRow) -> glib::GString {
    row.text().trim().into()
}
