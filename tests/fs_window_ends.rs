//! What is left of a window on a partition when its work is cancelled, when its owner is killed, and
//! where it cannot be had: nothing, and the disk as it was or as it should be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::windows::{
    alone, can_mount, children, has_windows, mounts, mounts_of_ours, wait_for_end,
};
use common::{ours, output, run, run_with_input, scratch, tool};
use platter::fs::FsKind;
use platter::fs::change::{Change, Place, change};
use platter::storage::{MemoryStorage, Storage, WritableStorage};
use platter::{Control, Stop};
use rustix::process::{Pid, Signal, kill_process};

const MIB: u64 = 1 << 20;

/// A disk with one partition, 40 MiB from 1 MiB on, and room behind it.
struct Disk {
    folder: tempfile::TempDir,
    /// For temporary files of the program.
    temporary: tempfile::TempDir,
    before: Vec<u8>,
}

impl Disk {
    fn new(make: &str, options: &[&str]) -> Self {
        let (folder, temporary) = (scratch(), scratch());
        let (path, volume) = (folder.path().join("disk.raw"), folder.path().join("volume"));
        File::create(&path).unwrap().set_len(64 * MIB).unwrap();
        let table = "label: dos\nlabel-id: 0x12345678\nstart=1M, size=40M, type=83\n";
        run_with_input(tool("sfdisk").arg("--quiet").arg(&path), table);
        File::create(&volume).unwrap().set_len(40 * MIB).unwrap();
        run(tool(make).args(options).arg(&volume));
        let mut before = fs::read(&path).unwrap();
        let start = usize::try_from(MIB).unwrap();
        let content = fs::read(&volume).unwrap();
        before[start..start + content.len()].copy_from_slice(&content);
        fs::remove_file(volume).unwrap();
        let disk = Self {
            folder,
            temporary,
            before,
        };
        disk.restore();
        disk
    }

    fn ext4() -> Self {
        Self::new("mkfs.ext4", &["-q", "-F"])
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk.raw")
    }

    /// As it was, without a journal.
    fn restore(&self) {
        fs::write(self.path(), &self.before).unwrap();
        for name in names(self.folder.path()) {
            if name != "disk.raw" {
                fs::remove_file(self.folder.path().join(name)).unwrap();
            }
        }
    }

    fn is_as_before(&self) -> bool {
        fs::read(self.path()).unwrap() == self.before
    }

    fn edit(&self, op: &str) -> Command {
        let mut edit = ours();
        self.arguments(&mut edit, op);
        edit
    }

