//! The form of *Other Backing File*: what an overlay is to stand on, and whether its disk is to
//! read the same. Where the old backing file is missing, only the link can be mended.

mod draft;

use std::path::PathBuf;

use platter::Control;
use platter::chain::{Candidate, FolderIndex, candidates};
use platter::image::{self, Format};
use platter::storage::{FileStorage, LockMode};
use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

use crate::a11y;
use crate::describe;
use crate::file_chooser;
use crate::format;
use crate::i18n::gettext;
use crate::operation::{Ask, FormOutput, Request, form};
use crate::subject::Subject;
use draft::Wish;

/// Candidates that are offered at most.
const MOST: usize = 12;

/// What the window is asked for to put an image on another backing file.
pub(crate) fn request(subject: Subject) -> Request {
    Request {
        heading: gettext("Other Backing File"),
        about: subject.name(),
        ask: Ask::Form(form::<RebaseForm>(subject)),
    }
}

/// The form's model.
pub(crate) struct RebaseForm {
    subject: Subject,
    /// What is offered, the likeliest first.
    offered: Vec<(PathBuf, Format)>,
    /// What the user chose elsewhere.
    chosen: Option<PathBuf>,
    file_dialog: Option<gtk::FileChooserNative>,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum RebaseInput {
    /// A field was changed.
    Changed,
    /// Another file is wanted.
    FileClicked,
    /// This file.
    FileChosen(PathBuf),
}

/// What was found out off the main thread.
#[derive(Debug)]
pub(crate) struct Found {
    offered: Vec<Candidate>,
    /// All that the disk stands on can be read.
    whole: bool,
}

#[relm4::component(pub(crate))]
impl Component for RebaseForm {
    type Init = Subject;
    type Input = RebaseInput;
    type Output = FormOutput;
    type CommandOutput = Found;

    view! {
        gtk::Box {
            set_orientation: gtk::Orientation::Vertical,
            set_spacing: 18,

            adw::PreferencesGroup {
                #[name = "candidates"]
                add = &adw::ComboRow {
                    set_title: &gettext("Backing file"),
                    set_subtitle: &gettext("From the same folder, the likeliest first"),
                    connect_selected_notify => RebaseInput::Changed,
                },
                #[name = "other"]
                add = &adw::ActionRow {
                    set_title: &gettext("Another file…"),
                    set_use_markup: false,
                    set_activatable: true,
                    connect_activated => RebaseInput::FileClicked,
                    add_suffix = &gtk::Image {
                        set_icon_name: Some("folder-open-symbolic"),
                    },
                },
            },
            adw::PreferencesGroup {
                #[name = "keep_row"]
                add = &adw::ActionRow {
                    set_title: &gettext("Keep what the disk holds"),
                    set_subtitle: &gettext("Off, only the name in the header changes: for a file that was moved or renamed"),
                    set_title_lines: 0,
                    set_subtitle_lines: 0,
                    #[name = "keep"]
                    add_suffix = &gtk::Switch {
                        set_valign: gtk::Align::Center,
                        connect_active_notify => RebaseInput::Changed,
                    },
                    set_activatable_widget: Some(&keep),
                },
                add = &adw::ActionRow {
                    set_title: &gettext("Relative path"),
                    set_subtitle: &gettext("The two files can be moved together"),
                    set_subtitle_lines: 0,
                    #[name = "relative"]
                    add_suffix = &gtk::Switch {
                        set_valign: gtk::Align::Center,
                        set_active: true,
                        connect_active_notify => RebaseInput::Changed,
                    },
                    set_activatable_widget: Some(&relative),
                },
            },
        }
    }

    fn init(
        subject: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let widgets = view_output!();
        a11y::name(&widgets.keep, &gettext("Keep what the disk holds"));
        a11y::name(&widgets.relative, &gettext("Relative path"));
        let asked = subject.clone();
        sender.spawn_oneshot_command(move || find(&asked));
        let model = Self {
            subject,
            offered: Vec::new(),
            chosen: None,
            file_dialog: None,
        };
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
            RebaseInput::Changed => self.propose(widgets, &sender),
            RebaseInput::FileClicked => {
                let folder = self.subject.path.parent().unwrap_or(&self.subject.path);
                let input = sender.input_sender().clone();
                self.file_dialog = Some(file_chooser::choose(
                    root,
                    &gettext("Choose a Backing File"),
                    gtk::FileChooserAction::Open,
                    folder,
                    move |path| input.emit(RebaseInput::FileChosen(path)),
                ));
            }
            RebaseInput::FileChosen(path) => {
                widgets.other.set_subtitle(&format::short_path(&path));
                self.chosen = Some(path);
                self.propose(widgets, &sender);
            }
        }
    }

    fn update_cmd_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        found: Self::CommandOutput,
        sender: ComponentSender<Self>,
        _root: &Self::Root,
    ) {
        let names: Vec<String> = found.offered.iter().map(describe_candidate).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let offered = found.offered.into_iter();
        self.offered = offered.map(|found| (found.path, found.format)).collect();
        widgets
            .candidates
            .set_model(Some(&gtk::StringList::new(&names)));
        widgets.candidates.set_sensitive(!names.is_empty());
        widgets.keep.set_active(found.whole);
        widgets.keep_row.set_sensitive(found.whole);
        self.propose(widgets, &sender);
    }
}

impl RebaseForm {
    fn propose(&self, widgets: &RebaseFormWidgets, sender: &ComponentSender<Self>) {
        let index = usize::try_from(widgets.candidates.selected()).unwrap_or(usize::MAX);
        let offered = self.offered.get(index).cloned();
        let elsewhere = self.chosen.clone().map(|path| {
            let format = format_of(&path);
            (path, format)
        });
        let output = match elsewhere.or(offered) {
            Some((backing, format)) => FormOutput::Ready(draft::draft(
                self.subject.clone(),
                Wish {
                    backing,
                    format,
                    relative: widgets.relative.is_active(),
                    keep: widgets.keep.is_active(),
                },
            )),
            None => FormOutput::Incomplete(Some(gettext("Choose the file to stand on."))),
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }
}

/// Looks at the folder and at the chain.
fn find(subject: &Subject) -> Found {
    let folder = subject.path.parent().unwrap_or(&subject.path);
    let index = FolderIndex::read(folder, &Control::new()).unwrap_or_default();
    let header = subject.look_at_headers().ok();
    let info = header.as_ref().and_then(|chain| chain.active().info());
    let size = info.map_or(0, |info| info.virtual_size);
    let recorded = info.and_then(|info| info.backing.as_ref());
    let mut offered = candidates(&subject.path, size, recorded, &index);
    offered.truncate(MOST);
    let whole = subject.look().and_then(|chain| chain.disk()).is_ok();
    Found { offered, whole }
}

/// "base.qcow2 · QCOW2 · 10 GiB · same name".
fn describe_candidate(candidate: &Candidate) -> String {
    let mut parts = vec![
        format::file_name(&candidate.path),
        describe::format_label(candidate.format).to_owned(),
    ];
    parts.extend(candidate.virtual_size.map(format::size));
    if candidate.same_name {
        parts.push(gettext("same name"));
    } else if candidate.same_size {
        parts.push(gettext("same size"));
    }
    parts.join(" · ")
}

/// By content; what nothing fits is raw.
fn format_of(path: &std::path::Path) -> Format {
    FileStorage::open(path, LockMode::Peek)
        .and_then(|file| image::probe(&file))
        .map_or(Format::Raw, |probe| probe.format)
}
