//! The table of partitions.

use std::cell::Cell;
use std::rc::Rc;

use platter::op::edit::Alignment;
use platter::units::{KIB, MIB};
use relm4::gtk::{self, gdk, gio, glib, pango, prelude::*};

use super::helpers::{Row, aligned, is_good};
use super::table_fit;
use crate::a11y;
use crate::format;
use crate::i18n::{fill, gettext};
use crate::widgets::usage_bar;

/// How the content of a cell is called, with the number of its row behind it.
const CELL: &str = "partition-cell-";

/// The widgets and the model under them.
pub(super) struct Table {
    root: gtk::ScrolledWindow,
    view: gtk::ColumnView,
    rows: gio::ListStore,
    selection: gtk::SingleSelection,
    /// The program changes the selection, not the user. Told of its own changes, the pane would
    /// answer them, and two of them on the way would chase each other for ever.
    quiet: Rc<Cell<bool>>,
}

impl Table {
    /// An empty table; `selected` gets the index of a row that the user selects, `menu` that of one
    /// whose menu is asked for, and where.
    pub(super) fn new(
        selected: impl Fn(usize) + 'static,
        menu: impl Fn(usize, (f64, f64)) + 'static,
    ) -> Self {
        let rows = gio::ListStore::new::<glib::BoxedAnyObject>();
        let selection = gtk::SingleSelection::builder()
            .model(&rows)
            .autoselect(false)
            .can_unselect(true)
            .build();
        let quiet = Rc::new(Cell::new(false));
        let is_quiet = Rc::clone(&quiet);
        selection.connect_selected_notify(move |selection| {
            if let Ok(index) = usize::try_from(selection.selected())
                && selection.selected_item().is_some()
                && !is_quiet.get()
            {
                selected(index);
            }
        });
        let view = gtk::ColumnView::builder()
            .model(&selection)
            .css_classes(["partition-table"])
            .build();
        a11y::name(&view, &gettext("Partitions"));
        let folded = Rc::new(Cell::new(false));
        let columns = columns(&folded);
        for column in &columns {
            view.append_column(column);
        }
        connect_menu(&view, &selection, menu);
        let root = gtk::ScrolledWindow::builder()
            .child(&view)
            .vscrollbar_policy(gtk::PolicyType::Never)
            .propagate_natural_height(true)
            .overflow(gtk::Overflow::Hidden)
            .css_classes(["card"])
            .build();
        let [.., label, start, _, used, least, alignment] = &columns;
        let leaving = [least, start, alignment, used, label].map(Clone::clone);
        let (alignment, store, selected) = (alignment.clone(), rows.clone(), selection.clone());
        let is_quiet = Rc::clone(&quiet);
        table_fit::connect(&root, leaving.to_vec(), move |act| {
            is_quiet.set(true);
            let position = selected.selected();
            let all: Vec<glib::Object> = (0..store.n_items())
                .filter_map(|row| store.item(row))
                .collect();
            store.remove_all();
            act();
            // What has no column is said below the name.
            folded.set(!alignment.is_visible());
            store.splice(0, 0, &all);
            selected.set_selected(position);
            is_quiet.set(false);
        });
        Self {
            root,
            view,
            rows,
            selection,
            quiet,
        }
    }

    pub(super) fn root(&self) -> &gtk::ScrolledWindow {
        &self.root
    }

    /// What places of a menu are relative to.
    pub(super) fn view(&self) -> &gtk::ColumnView {
        &self.view
    }

    pub(super) fn show(&self, rows: Vec<Row>) {
        let rows: Vec<_> = rows.into_iter().map(glib::BoxedAnyObject::new).collect();
        self.quiet.set(true);
        self.rows.splice(0, self.rows.n_items(), &rows);
        self.quiet.set(false);
    }

    pub(super) fn select(&self, index: Option<usize>) {
        let position = index
            .and_then(|index| u32::try_from(index).ok())
            .unwrap_or(gtk::INVALID_LIST_POSITION);
        self.quiet.set(true);
        self.selection.set_selected(position);
        self.quiet.set(false);
    }
}

