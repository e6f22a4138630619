//! The Map pane: where on the disk the bytes are, and which layer holds them.
//!
//! One pass over the chain's tables counts the disk in cells ([`platter::plot::summary`]). Pictures
//! of the cells in view are drawn off the main thread, the newest request wins ([`latest`],
//! [`render`]); the main loop only moves finished pictures.

mod cards;
mod comparison;
mod details;
mod events;
mod export;
mod helpers;
mod latest;
mod messages;
mod methods;
mod navigation;
mod palette;
mod render;
mod saving;
mod sheet;
mod subject;

use std::ops::Range;
use std::rc::Rc;

use platter::Control;
use platter::plot::layout::{Arrangement, Layout};
use relm4::adw;
use relm4::gtk::{self, gio, prelude::*};
use relm4::prelude::*;

pub(crate) use messages::{MapCommand, MapInput};

use crate::a11y;
use crate::background::Background;
use crate::i18n::gettext;
use crate::pane::{PaneInit, PaneInput, PaneOutput};
use crate::session::Document;
use crate::widgets::map_canvas::MapCanvas;
use crate::widgets::map_strip::MapStrip;
use cards::{DetailsCard, LegendCard};
use comparison::ComparisonCard;
use latest::Latest;
use palette::Theme;
use render::FrameRequest;
use subject::{Subject, SubjectKey};

/// The pane's model.
pub(crate) struct MapPane {
    background: Background,
    visible: bool,
    document: Option<Rc<Document>>,
    /// The map that is being read, and what stops it.
    reading: Option<(SubjectKey, Control)>,
    /// The disk that is shown.
    subject: Option<Subject>,
    /// Disks shown before, the last one last, with where they were looked at.
    recent: Vec<(Subject, Option<Layout>)>,
    arrangement: Arrangement,
    layout: Option<Layout>,
    /// Width and height of the canvas.
    area: (u32, u32),
    strip_width: u32,
    plot_width: u32,
    theme: Theme,
    /// The layout of the picture on the canvas.
    pictured: Option<Layout>,
    /// Where the pointer was seen last; GTK repeats itself when anything moves below it.
    pointer: Option<(i64, i64)>,
    hovered: Option<(i64, i64)>,
    /// The selected cell, by its guest bytes.
    selected: Option<Range<u64>>,
    /// What the details card is about.
    described: Option<Range<u64>>,
    /// What screen readers are told of the canvas, and the part of it about the cell.
    spoken: String,
    cell_spoken: String,
    /// Guest bytes to be shown once the map has been read.
    to_reveal: Option<Range<u64>>,
    frames: Latest<FrameRequest>,
    details: Latest<Range<u64>>,
    canvas: MapCanvas,
    strip: MapStrip,
    plot: MapStrip,
    legend: LegendCard,
    comparison: ComparisonCard,
    /// Saves the differences, where there are any.
    save_differences: gio::SimpleAction,
    card: DetailsCard,
    /// The file dialog while it is open: it is no widget, nobody else keeps it.
    file_dialog: Option<gtk::FileChooserNative>,
}

#[relm4::component(pub(crate))]
impl Component for MapPane {
    type Init = PaneInit;
    type Input = MapInput;
    type Output = PaneOutput;
    type CommandOutput = MapCommand;

