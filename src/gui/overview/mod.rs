//! The Overview pane: what the image is, how much space it takes, what is in it.

mod groups;
mod header;
mod messages;
mod methods;
mod space;

use std::rc::Rc;

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::OverviewInput;

use crate::i18n::gettext;
use crate::pane::{PaneInit, PaneOutput};
use crate::session::Document;
use crate::widgets::columns;
use crate::widgets::fact_list::FactList;
use crate::widgets::partition_bar::PartitionBar;
use header::Header;
use space::Space;

/// Lists there are room for in a column.
const LISTS_PER_COLUMN: usize = 4;
/// Narrower columns are put below each other.
const COLUMN_WIDTH: i32 = 340;
const COLUMN_SPACING: i32 = 24;

/// The pane's model.
pub(crate) struct Overview {
    /// The selected image: shown when the pane is visible, no earlier.
    document: Option<Rc<Document>>,
    visible: bool,
    header: Header,
    space: Space,
    bar: PartitionBar,
    columns: gtk::Box,
    /// The left column's, then the right one's.
    lists: [Vec<FactList>; 2],
}

#[relm4::component(pub(crate))]
impl Component for Overview {
    type Init = PaneInit;
    type Input = OverviewInput;
    type Output = PaneOutput;
    type CommandOutput = ();

    view! {
        gtk::ScrolledWindow {
            set_hscrollbar_policy: gtk::PolicyType::Never,

            adw::Clamp {
                set_maximum_size: 1000,
                set_tightening_threshold: 700,

                gtk::Box {
                    set_orientation: gtk::Orientation::Vertical,
                    set_spacing: 18,
                    add_css_class: "pane",

                    gtk::Box {
                        set_spacing: 18,

                        #[name = "badge"]
                        gtk::Label {
                            set_valign: gtk::Align::Start,
                            add_css_class: "format-badge",
                        },
                        gtk::Box {
                            set_orientation: gtk::Orientation::Vertical,
                            set_valign: gtk::Align::Center,
                            set_hexpand: true,
                            set_spacing: 4,

                            #[name = "name"]
                            gtk::Label {
                                set_xalign: 0.0,
                                set_wrap: true,
                                set_wrap_mode: gtk::pango::WrapMode::WordChar,
                                set_selectable: true,
                                // Or its text is selected whenever the pane is first shown.
                                set_can_focus: false,
                                add_css_class: "title-2",
                            },
                            #[name = "line"]
                            gtk::Label {
                                set_xalign: 0.0,
                                set_wrap: true,
                                set_wrap_mode: gtk::pango::WrapMode::WordChar,
                                add_css_class: "dim-label",
                            },
                            #[name = "pills"]
                            gtk::Box {
                                set_spacing: 6,
                                set_margin_top: 4,
                            },
                        },
                    },

                    gtk::Box {
                        set_orientation: gtk::Orientation::Vertical,
                        set_spacing: 9,
                        add_css_class: "card",
                        add_css_class: "space-card",

                        gtk::Label {
                            set_label: &gettext("Space"),
                            set_xalign: 0.0,
                            add_css_class: "heading",
                        },
                        #[name = "bars"]
                        gtk::Grid {
                            set_column_spacing: 18,
                            set_row_spacing: 9,
                        },
                        #[name = "note"]
                        gtk::Label {
                            set_xalign: 0.0,
                            set_wrap: true,
                            add_css_class: "dim-label",
                            add_css_class: "caption",
                        },
                    },

                    model.bar.root(),
                    model.columns.clone(),
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
        _root: &Self::Root,
    ) {
        match message {
            OverviewInput::Pane(input) => self.take(input, widgets),
            OverviewInput::Fact(action) => sender.output_sender().emit(action.into()),
            OverviewInput::SegmentClicked(segment) => self.show_partition(segment, &sender),
        }
    }
}
