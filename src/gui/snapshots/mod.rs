//! The Snapshots pane: the internal snapshots of an image, and what can be done with them.

mod draft;
mod helpers;
mod messages;
mod methods;
mod row;

use std::rc::Rc;

use relm4::adw::prelude::*;
use relm4::prelude::*;
use relm4::{adw, gtk};

pub(crate) use messages::SnapshotsInput;

use crate::i18n::gettext;
use crate::pane::{PaneInit, PaneOutput};
use crate::session::Document;
use row::SnapshotRow;

/// The pane's model.
pub(crate) struct Snapshots {
    document: Option<Rc<Document>>,
    rows: Vec<SnapshotRow>,
    /// The file dialog while it is open: it is no widget, nobody else keeps it.
    file_dialog: Option<gtk::FileChooserNative>,
}

#[relm4::component(pub(crate))]
impl Component for Snapshots {
    type Init = PaneInit;
    type Input = SnapshotsInput;
    type Output = PaneOutput;
    type CommandOutput = ();

    view! {
        gtk::Stack {
            set_vhomogeneous: false,

            #[name = "status"]
            add_named[Some("status")] = &adw::StatusPage {
                set_icon_name: Some("platter-snapshots-symbolic"),

                #[name = "first"]
                gtk::Button {
                    set_label: &gettext("_Take Snapshot…"),
                    set_use_underline: true,
                    set_halign: gtk::Align::Center,
                    add_css_class: "pill",
                    add_css_class: "suggested-action",
                    connect_clicked => SnapshotsInput::TakeClicked,
                },
            },

            add_named[Some("list")] = &gtk::ScrolledWindow {
                set_hscrollbar_policy: gtk::PolicyType::Never,

                adw::Clamp {
                    set_maximum_size: 800,

                    gtk::Box {
                        set_orientation: gtk::Orientation::Vertical,
                        set_spacing: 18,
                        add_css_class: "pane",

                        #[name = "group"]
                        adw::PreferencesGroup {
                            set_title: &gettext("Snapshots"),
                            set_description: Some(&gettext("The disk as it was, kept inside the image")),

                            #[wrap(Some)]
                            set_header_suffix = &gtk::Button {
                                set_label: &gettext("_Take Snapshot…"),
                                set_use_underline: true,
                                set_valign: gtk::Align::Center,
                                connect_clicked => SnapshotsInput::TakeClicked,
                            },
                        },
                    },
                },
            },
        }
    }

    fn init(
        _init: Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let model = Self {
            document: None,
            rows: Vec::new(),
            file_dialog: None,
        };
        let widgets = view_output!();
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
            SnapshotsInput::Pane(input) => self.take(input, widgets, root, &sender),
            SnapshotsInput::TakeClicked => self.ask_for_name(&sender),
            SnapshotsInput::Chosen(deed, id) => self.ask(deed, &id, root, &sender),
            SnapshotsInput::ExportTo(id, path) => self.export(&id, path, &sender),
        }
    }
}