    view! {
        #[root]
        #[name = "scroller"]
        gtk::ScrolledWindow {
            // Never scrolled sideways: the pane is laid out anew for narrow windows.
            set_hscrollbar_policy: gtk::PolicyType::External,

            #[name = "pages"]
            gtk::Stack {
                set_vhomogeneous: false,

                #[name = "map_page"]
                gtk::Box {
                    set_orientation: gtk::Orientation::Vertical,
                    set_spacing: 12,
                    add_css_class: "map-pane",

                    #[name = "toolbar"]
                    gtk::Box {
                        set_spacing: 12,

                        #[name = "arrangements"]
                        gtk::Box {
                            add_css_class: "linked",

                            #[name = "hilbert"]
                            gtk::ToggleButton {
                                set_label: &gettext("Hilbert"),
                                set_tooltip_text: Some(&gettext("Along a curve: what is near on the disk is near on the map")),
                                set_active: true,
                            },
                            #[name = "linear"]
                            gtk::ToggleButton {
                                set_label: &gettext("Linear"),
                                set_tooltip_text: Some(&gettext("In rows, as text is read")),
                                set_group: Some(&hilbert),
                            },
                            #[name = "partitions"]
                            gtk::ToggleButton {
                                set_label: &gettext("By partition"),
                                set_tooltip_text: Some(&gettext("In rows, a band for each partition")),
                                set_group: Some(&hilbert),
                            },
                        },

                        gtk::Box {
                            set_spacing: 6,
                            set_hexpand: true,
                            set_halign: gtk::Align::End,

                            #[name = "zoom_out"]
                            gtk::Button {
                                set_icon_name: "list-remove-symbolic",
                                add_css_class: "flat",
                                connect_clicked => MapInput::Zoom(-1, None),
                            },
                            #[name = "scale"]
                            gtk::Label {
                                add_css_class: "dim-label",
                                add_css_class: "numeric",
                                set_width_chars: 15,
                            },
                            #[name = "zoom_in"]
                            gtk::Button {
                                set_icon_name: "list-add-symbolic",
                                add_css_class: "flat",
                                connect_clicked => MapInput::Zoom(1, None),
                            },
                            #[name = "export"]
                            gtk::MenuButton {
                                set_label: &gettext("Export…"),
                                set_menu_model: Some(&saving::menu()),
                            },
                        },
                    },

                    #[local_ref]
                    strip -> MapStrip {},

                    #[name = "body"]
                    gtk::Box {
                        set_spacing: 16,

                        #[name = "canvas_overlay"]
                        gtk::Overlay {
                            set_hexpand: true,
                            #[local_ref]
                            #[wrap(Some)]
                            set_child = canvas -> MapCanvas {},
                            #[name = "spinner"]
                            add_overlay = &gtk::Spinner {
                                set_halign: gtk::Align::Center,
                                set_valign: gtk::Align::Center,
                                set_width_request: 32,
                                set_height_request: 32,
                                // It lies over the map also when it does not turn.
                                set_can_target: false,
                            },
                        },

                        #[name = "cards"]
                        gtk::Box {
                            set_orientation: gtk::Orientation::Vertical,
                            set_spacing: 12,
                            append = &model.comparison.root.clone() -> gtk::Box {},
                            append = &model.legend.root.clone() -> gtk::Box {},
                            append = &model.card.root.clone() -> gtk::Box {},
                        },
                    },

                    gtk::Box {
                        set_orientation: gtk::Orientation::Vertical,
                        set_spacing: 3,
                        add_css_class: "map-plot",

                        #[name = "plot_title"]
                        gtk::Label {
                            set_xalign: 0.0,
                            add_css_class: "dim-label",
                            add_css_class: "map-caption",
                        },
                        #[local_ref]
                        plot -> MapStrip {},
                    },
                },

                #[name = "problem_page"]
                adw::StatusPage {
                    set_icon_name: Some("dialog-warning-symbolic"),
                    set_title: &gettext("The map cannot be drawn"),
                },
            },
        }
    }

