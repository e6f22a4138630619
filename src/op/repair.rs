//! Repairing an image (`qemu-img check -r`), so that it can be taken back: what a repair may
//! overwrite is saved in a file of its own first.
//!
//! A repair decides what tables and refcounts should have said. Where they were damaged by more
//! than a crash, it may decide wrongly, and what they did say is all that is left to find the data
//! by. The backup has that: the metadata as it was before the first change, never guest data. It
//! can be put back as long as nothing but the repair has changed the metadata.

mod backup;
mod restore;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{self, Repair, RepairReport};
use crate::storage::{FileStorage, Storage, WritableStorage};

pub use restore::restore;

use backup::Saved;

/// Backups beside an image at most, so that nobody fills a disk with them unawares.
const MOST: usize = 9;

/// Where the metadata goes that a repair may overwrite.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Backup {
    /// Into a new file beside the image, see [`backup_path`]. There is no place beside a block
    /// device.
    Beside,
    /// As [`Self::Beside`], and nowhere if that cannot be done: for those who expect a repair that
    /// knows no backups.
    BesideIfPossible,
    /// Into this new file.
    At(PathBuf),
    /// Nowhere.
    None,
}

/// What became of a repair.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What was found and done.
    pub report: RepairReport,
    /// Where the metadata from before is; `None` when nothing was changed or no backup was wanted.
    pub backup: Option<PathBuf>,
}

/// Checks the active layer of `chain`, which was opened for change (headers are enough), and mends
/// what `repair` says; durable on return. Before the first change, and only if there is one, the
/// metadata that it may overwrite is saved, durably too, in a file that only its owner can read.
/// A repair that fails or is cancelled leaves that file.
///
/// # Errors
/// As [`image::repair`]; [`ErrorKind::InvalidInput`] when the backup has no place, or there are
/// [nine](backup_path) of them; as `open(2)` and on a full disk. Without its backup nothing is
/// changed.
pub fn repair(
    chain: &Chain,
    repair: Repair,
    backup: &Backup,
    control: &Control,
) -> std::result::Result<Repaired, Stop> {
    let link = chain.active();
    let (Some(image), Some(files)) = (link.image(), &link.writable) else {
        return Err(not_open().into());
    };
    let saved = Mutex::new(None);
    let save = |ranges: &[Range<u64>]| -> Result<()> {
        let made = match backup {
            Backup::None => return Ok(()),
            Backup::At(path) => Saved::write(path, &files.file, ranges),
            Backup::Beside | Backup::BesideIfPossible => {
                beside(&files.file).and_then(|path| Saved::write(&path, &files.file, ranges))
            }
        };
        match made {
            Err(_) if *backup == Backup::BesideIfPossible => {}
            made => *saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(made?),
        }
        Ok(())
    };
    let storage = Arc::clone(&files.file) as Arc<dyn WritableStorage>;
    let report = image::repair(&storage, image.format(), repair, &save, control)?;
    let saved = saved.into_inner().unwrap_or_else(PoisonError::into_inner);
    let backup = match saved {
        Some(saved) => Some(saved.seal(&files.file)?),
        None => None,
    };
    Ok(Repaired { report, backup })
}

/// Where the next backup beside `image` goes: `NAME.repair-backup`, or with a number behind it
/// from `NAME.repair-backup.2` on. `None` when there are nine.
#[must_use]
pub fn backup_path(image: &Path) -> Option<PathBuf> {
    let name = image.file_name().unwrap_or_default();
    (1..=MOST).find_map(|number| {
        let mut name = OsString::from(name);
        name.push(".repair-backup");
        if number > 1 {
            name.push(format!(".{number}"));
        }
        let path = image.with_file_name(name);
        std::fs::symlink_metadata(&path).is_err().then_some(path)
    })
}

fn beside(file: &FileStorage) -> Result<PathBuf> {
    let wrong = |what: String| Err(Error::new(ErrorKind::InvalidInput, what));
    match file.path() {
        Some(_) if file.is_block_device() => {
            wrong("a device has no place beside it for what the repair overwrites".to_owned())
        }
        Some(path) => match backup_path(path) {
            Some(backup) => Ok(backup),
            None => wrong(format!(
                "there are {MOST} backups of earlier repairs already; remove what is not needed"
            )),
        },
        None => Err(not_open()),
    }
}

fn not_open() -> Error {
    Error::new(ErrorKind::InvalidInput, "the image is not open for change")
}
