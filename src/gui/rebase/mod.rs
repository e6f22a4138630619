//! The form of *Other Backing File*: what an overlay is to stand on, and whether its disk is to
//! read the same. Where the old backing file is missing, only the link can be mended.

mod draft;

use std::path::PathBuf;

use platter::Control;
use platter::chain::Candidate;
use platter::image::{self, Format};
use platter::op::rebase::likely_backing_files;
use platter::storage::{FileId, FileStorage, LockMode};
use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

use crate::describe;
use crate::file_row::{FileRow, FileRowInit};
use crate::format;
use crate::i18n::gettext;
use crate::image_sheets;
use crate::operation::{Ask, FormOutput, Request, form};
use crate::subject::Subject;
use crate::widgets::switch_row::SwitchRow;
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
    /// What is offered, in the order of the list: what the user chose elsewhere, then the
    /// likeliest first.
    offered: Vec<Offer>,
    /// It is known what is likely.
    looked: bool,
    file_row: Controller<FileRow>,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum RebaseInput {
    /// A field was changed.
    Changed,
    /// This file, which is not in the list.
    FileChosen(PathBuf),
}

/// What was found out off the main thread.
#[derive(Debug)]
pub(crate) enum Found {
    /// What is likely, and whether all that the disk stands on can be read.
    Folder(Vec<Offer>, bool),
    /// What the user chose elsewhere.
    Chosen(Offer),
}

/// Something to stand on.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The file; none is no file at all.
    file: Option<(PathBuf, Format)>,
    /// In the list.
    label: String,
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
                set_description: Some(&gettext("From the same folder, the likeliest first")),

                #[name = "candidates"]
                add = &adw::ComboRow {
                    set_title: &gettext("Backing file"),
                    set_use_markup: false,
                    set_use_subtitle: true,
                    connect_selected_notify => RebaseInput::Changed,
                },
                add = model.file_row.widget(),
            },
            adw::PreferencesGroup {
                #[name = "keep"]
                #[template]
                add = &SwitchRow {
                    set_title: &gettext("Keep what the disk holds"),
                    set_subtitle: &gettext("Off, only the name in the header changes: for a file that was moved or renamed"),
                    #[template_child]
                    switch {
                        connect_active_notify => RebaseInput::Changed,
                    },
                },
                #[name = "relative"]
                #[template]
                add = &SwitchRow {
                    set_title: &gettext("Relative path"),
                    set_subtitle: &gettext("The two files can be moved together"),
                    #[template_child]
                    switch {
                        set_active: true,
                        connect_active_notify => RebaseInput::Changed,
                    },
                },
            },
        }
    }

    fn init(
        subject: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let folder = subject.path.parent().unwrap_or(&subject.path);
        let file_row = FileRow::builder()
            .launch(FileRowInit {
                title: gettext("Another file…"),
                question: gettext("Choose a Backing File"),
                action: gtk::FileChooserAction::Open,
                folder: folder.to_path_buf(),
                beside: None,
            })
            .forward(sender.input_sender(), RebaseInput::FileChosen);
        let asked = subject.clone();
        sender.spawn_oneshot_command(move || find(&asked));
        let model = Self {
            subject,
            offered: Vec::new(),
            looked: false,
            file_row,
        };
        let widgets = view_output!();
        ComponentParts { model, widgets }
    }

    fn update_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: Self::Input,
        sender: ComponentSender<Self>,
        _root: &Self::Root,
    ) {
        match message {
            RebaseInput::Changed => self.propose(widgets, &sender),
            RebaseInput::FileChosen(path) => {
                sender.spawn_oneshot_command(move || Found::Chosen(chosen(path)));
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
        match found {
            Found::Folder(offered, whole) => {
                self.offered.extend(offered);
                self.looked = true;
                widgets.keep.switch.set_active(whole);
                widgets.keep.set_sensitive(whole);
            }
            Found::Chosen(offer) => self.offered.insert(0, offer),
        }
        let labels = self.offered.iter().map(|offer| offer.label.as_str());
        let labels: Vec<&str> = labels.collect();
        widgets
            .candidates
            .set_model(Some(&gtk::StringList::new(&labels)));
        widgets.candidates.set_selected(0);
        self.propose(widgets, &sender);
    }
}

impl RebaseForm {
    fn propose(&self, widgets: &RebaseFormWidgets, sender: &ComponentSender<Self>) {
        let index = usize::try_from(widgets.candidates.selected()).unwrap_or(usize::MAX);
        let keep = widgets.keep.switch.is_active();
        let output = match self.offered.get(index).filter(|_| self.looked) {
            Some(Offer { file: None, .. }) => FormOutput::Ready(if keep {
                image_sheets::flatten_draft(self.subject.clone())
            } else {
                draft::forget(self.subject.clone())
            }),
            Some(Offer {
                file: Some((backing, format)),
                ..
            }) => FormOutput::Ready(draft::draft(
                self.subject.clone(),
                Wish {
                    backing: backing.clone(),
                    format: *format,
                    relative: widgets.relative.switch.is_active(),
                    keep,
                },
            )),
            None => FormOutput::Incomplete(Some(gettext("Looking for likely files…"))),
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }
}

/// Looks at the folder and at the chain.
fn find(subject: &Subject) -> Found {
    let found = likely_backing_files(&subject.path, &subject.options(), &Control::new());
    let chain = subject.look();
    let whole = chain.as_ref().is_ok_and(|chain| chain.disk().is_ok());
    let present = chain.ok().filter(|_| whole).and_then(|chain| {
        let below = chain.links().get(1)?.path.as_deref()?;
        FileId::of(below).ok()
    });
    let is_present =
        |candidate: &Candidate| present.is_some() && FileId::of(&candidate.path).ok() == present;
    let likely = found.unwrap_or_default();
    // Who asks wants another one than that.
    let (same, others): (Vec<_>, Vec<_>) = likely.iter().partition(|it| is_present(it));
    let mut offered: Vec<Offer> = others.into_iter().take(MOST).map(offer).collect();
    offered.extend(same.into_iter().map(|candidate| {
        let mut offer = offer(candidate);
        // Translators: the backing file in this line is the one that the image stands on already.
        offer.label = format!("{} · {}", offer.label, gettext("as now"));
        offer
    }));
    offered.push(Offer {
        file: None,
        label: gettext("None: it stands on its own"),
    });
    Found::Folder(offered, whole)
}

/// "base.qcow2 · QCOW2 · 10 GiB · same name".
fn offer(candidate: &Candidate) -> Offer {
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
    if candidate.recognised {
        // Translators: with this file below, partitions or file systems are recognised on the disk.
        parts.push(gettext("disk recognised"));
    }
    Offer {
        file: Some((candidate.path.clone(), candidate.format)),
        label: parts.join(" · "),
    }
}

/// What the user chose elsewhere: a file that is there.
fn chosen(path: PathBuf) -> Offer {
    let format = format_of(&path);
    let label = format!(
        "{} · {}",
        format::short_path(&path),
        describe::format_label(format)
    );
    Offer {
        file: Some((path, format)),
        label,
    }
}

/// By content; what nothing fits is raw.
fn format_of(path: &std::path::Path) -> Format {
    FileStorage::open(path, LockMode::Peek)
        .and_then(|file| image::probe(&file))
        .map_or(Format::Raw, |probe| probe.format)
}
