//! Columns that go where there is no room for all of them, and come back where there is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use relm4::gtk::{self, glib, prelude::*};

/// Does what it is given while the table has no rows.
type Emptied = dyn Fn(&dyn Fn());

/// The columns that can do without, the first of which goes first.
struct Fit {
    columns: Vec<gtk::ColumnViewColumn>,
    /// The width in pixels that each hidden one has needed, in the order in which they went.
    needed: RefCell<Vec<f64>>,
    /// Has the table without rows while a column goes or comes, so that all cells are made anew.
    emptied: Box<Emptied>,
    /// A look is due: another one would see the table before it was laid out again.
    due: Cell<bool>,
}

/// Hides and shows `columns` so that the table in `scrolled` is not cut off. `emptied` does what it
/// is given while the table has no rows.
pub(super) fn connect(
    scrolled: &gtk::ScrolledWindow,
    columns: Vec<gtk::ColumnViewColumn>,
    emptied: impl Fn(&dyn Fn()) + 'static,
) {
    let fit = Rc::new(Fit {
        columns,
        needed: RefCell::default(),
        emptied: Box::new(emptied),
        due: Cell::new(false),
    });
    let scrolled = scrolled.downgrade();
    let Some(adjustment) = scrolled.upgrade().map(|it| it.hadjustment()) else {
        return;
    };
    adjustment.connect_changed(move |_| look_soon(&fit, scrolled.clone()));
}

/// Looks when the table has been laid out, and not while it is. As long as columns come and go, one
/// look follows the other: a table that fits as before tells nobody.
fn look_soon(fit: &Rc<Fit>, scrolled: glib::WeakRef<gtk::ScrolledWindow>) {
    if fit.due.replace(true) {
        return;
    }
    let fit = Rc::clone(fit);
    glib::idle_add_local_once(move || {
        fit.due.set(false);
        let Some(table) = scrolled.upgrade() else {
            return;
        };
        let adjustment = table.hadjustment();
        if fit.look(adjustment.upper(), adjustment.page_size()) {
            table.add_tick_callback(move |_, _| {
                look_soon(&fit, scrolled.clone());
                glib::ControlFlow::Break
            });
        }
    });
}

impl Fit {
    /// Lets one column go or come. Answers whether one did.
    fn look(&self, wanted: f64, room: f64) -> bool {
        if room <= 1.0 {
            return false;
        }
        let mut needed = self.needed.borrow_mut();
        if wanted > room + 0.5 {
            let Some(next) = self.columns.get(needed.len()) else {
                return false;
            };
            needed.push(wanted);
            (self.emptied)(&|| next.set_visible(false));
        } else {
            let last = needed.len().checked_sub(1);
            let Some(last) = last.filter(|last| needed[*last] <= room) else {
                return false;
            };
            needed.pop();
            if let Some(column) = self.columns.get(last) {
                (self.emptied)(&|| column.set_visible(true));
            }
        }
        true
    }
}
