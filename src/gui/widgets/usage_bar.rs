//! A thin bar that shows how much of something is used.

use relm4::gtk::{self, prelude::*};

use crate::a11y;

/// An empty bar.
pub(crate) fn new() -> gtk::ProgressBar {
    gtk::ProgressBar::builder()
        .css_classes(["usage-bar"])
        .valign(gtk::Align::Center)
        .build()
}

/// Shows `fraction` (0 to 1), or an empty bar while it is unknown. `name` and `value` are for
/// screen readers.
pub(crate) fn show(bar: &gtk::ProgressBar, fraction: Option<f64>, name: &str, value: &str) {
    let fraction = fraction.unwrap_or(0.0);
    bar.set_fraction(fraction);
    // The least width that makes a little visible would make nothing look like a little.
    if fraction > 0.0 {
        bar.remove_css_class("empty");
    } else {
        bar.add_css_class("empty");
    }
    a11y::name_and_value(bar, name, value);
}
