//! A form of one name: what is to be called how.

use relm4::adw;
use relm4::adw::prelude::*;
use relm4::prelude::*;

use crate::operation::{Draft, FormOutput};

/// What is done with a name; why not, where it cannot be.
pub(crate) type DraftOfName = Box<dyn Fn(&str) -> Result<Draft, Option<String>>>;

/// What the form is started with.
pub(crate) struct NameInit {
    /// What the name is of.
    pub(crate) title: String,
    /// The name to begin with; it is selected.
    pub(crate) name: String,
    /// What is done with the name.
    pub(crate) draft: DraftOfName,
}

/// The form's model.
pub(crate) struct NameForm {
    draft: DraftOfName,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum NameInput {
    /// Another name was typed.
    Changed,
}

#[relm4::component(pub(crate))]
impl Component for NameForm {
    type Init = NameInit;
    type Input = NameInput;
    type Output = FormOutput;
    type CommandOutput = ();

    view! {
        adw::PreferencesGroup {
            #[name = "name"]
            add = &adw::EntryRow {
                set_title: &init.title,
                set_text: &init.name,
                set_activates_default: true,
                connect_changed => NameInput::Changed,
            },
        }
    }

    fn init(
        init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let widgets = view_output!();
        let model = Self { draft: init.draft };
        // Focus selects all of it, once there is a window to have the focus in.
        widgets.name.connect_map(|name| {
            name.grab_focus();
        });
        sender.input(NameInput::Changed);
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
            NameInput::Changed => {
                let output = match (self.draft)(widgets.name.text().trim()) {
                    Ok(draft) => FormOutput::Ready(draft),
                    Err(reason) => FormOutput::Incomplete(reason),
                };
                // A form without its window has nobody to tell.
                let _ = sender.output(output);
            }
        }
    }
}
