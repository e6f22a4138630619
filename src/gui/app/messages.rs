//! What the window is told.

use std::path::PathBuf;

use platter::Stop;
use platter::chain::OpenPolicy;

use super::watching::Stamps;
use crate::image_operation::ImageOperation;
use crate::jobs::JobsOutput;
use crate::operation::{Operation, Request};
use crate::operation_window::OperationOutput;
use crate::pane::PaneOutput;
use crate::session::{DocumentId, Fact};

/// The user's wishes, wherever they were uttered.
#[derive(Debug)]
pub(crate) enum AppInput {
    /// The file dialog was asked for.
    OpenRequested,
    /// These files, from the dialog, a drop, the command line or another process.
    OpenPaths(Vec<PathBuf>),
    /// An image of the sidebar.
    Selected(DocumentId),
    /// The image so many places further on in the sidebar.
    NextRequested(isize),
    /// Close an image.
    CloseRequested(DocumentId),
    /// Close the selected image, or the window when none is open.
    CloseSelected,
    /// Read the selected image again.
    ReloadRequested,
    /// Read the selected image again under another policy.
    PolicyChanged(OpenPolicy),
    /// A recent image is to be forgotten.
    RecentRemoved(PathBuf),
    /// A view was chosen by its name in the stack.
    ViewRequested(&'static str),
    /// The map of an image.
    MapRequested(PathBuf),
    /// Another view became visible.
    ViewChanged,
    /// The sidebar is to be shown or hidden.
    SidebarToggled,
    /// The About window was asked for.
    AboutRequested,
    /// What a pane asks.
    Pane(PaneOutput),
    /// Put on the clipboard.
    Copy(String),
    /// Make a new image.
    NewImageRequested,
    /// Make an image of a device.
    DeviceImageRequested,
    /// Do this.
    Operate(Request),
    /// Do this to the selected image.
    OperateOnSelected(ImageOperation),
    /// From the dialog of an operation, by its number.
    Operation(u64, OperationOutput),
    /// From the jobs.
    Jobs(JobsOutput),
    /// A file of this image was changed by somebody.
    FileChanged(DocumentId),
    /// That is long enough ago to look at it.
    FilesSettled(DocumentId),
    /// The window is to be closed.
    CloseWindow,
    /// What is to become of the jobs that run when the window is to be closed.
    QuitAnswered(QuitAnswer),
}

/// An answer of the user who wants to quit while jobs are running.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum QuitAnswer {
    /// The window stays.
    Stay,
    /// It closes when they are finished.
    Wait,
    /// They are cancelled, and it closes when they have stopped.
    CancelJobs,
}

/// What was learnt off the main thread.
#[derive(Debug)]
pub(crate) enum AppCommand {
    /// A fact of an image.
    Learnt {
        /// The image.
        id: DocumentId,
        /// Of which opening.
        generation: u64,
        /// The fact.
        fact: Fact,
    },
    /// The files of this image as they are now.
    FilesSeen(DocumentId, Stamps),
    /// An operation that needs no dialog has been looked at.
    DrawnUp(Result<Operation, Stop>),
}
