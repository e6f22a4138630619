//! A boxed list of named values. Every value can be copied: by activating its row, or with Ctrl+C.

use std::path::PathBuf;
use std::rc::Rc;

use relm4::adw::prelude::*;
use relm4::gtk::{glib, pango};
use relm4::{adw, gtk};

use crate::a11y;
use crate::facts::{Fact, FactGroup, Tone};
use crate::i18n::gettext;

/// What a row asks for.
#[derive(Clone, Debug)]
pub(crate) enum FactAction {
    /// Put this on the clipboard.
    Copy(String),
    /// Open this image.
    Open(PathBuf),
}

/// The list: hidden while it has no rows.
pub(crate) struct FactList {
    root: adw::PreferencesGroup,
    rows: Vec<gtk::Widget>,
    shown: FactGroup,
    act: Rc<dyn Fn(FactAction)>,
}

impl FactList {
    /// An empty list.
    pub(crate) fn new(act: impl Fn(FactAction) + 'static) -> Self {
        let root = adw::PreferencesGroup::new();
        root.set_visible(false);
        Self {
            root,
            rows: Vec::new(),
            shown: FactGroup::default(),
            act: Rc::new(act),
        }
    }

    pub(crate) fn root(&self) -> &adw::PreferencesGroup {
        &self.root
    }

    /// Shows `group`; nothing happens if it is shown already.
    pub(crate) fn show(&mut self, group: FactGroup) {
        if self.shown == group {
            return;
        }
        for row in self.rows.drain(..) {
            self.root.remove(&row);
        }
        self.root.set_title(&glib::markup_escape_text(&group.title));
        self.root.set_visible(!group.facts.is_empty());
        for fact in &group.facts {
            self.add(self.row(fact).upcast());
        }
        if let Some((title, facts)) = group.more.as_ref().filter(|(_, facts)| !facts.is_empty()) {
            let expander = adw::ExpanderRow::builder().title(title).build();
            for fact in facts {
                expander.add_row(&self.row(fact));
            }
            self.add(expander.upcast());
        }
        self.shown = group;
    }

    fn add(&mut self, row: gtk::Widget) {
        self.root.add(&row);
        self.rows.push(row);
    }

    fn row(&self, fact: &Fact) -> adw::ActionRow {
        let row = adw::ActionRow::builder()
            .use_markup(false)
            .title(&fact.title)
            .subtitle(fact.subtitle.as_deref().unwrap_or_default())
            .tooltip_text(fact.tooltip.as_deref().unwrap_or_default())
            .activatable(true)
            .css_classes(["fact"])
            .build();
        if let Some(icon) = tone_icon(fact.tone) {
            row.add_prefix(&icon);
        }
        if fact.opens.is_none() {
            row.add_suffix(&icon("edit-copy-symbolic", "copy-hint"));
        }
        if !fact.value.is_empty() {
            row.add_suffix(&value_label(fact));
        }
        if fact.opens.is_some() {
            row.add_suffix(&icon("go-next-symbolic", "dim-label"));
        }
        if let Some((label, action)) = &fact.offers {
            row.add_suffix(
                &gtk::Button::builder()
                    .label(label)
                    .use_underline(true)
                    .action_name(*action)
                    .valign(gtk::Align::Center)
                    .build(),
            );
        }
        a11y::name(&row, &fact.title);
        a11y::describe(&row, &spoken(fact));
        self.connect(&row, fact);
        row
    }

    fn connect(&self, row: &adw::ActionRow, fact: &Fact) {
        let copy = FactAction::Copy(fact.copied().to_owned());
        let activated = match &fact.opens {
            Some(path) => FactAction::Open(path.clone()),
            None => copy.clone(),
        };
        let act = Rc::clone(&self.act);
        row.connect_activated(move |_| act(activated.clone()));

        let act = Rc::clone(&self.act);
        let keys = gtk::ShortcutController::new();
        keys.add_shortcut(gtk::Shortcut::new(
            gtk::ShortcutTrigger::parse_string("<Control>c"),
            Some(gtk::CallbackAction::new(move |_, _| {
                act(copy.clone());
                glib::Propagation::Stop
            })),
        ));
        row.add_controller(keys);
    }
}

fn value_label(fact: &Fact) -> gtk::Label {
    let label = gtk::Label::builder()
        .label(&fact.value)
        .xalign(1.0)
        .justify(gtk::Justification::Right)
        .wrap(true)
        .wrap_mode(pango::WrapMode::WordChar)
        .natural_wrap_mode(gtk::NaturalWrapMode::None)
        .css_classes(["fact-value"])
        .build();
    match fact.tone {
        Tone::Neutral | Tone::Good => {}
        Tone::Warning => label.add_css_class("warning"),
        Tone::Bad => label.add_css_class("error"),
    }
    label
}

/// Says with a picture what activating the row does; a screen reader says that by itself.
fn icon(name: &str, class: &str) -> gtk::Image {
    gtk::Image::builder()
        .icon_name(name)
        .css_classes([class])
        .accessible_role(gtk::AccessibleRole::Presentation)
        .build()
}

/// Colour is never the only sign.
fn tone_icon(tone: Tone) -> Option<gtk::Image> {
    let (icon, class, name) = match tone {
        Tone::Neutral => return None,
        Tone::Good => ("object-select-symbolic", "success", gettext("Good")),
        Tone::Warning => ("dialog-warning-symbolic", "warning", gettext("Warning")),
        Tone::Bad => ("dialog-error-symbolic", "error", gettext("Problem")),
    };
    let image = gtk::Image::from_icon_name(icon);
    image.add_css_class(class);
    a11y::name(&image, &name);
    Some(image)
}

/// What a screen reader says of a row after its title.
fn spoken(fact: &Fact) -> String {
    let parts = [Some(fact.value.as_str()), fact.subtitle.as_deref()];
    let parts: Vec<&str> = parts
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    parts.join(", ")
}
