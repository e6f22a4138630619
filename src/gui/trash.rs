//! The desktop's trash: into it, and out of it again.
//!
//! GIO moves files there and has no way back without a running file manager. Where a file went is
//! found by its identity in the folders that the trash specification of freedesktop.org names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use platter::storage::{FileId, rename_to_free_name};
use platter::{Error, ErrorKind, Result};
use relm4::gtk::{gio, glib, prelude::FileExt};

/// A file in the trash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Trashed {
    /// Where it was.
    origin: PathBuf,
    /// The trash's `files/` and `info/` entries.
    file: PathBuf,
    info: PathBuf,
}

/// Entries of a trash that are looked at.
const MOST: usize = 100_000;

/// Moves a file there. Answers where it is now, if that was found out.
///
/// # Errors
/// When the desktop cannot; the file is where it was then.
pub(crate) fn trash(path: &Path) -> Result<Option<Trashed>> {
    let id = FileId::of(path).ok();
    gio::File::for_path(path)
        .trash(gio::Cancellable::NONE)
        .map_err(|error| Error::new(ErrorKind::Io, error.message().to_owned()).with_path(path))?;
    Ok(id.and_then(|id| find(&folders(path), path, id)))
}

impl Trashed {
    /// Moves the file back, unless its name is taken.
    ///
    /// # Errors
    /// As `rename(2)`; what cannot be moved stays in the trash.
    pub(crate) fn put_back(&self) -> Result<()> {
        let failed = |error: io::Error| {
            let taken = error.kind() == io::ErrorKind::AlreadyExists;
            let error = if taken {
                Error::new(ErrorKind::Refused, "there is a file of this name already")
            } else {
                Error::io("cannot be taken out of the trash", error)
            };
            error.with_path(&self.origin)
        };
        rename_to_free_name(&self.file, &self.origin).map_err(failed)?;
        // An entry without its file is swept up by the trash itself.
        let _ = fs::remove_file(&self.info);
        Ok(())
    }
}

/// The trash folders that `path` can have gone to: the user's own, and those of its file system.
fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders = vec![
        glib::user_data_dir().join("Trash"),
        // Inside a sandbox, the folder above is the sandbox's.
        glib::home_dir().join(".local/share/Trash"),
    ];
    let user = rustix::process::getuid().as_raw();
    let device = |path: &Path| FileId::of(path).ok().map(|id| id.device);
    let parents: Vec<&Path> = path.ancestors().skip(1).collect();
    let own = parents.first().and_then(|parent| device(parent));
    let top = parents
        .iter()
        .take_while(|parent| device(parent) == own)
        .last();
    if let Some(top) = top {
        folders.push(top.join(".Trash").join(user.to_string()));
        folders.push(top.join(format!(".Trash-{user}")));
    }
    folders
}

fn find(folders: &[PathBuf], origin: &Path, id: FileId) -> Option<Trashed> {
    folders.iter().find_map(|folder| {
        let entries = fs::read_dir(folder.join("files")).ok()?;
        let mut entries = entries.take(MOST).filter_map(io::Result::ok);
        let entry = entries.find(|it| FileId::of(&it.path()).is_ok_and(|found| found == id))?;
        let mut info = entry.file_name();
        info.push(".trashinfo");
        Some(Trashed {
            origin: origin.to_path_buf(),
            file: entry.path(),
            info: folder.join("info").join(info),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_what_it_is_and_takes_no_others_place() {
        let folder = tempfile::tempdir().unwrap();
        let trash = folder.path().join("Trash");
        fs::create_dir_all(trash.join("files")).unwrap();
        fs::create_dir_all(trash.join("info")).unwrap();
        let origin = folder.path().join("a.raw");
        let file = trash.join("files/a.2.raw");
        let info = trash.join("info/a.2.raw.trashinfo");
        fs::write(trash.join("files/a.raw"), "another").unwrap();
        fs::write(&file, "mine").unwrap();
        fs::write(&info, "[Trash Info]").unwrap();
        let id = FileId::of(&file).unwrap();
        let found = find(&["/nowhere".into(), trash], &origin, id).unwrap();
        assert_eq!((&found.file, &found.info), (&file, &info));
        fs::write(&origin, "new").unwrap();
        assert_eq!(found.put_back().unwrap_err().kind(), ErrorKind::Refused);
        assert!(file.exists());
        fs::remove_file(&origin).unwrap();
        found.put_back().unwrap();
        assert_eq!(fs::read(&origin).unwrap(), b"mine");
        assert!(!file.exists() && !info.exists());
    }
}
