//! Runs of the real program that end badly: killed at a system call, or on a full disk. The source
//! is untouched, nothing half done has the target's name, images are sound, and the next run gets
//! on with it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::inputs::Random;
use common::{ours, output, run, scratch, tool};

/// Runs that are killed, all commands together, at least; `PLATTER_KILLS` asks for more.
const KILLS: usize = 50;
/// What changes a file or its name.
const CALLS: &str = "pwrite64,pwritev,copy_file_range,fallocate,ftruncate,fsync,fdatasync,\
    rename,renameat,renameat2,unlink,unlinkat";
const MIB: usize = 1 << 20;

/// A command on the files of [`family`], and what becomes of which file.
struct Case {
    arguments: &'static [&'static str],
    /// The file that is new.
    target: Option<&'static str>,
    /// The images that are changed, each of which reads as before, or as after a whole run.
    changes: &'static [&'static str],
    /// An image that reads the same before, during and after.
    reads_same: &'static [&'static str],
    /// Files that are not written at all.
    untouched: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        arguments: &["convert", "-O", "qcow2", "top.qcow2", "new.qcow2"],
        target: Some("new.qcow2"),
        changes: &[],
        reads_same: &[],
        untouched: &["top.qcow2", "base.qcow2"],
    },
    Case {
        arguments: &["convert", "-c", "-O", "qcow2", "top.qcow2", "new.qcow2"],
        target: Some("new.qcow2"),
        changes: &[],
        reads_same: &[],
        untouched: &["top.qcow2", "base.qcow2"],
    },
    Case {
        arguments: &["convert", "-O", "raw", "top.qcow2", "new.raw"],
        target: Some("new.raw"),
        changes: &[],
        reads_same: &[],
        untouched: &["top.qcow2", "base.qcow2"],
    },
    Case {
        arguments: &["commit", "top.qcow2"],
        target: None,
        changes: &[],
        reads_same: &["top.qcow2"],
        untouched: &[],
    },
    Case {
        arguments: &["commit", "-d", "top.qcow2"],
        target: None,
        changes: &[],
        reads_same: &["top.qcow2"],
        untouched: &["top.qcow2"],
    },
    Case {
        arguments: &["snapshot", "-c", "two", "top.qcow2"],
        target: None,
        changes: &[],
        reads_same: &["top.qcow2"],
        untouched: &["base.qcow2"],
    },
    Case {
        arguments: &["snapshot", "-a", "one", "top.qcow2"],
        target: None,
        changes: &["top.qcow2"],
        reads_same: &[],
        untouched: &["base.qcow2"],
    },
    Case {
        arguments: &["snapshot", "-d", "one", "top.qcow2"],
        target: None,
        changes: &[],
        reads_same: &["top.qcow2"],
        untouched: &["base.qcow2"],
    },
    Case {
        arguments: &["resize", "-q", "top.qcow2", "64M"],
        target: None,
        changes: &["top.qcow2"],
        reads_same: &[],
        untouched: &["base.qcow2"],
    },
    Case {
        arguments: &["resize", "-q", "--shrink", "lone.qcow2", "1M"],
        target: None,
        changes: &["lone.qcow2"],
        reads_same: &[],
        untouched: &[],
    },
    Case {
        arguments: &[
            "resize",
            "-q",
            "-f",
            "raw",
            "--preallocation=full",
            "disk.raw",
            "3M",
        ],
        target: None,
        changes: &[],
        reads_same: &[],
        untouched: &[],
    },
    Case {
        arguments: &["rebase", "-b", "", "top.qcow2"],
        target: None,
        changes: &[],
        reads_same: &["top.qcow2"],
        untouched: &["base.qcow2"],
    },
];

