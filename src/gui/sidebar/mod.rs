//! The list of open images.

mod helpers;
mod messages;
mod methods;
mod row;

use relm4::gtk::{self, prelude::*};
use relm4::prelude::*;

pub(crate) use messages::{SidebarInput, SidebarOutput};

use crate::a11y;
use crate::i18n::gettext;
use row::Row;

/// The sidebar's model: the rows as they are.
pub(crate) struct Sidebar {
    list: gtk::ListBox,
    rows: Vec<Row>,
}

#[relm4::component(pub(crate))]
impl SimpleComponent for Sidebar {
    type Init = ();
    type Input = SidebarInput;
    type Output = SidebarOutput;

    view! {
        gtk::ScrolledWindow {
            set_hscrollbar_policy: gtk::PolicyType::Never,
            set_vexpand: true,
            set_width_request: 250,

            #[name = "list"]
            gtk::ListBox {
                add_css_class: "navigation-sidebar",
                set_selection_mode: gtk::SelectionMode::Browse,
                connect_row_activated[sender] => move |_, row| {
                    if let Ok(index) = usize::try_from(row.index()) {
                        sender.input(SidebarInput::RowActivated(index));
                    }
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
        a11y::name(&widgets.list, &gettext("Open images"));
        let model = Self {
            list: widgets.list.clone(),
            rows: Vec::new(),
        };
        ComponentParts { model, widgets }
    }

    fn update(&mut self, message: Self::Input, sender: ComponentSender<Self>) {
        match message {
            SidebarInput::Show {
                documents,
                selected,
            } => self.show(&documents, selected, &sender),
            SidebarInput::RowActivated(index) => self.announce(index, &sender),
        }
    }
}
