//! The partition strip with borders that can be dragged.
//!
//! Dragging a border resizes the partition, dragging what lies between moves it; while it lasts, a
//! frame shows where it would lie and a bubble says so in numbers. The handles of the selected
//! partition take the focus: arrow keys go by the alignment, with Ctrl or by page in larger steps,
//! Home and End as far as there is room. On a segment, Ctrl and an arrow move all of it.
//! Escape gives a drag up. Where borders may lie is [`platter::plot::strip`].

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use platter::plot::strip::{Grip, Limits, Strip};
use relm4::gtk::{self, gdk, glib, prelude::*};

use super::partition_bar::{Over, PartitionBar, Segment};
use crate::a11y;
use crate::format;
use crate::i18n::{fill, gettext};

/// How near a border the pointer takes hold of it, in pixels.
const REACH: f64 = 7.0;
/// How far the pointer goes before it drags, in pixels.
const THRESHOLD: f64 = 6.0;
/// Width of a handle in pixels.
const HANDLE: i32 = 12;
/// Room for the bubble above the strip, in pixels.
const BUBBLE_HEIGHT: i32 = 34;
/// Least width of a partition that is dragged, in pixels, and of what is seen of one that passes the
/// end of the strip.
const LEAST_GHOST: i32 = 4;
const LEAST_PASSING: i32 = 28;
/// Steps of the alignment that a coarse key press goes.
const COARSE: u64 = 64;

/// A stretch of the disk in the strip.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EditorSegment {
    /// How it looks.
    pub(crate) look: Segment,
    /// Its bytes.
    pub(crate) range: Range<u64>,
    /// How it may lie; `None` for what cannot be moved or resized.
    pub(crate) limits: Option<Limits>,
}

/// What the user did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StripOutput {
    /// Selected this segment.
    Selected(usize),
    /// Gave this segment other bytes.
    Changed(usize, Range<u64>),
    /// Asked what can be done with this segment, at this place of the strip.
    MenuRequested(usize, (f64, f64)),
}

/// The strip.
#[derive(Clone)]
pub(crate) struct StripEditor(Rc<Inner>);

struct Inner {
    root: gtk::Overlay,
    bar: RefCell<PartitionBar>,
    bubble: gtk::Label,
    ghost: gtk::Box,
    /// In the ghost: it goes on behind the end of the strip.
    onwards: gtk::Image,
    /// Of the first byte, and of the end.
    handles: [gtk::Button; 2],
    state: RefCell<State>,
    output: Box<dyn Fn(StripOutput)>,
}

#[derive(Default)]
struct State {
    segments: Vec<EditorSegment>,
    selected: Option<usize>,
    drag: Option<Drag>,
}

/// A drag on its way.
#[derive(Clone, Debug)]
struct Drag {
    segment: usize,
    grip: Grip,
    /// The strip as it was drawn when the drag began.
    strip: Strip,
    /// Where it began, in pixels from the strip's start.
    from: f64,
    /// Where the partition would lie, once the pointer has gone far enough.
    now: Option<Range<u64>>,
}

impl StripEditor {
    /// An empty strip called `name`.
    pub(crate) fn new(name: &str, output: impl Fn(StripOutput) + 'static) -> Self {
        let output = Rc::new(output);
        let clicked = Rc::clone(&output);
        let bar = PartitionBar::new(name, move |segment| clicked(StripOutput::Selected(segment)));
        bar.root().add_css_class("tall");
        let ghost = gtk::Box::builder()
            .css_classes(["strip-ghost"])
            .can_target(false)
            .visible(false)
            .build();
        let onwards = gtk::Image::builder()
            .icon_name("go-next-symbolic")
            .halign(gtk::Align::End)
            .hexpand(true)
            .margin_end(4)
            .visible(false)
            .build();
        ghost.append(&onwards);
        bar.lay_over(&ghost);
        let handles = [(); 2].map(|()| handle());
        for handle in &handles {
            bar.lay_over(handle);
        }
        let spacer = gtk::Box::builder().height_request(BUBBLE_HEIGHT).build();
        let column = gtk::Box::new(gtk::Orientation::Vertical, 0);
        column.append(&spacer);
        column.append(bar.root());
        let bubble = gtk::Label::builder()
            .halign(gtk::Align::Start)
            .valign(gtk::Align::Start)
            .css_classes(["strip-bubble"])
            .can_target(false)
            .visible(false)
            .build();
        let root = gtk::Overlay::builder().child(&column).build();
        root.add_overlay(&bubble);
        let editor = Self(Rc::new(Inner {
            root,
            bar: RefCell::new(bar),
            bubble,
            ghost,
            onwards,
            handles,
            state: RefCell::default(),
            output: Box::new(move |said| output(said)),
        }));
        editor.connect_drag();
        editor.connect_keys();
        editor.connect_menu();
        editor
    }

