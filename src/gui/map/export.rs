//! Saving map, plot and extents as files.

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platter::chain::Chain;
use platter::inspect::Contents;
use platter::plot::layout::Layout;
use platter::plot::raster::{self, Kind, Palette};
use platter::plot::{extents, svg};
use platter::{Control, Error, ErrorKind, Stop};
use plotters::prelude::{IntoDrawingArea, SVGBackend};
use relm4::gtk::cairo;
use relm4::gtk::prelude::TextureExt;

use super::comparison::sentence;
use super::helpers::class_name;
use super::render::{bytes_of, lock, texture};
use super::sheet::{Sheet, picture_of};
use super::subject::Subject;
use crate::comparison::Comparison;
use crate::format;
use crate::i18n::gettext;
use crate::widgets::map_plot::{self, PlotLook};

/// What can be saved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ExportKind {
    /// The visible map as pixels.
    MapPng,
    /// The visible map as a drawing.
    MapSvg,
    /// The plot as pixels.
    PlotPng,
    /// The plot as a drawing.
    PlotSvg,
    /// All extents as a table.
    ExtentsCsv,
    /// All ranges that differ from another disk as a table.
    DifferencesCsv,
}

impl ExportKind {
    /// All, with the names of their actions.
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::MapPng, "map-png"),
        (Self::MapSvg, "map-svg"),
        (Self::PlotPng, "plot-png"),
        (Self::PlotSvg, "plot-svg"),
        (Self::ExtentsCsv, "extents-csv"),
        (Self::DifferencesCsv, "differences-csv"),
    ];

    /// What the menu says.
    pub(super) fn title(self) -> String {
        match self {
            Self::MapPng => gettext("Map as PNG…"),
            Self::MapSvg => gettext("Map as SVG…"),
            Self::PlotPng => gettext("Plot as PNG…"),
            Self::PlotSvg => gettext("Plot as SVG…"),
            Self::ExtentsCsv => gettext("Extents as CSV…"),
            Self::DifferencesCsv => gettext("Differences as CSV…"),
        }
    }

    /// A file name for the image at `path`.
    pub(super) fn file_name(self, path: &Path) -> String {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let (what, extension) = match self {
            Self::MapPng => ("map", "png"),
            Self::MapSvg => ("map", "svg"),
            Self::PlotPng => ("allocation", "png"),
            Self::PlotSvg => ("allocation", "svg"),
            Self::ExtentsCsv => ("extents", "csv"),
            Self::DifferencesCsv => ("differences", "csv"),
        };
        format!("{stem}-{what}.{extension}")
    }
}

/// All that a file is made from.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) kind: ExportKind,
    pub(super) subject: Subject,
    pub(super) layout: Layout,
    /// What is drawn over the map.
    pub(super) compared: Option<Arc<Comparison>>,
    /// For the partitions of what differs.
    pub(super) contents: Option<Arc<Contents>>,
    pub(super) palette: Palette,
    pub(super) plot_look: PlotLook,
    /// Heading of a drawing.
    pub(super) title: String,
}

impl Export {
    /// Size of an exported plot in logical pixels.
    const PLOT_SIZE: (u32, u32) = (1200, 240);
    /// Pixels are drawn twice as fine as on the screen.
    const SCALE: u32 = 2;

    /// Writes the file; it appears under its name only when it is whole.
    ///
    /// # Errors
    /// When it cannot be written; [`ErrorKind::Refused`] when `path` is a file of the chain.
    pub(super) fn write(&self, path: &Path) -> Result<(), Stop> {
        refuse_own_files(&self.subject.chain, path)?;
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let written = self.write_to(&part).and_then(|()| {
            let renamed = fs::rename(&part, path);
            renamed.map_err(|error| Error::io("renaming the finished file", error).into())
        });
        if written.is_err() {
            // What was written of it is of no use to anyone.
            let _ = fs::remove_file(&part);
        }
        written
    }

    fn write_to(&self, path: &Path) -> Result<(), Stop> {
        let failed = |error| Error::io("writing the file", error).with_path(path);
        match self.kind {
            ExportKind::ExtentsCsv => {
                let file = File::create(path).map_err(failed)?;
                let mut output = BufWriter::with_capacity(1 << 20, file);
                extents::write_csv(&self.subject.chain, &mut output, &Control::new())
            }
            ExportKind::DifferencesCsv => {
                let Some(compared) = &self.compared else {
                    return Ok(());
                };
                let file = File::create(path).map_err(failed)?;
                let mut output = BufWriter::with_capacity(1 << 20, file);
                let contents = self.contents.as_deref();
                Ok(compared.found.write_csv(contents, &mut output)?)
            }
            ExportKind::MapSvg => Ok(fs::write(path, self.map_svg()).map_err(failed)?),
            ExportKind::PlotSvg => Ok(fs::write(path, self.plot_svg()?).map_err(failed)?),
            ExportKind::MapPng => save_png(self.map_picture()?, path),
            ExportKind::PlotPng => save_png(self.plot_picture()?, path),
        }
    }

