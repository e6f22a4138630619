//! A failure inside a dialog: a plain sentence, the details on demand, and a button that copies
//! them. The dialog stays as it is.

use std::cell::RefCell;
use std::rc::Rc;

use relm4::gtk::{self, pango, prelude::*};

use crate::a11y;
use crate::i18n::gettext;

/// The box: hidden until something fails.
pub(crate) struct ErrorBox {
    root: gtk::Box,
    sentence: gtk::Label,
    details: gtk::Label,
    text: Rc<RefCell<String>>,
}

impl ErrorBox {
    /// A hidden box; `copy` takes text for the clipboard.
    pub(crate) fn new(copy: impl Fn(String) + 'static) -> Self {
        let label = |classes: &[&str]| {
            gtk::Label::builder()
                .wrap(true)
                .wrap_mode(pango::WrapMode::WordChar)
                .xalign(0.0)
                .hexpand(true)
                .css_classes(
                    classes
                        .iter()
                        .copied()
                        .map(str::to_owned)
                        .collect::<Vec<_>>(),
                )
                .build()
        };
        let sentence = label(&[]);
        let details = label(&["monospace", "caption"]);
        details.set_selectable(true);

        let text = Rc::new(RefCell::new(String::new()));
        let button = gtk::Button::builder()
            .icon_name("edit-copy-symbolic")
            .valign(gtk::Align::Start)
            .css_classes(["flat"])
            .build();
        a11y::icon_button(&button, &gettext("Copy the details"));
        let copied = Rc::clone(&text);
        button.connect_clicked(move |_| copy(copied.borrow().clone()));

        let icon = gtk::Image::builder()
            .icon_name("dialog-error-symbolic")
            .valign(gtk::Align::Start)
            .build();
        let head = gtk::Box::builder().spacing(12).build();
        head.append(&icon);
        head.append(&sentence);
        head.append(&button);
        let expander = gtk::Expander::builder()
            .label(gettext("Details"))
            .child(&details)
            .build();
        let root = gtk::Box::builder()
            .orientation(gtk::Orientation::Vertical)
            .spacing(6)
            .visible(false)
            .css_classes(["error-box"])
            .build();
        root.append(&head);
        root.append(&expander);
        Self {
            root,
            sentence,
            details,
            text,
        }
    }

    pub(crate) fn root(&self) -> &gtk::Box {
        &self.root
    }

    /// Says what failed.
    pub(crate) fn show(&self, sentence: &str, details: &str) {
        self.sentence.set_label(sentence);
        self.details.set_label(details);
        self.text.replace(details.to_owned());
        self.root.set_visible(true);
    }

    /// Takes it back.
    pub(crate) fn hide(&self) {
        self.root.set_visible(false);
    }
}
