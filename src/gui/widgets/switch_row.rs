//! A row with a switch, as newer versions of libadwaita have one.

use relm4::adw::prelude::*;
use relm4::{WidgetTemplate, adw, gtk};

use crate::a11y;

/// A row with a switch, which is called as the row.
#[relm4::widget_template(pub(crate))]
impl WidgetTemplate for SwitchRow {
    view! {
        adw::ActionRow {
            set_use_markup: false,
            set_title_lines: 0,
            set_subtitle_lines: 0,
            connect_title_notify[switch] => move |row| a11y::name(&switch, &row.title()),
            #[name = "switch"]
            add_suffix = &gtk::Switch {
                set_valign: gtk::Align::Center,
            },
            set_activatable_widget: Some(&switch),
        }
    }
}
