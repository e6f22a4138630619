//! Pictures of the map, made off the main thread.

use std::ops::Range;
use std::sync::{Arc, MutexGuard, PoisonError};

use platter::Control;
use platter::plot::layout::Layout;
use platter::plot::raster::{self, Palette, Picture};
use platter::plot::tiles::MapCells;
use relm4::gtk::prelude::Cast;
use relm4::gtk::{gdk, glib};

use super::helpers::strip_frames;
use super::subject::Subject;
use crate::comparison::Comparison;

/// A picture that is wanted.
#[derive(Clone, Debug)]
pub(super) struct FrameRequest {
    pub(super) subject: Subject,
    pub(super) layout: Layout,
    /// What is drawn over the map.
    pub(super) compared: Option<Arc<Comparison>>,
    pub(super) palette: Palette,
    /// Device pixels to a logical one.
    pub(super) scale: u32,
}

/// A picture of the map.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(super) request: FrameRequest,
    pub(super) picture: gdk::Texture,
    /// The parts of the minimap (0 to 1, from the left) that it shows; none when it shows all.
    pub(super) strip_frames: Vec<Range<f64>>,
}

/// Draws at once what is known, then again with what had to be read for it. Gives up between tiles
/// when `superseded`.
pub(super) fn render(request: FrameRequest, superseded: &dyn Fn() -> bool, show: &dyn Fn(Frame)) {
    let mut cells = lock(&request.subject);
    let visible = || request.layout.visible().map(|(spot, _)| spot.cell);
    let missing = cells.missing(visible());
    let first = draw(&request, &cells);
    if missing.is_empty() {
        drop(cells);
        show(Frame::new(request, first));
        return;
    }
    show(Frame::new(request.clone(), first));
    for tile in missing {
        if superseded() {
            return;
        }
        // What cannot be read stays as estimated: the summary has told the error already.
        let _ = cells.load(&request.subject.chain, tile, &Control::new());
    }
    let picture = draw(&request, &cells);
    drop(cells);
    show(Frame::new(request, picture));
}

impl Frame {
    fn new(request: FrameRequest, picture: gdk::Texture) -> Self {
        let layout = &request.layout;
        let strip_frames = if layout.is_fit() {
            Vec::new()
        } else {
            let size = request.subject.summary.size();
            strip_frames(&layout.visible_ranges(), size, layout.is_mirrored())
        };
        Self {
            request,
            picture,
            strip_frames,
        }
    }
}

/// The whole disk as a strip of `width` by `height` logical pixels.
pub(super) fn strip(
    (subject, compared): (&Subject, Option<&Comparison>),
    size: (u32, u32),
    scale: u32,
    mirrored: bool,
    palette: &Palette,
) -> gdk::Texture {
    let bytes = bytes_of(compared);
    texture(raster::draw_strip(
        &subject.summary,
        size,
        scale,
        mirrored,
        palette,
        compared.is_some().then_some(&bytes),
    ))
}

/// A picture that GDK takes as it is.
pub(super) fn texture(picture: Picture) -> gdk::Texture {
    let side = |pixels: usize| i32::try_from(pixels).unwrap_or(i32::MAX);
    let (width, height) = (side(picture.width), side(picture.height));
    gdk::MemoryTexture::new(
        width,
        height,
        gdk::MemoryFormat::B8g8r8a8Premultiplied,
        &glib::Bytes::from_owned(picture.pixels),
        picture.width * 4,
    )
    .upcast()
}

pub(super) fn lock(subject: &Subject) -> MutexGuard<'_, MapCells> {
    subject.cells.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many bytes of a range differ.
pub(super) fn bytes_of(compared: Option<&Comparison>) -> impl Fn(Range<u64>) -> u64 {
    move |guest| compared.map_or(0, |compared| compared.found.bytes_in(guest))
}

fn draw(request: &FrameRequest, cells: &MapCells) -> gdk::Texture {
    let compared = request.compared.as_deref();
    let bytes = bytes_of(compared);
    texture(raster::draw(
        &request.layout,
        request.scale,
        &request.palette,
        |cell| cells.share(cell),
        compared.is_some().then_some(&bytes),
    ))
}
