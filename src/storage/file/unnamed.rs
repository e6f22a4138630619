//! Scratch files without a name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::storage::file::{FileId, FileStorage};

impl FileStorage {
    /// An empty file on the file system of `folder` that has no name there. Only this process has it,
    /// and what it gives it to; its space is given back with the last who holds it, even if that is
    /// killed. It has no locks, and [`crate::storage::Storage::path`] knows none; errors name the folder.
    ///
    /// Where the file system can only make files with a name, it has one for the moment between two
    /// calls: a new one, for which no link is followed.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn unnamed(folder: &Path) -> Result<Self> {
        let made = match never_named(folder) {
            Err(error) if is_unknown(&error) => named_no_more(folder),
            made => made,
        };
        let opened = made.and_then(|file| {
            let metadata = file.metadata()?;
            Ok((FileId::from(&metadata), file))
        });
        let (id, file) = opened
            .map_err(|error| Error::io("cannot make a scratch file", error).with_path(folder))?;
        Ok(Self {
            file,
            path: folder.to_path_buf(),
            is_named: false,
            id,
            is_device: false,
            is_locked: false,
        })
    }
}

/// `O_EXCL` says here that it can never get a name.
fn never_named(folder: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE | libc::O_EXCL)
        .open(folder)
}

/// What file systems and kernels without `O_TMPFILE` say to it.
fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
    )
}

fn named_no_more(folder: &Path) -> io::Result<File> {
    let file = tempfile::Builder::new()
        .prefix(".platter-")
        .suffix(".scratch")
        .tempfile_in(folder)?;
    let (file, name) = file.into_parts();
    name.close()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::{Storage, WritableStorage};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_is_a_file_and_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileStorage::unnamed(folder.path()).unwrap();
        file.write_at(b"abc", 1 << 20).unwrap();
        let mut buf = [1; 4];
        file.read_at(&mut buf, (1 << 20) - 1).unwrap();
        assert_eq!(&buf, b"\0abc");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(file.path(), None);
        let error = file.read_at(&mut buf, 1 << 20).unwrap_err();
        assert_eq!(error.path(), Some(folder.path()));
    }

    #[test]
    fn both_ways_give_a_file_of_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let ways = [never_named(folder.path()), named_no_more(folder.path())];
        for made in ways {
            let metadata = made.unwrap().metadata().unwrap();
            assert_eq!((metadata.nlink(), metadata.mode() & 0o777), (0, 0o600));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn errors_name_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere");
        let error = FileStorage::unnamed(&nowhere).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.path(), Some(nowhere.as_path()));
    }
}
