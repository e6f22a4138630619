//! Which files a job uses, and which jobs cannot run side by side because of it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::phrase::Phrase;
use crate::storage::FileId;

/// How a job uses a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// It relies on what it reads.
    Read,
    /// It changes, makes or removes the file.
    Write,
}

/// One file that a job uses. Files are known by identity, because links give them many names; one
/// that is only to be made, by its name.
#[derive(Clone, Debug)]
pub struct Claim {
    path: PathBuf,
    id: Option<FileId>,
    access: Access,
}

impl Claim {
    /// A file that is read.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        Self::new(path, Access::Read)
    }

    /// A file that is changed, made or removed.
    #[must_use]
    pub fn write(path: &Path) -> Self {
        Self::new(path, Access::Write)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is used.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Whether both name the same file and at least one of them changes it.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        let one_writes = self.access == Access::Write || other.access == Access::Write;
        let same_file = matches!((self.id, other.id), (Some(one), Some(other)) if one == other);
        one_writes && (same_file || self.path == other.path)
    }

    fn new(path: &Path, access: Access) -> Self {
        Self {
            id: FileId::of(path).ok(),
            path: resolved(path),
            access,
        }
    }
}

/// Symbolic links followed, also where only the folder exists yet.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(path) = std::fs::canonicalize(path) {
        return path;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    match (absolute.parent(), absolute.file_name()) {
        (Some(folder), Some(name)) => std::fs::canonicalize(folder)
            .map(|folder| folder.join(name))
            .unwrap_or(absolute),
        _ => absolute,
    }
}

/// A file is in use by another job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Busy {
    /// The file.
    pub file: PathBuf,
    /// How the other job uses it.
    pub access: Access,
    /// What the other job does.
    pub holder: Phrase,
}

impl Busy {
    /// The first claim of `mine` that does not go together with `theirs`, which belong to the job
    /// called `holder`.
    pub(super) fn between(mine: &[Claim], theirs: &[Claim], holder: &Phrase) -> Option<Self> {
        mine.iter().find_map(|claim| {
            let other = theirs.iter().find(|other| claim.excludes(other))?;
            Some(Self {
                file: claim.path.clone(),
                access: other.access,
                holder: holder.clone(),
            })
        })
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.file.file_name().unwrap_or(self.file.as_os_str());
        let use_ = match self.access {
            Access::Read => "read",
            Access::Write => "changed",
        };
        let name = name.to_string_lossy();
        write!(f, "{name} is being {use_} by '{}'", self.holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_go_together_and_a_writer_goes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.raw");
        let link = folder.path().join("b.raw");
        std::fs::write(&file, "x").unwrap();
        std::fs::hard_link(&file, &link).unwrap();
        assert!(!Claim::read(&file).excludes(&Claim::read(&link)));
        assert!(Claim::read(&file).excludes(&Claim::write(&link)));
        assert!(Claim::write(&file).excludes(&Claim::write(&link)));
        let other = folder.path().join("c.raw");
        std::fs::write(&other, "y").unwrap();
        assert!(!Claim::write(&file).excludes(&Claim::write(&other)));
    }

    #[test]
    fn a_file_to_be_made_is_known_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("new.raw");
        let before = Claim::write(&new);
        std::fs::write(&new, "x").unwrap();
        assert!(before.excludes(&Claim::read(&new)));
        assert!(before.excludes(&Claim::write(&folder.path().join("./new.raw"))));
    }

    #[test]
    fn says_who_is_in_the_way() {
        let commit = Phrase::new("Commit {name}").text("name", "web.qcow2");
        let busy = Busy::between(
            &[Claim::read(Path::new("/vm/disk.qcow2"))],
            &[Claim::write(Path::new("/vm/disk.qcow2"))],
            &commit,
        );
        assert_eq!(
            busy.unwrap().to_string(),
            "disk.qcow2 is being changed by 'Commit web.qcow2'"
        );
    }
}
