//! The disk as a bar of segments. Each segment is a button: it takes the focus, has a name and a
//! tooltip, and a screen reader sees it.

use std::ops::Range;
use std::rc::Rc;

use platter::plot::strip::Strip;

use relm4::gtk::{self, glib, pango, prelude::*, subclass::prelude::*};

use super::columns::visible_children;
use super::fill;
use crate::a11y;

/// No segment is narrower, as long as there is room.
const LEAST_WIDTH: u32 = 56;
const GAP: u32 = 3;

/// A stretch of the bar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    /// Its length, in whatever unit all have.
    pub(crate) size: u64,
    /// One of the style sheets' partition colours; without, it is drawn as free space.
    pub(crate) colour: Option<usize>,
    /// The first line, bold.
    pub(crate) title: String,
    /// More lines.
    pub(crate) lines: Vec<String>,
    /// How full it is, 0 to 1.
    pub(crate) fill: Option<f64>,
    /// All of it in words, for the tooltip and for screen readers.
    pub(crate) description: String,
}

/// Where a widget over the segments is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Over {
    /// At these pixels from the bar's start.
    Pixels(Range<i32>),
    /// At the start of a segment, so many pixels wide.
    Start(usize, i32),
    /// At the end of a segment, so many pixels wide.
    End(usize, i32),
}

/// The bar.
pub(crate) struct PartitionBar {
    root: gtk::Box,
    layout: BarLayout,
    buttons: Vec<gtk::ToggleButton>,
    shown: Vec<Segment>,
    activate: Rc<dyn Fn(usize)>,
}

impl PartitionBar {
    /// An empty bar called `name`; `activate` gets the index of a segment that was clicked.
    pub(crate) fn new(name: &str, activate: impl Fn(usize) + 'static) -> Self {
        let layout: BarLayout = glib::Object::new();
        let root = gtk::Box::builder()
            .accessible_role(gtk::AccessibleRole::Group)
            .css_classes(["partition-bar"])
            .overflow(gtk::Overflow::Hidden)
            .build();
        root.set_layout_manager(Some(layout.clone()));
        a11y::name(&root, name);
        Self {
            root,
            layout,
            buttons: Vec::new(),
            shown: Vec::new(),
            activate: Rc::new(activate),
        }
    }

    pub(crate) fn root(&self) -> &gtk::Box {
        &self.root
    }

    /// Shows these segments, none selected. A button keeps the focus as long as there are as many
    /// segments.
    pub(crate) fn show(&mut self, segments: Vec<Segment>) {
        if self.shown == segments {
            return;
        }
        let sizes = segments.iter().map(|segment| segment.size).collect();
        self.layout.imp().sizes.replace(sizes);
        for button in self.buttons.drain(segments.len().min(self.buttons.len())..) {
            self.root.remove(&button);
        }
        for (index, segment) in segments.iter().enumerate() {
            match self.buttons.get(index) {
                Some(button) => fill_button(button, segment),
                None => self.add_button(index, segment),
            }
        }
        self.shown = segments;
        self.root.queue_allocate();
    }

    fn add_button(&mut self, index: usize, segment: &Segment) {
        let button = gtk::ToggleButton::new();
        fill_button(&button, segment);
        let activate = Rc::clone(&self.activate);
        button.connect_clicked(move |_| activate(index));
        // Before what is laid over the segments.
        self.root.insert_child_after(&button, self.buttons.last());
        self.buttons.push(button);
    }

    /// Adds a widget over the segments; [`Self::place_over`] says where.
    pub(crate) fn lay_over(&self, widget: &impl IsA<gtk::Widget>) {
        self.root.append(widget);
        let entry = (widget.clone().upcast(), None);
        self.layout.imp().over.borrow_mut().push(entry);
    }

    /// Says where a widget over the segments is; nowhere, it is not shown.
    pub(crate) fn place_over(&self, widget: &impl IsA<gtk::Widget>, place: Option<Over>) {
        widget.set_visible(place.is_some());
        let mut over = self.layout.imp().over.borrow_mut();
        if let Some((_, known)) = over.iter_mut().find(|(over, _)| over == widget.as_ref()) {
            *known = place;
        }
        drop(over);
        self.root.queue_allocate();
    }

    /// How the bar is drawn in its width, when the segments stand for these bytes.
    pub(crate) fn strip(&self, bytes: Vec<Range<u64>>) -> Strip {
        let width = u32::try_from(self.root.width()).unwrap_or(0);
        Strip::new(bytes, width, LEAST_WIDTH, GAP)
    }

    /// Marks one segment, or none.
    pub(crate) fn select(&self, selected: Option<usize>) {
        for (index, button) in self.buttons.iter().enumerate() {
            button.set_active(Some(index) == selected);
        }
    }
}

