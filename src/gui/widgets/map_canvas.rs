//! Paints the map: a ready picture, moved as far as the view has moved since it was made, with
//! frames around the hovered and the selected cell.

use platter::plot::layout::Rect;
use relm4::gtk::{self, gdk, glib, graphene, prelude::*, subclass::prelude::*};

/// What is painted.
#[derive(Clone, Debug, Default)]
pub(crate) struct CanvasContent {
    /// The cells, in device pixels.
    pub(crate) picture: Option<gdk::Texture>,
    /// Where the picture's top left is in the widget.
    pub(crate) offset: (i64, i64),
    /// Width and height that are painted at most.
    pub(crate) view: (i64, i64),
    /// The cell under the pointer.
    pub(crate) hovered: Option<Rect>,
    /// The selected cell.
    pub(crate) selected: Option<Rect>,
    /// Names of bands and their top edges.
    pub(crate) names: Vec<(String, i64)>,
}

glib::wrapper! {
    /// The painter of the map. It knows no bytes, only pixels.
    pub(crate) struct MapCanvas(ObjectSubclass<imp::MapCanvas>)
        @extends gtk::Widget,
        @implements gtk::Buildable, gtk::ConstraintTarget;
}

impl MapCanvas {
    /// Pixels above a band's name.
    const NAME_GAP: i32 = 9;

    /// An empty map. `resized` is told width and height whenever they change.
    pub(crate) fn new(resized: impl Fn(i32, i32) + 'static) -> Self {
        let canvas: Self = glib::Object::builder()
            .property("focusable", true)
            .property("hexpand", true)
            .property("vexpand", true)
            .build();
        canvas.imp().resized.replace(Some(Box::new(resized)));
        canvas.connect_state_flags_changed(|canvas, _| canvas.queue_draw());
        canvas
    }

    /// Paints something else from now on.
    pub(crate) fn update(&self, change: impl FnOnce(&mut CanvasContent)) {
        change(&mut self.imp().content.borrow_mut());
        self.queue_draw();
    }

    /// Height of the place for a band's name, in the user's font.
    pub(crate) fn name_height(&self) -> u32 {
        let (_, height) = self.create_pango_layout(Some("Ág")).pixel_size();
        u32::try_from(height + Self::NAME_GAP + 4).unwrap_or(24)
    }
}

mod imp {
    use std::cell::{Cell, RefCell};

    use relm4::gtk::gsk;

    use super::{CanvasContent, MapCanvas as Canvas, Rect, gdk, glib, graphene, gtk};
    use gtk::{prelude::*, subclass::prelude::*};

    type Resized = Box<dyn Fn(i32, i32)>;

    #[derive(Default)]
    pub(crate) struct MapCanvas {
        pub(super) content: RefCell<CanvasContent>,
        pub(super) resized: RefCell<Option<Resized>>,
        last_size: Cell<(i32, i32)>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for MapCanvas {
        const NAME: &'static str = "PlatterMapCanvas";
        type Type = Canvas;
        type ParentType = gtk::Widget;

        fn class_init(class: &mut Self::Class) {
            class.set_css_name("mapcanvas");
            class.set_accessible_role(gtk::AccessibleRole::Img);
        }
    }

    impl ObjectImpl for MapCanvas {}

    impl WidgetImpl for MapCanvas {
        fn measure(&self, orientation: gtk::Orientation, _for_size: i32) -> (i32, i32, i32, i32) {
            match orientation {
                gtk::Orientation::Horizontal => (240, 480, -1, -1),
                _ => (220, 320, -1, -1),
            }
        }

        fn size_allocate(&self, width: i32, height: i32, baseline: i32) {
            self.parent_size_allocate(width, height, baseline);
            if self.last_size.replace((width, height)) != (width, height)
                && let Some(resized) = self.resized.borrow().as_ref()
            {
                resized(width, height);
            }
        }

        fn snapshot(&self, snapshot: &gtk::Snapshot) {
            let content = self.content.borrow();
            let view = rectangle(0, 0, content.view.0, content.view.1);
            snapshot.push_rounded_clip(&gsk::RoundedRect::from_rect(view, 6.0));
            if let Some(picture) = &content.picture {
                let scale = i64::from(self.obj().scale_factor().max(1));
                let bounds = rectangle(
                    content.offset.0,
                    content.offset.1,
                    i64::from(picture.width()) / scale,
                    i64::from(picture.height()) / scale,
                );
                snapshot.append_texture(picture, &bounds);
            }
            for (name, top) in &content.names {
                self.paint_name(snapshot, name, *top, content.view.0);
            }
            if let Some(rect) = content.hovered {
                frame(snapshot, rect, 1.0);
            }
            if let Some(rect) = content.selected {
                frame(snapshot, rect, 2.0);
            }
            snapshot.pop();
            if self.obj().has_visible_focus() {
                self.paint_focus(snapshot, view);
            }
        }
    }

    impl MapCanvas {
        /// A ring around the cells: the widget itself can be larger than they are.
        fn paint_focus(&self, snapshot: &gtk::Snapshot, view: graphene::Rect) {
            #[allow(
                deprecated,
                reason = "GTK 4.10 deprecates style contexts; the floor is 4.8"
            )]
            let accent = self.obj().style_context().lookup_color("accent_color");
            let ring = gsk::RoundedRect::from_rect(view.inset_r(-4.0, -4.0), 10.0);
            let colour = accent.unwrap_or(gdk::RGBA::BLUE).with_alpha(0.6);
            snapshot.append_border(&ring, &[2.0; 4], &[colour; 4]);
        }

        fn paint_name(&self, snapshot: &gtk::Snapshot, name: &str, top: i64, width: i64) {
            let widget = self.obj();
            let layout = widget.create_pango_layout(Some(name));
            let width = i32::try_from(width).unwrap_or(i32::MAX / gtk::pango::SCALE);
            layout.set_width(width.saturating_mul(gtk::pango::SCALE));
            layout.set_ellipsize(gtk::pango::EllipsizeMode::End);
            snapshot.save();
            snapshot.translate(&graphene::Point::new(
                0.0,
                pixels(top + i64::from(Canvas::NAME_GAP)),
            ));
            #[allow(deprecated, reason = "GTK 4.10 has Widget::color; the floor is 4.8")]
            let colour = widget.style_context().color();
            snapshot.append_layout(&layout, &colour);
            snapshot.restore();
        }
    }

    /// A dark frame with a light rim, to be seen on any colour.
    fn frame(snapshot: &gtk::Snapshot, rect: Rect, width: f32) {
        let border = |grow: f32, width: f32, colour: gdk::RGBA| {
            // The gap to the next cell is not part of the cell.
            let bounds = graphene::Rect::new(
                pixels(rect.x) - grow,
                pixels(rect.y) - grow,
                pixels(rect.width) - 1.0 + 2.0 * grow,
                pixels(rect.height) - 1.0 + 2.0 * grow,
            );
            let outline = gsk::RoundedRect::from_rect(bounds, 1.0);
            snapshot.append_border(&outline, &[width; 4], &[colour; 4]);
        };
        border(width + 1.0, 1.0, gdk::RGBA::WHITE);
        border(width, width, gdk::RGBA::BLACK);
    }

    fn rectangle(x: i64, y: i64, width: i64, height: i64) -> graphene::Rect {
        graphene::Rect::new(pixels(x), pixels(y), pixels(width), pixels(height))
    }

    #[allow(clippy::cast_precision_loss, reason = "positions on a screen")]
    fn pixels(value: i64) -> f32 {
        value as f32
    }
}
