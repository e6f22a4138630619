//! How files that this process serves are reached: by a mount that has no place in any folder.
//!
//! This process itself asks for nothing there, only tools do. Were it killed while it waits for its own
//! answer, it would wait for ever: the kernel gives up on a server when the last of its threads ends.
//!
//! Who may mount makes one that never had a place, so nothing is left whenever this process is
//! killed. Everybody else asks `fusermount3`, which mounts on a folder; there the mount is detached as
//! soon as its folder is open. Who is killed between the two leaves a folder on which a dead file
//! system is mounted, and the next process of Platter that needs a window removes it.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process;
use std::sync::Once;
use std::thread;

use fuser::{Config, Filesystem, MountOption, Session, SessionACL};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, unmount,
};
use rustix::process::{getgid, getuid};

use crate::control::Control;
use crate::fs::change::tool;

/// What mounts of ours say that they show.
const SOURCE: &str = "platter";
/// The name of a folder is this, the number of the process, something random, and the end.
const PREFIX: &str = ".platter-";
const SUFFIX: &str = ".window";

/// Has a file system answer the kernel, on a thread of its own, until nobody holds anything of it any
/// more, and answers its folder, for nothing but to open files in it by name.
///
/// # Errors
/// When the host has no FUSE, or not for us. Nothing is left behind then.
pub(super) fn open<S>(served: impl Fn() -> S) -> io::Result<File>
where
    S: Filesystem + Send + 'static,
{
    // Not allowed, or a kernel older than 5.2.
    without_place(served()).or_else(|_| on_folder(served()))
}

fn without_place<S>(served: S) -> io::Result<File>
where
    S: Filesystem + Send + 'static,
{
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")?;
    let options = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [
        ("source", SOURCE.to_owned()),
        ("fd", device.as_raw_fd().to_string()),
        // A directory, as an octal number.
        ("rootmode", "40000".to_owned()),
        ("user_id", getuid().as_raw().to_string()),
        ("group_id", getgid().as_raw().to_string()),
    ] {
        fsconfig_set_string(&options, key, value)?;
    }
    fsconfig_set_flag(&options, "default_permissions")?;
    fsconfig_create(&options)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    let mount = fsmount(&options, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    serve(Session::from_fd(
        served,
        device.into(),
        SessionACL::Owner,
        Config::default(),
    )?)?;
    Ok(mount.into())
}

fn on_folder<S>(served: S) -> io::Result<File>
where
    S: Filesystem + Send + 'static,
{
    static FIRST: Once = Once::new();
    FIRST.call_once(|| remove_left(&std::env::temp_dir()));
    let folder = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", process::id()))
        .suffix(SUFFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir()?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(SOURCE.to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoExec,
        MountOption::NoAtime,
    ];
    let mut session = Session::new(served, folder.path(), &config)?;
    let mut unmounter = session.unmount_callable();
    serve(session)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(CWD, folder.path(), flags, Mode::empty());
    // With root rights that is it; without, the second asks `fusermount3`.
    let _ = unmount(folder.path(), UnmountFlags::DETACH);
    let _ = unmounter.unmount();
    // A folder that is still mounted on cannot be removed.
    folder.close()?;
    Ok(root?.into())
}

/// It ends when the kernel knows of nobody any more who has a file.
fn serve<S>(session: Session<S>) -> io::Result<()>
where
    S: Filesystem + Send + 'static,
{
    thread::Builder::new()
        .name("partition window".to_owned())
        .spawn(move || session.run())?;
    Ok(())
}

/// Removes what processes that are no more have left of their windows in `folder`. What belongs to
/// others stays, because nobody lets us; a process of another container that is taken for dead gets no
/// window in the worst case, and copies.
fn remove_left(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        // Only the folder is asked: who asks what is mounted there waits for its process.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_left = owner(&entry.file_name()).is_some_and(|pid| !is_alive(pid));
        if !is_folder || !is_left {
            continue;
        }
        let path = entry.path();
        if unmount(&path, UnmountFlags::DETACH).is_err() {
            let arguments = ["-u", "-q", "-z", "--"].map(str::to_owned);
            let path = path.to_string_lossy().into_owned();
            let arguments = [&arguments[..], &[path]].concat();
            let _ = tool::run("fusermount3", &arguments, None, &Control::new());
        }
        // Never more than an empty folder.
        let _ = std::fs::remove_dir(path);
    }
}

/// The process in the name of a folder of ours.
fn owner(name: &OsStr) -> Option<u32> {
    let name = name.to_str()?;
    let inside = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    inside.split_once('-')?.0.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_the_dead_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let alive = process::id();
        let names = [
            format!(".platter-{dead}-abc.window"),
            format!(".platter-{dead}-full.window"),
            format!(".platter-{alive}-abc.window"),
            format!(".platter-{dead}-abc.scratch"),
            ".platter-abc.window".to_owned(),
        ];
        for name in &names {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join(&names[1]).join("file"), "kept").unwrap();
        remove_left(folder.path());
        let there = names.map(|name| folder.path().join(name).exists());
        assert_eq!(there, [false, true, true, true, true]);
    }
}
