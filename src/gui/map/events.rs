//! Pointer, wheel and keys of the pane, turned into messages.

use std::cell::Cell;
use std::rc::Rc;

use relm4::adw;
use relm4::gtk::{self, gdk, glib, prelude::*};
use relm4::prelude::*;

use super::{MapInput, MapPane, MapPaneWidgets};
use crate::widgets::map_canvas::MapCanvas;
use crate::widgets::map_strip::MapStrip;

/// The pointer moves at least so far before a click becomes a drag.
const DRAG_THRESHOLD: f64 = 4.0;

/// Connects all of the pane's widgets.
pub(super) fn connect(
    model: &MapPane,
    widgets: &MapPaneWidgets,
    sender: &ComponentSender<MapPane>,
) {
    connect_pointer(&model.canvas, sender);
    connect_wheel(&model.canvas, sender);
    connect_keys(&model.canvas, sender);
    connect_strip(&model.strip, sender);
    let input = sender.input_sender().clone();
    widgets
        .scroller
        .hadjustment()
        .connect_page_size_notify(move |adjustment| {
            input.emit(MapInput::PaneResized(adjustment.page_size()));
        });
    let manager = adw::StyleManager::default();
    let input = sender.input_sender().clone();
    manager.connect_dark_notify(move |_| input.emit(MapInput::LookChanged));
    let input = sender.input_sender().clone();
    manager.connect_high_contrast_notify(move |_| input.emit(MapInput::LookChanged));
    let input = sender.input_sender().clone();
    model
        .canvas
        .connect_scale_factor_notify(move |_| input.emit(MapInput::LookChanged));
    let input = sender.input_sender().clone();
    model
        .canvas
        .connect_direction_changed(move |_, _| input.emit(MapInput::LookChanged));
}

fn connect_pointer(canvas: &MapCanvas, sender: &ComponentSender<MapPane>) {
    let motion = gtk::EventControllerMotion::new();
    let input = sender.input_sender().clone();
    motion.connect_motion(move |_, x, y| {
        input.emit(MapInput::Pointed(Some((pixel(x), pixel(y)))));
    });
    let input = sender.input_sender().clone();
    motion.connect_leave(move |_| input.emit(MapInput::Pointed(None)));
    canvas.add_controller(motion);

    let drag = gtk::GestureDrag::new();
    // How far the picture has been moved by this drag; none before it is one.
    let moved: Rc<Cell<Option<(i64, i64)>>> = Rc::default();
    let started = Rc::clone(&moved);
    drag.connect_drag_begin(move |drag, _, _| {
        started.set(None);
        if let Some(widget) = drag.widget() {
            widget.grab_focus();
        }
    });
    let dragged = Rc::clone(&moved);
    let input = sender.input_sender().clone();
    drag.connect_drag_update(move |_, x, y| {
        let before = dragged.get();
        if before.is_none() && x.hypot(y) < DRAG_THRESHOLD {
            return;
        }
        let before = before.unwrap_or_default();
        let now = (pixel(x), pixel(y));
        dragged.set(Some(now));
        input.emit(MapInput::Pan(now.0 - before.0, now.1 - before.1));
    });
    let input = sender.input_sender().clone();
    drag.connect_drag_end(move |drag, _, _| {
        if moved.get().is_none()
            && let Some((x, y)) = drag.start_point()
        {
            input.emit(MapInput::Clicked(pixel(x), pixel(y)));
        }
    });
    canvas.add_controller(drag);
}

/// The wheel zooms at the pointer, with Ctrl as without.
fn connect_wheel(canvas: &MapCanvas, sender: &ComponentSender<MapPane>) {
    let pointer = Rc::new(Cell::new((0, 0)));
    let motion = gtk::EventControllerMotion::new();
    let moved = Rc::clone(&pointer);
    motion.connect_motion(move |_, x, y| moved.set((pixel(x), pixel(y))));
    canvas.add_controller(motion);

    let wheel = gtk::EventControllerScroll::new(gtk::EventControllerScrollFlags::VERTICAL);
    // Touchpads scroll in parts of a step.
    let turned = Cell::new(0.0);
    let input = sender.input_sender().clone();
    wheel.connect_scroll(move |_, _, dy| {
        let sum = turned.get() - dy;
        let steps = sum.trunc();
        turned.set(sum - steps);
        #[allow(clippy::cast_possible_truncation, reason = "a few steps")]
        let steps = steps as i32;
        if steps != 0 {
            input.emit(MapInput::Zoom(steps, Some(pointer.get())));
        }
        glib::Propagation::Stop
    });
    canvas.add_controller(wheel);
}

fn connect_keys(canvas: &MapCanvas, sender: &ComponentSender<MapPane>) {
    let keys = gtk::EventControllerKey::new();
    let input = sender.input_sender().clone();
    keys.connect_key_pressed(move |_, key, _, state| {
        let modified = gdk::ModifierType::CONTROL_MASK | gdk::ModifierType::ALT_MASK;
        let message = if state.intersects(modified) {
            None
        } else {
            message_for(key)
        };
        match message {
            Some(message) => {
                input.emit(message);
                glib::Propagation::Stop
            }
            None => glib::Propagation::Proceed,
        }
    });
    canvas.add_controller(keys);
}

fn message_for(key: gdk::Key) -> Option<MapInput> {
    use gdk::Key;
    Some(match key {
        Key::plus | Key::equal | Key::KP_Add => MapInput::Zoom(1, None),
        Key::minus | Key::KP_Subtract => MapInput::Zoom(-1, None),
        Key::_0 | Key::KP_0 => MapInput::Fit,
        Key::Left | Key::KP_Left => MapInput::Step(-1, 0),
        Key::Right | Key::KP_Right => MapInput::Step(1, 0),
        Key::Up | Key::KP_Up => MapInput::Step(0, -1),
        Key::Down | Key::KP_Down => MapInput::Step(0, 1),
        Key::Page_Up | Key::KP_Page_Up => MapInput::Page(-1),
        Key::Page_Down | Key::KP_Page_Down => MapInput::Page(1),
        Key::Home | Key::KP_Home => MapInput::Edge(true),
        Key::End | Key::KP_End => MapInput::Edge(false),
        Key::Return | Key::KP_Enter | Key::space => MapInput::Select,
        Key::n => MapInput::Difference(true),
        Key::p => MapInput::Difference(false),
        Key::Escape => MapInput::Unselect,
        _ => return None,
    })
}

fn connect_strip(strip: &MapStrip, sender: &ComponentSender<MapPane>) {
    let drag = gtk::GestureDrag::new();
    let input = sender.input_sender().clone();
    let point = Rc::new(move |drag: &gtk::GestureDrag, x: f64| {
        let width = drag.widget().map_or(1, |widget| widget.width().max(1));
        input.emit(MapInput::StripPointed(x / f64::from(width)));
    });
    let pressed = Rc::clone(&point);
    drag.connect_drag_begin(move |drag, x, _| pressed(drag, x));
    drag.connect_drag_update(move |drag, dx, _| {
        if let Some((x, _)) = drag.start_point() {
            point(drag, x + dx);
        }
    });
    strip.add_controller(drag);
}

#[allow(clippy::cast_possible_truncation, reason = "positions on a screen")]
fn pixel(position: f64) -> i64 {
    position.floor() as i64
}
