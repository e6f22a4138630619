//! Menus from lists of their entries.

use relm4::gtk::gio;

/// Entries that stand together: label, and action without its group.
pub(crate) type Items<'a> = &'a [(String, &'a str)];

/// A menu whose actions are all of `group`, with a line between its sections.
pub(crate) fn sections(group: &str, sections: &[Items<'_>]) -> gio::Menu {
    let menu = gio::Menu::new();
    for items in sections {
        let section = gio::Menu::new();
        for (label, action) in *items {
            section.append(Some(label), Some(&format!("{group}.{action}")));
        }
        menu.append_section(None, &section);
    }
    menu
}
