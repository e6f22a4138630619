//! How much room a folder of the host has, and how long a file it can hold.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{statfs, statvfs};

use crate::error::{Error, Result};

/// FAT keeps a file's length in 32 bits.
const FAT_LONGEST_FILE: u64 = u32::MAX as u64;
/// `MSDOS_SUPER_MAGIC` of `statfs(2)`: FAT12, FAT16 and FAT32.
const FAT_MAGIC: u64 = 0x4d44;

/// The room of the file system that a folder is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostSpace {
    /// Bytes that this user can still write.
    pub free: u64,
    /// The longest file in bytes, where the file system has a limit that images meet (FAT: 4 GiB
    /// less one byte).
    pub longest_file: Option<u64>,
}

impl HostSpace {
    /// The room for `path`: a folder, or a file that is there or is to be made in its folder.
    ///
    /// # Errors
    /// As `statvfs(2)`.
    pub fn of(path: &Path) -> Result<Self> {
        let place = if path.exists() { path } else { folder_of(path) };
        let cannot = |errno: rustix::io::Errno| {
            Error::io("cannot get the free space", errno.into()).with_path(place)
        };
        let volume = statvfs(place).map_err(cannot)?;
        let kind = statfs(place).map_err(cannot)?.f_type;
        #[allow(
            clippy::unnecessary_cast,
            clippy::cast_sign_loss,
            reason = "the kernel's word is signed on some processors"
        )]
        let is_fat = kind as u64 == FAT_MAGIC;
        Ok(Self {
            free: volume.f_bavail.saturating_mul(volume.f_frsize),
            longest_file: is_fat.then_some(FAT_LONGEST_FILE),
        })
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str() != OsStr::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_to_be_made_has_the_room_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let space = HostSpace::of(folder.path()).unwrap();
        assert!(space.free > 0);
        let new = HostSpace::of(&folder.path().join("new.raw")).unwrap();
        assert_eq!(new.longest_file, space.longest_file);
        assert!(HostSpace::of(&folder.path().join("no/new.raw")).is_err());
    }
}
