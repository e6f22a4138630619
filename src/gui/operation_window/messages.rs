//! What the window of an operation is told, and tells.

use platter::Stop;
use platter::job::State;
use platter::op::sample::Estimate;
use platter::storage::HostSpace;

use crate::operation::{FormOutput, Operation, Request};
use relm4::gtk;

/// What it is started with.
pub(crate) struct OperationInit {
    pub(crate) parent: gtk::Window,
    pub(crate) background: crate::background::Background,
    pub(crate) request: Request,
}

/// To the window.
#[derive(Debug)]
pub(crate) enum OperationInput {
    /// The form's fields have changed.
    Form(FormOutput),
    /// The user wants it done.
    Confirmed,
    /// The user wants it tried first.
    TryClicked,
    /// The user does not.
    Dismissed,
    /// The window has waited long enough for what it is to show.
    Due,
    /// Put on the clipboard.
    Copy(String),
    /// The job that it became is over.
    Ended(State),
}

/// From the window.
#[derive(Debug)]
pub(crate) enum OperationOutput {
    /// Run this; tell how it ended.
    Run(Operation),
    /// Put on the clipboard, and say so.
    Copy(String),
    /// It is not needed any more.
    Closed,
}

/// What was found out off the main thread.
#[derive(Debug)]
pub(crate) enum OperationCommand {
    /// The draft of this number.
    DrawnUp(u64, Result<Drawn, Stop>),
    /// How long the draft of this number will take.
    Sampled(u64, Option<Estimate>),
    /// The draft of this number once more, to be run.
    LookedAgain(u64, Result<Drawn, Stop>),
    /// What tries the draft of this number.
    TrialDrawn(u64, Result<Operation, Stop>),
}

/// An operation with what the host says of it.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) operation: Operation,
    /// Of the place where it writes, if it says how much.
    pub(crate) space: Option<HostSpace>,
}