    pub(crate) fn root(&self) -> &gtk::Overlay {
        &self.0.root
    }

    /// Shows these segments.
    pub(crate) fn show(&self, segments: Vec<EditorSegment>) {
        let looks = segments.iter().map(|segment| segment.look.clone());
        self.0.bar.borrow_mut().show(looks.collect());
        let mut state = self.0.state.borrow_mut();
        state.segments = segments;
        state.drag = None;
        drop(state);
        self.end_drag();
    }

    /// Marks one segment, or none.
    pub(crate) fn select(&self, selected: Option<usize>) {
        self.0.bar.borrow().select(selected);
        self.0.state.borrow_mut().selected = selected;
        self.place_handles();
    }

    fn strip(&self) -> Strip {
        let state = self.0.state.borrow();
        let ranges = state.segments.iter().map(|segment| segment.range.clone());
        self.0.bar.borrow().strip(ranges.collect())
    }

    /// Pixels from the strip's start, which is right where text runs that way.
    fn mirrored(&self, x: f64) -> f64 {
        let bar = self.0.bar.borrow();
        if bar.root().direction() == gtk::TextDirection::Rtl {
            f64::from(bar.root().width()) - x
        } else {
            x
        }
    }

    fn connect_drag(&self) {
        let drag = gtk::GestureDrag::builder()
            .propagation_phase(gtk::PropagationPhase::Capture)
            .button(gdk::BUTTON_PRIMARY)
            .build();
        let editor = self.clone();
        drag.connect_drag_begin(move |_, x, _| editor.begin_drag(x));
        let editor = self.clone();
        drag.connect_drag_update(move |gesture, dx, _| {
            if let Some((x, _)) = gesture.start_point()
                && editor.drag_to(x + dx, dx.abs())
            {
                // From now on it is no click.
                gesture.set_state(gtk::EventSequenceState::Claimed);
            }
        });
        let editor = self.clone();
        drag.connect_drag_end(move |_, _, _| editor.drop_dragged());
        let bar = self.0.bar.borrow();
        bar.root().add_controller(drag);
        let motion = gtk::EventControllerMotion::new();
        let editor = self.clone();
        motion.connect_motion(move |_, x, _| editor.show_cursor(x));
        bar.root().add_controller(motion);
    }

    fn begin_drag(&self, x: f64) {
        let x = self.mirrored(x);
        let strip = self.strip();
        let found = self.grip_at(&strip, x);
        self.0.state.borrow_mut().drag = found.map(|(segment, grip)| Drag {
            segment,
            grip,
            strip,
            from: x,
            now: None,
        });
    }

    /// The borders of the selected partition come before what lies beside them.
    fn grip_at(&self, strip: &Strip, x: f64) -> Option<(usize, Grip)> {
        let state = self.0.state.borrow();
        let selected = state.selected.and_then(|selected| {
            let grip = strip.grip_at(selected, x, REACH)?;
            (grip != Grip::Whole).then_some((selected, grip))
        });
        let (segment, grip) = selected.or_else(|| {
            let segment = strip.segment_at(x)?;
            Some((segment, strip.grip_at(segment, x, REACH)?))
        })?;
        state.segments.get(segment)?.limits.as_ref()?;
        Some((segment, grip))
    }

    /// Answers whether it is a drag by now.
    fn drag_to(&self, x: f64, distance: f64) -> bool {
        let x = self.mirrored(x);
        let mut state = self.0.state.borrow_mut();
        let State { segments, drag, .. } = &mut *state;
        let Some(drag) = drag else { return false };
        if drag.now.is_none() && distance < THRESHOLD {
            return false;
        }
        let Some((segment, limits)) = segments.get(drag.segment).and_then(|segment| {
            let limits = segment.limits.as_ref()?;
            Some((segment, limits))
        }) else {
            return false;
        };
        let now = limits.dragged(
            &segment.range,
            drag.grip,
            drag.strip.byte_at(drag.from),
            drag.strip.byte_at(x),
            drag.strip.step(limits.alignment),
        );
        drag.now = Some(now.clone());
        let (start, end) = (drag.strip.pixel_of(now.start), drag.strip.pixel_of(now.end));
        let grip = drag.grip;
        let (place, passes_end) = ghost(pixels(start)..pixels(end), drag.strip.width());
        let text = numbers(&segment.range, &now, limits);
        drop(state);
        self.show_passing(passes_end);
        let place = Over::Pixels(place);
        self.0.bar.borrow().place_over(&self.0.ghost, Some(place));
        self.show_bubble(&text, if grip == Grip::Start { start } else { end });
        true
    }

