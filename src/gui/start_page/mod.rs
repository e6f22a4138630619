//! What the window shows while no image is open: how to open one, and the recent ones.

mod messages;
mod methods;

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::{StartPageInput, StartPageOutput};

use crate::i18n::gettext;

/// The page's model.
pub(crate) struct StartPage {
    group: adw::PreferencesGroup,
    rows: Vec<adw::ActionRow>,
}

#[relm4::component(pub(crate))]
impl SimpleComponent for StartPage {
    type Init = ();
    type Input = StartPageInput;
    type Output = StartPageOutput;

    view! {
        adw::StatusPage {
            set_icon_name: Some("drive-harddisk-symbolic"),
            set_title: &gettext("Open a Disk Image"),
            set_description: Some(&gettext("Choose an image, or drop one here, to see what is inside")),
            add_css_class: "start-page",

            adw::Clamp {
                set_maximum_size: 560,

                gtk::Box {
                    set_orientation: gtk::Orientation::Vertical,
                    set_spacing: 36,

                    gtk::Button {
                        set_label: &gettext("_Open Image…"),
                        set_use_underline: true,
                        set_action_name: Some("win.open"),
                        set_halign: gtk::Align::Center,
                        add_css_class: "pill",
                        add_css_class: "suggested-action",
                    },

                    gtk::Button {
                        set_label: &gettext("_New Image…"),
                        set_use_underline: true,
                        set_action_name: Some("win.new-image"),
                        set_halign: gtk::Align::Center,
                        add_css_class: "pill",
                    },

                    #[name = "group"]
                    adw::PreferencesGroup {
                        set_title: &gettext("Recent Images"),
                        set_visible: false,
                    },
                },
            },
        }
    }

    fn init(
        (): Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let widgets = view_output!();
        let _ = &sender;
        let model = Self {
            group: widgets.group.clone(),
            rows: Vec::new(),
        };
        ComponentParts { model, widgets }
    }

    fn update(&mut self, message: Self::Input, sender: ComponentSender<Self>) {
        match message {
            StartPageInput::Show(paths) => self.show(&paths, &sender),
        }
    }
}
