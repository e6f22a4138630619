//! What the window does when it is told something.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use platter::Control;
use platter::chain::OpenPolicy;
use relm4::adw::prelude::*;
use relm4::gtk::{gdk, gio, glib};
use relm4::prelude::*;
use relm4::{adw, gtk};

use super::operations::Operations;
use super::{App, AppCommand, AppInput, AppWidgets, Panes, Watching, dialogs};
use crate::background::Background;
use crate::banner::{Banner, BannerInput, BannerOutput};
use crate::failure_page::{FailurePage, FailurePageInput, FailurePageOutput};
use crate::file_manager;
use crate::format;
use crate::i18n::counted;
use crate::jobs::{Jobs, JobsInit};
use crate::metrics;
use crate::opening::Opening;
use crate::pane::{PaneInput, PaneOutput};
use crate::session::{Document, DocumentId, Fact, Opened, Session, Stage};
use crate::settings::{Settings, WindowSize};
use crate::sidebar::{Sidebar, SidebarInput, SidebarOutput};
use crate::start_page::{StartPage, StartPageInput, StartPageOutput};

impl App {
    pub(super) fn new(
        application: adw::Application,
        background: Background,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) -> Self {
        let input = sender.input_sender();
        let sidebar = Sidebar::builder()
            .launch(())
            .forward(input, |output| match output {
                SidebarOutput::Selected(id) => AppInput::Selected(id),
                SidebarOutput::CloseRequested(id) => AppInput::CloseRequested(id),
            });
        let start_page = StartPage::builder()
            .launch(())
            .forward(input, |output| match output {
                StartPageOutput::Open(path) => AppInput::OpenPaths(vec![path]),
                StartPageOutput::Forget(path) => AppInput::RecentRemoved(path),
            });
        let failure_page =
            FailurePage::builder()
                .launch(())
                .forward(input, |output| match output {
                    FailurePageOutput::Copy(text) => AppInput::Copy(text),
                });
        let banner = Banner::builder()
            .launch(())
            .forward(input, |output| match output {
                BannerOutput::PolicyChanged(policy) => AppInput::PolicyChanged(policy),
                BannerOutput::ReloadRequested => AppInput::ReloadRequested,
                BannerOutput::Operate(request) => AppInput::Operate(request),
            });
        let settings = Settings::open();
        let panes = Panes::launch(&background, &settings, input);
        let jobs = Jobs::builder()
            .launch(JobsInit {
                application: application.clone(),
                window: root.clone().upcast(),
                background: background.clone(),
            })
            .forward(input, AppInput::Jobs);
        Self {
            application,
            background,
            settings,
            session: Session::default(),
            openings: std::collections::HashMap::new(),
            sidebar,
            start_page,
            failure_page,
            banner,
            panes,
            jobs,
            operations: Operations::default(),
            watching: Watching::default(),
            quitting: false,
            file_dialog: None,
        }
    }

    pub(super) fn open_paths(
        &mut self,
        paths: &[PathBuf],
        widgets: &AppWidgets,
        sender: &ComponentSender<Self>,
    ) {
        for path in paths {
            if let Opened::New(document) = self.session.open(path) {
                self.settings.add_recent(&document.path);
                self.read(&document, sender);
            }
        }
        self.show_session(widgets);
    }

    pub(super) fn select(&mut self, id: DocumentId, widgets: &AppWidgets) {
        if self
            .session
            .selected()
            .is_none_or(|selected| selected.id != id)
        {
            self.session.select(id);
            self.show_session(widgets);
        }
        if widgets.flap.is_folded() {
            widgets.flap.set_reveal_flap(false);
        }
    }

    pub(super) fn select_next(&mut self, step: isize, widgets: &AppWidgets) {
        self.session.select_next(step);
        self.show_session(widgets);
    }

    pub(super) fn close(&mut self, id: DocumentId, widgets: &AppWidgets) {
        self.stop_opening(id);
        self.watching.forget(id);
        self.session.close(id);
        self.show_session(widgets);
    }

    pub(super) fn close_selected(&mut self, widgets: &AppWidgets, root: &adw::ApplicationWindow) {
        match self.session.selected().map(|document| document.id) {
            Some(id) => self.close(id, widgets),
            None => root.close(),
        }
    }

    pub(super) fn reload(&mut self, widgets: &AppWidgets, sender: &ComponentSender<Self>) {
        if let Some(document) = self.session.selected() {
            let policy = document.policy.clone();
            self.reopen_selected(policy, widgets, sender);
        }
    }

