//! A regular file or a block device of the host.

mod unnamed;
mod write;

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};

pub use write::is_disk_full;

use super::FileStamp;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::holders::holders;
use crate::storage::lock::{self, LockMode};
use crate::storage::{Run, Storage, check_bounds, runs, sys};

/// Which file of the host it is, whatever it is called.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

impl FileId {
    /// The identity of the file that `path` leads to, symbolic links followed.
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&std::fs::metadata(path)?))
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// An open regular file or block device. Its locks are held until it is dropped.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    /// Its own, or that of its folder when it has no name.
    path: PathBuf,
    is_named: bool,
    id: FileId,
    is_device: bool,
    is_locked: bool,
}

impl FileStorage {
    /// What the file is now.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub fn stamp(&self) -> io::Result<FileStamp> {
        Ok(FileStamp::from(&self.file.metadata()?))
    }

    /// Opens `path` for reading, and for writing where `lock` is for that, after taking the locks
    /// of `lock`. A block device is opened for writing only when nothing else holds it (a mount, a
    /// device mapper).
    ///
    /// Never blocks on a FIFO: what is neither regular file nor block device is refused unopened.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another program uses it in a way that excludes `lock`, naming it
    /// where it is known, [`ErrorKind::Unsupported`] for anything but regular files and block devices, and as
    /// `open(2)`.
    pub fn open(path: &Path, lock: LockMode) -> Result<Self> {
        let at_path = |error: Error| error.with_path(path);
        let cannot_open = |error| Error::io("cannot open", error).with_path(path);

        let metadata = std::fs::metadata(path).map_err(cannot_open)?;
        check_type(&metadata).map_err(at_path)?;
        let exclusive = if lock.writes() && metadata.file_type().is_block_device() {
            libc::O_EXCL
        } else {
            0
        };
        let file = OpenOptions::new()
            .read(true)
            .write(lock.writes())
            // Should a FIFO take the file's place right now, this returns at once.
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | exclusive)
            .open(path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => {
                    Error::new(ErrorKind::Locked, "another program holds a lease on it")
                        .with_path(path)
                }
                io::ErrorKind::ResourceBusy => {
                    Error::new(ErrorKind::Locked, "the device is in use (mounted?)")
                        .with_path(path)
                        .with_source(error)
                }
                _ => cannot_open(error),
            })?;
        let metadata = file.metadata().map_err(cannot_open)?;
        check_type(&metadata).map_err(at_path)?;

        let id = FileId::from(&metadata);
        let is_locked = lock::acquire(file.as_fd(), lock)
            .map_err(|error| name_holders(error, id))
            .map_err(at_path)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            is_named: true,
            id,
            is_device: metadata.file_type().is_block_device(),
            is_locked,
        })
    }

    /// Which file it is.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// A block device, not a regular file.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.is_device
    }

    /// Whether the locks asked for are held; `false` where the host file system has none.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// Visits the parts of `range` that the host has given the file, those included that were
    /// only reserved and read as zeroes. Where the host does not tell, everything is one.
    ///
    /// # Errors
    /// When the host fails.
    pub fn for_each_reserved(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Range<u64>),
    ) -> Result<()> {
        let start = range.start;
        runs::for_each_reserved(&self.file, range, visit).map_err(|error| {
            Error::io("cannot find extents", error)
                .with_path(&self.path)
                .with_offset(start)
        })
    }

    /// Whether somebody (this process included) has it open for writing, also where no lock says
    /// so: a loop device, a program that knows nothing of QEMU's locks, a VM that waits for an
    /// incoming migration. `None` where the host does not tell: block devices, network file
    /// systems, files of other users.
    #[must_use]
    pub fn has_writers(&self) -> Option<bool> {
        sys::probe_read_lease(self.file.as_fd())
            .ok()
            .map(|nobody| !nobody)
    }
}

impl Storage for FileStorage {
    fn size(&self) -> Result<u64> {
        let size = if self.is_device {
            seek(&self.file, SeekFrom::End(0)).map_err(io::Error::from)
        } else {
            self.file.metadata().map(|metadata| metadata.len())
        };
        size.map_err(|error| Error::io("cannot get the size", error).with_path(&self.path))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        // Behind 2^63 the kernel says "invalid argument", which would read as our mistake.
        check_bounds(buf.len(), offset, i64::MAX as u64)
            .map_err(|error| error.with_path(&self.path))?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|error| self.read_error(error, buf.len(), offset))
    }

    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        let range = range.start..range.end.min(self.size()?);
        if range.is_empty() {
            return Ok(());
        }
        match runs::for_each_run(&self.file, range.clone(), visit) {
            // Before the first visit: block devices and some file systems cannot tell.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let _ = visit(Run { range, hole: false });
                Ok(())
            }
            result => result.map_err(|error| {
                Error::io("cannot find holes", error)
                    .with_path(&self.path)
                    .with_offset(range.start)
            }),
        }
    }

    fn allocated(&self) -> Result<Option<u64>> {
        if self.is_device {
            return Ok(None);
        }
        let metadata = self.file.metadata();
        metadata
            .map(|metadata| Some(metadata.blocks().saturating_mul(512)))
            .map_err(|error| Error::io("cannot get the size", error).with_path(&self.path))
    }

    fn host_file(&self) -> Option<&File> {
        (!self.is_device).then_some(&self.file)
    }

    fn path(&self) -> Option<&Path> {
        self.is_named.then_some(&self.path)
    }
}

