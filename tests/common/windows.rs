//! Windows on partitions: whether this host has them, and what could be left of one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: between fork and exec a child holds whatever its parent has open.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this host lets us have windows. Where it does not, a test says that it has looked at
/// nothing: containers have no FUSE as a rule, the machine that decides included.
pub(crate) fn has_windows() -> bool {
    if let Err(error) = File::options().read(true).write(true).open("/dev/fuse") {
        eprintln!("NOT TESTED, windows on partitions: /dev/fuse: {error}");
        return false;
    }
    let is_root = uid() == 0;
    if is_root && !can_mount() {
        eprintln!("NOT TESTED, windows on partitions: this container must not mount");
        return false;
    }
    if !is_root && !Path::new("/usr/bin/fusermount3").exists() {
        eprintln!("NOT TESTED, windows on partitions: there is no fusermount3");
        return false;
    }
    true
}

fn uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid()
}

/// `CAP_SYS_ADMIN`, which mounting takes.
pub(crate) fn can_mount() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
    capabilities & (1 << 21) != 0
}

/// Windows that are still mounted on folders whose path has `part`: others have theirs.
pub(crate) fn mounts(part: &str) -> Vec<String> {
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = all
        .lines()
        .filter(|line| line.contains(" fuse platter ") && line.contains(part));
    ours.map(str::to_owned).collect()
}

/// Windows of this process that are still mounted.
pub(crate) fn mounts_of_ours() -> Vec<String> {
    mounts(&format!("/.platter-{}-", std::process::id()))
}

/// Processes whose parent is `pid`.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|process: &u32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            fields.split_whitespace().nth(1) == Some(pid.to_string().as_str())
        })
        .collect()
}

/// A tool without its window ends by itself.
pub(crate) fn wait_for_end(pid: u32) {
    let start = std::time::Instant::now();
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z")) {
        assert!(start.elapsed().as_secs() < 10, "{pid} goes on");
        std::thread::yield_now();
    }
}
