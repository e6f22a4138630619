//! What the overview is told.

use crate::pane::{PaneInput, PaneOutput};
use crate::widgets::fact_list::FactAction;

/// To the overview.
#[derive(Debug)]
pub(crate) enum OverviewInput {
    /// From the window.
    Pane(PaneInput),
    /// A row was activated.
    Fact(FactAction),
    /// A segment of the strip was clicked.
    SegmentClicked(usize),
}

impl From<PaneInput> for OverviewInput {
    fn from(input: PaneInput) -> Self {
        Self::Pane(input)
    }
}

impl From<FactAction> for PaneOutput {
    fn from(action: FactAction) -> Self {
        match action {
            FactAction::Copy(text) => Self::Copy(text),
            FactAction::Open(path) => Self::OpenPath(path),
        }
    }
}