    /// Draws the ghost as one that ends in the strip, or that goes on behind it.
    fn show_passing(&self, passes_end: bool) {
        self.0.onwards.set_visible(passes_end);
        if passes_end {
            self.0.ghost.add_css_class("passes-end");
        } else {
            self.0.ghost.remove_css_class("passes-end");
        }
    }

    fn drop_dragged(&self) {
        let drag = self.0.state.borrow_mut().drag.take();
        self.end_drag();
        if let Some(Drag {
            segment,
            now: Some(now),
            ..
        }) = drag
        {
            let was = self
                .0
                .state
                .borrow()
                .segments
                .get(segment)
                .map(|it| it.range.clone());
            if was.as_ref() != Some(&now) {
                (self.0.output)(StripOutput::Changed(segment, now));
            }
        }
    }

    fn end_drag(&self) {
        self.0.bar.borrow().place_over(&self.0.ghost, None);
        self.0.bubble.set_visible(false);
        self.place_handles();
    }

    fn show_cursor(&self, x: f64) {
        let grip = self.grip_at(&self.strip(), self.mirrored(x));
        let cursor = match grip {
            Some((_, Grip::Start | Grip::End)) => Some("ew-resize"),
            Some((_, Grip::Whole)) => Some("grab"),
            None => None,
        };
        self.0.bar.borrow().root().set_cursor_from_name(cursor);
    }

    fn show_bubble(&self, text: &str, at: f64) {
        let bubble = &self.0.bubble;
        bubble.set_label(text);
        bubble.set_visible(true);
        let (_, width, ..) = bubble.measure(gtk::Orientation::Horizontal, -1);
        let most = (self.0.root.width() - width).max(0);
        bubble.set_margin_start((pixels(at) - width / 2).clamp(0, most));
    }

    /// The handles are on the borders of the selected partition.
    fn place_handles(&self) {
        let state = self.0.state.borrow();
        let selected = state.selected.and_then(|index| {
            let segment = state.segments.get(index)?;
            let limits = segment.limits.clone()?;
            Some((index, segment.clone(), limits))
        });
        drop(state);
        let bar = self.0.bar.borrow();
        let Some((index, segment, limits)) = selected else {
            for handle in &self.0.handles {
                bar.place_over(handle, None);
            }
            return;
        };
        let titles = [
            gettext("Start of {partition}"),
            gettext("End of {partition}"),
        ];
        let places = [Over::Start(index, HANDLE), Over::End(index, HANDLE)];
        for ((handle, place), title) in self.0.handles.iter().zip(places).zip(titles) {
            let title = fill(&title, &[("partition", &segment.look.title)]);
            a11y::name(handle, &title);
            a11y::describe(handle, &numbers(&segment.range, &segment.range, &limits));
            bar.place_over(handle, Some(place));
        }
    }

    fn connect_keys(&self) {
        for (handle, grip) in self.0.handles.iter().zip([Grip::Start, Grip::End]) {
            let keys = gtk::EventControllerKey::new();
            let editor = self.clone();
            keys.connect_key_pressed(move |_, key, _, modifiers| editor.key(grip, key, modifiers));
            handle.add_controller(keys);
        }
        // On a segment itself, plain arrows go to its neighbour; with Ctrl they move the selected one.
        let keys = gtk::EventControllerKey::new();
        let editor = self.clone();
        keys.connect_key_pressed(move |_, key, _, modifiers| {
            let moves = modifiers.contains(gdk::ModifierType::CONTROL_MASK)
                && matches!(key, gdk::Key::Left | gdk::Key::Right);
            if moves {
                let coarse = modifiers & gdk::ModifierType::SHIFT_MASK;
                let coarse = if coarse.is_empty() {
                    gdk::ModifierType::empty()
                } else {
                    gdk::ModifierType::CONTROL_MASK
                };
                editor.key(Grip::Whole, key, coarse)
            } else {
                glib::Propagation::Proceed
            }
        });
        self.0.bar.borrow().root().add_controller(keys);
        let escape = gtk::EventControllerKey::builder()
            .propagation_phase(gtk::PropagationPhase::Capture)
            .build();
        let editor = self.clone();
        escape.connect_key_pressed(move |_, key, _, _| {
            let dragging = editor.0.state.borrow_mut().drag.take();
            if key != gdk::Key::Escape || dragging.is_none() {
                editor.0.state.borrow_mut().drag = dragging;
                return glib::Propagation::Proceed;
            }
            editor.end_drag();
            glib::Propagation::Stop
        });
        self.0.root.add_controller(escape);
    }

