//! What can be done in the pane, as actions: buttons, menus and keys all lead here.

use platter::op::edit::Alignment;
use relm4::gtk::{self, gio, prelude::*};
use relm4::{ComponentSender, Sender};

use super::{Partitions, PartitionsInput};
use crate::i18n::gettext;
use crate::menu;

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
    /// All that has a name or a number.
    Properties,
    /// It is put on the clipboard.
    Copy,
    /// What is on the clipboard becomes a partition.
    Paste,
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
    /// The same partitions in a GPT.
    ToGpt,
    /// The same partitions in an MBR.
    ToMbr,
    /// Both copies of the GPT are written anew.
    RepairGpt,
    /// The table becomes a text.
    Export,
    /// A text becomes the table.
    Import,
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
    const ALL: [(Self, &str, &[&str]); 24] = [
        (Self::New, "new", &[]),
        (Self::Delete, "delete", &[]),
        (Self::Resize, "resize", &[]),
        (Self::Format, "format", &[]),
        (Self::Label, "label", &[]),
        (Self::Properties, "properties", &["<Alt>Return"]),
        (Self::Copy, "copy", &["<Control>c"]),
        (Self::Paste, "paste", &["<Control>v"]),
        (Self::Check, "check", &[]),
        (Self::Repair, "repair", &[]),
        (Self::GrowDisk, "grow-disk", &[]),
        (Self::NewGpt, "new-gpt", &[]),
        (Self::NewMbr, "new-mbr", &[]),
        (Self::ToGpt, "to-gpt", &[]),
        (Self::ToMbr, "to-mbr", &[]),
        (Self::RepairGpt, "repair-gpt", &[]),
        (Self::Export, "export", &[]),
        (Self::Import, "import", &[]),
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
    aligned: gio::SimpleAction,
    toolbar: gtk::FlowBox,
    of_table: gtk::Box,
    buttons: Vec<(Deed, gtk::Button)>,
}

impl Actions {
    pub(super) fn new(alignment: Alignment, sender: &ComponentSender<Partitions>) -> Self {
        let group = gio::SimpleActionGroup::new();
        for (deed, name, _) in Deed::ALL {
            let input = sender.input_sender().clone();
            let action = gio::SimpleAction::new(name, None);
            action.connect_activate(move |_, _| input.emit(PartitionsInput::Do(deed)));
            group.add_action(&action);
        }
        let aligned = aligning(alignment, sender);
        group.add_action(&aligned);
        let mut buttons = Vec::new();
        let (toolbar, of_table) = (toolbar(&mut buttons), of_table(&mut buttons));
        Self {
            group,
            aligned,
            toolbar,
            of_table,
            buttons,
        }
    }

    /// The row of buttons above the strip. It wraps where there is no room.
    pub(super) fn toolbar(&self) -> &gtk::FlowBox {
        &self.toolbar
    }

    /// What is done to the table as a whole: beside what is said of it.
    pub(super) fn of_table(&self) -> &gtk::Box {
        &self.of_table
    }

