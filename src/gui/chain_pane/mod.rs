//! The Chain pane: the open image, what it stands on, its siblings and its overlays.

mod helpers;
mod menu;
mod messages;
mod methods;
mod node;

use std::path::PathBuf;
use std::rc::Rc;

use platter::Control;
use platter::chain::graph::FamilyGraph;
use relm4::prelude::*;
use relm4::{adw, gtk, gtk::gio};

use adw::prelude::*;

pub(crate) use messages::{ChainCommand, ChainInput};

use crate::background::Background;
use crate::i18n::gettext;
use crate::pane::{PaneInit, PaneOutput};
use crate::session::Document;
use crate::widgets::chain_canvas::ChainCanvas;
use crate::widgets::context_menu::ContextMenu;

/// The pane's model.
#[derive(Debug)]
pub(crate) struct ChainPane {
    background: Background,
    document: Option<Rc<Document>>,
    graph: Option<FamilyGraph>,
    sentences: Vec<String>,
    canvas: ChainCanvas,
    /// The file whose node had the keyboard focus when the graph was taken off.
    focus: Option<Option<PathBuf>>,
    /// What stands above the graph.
    summary: String,
    /// The node that has the keyboard focus, or had it last.
    node: usize,
    /// What is said of it.
    pointed: String,
    actions: gio::SimpleActionGroup,
    menu: ContextMenu,
    /// Width of the list that is drawn instead of the graph, in pixels, where there is no room.
    list_width: Option<f64>,
    /// Numbers the requests for a family; older answers are dropped.
    request: u64,
    control: Control,
}

#[relm4::component(pub(crate))]
impl Component for ChainPane {
    type Init = PaneInit;
    type Input = ChainInput;
    type Output = PaneOutput;
    type CommandOutput = ChainCommand;

    view! {
        gtk::Box {
            set_orientation: gtk::Orientation::Vertical,

            gtk::Label {
                set_margin_all: 12,
                set_xalign: 0.0,
                set_wrap: true,
                add_css_class: "dim-label",
                #[watch]
                set_label: &model.summary,
            },

            #[local_ref]
            scroller -> gtk::ScrolledWindow {},

            gtk::Box {
                set_margin_all: 12,
                set_spacing: 12,

                gtk::Label {
                    set_xalign: 0.0,
                    set_hexpand: true,
                    set_wrap: true,
                    set_selectable: true,
                    #[watch]
                    set_label: &model.pointed,
                },
                gtk::MenuButton {
                    set_label: &gettext("_Actions"),
                    set_use_underline: true,
                    set_valign: gtk::Align::Center,
                    set_direction: gtk::ArrowType::Up,
                    set_menu_model: Some(&menu::model()),
                    #[watch]
                    set_sensitive: !model.pointed.is_empty(),
                },
            },
        }
    }

    fn init(
        init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let model = Self {
            background: init.background,
            document: None,
            graph: None,
            sentences: Vec::new(),
            canvas: ChainCanvas::new(),
            focus: None,
            summary: gettext("Looking at the folder…"),
            node: 0,
            pointed: String::new(),
            actions: menu::actions(&sender),
            menu: ContextMenu::new(&root, &menu::model()),
            list_width: None,
            request: 0,
            control: Control::new(),
        };
        let style = adw::StyleManager::default();
        for property in ["dark", "high-contrast"] {
            let input = sender.input_sender().clone();
            style.connect_notify_local(Some(property), move |_, _| {
                // A closed pane needs no new colours.
                let _ = input.send(ChainInput::StyleChanged);
            });
        }
        let scroller = model.canvas.widget();
        let input = sender.input_sender().clone();
        scroller.hadjustment().connect_page_size_notify(move |_| {
            // A closed pane is not drawn.
            let _ = input.send(ChainInput::Resized);
        });
        let widgets = view_output!();
        root.insert_action_group("node", Some(&model.actions));
        ComponentParts { model, widgets }
    }

    fn update(&mut self, message: ChainInput, sender: ComponentSender<Self>, _root: &Self::Root) {
        match message {
            ChainInput::Pane(input) => self.handle_pane(input, &sender),
            ChainInput::NodeActivated(node) => self.open_node(node, &sender),
            ChainInput::NodeFocused(node) => self.point_at(node),
            ChainInput::Do(deed) => self.act(deed, &sender),
            ChainInput::Resized => self.fit(),
            ChainInput::StyleChanged => self.canvas.repaint(),
        }
    }

    fn update_cmd(
        &mut self,
        message: ChainCommand,
        sender: ComponentSender<Self>,
        _root: &Self::Root,
    ) {
        match message {
            ChainCommand::FamilyFound(request, graph) => self.take_family(request, graph, &sender),
        }
    }
}