    pub(super) fn reopen_selected(
        &mut self,
        policy: OpenPolicy,
        widgets: &AppWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let Some(id) = self.session.selected().map(|document| document.id) else {
            return;
        };
        self.stop_opening(id);
        if let Some(document) = self.session.reopen(id, policy) {
            self.read(&document, sender);
            self.show_session(widgets);
        }
    }

    pub(super) fn learn(
        &mut self,
        id: DocumentId,
        generation: u64,
        fact: Fact,
        widgets: &AppWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let waiting = |session: &Session| {
            let known = session.documents().iter().find(|it| it.id == id);
            known.map_or(0, |document| document.pending.edits().len())
        };
        let before = waiting(&self.session);
        let is_chain_known = matches!(fact, Fact::Chain(_) | Fact::Failed(_));
        let Some(document) = self.session.learn(id, generation, fact) else {
            return;
        };
        let dropped = before - waiting(&self.session);
        if dropped > 0 {
            let text = counted(
                "The disk has changed: {n} pending change no longer applies",
                "The disk has changed: {n} pending changes no longer apply",
                dropped as u64,
                &[],
            );
            widgets.toast(&text, None, sender);
        }
        if is_chain_known {
            self.watch(&document, sender);
        }
        match document.stage {
            Stage::Header => metrics::mark("header"),
            Stage::Contents => metrics::mark("contents"),
            Stage::Opening | Stage::Chain => {}
        }
        self.show_session(widgets);
    }

    pub(super) fn forget_recent(&self, path: &Path) {
        self.settings.remove_recent(path);
        self.show_recent();
    }

    pub(super) fn toggle_sidebar(&self, widgets: &AppWidgets) {
        if !self.session.documents().is_empty() {
            widgets.flap.set_reveal_flap(!widgets.flap.reveals_flap());
        }
    }

    pub(super) fn serve_pane(
        &mut self,
        output: PaneOutput,
        widgets: &AppWidgets,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) {
        match output {
            PaneOutput::OpenPath(path) => self.open_paths(&[path], widgets, sender),
            PaneOutput::Locate(path) => self.banner.emit(BannerInput::LocateRequested(path)),
            PaneOutput::Copy(text) => dialogs::copy(&text, root, &widgets.toasts),
            PaneOutput::Toast(text) => widgets.toast(&text, None, sender),
            PaneOutput::Error(report) => dialogs::present_error(&report, root, sender),
            PaneOutput::ShowRange(range) => self.panes.reveal_on_map(range),
            PaneOutput::ShowSegment(index) => self.panes.show_partition(index),
            PaneOutput::Reload => self.reload(widgets, sender),
            PaneOutput::ForgetComparison => {
                self.session.forget_comparison();
                self.show_session(widgets);
            }
            PaneOutput::Operate(request) => self.operate(request, root, sender),
            PaneOutput::OperateOn(operation, subject) => {
                self.operate_on_file(operation, subject, root, sender);
            }
            PaneOutput::ShowFile(path) => file_manager::show(&path, root.upcast_ref()),
            PaneOutput::Edit(request) => self.edit(&request, widgets, sender),
        }
    }

    /// Shows everyone the session as it is now. Who is shown the same again changes nothing.
    pub(super) fn show_session(&self, widgets: &AppWidgets) {
        let selected = self.session.selected();
        self.sidebar.emit(SidebarInput::Show {
            documents: self.session.documents().to_vec(),
            selected: selected.map(|document| document.id),
        });
        widgets.show_selected(selected);
        let Some(document) = selected else {
            self.panes.tell(&PaneInput::Clear);
            self.show_recent();
            return;
        };
        if document.failure.is_some() {
            self.panes.tell(&PaneInput::Clear);
            self.failure_page
                .emit(FailurePageInput::Show(Rc::clone(document)));
        } else {
            self.banner.emit(BannerInput::Show(Rc::clone(document)));
            self.panes.tell(&PaneInput::Show(Rc::clone(document)));
        }
    }

    pub(super) fn restore_window(
        &self,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<Self>,
    ) {
        let size = self.settings.window_size();
        root.set_default_size(size.width, size.height);
        root.set_maximized(size.maximized);
        let input = sender.input_sender().clone();
        root.connect_close_request(move |_| {
            input.emit(AppInput::CloseWindow);
            glib::Propagation::Stop
        });
    }

    pub(super) fn remember_window(&self, root: &adw::ApplicationWindow) {
        let (width, height) = root.default_size();
        self.settings.set_window_size(WindowSize {
            width,
            height,
            maximized: root.is_maximized(),
        });
    }