    fn init(
        init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let mut model = Self::new(init, &sender);
        let canvas = &model.canvas;
        let strip = &model.strip;
        let plot = &model.plot;
        let widgets = view_output!();
        widgets.name_everything();
        widgets.connect_arrangements(&sender);
        events::connect(&model, &widgets, &sender);
        saving::install_actions(&model, &root, &sender);
        comparison::connect(&model, &sender);
        model.show_look();
        model.show_nothing(&widgets);
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
            MapInput::Pane(PaneInput::Show(document)) => self.show(document, widgets, &sender),
            MapInput::Pane(PaneInput::Clear) => self.clear(widgets),
            MapInput::Pane(PaneInput::Visible(visible)) => {
                self.set_visible(visible, widgets, &sender);
            }
            MapInput::Pane(PaneInput::Reveal(range)) => self.reveal(range, widgets, &sender),
            MapInput::CanvasResized(width, height) => {
                self.resize_canvas((width, height), widgets, &sender);
            }
            MapInput::StripResized(width) => self.resize_strip(width, &sender),
            MapInput::PlotResized(width) => self.resize_plot(width, &sender),
            MapInput::PaneResized(width) => widgets.fit_to(width),
            MapInput::LookChanged => self.change_look(widgets, &sender),
            MapInput::ArrangementChosen(chosen) => self.arrange(chosen, widgets, &sender),
            MapInput::Zoom(steps, at) => self.zoom(steps, at, widgets, &sender),
            MapInput::Fit => self.fit(widgets, &sender),
            MapInput::Pan(dx, dy) => self.pan(dx, dy, widgets, &sender),
            MapInput::Pointed(at) => self.point_at(at, &sender),
            MapInput::Clicked(x, y) => self.click((x, y), widgets, &sender),
            MapInput::Step(columns, rows) => self.step(columns, rows, widgets, &sender),
            MapInput::Page(pages) => self.page(pages, widgets, &sender),
            MapInput::Edge(first) => self.select_edge(first, widgets, &sender),
            MapInput::Select => self.select_middle(widgets, &sender),
            MapInput::Unselect => self.select(None, widgets, &sender),
            MapInput::StripPointed(part) => self.center_on_part(part, widgets, &sender),
            MapInput::Difference(forward) => self.select_difference(forward, widgets, &sender),
            MapInput::ComparisonClosed => comparison::close(&sender),
            MapInput::Export(kind) => self.choose_file(kind, root, &sender),
            MapInput::ExportTo(kind, path) => self.export(kind, path, &sender),
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
            MapCommand::Read(key, result) => self.take_summary(key, result, widgets, &sender),
            MapCommand::Frame(frame) => self.take_frame(*frame),
            MapCommand::Strip(key, picture) => self.take_strip(key, picture),
            MapCommand::Plot(key, picture) => self.take_plot(key, picture),
            MapCommand::Details(key, details) => self.take_details(key, &details),
            MapCommand::Exported(kind, path, result) => {
                saving::tell_result(kind, &path, result, &sender);
            }
        }
    }
}

impl MapPaneWidgets {
    /// Below this width of the pane, the cards go below the map.
    const NARROW: f64 = 720.0;
    /// Below this one, the toolbar takes two lines.
    const VERY_NARROW: f64 = 560.0;
    /// Height of the map when it shares no line with anything.
    const NARROW_HEIGHT: i32 = 320;

    fn name_everything(&self) {
        a11y::icon_button(&self.zoom_out, &gettext("Zoom out"));
        a11y::icon_button(&self.zoom_in, &gettext("Zoom in"));
        a11y::icon_button(&self.export, &gettext("Export map, plot or extents"));
        a11y::name(&self.arrangements, &gettext("Arrangement"));
        a11y::name(&self.canvas, &gettext("Allocation map"));
        a11y::name(&self.strip, &gettext("The whole disk"));
    }

    fn connect_arrangements(&self, sender: &ComponentSender<MapPane>) {
        for (button, arrangement) in [
            (&self.hilbert, Arrangement::Hilbert),
            (&self.linear, Arrangement::Linear),
            (&self.partitions, Arrangement::Partitions),
        ] {
            let sender = sender.clone();
            button.connect_toggled(move |button| {
                if button.is_active() {
                    sender.input(MapInput::ArrangementChosen(arrangement));
                }
            });
        }
    }

    /// Arranges the pane for a width.
    fn fit_to(&self, width: f64) {
        let orient = |horizontal: bool| {
            if horizontal {
                gtk::Orientation::Horizontal
            } else {
                gtk::Orientation::Vertical
            }
        };
        let wide = width >= Self::NARROW;
        self.body.set_orientation(orient(wide));
        self.cards.set_hexpand(!wide);
        self.canvas_overlay
            .set_height_request(if wide { -1 } else { Self::NARROW_HEIGHT });
        self.toolbar
            .set_orientation(orient(width >= Self::VERY_NARROW));
        if wide {
            self.map_page.remove_css_class("narrow");
        } else {
            self.map_page.add_css_class("narrow");
        }
    }
}
