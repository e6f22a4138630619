//! A file that appears whole or not at all: written as `NAME.part`, renamed at the end.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, XattrFlags, fsetxattr, lgetxattr, lremovexattr, renameat_with};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{FileId, FileStorage, LockMode, WritableStorage};

/// Extended attribute of a part, as long as it is one.
const MARK: &str = "user.platter.part";

/// A new file on its way. Dropped before [`Self::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    storage: Arc<FileStorage>,
    target: PathBuf,
    part: PathBuf,
    /// The file that is to be replaced, held so that nobody uses it meanwhile.
    replaced: Option<FileStorage>,
    finished: bool,
}

impl NewFile {
    /// Begins a file that will be called `target`, with the locks of
    /// [`LockMode::WriteExclusive`]. Where `target` is a symbolic link, the file it leads to is
    /// meant. It keeps owner and mode of the file that it replaces, where it may. What a killed run
    /// left under the name of the part is replaced, where it can be told from other files.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when there is such a file and `replace` is not set, or something
    /// else has the name of the part,
    /// [`ErrorKind::Locked`] when somebody uses it, or is writing the same file just now; and as
    /// `open(2)`.
    pub fn create(target: &Path, replace: bool) -> Result<Self> {
        Self::begin(target, replace, 0o666)
    }

    /// As [`Self::create`], for a file that is new and that nobody but its owner can read.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_private(target: &Path) -> Result<Self> {
        Self::begin(target, false, 0o600)
    }

    /// `new_mode`, less what the user's mask takes away, is that of a file that replaces none.
    fn begin(target: &Path, replace: bool, new_mode: u32) -> Result<Self> {
        let target = match std::fs::canonicalize(target) {
            Ok(existing) => existing,
            Err(_) => target.to_path_buf(),
        };
        let replaced = Self::open_replaced(&target, replace)?;
        let part = part_of(&target)?;
        remove_abandoned(&part)?;
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(new_mode)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&part)
            .and_then(|file| {
                // Where there are no such attributes, a part that is left behind is in the way.
                let _ = fsetxattr(&file, MARK, b"1", XattrFlags::empty());
                match &replaced {
                    Some(_) => inherit(&file, &target),
                    None => Ok(()),
                }
            });
        opened.map_err(|error| Error::io("cannot create", error).with_path(&part))?;
        let storage = FileStorage::open(&part, LockMode::WriteExclusive).inspect_err(|_| {
            let _ = std::fs::remove_file(&part);
        })?;
        Ok(Self {
            storage: Arc::new(storage),
            target,
            part,
            replaced,
            finished: false,
        })
    }

    fn open_replaced(target: &Path, replace: bool) -> Result<Option<FileStorage>> {
        match std::fs::metadata(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("cannot create", error).with_path(target)),
            Ok(_) if !replace => Err(Error::new(
                ErrorKind::InvalidInput,
                "there is a file of this name already",
            )
            .with_path(target)),
            Ok(_) => FileStorage::open(target, LockMode::WriteExclusive).map(Some),
        }
    }

    /// Where to write.
    #[must_use]
    pub fn storage(&self) -> &Arc<FileStorage> {
        &self.storage
    }

    /// What it will be called.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes what was written durable, and then gives the file its name. The locks are held until
    /// the last owner of [`Self::storage`] is dropped.
    ///
    /// # Errors
    /// As [`WritableStorage::flush`] and `rename(2)`; [`ErrorKind::InvalidInput`] when a file of
    /// this name appeared meanwhile. Nothing is left behind then.
    pub fn finish(self) -> Result<()> {
        self.storage.flush()?;
        self.finish_unflushed()
    }

    /// Gives the file its name without waiting until it is durable: for those who can make it
    /// again. What takes the place of another file is made durable first all the same.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_unflushed(mut self) -> Result<()> {
        if self.replaced.is_some() {
            self.storage.flush()?;
        }
        let _ = lremovexattr(&self.part, MARK);
        self.rename()
            .map_err(|error| Error::io("cannot rename", error).with_path(&self.part))?;
        self.finished = true;
        // The name must be durable as well. A host that cannot do this keeps the file all the same.
        if let Some(folder) = self.target.parent() {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    fn rename(&self) -> io::Result<()> {
        if let Some(replaced) = &self.replaced {
            // The lock is on the file, not on its name: were the name of another file by now,
            // somebody may be using that.
            if FileId::of(&self.target)? != replaced.id() {
                return Err(io::Error::other("the file was replaced meanwhile"));
            }
            return std::fs::rename(&self.part, &self.target);
        }
        rename_to_free_name(&self.part, &self.target)
    }
}