impl FileStorage {
    fn read_error(&self, error: io::Error, length: usize, offset: u64) -> Error {
        if error.kind() != io::ErrorKind::UnexpectedEof {
            return Error::io(format!("cannot read {length} bytes"), error)
                .with_path(&self.path)
                .with_offset(offset);
        }
        let size = self.size().unwrap_or(offset);
        let outside = check_bounds(length, offset, size).err();
        outside
            .unwrap_or_else(|| Error::new(ErrorKind::OutOfBounds, "the file was cut meanwhile"))
            .with_path(&self.path)
            .with_offset(offset)
    }
}

/// A conflict of locks, with the names of those who may have caused it.
fn name_holders(error: Error, file: FileId) -> Error {
    if error.kind() != ErrorKind::Locked {
        return error;
    }
    let names: Vec<_> = holders(file).iter().map(ToString::to_string).collect();
    if names.is_empty() {
        return error;
    }
    Error::new(
        ErrorKind::Locked,
        format!("{} ({})", error.message(), names.join("; ")),
    )
}

fn check_type(metadata: &Metadata) -> Result<()> {
    let kind = metadata.file_type();
    let what = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a special file"
    };
    Err(Error::unsupported(format!(
        "{what} is neither a regular file nor a block device"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(storage: &FileStorage, range: Range<u64>) -> Vec<(Range<u64>, bool)> {
        let mut runs = Vec::new();
        storage
            .for_each_run(range, &mut |run| {
                runs.push((run.range, run.hole));
                ControlFlow::Continue(())
            })
            .unwrap();
        runs
    }

    #[test]
    fn reads_inside_and_refuses_the_outside() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 1000]).unwrap();
        let storage = FileStorage::open(file.path(), LockMode::Read).unwrap();
        assert_eq!(storage.size().unwrap(), 1000);
        let mut buf = [0; 10];
        storage.read_at(&mut buf, 990).unwrap();
        assert_eq!(buf, [7; 10]);
        for offset in [991, 5000, i64::MAX as u64, u64::MAX - 5] {
            let error = storage.read_at(&mut buf, offset).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfBounds, "{offset}");
            assert_eq!(error.offset(), Some(offset));
            assert_eq!(error.path(), Some(file.path()));
        }
        assert_eq!(storage.id(), FileId::of(file.path()).unwrap());
    }

    #[test]
    fn tells_holes_from_data() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        file.as_file().write_all_at(&[1; 4096], 256 << 10).unwrap();
        let storage = FileStorage::open(file.path(), LockMode::Peek).unwrap();
        let (start, end) = (256 << 10, 260 << 10);
        assert_eq!(
            runs(&storage, 0..u64::MAX),
            [(0..start, true), (start..end, false), (end..1 << 20, true)]
        );
        assert_eq!(
            runs(&storage, start + 1..end + 1),
            [(start + 1..end, false), (end..end + 1, true)]
        );
        assert_eq!(runs(&storage, 2 << 20..3 << 20), []);
        assert_eq!(storage.allocated().unwrap(), Some(4096));
    }

    #[test]
    fn knows_of_writers_without_locks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let storage = FileStorage::open(file.path(), LockMode::Read).unwrap();
        assert_eq!(storage.has_writers(), Some(true));
        drop(file.reopen().unwrap());
        let path = file.into_temp_path();
        assert_eq!(storage.has_writers(), Some(false));
        // Other readers do not matter, and locks outlive the closing of another description.
        drop(File::open(&path).unwrap());
        assert_eq!(storage.has_writers(), Some(false));
        assert!(storage.is_locked());
    }

    #[test]
    fn refuses_what_is_no_file_without_blocking() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for path in [fifo.as_path(), folder.path(), Path::new("/dev/null")] {
            let error = FileStorage::open(path, LockMode::Read).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
        let missing = FileStorage::open(&folder.path().join("no"), LockMode::Read);
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
