//! A snapshot in the list.

use platter::image::Snapshot;
use relm4::adw::prelude::*;
use relm4::gtk::gio;
use relm4::{adw, gtk};

use super::helpers;
use super::messages::{Deed, SnapshotsInput};
use crate::a11y;
use crate::i18n::{fill, gettext};

/// The row.
pub(super) struct SnapshotRow {
    root: adw::ActionRow,
    /// What it shows, and the size of the disk then and now.
    shown: (Snapshot, u64),
    set_back: gtk::Button,
    more: gtk::MenuButton,
}

impl SnapshotRow {
    /// A row for `snapshot` of a disk that has `size_now`; `act` takes what is chosen.
    pub(super) fn new(
        snapshot: &Snapshot,
        size_now: u64,
        act: impl Fn(SnapshotsInput) + Clone + 'static,
    ) -> Self {
        let title = helpers::title(snapshot);
        let line = helpers::line(snapshot, size_now);
        let named = |template: &str| fill(template, &[("snapshot", &title)]);
        let root = adw::ActionRow::builder()
            .use_markup(false)
            .title(&title)
            .subtitle(&line)
            .activatable(false)
            .build();
        a11y::name(&root, &title);
        a11y::describe(&root, &line);
        if snapshot.damage.is_some() {
            let icon = gtk::Image::from_icon_name("dialog-warning-symbolic");
            icon.add_css_class("warning");
            a11y::name(&icon, &gettext("Warning"));
            root.add_prefix(&icon);
        }

        let id = snapshot.id.clone();
        let set_back = gtk::Button::builder()
            .label(gettext("Set Back…"))
            .valign(gtk::Align::Center)
            .sensitive(snapshot.damage.is_none())
            .build();
        a11y::name(&set_back, &named(&gettext("Set back to “{snapshot}”")));
        let (acts, chosen) = (act.clone(), id.clone());
        set_back.connect_clicked(move |_| {
            acts(SnapshotsInput::Chosen(Deed::Apply, chosen.clone()));
        });
        root.add_suffix(&set_back);

        let more = gtk::MenuButton::builder()
            .icon_name("view-more-symbolic")
            .valign(gtk::Align::Center)
            .menu_model(&menu())
            .css_classes(["flat"])
            .build();
        a11y::icon_button(&more, &named(&gettext("More of “{snapshot}”")));
        root.add_suffix(&more);
        let group = gio::SimpleActionGroup::new();
        for (deed, name) in DEEDS {
            let action = gio::SimpleAction::new(name, None);
            action.set_enabled(snapshot.damage.is_none() || deed != Deed::Export);
            let (act, id) = (act.clone(), id.clone());
            action.connect_activate(move |_, _| act(SnapshotsInput::Chosen(deed, id.clone())));
            group.add_action(&action);
        }
        root.insert_action_group("snapshot", Some(&group));
        Self {
            root,
            shown: (snapshot.clone(), size_now),
            set_back,
            more,
        }
    }

    pub(super) fn root(&self) -> &adw::ActionRow {
        &self.root
    }

    pub(super) fn shows(&self, snapshot: &Snapshot, size_now: u64) -> bool {
        self.shown.0 == *snapshot && self.shown.1 == size_now
    }

    /// Nothing can be done while a job changes the image.
    pub(super) fn set_busy(&self, busy: bool) {
        self.set_back
            .set_sensitive(!busy && self.shown.0.damage.is_none());
        self.more.set_sensitive(!busy);
    }
}

const DEEDS: [(Deed, &str); 3] = [
    (Deed::Rename, "rename"),
    (Deed::Export, "export"),
    (Deed::Delete, "delete"),
];

fn menu() -> gio::Menu {
    let menu = gio::Menu::new();
    for (label, action) in [
        (gettext("_Rename…"), "snapshot.rename"),
        (gettext("_Export as Image…"), "snapshot.export"),
        (gettext("_Delete…"), "snapshot.delete"),
    ] {
        menu.append(Some(&label), Some(action));
    }
    menu
}
