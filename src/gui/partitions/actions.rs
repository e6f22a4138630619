//! What can be done in the pane, as actions: buttons, menus and keys all lead here.

use relm4::gtk::{self, gio, prelude::*};
use relm4::{ComponentSender, Sender};

use super::{Partitions, PartitionsInput};
use crate::i18n::gettext;

/// Something that can be done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Deed {
    /// A new partition in free space.
    New,
    /// The selected partition goes.
    Delete,
    /// Its place and size, as numbers.
    Resize,
    /// A new file system in it.
    Format,
    /// The name of its file system.
    Label,
    /// Its own name.
    Name,
    /// What it is for.
    Type,
    /// Whether it is booted from.
    Active,
    /// Its file system gets another identifier.
    NewUuid,
    /// Its file system is checked.
    Check,
    /// Its file system is repaired.
    Repair,
    /// Another size of the disk.
    GrowDisk,
    /// An empty GPT.
    NewGpt,
    /// An empty MBR.
    NewMbr,
    /// Both copies of the GPT are written anew.
    RepairGpt,
    /// The last step is taken back.
    Undo,
    /// And made again.
    Redo,
    /// All that waits is given up.
    Discard,
    /// What waits is applied.
    Apply,
    /// What was applied is undone.
    UndoApplied,
    /// What that takes is given up.
    DiscardUndo,
}

impl Deed {
    const ALL: [(Self, &str, &[&str]); 21] = [
        (Self::New, "new", &[]),
        (Self::Delete, "delete", &[]),
        (Self::Resize, "resize", &[]),
        (Self::Format, "format", &[]),
        (Self::Label, "label", &[]),
        (Self::Name, "name", &[]),
        (Self::Type, "type", &[]),
        (Self::Active, "active", &[]),
        (Self::NewUuid, "new-uuid", &[]),
        (Self::Check, "check", &[]),
        (Self::Repair, "repair", &[]),
        (Self::GrowDisk, "grow-disk", &[]),
        (Self::NewGpt, "new-gpt", &[]),
        (Self::NewMbr, "new-mbr", &[]),
        (Self::RepairGpt, "repair-gpt", &[]),
        (Self::Undo, "undo", &["<Control>z"]),
        (Self::Redo, "redo", &["<Control><Shift>z"]),
        (Self::Discard, "discard", &[]),
        (Self::Apply, "apply", &["<Control>Return"]),
        (Self::UndoApplied, "undo-applied", &[]),
        (Self::DiscardUndo, "discard-undo", &[]),
    ];
}

/// The actions of the pane, in the group `partition`, and the buttons for the most common ones.
#[derive(Debug)]
pub(super) struct Actions {
    group: gio::SimpleActionGroup,
    toolbar: gtk::FlowBox,
    buttons: Vec<(Deed, gtk::Button)>,
}

impl Actions {
    pub(super) fn new(sender: &ComponentSender<Partitions>) -> Self {
        let group = gio::SimpleActionGroup::new();
        for (deed, name, _) in Deed::ALL {
            let input = sender.input_sender().clone();
            let action = gio::SimpleAction::new(name, None);
            action.connect_activate(move |_, _| input.emit(PartitionsInput::Do(deed)));
            group.add_action(&action);
        }
        let (toolbar, buttons) = toolbar();
        Self {
            group,
            toolbar,
            buttons,
        }
    }

    /// The row of buttons above the strip. It wraps where there is no room.
    pub(super) fn toolbar(&self) -> &gtk::FlowBox {
        &self.toolbar
    }

    /// Makes them reachable in `pane`; their keys work wherever the focus is while it is shown.
    pub(super) fn install(&self, pane: &impl IsA<gtk::Widget>, input: &Sender<PartitionsInput>) {
        pane.insert_action_group("partition", Some(&self.group));
        let keys = gtk::ShortcutController::new();
        keys.set_scope(gtk::ShortcutScope::Managed);
        for (deed, name, triggers) in Deed::ALL {
            for trigger in triggers {
                let (input, group) = (input.clone(), self.group.clone());
                let action = gtk::CallbackAction::new(move |widget, _| {
                    let enabled = group.is_action_enabled(name) && widget.is_mapped();
                    if enabled {
                        input.emit(PartitionsInput::Do(deed));
                    }
                    enabled.into()
                });
                let trigger = gtk::ShortcutTrigger::parse_string(trigger);
                keys.add_shortcut(gtk::Shortcut::new(trigger, Some(action)));
            }
        }
        pane.add_controller(keys);
    }

