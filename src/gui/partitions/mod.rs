//! The Partitions pane: the guest disk's table, what is in its partitions, and what is wrong with
//! it.

mod helpers;
mod messages;
mod methods;
mod table;

use std::rc::Rc;
use std::sync::Arc;

use platter::inspect::Contents;
use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::PartitionsInput;

use crate::disk_layout::Stretch;
use crate::pane::{PaneInit, PaneOutput};
use crate::session::Document;
use crate::widgets::fact_list::FactList;
use crate::widgets::partition_bar::PartitionBar;
use table::Table;

/// The pane's model.
pub(crate) struct Partitions {
    /// The selected image: shown when the pane is visible, no earlier.
    document: Option<Rc<Document>>,
    visible: bool,
    /// What is shown; compared by identity.
    contents: Option<Arc<Contents>>,
    stretches: Vec<Stretch>,
    bar: PartitionBar,
    table: Table,
    damage: FactList,
    /// What the table says of the selected partition, and what is in it.
    details: [FactList; 2],
    columns: gtk::Box,
}

#[relm4::component(pub(crate))]
impl Component for Partitions {
    type Init = PaneInit;
    type Input = PartitionsInput;
    type Output = PaneOutput;
    type CommandOutput = ();

    view! {
        gtk::Stack {
            set_vhomogeneous: false,

            #[name = "status"]
            add_named[Some("status")] = &adw::StatusPage {},

            add_named[Some("table")] = &gtk::ScrolledWindow {
                set_hscrollbar_policy: gtk::PolicyType::Never,

                adw::Clamp {
                    set_maximum_size: 1000,
                    set_tightening_threshold: 700,

                    gtk::Box {
                        set_orientation: gtk::Orientation::Vertical,
                        set_spacing: 18,
                        add_css_class: "pane",

                        #[name = "head"]
                        gtk::Label {
                            set_xalign: 0.0,
                            set_wrap: true,
                            add_css_class: "heading",
                        },
                        #[name = "note"]
                        gtk::Label {
                            set_xalign: 0.0,
                            set_wrap: true,
                            add_css_class: "dim-label",
                        },
                        model.damage.root(),
                        model.bar.root(),
                        model.table.root(),
                        model.columns.clone(),
                    },
                },
            },
        }
    }

    fn init(
        _init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let model = Self::new(&sender);
        let widgets = view_output!();
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
            PartitionsInput::Pane(input) => self.take(input, widgets, root),
            PartitionsInput::SegmentSelected(segment) => self.select_segment(segment),
            PartitionsInput::RowSelected(row) => self.select(row),
            PartitionsInput::Fact(action) => sender.output_sender().emit(action.into()),
        }
    }
}
