//! Names, descriptions and values for screen readers, where GTK cannot know them.

use relm4::gtk::{self, prelude::*};

use crate::sys::update_text_properties;

/// The accessible name: for what shows only an icon or is painted.
pub(crate) fn name(widget: &impl IsA<gtk::Widget>, text: &str) {
    update_text_properties(widget.as_ref(), &[(gtk::AccessibleProperty::Label, text)]);
}

/// The accessible description: what a screen reader says after the name.
pub(crate) fn describe(widget: &impl IsA<gtk::Widget>, text: &str) {
    update_text_properties(
        widget.as_ref(),
        &[(gtk::AccessibleProperty::Description, text)],
    );
}

/// Name and value of something painted that shows a value (a bar).
pub(crate) fn name_and_value(widget: &impl IsA<gtk::Widget>, name: &str, value: &str) {
    update_text_properties(
        widget.as_ref(),
        &[
            (gtk::AccessibleProperty::Label, name),
            // Without a Value interface for arbitrary roles, GTK 4.8 hands the value to screen
            // readers only through the description.
            (gtk::AccessibleProperty::Description, value),
            (gtk::AccessibleProperty::ValueText, value),
        ],
    );
}

/// Name and tooltip of a button that shows only an icon.
pub(crate) fn icon_button(button: &impl IsA<gtk::Widget>, text: &str) {
    button.set_tooltip_text(Some(text));
    name(button, text);
    // The focusable part of a menu button is the toggle button inside of it.
    if button.is::<gtk::MenuButton>()
        && let Some(inner) = button.as_ref().first_child()
    {
        name(&inner, text);
    }
}
