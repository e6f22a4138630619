#![allow(
    unsafe_code,
    reason = "what the bindings withhold or mark unsafe; the window's only such code"
)]
//! What needs `unsafe`: accessibility properties that gtk4-rs hides below GTK 4.10, and the
//! environment, which must be changed before any thread runs.

use std::ffi::c_int;
use std::path::Path;

use relm4::gtk::glib::gobject_ffi::GValue;
use relm4::gtk::glib::translate::{IntoGlib, ToGlibContainerFromSlice, ToGlibPtr};
use relm4::gtk::{self, glib, prelude::*};

unsafe extern "C" {
    fn gtk_accessible_update_property_value(
        accessible: *mut gtk::ffi::GtkAccessible,
        n_properties: c_int,
        properties: *mut gtk::ffi::GtkAccessibleProperty,
        values: *const GValue,
    );
}

/// Sets accessible properties whose values are strings.
pub(crate) fn update_text_properties(
    widget: &gtk::Widget,
    properties: &[(gtk::AccessibleProperty, &str)],
) {
    let Ok(count) = c_int::try_from(properties.len()) else {
        return;
    };
    let mut kinds: Vec<_> = properties
        .iter()
        .map(|(property, _)| property.into_glib())
        .collect();
    let values: Vec<glib::Value> = properties.iter().map(|(_, text)| text.to_value()).collect();
    // SAFETY: every GtkWidget implements GtkAccessible; both arrays have `count` elements and live
    // until the call returns; GTK copies the values; callers pass only properties whose type is
    // string.
    unsafe {
        let (array, _keep_alive): (*mut GValue, _) =
            ToGlibContainerFromSlice::to_glib_none_from_slice(&values);
        let accessible: *mut gtk::ffi::GtkWidget = widget.to_glib_none().0;
        gtk_accessible_update_property_value(accessible.cast(), count, kinds.as_mut_ptr(), array);
    }
}

/// Without a GPU, GTK's default renderer draws OpenGL in software: half a second more until the
/// window shows, and twenty times as long for each frame. Chooses cairo there, unless the user has
/// chosen. To be called first in `main`.
pub(crate) fn prefer_software_renderer_without_gpu() {
    const VARIABLE: &str = "GSK_RENDERER";
    if std::env::var_os(VARIABLE).is_some() || has_render_node(Path::new("/dev/dri")) {
        return;
    }
    // SAFETY: called first in `main`: no other thread exists that could read the environment.
    unsafe { std::env::set_var(VARIABLE, "cairo") };
}

fn has_render_node(dri: &Path) -> bool {
    std::fs::read_dir(dri).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("renderD"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_render_node_is_recognised_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_render_node(&dir.path().join("none")));
        std::fs::write(dir.path().join("card0"), "").unwrap();
        assert!(!has_render_node(dir.path()));
        std::fs::write(dir.path().join("renderD128"), "").unwrap();
        assert!(has_render_node(dir.path()));
    }
}
