//! What the Chain pane hears.

use platter::chain::graph::FamilyGraph;

use crate::chain_pane::menu::NodeDeed;
use crate::pane::PaneInput;

/// What the window and the user say.
#[derive(Debug)]
pub(crate) enum ChainInput {
    /// From the window.
    Pane(PaneInput),
    /// A node was clicked, or Return pressed on it.
    NodeActivated(usize),
    /// A node has the keyboard focus.
    NodeFocused(usize),
    /// Something is to be done with the node that was pointed at last.
    Do(NodeDeed),
    /// There is another width to draw in.
    Resized,
    /// Text size, writing direction or colours are other now.
    StyleChanged,
}

impl From<PaneInput> for ChainInput {
    fn from(input: PaneInput) -> Self {
        Self::Pane(input)
    }
}

/// What comes back from the background.
#[derive(Debug)]
pub(crate) enum ChainCommand {
    /// The family as of the request with this number.
    FamilyFound(u64, FamilyGraph),
}
