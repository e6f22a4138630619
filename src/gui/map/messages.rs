//! What the Map pane is told, and what its background work answers.

use std::path::PathBuf;

use platter::Stop;
use platter::plot::layout::Arrangement;
use platter::plot::summary::Summary;
use relm4::gtk::gdk;

use super::details::Details;
use super::export::ExportKind;
use super::render::Frame;
use super::subject::SubjectKey;
use crate::pane::PaneInput;

/// What happens to the pane.
#[derive(Debug)]
pub(crate) enum MapInput {
    /// The window's words.
    Pane(PaneInput),
    /// The canvas has another size, in logical pixels.
    CanvasResized(i32, i32),
    /// The minimap has another width.
    StripResized(i32),
    /// The plot has another width.
    PlotResized(i32),
    /// The pane has another width.
    PaneResized(f64),
    /// Light or dark, contrast, or the scale of the screen changed.
    LookChanged,
    /// A toggle of the toolbar was pressed.
    ArrangementChosen(Arrangement),
    /// Zoom by so many scales around a place in the canvas, or around the selected cell.
    Zoom(i32, Option<(i64, i64)>),
    /// Show the whole disk.
    Fit,
    /// Move the picture by so many pixels.
    Pan(i64, i64),
    /// The pointer is here, or has left.
    Pointed(Option<(i64, i64)>),
    /// The canvas was clicked.
    Clicked(i64, i64),
    /// Select a neighbour of the selected cell: columns to the right, rows down.
    Step(i64, i64),
    /// Select the cell so many views further down.
    Page(i64),
    /// Select the first (or last) cell of the disk.
    Edge(bool),
    /// Select the cell in the middle, if none is.
    Select,
    /// Select nothing.
    Unselect,
    /// The minimap was clicked at this part of its width, from the left.
    StripPointed(f64),
    /// Select the next place (or the one before) where the disk differs from another one.
    Difference(bool),
    /// The differences are not wanted any more.
    ComparisonClosed,
    /// Ask where to save.
    Export(ExportKind),
    /// Save there.
    ExportTo(ExportKind, PathBuf),
}

impl From<PaneInput> for MapInput {
    fn from(input: PaneInput) -> Self {
        Self::Pane(input)
    }
}

/// What background work found.
#[derive(Debug)]
pub(crate) enum MapCommand {
    /// The map of a disk was read.
    Read(SubjectKey, Result<Box<Summary>, Stop>),
    /// A picture is ready.
    Frame(Box<Frame>),
    /// The minimap is ready.
    Strip(SubjectKey, gdk::Texture),
    /// The plot is ready.
    Plot(SubjectKey, gdk::Texture),
    /// What lies in a cell.
    Details(SubjectKey, Box<Details>),
    /// A file was saved, or not.
    Exported(ExportKind, PathBuf, Result<(), Stop>),
}
