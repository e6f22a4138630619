//! What the partitions pane is told.

use crate::pane::PaneInput;
use crate::widgets::fact_list::FactAction;

/// To the pane.
#[derive(Debug)]
pub(crate) enum PartitionsInput {
    /// From the window.
    Pane(PaneInput),
    /// Select this segment of the strip.
    SegmentSelected(usize),
    /// A row of the table was selected.
    RowSelected(usize),
    /// A row of the details was activated.
    Fact(FactAction),
}

impl From<PaneInput> for PartitionsInput {
    fn from(input: PaneInput) -> Self {
        Self::Pane(input)
    }
}