    fn map_svg(&self) -> String {
        let legend = self.legend();
        let cells = lock(&self.subject);
        let compared = self.compared.as_deref();
        let bytes = bytes_of(compared);
        svg::draw(
            &self.layout,
            &self.palette,
            &self.title,
            &legend,
            |cell| cells.share(cell),
            compared.is_some().then_some(&bytes),
        )
    }

    fn map_picture(&self) -> Result<raster::Picture, Error> {
        let map = {
            let cells = lock(&self.subject);
            let compared = self.compared.as_deref();
            let bytes = bytes_of(compared);
            raster::draw(
                &self.layout,
                Self::SCALE,
                &self.palette,
                |cell| cells.share(cell),
                compared.is_some().then_some(&bytes),
            )
        };
        let sheet = Sheet {
            palette: &self.palette,
            text: self.plot_look.text,
            title: &self.title,
            legend: &self.legend(),
            scale: Self::SCALE,
        };
        let composed = sheet.compose(map);
        composed.map_err(|error| Error::new(ErrorKind::Io, format!("drawing the map: {error}")))
    }

    /// What there is, and how much of each.
    fn legend(&self) -> Vec<(Kind, String)> {
        let share = self.subject.summary.totals().share;
        let lines = share.classes().map(|class| {
            let size = format::size(share.of(class));
            let text = format!("{} {size}", class_name(class));
            (Kind::Of(class), text)
        });
        let compared = self.compared.as_deref();
        let differs = compared.map(|compared| (Kind::Different, sentence(compared)));
        lines.chain(differs).collect()
    }

    fn plot_svg(&self) -> Result<String, Error> {
        let mut text = String::new();
        let root = SVGBackend::with_string(&mut text, Self::PLOT_SIZE).into_drawing_area();
        map_plot::fill(&root, &self.plot_look)
            .and_then(|()| map_plot::draw(&root, &self.subject.series, &self.plot_look))
            .map_err(|error| Error::new(ErrorKind::Io, format!("drawing the plot: {error}")))?;
        drop(root);
        Ok(text)
    }

    fn plot_picture(&self) -> Result<raster::Picture, Error> {
        let scale = f64::from(Self::SCALE);
        let look = PlotLook {
            font_size: self.plot_look.font_size * scale,
            line: self.plot_look.line * Self::SCALE,
            ..self.plot_look.clone()
        };
        let size = (
            Self::PLOT_SIZE.0 * Self::SCALE,
            Self::PLOT_SIZE.1 * Self::SCALE,
        );
        plot_picture(&self.subject, &look, size)
            .map_err(|error| Error::new(ErrorKind::Io, format!("drawing the plot: {error}")))
    }
}

/// Draws the plot of a subject as pixels.
pub(super) fn plot_picture(
    subject: &Subject,
    look: &PlotLook,
    size: (u32, u32),
) -> Result<raster::Picture, cairo::Error> {
    let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    let mut surface =
        cairo::ImageSurface::create(cairo::Format::Rgb24, side(size.0), side(size.1))?;
    {
        let context = cairo::Context::new(&surface)?;
        map_plot::paint(&context, size, &subject.series, look)?;
    }
    picture_of(&mut surface, look.palette.paper)
}

fn save_png(picture: raster::Picture, path: &Path) -> Result<(), Stop> {
    texture(picture).save_to_png(path).map_err(|error| {
        let error = std::io::Error::other(error.to_string());
        Error::io("writing the picture", error)
            .with_path(path)
            .into()
    })
}

/// Nothing writes to an image, whatever name the user types.
fn refuse_own_files(chain: &Chain, path: &Path) -> Result<(), Error> {
    let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let Ok(target) = identity(path) else {
        return Ok(());
    };
    let own = chain
        .links()
        .iter()
        .filter_map(|link| link.path.as_deref())
        .any(|file| identity(file).is_ok_and(|file| file == target));
    if own {
        return Err(Error::new(ErrorKind::Refused, "this is the image itself").with_path(path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_image() {
        let path = Path::new("/vm/web.qcow2");
        assert_eq!(ExportKind::MapPng.file_name(path), "web-map.png");
        assert_eq!(ExportKind::ExtentsCsv.file_name(path), "web-extents.csv");
        let names: std::collections::BTreeSet<_> = ExportKind::ALL
            .iter()
            .map(|(kind, _)| kind.file_name(path))
            .collect();
        assert_eq!(names.len(), ExportKind::ALL.len());
    }
}
