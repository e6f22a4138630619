//! A window on one partition for a tool to work in: a file that FUSE serves, whose changes go to an
//! [`Overlay`].
//!
//! The file has no place in any folder (`mount`). Tools get what it is in as their standard input, and
//! `/proc/self/fd/0/usr` as its name. So when this process is killed, no mount is left, and a tool that
//! still runs fails at its next read.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::process::{getgid, getuid};

use crate::error::{Error, Result};
use crate::fs::change::mount;
use crate::fs::change::overlay::Overlay;
use crate::units::MIB;

/// What the file is called in its folder. Where its name leads, the kernel says `/usr`, now that the
/// folder is nowhere. The tools for NTFS refuse a file whose name leads to nothing, or to what is
/// mounted; who takes that path for the file, cannot open a folder for writing.
const NAME: &str = "usr";
const FILE: INodeNo = INodeNo(2);
/// Nobody else changes the file: what the kernel knows of it stays true.
const ALWAYS: Duration = Duration::from_secs(1 << 30);
/// Bytes that are read or written by one request, at most.
const MOST: u64 = MIB;

/// The window. Closed, and the partition let go of, when it is dropped.
#[derive(Debug)]
pub(super) struct Window {
    overlay: Arc<Overlay>,
    /// Good for nothing but to open the file in it by name, which tools do.
    folder: File,
}

impl Window {
    /// Opens it.
    ///
    /// # Errors
    /// When the host has no FUSE, or not for us. Nothing is left behind then.
    pub(super) fn open(overlay: Arc<Overlay>) -> io::Result<Self> {
        let folder = mount::open(|| Served(Arc::clone(&overlay)))?;
        Ok(Self { overlay, folder })
    }

    /// What the window shows.
    pub(super) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// The folder of the file as the standard input of a tool.
    ///
    /// # Errors
    /// As `dup(2)`.
    pub(super) fn input(&self) -> Result<File> {
        let folder = self.folder.try_clone();
        folder.map_err(|error| Error::io("cannot hand a window on", error))
    }

    /// How a tool calls the file in its standard input.
    pub(super) fn path() -> &'static Path {
        Path::new("/proc/self/fd/0/usr")
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // A stray reader may keep the server for a moment; it serves nothing any more.
        self.overlay.close();
    }
}

/// What the kernel asks.
#[derive(Debug)]
struct Served(Arc<Overlay>);

impl Served {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_file = inode == FILE;
        let size = if is_file { self.0.length() } else { 0 };
        FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind: if is_file {
                FileType::RegularFile
            } else {
                FileType::Directory
            },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Keeps the cause for our own message; the tool learns of an I/O error.
    fn failed(&self, error: Error) -> Errno {
        self.0.note_failure(error);
        Errno::EIO
    }

    /// `false` says that there is no room.
    fn answer(&self, done: Result<bool>) -> std::result::Result<(), Errno> {
        match done {
            Ok(true) => Ok(()),
            Ok(false) => Err(Errno::ENOSPC),
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl Filesystem for Served {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What cannot be had is less, and works as well.
        let _ = config.set_max_write(u32::try_from(MOST).unwrap_or(u32::MAX));
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&ALWAYS, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        reply.attr(&ALWAYS, &self.attributes(inode));
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = match size {
            Some(length) if inode == FILE => self.answer(self.0.set_length(length)),
            _ => Ok(()),
        };
        match done {
            Ok(()) => reply.attr(&ALWAYS, &self.attributes(inode)),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(self.failed(error)),
        }
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.answer(self.0.write(offset, data)) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(0)),
            Err(error) => reply.error(error),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        // What is tried need not outlive a crash.
        reply.ok();
    }

    fn fallocate(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let keeps_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let done = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE => {
                self.answer(self.0.zero(offset, length, !keeps_size))
            }
            // Space is never reserved: a tool that wants zeroes writes them then.
            _ => Err(Errno::EOPNOTSUPP),
        };
        match done {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}
