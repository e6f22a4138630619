//! The form of *Compare*: the disk to compare with.

mod draft;

use std::path::PathBuf;

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

use crate::file_chooser;
use crate::format;
use crate::i18n::gettext;
use crate::operation::{Ask, FormOutput, Request, form};
use crate::subject::Subject;

/// What the window is asked for to compare an image with another one.
pub(crate) fn request(subject: Subject) -> Request {
    Request {
        heading: gettext("Compare"),
        about: subject.name(),
        ask: Ask::Form(form::<CompareForm>(subject)),
    }
}

/// The form's model.
pub(crate) struct CompareForm {
    subject: Subject,
    other: Option<PathBuf>,
    file_dialog: Option<gtk::FileChooserNative>,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum CompareInput {
    /// Say what can be done.
    Changed,
    /// The other file is wanted.
    FileClicked,
    /// This file.
    FileChosen(PathBuf),
}

#[relm4::component(pub(crate))]
impl Component for CompareForm {
    type Init = Subject;
    type Input = CompareInput;
    type Output = FormOutput;
    type CommandOutput = ();

    view! {
        adw::PreferencesGroup {
            #[name = "other"]
            add = &adw::ActionRow {
                set_title: &gettext("With"),
                set_subtitle: &gettext("No image yet"),
                set_use_markup: false,
                set_activatable: true,
                connect_activated => CompareInput::FileClicked,
                add_suffix = &gtk::Image {
                    set_icon_name: Some("folder-open-symbolic"),
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
        sender.input(CompareInput::Changed);
        let model = Self {
            subject,
            other: None,
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
            CompareInput::Changed => self.propose(&sender),
            CompareInput::FileClicked => {
                let folder = self.subject.path.parent().unwrap_or(&self.subject.path);
                let input = sender.input_sender().clone();
                self.file_dialog = Some(file_chooser::choose(
                    root,
                    &gettext("Choose an Image"),
                    gtk::FileChooserAction::Open,
                    folder,
                    move |path| input.emit(CompareInput::FileChosen(path)),
                ));
            }
            CompareInput::FileChosen(path) => {
                widgets.other.set_subtitle(&format::short_path(&path));
                self.other = Some(path);
                self.propose(&sender);
            }
        }
    }
}

impl CompareForm {
    fn propose(&self, sender: &ComponentSender<Self>) {
        let output = match &self.other {
            Some(other) => FormOutput::Ready(draft::draft(self.subject.clone(), other.clone())),
            None => FormOutput::Incomplete(Some(gettext("Choose the image to compare with."))),
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }
}
