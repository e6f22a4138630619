//! A form of one switch: an operation that can be done in two ways.

use relm4::adw;
use relm4::adw::prelude::*;
use relm4::gtk;
use relm4::prelude::*;

use crate::a11y;
use crate::operation::{Draft, FormOutput};

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
            add = &adw::ActionRow {
                set_title: &init.title,
                set_subtitle: &init.subtitle,
                set_title_lines: 0,
                set_subtitle_lines: 0,
                #[name = "switch"]
                add_suffix = &gtk::Switch {
                    set_valign: gtk::Align::Center,
                    set_active: init.active,
                    connect_active_notify => SwitchInput::Changed,
                },
                set_activatable_widget: Some(&switch),
            },
        }
    }

    fn init(
        init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let widgets = view_output!();
        a11y::name(&widgets.switch, &init.title);
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
                let draft = (self.draft)(widgets.switch.is_active());
                // A form without its window has nobody to tell.
                let _ = sender.output(FormOutput::Ready(draft));
            }
        }
    }
}