    fn key(&self, grip: Grip, key: gdk::Key, modifiers: gdk::ModifierType) -> glib::Propagation {
        let mirrored = self.0.root.direction() == gtk::TextDirection::Rtl;
        let Some(step) = Step::of(key, modifiers, mirrored) else {
            return glib::Propagation::Proceed;
        };
        let state = self.0.state.borrow();
        let changed = state.selected.and_then(|index| {
            let segment = state.segments.get(index)?;
            let limits = segment.limits.as_ref()?;
            let now = stepped(&segment.range, limits, grip, step);
            (now != segment.range).then_some((index, now))
        });
        drop(state);
        if let Some((index, now)) = changed {
            (self.0.output)(StripOutput::Changed(index, now));
        }
        glib::Propagation::Stop
    }

    fn connect_menu(&self) {
        let click = gtk::GestureClick::builder()
            .propagation_phase(gtk::PropagationPhase::Capture)
            .button(gdk::BUTTON_SECONDARY)
            .build();
        let editor = self.clone();
        // Not while it is pressed: the menu would take the release for its own.
        click.connect_released(move |gesture, _, x, y| {
            gesture.set_state(gtk::EventSequenceState::Claimed);
            if let Some(segment) = editor.strip().segment_at(editor.mirrored(x)) {
                (editor.0.output)(StripOutput::MenuRequested(segment, (x, y)));
            }
        });
        self.0.bar.borrow().root().add_controller(click);
    }

    /// The widget that places of [`StripOutput::MenuRequested`] are relative to.
    pub(crate) fn bar_widget(&self) -> gtk::Widget {
        self.0.bar.borrow().root().clone().upcast()
    }
}

/// How far a key goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// So many times the alignment.
    Units { forwards: bool, count: u64 },
    /// As far as there is room.
    ToEnd { forwards: bool },
}

impl Step {
    fn of(key: gdk::Key, modifiers: gdk::ModifierType, mirrored: bool) -> Option<Self> {
        let is_coarse = modifiers.contains(gdk::ModifierType::CONTROL_MASK);
        let units = |forwards, coarse| Self::Units {
            forwards,
            count: if coarse { COARSE } else { 1 },
        };
        Some(match key {
            gdk::Key::Right => units(!mirrored, is_coarse),
            gdk::Key::Left => units(mirrored, is_coarse),
            gdk::Key::Up => units(true, is_coarse),
            gdk::Key::Down => units(false, is_coarse),
            gdk::Key::Page_Up if !is_coarse => units(true, true),
            gdk::Key::Page_Down if !is_coarse => units(false, true),
            gdk::Key::Home => Self::ToEnd { forwards: false },
            gdk::Key::End => Self::ToEnd { forwards: true },
            _ => return None,
        })
    }
}

/// Where `range` lies after a key. Nothing attracts: the next key press would not get away.
fn stepped(range: &Range<u64>, limits: &Limits, grip: Grip, step: Step) -> Range<u64> {
    let border = match grip {
        Grip::Start | Grip::Whole => range.start,
        Grip::End => range.end,
    };
    let length = range.end - range.start;
    let wanted = match step {
        Step::Units { forwards, count } => {
            let distance = limits.alignment.saturating_mul(count);
            if forwards {
                border.saturating_add(distance)
            } else {
                border.saturating_sub(distance)
            }
        }
        Step::ToEnd { forwards: false } => 0,
        Step::ToEnd { forwards: true } => match grip {
            Grip::Start => range.end,
            Grip::End => limits.room.end,
            Grip::Whole => limits.room.end.saturating_sub(length),
        },
    };
    match grip {
        Grip::Start => limits.with_start(range, wanted, 0),
        Grip::End => limits.with_end(range, wanted, 0),
        Grip::Whole => limits.placed(range, wanted, 0),
    }
}

