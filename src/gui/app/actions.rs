//! The window's actions, their keys, and the primary menu.

use relm4::gtk::{gio, prelude::*};
use relm4::{ComponentSender, adw};

use super::panes::VIEWS;
use super::{App, AppInput};
use crate::i18n::gettext;
use crate::image_operation::ImageOperation;
use crate::menu;

/// Adds the actions to window and application, and sets their keys.
pub(super) fn install(
    application: &adw::Application,
    window: &adw::ApplicationWindow,
    sender: &ComponentSender<App>,
) {
    let add = |name: &str, keys: &[&str], message: fn() -> AppInput| {
        let input = sender.input_sender().clone();
        let action = gio::SimpleAction::new(name, None);
        action.connect_activate(move |_, _| input.emit(message()));
        window.add_action(&action);
        application.set_accels_for_action(&format!("win.{name}"), keys);
    };
    add("new-image", &["<Ctrl>n"], || AppInput::NewImageRequested);
    add("device-image", &[], || AppInput::DeviceImageRequested);
    add("open", &["<Ctrl>o"], || AppInput::OpenRequested);
    add("reload", &["F5", "<Ctrl>r"], || AppInput::ReloadRequested);
    add("close-image", &["<Ctrl>w"], || AppInput::CloseSelected);
    add("next-image", &["<Ctrl>Page_Down"], || {
        AppInput::NextRequested(1)
    });
    add("previous-image", &["<Ctrl>Page_Up"], || {
        AppInput::NextRequested(-1)
    });
    add("toggle-sidebar", &["F9"], || AppInput::SidebarToggled);
    add("about", &[], || AppInput::AboutRequested);
    add(VIEWS[0], &["<Ctrl>1"], || AppInput::ViewRequested(VIEWS[0]));
    add(VIEWS[1], &["<Ctrl>2"], || AppInput::ViewRequested(VIEWS[1]));
    add(VIEWS[2], &["<Ctrl>3"], || AppInput::ViewRequested(VIEWS[2]));
    add(VIEWS[3], &["<Ctrl>4"], || AppInput::ViewRequested(VIEWS[3]));
    add(VIEWS[4], &["<Ctrl>5"], || AppInput::ViewRequested(VIEWS[4]));

    for (operation, name) in ImageOperation::ALL {
        let input = sender.input_sender().clone();
        let action = gio::SimpleAction::new(name, None);
        action.connect_activate(move |_, _| input.emit(AppInput::OperateOnSelected(operation)));
        window.add_action(&action);
    }

    let quit = gio::SimpleAction::new("quit", None);
    let closing = window.clone();
    quit.connect_activate(move |_, _| closing.close());
    application.add_action(&quit);
    application.set_accels_for_action("app.quit", &["<Ctrl>q"]);
    application.set_accels_for_action("win.show-help-overlay", &["<Ctrl>question", "F1"]);
}

/// The menu of the header bar.
pub(super) fn primary_menu() -> gio::Menu {
    menu::sections(
        "win",
        &[
            &[
                (gettext("_New Image…"), "new-image"),
                (gettext("Image of a _Device…"), "device-image"),
                (gettext("_Open…"), "open"),
                (gettext("_Reload"), "reload"),
                (gettext("_Close Image"), "close-image"),
            ],
            &[
                (gettext("_Keyboard Shortcuts"), "show-help-overlay"),
                (gettext("_About Platter"), "about"),
            ],
        ],
    )
}