/// `base.qcow2` below `top.qcow2` with the snapshot `one`, and by themselves `lone.qcow2` and
/// `disk.raw`.
fn family(folder: &Path) {
    let mut random = Random(7);
    let raw = folder.join("disk.raw");
    let noise: Vec<u8> = (0..2 * MIB / 512)
        .flat_map(|_| [random.next().to_le_bytes()[0] | 1; 512])
        .collect();
    fs::write(&raw, noise).unwrap();
    let qemu_img = |arguments: &[&str]| {
        run(tool("qemu-img").current_dir(folder).args(arguments));
    };
    let cluster = "cluster_size=4k";
    qemu_img(&[
        "convert",
        "-O",
        "qcow2",
        "-o",
        cluster,
        "disk.raw",
        "base.qcow2",
    ]);
    qemu_img(&[
        "convert",
        "-O",
        "qcow2",
        "-o",
        cluster,
        "disk.raw",
        "lone.qcow2",
    ]);
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        cluster,
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "top.qcow2",
    ]);
    for (index, snapshot) in ["one", ""].into_iter().enumerate() {
        let mut writes = tool("qemu-io");
        for _ in 0..24 {
            let at = random.below(500) * 4096 + random.below(8) * 512;
            writes.args(["-c", &format!("write -q -P {} {at} 6k", 17 + index)]);
        }
        run(writes.arg(folder.join("top.qcow2")));
        if !snapshot.is_empty() {
            qemu_img(&["snapshot", "-c", snapshot, "top.qcow2"]);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What the guest sees, as QEMU reads it.
fn content(image: &Path) -> Vec<u8> {
    let folder = scratch();
    let raw = folder.path().join("content");
    let is_raw = image
        .extension()
        .is_some_and(|extension| extension == "raw");
    let format = if is_raw { "raw" } else { "qcow2" };
    let mut convert = tool("qemu-img");
    convert.args(["convert", "-f", format, "-O", "raw"]);
    run(convert.arg(image).arg(&raw));
    fs::read(&raw).unwrap()
}

fn assert_sound(image: &Path, what: &str) {
    if image
        .extension()
        .is_some_and(|extension| extension == "raw")
    {
        return;
    }
    // An image that says that it was not closed well is repaired by whoever opens it for writing.
    let header = fs::read(image).unwrap();
    if header[79] & 1 == 1 {
        run(tool("qemu-io").args(["-c", "flush"]).arg(image));
    }
    let said = output(tool("qemu-img").arg("check").arg(image));
    let words = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(matches!(said.status.code(), Some(0 | 3)), "{what}: {words}");
}

fn traced(folder: &Path, options: &[&str], arguments: &[&str]) -> Output {
    let mut strace = tool("strace");
    strace.args(["-f", "-qq", "-e", &format!("trace={CALLS}")]);
    strace.args(options).arg(env!("CARGO_BIN_EXE_platter-img"));
    output(strace.args(arguments).current_dir(folder))
}

/// How many of the calls the busiest thread of a whole run makes.
fn calls(folder: &Path, arguments: &[&str]) -> usize {
    let log = folder.join("calls.log");
    let said = traced(folder, &["-o", log.to_str().unwrap()], arguments);
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{arguments:?}: {words}");
    let mut threads = HashMap::new();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let thread = line.split(' ').next().unwrap_or_default().to_owned();
        *threads.entry(thread).or_insert(0) += usize::from(line.contains('('));
    }
    fs::remove_file(log).unwrap();
    threads.into_values().max().expect("it changes something")
}

#[test]
fn killed_at_any_moment() {
    let kills = std::env::var("PLATTER_KILLS").map_or(KILLS, |value| {
        value.parse().expect("PLATTER_KILLS is a number")
    });
    let (original, folder) = (scratch(), scratch());
    family(original.path());
    let (mut killed, mut tried) = (0, 0);
    for case in CASES {
        let done = Done::of(case, original.path(), folder.path());
        let rounds = (2 * kills).div_ceil(CASES.len());
        tried += rounds;
        // The first and the last call, and some between; all of them, again and again, where they
        // are fewer than the rounds.
        let spread = rounds.min(done.calls);
        for round in 0..rounds {
            let at = 1 + round % spread * (done.calls - 1) / (spread - 1).max(1);
            copy(original.path(), folder.path());
            let inject = format!("inject={CALLS}:signal=KILL:when={at}");
            let said = traced(folder.path(), &["-e", &inject], case.arguments);
            if said.status.success() {
                // Other threads were quicker this time.
                continue;
            }
            killed += 1;
            done.check(case, original.path(), folder.path(), at);
        }
    }
    assert!(killed >= kills, "only {killed} of {tried} runs were killed");
}

/// What a whole run of a case does.
struct Done {
    calls: usize,
    /// What was in the images that are changed, and is afterwards.
    changes: Vec<[Vec<u8>; 2]>,
    /// What is in those that read the same.
    same: Vec<Vec<u8>>,
}

impl Done {
    fn of(case: &Case, original: &Path, folder: &Path) -> Self {
        copy(original, folder);
        let before = |name: &&str| content(&folder.join(name));
        let same = case.reads_same.iter().map(before).collect();
        let before: Vec<_> = case.changes.iter().map(before).collect();
        let calls = calls(folder, case.arguments);
        let after = case.changes.iter().map(|name| content(&folder.join(name)));
        let changes = before.into_iter().zip(after);
        Self {
            calls,
            changes: changes.map(|(before, after)| [before, after]).collect(),
            same,
        }
    }

    /// Looks at what a killed run left, and runs it again.
    fn check(&self, case: &Case, original: &Path, folder: &Path, at: usize) {
        let what = format!("{:?}, killed at call {at}", case.arguments);
        let target = case.target.map(|name| folder.join(name));
        for name in case.untouched {
            let same =
                fs::read(folder.join(name)).unwrap() == fs::read(original.join(name)).unwrap();
            assert!(same, "{what}: {name} was written");
        }
        for name in ["top.qcow2", "base.qcow2", "lone.qcow2"] {
            assert_sound(&folder.join(name), &what);
        }
        for (name, contents) in case.changes.iter().zip(&self.changes) {
            let found = content(&folder.join(name));
            assert!(
                contents.contains(&found),
                "{what}: {name} is neither old nor new"
            );
        }
        for (name, expected) in case.reads_same.iter().zip(&self.same) {
            let same = content(&folder.join(name)) == *expected;
            assert!(same, "{what}: {name} reads otherwise");
        }
        if let Some(target) = &target
            && target.exists()
        {
            // Killed behind the renaming.
            assert_eq!(
                content(target),
                content(&original.join("top.qcow2")),
                "{what}"
            );
        }
        let again = output(ours().current_dir(folder).args(case.arguments));
        let words = String::from_utf8_lossy(&again.stderr);
        // Some things cannot be done twice, and had been done.
        let was_done = words.contains("snapshot") || words.contains("backing file");
        assert!(
            again.status.success() || was_done,
            "{what}, then again: {words}"
        );
        for (name, contents) in case.changes.iter().zip(&self.changes) {
            assert!(
                content(&folder.join(name)) == contents[1],
                "{what}, then again: {name}"
            );
        }
        if let Some(target) = target {
            assert_eq!(
                content(&target),
                content(&original.join("top.qcow2")),
                "{what}, again"
            );
            let part = PathBuf::from(format!("{}.part", target.display()));
            assert!(!part.exists(), "{what}: the part is still there");
        }
    }
}

/// A command that needs more than there is.
struct Full {
    case: Case,
    /// What is left on the disk, in bytes.
    room: u64,
    /// It also fails when no write may reach behind a megabyte and a bit.
    is_long: bool,
}

const fn full(
    arguments: &'static [&'static str],
    target: Option<&'static str>,
    changes: &'static [&'static str],
    reads_same: &'static [&'static str],
    untouched: &'static [&'static str],
) -> Full {
    Full {
        case: Case {
            arguments,
            target,
            changes,
            reads_same,
            untouched,
        },
        room: 1 << 20,
        is_long: true,
    }
}

