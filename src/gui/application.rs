//! The application object: one process, one main window. A second start hands its files over and
//! ends.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Context;
use platter::APP_ID;
use relm4::gtk::{gio, glib, prelude::*};
use relm4::{Component, ComponentController, RelmApp, Sender, adw};

use crate::app::{App, AppInput};
use crate::background::Background;
use crate::metrics;

/// Where the resources lie, whatever the application id of a development build.
const RESOURCE_BASE: &str = "/io/github/platter/Platter";

/// Runs the application to its end.
///
/// # Errors
/// When the host gives us no thread to work on.
pub(crate) fn run() -> anyhow::Result<glib::ExitCode> {
    let background = Background::new().context("no thread to work on")?;
    let app = adw::Application::builder()
        .application_id(APP_ID)
        .resource_base_path(RESOURCE_BASE)
        .flags(gio::ApplicationFlags::HANDLES_OPEN)
        .build();
    // Only registers the application with relm4. Its own `run` is not used: after handing over its
    // files, a second process would wait there for ever.
    let _ = RelmApp::<()>::from_app(app.clone());

    let window = Rc::new(MainWindow {
        background,
        sender: OnceCell::new(),
    });
    let shared = Rc::clone(&window);
    app.connect_activate(move |app| {
        shared.present(app);
    });
    app.connect_open(move |app, files, _hint| {
        let paths: Vec<PathBuf> = files.iter().filter_map(gio::File::path).collect();
        window.present(app).emit(AppInput::OpenPaths(paths));
    });
    app.connect_startup(|_| metrics::mark("startup"));
    Ok(app.run())
}

struct MainWindow {
    background: Background,
    sender: OnceCell<Sender<AppInput>>,
}

impl MainWindow {
    /// Shows the main window, which is made the first time. To present it when files are handed
    /// over is on us: `open` comes in place of `activate`.
    fn present(&self, app: &adw::Application) -> &Sender<AppInput> {
        let sender = self.sender.get_or_init(|| {
            let init = (app.clone(), self.background.clone());
            let mut controller = App::builder().launch(init).detach();
            app.add_window(controller.widget());
            metrics::install(app, controller.widget());
            let sender = controller.sender().clone();
            // The window lives as long as the application.
            controller.detach_runtime();
            sender
        });
        let main = app
            .windows()
            .into_iter()
            .find(|window| window.is::<adw::ApplicationWindow>());
        if let Some(main) = main {
            main.present();
        }
        sender
    }
}
