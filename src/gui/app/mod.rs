//! The main window: owns the session, tells everyone about it, and does what panes ask.

mod actions;
mod dialogs;
mod messages;
mod methods;
mod operations;
mod panes;
mod quit;
mod watching;

use std::collections::HashMap;

use platter::Control;
use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{AppCommand, AppInput, QuitAnswer};

use crate::a11y;
use crate::background::Background;
use crate::banner::Banner;
use crate::convert;
use crate::failure_page::FailurePage;
use crate::i18n::gettext;
use crate::jobs::Jobs;
use crate::new_image;
use crate::session::{DocumentId, Session};
use crate::settings::Settings;
use crate::sidebar::Sidebar;
use crate::start_page::StartPage;
use operations::Operations;
use panes::{Panes, VIEWS};
use watching::Watching;

/// The window's model.
pub(crate) struct App {
    application: adw::Application,
    background: Background,
    settings: Settings,
    session: Session,
    /// Stops the opening of an image that is closed or read anew.
    openings: HashMap<DocumentId, Control>,
    sidebar: Controller<Sidebar>,
    start_page: Controller<StartPage>,
    failure_page: Controller<FailurePage>,
    banner: Controller<Banner>,
    panes: Panes,
    jobs: Controller<Jobs>,
    operations: Operations,
    watching: Watching,
    /// The window closes when the jobs are finished.
    quitting: bool,
    /// The file dialog while it is open: it is no widget, nobody else keeps it.
    file_dialog: Option<gtk::FileChooserNative>,
}

#[relm4::component(pub(crate))]
impl Component for App {
    type Init = (adw::Application, Background);
    type Input = AppInput;
    type Output = ();
    type CommandOutput = AppCommand;

    view! {
        #[name = "window"]
        adw::ApplicationWindow {
            set_title: Some("Platter"),
            set_width_request: 360,
            set_height_request: 294,

            #[name = "flap"]
            #[wrap(Some)]
            set_content = &adw::Flap {
                set_fold_threshold_policy: adw::FoldThresholdPolicy::Minimum,
                set_transition_type: adw::FlapTransitionType::Over,

                #[wrap(Some)]
                set_flap = &gtk::Box {
                    set_orientation: gtk::Orientation::Vertical,
                    add_css_class: "background",
                    add_css_class: "sidebar-pane",

                    #[name = "sidebar_header"]
                    adw::HeaderBar {
                        set_show_end_title_buttons: false,
                        add_css_class: "flat",

                        #[wrap(Some)]
                        set_title_widget = &adw::WindowTitle {
                            set_title: &gettext("Images"),
                        },

                        #[name = "sidebar_open"]
                        pack_start = &gtk::Button {
                            set_icon_name: "list-add-symbolic",
                            set_action_name: Some("win.open"),
                        },
                    },
                    model.sidebar.widget(),
                },

                #[wrap(Some)]
                set_separator = &gtk::Separator {
                    set_orientation: gtk::Orientation::Vertical,
                },

                #[wrap(Some)]
                set_content = &gtk::Box {
                    set_orientation: gtk::Orientation::Vertical,
                    set_hexpand: true,

                    #[name = "header"]
                    adw::HeaderBar {
                        #[name = "switcher_title"]
                        #[wrap(Some)]
                        set_title_widget = &adw::ViewSwitcherTitle {
                            set_title: "Platter",
                        },

                        #[name = "sidebar_toggle"]
                        pack_start = &gtk::ToggleButton {
                            set_icon_name: "sidebar-show-symbolic",
                        },

                        #[name = "menu_button"]
                        pack_end = &gtk::MenuButton {
                            set_icon_name: "open-menu-symbolic",
                            set_primary: true,
                            set_menu_model: Some(&actions::primary_menu()),
                        },

                        #[name = "image_button"]
                        pack_end = &gtk::MenuButton {
                            set_icon_name: "view-more-symbolic",
                            set_menu_model: Some(&operations::image_menu()),
                        },

                        #[name = "reload_button"]
                        pack_end = &gtk::Button {
                            set_icon_name: "view-refresh-symbolic",
                            set_action_name: Some("win.reload"),
                        },

                        pack_end: model.jobs.widget(),
                    },

                    #[name = "toasts"]
                    adw::ToastOverlay {
                        #[name = "pages"]
                        #[wrap(Some)]
                        set_child = &gtk::Stack {
                            set_vexpand: true,
                            set_vhomogeneous: false,
                            set_hhomogeneous: false,
                            add_named[Some("start")] = model.start_page.widget(),
                            add_named[Some("failure")] = model.failure_page.widget(),
                            add_named[Some("image")] = &gtk::Box {
                                set_orientation: gtk::Orientation::Vertical,
                                append: model.banner.widget(),
                                append = &model.panes.stack.clone() -> adw::ViewStack {},
                            },
                        },
                    },

                    #[name = "switcher_bar"]
                    adw::ViewSwitcherBar {},
                },
            },
        }
    }