fn handle() -> gtk::Button {
    let handle = gtk::Button::builder()
        .css_classes(["strip-handle", "flat"])
        .visible(false)
        .build();
    handle.set_cursor_from_name(Some("ew-resize"));
    handle
}

/// "before 1 GiB · size 38.5 GiB (+8.5 GiB) · after 0 B".
fn numbers(was: &Range<u64>, now: &Range<u64>, limits: &Limits) -> String {
    let (old, new) = (was.end - was.start, now.end - now.start);
    let mut size = format::size(new);
    if new != old {
        let sign = if new > old { '+' } else { '−' };
        size = format!("{size} ({sign}{})", format::size(new.abs_diff(old)));
    }
    let before = format::size(now.start.saturating_sub(limits.room.start));
    let text = if now.end > limits.room.end {
        gettext("before {before} · size {size} · the disk grows by {more}")
    } else {
        gettext("before {before} · size {size} · after {after}")
    };
    let after = format::size(limits.room.end.saturating_sub(now.end));
    let more = format::size(now.end.saturating_sub(limits.room.end));
    fill(
        &text,
        &[
            ("before", &before),
            ("size", &size),
            ("after", &after),
            ("more", &more),
        ],
    )
}

/// What of a partition at these pixels is drawn in a strip of `width` pixels, and whether it goes on
/// behind its end. There some of it is seen even when all of it lies there.
fn ghost(place: Range<i32>, width: u32) -> (Range<i32>, bool) {
    let width = i32::try_from(width).unwrap_or(i32::MAX);
    if place.end <= width {
        return (place.start..place.end.max(place.start + LEAST_GHOST), false);
    }
    let seen = place.start.min(width - LEAST_PASSING).max(0);
    (seen..width, true)
}

fn pixels(x: f64) -> i32 {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "saturates; pixels of a window"
    )]
    let x = x.round() as i32;
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_by_the_alignment_and_to_the_ends() {
        const MIB: u64 = 1 << 20;
        let limits = Limits {
            room: 10 * MIB..100 * MIB,
            open_end: false,
            least: 5 * MIB,
            alignment: MIB,
        };
        let range = 20 * MIB..40 * MIB;
        let mib = |grip, step| {
            let now = stepped(&range, &limits, grip, step);
            now.start / MIB..now.end / MIB
        };
        let fine = |forwards| Step::Units { forwards, count: 1 };
        let end = |forwards| Step::ToEnd { forwards };
        assert_eq!(mib(Grip::End, fine(true)), 20..41);
        assert_eq!(mib(Grip::Start, fine(false)), 19..40);
        assert_eq!(mib(Grip::Whole, fine(true)), 21..41);
        assert_eq!(mib(Grip::End, end(true)), 20..100);
        assert_eq!(mib(Grip::End, end(false)), 20..25);
        assert_eq!(mib(Grip::Start, end(false)), 10..40);
        assert_eq!(mib(Grip::Start, end(true)), 35..40);
        assert_eq!(mib(Grip::Whole, end(true)), 80..100);
        assert_eq!(mib(Grip::Whole, end(false)), 10..30);
    }

    #[test]
    fn a_ghost_ends_with_the_strip() {
        assert_eq!(ghost(10..90, 100), (10..90, false));
        assert_eq!(ghost(10..11, 100), (10..14, false));
        assert_eq!(ghost(10..100, 100), (10..100, false));
        assert_eq!(ghost(10..140, 100), (10..100, true));
        assert_eq!(ghost(130..140, 100), (72..100, true));
        assert_eq!(ghost(0..2, 1), (0..1, true));
    }

    #[test]
    fn the_bubble_says_three_numbers() {
        const GIB: u64 = 1 << 30;
        let limits = Limits {
            room: GIB..8 * GIB,
            open_end: true,
            least: 0,
            alignment: 1 << 20,
        };
        let said = |now| numbers(&(2 * GIB..4 * GIB), &now, &limits).replace('\u{a0}', " ");
        assert_eq!(
            said(2 * GIB..4 * GIB),
            "before 1 GiB · size 2 GiB · after 4 GiB"
        );
        assert_eq!(
            said(2 * GIB..6 * GIB),
            "before 1 GiB · size 4 GiB (+2 GiB) · after 2 GiB"
        );
        assert_eq!(
            said(7 * GIB..9 * GIB),
            "before 6 GiB · size 2 GiB · the disk grows by 1 GiB"
        );
    }
}
