//! A thin bar that shows how much of something is used.

use relm4::gtk;

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
    bar.set_fraction(fraction.unwrap_or(0.0));
    a11y::name_and_value(bar, name, value);
}
