//! Writing to a regular file or a block device of the host.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{
    FallocateFlags, IFlags, copy_file_range, fallocate, fstatfs, ioctl_getflags, ioctl_setflags,
};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::file::FileStorage;
use crate::storage::{Storage, WritableStorage, sys};

/// What is written at a time where the host has no quicker way to zeroes.
static ZEROES: [u8; 1 << 20] = [0; 1 << 20];

impl WritableStorage for FileStorage {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(buf, offset).map_err(|error| {
            self.write_error(format!("cannot write {} bytes", buf.len()), error, offset)
        })
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match self.fallocate(FallocateFlags::ZERO_RANGE, &range) {
            Err(error) if is_unsupported(error) => {}
            result => {
                return result
                    .map_err(|error| self.range_error("cannot write zeroes", error, &range));
            }
        }
        let mut at = range.start;
        while at < range.end {
            let length = usize::try_from(range.end - at)
                .unwrap_or(usize::MAX)
                .min(ZEROES.len());
            self.write_at(&ZEROES[..length], at)?;
            at += length as u64;
        }
        Ok(())
    }

    fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        let range = range.start..range.end.min(self.size()?);
        if range.is_empty() {
            return Ok(());
        }
        let punch = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
        match self.fallocate(punch, &range) {
            Err(error) if is_unsupported(error) => self.write_zeroes(range),
            result => {
                result.map_err(|error| self.range_error("cannot punch a hole", error, &range))
            }
        }
    }

    fn allocate(&self, range: Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match self.fallocate(FallocateFlags::empty(), &range) {
            Err(error) if is_unsupported(error) => {
                Err(Error::unsupported("the host cannot reserve space").with_path(&self.path))
            }
            result => {
                result.map_err(|error| self.range_error("cannot reserve space", error, &range))
            }
        }
    }

    fn shares_with(&self, source: &dyn Storage) -> bool {
        let Some(source) = source.host_file() else {
            return false;
        };
        let device = |file: &File| file.metadata().ok().map(|metadata| metadata.dev());
        has_shared_extents(&self.file) && device(&self.file) == device(source)
    }

    fn copy_from(&self, source: &dyn Storage, range: Range<u64>, offset: u64) -> Result<bool> {
        let Some(source) = source.host_file() else {
            return Ok(false);
        };
        let (mut from, mut to) = (range.start, offset);
        while from < range.end {
            let length = usize::try_from(range.end - from).unwrap_or(usize::MAX);
            let copied =
                copy_file_range(source, Some(&mut from), &self.file, Some(&mut to), length);
            match copied {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::NOSPC | Errno::DQUOT) => {
                    let error = io::Error::from(Errno::NOSPC);
                    return Err(self.write_error("cannot share space".into(), error, to));
                }
                // Reading and writing tells why, or works.
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        if self.is_device {
            return if length <= self.size()? {
                Ok(())
            } else {
                Err(Error::unsupported(format!(
                    "a block device cannot be made {length} bytes long"
                ))
                .with_path(&self.path))
            };
        }
        self.file.set_len(length).map_err(|error| {
            self.write_error(format!("cannot set the length to {length}"), error, length)
        })
    }

    fn start_flush(&self) {
        // A host that cannot do this does it all when it is flushed.
        let _ = sys::start_write_back(self.file.as_fd());
    }

    fn flush(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|error| Error::io("cannot flush", error).with_path(&self.path))
    }
}

/// File systems on which files can share extents, so that a copy costs next to nothing. Others copy
/// more slowly inside the kernel than by reading and writing.
fn has_shared_extents(file: &File) -> bool {
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    fstatfs(file).is_ok_and(|status| {
        // The type of the field differs between architectures.
        #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "see above")]
        let magic = status.f_type as u64;
        matches!(magic, XFS | BTRFS)
    })
}

impl FileStorage {
    /// Asks the host file system to write the file in place instead of copying on write. For new,
    /// empty files on btrfs; others do not know the wish, and it costs nothing but speed there.
    pub fn disable_copy_on_write(&self) {
        if let Ok(flags) = ioctl_getflags(&self.file) {
            let _ = ioctl_setflags(&self.file, flags | IFlags::NOCOW);
        }
    }

    fn fallocate(&self, flags: FallocateFlags, range: &Range<u64>) -> Result<(), Errno> {
        loop {
            match fallocate(&self.file, flags, range.start, range.end - range.start) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }

    fn range_error(&self, message: &str, error: Errno, range: &Range<u64>) -> Error {
        let length = range.end - range.start;
        let message = format!("{message} of {length} bytes");
        self.write_error(message, error.into(), range.start)
    }

    fn write_error(&self, message: String, error: io::Error, offset: u64) -> Error {
        Error::io(message, error)
            .with_path(&self.path)
            .with_offset(offset)
    }
}

/// The host file system, or the device, cannot do this at all.
fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV)
}

/// Whether `error` says that the disk is full.
#[must_use]
pub fn is_disk_full(error: &Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    error.kind() == ErrorKind::Io
        && cause.is_some_and(|cause| {
            matches!(
                cause.raw_os_error(),
                Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG)
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::LockMode;

    #[test]
    fn writes_zeroes_punches_and_cuts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let storage = FileStorage::open(file.path(), LockMode::Write).unwrap();
        storage.write_at(&[7; 16384], 4096).unwrap();
        assert_eq!(storage.size().unwrap(), 20480);
        storage.write_zeroes(8192..12288).unwrap();
        storage.punch_hole(12288..1 << 40).unwrap();
        assert_eq!(storage.size().unwrap(), 20480);
        storage.write_zeroes(20480..24576).unwrap();
        storage.flush().unwrap();
        let mut expected = vec![0; 24576];
        expected[4096..8192].fill(7);
        assert_eq!(std::fs::read(file.path()).unwrap(), expected);
        storage.set_len(5000).unwrap();
        assert_eq!(storage.size().unwrap(), 5000);
        storage.allocate(0..65536).unwrap();
        assert_eq!(storage.size().unwrap(), 65536);
    }

    #[test]
    fn a_file_opened_for_reading_cannot_be_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let storage = FileStorage::open(file.path(), LockMode::Read).unwrap();
        let error = storage.write_at(&[1], 3).unwrap_err();
        assert_eq!(error.path(), Some(file.path()));
        assert_eq!(error.offset(), Some(3));
        assert!(!is_disk_full(&error));
    }

    #[test]
    fn a_file_limit_reads_as_a_full_disk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let storage = FileStorage::open(file.path(), LockMode::Write).unwrap();
        let error = storage.allocate(0..1 << 62).unwrap_err();
        assert!(is_disk_full(&error), "{error:?}");
    }
}
