//! Showing a file in the desktop's file manager.

use std::path::Path;

use relm4::gtk::{self, gio, glib, prelude::*};

/// Selects `path` in the file manager, or opens its folder where the file manager cannot select.
pub(crate) fn show(path: &Path, parent: &gtk::Window) {
    let file = gio::File::for_path(path);
    let (uri, folder) = (file.uri(), file.parent());
    let parent = parent.clone();
    let open_folder = move || {
        if let Some(folder) = folder {
            gtk::show_uri(Some(&parent), &folder.uri(), gtk::gdk::CURRENT_TIME);
        }
    };
    glib::spawn_future_local(async move {
        if select(&uri).await.is_err() {
            open_folder();
        }
    });
}

async fn select(uri: &str) -> Result<(), glib::Error> {
    let bus = gio::bus_get_future(gio::BusType::Session).await?;
    bus.call_future(
        Some("org.freedesktop.FileManager1"),
        "/org/freedesktop/FileManager1",
        "org.freedesktop.FileManager1",
        "ShowItems",
        Some(&(vec![uri], "").to_variant()),
        None,
        gio::DBusCallFlags::NONE,
        2_000,
    )
    .await?;
    Ok(())
}
