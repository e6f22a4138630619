//! The picture of a family of images: real, focusable widgets for the nodes over painted edges.

use std::cell::RefCell;
use std::rc::Rc;

use platter::plot::chain::{ChainLayout, Direction};
use relm4::gtk::{self, cairo, gdk, glib, prelude::*};

/// How an edge is painted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EdgeStyle {
    /// In pixels.
    pub(crate) width: f64,
    /// The overlay, or what it stands on, is part of the open image's chain.
    pub(crate) strong: bool,
    /// What it leads to is not there.
    pub(crate) broken: bool,
}

/// What is on the canvas.
#[derive(Debug, Default)]
struct Scene {
    layout: ChainLayout,
    /// One style an edge of the layout.
    edges: Vec<EdgeStyle>,
    /// One widget a node of the layout.
    nodes: Vec<gtk::Widget>,
}

/// A scrolling canvas.
#[derive(Debug)]
pub(crate) struct ChainCanvas {
    root: gtk::ScrolledWindow,
    drawing: gtk::DrawingArea,
    places: gtk::Fixed,
    scene: Rc<RefCell<Scene>>,
}

impl ChainCanvas {
    /// An empty canvas.
    pub(crate) fn new() -> Self {
        let scene = Rc::new(RefCell::new(Scene::default()));
        let drawing = gtk::DrawingArea::builder()
            .accessible_role(gtk::AccessibleRole::Presentation)
            .build();
        let places = gtk::Fixed::new();
        let overlay = gtk::Overlay::builder()
            .child(&drawing)
            .halign(gtk::Align::Start)
            .valign(gtk::Align::Start)
            .build();
        overlay.add_overlay(&places);
        let root = gtk::ScrolledWindow::builder()
            .hexpand(true)
            .vexpand(true)
            .css_classes(["chain-canvas"])
            .child(&overlay)
            .build();
        drawing.set_draw_func(glib::clone!(
            #[strong]
            scene,
            move |area, context, _, _| {
                let colours = Colours::of(area);
                // Nothing can be said to anyone in a draw function; a failed stroke is not drawn.
                let _ = paint(context, &scene.borrow(), &colours);
            }
        ));
        let canvas = Self {
            root,
            drawing,
            places,
            scene,
        };
        canvas.connect_arrow_keys();
        canvas
    }

    /// The widget to put into a window.
    pub(crate) fn widget(&self) -> &gtk::ScrolledWindow {
        &self.root
    }

    /// Puts the widgets of the nodes up, to be arranged by [`Self::arrange`].
    pub(crate) fn put(&self, nodes: Vec<gtk::Widget>) {
        for node in &nodes {
            self.places.put(node, 0.0, 0.0);
        }
        self.scene.borrow_mut().nodes = nodes;
    }

    /// Width in pixels that can be seen; 0 while it is not shown.
    pub(crate) fn visible_width(&self) -> f64 {
        self.root.hadjustment().page_size()
    }

    /// Height that the tallest of the nodes wants when it is `width` wide.
    pub(crate) fn node_height(&self, width: i32) -> i32 {
        let heights = self.nodes().into_iter().map(|node| {
            node.set_size_request(width, -1);
            node.measure(gtk::Orientation::Vertical, width).1
        });
        heights.max().unwrap_or(0)
    }

    /// Gives the nodes their places and draws the edges.
    pub(crate) fn arrange(&self, layout: ChainLayout, edges: Vec<EdgeStyle>, height: i32) {
        for (node, place) in self.nodes().iter().zip(&layout.places) {
            node.set_size_request(floor(place.width), height);
            self.places.move_(node, place.x, place.y);
        }
        self.drawing.set_content_width(pixels(layout.width));
        self.drawing.set_content_height(pixels(layout.height));
        let mut scene = self.scene.borrow_mut();
        scene.layout = layout;
        scene.edges = edges;
        drop(scene);
        self.drawing.queue_draw();
    }

    fn nodes(&self) -> Vec<gtk::Widget> {
        self.scene.borrow().nodes.clone()
    }