    /// Says what can be done now, and on the buttons why not.
    pub(super) fn enable(&self, can: impl Fn(Deed) -> Result<(), Option<String>>) {
        for (deed, name, _) in Deed::ALL {
            let answer = can(deed);
            let action = self.group.lookup_action(name);
            if let Some(action) = action.and_downcast::<gio::SimpleAction>() {
                action.set_enabled(answer.is_ok());
            }
            let button = self.buttons.iter().find(|(known, _)| *known == deed);
            if let Some((_, button)) = button {
                button.set_tooltip_text(answer.err().flatten().as_deref());
            }
        }
    }
}

/// What is done less often, or to a selected partition.
pub(super) fn menu(of_partition_only: bool) -> gio::Menu {
    let section = |items: &[(String, &str)]| {
        let menu = gio::Menu::new();
        for (label, action) in items {
            menu.append(Some(label), Some(&format!("partition.{action}")));
        }
        menu
    };
    let menu = gio::Menu::new();
    if of_partition_only {
        menu.append_section(
            None,
            &section(&[
                (gettext("_New Partition…"), "new"),
                (gettext("_Resize or Move…"), "resize"),
                (gettext("_Format…"), "format"),
                (gettext("_Delete"), "delete"),
            ]),
        );
    }
    menu.append_section(
        None,
        &section(&[
            (gettext("_Label of the File System…"), "label"),
            (gettext("Na_me of the Partition…"), "name"),
            (gettext("_Type…"), "type"),
            (gettext("_Boot From It, or Not"), "active"),
            (gettext("New _UUID of the File System"), "new-uuid"),
        ]),
    );
    menu.append_section(
        None,
        &section(&[
            (gettext("_Check File System"), "check"),
            (gettext("_Repair File System"), "repair"),
        ]),
    );
    if !of_partition_only {
        menu.append_section(
            None,
            &section(&[
                (gettext("New _GPT, All Partitions Gone"), "new-gpt"),
                (gettext("New M_BR, All Partitions Gone"), "new-mbr"),
                (gettext("Re_pair GPT"), "repair-gpt"),
            ]),
        );
        menu.append_section(
            None,
            &section(&[
                (gettext("_Undo the Last Applied Change…"), "undo-applied"),
                (gettext("_Give Up Undoing…"), "discard-undo"),
            ]),
        );
    }
    menu
}

fn toolbar() -> (gtk::FlowBox, Vec<(Deed, gtk::Button)>) {
    let bar = gtk::FlowBox::builder()
        .selection_mode(gtk::SelectionMode::None)
        .column_spacing(6)
        .row_spacing(6)
        .max_children_per_line(8)
        .css_classes(["edit-toolbar"])
        .build();
    let mut buttons = Vec::new();
    for (deed, label, action) in [
        (Deed::New, gettext("_New…"), "new"),
        (Deed::Delete, gettext("_Delete"), "delete"),
        (Deed::Resize, gettext("Resize or _Move…"), "resize"),
        (Deed::Format, gettext("_Format…"), "format"),
        (Deed::Check, gettext("_Check"), "check"),
        (Deed::GrowDisk, gettext("_Grow Disk…"), "grow-disk"),
    ] {
        let button = gtk::Button::builder()
            .label(label)
            .use_underline(true)
            .action_name(format!("partition.{action}"))
            .build();
        add(&bar, &button);
        buttons.push((deed, button));
    }
    let more = gtk::MenuButton::builder()
        .label(gettext("M_ore"))
        .use_underline(true)
        .menu_model(&menu(false))
        .build();
    add(&bar, &more);
    (bar, buttons)
}

fn add(bar: &gtk::FlowBox, child: &impl IsA<gtk::Widget>) {
    // The button takes the focus, not the place that it stands in.
    let place = gtk::FlowBoxChild::builder()
        .child(child)
        .focusable(false)
        .build();
    bar.insert(&place, -1);
}
