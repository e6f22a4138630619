//! QEMU's image locks: one OFD read lock a byte, tested by asking whether a write lock would fit.
//!
//! Byte `100 + i` says "I use permission i", byte `200 + i` says "I do not share permission i".
//! Only read locks are ever held; a conflict is found by asking whether somebody else holds the
//! byte that contradicts ours (QEMU's block/file-posix.c; the same since QEMU 2.10).

use std::io;
use std::os::fd::BorrowedFd;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::sys::{self, RangeLock};

const USES: u64 = 100;
const DOES_NOT_SHARE: u64 = 200;

/// A permission of QEMU's block layer, by its number in the lock bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Permission {
    ConsistentRead = 0,
    Write = 1,
    WriteUnchanged = 2,
    Resize = 3,
}

impl Permission {
    /// QEMU's word for it, which its users know from its messages.
    fn name(self) -> &'static str {
        match self {
            Self::ConsistentRead => "consistent read",
            Self::Write => "write",
            Self::WriteUnchanged => "write unchanged",
            Self::Resize => "resize",
        }
    }
}

/// What a file is opened for, as other programs on this host get to know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LockMode {
    /// Takes no lock and asks nobody: what is read may change meanwhile.
    Peek,
    /// Takes no lock, and so is in nobody's way, but is refused where somebody may write or
    /// resize: for showing what is there without keeping a VM from starting.
    Observe,
    /// Reads the header only; nobody may write or resize meanwhile. As `qemu-img info`.
    HeaderOnly,
    /// Reads the contents; nobody may write or resize meanwhile. As `qemu-img convert`.
    Read,
    /// Changes the contents; others may neither write nor rely on what they read. As a VM with its
    /// disk, `qemu-img resize`, `qemu-img snapshot -c`.
    Write,
    /// Leaves the contents inconsistent for a while, or replaces the file: nobody else may use it
    /// at all.
    WriteExclusive,
}

impl LockMode {
    fn uses(self) -> &'static [Permission] {
        match self {
            Self::Peek | Self::Observe | Self::HeaderOnly => &[],
            Self::Read => &[Permission::ConsistentRead],
            Self::Write | Self::WriteExclusive => &[
                Permission::ConsistentRead,
                Permission::Write,
                Permission::Resize,
            ],
        }
    }

    fn does_not_share(self) -> &'static [Permission] {
        match self {
            Self::Peek => &[],
            Self::Observe | Self::HeaderOnly | Self::Read | Self::Write => {
                &[Permission::Write, Permission::Resize]
            }
            Self::WriteExclusive => &[
                Permission::ConsistentRead,
                Permission::Write,
                Permission::WriteUnchanged,
                Permission::Resize,
            ],
        }
    }

    /// Whether the file is opened for writing.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::WriteExclusive)
    }
}

/// Takes the locks of `mode`, to be held until the file description is closed. `false`: the host
/// file system has no such locks, so nothing is known about other users.
///
/// # Errors
/// [`ErrorKind::Locked`] when another program uses the file in a way that excludes `mode`; no lock
/// is held then.
pub(super) fn acquire(fd: BorrowedFd<'_>, mode: LockMode) -> Result<bool> {
    match take(fd, mode) {
        Ok(None) => Ok(true),
        Ok(Some(conflict)) => {
            release(fd, mode);
            Err(conflict)
        }
        Err(error) if is_unsupported(&error) => Ok(false),
        Err(error) => {
            release(fd, mode);
            Err(Error::io("cannot lock", error))
        }
    }
}

/// All bytes first, then all tests: of two programs that start at the same time at most one wins.
fn take(fd: BorrowedFd<'_>, mode: LockMode) -> io::Result<Option<Error>> {
    for byte in bytes(mode) {
        match sys::lock_byte(fd, byte, RangeLock::Read) {
            Ok(()) => {}
            // Not QEMU: that never holds write locks. But it does exclude us.
            Err(error) if is_conflict(&error) => return Ok(Some(locked("by another program"))),
            Err(error) => return Err(error),
        }
    }
    for &permission in mode.uses() {
        if sys::lock_would_conflict(fd, DOES_NOT_SHARE + permission as u64, RangeLock::Write)? {
            let name = permission.name();
            return Ok(Some(locked(&format!("failed to get \"{name}\" lock"))));
        }
    }
    for &permission in mode.does_not_share() {
        if sys::lock_would_conflict(fd, USES + permission as u64, RangeLock::Write)? {
            let name = permission.name();
            return Ok(Some(locked(&format!(
                "failed to get shared \"{name}\" lock"
            ))));
        }
    }
    Ok(None)
}

fn release(fd: BorrowedFd<'_>, mode: LockMode) {
    for byte in bytes(mode) {
        // Closing the file is what gives locks back in the end; here a failure loses nothing.
        let _ = sys::lock_byte(fd, byte, RangeLock::None);
    }
}

fn bytes(mode: LockMode) -> impl Iterator<Item = u64> {
    let uses = mode.uses().iter().map(|&p| USES + p as u64);
    let unshared = match mode {
        LockMode::Observe => [].iter(),
        _ => mode.does_not_share().iter(),
    };
    uses.chain(unshared.map(|&p| DOES_NOT_SHARE + p as u64))
}

fn locked(reason: &str) -> Error {
    Error::new(
        ErrorKind::Locked,
        format!("in use by another process: {reason}"),
    )
}

fn is_conflict(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP)
    )
}
