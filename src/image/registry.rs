//! The only place that names all formats.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::driver::ImageDriver;
use crate::image::info::Format;
use crate::storage::Storage;

/// Opens the image in `storage` as `format` (from [`crate::image::probe`] or from a record of it).
/// Reads the header and small tables only, and opens nothing else: an external data file must be
/// attached before data can be read.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] for formats that are only recognised, and for unknown
/// incompatible features; [`crate::ErrorKind::Corrupt`] for header fields beyond the limits.
pub fn open(storage: Arc<dyn Storage>, format: Format) -> Result<Box<dyn ImageDriver>> {
    let _ = storage;
    Err(Error::unsupported(format!(
        "{format} images are not readable yet"
    )))
}
