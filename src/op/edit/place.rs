//! Where the journal of an image is, and whether it may be trusted.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{FileStorage, LockMode};

/// `.NAME.platter-journal` beside the image.
#[must_use]
pub fn journal_path(image: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(image.file_name().unwrap_or_default());
    name.push(".platter-journal");
    image.with_file_name(name)
}

/// Makes an empty journal that only its owner can read.
///
/// # Errors
/// As `open(2)`; there must be none yet.
pub(super) fn create(image: &Path) -> Result<Arc<FileStorage>> {
    let path = journal_path(image);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|error| Error::io("cannot make the journal", error).with_path(&path))?;
    FileStorage::open(&path, LockMode::WriteExclusive).map(Arc::new)
}

/// Opens the journal of an image, if there is one.
///
/// # Errors
/// [`ErrorKind::Refused`] for a journal that somebody else could have made;
/// [`ErrorKind::Locked`] while it is in use.
pub(super) fn open(image: &Path) -> Result<Option<Arc<FileStorage>>> {
    let path = journal_path(image);
    let metadata = match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|error| Error::io("cannot open", error).with_path(&path))?,
    };
    let own = rustix::process::geteuid().as_raw();
    if !metadata.is_file() || metadata.uid() != own || metadata.mode() & 0o077 != 0 {
        return Err(Error::new(
            ErrorKind::Refused,
            "this journal was not made by this user, or others can write it",
        )
        .with_path(&path));
    }
    FileStorage::open(&path, LockMode::WriteExclusive).map(|storage| Some(Arc::new(storage)))
}

/// Removes the journal.
///
/// # Errors
/// As `unlink(2)`, but for a journal that is gone already.
pub(super) fn remove(image: &Path) -> Result<()> {
    let path = journal_path(image);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("cannot remove the journal", error).with_path(&path))
        }
        _ => Ok(()),
    }
}
