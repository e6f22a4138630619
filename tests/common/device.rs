//! Block devices for tests: loop devices, which need root. Where there are none, a test fails on
//! the machine that decides (`CI=true`), and elsewhere says that it has looked at nothing.

use std::path::{Path, PathBuf};

use super::{output, tool};

/// A loop device until this is dropped.
pub(crate) struct Device(PathBuf);

impl Device {
    /// Of the bytes of `file`. `None` where none can be had.
    ///
    /// # Panics
    /// On the machine that decides, in that case.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        let made = output(tool("losetup").args(["-f", "--show"]).arg(file));
        if made.status.success() {
            let path = String::from_utf8_lossy(&made.stdout).trim().to_owned();
            return Some(Self(PathBuf::from(path)));
        }
        let why = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(std::env::var_os("CI").is_none(), "no loop device: {why}");
        eprintln!("NOT TESTED, block devices: no loop device: {why}");
        None
    }

    /// Its node in `/dev`.
    pub(crate) fn node(&self) -> &Path {
        &self.0
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = output(tool("losetup").arg("-d").arg(&self.0));
    }
}
