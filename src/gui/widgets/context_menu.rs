//! A menu that comes up where it is asked for.
//!
//! It stays a child of one widget that lives as long as it: what it is shown for may be gone before
//! the item that was chosen has done its work.

use relm4::gtk::{self, gdk, gio, graphene, prelude::*};

/// The menu; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct ContextMenu {
    popover: gtk::PopoverMenu,
    parent: gtk::Widget,
}

impl ContextMenu {
    /// A menu for `parent` and what is in it. Its actions are looked up from there.
    pub(crate) fn new(parent: &impl IsA<gtk::Widget>, model: &gio::Menu) -> Self {
        let popover = gtk::PopoverMenu::from_model(Some(model));
        popover.set_parent(parent);
        popover.set_has_arrow(false);
        popover.set_halign(gtk::Align::Start);
        let closing = popover.clone();
        parent.connect_destroy(move |_| closing.unparent());
        Self {
            popover,
            parent: parent.clone().upcast(),
        }
    }

    /// Brings it up at a place of `over`, which is in the parent.
    pub(crate) fn popup(&self, over: &impl IsA<gtk::Widget>, x: f64, y: f64) {
        #[allow(clippy::cast_possible_truncation, reason = "pixels of a window")]
        let point = graphene::Point::new(x as f32, y as f32);
        let Some(place) = over.compute_point(&self.parent, &point) else {
            return;
        };
        #[allow(clippy::cast_possible_truncation, reason = "pixels of a window")]
        let place = gdk::Rectangle::new(place.x() as i32, place.y() as i32, 1, 1);
        self.popover.set_pointing_to(Some(&place));
        self.popover.popup();
    }
}
