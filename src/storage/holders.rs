//! Who else has a file open: what `/proc` and `/sys` tell, in words. Processes of other users show
//! their files to root only.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

use crate::storage::file::FileId;

/// A user of a file outside this process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Holder {
    /// A process has it open.
    Process {
        /// Its program, without folders.
        program: String,
        /// Its process id.
        pid: u32,
        /// It may write.
        writing: bool,
    },
    /// A loop device stands on it.
    Loop {
        /// The device ("/dev/loop0").
        device: String,
        /// It may be written through.
        writing: bool,
        /// Where the device and its partitions are mounted.
        mounts: Vec<String>,
    },
}

impl Holder {
    /// It may write.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        match self {
            Self::Process { writing, .. } | Self::Loop { writing, .. } => *writing,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { program, pid, .. } => write!(f, "{program}, pid {pid}")?,
            Self::Loop { device, mounts, .. } if mounts.is_empty() => f.write_str(device)?,
            Self::Loop { device, mounts, .. } => {
                write!(f, "{device}, mounted on {}", mounts.join(" and "))?;
            }
        }
        f.write_str(if self.is_writing() {
            ", writing"
        } else {
            ", reading"
        })
    }
}

/// Everybody outside this process who is known to use the file, writers first.
#[must_use]
pub fn holders(file: FileId) -> Vec<Holder> {
    let mut found = processes(file);
    found.extend(loop_devices(file));
    found.sort_by_key(|holder| !holder.is_writing());
    found
}

fn processes(file: FileId) -> Vec<Holder> {
    let own = std::process::id();
    let mut found = BTreeMap::new();
    for pid in numbers(Path::new("/proc")).filter(|&pid| pid != own) {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let open_files = numbers(&process.join("fd"));
        let mut is_file = open_files
            .filter(|fd| id_of_open(&process.join(format!("fd/{fd}"))).is_ok_and(|id| id == file))
            .peekable();
        if is_file.peek().is_some() {
            let writing = is_file.any(|fd| may_write(&process.join(format!("fdinfo/{fd}"))));
            found.insert(pid, writing);
        }
    }
    for pid in lock_owners(file).filter(|&pid| pid != own) {
        found.entry(pid).or_insert(false);
    }
    let name = |(pid, writing)| Holder::Process {
        program: program(pid),
        pid,
        writing,
    };
    found.into_iter().map(name).collect()
}

/// Without asking a server: an unreachable one must not block us for the files of others.
fn id_of_open(path: &Path) -> io::Result<FileId> {
    let status = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    Ok(FileId {
        device: makedev(status.stx_dev_major, status.stx_dev_minor),
        inode: status.stx_ino,
    })
}

fn may_write(fdinfo: &Path) -> bool {
    let text = fs::read_to_string(fdinfo).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// `/proc/locks` knows the owners of classic locks, also of processes that hide their files. The
/// owner of an OFD lock is -1 there.
fn lock_owners(file: FileId) -> impl Iterator<Item = u32> {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let (major, minor) = (
        rustix::fs::major(file.device),
        rustix::fs::minor(file.device),
    );
    let id = format!("{major:02x}:{minor:02x}:{}", file.inode);
    let owners: Vec<u32> = locks
        .lines()
        .filter_map(|line| {
            let mut words = line
                .split_whitespace()
                .skip_while(|word| *word != "READ" && *word != "WRITE");
            let pid = words.nth(1)?.parse().ok()?;
            (words.next()? == id).then_some(pid)
        })
        .collect();
    owners.into_iter()
}

/// The kernel cuts its own name of a process to 15 bytes, so the command line is asked first.
fn program(pid: u32) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = command.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut name = base_name(&String::from_utf8_lossy(first)).to_owned();
    if name.is_empty() {
        let short = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        short.trim_end().clone_into(&mut name);
    }
    // A process writes what it likes there.
    name.retain(|character| !character.is_control());
    name
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn loop_devices(file: FileId) -> Vec<Holder> {
    let Ok(devices) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for folder in devices.flatten().map(|entry| entry.path()) {
        let Ok(backing) = fs::read_to_string(folder.join("loop/backing_file")) else {
            continue;
        };
        let backing = Path::new(backing.trim_end_matches('\n'));
        if !id_of_open(backing).is_ok_and(|id| id == file) {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let read_only = fs::read_to_string(folder.join("ro")).unwrap_or_default();
        found.push(Holder::Loop {
            device: format!("/dev/{name}"),
            writing: read_only.trim() == "0",
            mounts: mounts(&folder),
        });
    }
    found
}

/// Where the block device with this folder in `/sys/block`, and its partitions, are mounted.
fn mounts(folder: &Path) -> Vec<String> {
    let partitions = fs::read_dir(folder).into_iter().flatten().flatten();
    let devices: Vec<String> = partitions
        .map(|entry| entry.path())
        .chain([folder.to_path_buf()])
        .filter_map(|device| fs::read_to_string(device.join("dev")).ok())
        .map(|numbers| numbers.trim().to_owned())
        .collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(2);
            let device = fields.next()?;
            let mount_point = fields.nth(1)?;
            devices
                .iter()
                .any(|known| known == device)
                .then(|| unescape(mount_point))
        })
        .collect()
}

/// Blanks and the like are written as `\040` there.
pub(super) fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).map(|digits| u8::from_str_radix(digits, 8)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[3..]);
            }
            _ => bytes.extend_from_slice(part.as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The entries of a folder whose names are numbers.
fn numbers(folder: &Path) -> impl Iterator<Item = u32> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_program_pid_and_use() {
        let process = Holder::Process {
            program: "qemu-system-x86_64".into(),
            pid: 4711,
            writing: true,
        };
        assert_eq!(process.to_string(), "qemu-system-x86_64, pid 4711, writing");
        let device = Holder::Loop {
            device: "/dev/loop0".into(),
            writing: false,
            mounts: vec!["/mnt".into(), "/media/a b".into()],
        };
        assert_eq!(
            device.to_string(),
            "/dev/loop0, mounted on /mnt and /media/a b, reading"
        );
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(r"/media/a\040b\134c"), r"/media/a b\c");
        assert_eq!(unescape(r"/odd\x"), "/oddx");
    }

    #[test]
    fn our_own_files_are_not_reported() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(holders(FileId::of(file.path()).unwrap()), []);
    }
}
