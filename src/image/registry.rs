//! The only place that names all formats.

use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::image::driver::ImageDriver;
use crate::image::info::Format;
use crate::image::qcow2::{self, Qcow2, Qcow2Writer};
use crate::image::raw::{Raw, RawWriter};
use crate::image::writer::{ImageWriter, Repair, RepairReport, SaveMetadata};
use crate::storage::{Storage, WritableStorage};

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

/// The files that a writable image lives in.
#[derive(Debug)]
pub struct WritableFiles {
    /// The image file, with the locks of [`crate::storage::LockMode::Write`].
    pub storage: Arc<dyn WritableStorage>,
    /// The external data file, where the image has one.
    pub data_file: Option<Arc<dyn WritableStorage>>,
    /// The guest disk below the image: what its unallocated clusters read as. `None` reads as
    /// zeroes. It may be shorter than the image.
    pub backing: Option<Arc<dyn Storage>>,
}

/// Opens an image for change. Its autoclear features that are not understood are cleared, and an
/// image that was not closed well is repaired first, as the format asks for.
///
/// # Errors
/// As [`open`]; [`crate::ErrorKind::Unsupported`] for formats that can only be read, and for an
/// image that is marked corrupt; [`crate::ErrorKind::Refused`] for one with an unfinished edit of its
/// partitions.
pub fn open_writable(files: WritableFiles, format: Format) -> Result<Box<dyn ImageWriter>> {
    open_for(files, format, false)
}

/// As [`open_writable`], also an image with an unfinished edit of its partitions
/// ([`ImageWriter::guard_edit`]): for who finishes it or takes it back.
///
/// # Errors
/// As there.
pub fn open_in_edit(files: WritableFiles, format: Format) -> Result<Box<dyn ImageWriter>> {
    open_for(files, format, true)
}

fn open_for(files: WritableFiles, format: Format, in_edit: bool) -> Result<Box<dyn ImageWriter>> {
    let path = files.storage.path().map(ToOwned::to_owned);
    let opened: Result<Box<dyn ImageWriter>> = match format {
        Format::Raw => RawWriter::open(files.storage).map(|image| Box::new(image) as _),
        Format::Qcow2 => Qcow2Writer::open_for(files, in_edit).map(|image| Box::new(image) as _),
        other => Err(Error::unsupported(format!(
            "{other} images cannot be changed yet"
        ))),
    };
    opened.map_err(|error| match path {
        Some(path) => error.with_path(path),
        None => error,
    })
}

/// Checks the image in `storage` and mends what `repair` says; durable on return. Nobody may have
/// the image open: this works on the file. It serves images that [`open_writable`] refuses because
/// they are marked corrupt. `save` is called once, before the first change, or never when nothing
/// is changed.
///
/// # Errors
/// [`Stop::Failed`] of [`crate::ErrorKind::Unsupported`] when the format has no check or no repair;
/// as [`open`]; I/O errors.
pub fn repair(
    storage: &Arc<dyn WritableStorage>,
    format: Format,
    repair: Repair,
    save: &SaveMetadata<'_>,
    control: &Control,
) -> Result<RepairReport, Stop> {
    match format {
        Format::Qcow2 => qcow2::repair(storage.as_ref(), repair, save, control),
        other => Err(Error::unsupported(format!("{other} images cannot be repaired")).into()),
    }
    .map_err(|stop| match (stop, storage.path()) {
        (Stop::Failed(error), Some(path)) => Stop::Failed(error.with_path(path)),
        (stop, _) => stop,
    })
}