/// A click with the other button, or the key for menus.
fn connect_menu(
    view: &gtk::ColumnView,
    selection: &gtk::SingleSelection,
    menu: impl Fn(usize, (f64, f64)) + 'static,
) {
    let menu = Rc::new(menu);
    let click = gtk::GestureClick::builder()
        .propagation_phase(gtk::PropagationPhase::Capture)
        .button(gdk::BUTTON_SECONDARY)
        .build();
    let (clicked, over) = (Rc::clone(&menu), view.downgrade());
    // Not while it is pressed: the menu would take the release for its own.
    click.connect_released(move |gesture, _, x, y| {
        gesture.set_state(gtk::EventSequenceState::Claimed);
        if let Some(row) = over.upgrade().and_then(|view| row_at(&view, x, y)) {
            clicked(row, (x, y));
        }
    });
    view.add_controller(click);
    let keys = gtk::EventControllerKey::new();
    let (over, selection) = (view.downgrade(), selection.clone());
    keys.connect_key_pressed(move |_, key, _, modifiers| {
        let is_menu = key == gdk::Key::Menu
            || key == gdk::Key::F10 && modifiers.contains(gdk::ModifierType::SHIFT_MASK);
        let row = usize::try_from(selection.selected()).ok();
        if let (true, Some(view), Some(row)) = (is_menu, over.upgrade(), row) {
            menu(row, focused_place(&view));
            return glib::Propagation::Stop;
        }
        glib::Propagation::Proceed
    });
    view.add_controller(keys);
}

/// The row at a place of the view, by the cells that are in it: GTK does not say.
fn row_at(view: &gtk::ColumnView, x: f64, y: f64) -> Option<usize> {
    let mut widget = view.pick(x, y, gtk::PickFlags::DEFAULT)?;
    while widget.css_name() != "row" {
        widget = widget.parent()?;
    }
    let mut cell = widget.first_child();
    while let Some(known) = cell {
        let content = known.first_child()?;
        if let Some(row) = content.widget_name().strip_prefix(CELL) {
            return row.parse().ok();
        }
        cell = known.next_sibling();
    }
    None
}

/// In the middle of the row that has the focus.
fn focused_place(view: &gtk::ColumnView) -> (f64, f64) {
    let focus = view.root().and_then(|root| root.focus());
    let bounds = focus.and_then(|focus| focus.compute_bounds(view));
    let place = bounds.map(|bounds| {
        let (x, y) = (bounds.x() + 48.0, bounds.y() + bounds.height() / 2.0);
        (f64::from(x), f64::from(y))
    });
    place.unwrap_or_default()
}

/// Those of `folded` say below their name what has no column.
fn columns(folded: &Rc<Cell<bool>>) -> [gtk::ColumnViewColumn; 8] {
    let folded = Rc::clone(folded);
    let partition = column(&gettext("Partition"), move |row| {
        partition_cell(row, folded.get())
    });
    partition.set_expand(true);
    [
        partition,
        column(&gettext("File system"), |row| {
            text(&row.file_system).upcast()
        }),
        column(&gettext("Label"), |row| text(&row.label).upcast()),
        column(&gettext("Start"), |row| place(row.start, row.was_start)),
        column(&gettext("Size"), |row| place(row.size, row.was)),
        column(&gettext("Used"), used_cell),
        column(&gettext("Can shrink to"), least_cell),
        column(&gettext("Alignment"), alignment_cell),
    ]
}

/// A column whose cells are made by `cell`. Rows are few and short-lived: a cell is made anew when
/// it gets another row.
fn column(title: &str, cell: impl Fn(&Row) -> gtk::Widget + 'static) -> gtk::ColumnViewColumn {
    let factory = gtk::SignalListItemFactory::new();
    factory.connect_bind(move |_, item| {
        let Some(item) = item.downcast_ref::<gtk::ListItem>() else {
            return;
        };
        let Some(object) = item.item().and_downcast::<glib::BoxedAnyObject>() else {
            return;
        };
        let row = object.borrow::<Row>();
        let child = cell(&row);
        item.set_child(Some(&child));
        child.set_widget_name(&format!("{CELL}{}", item.position()));
        name_row(&child, &row);
    });
    factory.connect_unbind(|_, item| {
        if let Some(item) = item.downcast_ref::<gtk::ListItem>() {
            item.set_child(gtk::Widget::NONE);
        }
    });
    gtk::ColumnViewColumn::builder()
        .title(title)
        .factory(&factory)
        .build()
}

/// GTK gives rows no name before 4.12. The cell stands in its column's widget, that in the row.
fn name_row(cell: &gtk::Widget, row: &Row) {
    let Some(widget) = cell.parent().and_then(|column| column.parent()) else {
        return;
    };
    a11y::name(&widget, &row.partition);
    let facts = [&row.file_system, &row.label, &format::size(row.size)];
    let facts: Vec<&str> = facts
        .into_iter()
        .map(String::as_str)
        .filter(|fact| !fact.is_empty())
        .collect();
    a11y::describe(&widget, &facts.join(", "));
}

