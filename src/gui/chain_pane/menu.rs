//! What can be done with a node: the menu on it, and the button below the graph.

use std::path::{Path, PathBuf};

use platter::chain::graph::{Kinship, Node};
use relm4::ComponentSender;
use relm4::gtk::{self, gdk, gio, glib, prelude::*};

use super::{ChainInput, ChainPane};
use crate::i18n::gettext;
use crate::image_operation::ImageOperation;
use crate::menu;
use crate::widgets::context_menu::ContextMenu;

/// Something that can be done with a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NodeDeed {
    /// Open it in this window.
    Open,
    /// Say where it is.
    Locate,
    /// An operation on its file.
    Operate(ImageOperation),
    /// Show it in the file manager.
    ShowFile,
    /// Put its path on the clipboard.
    CopyPath,
}

impl NodeDeed {
    const ALL: [(Self, &'static str); 12] = [
        (Self::Open, "open"),
        (Self::Locate, "locate"),
        (Self::Operate(ImageOperation::Overlay), "overlay"),
        (Self::Operate(ImageOperation::Commit), "commit"),
        (Self::Operate(ImageOperation::Rebase), "rebase"),
        (Self::Operate(ImageOperation::Flatten), "flatten"),
        (Self::Operate(ImageOperation::Convert), "convert"),
        (Self::Operate(ImageOperation::Compare), "compare"),
        (Self::Operate(ImageOperation::Check), "check"),
        (Self::Operate(ImageOperation::Delete), "delete"),
        (Self::ShowFile, "show-file"),
        (Self::CopyPath, "copy-path"),
    ];

    /// Whether it can be done with `node`.
    pub(super) fn is_possible(self, node: &Node) -> bool {
        let there = !node.missing && node.path.is_some() && node.format.is_some();
        match self {
            Self::Open => there && node.kinship != Kinship::Active,
            Self::Locate => node.missing && node.link.is_some() && node.path.is_some(),
            Self::Operate(
                ImageOperation::Commit | ImageOperation::Rebase | ImageOperation::Flatten,
            ) => there && node.backing.is_some(),
            Self::Operate(_) | Self::ShowFile => there,
            Self::CopyPath => node.path.is_some(),
        }
    }
}

/// The actions of the pane, in the group `node`.
pub(super) fn actions(sender: &ComponentSender<ChainPane>) -> gio::SimpleActionGroup {
    let group = gio::SimpleActionGroup::new();
    for (deed, name) in NodeDeed::ALL {
        let input = sender.input_sender().clone();
        let action = gio::SimpleAction::new(name, None);
        action.connect_activate(move |_, _| {
            // A closed pane does nothing.
            let _ = input.send(ChainInput::Do(deed));
        });
        group.add_action(&action);
    }
    group
}

/// Says what can be done with `node`.
pub(super) fn enable(group: &gio::SimpleActionGroup, node: Option<&Node>) {
    for (deed, name) in NodeDeed::ALL {
        if let Some(action) = group
            .lookup_action(name)
            .and_downcast::<gio::SimpleAction>()
        {
            action.set_enabled(node.is_some_and(|node| deed.is_possible(node)));
        }
    }
}

/// The menu.
pub(super) fn model() -> gio::Menu {
    menu::sections(
        "node",
        &[
            &[(gettext("_Open"), "open"), (gettext("_Locate…"), "locate")],
            &[
                (gettext("New O_verlay…"), "overlay"),
                (gettext("Co_mmit…"), "commit"),
                (gettext("Other _Backing File…"), "rebase"),
                (gettext("_Flatten…"), "flatten"),
            ],
            &[
                (gettext("_Convert…"), "convert"),
                (gettext("Com_pare…"), "compare"),
                (gettext("Chec_k…"), "check"),
                (gettext("Move to _Trash…"), "delete"),
            ],
            &[
                (gettext("_Show in File Manager"), "show-file"),
                (gettext("Copy Pa_th"), "copy-path"),
            ],
        ],
    )
}

/// Brings the menu up from the pointer, or from the menu key on a node that has the focus.
pub(super) fn connect(
    button: &gtk::Button,
    node: usize,
    menu: &ContextMenu,
    sender: &ComponentSender<ChainPane>,
) {
    let ask = {
        let input = sender.input_sender().clone();
        move || {
            // A closed pane shows no menu.
            let _ = input.send(ChainInput::NodeFocused(node));
        }
    };
    let click = gtk::GestureClick::builder()
        .button(gdk::BUTTON_SECONDARY)
        .build();
    let (clicked, asked, shown) = (button.downgrade(), ask.clone(), menu.clone());
    // Not while it is pressed: the menu would take the release for its own.
    click.connect_released(move |gesture, _, x, y| {
        gesture.set_state(gtk::EventSequenceState::Claimed);
        if let Some(button) = clicked.upgrade() {
            asked();
            shown.popup(&button, x, y);
        }
    });
    button.add_controller(click);
    let keys = gtk::ShortcutController::new();
    for trigger in ["Menu", "<Shift>F10"] {
        let (asked, shown) = (ask.clone(), menu.clone());
        let action = gtk::CallbackAction::new(move |widget, _| {
            asked();
            shown.popup(widget, 0.0, f64::from(widget.height()));
            glib::Propagation::Stop
        });
        let trigger = gtk::ShortcutTrigger::parse_string(trigger);
        keys.add_shortcut(gtk::Shortcut::new(trigger, Some(action)));
    }
    button.add_controller(keys);
}

/// The file of a node, where there is one to do something with.
pub(super) fn file_of(node: &Node) -> Option<(PathBuf, platter::image::Format)> {
    Some((node.path.as_deref().map(Path::to_path_buf)?, node.format?))
}

#[cfg(test)]
mod tests {
    use platter::image::Format;

    use super::*;

    fn node(kinship: Kinship, backing: Option<usize>, missing: bool) -> Node {
        Node {
            path: Some("/vm/a.qcow2".into()),
            name: "a.qcow2".to_owned(),
            kinship,
            format: (!missing).then_some(Format::Qcow2),
            virtual_size: None,
            allocated_size: None,
            snapshots: 0,
            link: Some(0),
            missing,
            backing,
            overlays: Vec::new(),
        }
    }

    #[test]
    fn what_can_be_done_depends_on_the_node() {
        let active = node(Kinship::Active, Some(1), false);
        let base = node(Kinship::Backing, None, false);
        let gone = node(Kinship::Backing, None, true);
        let commit = NodeDeed::Operate(ImageOperation::Commit);
        let delete = NodeDeed::Operate(ImageOperation::Delete);
        assert!(commit.is_possible(&active) && !commit.is_possible(&base));
        assert!(!NodeDeed::Open.is_possible(&active) && NodeDeed::Open.is_possible(&base));
        assert!(delete.is_possible(&base) && !delete.is_possible(&gone));
        assert!(NodeDeed::Locate.is_possible(&gone) && !NodeDeed::Locate.is_possible(&base));
        assert!(NodeDeed::CopyPath.is_possible(&gone));
    }
}
