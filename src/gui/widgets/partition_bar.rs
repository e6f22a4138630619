//! The disk as a bar of segments. Each segment is a button: it takes the focus, has a name and a
//! tooltip, and a screen reader sees it.

use std::rc::Rc;

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

    /// Shows these segments, none selected.
    pub(crate) fn show(&mut self, segments: Vec<Segment>) {
        if self.shown == segments {
            return;
        }
        for button in self.buttons.drain(..) {
            self.root.remove(&button);
        }
        let sizes = segments.iter().map(|segment| segment.size).collect();
        self.layout.imp().sizes.replace(sizes);
        for (index, segment) in segments.iter().enumerate() {
            let button = segment_button(segment);
            let activate = Rc::clone(&self.activate);
            button.connect_clicked(move |_| activate(index));
            self.root.append(&button);
            self.buttons.push(button);
        }
        self.shown = segments;
    }

    /// Marks one segment, or none.
    pub(crate) fn select(&self, selected: Option<usize>) {
        for (index, button) in self.buttons.iter().enumerate() {
            button.set_active(Some(index) == selected);
        }
    }
}

fn segment_button(segment: &Segment) -> gtk::ToggleButton {
    let text = gtk::Box::builder()
        .orientation(gtk::Orientation::Vertical)
        .valign(gtk::Align::Center)
        .css_classes(["segment-text"])
        .build();
    text.append(&line(&segment.title, "heading"));
    for content in &segment.lines {
        text.append(&line(content, "caption"));
    }
    let button = gtk::ToggleButton::builder()
        .child(&fill::new(&text, segment.fill.unwrap_or(0.0)))
        .css_classes(["segment"])
        .tooltip_text(format!("{}\n{}", segment.title, segment.description))
        .build();
    match segment.colour {
        Some(colour) => button.add_css_class(&format!("partition-{colour}")),
        None => button.add_css_class("unallocated"),
    }
    a11y::name(&button, &segment.title);
    a11y::describe(&button, &segment.description);
    button
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

    use super::{GAP, LEAST_WIDTH, glib, gtk, visible_children};
    use gtk::prelude::*;
    use gtk::subclass::prelude::*;

    #[derive(Debug, Default)]
    pub(crate) struct BarLayout {
        pub(super) sizes: RefCell<Vec<u64>>,
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
            let children = visible_children(widget);
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
            for (child, place) in visible_children(widget).into_iter().zip(places) {
                let start = i32::try_from(place.start).unwrap_or(width);
                let end = i32::try_from(place.end).unwrap_or(width);
                // GTK complains about less than the minimum; the bar clips what is too much.
                let (minimum, ..) = child.measure(gtk::Orientation::Horizontal, height);
                let length = (end - start).max(minimum);
                let x = if mirrored { width - end } else { start };
                child.size_allocate(&gtk::Allocation::new(x, 0, length, height), -1);
            }
        }
    }
}

glib::wrapper! {
    /// Lays out the segments.
    pub(crate) struct BarLayout(ObjectSubclass<imp::BarLayout>) @extends gtk::LayoutManager;
}
