//! The frame of a dialog that makes edits: rows to fill in, the reason why it cannot be, and a
//! button that works once it can.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use platter::inspect::Contents;
use platter::op::edit::{Edit, Pending};
use relm4::adw::prelude::*;
use relm4::gtk::glib;
use relm4::{Sender, WidgetTemplate as _, adw, gtk};

use super::PartitionsInput;
use crate::i18n::{fill, gettext};
use crate::widgets::switch_row::SwitchRow;

/// Least width of a dialog's rows in pixels.
const WIDTH: i32 = 340;
/// Width of a shadow in pixels.
const SHADOW: i32 = 3;
/// What is left and right of the rows of a dialog, in pixels.
const SIDES: i32 = 90;
/// What is above and below the rows of a dialog, in pixels.
const FRAME: i32 = 230;
/// The rows may become so high before they scroll, however low the window, in pixels.
const LEAST_HEIGHT: i32 = 200;

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
    content: gtk::Box,
    group: adw::PreferencesGroup,
    /// Where rows go while it is set.
    expander: Option<adw::ExpanderRow>,
    hint: gtk::Label,
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
        let reason = label();
        let group = adw::PreferencesGroup::new();
        // Room for the shadow of the rows, which would be cut off.
        let content = gtk::Box::builder()
            .orientation(gtk::Orientation::Vertical)
            .spacing(12)
            .margin_start(SHADOW)
            .margin_end(SHADOW)
            .margin_top(SHADOW)
            .margin_bottom(SHADOW)
            .build();
        content.append(&group);
        let height = asking.window.as_ref().map_or(0, |window| window.height());
        let scrolled = gtk::ScrolledWindow::builder()
            .child(&content)
            .hscrollbar_policy(gtk::PolicyType::Never)
            .propagate_natural_height(true)
            .max_content_height((height - FRAME).max(LEAST_HEIGHT))
            .build();
        let all = gtk::Box::new(gtk::Orientation::Vertical, 12);
        all.append(&scrolled);
        let hint = label();
        hint.set_visible(false);
        all.append(&hint);
        all.append(&reason);
        dialog.set_extra_child(Some(&all));
        let dialog = Self {
            asking: asking.clone(),
            dialog,
            content,
            group,
            expander: None,
            hint,
            reason,
            make: Rc::default(),
        };
        dialog.widen(WIDTH);
        dialog
    }

    /// Rows that are added from now on are under this title.
    pub(super) fn section(&mut self, title: &str) {
        self.expander = None;
        self.group = adw::PreferencesGroup::builder()
            .title(glib::markup_escape_text(title))
            .build();
        self.content.append(&self.group);
    }

    /// Rows that are added from now on are in this one, which is folded up at first.
    pub(super) fn folded(&mut self, title: &str) -> adw::ExpanderRow {
        let row = adw::ExpanderRow::builder()
            .use_markup(false)
            .title(title)
            .build();
        self.group.add(&row);
        self.expander = Some(row.clone());
        row
    }

    /// A row that was made elsewhere.
    pub(super) fn add(&self, row: &impl IsA<gtk::Widget>) {
        match &self.expander {
            Some(expander) => expander.add_row(row),
            None => self.group.add(row),
        }
    }

    /// A line below the rows, for what they mean; hidden until it is shown.
    pub(super) fn hint(&self) -> &gtk::Label {
        &self.hint
    }

    /// Makes the rows this many pixels wide at least, where the window is wider than that.
    pub(super) fn widen(&self, width: i32) {
        let window = self.asking.window.as_ref();
        let room = window.map_or(width, |window| window.width() - SIDES);
        self.content.set_width_request(width.min(room.max(0)));
    }

    /// Looks again whenever the text of `row` changes.
    pub(super) fn watch(&self, row: &adw::EntryRow) {
        let look = self.look();
        row.connect_changed(move |_| look());
    }

    /// A row with a switch.
    pub(super) fn switch(&self, title: &str, subtitle: &str, active: bool) -> gtk::Switch {
        let row = SwitchRow::init(());
        row.set_title(title);
        row.set_subtitle(subtitle);
        let switch = row.switch.clone();
        switch.set_active(active);
        self.add(&*row);
        let look = self.look();
        switch.connect_active_notify(move |_| look());
        switch
    }

    /// A row of text.
    pub(super) fn entry(&self, title: &str, text: &str) -> adw::EntryRow {
        let row = adw::EntryRow::builder()
            .title(title)
            .text(text)
            .activates_default(true)
            .build();
        self.add(&row);
        self.watch(&row);
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
        self.add(&row);
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

fn label() -> gtk::Label {
    gtk::Label::builder()
        .wrap(true)
        .xalign(0.0)
        .css_classes(["dim-label"])
        .build()
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
