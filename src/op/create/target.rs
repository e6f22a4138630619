//! Where a new image goes: a new file, or a block device that stays where it is.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::image::Before;
use crate::storage::{FileId, FileStorage, LockMode, NewFile, WritableStorage};

#[derive(Debug)]
pub(in crate::op) enum Target {
    New(NewFile, Option<FileId>),
    Device(Arc<FileStorage>),
}

impl Target {
    pub(in crate::op) fn begin(path: &Path, replace: bool, nocow: bool) -> Result<Self> {
        let is_device =
            fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device());
        if !is_device {
            let replaced = FileId::of(path).ok();
            let file = NewFile::create(path, replace)?;
            if nocow {
                file.storage().disable_copy_on_write();
            }
            return Ok(Self::New(file, replaced));
        }
        if !replace {
            return Err(
                Error::new(ErrorKind::InvalidInput, "the content of a device is lost")
                    .with_path(path),
            );
        }
        FileStorage::open(path, LockMode::WriteExclusive)
            .map(|device| Self::Device(Arc::new(device)))
    }

    pub(in crate::op) fn file(&self) -> &FileStorage {
        match self {
            Self::New(file, _) => file.storage(),
            Self::Device(device) => device,
        }
    }

    pub(in crate::op) fn storage(&self) -> Arc<dyn WritableStorage> {
        match self {
            Self::New(file, _) => Arc::clone(file.storage()) as _,
            Self::Device(device) => Arc::clone(device) as _,
        }
    }

    pub(in crate::op) fn before(&self) -> Before {
        match self {
            Self::New(..) => Before::Nothing,
            Self::Device(_) => Before::Old,
        }
    }

    /// What will be gone in the end.
    pub(in crate::op) fn replaced(&self) -> Option<FileId> {
        match self {
            Self::New(_, replaced) => *replaced,
            Self::Device(device) => Some(device.id()),
        }
    }

    pub(in crate::op) fn finish(self) -> Result<()> {
        match self {
            Self::New(file, _) => file.finish(),
            Self::Device(device) => device.flush(),
        }
    }

    /// As [`Self::finish`], but a new file that replaces none may not be durable yet.
    pub(in crate::op) fn finish_unflushed(self) -> Result<()> {
        match self {
            Self::New(file, _) => file.finish_unflushed(),
            Self::Device(_) => self.finish(),
        }
    }
}
