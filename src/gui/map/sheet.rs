//! The map as a picture to be kept: with a title, and a legend that says what the colours mean.

use platter::plot::layout::Rect;
use platter::plot::raster::{Kind, Palette, Picture, Rgb};
use relm4::gtk::cairo::{Context, Error, FontSlant, FontWeight, Format, ImageSurface};

/// What stands around the map.
#[derive(Debug)]
pub(super) struct Sheet<'a> {
    pub(super) palette: &'a Palette,
    /// Colour of the letters.
    pub(super) text: Rgb,
    pub(super) title: &'a str,
    pub(super) legend: &'a [(Kind, String)],
    /// Device pixels to a logical one.
    pub(super) scale: u32,
}

/// Height of a line, distance from the border, side of a swatch, in logical pixels.
const LINE: i32 = 22;
const MARGIN: i32 = 16;
const SWATCH: i32 = 12;

impl Sheet<'_> {
    /// Puts `map`, in device pixels, between title and legend.
    ///
    /// # Errors
    /// When cairo fails.
    pub(super) fn compose(&self, map: Picture) -> Result<Picture, Error> {
        let scale = i32::try_from(self.scale).unwrap_or(1).max(1);
        let map = surface_of(map)?;
        let lines = i32::try_from(self.legend.len()).unwrap_or(0);
        let top = MARGIN + LINE;
        let legend_top = top + map.height() / scale + MARGIN;
        let width = (map.width() / scale + 2 * MARGIN).max(20 * LINE);
        let height = legend_top + lines * LINE + MARGIN;
        let mut sheet = ImageSurface::create(Format::Rgb24, width * scale, height * scale)?;
        {
            let context = Context::new(&sheet)?;
            set_colour(&context, self.palette.paper);
            context.paint()?;
            context.set_source_surface(&map, f64::from(MARGIN * scale), f64::from(top * scale))?;
            context.paint()?;
            context.scale(f64::from(scale), f64::from(scale));
            self.write(
                &context,
                self.title,
                MARGIN,
                MARGIN + LINE / 2,
                FontWeight::Bold,
            )?;
            for (line, (kind, text)) in (0..).zip(self.legend) {
                let y = legend_top + line * LINE;
                self.paint_swatch(&context, *kind, y)?;
                let x = MARGIN + SWATCH + 8;
                self.write(&context, text, x, y + SWATCH - 1, FontWeight::Normal)?;
            }
        }
        picture_of(&mut sheet, self.palette.paper)
    }

    fn write(
        &self,
        context: &Context,
        text: &str,
        x: i32,
        y: i32,
        weight: FontWeight,
    ) -> Result<(), Error> {
        context.select_font_face("Cantarell", FontSlant::Normal, weight);
        context.set_font_size(13.0);
        set_colour(context, self.text);
        context.move_to(f64::from(x), f64::from(y));
        // Cairo takes no text with a NUL inside.
        context.show_text(&text.replace('\0', " "))
    }

    fn paint_swatch(&self, context: &Context, kind: Kind, y: i32) -> Result<(), Error> {
        let side = i64::from(SWATCH);
        let pixels = usize::try_from(SWATCH).unwrap_or(0);
        let mut picture = Picture::new(pixels, pixels, self.palette.paper);
        let all = Rect {
            width: side,
            height: side,
            ..Rect::default()
        };
        picture.fill(all, kind, self.palette.ink(kind));
        context.set_source_surface(&surface_of(picture)?, f64::from(MARGIN), f64::from(y))?;
        context.paint()
    }
}

/// The pixels that cairo has drawn, which must be finished.
///
/// # Errors
/// When someone else still draws.
pub(super) fn picture_of(surface: &mut ImageSurface, paper: Rgb) -> Result<Picture, Error> {
    let side = |pixels: i32| usize::try_from(pixels).unwrap_or(0);
    let mut picture = Picture::new(side(surface.width()), side(surface.height()), paper);
    let row = picture.width * 4;
    let stride = side(surface.stride()).max(row);
    let data = surface.data().map_err(|_| Error::SurfaceFinished)?;
    for (from, to) in data.chunks(stride).zip(picture.pixels.chunks_mut(row)) {
        to.copy_from_slice(&from[..row]);
        // Cairo leaves the fourth byte open where there is no transparency.
        to.iter_mut()
            .skip(3)
            .step_by(4)
            .for_each(|alpha| *alpha = u8::MAX);
    }
    Ok(picture)
}

fn surface_of(picture: Picture) -> Result<ImageSurface, Error> {
    let side = |pixels: usize| i32::try_from(pixels).unwrap_or(i32::MAX);
    let (width, height) = (side(picture.width), side(picture.height));
    let stride = side(picture.width * 4);
    ImageSurface::create_for_data(picture.pixels, Format::Rgb24, width, height, stride)
}

fn set_colour(context: &Context, colour: Rgb) {
    let part = |value: u8| f64::from(value) / 255.0;
    context.set_source_rgb(part(colour.0), part(colour.1), part(colour.2));
}

#[cfg(test)]
mod tests {
    use platter::plot::cell::Class;
    use platter::plot::raster::Ink;

    use super::*;

    #[test]
    fn the_map_stands_between_title_and_legend() {
        let ink = Ink {
            ground: Rgb(200, 10, 10),
            mark: Rgb(200, 10, 10),
        };
        let palette = Palette {
            paper: Rgb(255, 255, 255),
            inks: [ink; 5],
            different: ink,
        };
        let sheet = Sheet {
            palette: &palette,
            text: Rgb(0, 0, 0),
            title: "a\0b.qcow2",
            legend: &[(Class::Data.into(), "Data 5 GiB".to_owned())],
            scale: 2,
        };
        let map = Picture::new(600, 100, Rgb(0, 0, 250));
        let picture = sheet.compose(map).unwrap();
        let pixel = |x: usize, y: usize| {
            let at = (y * picture.width + x) * 4;
            [
                picture.pixels[at + 2],
                picture.pixels[at + 1],
                picture.pixels[at],
            ]
        };
        let top = usize::try_from(2 * (MARGIN + LINE)).unwrap();
        assert_eq!(pixel(32, top), [0, 0, 250]);
        assert_eq!(pixel(32 + 599, top + 99), [0, 0, 250]);
        assert_eq!(pixel(31, top), [255, 255, 255]);
        assert_eq!(
            pixel(40, top + 100 + 2 * 16 + 4),
            [200, 10, 10],
            "the swatch"
        );
        let is_ink = |y: usize| (0..picture.width).any(|x| pixel(x, y) == [0, 0, 0]);
        assert!((0..top).any(is_ink), "the title");
    }
}