    /// Starts reading an image; the facts arrive as [`AppCommand::Learnt`].
    pub(super) fn read(&mut self, document: &Document, sender: &ComponentSender<Self>) {
        let control = Control::new();
        self.openings.insert(document.id, control.clone());
        let (opening, emit) = (opening_of(document, control), emitter_of(document, sender));
        self.background.run(move || opening.read_image(emit));
        self.read_folder(document, sender);
    }

    /// Starts reading what else is in the folder of an image that is being read or was read.
    pub(super) fn read_folder(&self, document: &Document, sender: &ComponentSender<Self>) {
        let control = self.openings.get(&document.id).cloned();
        let opening = opening_of(document, control.unwrap_or_default());
        let emit = emitter_of(document, sender);
        self.background.run(move || opening.read_folder(emit));
    }

    pub(super) fn stop_opening(&mut self, id: DocumentId) {
        if let Some(control) = self.openings.remove(&id) {
            control.cancel();
        }
    }

    fn show_recent(&self) {
        self.start_page
            .emit(StartPageInput::Show(self.settings.recent()));
    }
}

fn opening_of(document: &Document, control: Control) -> Opening {
    Opening {
        path: document.path.clone(),
        policy: document.policy.clone(),
        control,
    }
}

/// Tells the window what was learnt of `document` as it is now.
fn emitter_of(
    document: &Document,
    sender: &ComponentSender<App>,
) -> impl Fn(Fact) + Send + 'static {
    let (id, generation) = (document.id, document.generation);
    let facts = sender.command_sender().clone();
    move |fact| {
        facts.emit(AppCommand::Learnt {
            id,
            generation,
            fact,
        });
    }
}

impl AppWidgets {
    pub(super) fn connect_switchers(&self, stack: &adw::ViewStack) {
        self.switcher_title.set_stack(Some(stack));
        self.switcher_bar.set_stack(Some(stack));
        // The switcher is below where it has no room above, and nowhere while there is nothing to
        // switch.
        self.switcher_title
            .bind_property("title-visible", &self.switcher_bar, "reveal")
            .transform_to(|binding, title_visible: bool| {
                let title = binding.source().and_downcast::<adw::ViewSwitcherTitle>()?;
                Some(title_visible && title.is_view_switcher_enabled())
            })
            .sync_create()
            .build();
        self.flap
            .bind_property("reveal-flap", &self.sidebar_toggle, "active")
            .bidirectional()
            .sync_create()
            .build();
    }

    /// The whole window takes dropped files.
    pub(super) fn connect_drop(
        &self,
        root: &adw::ApplicationWindow,
        sender: &ComponentSender<App>,
    ) {
        let target = gtk::DropTarget::new(gdk::FileList::static_type(), gdk::DragAction::COPY);
        let input = sender.input_sender().clone();
        target.connect_drop(move |_, value, _, _| {
            let Ok(list) = value.get::<gdk::FileList>() else {
                return false;
            };
            let paths: Vec<_> = list.files().iter().filter_map(gio::File::path).collect();
            let accepted = !paths.is_empty();
            input.emit(AppInput::OpenPaths(paths));
            accepted
        });
        root.add_controller(target);
    }

    fn show_selected(&self, selected: Option<&Rc<Document>>) {
        let page = match selected {
            None => "start",
            Some(document) if document.failure.is_some() => "failure",
            Some(_) => "image",
        };
        if self.pages.visible_child_name().as_deref() != Some(page) {
            self.pages.set_visible_child_name(page);
            // The keyboard goes on where there is something to do.
            if page != "image" {
                self.pages.child_focus(gtk::DirectionType::TabForward);
            }
        }
        let shows_views = page == "image";
        self.switcher_title.set_view_switcher_enabled(shows_views);
        let title = selected.map_or_else(
            || "Platter".to_owned(),
            |document| format::file_name(&document.path),
        );
        let folder = selected.map(|document| format::folder(&document.path));
        self.switcher_title.set_title(&title);
        self.switcher_title
            .set_subtitle(&folder.unwrap_or_default());
        self.window.set_title(Some(&title));
        self.show_sidebar(selected.is_some());
        self.reload_button.set_visible(selected.is_some());
        self.image_button.set_visible(page == "image");
    }

    /// No images, no sidebar. The first image brings it up, unless it would cover the content.
    fn show_sidebar(&self, has_images: bool) {
        if has_images == self.sidebar_toggle.get_visible() {
            return;
        }
        self.sidebar_toggle.set_visible(has_images);
        self.flap.set_locked(!has_images);
        self.flap
            .set_reveal_flap(has_images && !self.flap.is_folded());
        self.flap.set_swipe_to_open(has_images);
    }
}
