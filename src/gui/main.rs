//! Platter's window: a relm4 application over the engine in the library crate.

mod a11y;
mod app;
mod application;
mod background;
mod banner;
mod chain_pane;
mod compare;
mod comparison;
mod convert;
mod describe;
mod disk_layout;
mod facts;
mod failure_page;
mod file_chooser;
mod file_manager;
mod file_row;
mod format;
mod i18n;
mod image_choices;
mod image_operation;
mod image_sheets;
mod jobs;
mod map;
mod menu;
mod metrics;
mod name_form;
mod new_file;
mod new_image;
mod opening;
mod operation;
mod operation_window;
mod overview;
mod pane;
mod partitions;
mod rebase;
mod resize;
mod save_text;
mod session;
mod settings;
mod sidebar;
mod size_input;
mod snapshots;
mod start_page;
mod subject;
mod switch_form;
mod sys;
mod trash;
mod widgets;

use anyhow::Context;
use relm4::gtk::{gio, glib};

fn main() -> glib::ExitCode {
    metrics::mark("main");
    sys::prefer_software_renderer_without_gpu();
    i18n::bind_text_domain();
    run().unwrap_or_else(|error| {
        eprintln!("platter: {error:#}");
        glib::ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<glib::ExitCode> {
    gio::resources_register_include!("platter.gresource")
        .context("the built-in resources are damaged")?;
    application::run()
}
