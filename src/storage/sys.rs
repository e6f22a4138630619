//! The kernel interface: calls that neither `std` nor `rustix` offers. The only unsafe code of the
//! engine; every function is a thin, safe wrapper around one call.
#![allow(
    unsafe_code,
    reason = "raw fcntl and ioctl calls; each says why it is sound"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kind of an OFD byte-range lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RangeLock {
    Read,
    Write,
    None,
}

impl RangeLock {
    fn as_type(self) -> libc::c_short {
        let kind = match self {
            Self::Read => libc::F_RDLCK,
            Self::Write => libc::F_WRLCK,
            Self::None => libc::F_UNLCK,
        };
        short(kind)
    }
}

/// Takes (or, with [`RangeLock::None`], gives back) the OFD lock of one byte, without waiting.
///
/// # Errors
/// `EAGAIN` or `EACCES` when another open file description holds a conflicting lock; `EINVAL`,
/// `ENOLCK`… where the file system has no such locks.
pub(super) fn lock_byte(fd: BorrowedFd<'_>, byte: u64, lock: RangeLock) -> io::Result<()> {
    let request = flock_of(byte, lock)?;
    // SAFETY: `request` is a valid flock that outlives the call, and the kernel only reads it.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether taking `lock` on one byte would meet a lock of another open file description.
///
/// # Errors
/// Where the file system has no such locks.
pub(super) fn lock_would_conflict(
    fd: BorrowedFd<'_>,
    byte: u64,
    lock: RangeLock,
) -> io::Result<bool> {
    let mut request = flock_of(byte, lock)?;
    // SAFETY: `request` is a valid flock that outlives the call; the kernel writes a valid one back.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut request) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(request.l_type != RangeLock::None.as_type())
}

fn flock_of(byte: u64, lock: RangeLock) -> io::Result<libc::flock> {
    let start = libc::off_t::try_from(byte).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: flock is plain integers, for which all zeroes is a value. (Its padding differs between
    // architectures, so it cannot be written as a literal.)
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = lock.as_type();
    request.l_whence = short(libc::SEEK_SET);
    request.l_start = start;
    request.l_len = 1;
    Ok(request)
}

/// These constants are `c_int` in some C libraries and `c_short` in the structure.
fn short(constant: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(constant).unwrap_or(libc::c_short::MAX)
}

/// From `asm-generic/fcntl.h`; the libc crate does not have it.
const F_SETSIG: libc::c_int = 10;

/// Whether a lease could be taken that excludes writers elsewhere: `false` says that somebody has
/// the file open for writing. The lease is given back at once.
///
/// # Errors
/// `EINVAL` where the file system has no leases, `EACCES` for files of other users.
pub(super) fn probe_read_lease(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // A writer that opens the file in the moment of the lease makes the kernel send a signal. The
    // default one, SIGIO, would end the process; SIGURG is ignored unless somebody asked for it.
    // SAFETY: F_SETSIG takes a signal number and changes the file description only.
    if unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, libc::SIGURG) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: F_SETLEASE takes an integer.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } == -1 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(false),
            _ => Err(error),
        };
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(true)
}

/// Lets the kernel begin to write the dirty pages of the file, without waiting for them; waits only
/// while the device takes no more requests.
///
/// # Errors
/// `ESPIPE`, `ENOSYS`… for files that have no such thing.
pub(super) fn start_write_back(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes integers only. A length of 0 means the whole file.
    let result =
        unsafe { libc::sync_file_range(fd.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The head of the kernel's `struct fiemap`; an array of extents follows it.
#[repr(C)]
struct FiemapHead {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

/// The kernel's `struct fiemap_extent`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct FiemapExtent {
    /// Byte offset in the file.
    pub(super) logical: u64,
    physical: u64,
    /// In bytes.
    pub(super) length: u64,
    reserved64: [u64; 2],
    /// `FIEMAP_EXTENT_…`.
    pub(super) flags: u32,
    reserved: [u32; 3],
}

/// Room for a batch of extents.
#[repr(C)]
pub(super) struct Fiemap {
    head: FiemapHead,
    extents: [FiemapExtent; Self::CAPACITY as usize],
}

impl Fiemap {
    /// Extents a call can report.
    pub(super) const CAPACITY: u32 = 8192;

    /// On the heap: it is half a megabyte.
    pub(super) fn new() -> Box<Self> {
        // SAFETY: head and extents are plain integers, for which all zeroes is a value.
        unsafe { Box::<Self>::new_zeroed().assume_init() }
    }

    /// The first extents of the file that overlap `length` bytes from `start` on, in order.
    /// Nothing is flushed before: what is only in the page cache yet is reported as such.
    ///
    /// # Errors
    /// `EOPNOTSUPP` and others where the file system cannot tell.
    pub(super) fn read(
        &mut self,
        fd: BorrowedFd<'_>,
        start: u64,
        length: u64,
    ) -> io::Result<&[FiemapExtent]> {
        self.head = FiemapHead {
            start,
            length,
            flags: 0,
            mapped_extents: 0,
            extent_count: Self::CAPACITY,
            reserved: 0,
        };
        let request = libc::_IOWR::<FiemapHead>(u32::from(b'f'), 11);
        // SAFETY: the kernel writes at most `extent_count` extents behind the head, for which there
        // is room, and the count of those into the head.
        if unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(self)) } == -1 {
            return Err(io::Error::last_os_error());
        }
        let mapped = self.head.mapped_extents.min(Self::CAPACITY);
        Ok(&self.extents[..mapped as usize])
    }
}
