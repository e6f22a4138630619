//! Children side by side where there is room, else one below the other.

use relm4::gtk::{self, glib, prelude::*, subclass::prelude::*};

mod imp {
    use std::cell::Cell;

    use super::{glib, gtk, visible_children};
    use gtk::prelude::*;
    use gtk::subclass::prelude::*;

    #[derive(Debug, Default)]
    pub(crate) struct ColumnsLayout {
        pub(super) column_width: Cell<i32>,
        pub(super) spacing: Cell<i32>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for ColumnsLayout {
        const NAME: &'static str = "PlatterColumnsLayout";
        type Type = super::ColumnsLayout;
        type ParentType = gtk::LayoutManager;
    }

    impl ObjectImpl for ColumnsLayout {}

    impl LayoutManagerImpl for ColumnsLayout {
        fn request_mode(&self, _widget: &gtk::Widget) -> gtk::SizeRequestMode {
            gtk::SizeRequestMode::HeightForWidth
        }

        fn measure(
            &self,
            widget: &gtk::Widget,
            orientation: gtk::Orientation,
            for_size: i32,
        ) -> (i32, i32, i32, i32) {
            let children = visible_children(widget);
            let (minimum, natural) = if orientation == gtk::Orientation::Horizontal {
                self.measure_width(&children)
            } else {
                self.measure_height(&children, for_size)
            };
            (minimum, natural, -1, -1)
        }

        fn allocate(&self, widget: &gtk::Widget, width: i32, height: i32, _baseline: i32) {
            let children = visible_children(widget);
            let spacing = self.spacing.get();
            let count = self.columns(&children, width);
            let column = column_width(width, count, spacing);
            let mut y = 0;
            for (index, child) in (0..).zip(&children) {
                let is_row_of_all = count > 1;
                let place = if is_row_of_all {
                    index * (column + spacing)
                } else {
                    0
                };
                let mirrored = widget.direction() == gtk::TextDirection::Rtl;
                let x = if mirrored {
                    width - place - column
                } else {
                    place
                };
                let (minimum, natural, _, _) = child.measure(gtk::Orientation::Vertical, column);
                let length = if is_row_of_all {
                    height.max(minimum)
                } else {
                    natural
                };
                child.size_allocate(&gtk::Allocation::new(x, y, column, length), -1);
                if !is_row_of_all {
                    y += length + spacing;
                }
            }
        }
    }

    impl ColumnsLayout {
        /// All side by side, or one.
        fn columns(&self, children: &[gtk::Widget], width: i32) -> i32 {
            let count = i32::try_from(children.len()).unwrap_or(1).max(1);
            let needed = self
                .column_width
                .get()
                .max(children.iter().map(minimum_width).max().unwrap_or(0));
            let fits = width >= count * needed + (count - 1) * self.spacing.get();
            if fits { count } else { 1 }
        }

        fn measure_width(&self, children: &[gtk::Widget]) -> (i32, i32) {
            let minimum = children.iter().map(minimum_width).max().unwrap_or(0);
            let count = i32::try_from(children.len()).unwrap_or(1).max(1);
            let natural = count * self.column_width.get() + (count - 1) * self.spacing.get();
            (minimum, natural.max(minimum))
        }

        fn measure_height(&self, children: &[gtk::Widget], width: i32) -> (i32, i32) {
            let spacing = self.spacing.get();
            let count = if width < 0 {
                1
            } else {
                self.columns(children, width)
            };
            let column = if width < 0 {
                -1
            } else {
                column_width(width, count, spacing)
            };
            let heights = children.iter().map(|child| {
                // A stacked child gets its natural height: no less may be asked for.
                let (minimum, natural, _, _) = child.measure(gtk::Orientation::Vertical, column);
                minimum.max(natural)
            });
            let height = if count > 1 {
                heights.max().unwrap_or(0)
            } else {
                let gaps = i32::try_from(children.len().saturating_sub(1)).unwrap_or(0);
                heights.sum::<i32>() + gaps * spacing
            };
            (height, height)
        }
    }

    fn minimum_width(child: &gtk::Widget) -> i32 {
        child.measure(gtk::Orientation::Horizontal, -1).0
    }

    fn column_width(width: i32, count: i32, spacing: i32) -> i32 {
        (width - (count - 1) * spacing) / count.max(1)
    }
}

glib::wrapper! {
    /// Lays its widget's children out in columns that are all as wide, or in one column where that
    /// leaves less than the wanted width for each.
    pub(crate) struct ColumnsLayout(ObjectSubclass<imp::ColumnsLayout>)
        @extends gtk::LayoutManager;
}

/// A box of that kind.
pub(crate) fn new(column_width: i32, spacing: i32) -> gtk::Box {
    let layout: ColumnsLayout = glib::Object::new();
    layout.imp().column_width.set(column_width);
    layout.imp().spacing.set(spacing);
    let widget = gtk::Box::new(gtk::Orientation::Horizontal, 0);
    widget.set_layout_manager(Some(layout));
    widget
}

pub(super) fn visible_children(widget: &gtk::Widget) -> Vec<gtk::Widget> {
    std::iter::successors(widget.first_child(), WidgetExt::next_sibling)
        .filter(WidgetExt::should_layout)
        .collect()
}
