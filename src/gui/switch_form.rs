//! A form of one switch: an operation that can be done in two ways.

use relm4::adw;
use relm4::adw::prelude::*;
use relm4::prelude::*;

use crate::operation::{Draft, FormOutput};
use crate::widgets::switch_row::SwitchRow;

/// What the form is started with.
pub(crate) struct SwitchInit {
    /// What is switched.
    pub(crate) title: String,
    /// What that means.
    pub(crate) subtitle: String,
    /// Whether it is on to begin with.
    pub(crate) active: bool,
    /// The operation, with it on or off.
    pub(crate) draft: Box<dyn Fn(bool) -> Draft>,
}

/// The form's model.
pub(crate) struct SwitchForm {
    draft: Box<dyn Fn(bool) -> Draft>,
}

/// To the form.
#[derive(Debug)]
pub(crate) enum SwitchInput {
    /// The switch was moved.
    Changed,
}

#[relm4::component(pub(crate))]
impl Component for SwitchForm {
    type Init = SwitchInit;
    type Input = SwitchInput;
    type Output = FormOutput;
    type CommandOutput = ();

    view! {
        adw::PreferencesGroup {
            #[name = "row"]
            #[template]
            add = &SwitchRow {
                set_title: &init.title,
                set_subtitle: &init.subtitle,
                #[template_child]
                switch {
                    set_active: init.active,
                    connect_active_notify => SwitchInput::Changed,
                },
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
        sender.input(SwitchInput::Changed);
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
            SwitchInput::Changed => {
                let draft = (self.draft)(widgets.row.switch.is_active());
                // A form without its window has nobody to tell.
                let _ = sender.output(FormOutput::Ready(draft));
            }
        }
    }
}