/// Needs only a little: there is nothing at all.
const fn without_room(full: Full) -> Full {
    Full {
        room: 0,
        is_long: false,
        ..full
    }
}

#[rustfmt::skip]
const FULL: &[Full] = &[
    full(&["convert", "-O", "raw", "-S", "0", "disk.raw", "new.raw"], Some("new.raw"), &[], &[], &["disk.raw"]),
    full(&["create", "-f", "raw", "-o", "preallocation=full", "new.raw", "8M"], Some("new.raw"), &[], &[], &[]),
    full(&["create", "-f", "qcow2", "-o", "preallocation=full", "new.qcow2", "8M"], Some("new.qcow2"), &[], &[], &[]),
    full(&["resize", "-f", "raw", "--preallocation=full", "disk.raw", "16M"], None, &["disk.raw"], &[], &[]),
    full(&["resize", "--preallocation=full", "lone.qcow2", "16M"], None, &["lone.qcow2"], &[], &["top.qcow2", "base.qcow2"]),
    full(&["resize", "lone.qcow2", "1T"], None, &["lone.qcow2"], &[], &["top.qcow2", "base.qcow2"]),
    full(&["rebase", "-b", "", "top.qcow2"], None, &[], &["top.qcow2"], &["base.qcow2"]),
    full(&["commit", "over.qcow2"], None, &[], &["over.qcow2"], &["over.qcow2"]),
    full(&["commit", "-d", "over.qcow2"], None, &[], &["over.qcow2"], &["over.qcow2"]),
    Full { room: 0, ..full(&["snapshot", "-c", "new", "lone.qcow2"], None, &["lone.qcow2"], &[], &[]) },
    without_room(full(&["snapshot", "-c", "new", "top.qcow2"], None, &["top.qcow2"], &[], &["base.qcow2"])),
    // No room for what would be overwritten.
    without_room(full(&["check", "-q", "-r", "all", "damaged.qcow2"], None, &[], &["damaged.qcow2"], &["damaged.qcow2"])),
    // No room for refcounts that are written anew.
    without_room(full(&["check", "-q", "-r", "all", "--no-backup", "damaged.qcow2"], None, &[], &["damaged.qcow2"], &[])),
];

