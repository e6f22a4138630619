//! What the jobs are told, and tell.

use std::path::PathBuf;
use std::sync::Arc;

use platter::job::{Event, JobId};
use relm4::{Sender, adw, gtk};

use crate::background::Background;
use crate::comparison::Comparison;
use crate::operation::{Offer, Operation, Request};
use crate::operation_window::OperationInput;
use crate::pane::ErrorReport;

/// What they are started with.
pub(crate) struct JobsInit {
    pub(crate) application: adw::Application,
    pub(crate) window: gtk::Window,
    pub(crate) background: Background,
}

/// To the jobs.
#[derive(Debug)]
pub(crate) enum JobsInput {
    /// Run this, and tell who asked how it ended.
    Submit(Operation, Option<Sender<OperationInput>>),
    /// News of the manager.
    Told(Event),
    /// Time to draw how far they are.
    Tick,
    /// This one has run long enough to be worth a dialog.
    Due(JobId),
    /// The dialog is not wanted.
    BackgroundClicked,
    /// The popover has been opened.
    Opened,
    /// Stop it.
    CancelClicked(JobId),
    /// Show what it did.
    ReportClicked(JobId),
    /// Show its file in the file manager.
    FileClicked(JobId),
    /// Forget all that are over.
    ClearClicked,
    /// Stop all of them: the application is to end.
    StopAll,
    /// Put on the clipboard.
    Copy(String),
}

/// From the jobs.
#[derive(Debug)]
pub(crate) enum JobsOutput {
    /// A job has begun to change these files.
    Began {
        /// Which.
        id: JobId,
        /// What it does.
        title: String,
        /// The files.
        writes: Vec<PathBuf>,
    },
    /// A job is over, and these files are what it made of them.
    Ended {
        /// Which.
        id: JobId,
        /// The files.
        writes: Vec<PathBuf>,
        /// An image to open.
        opens: Option<PathBuf>,
        /// The edits that waited for those files are applied.
        applied: bool,
        /// What was found out about the differences of two disks.
        compared: Option<Arc<Comparison>>,
        /// What its result is asked about.
        asks: Option<Request>,
    },
    /// Say in passing.
    Toast {
        /// The sentence.
        text: String,
        /// What can be done about it.
        offer: Option<Offer>,
    },
    /// A job failed that no dialog waits for.
    Failed(ErrorReport),
    /// Put on the clipboard, and say so.
    Copy(String),
    /// None runs any more.
    Idle,
}
