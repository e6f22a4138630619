//! Paints a ready picture of the whole disk, as wide as it is given room, with frames around what
//! the map shows of it: the minimap, and the plot.

use std::ops::Range;

use platter::plot::raster::Rgb;
use relm4::gtk::{self, gdk, glib, graphene, prelude::*, subclass::prelude::*};

glib::wrapper! {
    /// The painter of the minimap and the plot.
    pub(crate) struct MapStrip(ObjectSubclass<imp::MapStrip>)
        @extends gtk::Widget,
        @implements gtk::Buildable, gtk::ConstraintTarget;
}

impl MapStrip {
    /// An empty strip. `resized` is told the width whenever it changes.
    pub(crate) fn new(resized: impl Fn(i32) + 'static) -> Self {
        let strip: Self = glib::Object::builder()
            .property("hexpand", true)
            .property("overflow", gtk::Overflow::Hidden)
            .build();
        strip.imp().resized.replace(Some(Box::new(resized)));
        strip
    }

    /// Shows another disk, in device pixels.
    pub(crate) fn set_picture(&self, picture: Option<gdk::Texture>) {
        self.imp().picture.replace(picture);
        self.queue_draw();
    }

    /// What is not framed fades into this colour.
    pub(crate) fn set_paper(&self, paper: Rgb) {
        let part = |value: u8| f32::from(value) / 255.0;
        let fade = gdk::RGBA::new(part(paper.0), part(paper.1), part(paper.2), 0.6);
        self.imp().fade.set(Some(fade));
        self.queue_draw();
    }

    /// Frames these parts of the width (0 to 1, from the left).
    pub(crate) fn set_frames(&self, frames: Vec<Range<f64>>) {
        self.imp().frames.replace(frames);
        self.queue_draw();
    }
}

mod imp {
    use std::cell::{Cell, RefCell};

    use relm4::gtk::gsk;

    use super::{MapStrip as Strip, Range, gdk, glib, graphene, gtk};
    use gtk::{prelude::*, subclass::prelude::*};

    type Resized = Box<dyn Fn(i32)>;

    #[derive(Default)]
    pub(crate) struct MapStrip {
        pub(super) picture: RefCell<Option<gdk::Texture>>,
        pub(super) frames: RefCell<Vec<Range<f64>>>,
        pub(super) fade: Cell<Option<gdk::RGBA>>,
        pub(super) resized: RefCell<Option<Resized>>,
        last_width: Cell<i32>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for MapStrip {
        const NAME: &'static str = "PlatterMapStrip";
        type Type = Strip;
        type ParentType = gtk::Widget;

        fn class_init(class: &mut Self::Class) {
            class.set_css_name("mapstrip");
            class.set_accessible_role(gtk::AccessibleRole::Img);
        }
    }

    impl ObjectImpl for MapStrip {}

    impl WidgetImpl for MapStrip {
        fn measure(&self, orientation: gtk::Orientation, _for_size: i32) -> (i32, i32, i32, i32) {
            match orientation {
                gtk::Orientation::Horizontal => (100, 400, -1, -1),
                _ => (1, 1, -1, -1),
            }
        }

        fn size_allocate(&self, width: i32, height: i32, baseline: i32) {
            self.parent_size_allocate(width, height, baseline);
            if self.last_width.replace(width) != width
                && let Some(resized) = self.resized.borrow().as_ref()
            {
                resized(width);
            }
        }

        fn snapshot(&self, snapshot: &gtk::Snapshot) {
            let widget = self.obj();
            #[allow(clippy::cast_precision_loss, reason = "positions on a screen")]
            let (width, height) = (widget.width() as f32, widget.height() as f32);
            if let Some(picture) = self.picture.borrow().as_ref() {
                snapshot.append_texture(picture, &graphene::Rect::new(0.0, 0.0, width, height));
            }
            let fade = self.fade.get().unwrap_or(gdk::RGBA::TRANSPARENT);
            let mut shown_to = 0.0;
            let frames = self.frames.borrow();
            for part in frames.iter() {
                let (left, right) = (in_pixels(part.start, width), in_pixels(part.end, width));
                let right = right.max(left + 4.0).min(width);
                let left = left.min(right - 4.0);
                if left > shown_to {
                    let rest = graphene::Rect::new(shown_to, 0.0, left - shown_to, height);
                    snapshot.append_color(&fade, &rest);
                }
                shown_to = right;
                let bounds = graphene::Rect::new(left, 0.0, right - left, height);
                let outline = gsk::RoundedRect::from_rect(bounds, 4.0);
                snapshot.append_border(&outline, &[3.0; 4], &[gdk::RGBA::WHITE; 4]);
                snapshot.append_border(&outline, &[2.0; 4], &[gdk::RGBA::BLACK; 4]);
            }
            if !frames.is_empty() && shown_to < width {
                let rest = graphene::Rect::new(shown_to, 0.0, width - shown_to, height);
                snapshot.append_color(&fade, &rest);
            }
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "positions on a screen")]
    fn in_pixels(part: f64, width: f32) -> f32 {
        (part * f64::from(width)) as f32
    }
}
