//! The map of the image's bytes.

use relm4::adw;
use relm4::prelude::*;

use crate::i18n::gettext;
use crate::pane::{PaneInit, PaneInput, PaneOutput};

/// The pane's model.
pub(crate) struct MapPane;

#[relm4::component(pub(crate))]
impl SimpleComponent for MapPane {
    type Init = PaneInit;
    type Input = PaneInput;
    type Output = PaneOutput;

    view! {
        adw::StatusPage {
            set_title: &gettext("Map"),
        }
    }

    fn init(
        _init: Self::Init,
        root: Self::Root,
        _sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let widgets = view_output!();
        ComponentParts {
            model: Self,
            widgets,
        }
    }
}
