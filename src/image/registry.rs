//! The only place that names all formats.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::driver::ImageDriver;
use crate::image::info::Format;
use crate::image::qcow2::Qcow2;
use crate::image::raw::Raw;
use crate::storage::Storage;

/// Opens the image in `storage` as `format` (from [`crate::image::probe()`] or from a record of it).
/// Reads the header and small tables only, and opens nothing else: an external data file must be
/// attached before data can be read.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] for formats that are only recognised, and for unknown
/// incompatible features; [`crate::ErrorKind::Corrupt`] for header fields beyond the limits.
pub fn open(storage: Arc<dyn Storage>, format: Format) -> Result<Box<dyn ImageDriver>> {
    let path = storage.path().map(ToOwned::to_owned);
    let opened: Result<Box<dyn ImageDriver>> = match format {
        Format::Raw => Raw::open(storage).map(|image| Box::new(image) as _),
        Format::Qcow2 => Qcow2::open(storage).map(|image| Box::new(image) as _),
        Format::Bochs
        | Format::Cloop
        | Format::Dmg
        | Format::Luks
        | Format::Parallels
        | Format::Qcow1
        | Format::Qed
        | Format::Vdi
        | Format::Vhd
        | Format::Vhdx
        | Format::Vmdk => Err(Error::unsupported(format!(
            "{format} images are not readable yet"
        ))),
    };
    opened.map_err(|error| match path {
        Some(path) => error.with_path(path),
        None => error,
    })
}