/// Beside [`family`]: `over.qcow2` with a megabyte and a half on `hollow.qcow2`, which holds nothing,
/// and `damaged.qcow2`, whose refcount table leads nowhere.
fn more(folder: &Path) {
    let qemu_img = |line: &str| {
        run(tool("qemu-img").current_dir(folder).args(line.split(' ')));
    };
    qemu_img("create -q -f qcow2 -o cluster_size=4k hollow.qcow2 4M");
    qemu_img("create -q -f qcow2 -o cluster_size=4k -F qcow2 -b hollow.qcow2 over.qcow2");
    run(tool("qemu-io")
        .args(["-c", "write -q -P 9 64k 1536k"])
        .arg(folder.join("over.qcow2")));
    let mut image = fs::read(folder.join("lone.qcow2")).unwrap();
    let table = u64::from_be_bytes(image[48..56].try_into().unwrap());
    let table = usize::try_from(table).unwrap();
    image[table..table + 8].fill(0);
    fs::write(folder.join("damaged.qcow2"), image).unwrap();
}

/// A file system that has no more than `room` bytes left besides the files that are in it.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where nothing can be mounted, outside of continuous integration.
    fn holding(files: &Path, room: u64) -> Option<Self> {
        let folder = scratch();
        let mount = ["-t", "tmpfs", "-o", "size=1g", "none"];
        let mounted = output(tool("mount").args(mount).arg(folder.path()));
        if !mounted.status.success() {
            let why = String::from_utf8_lossy(&mounted.stderr);
            assert!(std::env::var_os("CI").is_none(), "no small disk: {why}");
            eprintln!("NOT TESTED, full disks: nothing can be mounted: {why}");
            return None;
        }
        let disk = Self { folder };
        run(tool("cp")
            .args(["--sparse=always", "-r"])
            .arg(files.join("."))
            .arg(disk.folder.path()));
        disk.leave(room);
        Some(disk)
    }

    /// Makes it as small or as large as that takes.
    fn leave(&self, room: u64) {
        let used = run(tool("df")
            .args(["-B1", "--output=used"])
            .arg(self.folder.path()));
        let used: u64 = used.lines().last().unwrap().trim().parse().unwrap();
        let size = format!("remount,size={}", used + room);
        run(tool("mount").args(["-o", &size]).arg(self.folder.path()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = output(tool("umount").arg(self.folder.path()));
    }
}

/// Neither a small file system nor a limit of the process leaves anything half done, and with more
/// room it can be done.
#[test]
fn a_full_disk() {
    let original = scratch();
    family(original.path());
    more(original.path());
    for Full {
        case,
        room,
        is_long,
    } in FULL
    {
        if let Some(disk) = SmallDisk::holding(original.path(), *room) {
            let folder = disk.folder.path();
            let said = output(ours().current_dir(folder).args(case.arguments));
            let reason = "No space left on device";
            check_full(case, original.path(), folder, &said, reason);
            disk.leave(64 << 20);
            run(ours().current_dir(folder).args(case.arguments));
            for name in case.reads_same {
                let same = content(&folder.join(name)) == content(&original.path().join(name));
                assert!(same, "{:?}, with more room: {name}", case.arguments);
            }
            assert_all_sound(folder, &format!("{:?}, with more room", case.arguments));
        }
        if !is_long {
            continue;
        }
        let folder = scratch();
        copy(original.path(), folder.path());
        let limited = "trap '' XFSZ; ulimit -f 2100; exec \"$0\" \"$@\"";
        let mut shell = tool("sh");
        shell.args(["-c", limited, env!("CARGO_BIN_EXE_platter-img")]);
        let said = output(shell.current_dir(folder.path()).args(case.arguments));
        check_full(case, original.path(), folder.path(), &said, "too large");
    }
}

fn assert_all_sound(folder: &Path, what: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".qcow2") && name != "damaged.qcow2" {
            assert_sound(&path, &format!("{what}: {name}"));
        }
    }
}

fn check_full(case: &Case, original: &Path, folder: &Path, said: &Output, reason: &str) {
    let words = String::from_utf8_lossy(&said.stderr);
    let what = format!("{:?}, {reason}: {words}", case.arguments);
    assert_eq!(said.status.code(), Some(1), "{what}");
    assert!(words.contains(reason), "{what}");
    if let Some(target) = case.target {
        assert!(!folder.join(target).exists(), "{what}: the target is there");
    }
    let names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        names.len(),
        fs::read_dir(original).unwrap().count(),
        "{what}: {names:?}"
    );
    for name in case.untouched {
        let same = fs::read(folder.join(name)).unwrap() == fs::read(original.join(name)).unwrap();
        assert!(same, "{what}: {name} was written");
    }
    assert_all_sound(folder, &what);
    for name in case.changes.iter().chain(case.reads_same) {
        let same = content(&folder.join(name)) == content(&original.join(name));
        assert!(same, "{what}: {name} reads otherwise");
    }
}