    fn init(
        (application, background): Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let model = Self::new(application, background, &root, &sender);
        let widgets = view_output!();
        widgets.name_icon_buttons();
        widgets.connect_switchers(&model.panes.stack);
        widgets.connect_drop(&root, &sender);
        actions::install(&model.application, &root, &sender);
        model.restore_window(&root, &sender);
        model.show_session(&widgets);
        ComponentParts { model, widgets }
    }

    fn update_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: Self::Input,
        sender: ComponentSender<Self>,
        root: &Self::Root,
    ) {
        match message {
            AppInput::OpenRequested => self.choose_files(root, &sender),
            AppInput::OpenPaths(paths) => self.open_paths(&paths, widgets, &sender),
            AppInput::Selected(id) => self.select(id, widgets),
            AppInput::NextRequested(step) => self.select_next(step, widgets),
            AppInput::CloseRequested(id) => self.close(id, widgets),
            AppInput::CloseSelected => self.close_selected(widgets, root),
            AppInput::ReloadRequested => self.reload(widgets, &sender),
            AppInput::PolicyChanged(policy) => self.reopen_selected(policy, widgets, &sender),
            AppInput::RecentRemoved(path) => self.forget_recent(&path),
            AppInput::ViewRequested(name) => self.panes.present(name),
            AppInput::MapRequested(path) => {
                self.open_paths(&[path], widgets, &sender);
                self.panes.present(VIEWS[2]);
            }
            AppInput::ViewChanged => self.panes.tell_visibility(),
            AppInput::SidebarToggled => self.toggle_sidebar(widgets),
            AppInput::AboutRequested => dialogs::present_about(root),
            AppInput::Pane(output) => self.serve_pane(output, widgets, root, &sender),
            AppInput::Copy(text) => dialogs::copy(&text, root, &widgets.toasts),
            AppInput::NewImageRequested => {
                self.operate(new_image::request(&self.usual_folder()), root, &sender);
            }
            AppInput::DeviceImageRequested => {
                self.operate(convert::device_request(&self.usual_folder()), root, &sender);
            }
            AppInput::Operate(request) => self.operate(request, root, &sender),
            AppInput::OperateOnSelected(operation) => {
                self.operate_on_selected(operation, root, &sender);
            }
            AppInput::Operation(number, output) => {
                self.serve_operation(number, output, widgets, root);
            }
            AppInput::Jobs(output) => self.serve_jobs(output, widgets, root, &sender),
            AppInput::FileChanged(id) => self.file_changed(id, &sender),
            AppInput::FilesSettled(id) => self.files_settled(id, &sender),
            AppInput::CloseWindow => self.close_window(root, &sender),
            AppInput::QuitAnswered(answer) => self.take_quit_answer(answer, root),
        }
    }

    fn update_cmd_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: Self::CommandOutput,
        sender: ComponentSender<Self>,
        root: &Self::Root,
    ) {
        match message {
            AppCommand::Learnt {
                id,
                generation,
                fact,
            } => self.learn(id, generation, fact, widgets, &sender),
            AppCommand::FilesSeen(id, prints) => self.files_seen(id, prints, widgets, &sender),
            AppCommand::DrawnUp(result) => self.run_drawn_up(result, root, &sender),
        }
    }
}

impl AppWidgets {
    fn name_icon_buttons(&self) {
        a11y::icon_button(&self.sidebar_open, &gettext("Open image"));
        a11y::icon_button(&self.sidebar_toggle, &gettext("Show or hide the sidebar"));
        a11y::icon_button(&self.image_button, &gettext("Image menu"));
        a11y::icon_button(&self.menu_button, &gettext("Main menu"));
        a11y::icon_button(&self.reload_button, &gettext("Read the image again"));
    }
}