fn text(content: &str) -> gtk::Label {
    gtk::Label::builder()
        .label(content)
        .xalign(0.0)
        .ellipsize(pango::EllipsizeMode::End)
        .width_chars(i32::try_from(content.chars().count().min(14)).unwrap_or(14))
        .build()
}

fn size(bytes: u64) -> gtk::Label {
    gtk::Label::builder()
        .label(format::size(bytes))
        .xalign(0.0)
        .tooltip_text(format::exact_bytes(bytes))
        .css_classes(["numeric"])
        .build()
}

/// Where it begins or how long it is, and what that was before the pending edits.
fn place(bytes: u64, was: Option<u64>) -> gtk::Widget {
    let label = size(bytes);
    let Some(was) = was else {
        return label.upcast();
    };
    label.add_css_class("heading");
    let was = fill(&gettext("was {size}"), &[("size", &format::size(was))]);
    let cell = gtk::Box::builder()
        .orientation(gtk::Orientation::Vertical)
        .valign(gtk::Align::Center)
        .build();
    cell.append(&label);
    cell.append(
        &gtk::Label::builder()
            .label(was)
            .xalign(0.0)
            .css_classes(["caption", "dim-label"])
            .build(),
    );
    cell.upcast()
}

fn partition_cell(row: &Row, folded: bool) -> gtk::Widget {
    let mark = gtk::Box::builder()
        .valign(gtk::Align::Center)
        .css_classes(["partition-mark"])
        .build();
    let label = text(&row.partition);
    match row.colour {
        Some(colour) => mark.add_css_class(&format!("partition-{colour}")),
        None => label.add_css_class("dim-label"),
    }
    let cell = gtk::Box::builder().spacing(8).build();
    if row.indented {
        cell.set_margin_start(18);
    }
    cell.append(&mark);
    let Some(alignment) = row.alignment.filter(|_| folded) else {
        cell.append(&label);
        return cell.upcast();
    };
    let lines = gtk::Box::builder()
        .orientation(gtk::Orientation::Vertical)
        .valign(gtk::Align::Center)
        .build();
    lines.append(&label);
    let below = text(&aligned(alignment));
    below.add_css_class("caption");
    below.add_css_class(if is_good(alignment) {
        "dim-label"
    } else {
        "warning"
    });
    lines.append(&below);
    cell.append(&lines);
    cell.upcast()
}

fn used_cell(row: &Row) -> gtk::Widget {
    let Some((used, fraction)) = row.used else {
        return text("").upcast();
    };
    let label = size(used);
    let bar = usage_bar::new();
    bar.set_width_request(56);
    usage_bar::show(
        &bar,
        Some(fraction),
        &gettext("Used"),
        &format::percent(used, row.size),
    );
    bar.set_tooltip_text(Some(&format::percent(used, row.size)));
    let cell = gtk::Box::builder()
        .orientation(gtk::Orientation::Vertical)
        .valign(gtk::Align::Center)
        .spacing(3)
        .build();
    cell.append(&label);
    cell.append(&bar);
    cell.upcast()
}

/// How small it can be made; a dash, with the reason, for what stays as it is.
fn least_cell(row: &Row) -> gtk::Widget {
    match &row.least {
        None => text("").upcast(),
        Some(Ok(bytes)) => size(*bytes).upcast(),
        Some(Err(why)) => {
            let label = text("–");
            label.add_css_class("dim-label");
            label.set_tooltip_text(Some(why));
            a11y::name(&label, why);
            label.upcast()
        }
    }
}

fn alignment_cell(row: &Row) -> gtk::Widget {
    let Some(alignment) = row.alignment else {
        return text("").upcast();
    };
    let short = match alignment {
        Alignment::Mib => format::size(MIB),
        Alignment::FourKib => format::size(4 * KIB),
        Alignment::Cylinder => gettext("Cylinder"),
        Alignment::Sector => gettext("None"),
    };
    let (icon, class) = if is_good(alignment) {
        ("object-select-symbolic", "success")
    } else {
        ("dialog-warning-symbolic", "warning")
    };
    let sentence = aligned(alignment);
    let image = gtk::Image::builder()
        .icon_name(icon)
        .css_classes([class])
        .build();
    a11y::name(&image, &sentence);
    let cell = gtk::Box::builder()
        .spacing(6)
        .tooltip_text(sentence)
        .build();
    cell.append(
        &gtk::Label::builder()
            .label(&short)
            .css_classes(["numeric"])
            .build(),
    );
    cell.append(&image);
    cell.upcast()
}
