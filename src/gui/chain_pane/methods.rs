//! What the Chain pane does.

use std::rc::Rc;
use std::sync::Arc;

use platter::Control;
use platter::chain::graph::{FamilyGraph, Kinship};
use platter::plot::chain::{ChainLayout, Metrics};
use relm4::ComponentSender;
use relm4::gtk::{self, prelude::*};

use crate::chain_pane::helpers::{self, NodeText};
use crate::chain_pane::menu::{self, NodeDeed};
use crate::chain_pane::{ChainCommand, ChainInput, ChainPane, node};
use crate::format;
use crate::pane::{PaneInput, PaneOutput};
use crate::session::Document;
use crate::subject::Subject;
use crate::widgets::chain_canvas::EdgeStyle;
use crate::widgets::context_menu::ContextMenu;

impl ChainPane {
    pub(super) fn handle_pane(&mut self, input: PaneInput, sender: &ComponentSender<Self>) {
        match input {
            PaneInput::Show(document) => self.show(document, sender),
            PaneInput::Clear => self.forget(),
            PaneInput::Visible(_) | PaneInput::Reveal(_) => {}
        }
    }

    pub(super) fn open_node(&self, node: usize, sender: &ComponentSender<Self>) {
        let node = self.graph.as_ref().and_then(|graph| graph.nodes.get(node));
        let Some((node, path)) = node.and_then(|node| Some((node, node.path.clone()?))) else {
            return;
        };
        let wish = match node.link {
            Some(_) if node.missing => PaneOutput::Locate(path),
            None if node.missing => return,
            _ => PaneOutput::OpenPath(path),
        };
        // The window may be closing; then nobody wants another image.
        let _ = sender.output(wish);
    }

    pub(super) fn point_at(&mut self, node: usize) {
        self.pointed = self.sentences.get(node).cloned().unwrap_or_default();
        self.node = node;
        let node = self.graph.as_ref().and_then(|graph| graph.nodes.get(node));
        menu::enable(&self.actions, node);
    }

    /// Does something with the node that was pointed at last.
    pub(super) fn act(&self, deed: NodeDeed, sender: &ComponentSender<Self>) {
        let graph = self.graph.as_ref();
        let Some(node) = graph.and_then(|graph| graph.nodes.get(self.node)) else {
            return;
        };
        let wish = match deed {
            NodeDeed::Open | NodeDeed::Locate => return self.open_node(self.node, sender),
            NodeDeed::Operate(operation) => menu::file_of(node).map(|(path, format)| {
                let policy = self
                    .document
                    .as_ref()
                    .map(|document| document.policy.clone());
                let subject = Subject {
                    path,
                    format,
                    policy: policy.unwrap_or_default(),
                };
                PaneOutput::OperateOn(operation, subject)
            }),
            NodeDeed::ShowFile => node.path.clone().map(PaneOutput::ShowFile),
            NodeDeed::CopyPath => node
                .path
                .as_ref()
                .map(|path| PaneOutput::Copy(path.display().to_string())),
        };
        if let Some(wish) = wish {
            // The window may be closing; then nobody wants anything.
            let _ = sender.output(wish);
        }
    }

    pub(super) fn take_family(
        &mut self,
        request: u64,
        graph: FamilyGraph,
        sender: &ComponentSender<Self>,
    ) {
        let Some(document) = self.document.clone().filter(|_| request == self.request) else {
            return;
        };
        let Some(chain) = document.full_chain() else {
            return;
        };
        let texts: Vec<_> = (0..graph.nodes.len())
            .map(|node| NodeText::new(&graph, node, chain))
            .collect();
        let in_folder = document
            .folder
            .as_ref()
            .map_or(0, |folder| folder.images.len());
        self.summary = helpers::summary(&graph, in_folder, &format::folder(&document.path));
        self.draw(&graph, &texts, sender);
        self.sentences = texts.into_iter().map(|text| text.sentence).collect();
        self.graph = Some(graph);
        self.point_at(0);
    }