/// Renames a file, on one file system, and takes no other's place.
///
/// # Errors
/// As `rename(2)`; [`io::ErrorKind::AlreadyExists`] when the name is taken.
pub fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            // Without the flag a hard link does the same: it never replaces.
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        result => result.map_err(io::Error::from),
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            // Only our own: should the name be another file's by now, that stays.
            if FileId::of(&self.part).is_ok_and(|id| id == self.storage.id()) {
                let _ = std::fs::remove_file(&self.part);
            }
        }
    }
}

/// `NAME.part` beside `target`.
fn part_of(target: &Path) -> Result<PathBuf> {
    let Some(name) = target.file_name() else {
        return Err(Error::new(ErrorKind::InvalidInput, "not a file name").with_path(target));
    };
    let mut part = OsString::from(name);
    part.push(".part");
    Ok(target.with_file_name(part))
}

/// Removes a part that nobody writes any more. A file that is none, as browsers make them, stays.
fn remove_abandoned(part: &Path) -> Result<()> {
    let metadata = match std::fs::symlink_metadata(part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.map_err(|error| Error::io("cannot create", error).with_path(part))?,
    };
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "is in the way").with_path(part));
    }
    let abandoned = FileStorage::open(part, LockMode::WriteExclusive)?;
    // It may have been killed before it could be marked.
    if metadata.len() > 0 && lgetxattr(part, MARK, &mut [0_u8; 8]).is_err() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "is in the way, and nothing tells that an interrupted run left it",
        )
        .with_path(part));
    }
    std::fs::remove_file(part)
        .map_err(|error| Error::io("cannot remove", error).with_path(part))?;
    drop(abandoned);
    Ok(())
}

/// Gives `file` owner, group and mode of the file `target`. An owner that it may not have it does
/// without; a group that it may not have gives nobody else's group any rights.
fn inherit(file: &File, target: &Path) -> io::Result<()> {
    let model = std::fs::metadata(target)?;
    let keeps_group = fchown(file, Some(model.uid()), Some(model.gid()))
        .or_else(|_| fchown(file, None, Some(model.gid())))
        .is_ok();
    let kept = if keeps_group { 0o7777 } else { 0o707 };
    file.set_permissions(Permissions::from_mode(model.mode() & kept))
}

#[cfg(test)]
fn mode_of(target: &Path) -> Option<u32> {
    std::fs::metadata(target)
        .ok()
        .map(|metadata| metadata.mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk.raw");
        let part = folder.path().join("disk.raw.part");
        let new = NewFile::create(&target, false).unwrap();
        new.storage().write_at(b"abc", 0).unwrap();
        assert!(part.exists() && !target.exists());
        drop(new);
        assert!(!part.exists() && !target.exists());

        let killed = NewFile::create(&target, false).unwrap();
        killed
            .storage()
            .write_at(b"left by a killed run", 0)
            .unwrap();
        std::fs::rename(&part, folder.path().join("aside")).unwrap();
        drop(killed);
        std::fs::rename(folder.path().join("aside"), &part).unwrap();
        let new = NewFile::create(&target, false).unwrap();
        new.storage().write_at(b"abc", 0).unwrap();
        new.finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"abc");
        assert!(!part.exists());
    }

    #[test]
    fn the_part_of_somebody_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk.raw");
        let part = folder.path().join("disk.raw.part");
        std::fs::write(&part, "half a download").unwrap();
        let error = NewFile::create(&target, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(std::fs::read(&part).unwrap(), b"half a download");
        std::fs::remove_file(&part).unwrap();

        // A file that was finished is none, whatever it is called later.
        NewFile::create(&target, false).unwrap().finish().unwrap();
        std::fs::write(&target, "a disk").unwrap();
        std::fs::rename(&target, &part).unwrap();
        assert!(NewFile::create(&target, false).is_err());
        assert!(part.exists());
    }

    #[test]
    fn a_private_file_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("backup");
        NewFile::create_private(&target).unwrap().finish().unwrap();
        assert_eq!(mode_of(&target), Some(0o600));
        assert!(NewFile::create_private(&target).is_err());
    }

    #[test]
    fn replaces_only_on_request_and_keeps_the_mode() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk.raw");
        std::fs::write(&target, "old").unwrap();
        std::fs::set_permissions(&target, Permissions::from_mode(0o640)).unwrap();
        let error = NewFile::create(&target, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);

        let new = NewFile::create(&target, true).unwrap();
        new.storage().write_at(b"new", 0).unwrap();
        new.finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        assert_eq!(mode_of(&target), Some(0o640));
    }

    #[test]
    fn never_takes_the_place_of_a_file_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk.raw");
        let first = NewFile::create(&target, false).unwrap();
        let second = NewFile::create(&target, true).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::Locked);
        std::fs::write(&target, "appeared").unwrap();
        assert!(first.finish().is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"appeared");

        let reader = FileStorage::open(&target, LockMode::Read).unwrap();
        let error = NewFile::create(&target, true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        drop(reader);
        assert!(NewFile::create(&target, true).is_ok());
    }
}