    /// Takes everything off. Tells which node had the keyboard focus, so that it can be given to
    /// what is shown next.
    pub(crate) fn clear(&self) -> Option<usize> {
        let scene = self.scene.take();
        let focused = scene.nodes.iter().position(WidgetExt::is_focus);
        // GTK 4.8 stumbles over the focus of a widget that loses its parent.
        if let Some(window) = self.root.root().filter(|_| focused.is_some()) {
            window.set_focus(None::<&gtk::Widget>);
        }
        for node in scene.nodes {
            self.places.remove(&node);
        }
        self.drawing.queue_draw();
        focused
    }

    /// Gives the keyboard focus to a node.
    pub(crate) fn focus(&self, node: usize) {
        let node = self.scene.borrow().nodes.get(node).cloned();
        if let Some(node) = node {
            node.grab_focus();
        }
    }

    /// Paints the edges again, in the colours of now.
    pub(crate) fn repaint(&self) {
        self.drawing.queue_draw();
    }

    /// Arrow keys follow the picture, not the order of the widgets.
    fn connect_arrow_keys(&self) {
        let keys = gtk::EventControllerKey::new();
        keys.set_propagation_phase(gtk::PropagationPhase::Capture);
        keys.connect_key_pressed(glib::clone!(
            #[strong(rename_to = scene)]
            self.scene,
            move |_, key, _, modifiers| {
                let plain = !modifiers
                    .intersects(gdk::ModifierType::CONTROL_MASK | gdk::ModifierType::ALT_MASK);
                let Some(direction) = direction_of(key).filter(|_| plain) else {
                    return glib::Propagation::Proceed;
                };
                let target = {
                    let scene = scene.borrow();
                    let focused = scene.nodes.iter().position(WidgetExt::is_focus);
                    let next = focused.and_then(|node| scene.layout.neighbour(node, direction));
                    next.and_then(|node| scene.nodes.get(node).cloned())
                };
                match target {
                    Some(node) => {
                        node.grab_focus();
                        glib::Propagation::Stop
                    }
                    None => glib::Propagation::Proceed,
                }
            }
        ));
        self.places.add_controller(keys);
    }
}

fn direction_of(key: gdk::Key) -> Option<Direction> {
    Some(match key {
        gdk::Key::Left | gdk::Key::KP_Left => Direction::Left,
        gdk::Key::Right | gdk::Key::KP_Right => Direction::Right,
        gdk::Key::Up | gdk::Key::KP_Up => Direction::Up,
        gdk::Key::Down | gdk::Key::KP_Down => Direction::Down,
        _ => return None,
    })
}

/// The theme's colours for the edges.
struct Colours {
    accent: gdk::RGBA,
    error: gdk::RGBA,
}

impl Colours {
    fn of(widget: &impl IsA<gtk::Widget>) -> Self {
        let style = widget.style_context();
        let text = style.color();
        let named = |name| style.lookup_color(name).unwrap_or(text);
        Self {
            accent: named("accent_color"),
            error: named("error_color"),
        }
    }
}

fn paint(context: &cairo::Context, scene: &Scene, colours: &Colours) -> Result<(), cairo::Error> {
    for (edge, style) in scene.layout.edges.iter().zip(&scene.edges) {
        let colour = if style.broken {
            colours.error
        } else {
            colours.accent
        };
        let alpha = if style.strong || style.broken {
            1.0
        } else {
            0.5
        };
        set_colour(context, colour, alpha);
        context.set_line_width(style.width);
        context.set_dash(if style.broken { &[6.0, 5.0] } else { &[] }, 0.0);
        let [start, first, second, end] = edge.curve;
        context.move_to(start.0, start.1);
        context.curve_to(first.0, first.1, second.0, second.1, end.0, end.1);
        context.stroke()?;
    }
    Ok(())
}

fn set_colour(context: &cairo::Context, colour: gdk::RGBA, alpha: f64) {
    let [red, green, blue, own] =
        [colour.red(), colour.green(), colour.blue(), colour.alpha()].map(f64::from);
    context.set_source_rgba(red, green, blue, own * alpha);
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a picture's size, rounded up and clamped"
)]
fn pixels(size: f64) -> i32 {
    size.ceil().clamp(0.0, 1e6) as i32
}

/// What fits into `size`.
fn floor(size: f64) -> i32 {
    pixels(size.floor())
}
