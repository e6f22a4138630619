//! Keeping the rows equal to the session.

use std::rc::Rc;

use relm4::ComponentSender;

use super::row::Row;
use super::{Sidebar, SidebarOutput};
use crate::session::{Document, DocumentId};

impl Sidebar {
    pub(super) fn show(
        &mut self,
        documents: &[Rc<Document>],
        selected: Option<DocumentId>,
        sender: &ComponentSender<Self>,
    ) {
        let list = self.list.clone();
        self.rows.retain(|row| {
            let open = documents.iter().any(|document| document.id == row.id());
            if !open {
                list.remove(row.root());
            }
            open
        });
        // The session only appends: rows that stay are in order.
        for document in documents {
            match self.rows.iter_mut().find(|row| row.id() == document.id) {
                Some(row) => row.show(document),
                None => self.append(document, sender),
            }
        }
        let row = self.rows.iter().find(|row| Some(row.id()) == selected);
        self.list.select_row(row.map(Row::root));
    }

    pub(super) fn announce(&self, index: usize, sender: &ComponentSender<Self>) {
        if let Some(row) = self.rows.get(index) {
            // The window outlives its sidebar.
            let _ = sender.output(SidebarOutput::Selected(row.id()));
        }
    }

    fn append(&mut self, document: &Rc<Document>, sender: &ComponentSender<Self>) {
        let output = sender.output_sender().clone();
        let row = Row::new(document, move |id| {
            output.emit(SidebarOutput::CloseRequested(id));
        });
        self.list.append(row.root());
        self.rows.push(row);
    }
}
