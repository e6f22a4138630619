//! What the partitions pane is told.

use platter::fs::change::Minimum;
use platter::op::edit::{Alignment, Edit, OtherPartition};

use super::actions::Deed;
use super::clipboard::Clip;
use super::smallest::SmallestKey;
use crate::pane::{ErrorReport, PaneInput};
use crate::session::DocumentId;
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
    /// The menu of a row of the table is asked for, at this place of the table.
    RowMenu(usize, (f64, f64)),
    /// A row of the details was activated.
    Fact(FactAction),
    /// Something is to be done.
    Do(Deed),
    /// A partition was found on the clipboard.
    Paste(Clip),
    /// Borders go there from now on.
    Align(Alignment),
    /// A dialog has made these edits.
    Edited(Vec<Edit>),
}

/// What was found out off the main thread.
#[derive(Debug)]
pub(crate) enum PartitionsCommand {
    /// How small a partition can be made, in bytes.
    Smallest {
        /// Of which reading of which image.
        key: SmallestKey,
        /// Its number on the disk as it was read.
        number: u32,
        /// The bytes, and why no fewer.
        least: Minimum,
    },
    /// A partition of another image was opened to be copied into this one, or why it was not.
    Copied(DocumentId, Result<OtherPartition, ErrorReport>),
    /// The table of a file was read, or why it was not.
    Imported(Result<Edit, ErrorReport>),
}

impl From<PaneInput> for PartitionsInput {
    fn from(input: PaneInput) -> Self {
        Self::Pane(input)
    }
}
