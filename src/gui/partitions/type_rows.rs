//! What a partition is for, as two rows: the name, with a list that can be searched, and the code,
//! which can be typed. The code counts.

use platter::op::edit::parse_type;
use platter::table::{PartitionType, TableKind, named_types, type_name};
use relm4::adw::prelude::*;
use relm4::{adw, gtk};

use crate::a11y;
use crate::i18n::gettext;

/// Size of the list in pixels.
const LIST: (i32, i32) = (340, 280);

/// The rows.
#[derive(Clone, Debug)]
pub(super) struct TypeRows {
    table: TableKind,
    pub(super) name: adw::ActionRow,
    pub(super) code: adw::EntryRow,
}

impl TypeRows {
    /// Rows for a partition of a table of this kind, showing `now`.
    pub(super) fn new(table: TableKind, now: PartitionType) -> Self {
        let list = gtk::MenuButton::builder()
            .icon_name("pan-down-symbolic")
            .valign(gtk::Align::Center)
            .css_classes(["flat"])
            .build();
        a11y::icon_button(&list, &gettext("Choose a Type"));
        let name = adw::ActionRow::builder()
            .use_markup(false)
            .title(gettext("Type"))
            .activatable_widget(&list)
            .build();
        name.add_suffix(&list);
        let title = match table {
            TableKind::Gpt => gettext("Type GUID"),
            TableKind::Mbr | TableKind::None => gettext("Type code"),
        };
        let code = adw::EntryRow::builder()
            .title(title)
            .text(type_code(now))
            .activates_default(true)
            .build();
        let rows = Self { table, name, code };
        list.set_popover(Some(&rows.list()));
        rows.show_name();
        let changed = rows.clone();
        rows.code.connect_changed(move |_| changed.show_name());
        rows
    }

    /// The type that is shown; `None` for a code that is none.
    pub(super) fn kind(&self) -> Option<PartitionType> {
        parse_type(self.code.text().trim(), self.table).ok()
    }

    fn show_name(&self) {
        let name = match self.kind() {
            Some(kind) => type_name(kind).map_or_else(|| gettext("Unknown"), str::to_owned),
            None => gettext("No type has this code"),
        };
        self.name.set_subtitle(&name);
    }

    /// All types that have a name.
    fn list(&self) -> gtk::Popover {
        let types = named_types(self.table);
        let rows = gtk::ListBox::builder()
            .css_classes(["type-list"])
            .selection_mode(gtk::SelectionMode::Browse)
            .build();
        a11y::name(&rows, &gettext("Types"));
        for (kind, name) in &types {
            rows.append(&row(*kind, name));
        }
        let search = gtk::SearchEntry::builder()
            .placeholder_text(gettext("Search by name or code"))
            .build();
        a11y::name(&search, &gettext("Search by name or code"));
        let texts: Vec<String> = types
            .iter()
            .map(|(kind, name)| format!("{name} {}", type_code(*kind)).to_lowercase())
            .collect();
        let typed = search.clone();
        rows.set_filter_func(move |row| {
            let text = usize::try_from(row.index()).ok();
            let text = text.and_then(|index| texts.get(index));
            text.is_some_and(|text| matches(text, &typed.text()))
        });
        let filtered = rows.clone();
        search.connect_changed(move |_| filtered.invalidate_filter());
        let list = gtk::ScrolledWindow::builder()
            .child(&rows)
            .hscrollbar_policy(gtk::PolicyType::Never)
            .width_request(LIST.0)
            .height_request(LIST.1)
            .build();
        let content = gtk::Box::new(gtk::Orientation::Vertical, 6);
        content.append(&search);
        content.append(&list);
        let popover = gtk::Popover::builder().child(&content).build();
        popover.add_css_class("type-popover");
        let first = rows.clone();
        search.connect_activate(move |_| {
            let mut index = 0;
            while let Some(row) = first.row_at_index(index) {
                if row.is_child_visible() {
                    row.activate();
                    break;
                }
                index += 1;
            }
        });
        let (code, closing) = (self.code.clone(), popover.clone());
        rows.connect_row_activated(move |_, row| {
            let index = usize::try_from(row.index()).ok();
            if let Some((kind, _)) = index.and_then(|index| types.get(index)) {
                code.set_text(&type_code(*kind));
            }
            closing.popdown();
        });
        popover
    }
}

/// Every word of what was typed is in the text.
fn matches(text: &str, typed: &str) -> bool {
    let typed = typed.to_lowercase();
    typed.split_whitespace().all(|word| text.contains(word))
}

fn row(kind: PartitionType, name: &str) -> gtk::ListBoxRow {
    let content = gtk::Box::new(gtk::Orientation::Vertical, 2);
    content.append(&gtk::Label::builder().label(name).xalign(0.0).build());
    content.append(
        &gtk::Label::builder()
            .label(type_code(kind))
            .xalign(0.0)
            .css_classes(["caption", "dim-label", "numeric"])
            .build(),
    );
    let row = gtk::ListBoxRow::builder().child(&content).build();
    a11y::name(&row, name);
    a11y::describe(&row, &type_code(kind));
    row
}

/// The code of a type, as its table has it.
pub(super) fn type_code(kind: PartitionType) -> String {
    match kind {
        PartitionType::Gpt(guid) => guid.to_string(),
        PartitionType::Mbr(code) => format!("0x{code:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_looked_for() {
        let text = "linux swap 0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";
        assert!(matches(text, ""));
        assert!(matches(text, "Swap lin"));
        assert!(matches(text, "0657"));
        assert!(!matches(text, "swap home"));
    }

    #[test]
    fn codes_are_parsed_back() {
        for table in [TableKind::Gpt, TableKind::Mbr] {
            for (kind, _) in named_types(table) {
                assert_eq!(parse_type(&type_code(kind), table).unwrap(), kind);
            }
        }
    }
}
