//! The Partitions pane: the guest disk's table, what is in its partitions, what is wrong with it,
//! and the edits that wait to be applied.

mod actions;
mod clipboard;
mod dialogs;
mod edit_dialog;
mod editing;
mod helpers;
mod messages;
mod methods;
mod pending_list;
mod properties;
mod resize_dialog;
mod smallest;
mod table;
mod table_fit;
mod table_text;
mod target;
mod type_rows;

use std::rc::Rc;
use std::sync::Arc;

use platter::inspect::Contents;
use platter::op::edit::{Alignment, Draft};
use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{PartitionsCommand, PartitionsInput};

use crate::background::Background;
use crate::disk_layout::Stretch;
use crate::pane::{PaneInit, PaneOutput};
use crate::session::Document;
use crate::settings::Settings;
use crate::subject::Subject;
use crate::widgets::context_menu::ContextMenu;
use crate::widgets::fact_list::FactList;
use crate::widgets::strip_editor::StripEditor;
use actions::Actions;
use pending_list::PendingList;
use smallest::Smallest;
use table::Table;

/// The pane's model.
pub(crate) struct Partitions {
    background: Background,
    settings: Settings,
    /// Where borders go.
    alignment: Alignment,
    /// The selected image: shown when the pane is visible, no earlier.
    document: Option<Rc<Document>>,
    visible: bool,
    /// What is shown, pending edits included; compared by identity.
    contents: Option<Arc<Contents>>,
    /// What the pending edits make of the disk.
    draft: Option<Draft>,
    smallest: Smallest,
    stretches: Vec<Stretch>,
    /// Index in `stretches`.
    selected: Option<usize>,
    strip: StripEditor,
    table: Table,
    pending: PendingList,
    actions: Actions,
    menu: ContextMenu,
    damage: FactList,
    /// What the table says of the selected partition, and what is in it.
    details: [FactList; 2],
    columns: gtk::Box,
    /// The dialog for a file, as long as it is asked for.
    chooser: Option<gtk::FileChooserNative>,
    /// The image of the partition that was put on the clipboard last.
    copied: Option<Subject>,
}

#[relm4::component(pub(crate))]
impl Component for Partitions {
    type Init = PaneInit;
    type Input = PartitionsInput;
    type Output = PaneOutput;
    type CommandOutput = PartitionsCommand;

    view! {
        gtk::Stack {
            set_vhomogeneous: false,

            #[name = "status"]
            add_named[Some("status")] = &adw::StatusPage {},

            add_named[Some("table")] = &gtk::Box {
                set_orientation: gtk::Orientation::Vertical,

                gtk::ScrolledWindow {
                    set_hscrollbar_policy: gtk::PolicyType::Never,
                    set_vexpand: true,

                    adw::Clamp {
                        set_maximum_size: 1000,
                        set_tightening_threshold: 700,

                        gtk::Box {
                            set_orientation: gtk::Orientation::Vertical,
                            set_spacing: 18,
                            add_css_class: "pane",

                            gtk::Box {
                                set_spacing: 12,

                                #[name = "head"]
                                gtk::Label {
                                    set_xalign: 0.0,
                                    set_hexpand: true,
                                    set_wrap: true,
                                    add_css_class: "heading",
                                },
                                append: model.actions.of_table(),
                            },
                            #[name = "note"]
                            gtk::Label {
                                set_xalign: 0.0,
                                set_wrap: true,
                                add_css_class: "dim-label",
                            },
                            model.damage.root(),
                            #[name = "editor"]
                            gtk::Box {
                                set_orientation: gtk::Orientation::Vertical,

                                append: model.actions.toolbar(),
                                append: model.strip.root(),
                            },
                            model.table.root(),
                            model.columns.clone(),
                        },
                    },
                },
                append: model.pending.root(),
            },
        }
    }

    fn init(
        init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let model = Self::new(init, &sender);
        let widgets = view_output!();
        model.actions.install(&root, sender.input_sender());
        ComponentParts { model, widgets }
    }

    fn update_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: Self::Input,
        sender: ComponentSender<Self>,
        root: &Self::Root,
    ) {
        match message {
            PartitionsInput::Pane(input) => self.take(input, widgets, root, &sender),
            PartitionsInput::SegmentSelected(segment) => self.select_segment(segment),
            PartitionsInput::RowSelected(row) => self.select(row),
            PartitionsInput::RowMenu(row, (x, y)) => {
                self.select(row);
                self.menu.popup(self.table.view(), x, y);
            }
            PartitionsInput::Fact(action) => sender.output_sender().emit(action.into()),
            PartitionsInput::Strip(output) => self.take_strip(output, &sender),
            PartitionsInput::Do(deed) => self.act(deed, root, &sender),
            PartitionsInput::Paste(clip) => self.paste(&clip, &sender),
            PartitionsInput::Align(alignment) => self.align(alignment, widgets),
            PartitionsInput::Edited(edits) => Self::push(edits, &sender),
        }
    }

    fn update_cmd_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: Self::CommandOutput,
        sender: ComponentSender<Self>,
        _root: &Self::Root,
    ) {
        match message {
            PartitionsCommand::Copied(id, opened) => self.paste_other(id, opened, &sender),
            PartitionsCommand::Smallest { key, number, least } => {
                if self.smallest.take(key, number, least) {
                    self.show_again(widgets);
                }
            }
            PartitionsCommand::Imported(Ok(edit)) => Self::push(vec![edit], &sender),
            PartitionsCommand::Imported(Err(report)) => {
                sender.output_sender().emit(PaneOutput::Error(report));
            }
        }
    }
}