fn fill_button(button: &gtk::ToggleButton, segment: &Segment) {
    let text = gtk::Box::builder()
        .orientation(gtk::Orientation::Vertical)
        .valign(gtk::Align::Center)
        .css_classes(["segment-text"])
        .build();
    text.append(&line(&segment.title, "heading"));
    for content in &segment.lines {
        text.append(&line(content, "caption"));
    }
    button.set_child(Some(&fill::new(&text, segment.fill.unwrap_or(0.0))));
    button.set_tooltip_text(Some(&format!("{}\n{}", segment.title, segment.description)));
    let colour = match segment.colour {
        Some(colour) => format!("partition-{colour}"),
        None => "unallocated".to_owned(),
    };
    button.set_css_classes(&["segment", &colour]);
    a11y::name(button, &segment.title);
    a11y::describe(button, &segment.description);
}

fn line(text: &str, class: &str) -> gtk::Label {
    gtk::Label::builder()
        .label(text)
        .xalign(0.0)
        .ellipsize(pango::EllipsizeMode::End)
        .css_classes([class])
        .build()
}

mod imp {
    use std::cell::RefCell;

    use platter::plot::bar;

    use super::{GAP, LEAST_WIDTH, Over, glib, gtk, visible_children};
    use gtk::prelude::*;
    use gtk::subclass::prelude::*;

    #[derive(Debug, Default)]
    pub(crate) struct BarLayout {
        pub(super) sizes: RefCell<Vec<u64>>,
        /// What lies over the segments, and where.
        pub(super) over: RefCell<Vec<(gtk::Widget, Option<Over>)>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for BarLayout {
        const NAME: &'static str = "PlatterBarLayout";
        type Type = super::BarLayout;
        type ParentType = gtk::LayoutManager;
    }

    impl ObjectImpl for BarLayout {}

    impl LayoutManagerImpl for BarLayout {
        fn measure(
            &self,
            widget: &gtk::Widget,
            orientation: gtk::Orientation,
            _for_size: i32,
        ) -> (i32, i32, i32, i32) {
            let children = self.segments(widget);
            let sizes = children.iter().map(|child| child.measure(orientation, -1));
            if orientation == gtk::Orientation::Vertical {
                let height = sizes.map(|(_, natural, ..)| natural).max().unwrap_or(0);
                (height, height, -1, -1)
            } else {
                // However many there are: the bar never makes the window wider.
                (0, sizes.map(|(_, natural, ..)| natural).sum(), -1, -1)
            }
        }

        fn allocate(&self, widget: &gtk::Widget, width: i32, height: i32, _baseline: i32) {
            let mirrored = widget.direction() == gtk::TextDirection::Rtl;
            let available = u32::try_from(width).unwrap_or(0);
            let places = bar::layout(&self.sizes.borrow(), available, LEAST_WIDTH, GAP);
            let allocate = |child: &gtk::Widget, start: i32, end: i32| {
                // GTK complains about less than the minimum; the bar clips what is too much.
                let (minimum, ..) = child.measure(gtk::Orientation::Horizontal, height);
                let length = (end - start).max(minimum);
                let x = if mirrored { width - end } else { start };
                child.size_allocate(&gtk::Allocation::new(x, 0, length, height), -1);
            };
            let pixels = |x: u32| i32::try_from(x).unwrap_or(width);
            for (child, place) in self.segments(widget).iter().zip(&places) {
                allocate(child, pixels(place.start), pixels(place.end));
            }
            for (child, over) in &*self.over.borrow() {
                let place = match over {
                    Some(Over::Pixels(place)) => Some(place.clone()),
                    Some(Over::Start(segment, wide)) => places.get(*segment).map(|place| {
                        let start = pixels(place.start);
                        start..start + wide
                    }),
                    Some(Over::End(segment, wide)) => places.get(*segment).map(|place| {
                        let end = pixels(place.end);
                        end - wide..end
                    }),
                    None => None,
                };
                // GTK wants every visible child to have a place.
                let place = place.unwrap_or(-2..-1);
                if child.is_visible() {
                    allocate(child, place.start, place.end);
                }
            }
        }
    }

    impl BarLayout {
        /// The segments, without what lies over them.
        fn segments(&self, widget: &gtk::Widget) -> Vec<gtk::Widget> {
            let mut children = visible_children(widget);
            let over = self.over.borrow();
            children.retain(|child| over.iter().all(|(known, _)| known != child));
            children
        }
    }
}

glib::wrapper! {
    /// Lays out the segments.
    pub(crate) struct BarLayout(ObjectSubclass<imp::BarLayout>) @extends gtk::LayoutManager;
}
