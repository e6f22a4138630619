//! The form of *Compare*: the disk to compare with.

mod draft;

use std::path::PathBuf;
use std::rc::Rc;

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

use crate::file_row::{FileRow, FileRowInit};
use crate::format;
use crate::i18n::gettext;
use crate::image_choices;
use crate::operation::{Ask, FormOutput, Request, form};
use crate::session::Document;
use crate::subject::Subject;

/// What the window is asked for to compare an image with another one.
/// `open` are the images that are open, and likely to be meant.
pub(crate) fn request(subject: Subject, open: &[Rc<Document>]) -> Request {
    let others = open.iter().map(|document| document.path.clone());
    let others = others.filter(|path| *path != subject.path).collect();
    Request {
        heading: gettext("Compare"),
        about: subject.name(),
        ask: Ask::Form(form::<CompareForm>((subject, others))),
    }
}

/// The form's model.
pub(crate) struct CompareForm {
    subject: Subject,
    /// What can be chosen in the list.
    others: Vec<PathBuf>,
    file_row: Controller<FileRow>,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum CompareInput {
    /// Say what can be done.
    Changed,
    /// With this file.
    FileChosen(PathBuf),
}

#[relm4::component(pub(crate))]
impl Component for CompareForm {
    type Init = (Subject, Vec<PathBuf>);
    type Input = CompareInput;
    type Output = FormOutput;
    type CommandOutput = ();

    view! {
        adw::PreferencesGroup {
            #[name = "list"]
            add = &adw::ComboRow {
                set_title: &gettext("With"),
                set_use_markup: false,
                set_use_subtitle: true,
                connect_selected_notify => CompareInput::Changed,
            },
            add = model.file_row.widget(),
        }
    }

    fn init(
        (subject, others): Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let folder = subject.path.parent().unwrap_or(&subject.path);
        let file_row = FileRow::builder()
            .launch(FileRowInit {
                title: gettext("Another file…"),
                question: gettext("Choose an Image"),
                action: gtk::FileChooserAction::Open,
                folder: folder.to_path_buf(),
                beside: None,
            })
            .forward(sender.input_sender(), CompareInput::FileChosen);
        let model = Self {
            subject,
            others,
            file_row,
        };
        let widgets = view_output!();
        model.show_others(&widgets);
        sender.input(CompareInput::Changed);
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
            CompareInput::Changed => self.propose(widgets, &sender),
            CompareInput::FileChosen(path) => {
                self.others.retain(|other| *other != path);
                self.others.insert(0, path);
                self.show_others(widgets);
                self.propose(widgets, &sender);
            }
        }
    }
}

impl CompareForm {
    /// Lists what can be chosen; the first is.
    fn show_others(&self, widgets: &CompareFormWidgets) {
        let names: Vec<_> = self
            .others
            .iter()
            .map(|it| format::short_path(it))
            .collect();
        let list = image_choices::list(&names);
        widgets.list.set_model(Some(&list));
        widgets.list.set_visible(!names.is_empty());
        widgets.list.set_selected(0);
    }

    fn propose(&self, widgets: &CompareFormWidgets, sender: &ComponentSender<Self>) {
        let output = match image_choices::chosen(&widgets.list, &self.others) {
            Some(other) => FormOutput::Ready(draft::draft(self.subject.clone(), other)),
            None => FormOutput::Incomplete(Some(gettext("Choose the image to compare with."))),
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }
}
