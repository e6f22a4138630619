//! The one state of the image that the user should know of before anything else, as a strip above
//! the panes.

mod messages;

use relm4::gtk;
use relm4::prelude::*;

pub(crate) use messages::{BannerInput, BannerOutput};

/// The banner's model.
pub(crate) struct Banner;

#[relm4::component(pub(crate))]
impl SimpleComponent for Banner {
    type Init = ();
    type Input = BannerInput;
    type Output = BannerOutput;

    view! {
        gtk::Revealer {}
    }

    fn init(
        (): Self::Init,
        root: Self::Root,
        _sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let widgets = view_output!();
        ComponentParts {
            model: Self,
            widgets,
        }
    }

    fn update(&mut self, message: Self::Input, _sender: ComponentSender<Self>) {
        match message {
            BannerInput::Show(_) => (),
        }
    }
}
