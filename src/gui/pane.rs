//! How a pane is plugged into the window.
//!
//! A pane (Overview, Partitions, Map, Chain) is a relm4 component in its own folder: `mod.rs` (the
//! model, the `view!`, `init` and `update` whose arms are one call each), `messages.rs` (`XInput`,
//! `XCommand`), `methods.rs` (what the arms call) and `helpers.rs` (pure functions with their
//! tests: most of the logic). Panes never import panes.
//!
//! The window asks of a pane only this:
//!
//! - `type Init = PaneInit`, `type Output = PaneOutput`, `type Input: From<PaneInput>`;
//! - `type Root` is any widget; it is put into the view stack as it is.
//!
//! `app/panes.rs` launches the panes and gives each its place, title and icon: to replace a
//! placeholder, change the component type there. A pane is told of every change of the selected
//! image by [`PaneInput::Show`], also several times while it is being opened (see
//! [`crate::session::Stage`]), and should change only what is new. Work on an image's data runs on
//! [`PaneInit::background`]; a pane starts costly work only while it is visible.

use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use crate::background::Background;
use crate::image_operation::ImageOperation;
use crate::operation::Request;
use crate::session::{Document, EditRequest};
use crate::settings::Settings;
use crate::subject::Subject;

/// What every pane is started with.
#[derive(Clone, Debug)]
pub(crate) struct PaneInit {
    /// Runs engine work off the main thread.
    pub(crate) background: Background,
    /// What is remembered between runs.
    pub(crate) settings: Settings,
}

/// What the window tells a pane.
#[derive(Clone, Debug)]
pub(crate) enum PaneInput {
    /// The selected image, or more of it than before.
    Show(Rc<Document>),
    /// No image is selected any more: let go of it.
    Clear,
    /// The pane has become visible, or is hidden now.
    Visible(bool),
    /// The user asked (in another pane) to see these guest bytes. The pane is made visible.
    Reveal(Range<u64>),
}

/// What a pane asks of the window.
#[derive(Debug)]
#[allow(dead_code, reason = "each pane uses its share of the words")]
pub(crate) enum PaneOutput {
    /// Open this image in this window, or select it if it is open.
    OpenPath(PathBuf),
    /// Ask the user where the file is that the selected image's chain knows by this path.
    Locate(PathBuf),
    /// Put text on the clipboard, and say so.
    Copy(String),
    /// Say in passing that something the user asked for was done.
    Toast(String),
    /// Say that something the user asked for failed.
    Error(ErrorReport),
    /// Show these guest bytes of the selected image in the Map pane.
    ShowRange(Range<u64>),
    /// Show this segment of the partition strip in the Partitions pane.
    ShowSegment(usize),
    /// Read the selected image again.
    Reload,
    /// Forget where the selected disk differs from another one.
    ForgetComparison,
    /// Do this; see [`crate::operation`].
    Operate(Request),
    /// Do this to an image that need not be open.
    OperateOn(ImageOperation, Subject),
    /// Show this file in the file manager.
    ShowFile(PathBuf),
    /// Change the edits that wait for the selected disk.
    Edit(EditRequest),
}

/// A failure in words for the user.
#[derive(Clone, Debug)]
pub(crate) struct ErrorReport {
    /// A plain translated sentence: what could not be done.
    pub(crate) heading: String,
    /// Why, translated as far as possible.
    pub(crate) body: String,
    /// The engine's own words, with file, offset and field: shown on demand, can be copied.
    pub(crate) details: String,
}