    fn show(&mut self, document: Rc<Document>, sender: &ComponentSender<Self>) {
        let same = self.document.as_ref().is_some_and(|known| {
            known.id == document.id
                && known.generation == document.generation
                && known.full_chain().is_some() == document.full_chain().is_some()
                && known.folder.as_ref().map(Arc::as_ptr)
                    == document.folder.as_ref().map(Arc::as_ptr)
        });
        if same {
            self.document = Some(document);
            return;
        }
        if self
            .document
            .as_ref()
            .is_some_and(|known| known.id != document.id)
        {
            self.forget();
        }
        self.request += 1;
        if let Some(chain) = document.full_chain() {
            let (chain, folder) = (Arc::clone(chain), document.folder.clone());
            let (request, results) = (self.request, sender.command_sender().clone());
            self.control.cancel();
            self.control = Control::new();
            let control = self.control.clone();
            self.background.run(move || {
                if control.checkpoint().is_ok() {
                    let graph = FamilyGraph::new(&chain, folder.as_deref());
                    // Nobody listens any more when the window was closed.
                    let _ = results.send(ChainCommand::FamilyFound(request, graph));
                }
            });
        }
        self.document = Some(document);
    }

    fn forget(&mut self) {
        self.request += 1;
        self.document = None;
        self.sentences.clear();
        self.summary.clear();
        self.pointed.clear();
        self.take_off();
    }

    /// Empties the canvas and remembers the file that had the focus.
    fn take_off(&mut self) {
        let graph = self.graph.take();
        if let (Some(node), Some(graph)) = (self.canvas.clear(), graph) {
            self.focus = graph.nodes.get(node).map(|node| node.path.clone());
        }
    }

    fn draw(&mut self, graph: &FamilyGraph, texts: &[NodeText], sender: &ComponentSender<Self>) {
        self.take_off();
        let nodes: Vec<gtk::Widget> = graph
            .nodes
            .iter()
            .zip(texts)
            .enumerate()
            .map(|(index, (node, text))| {
                let active = node.kinship == Kinship::Active;
                let button = node::build(text, active, node.missing);
                connect(&button, index, &self.menu, sender);
                button.upcast()
            })
            .collect();
        self.canvas.put(nodes);
        self.arrange(graph);
        if let Some(path) = self.focus.take() {
            let node = graph.nodes.iter().position(|node| node.path == path);
            self.canvas.focus(node.unwrap_or(0));
        }
    }
}

/// Pixels below which the graph becomes a list.
const NARROW: f64 = 600.0;

impl ChainPane {
    /// Draws what there is for the width that there is now.
    pub(super) fn fit(&mut self) {
        if self.list_width == self.wanted_list() {
            return;
        }
        if let Some(graph) = self.graph.take() {
            self.arrange(&graph);
            self.graph = Some(graph);
        }
    }

    fn wanted_list(&self) -> Option<f64> {
        let width = self.canvas.visible_width();
        (width > 0.0 && width < NARROW).then_some(width)
    }

    fn arrange(&mut self, graph: &FamilyGraph) {
        self.list_width = self.wanted_list();
        let widget = self.canvas.widget();
        let mirrored = widget.direction() == gtk::TextDirection::Rtl;
        let line = f64::from(widget.create_pango_layout(Some("X")).pixel_size().1);
        let node_width = (line * 14.0).round();
        #[allow(clippy::cast_possible_truncation, reason = "a few lines of text")]
        let node_height = self.canvas.node_height(node_width as i32);
        let metrics = Metrics {
            node_width,
            node_height: f64::from(node_height),
            column_gap: (line * 4.0).round(),
            row_gap: line,
            margin: line,
        };
        let layout = match self.list_width {
            Some(width) => {
                let narrowest = (line * 9.0).round();
                let metrics = Metrics {
                    node_width: narrowest,
                    ..metrics
                };
                ChainLayout::list(graph, &metrics, width, mirrored)
            }
            None => ChainLayout::new(graph, &metrics, mirrored),
        };
        let edges = layout.edges.iter().map(|edge| {
            let (backing, overlay) = (&graph.nodes[edge.backing], &graph.nodes[edge.overlay]);
            EdgeStyle {
                width: helpers::edge_width(overlay.allocated_size),
                strong: overlay.link.is_some() && backing.link.is_some(),
                broken: backing.missing,
            }
        });
        let edges = edges.collect();
        self.canvas.arrange(layout, edges, node_height);
    }
}

/// Tells the pane of clicks, and of the node that has the focus.
fn connect(
    button: &gtk::Button,
    node: usize,
    menu: &ContextMenu,
    sender: &ComponentSender<ChainPane>,
) {
    let send = |message: fn(usize) -> ChainInput| {
        let input = sender.input_sender().clone();
        move || {
            // A closed pane hears nothing.
            let _ = input.send(message(node));
        }
    };
    let activated = send(ChainInput::NodeActivated);
    button.connect_clicked(move |_| activated());
    menu::connect(button, node, menu, sender);
    let focused = send(ChainInput::NodeFocused);
    button.connect_has_focus_notify(move |button| {
        if button.has_focus() {
            focused();
        }
    });
}