    /// The program and its arguments, for one that runs it.
    fn arguments(&self, command: &mut Command, op: &str) {
        command
            .env("TMPDIR", self.temporary.path())
            .args(["edit", "--yes", "-f", "raw", "--op", op])
            .arg(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
    }

    /// Nothing but the journal may lie beside the image, and nothing at all where temporary files go.
    fn assert_nothing_is_left(&self) {
        let temporary = self.temporary.path().to_str().unwrap();
        assert_eq!(mounts(temporary), [""; 0]);
        let left = names(self.folder.path());
        let is_known =
            |name: &String| name == "disk.raw" || name.starts_with(".disk.raw.platter-journal");
        assert!(left.iter().all(is_known), "{left:?}");
        assert_eq!(names(self.temporary.path()), [""; 0]);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Until a tool runs, or the program is over: the tools.
fn wait_for_tools(edit: &mut std::process::Child) -> Vec<u32> {
    loop {
        let tools = children(edit.id());
        if !tools.is_empty() || edit.try_wait().unwrap().is_some() {
            break tools;
        }
        thread::yield_now();
    }
}

/// Holds whoever reads until it is opened.
#[derive(Debug)]
struct Gate {
    inside: MemoryStorage,
    /// Whether somebody waits, and whether it is open.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn wait_for_reader(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !state.0).unwrap());
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

impl Storage for Gate {
    fn size(&self) -> platter::Result<u64> {
        self.inside.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> platter::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.1).unwrap());
        self.inside.read_at(buf, offset)
    }
}

impl WritableStorage for Gate {
    fn write_at(&self, buf: &[u8], offset: u64) -> platter::Result<()> {
        self.inside.write_at(buf, offset)
    }

    fn write_zeroes(&self, range: std::ops::Range<u64>) -> platter::Result<()> {
        self.inside.write_zeroes(range)
    }

    fn punch_hole(&self, range: std::ops::Range<u64>) -> platter::Result<()> {
        self.inside.punch_hole(range)
    }

    fn allocate(&self, range: std::ops::Range<u64>) -> platter::Result<()> {
        self.inside.allocate(range)
    }

    fn set_len(&self, length: u64) -> platter::Result<()> {
        self.inside.set_len(length)
    }

    fn flush(&self) -> platter::Result<()> {
        self.inside.flush()
    }
}

/// The tool waits for what it reads in its window: there the cancel meets it.
#[test]
fn a_cancel_stops_the_tool_and_leaves_the_partition() {
    let _alone = alone();
    if !has_windows() {
        return;
    }
    let folder = scratch();
    let volume = folder.path().join("volume");
    File::create(&volume).unwrap().set_len(32 * MIB).unwrap();
    run(tool("mkfs.ext4").args(["-q", "-F"]).arg(&volume));
    let before = fs::read(&volume).unwrap();
    fs::remove_file(&volume).unwrap();
    let gate = Arc::new(Gate {
        inside: MemoryStorage::new(before.clone()),
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    let control = Control::new();
    let (storage, watched) = (Arc::clone(&gate), control.clone());
    let work = Place::new(folder.path());
    let worker = thread::spawn(move || {
        let storage = storage as Arc<dyn WritableStorage>;
        let what = Change::Label("NEW".to_owned());
        change(&storage, FsKind::Ext4, &what, &work, &watched)
    });
    gate.wait_for_reader();
    let tools = children(std::process::id());
    assert_eq!(tools.len(), 1, "{tools:?}");
    control.cancel();
    // It is killed while it waits: only then it gets its answer.
    let start = Instant::now();
    while !is_killed(tools[0]) {
        assert!(start.elapsed().as_secs() < 10, "it goes on");
        thread::yield_now();
    }
    gate.open();
    let stop = worker.join().unwrap();
    assert!(matches!(stop, Err(Stop::Cancelled)), "{stop:?}");
    wait_for_end(tools[0]);
    assert!(gate.inside.to_vec() == before);
    assert_eq!(mounts_of_ours(), [""; 0]);
    assert_eq!(names(folder.path()), [""; 0]);
}

/// Whether `SIGKILL` is on its way, or has arrived.
fn is_killed(pid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return true;
    };
    let pending = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.is_some_and(|set: &str| u64::from_str_radix(set.trim(), 16).unwrap() & 1 << 8 != 0)
    };
    status.contains("State:\tZ") || pending("SigPnd:") || pending("ShdPnd:")
}

/// The same through the program, which gets an interrupt as soon as a tool runs.
#[test]
fn an_interrupt_leaves_the_image() {
    let _alone = alone();
    let disk = Disk::ext4();
    let (mut interrupted, mut rounds) = (0, 0);
    while interrupted < 5 {
        rounds += 1;
        assert!(rounds < 50, "interrupted {interrupted} times only");
        let mut edit = disk.edit("resize 1 max").spawn().unwrap();
        let tools = wait_for_tools(&mut edit);
        let pid = Pid::from_raw(i32::try_from(edit.id()).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let ended = edit.wait().unwrap();
        for pid in tools {
            wait_for_end(pid);
        }
        disk.assert_nothing_is_left();
        if ended.success() {
            // It had come too far.
            disk.restore();
            continue;
        }
        interrupted += 1;
        assert!(disk.is_as_before());
        assert_eq!(names(disk.folder.path()), ["disk.raw"]);
    }
}

/// What stands in the way of a window is no reason not to do the work, and does not change it.
#[test]
fn without_fuse_a_copy_gives_the_same() {
    let _alone = alone();
    for (make, options, op) in [
        ("mkfs.ntfs", &["-F", "-Q"][..], "resize 1 max"),
        // FAT would say when it was named.
        ("mkfs.exfat", &[][..], "label 1 NEW"),
    ] {
        let disk = Disk::new(make, options);
        run(&mut disk.edit(op));
        let expected = fs::read(disk.path()).unwrap();
        assert!(expected != disk.before, "{make}: {op} does nothing");
        for (calls, error) in [
            // No device: it is not there, not ours, or not FUSE.
            (
                &["-P", "/dev/fuse", "-e", "trace=openat"][..],
                "openat:error=ENOENT",
            ),
            (
                &["-P", "/dev/fuse", "-e", "trace=openat"][..],
                "openat:error=EACCES",
            ),
            // No right to mount, and no fusermount3.
            (
                &["-e", "trace=fsopen,mount"][..],
                "fsopen,mount:error=EPERM",
            ),
        ] {
            disk.restore();
            let log = disk.temporary.path().join("log");
            let mut strace = tool("strace");
            strace.args(["-f", "-qq", "-o"]).arg(&log).args(calls);
            strace.args(["-e", &format!("inject={error}")]);
            strace.arg(env!("CARGO_BIN_EXE_platter-img"));
            strace.env("FUSERMOUNT_PATH", "/nowhere/fusermount3");
            disk.arguments(&mut strace, op);
            run(&mut strace);
            let said = fs::read_to_string(&log).unwrap();
            assert!(said.contains("(INJECTED)"), "no window was tried: {said}");
            fs::remove_file(log).unwrap();
            assert!(fs::read(disk.path()).unwrap() == expected, "{make} {error}");
            disk.assert_nothing_is_left();
        }
    }
}

/// `platter-img` is killed at moments from all over its run. What it leaves can be finished and taken
/// back, or has not begun.
#[test]
fn a_kill_at_any_moment_is_made_good() {
    let _alone = alone();
    let rounds = match std::env::var_os("PLATTER_LONG") {
        Some(_) => 500,
        None => 40,
    };
    let disk = Disk::ext4();
    let start = Instant::now();
    run(&mut disk.edit("resize 1 max"));
    let whole = start.elapsed();
    let (mut untouched, mut interrupted, mut done, mut in_tool) = (0, 0, 0, 0);
    for round in 0..rounds {
        disk.restore();
        let mut edit = disk.edit("resize 1 max").spawn().unwrap();
        wait_for_moment(&mut edit, moment(round, whole));
        let tools = children(edit.id());
        let _ = edit.kill();
        let survived = edit.wait().unwrap().success();
        in_tool += usize::from(!tools.is_empty() && !survived);
        for pid in tools {
            wait_for_end(pid);
        }
        disk.assert_nothing_is_left();
        let takes_back = round % 2 == 0;
        let (resumed, said) = resume(&disk.path(), takes_back);
        let is_done = match (survived, resumed) {
            (true, _) => {
                done += 1;
                !takes_back
            }
            (false, true) => {
                interrupted += 1;
                !takes_back
            }
            (false, false) => {
                assert!(said.contains("nothing interrupted"), "{said}");
                untouched += 1;
                false
            }
        };
        if is_done {
            assert_is_grown(&disk.path());
        } else {
            assert!(disk.is_as_before(), "round {round}: {said}");
        }
        disk.assert_nothing_is_left();
    }
    println!(
        "{untouched} killed before they began ({in_tool} of them all in a tool), {interrupted} \
         interrupted, {done} done"
    );
    assert!(in_tool > 0, "no tool was killed");
    assert!(untouched < rounds, "all were killed too early");
}

/// Whether something was finished or taken back, and what was said.
fn resume(disk: &Path, takes_back: bool) -> (bool, String) {
    let start = Instant::now();
    loop {
        let mut resume = ours();
        resume.args(["resume", "-f", "raw"]);
        resume.args(takes_back.then_some("--rollback"));
        let resumed = output(resume.arg(disk));
        let said = String::from_utf8_lossy(&resumed.stderr).into_owned();
        // A tool that is being started has what its parent had, until it runs.
        if !said.contains("Failed to get") || start.elapsed().as_secs() > 10 {
            break (resumed.status.success(), said);
        }
    }
}

/// Moments that lie close nowhere, from the start to a little behind the end.
fn moment(round: u32, whole: Duration) -> Duration {
    let part = (f64::from(round) * 0.618_034).fract();
    whole.mul_f64(part * 1.2)
}

fn wait_for_moment(edit: &mut std::process::Child, moment: Duration) {
    let start = Instant::now();
    while start.elapsed() < moment && edit.try_wait().unwrap().is_none() {
        thread::yield_now();
    }
}

/// The partition has 63 MiB, and its file system is clean and has as many.
fn assert_is_grown(disk: &Path) {
    let table = run(tool("sfdisk").arg("--dump").arg(disk));
    assert!(table.contains("size=      129024"), "{table}");
    let volume = disk.with_file_name("volume");
    let bytes = fs::read(disk).unwrap();
    fs::write(&volume, &bytes[usize::try_from(MIB).unwrap()..]).unwrap();
    run(tool("e2fsck").args(["-f", "-n"]).arg(&volume));
    let said = run(tool("dumpe2fs").arg("-h").arg(&volume));
    fs::remove_file(&volume).unwrap();
    assert!(said.contains("Block count:              64512"), "{said}");
}

/// `platter-img` is killed while `resize2fs` or `e2fsck` runs, in a trial that writes nothing.
#[test]
fn a_kill_leaves_no_mount_and_no_tool() {
    let _alone = alone();
    if !has_windows() {
        return;
    }
    let disk = Disk::ext4();
    let mut in_tool = 0;
    for _ in 0..5 {
        let mut edit = disk.edit("resize 1 max").arg("--try").spawn().unwrap();
        let tools = wait_for_tools(&mut edit);
        in_tool += usize::from(!tools.is_empty());
        let _ = edit.kill();
        edit.wait().unwrap();
        for pid in tools {
            wait_for_end(pid);
        }
        disk.assert_nothing_is_left();
        assert_eq!(names(disk.folder.path()), ["disk.raw"]);
    }
    assert!(in_tool > 0, "no tool was seen");
    assert!(disk.is_as_before());
}

/// Who may not mount asks `fusermount3`, and the mount has a folder for a moment. Killed in just that
/// moment, it stays there, until the next window.
#[test]
fn a_dead_mount_is_removed_by_the_next() {
    let _alone = alone();
    if !can_mount() || !Path::new("/usr/bin/fusermount3").exists() {
        eprintln!("NOT TESTED, dead mounts: this takes the right to mount, and fusermount3");
        return;
    }
    let disk = Disk::ext4();
    let program = disk.folder.path().join("platter-img");
    fs::copy(env!("CARGO_BIN_EXE_platter-img"), &program).unwrap();
    // In a namespace of its own: there everybody may use FUSE, and what is mounted goes with it.
    let script = r#"
        set -e
        mknod -m 666 "$1/fuse" c 10 229
        mount --bind "$1/fuse" /dev/fuse
        chown -R nobody "$1" "$2"
        edit() {
            rm -f "$1"/.disk.raw.*
            strace -u nobody -f -qq -o "$1/log" -e trace=umount2 $3 env TMPDIR="$2" \
                "$1/platter-img" edit --yes -f raw --op "label 1 NEW" "$1/disk.raw" >"$1/said" 2>&1
        }
        ! edit "$1" "$2" -einject=umount2:signal=KILL:when=1
        cat /proc/self/mountinfo >"$1/killed"
        edit "$1" "$2" || { cat "$1/said"; exit 1; }
        cat /proc/self/mountinfo >"$1/next"
    "#;
    let mut alone = tool("unshare");
    alone.args(["--mount", "sh", "-c", script, "sh"]);
    run(alone.args([disk.folder.path(), disk.temporary.path()]));
    let counts = ["killed", "next"].map(|name| {
        let mounted = fs::read_to_string(disk.folder.path().join(name)).unwrap();
        mounted.matches(" fuse platter ").count()
    });
    assert_eq!(counts, [1, 0]);
    assert_eq!(names(disk.temporary.path()), [""; 0]);
}
