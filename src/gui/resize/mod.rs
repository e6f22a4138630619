//! The form of *Resize Disk*: a new size, and how the new space is prepared.

mod draft;
mod messages;
mod methods;

use std::rc::Rc;

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{ResizeInit, ResizeInput};

use crate::format;
use crate::i18n::gettext;
use crate::operation::{Ask, FormOutput, Request, form};
use crate::session::Document;
use crate::subject::Subject;

/// What the window is asked for to resize the disk of `document`.
pub(crate) fn request(document: &Rc<Document>) -> Option<Request> {
    let subject = Subject::of(document)?;
    let old_size = document.active()?.info()?.virtual_size;
    Some(Request {
        heading: gettext("Resize Disk"),
        about: subject.name(),
        ask: Ask::Form(form::<ResizeForm>(ResizeInit {
            subject,
            document: Rc::clone(document),
            old_size,
        })),
    })
}

/// The form's model.
pub(crate) struct ResizeForm {
    subject: Subject,
    document: Rc<Document>,
    old_size: u64,
}

#[relm4::component(pub(crate))]
impl Component for ResizeForm {
    type Init = ResizeInit;
    type Input = ResizeInput;
    type Output = FormOutput;
    type CommandOutput = ();

    view! {
        adw::PreferencesGroup {
            set_description: Some(&model.limits()),

            #[name = "size"]
            add = &adw::EntryRow {
                set_title: &gettext("New size"),
                set_text: &format::size(model.old_size).replace('\u{a0}', " "),
                set_activates_default: true,
                connect_changed => ResizeInput::Changed,
            },

            #[name = "space"]
            add = &adw::ComboRow {
                set_title: &gettext("New space"),
                set_model: Some(&gtk::StringList::new(&[])),
                connect_selected_notify => ResizeInput::Changed,
            },
        }
    }

    fn init(
        init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let model = Self::new(init);
        let widgets = view_output!();
        model.fill(&widgets);
        sender.input(ResizeInput::Changed);
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
            ResizeInput::Changed => self.propose(widgets, &sender),
        }
    }
}
