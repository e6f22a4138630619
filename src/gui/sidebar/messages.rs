//! What the sidebar is told, and tells.

use std::rc::Rc;

use crate::session::{Document, DocumentId};

/// To the sidebar.
#[derive(Debug)]
pub(crate) enum SidebarInput {
    /// The open images, and which is selected.
    Show {
        /// In the order of opening.
        documents: Vec<Rc<Document>>,
        /// One of them.
        selected: Option<DocumentId>,
    },
    /// A row was chosen.
    RowActivated(usize),
}

/// From the sidebar.
#[derive(Debug)]
pub(crate) enum SidebarOutput {
    /// Show this image.
    Selected(DocumentId),
    /// Close this image.
    CloseRequested(DocumentId),
}
