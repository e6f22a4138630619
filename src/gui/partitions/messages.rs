//! What the partitions pane is told.

use platter::op::edit::Edit;

use super::actions::Deed;
use crate::pane::PaneInput;
use crate::widgets::fact_list::FactAction;
use crate::widgets::strip_editor::StripOutput;

/// To the pane.
#[derive(Debug)]
pub(crate) enum PartitionsInput {
    /// From the window.
    Pane(PaneInput),
    /// Select this segment of the strip.
    SegmentSelected(usize),
    /// What the user did with the strip.
    Strip(StripOutput),
    /// A row of the table was selected.
    RowSelected(usize),
    /// A row of the details was activated.
    Fact(FactAction),
    /// Something is to be done.
    Do(Deed),
    /// A dialog has made these edits.
    Edited(Vec<Edit>),
}

impl From<PaneInput> for PartitionsInput {
    fn from(input: PaneInput) -> Self {
        Self::Pane(input)
    }
}
