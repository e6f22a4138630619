//! A child that fills a part of the width, and one in front that has all of it: how full something
//! is, behind its name.

use relm4::gtk::{self, glib, prelude::*, subclass::prelude::*};

/// Narrower than this, the text in front is hidden: less than a letter would be seen.
const LEAST_TEXT_WIDTH: i32 = 36;

mod imp {
    use std::cell::Cell;

    use super::{LEAST_TEXT_WIDTH, glib, gtk};
    use gtk::prelude::*;
    use gtk::subclass::prelude::*;

    #[derive(Debug, Default)]
    pub(crate) struct FillLayout {
        pub(super) fraction: Cell<f64>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for FillLayout {
        const NAME: &'static str = "PlatterFillLayout";
        type Type = super::FillLayout;
        type ParentType = gtk::LayoutManager;
    }

    impl ObjectImpl for FillLayout {}

    impl LayoutManagerImpl for FillLayout {
        fn measure(
            &self,
            widget: &gtk::Widget,
            orientation: gtk::Orientation,
            _for_size: i32,
        ) -> (i32, i32, i32, i32) {
            let Some(text) = widget.last_child() else {
                return (0, 0, -1, -1);
            };
            let (minimum, natural, _, _) = text.measure(orientation, -1);
            if orientation == gtk::Orientation::Horizontal {
                (0, natural, -1, -1)
            } else {
                (minimum, natural, -1, -1)
            }
        }

        fn allocate(&self, widget: &gtk::Widget, width: i32, height: i32, _baseline: i32) {
            let (Some(fill), Some(text)) = (widget.first_child(), widget.last_child()) else {
                return;
            };
            #[allow(clippy::cast_possible_truncation, reason = "a width in pixels")]
            let length = (f64::from(width) * self.fraction.get()).round() as i32;
            let mirrored = widget.direction() == gtk::TextDirection::Rtl;
            let x = if mirrored { width - length } else { 0 };
            fill.set_child_visible(length > 0);
            if length > 0 {
                fill.size_allocate(&gtk::Allocation::new(x, 0, length, height), -1);
            }
            let (minimum, ..) = text.measure(gtk::Orientation::Horizontal, -1);
            let shows_text = width >= minimum.max(LEAST_TEXT_WIDTH);
            text.set_child_visible(shows_text);
            if shows_text {
                text.size_allocate(&gtk::Allocation::new(0, 0, width, height), -1);
            }
        }
    }
}

glib::wrapper! {
    /// Lays out a fill and a text in front of it.
    pub(crate) struct FillLayout(ObjectSubclass<imp::FillLayout>)
        @extends gtk::LayoutManager;
}

/// `text`, with `fraction` (0 to 1) of the width behind it filled.
pub(crate) fn new(text: &impl IsA<gtk::Widget>, fraction: f64) -> gtk::Box {
    let layout: FillLayout = glib::Object::new();
    layout.imp().fraction.set(fraction.clamp(0.0, 1.0));
    let fill = gtk::Box::new(gtk::Orientation::Horizontal, 0);
    fill.add_css_class("fill");
    let widget = gtk::Box::new(gtk::Orientation::Horizontal, 0);
    widget.set_overflow(gtk::Overflow::Hidden);
    widget.set_layout_manager(Some(layout));
    widget.append(&fill);
    widget.append(text);
    widget
}