    /// Marks the alignment in the menu.
    pub(super) fn show_alignment(&self, alignment: Alignment) {
        self.aligned.set_state(&alignment.to_string().to_variant());
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

/// What can be done with a partition, where it is asked for.
pub(super) fn context_menu() -> gio::Menu {
    menu::sections(
        "partition",
        &[
            &[
                (gettext("_New Partition…"), "new"),
                (gettext("_Resize or Move…"), "resize"),
                (gettext("_Format…"), "format"),
                (gettext("_Delete"), "delete"),
            ],
            &[(gettext("C_opy"), "copy"), (gettext("P_aste"), "paste")],
            &[
                (gettext("_Check File System"), "check"),
                (gettext("R_epair File System"), "repair"),
            ],
            &[
                (gettext("_Label of the File System…"), "label"),
                (gettext("_Properties…"), "properties"),
            ],
        ],
    )
}

/// What is done less often to a partition, and after an edit was applied.
fn more_menu() -> gio::Menu {
    menu::sections(
        "partition",
        &[
            &[(gettext("C_opy"), "copy"), (gettext("P_aste"), "paste")],
            &[
                (gettext("_Label of the File System…"), "label"),
                (gettext("R_epair File System"), "repair"),
            ],
            &[
                (gettext("_Undo the Last Applied Change…"), "undo-applied"),
                (gettext("_Give Up Undoing…"), "discard-undo"),
            ],
        ],
    )
}

/// The action that chooses where borders go.
fn aligning(alignment: Alignment, sender: &ComponentSender<Partitions>) -> gio::SimpleAction {
    let kind = String::static_variant_type();
    let state = alignment.to_string().to_variant();
    let action = gio::SimpleAction::new_stateful("align", Some(&kind), &state);
    let input = sender.input_sender().clone();
    action.connect_activate(move |_, wanted| {
        let wanted = wanted.and_then(|wanted| wanted.get::<String>());
        if let Some(alignment) = wanted.and_then(|wanted| wanted.parse().ok()) {
            input.emit(PartitionsInput::Align(alignment));
        }
    });
    action
}

fn alignments() -> gio::Menu {
    let menu = gio::Menu::new();
    for alignment in Alignment::ALL {
        let label = match alignment {
            Alignment::Mib => gettext("1 _MiB, for All Disks of Today"),
            Alignment::FourKib => gettext("_4 KiB"),
            Alignment::Cylinder => gettext("_Cylinders, as DOS Did"),
            Alignment::Sector => gettext("_None: Any Sector"),
        };
        let item = gio::MenuItem::new(Some(&label), None);
        let target = alignment.to_string().to_variant();
        item.set_action_and_target_value(Some("partition.align"), Some(&target));
        menu.append_item(&item);
    }
    menu
}

/// What is done to the table.
fn table_menu() -> gio::Menu {
    let menu = menu::sections(
        "partition",
        &[
            &[
                (gettext("Convert to _GPT"), "to-gpt"),
                (gettext("Convert to _MBR"), "to-mbr"),
                (gettext("Re_pair GPT"), "repair-gpt"),
            ],
            &[
                (gettext("_Export as Text…"), "export"),
                (gettext("_Import From Text…"), "import"),
            ],
            &[
                (gettext("_New GPT, All Partitions Gone"), "new-gpt"),
                (gettext("New M_BR, All Partitions Gone"), "new-mbr"),
            ],
        ],
    );
    let end = gio::Menu::new();
    end.append_submenu(Some(&gettext("_Align to")), &alignments());
    menu.append_section(None, &end);
    menu
}

type Buttons = Vec<(Deed, gtk::Button)>;

fn toolbar(buttons: &mut Buttons) -> gtk::FlowBox {
    let bar = gtk::FlowBox::builder()
        .selection_mode(gtk::SelectionMode::None)
        .column_spacing(6)
        .row_spacing(6)
        .max_children_per_line(8)
        .css_classes(["edit-toolbar"])
        .build();
    for (deed, label, action) in [
        (Deed::New, gettext("_New…"), "new"),
        (Deed::Delete, gettext("_Delete"), "delete"),
        (Deed::Resize, gettext("Resize or _Move…"), "resize"),
        (Deed::Format, gettext("_Format…"), "format"),
        (Deed::Check, gettext("_Check"), "check"),
        (Deed::Properties, gettext("_Properties…"), "properties"),
    ] {
        let button = button(&label, action);
        add(&bar, &button);
        buttons.push((deed, button));
    }
    add(&bar, &menu_button(&gettext("M_ore"), &more_menu()));
    bar
}

fn of_table(buttons: &mut Buttons) -> gtk::Box {
    let grow = button(&gettext("_Grow Disk…"), "grow-disk");
    let bar = gtk::Box::builder()
        .spacing(6)
        .valign(gtk::Align::Start)
        .build();
    bar.append(&menu_button(&gettext("_Table"), &table_menu()));
    bar.append(&grow);
    buttons.push((Deed::GrowDisk, grow));
    bar
}

fn button(label: &str, action: &str) -> gtk::Button {
    gtk::Button::builder()
        .label(label)
        .use_underline(true)
        .action_name(format!("partition.{action}"))
        .build()
}

fn menu_button(label: &str, menu: &gio::Menu) -> gtk::MenuButton {
    gtk::MenuButton::builder()
        .label(label)
        .use_underline(true)
        .menu_model(menu)
        .build()
}

fn add(bar: &gtk::FlowBox, child: &impl IsA<gtk::Widget>) {
    // The button takes the focus, not the place that it stands in.
    let place = gtk::FlowBoxChild::builder()
        .child(child)
        .focusable(false)
        .build();
    bar.insert(&place, -1);
}
