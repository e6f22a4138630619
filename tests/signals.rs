//! Ctrl-C, SIGTERM and SIGHUP at chosen moments: the real program stops where nothing is half done,
//! removes what it began, and dies of the signal; a second one ends it at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{ours, output, run, run_with_input, scratch, tool};
use rustix::process::{Pid, Signal, kill_process};

const MIB: usize = 1 << 20;
/// Far longer than anything here takes, and shorter than what a second signal does not wait for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with `disk.raw`, and `top.qcow2` on `base.qcow2` that it was made of.
fn family() -> tempfile::TempDir {
    let folder = scratch();
    let noise: Vec<u8> = (0..32 * MIB / 512)
        .flat_map(|sector| [u8::try_from(sector % 250).unwrap() | 1; 512])
        .collect();
    fs::write(folder.path().join("disk.raw"), noise).unwrap();
    let qemu = |line: &str| {
        let words = line.split(' ');
        run(tool("qemu-img").current_dir(folder.path()).args(words));
    };
    qemu("convert -O qcow2 disk.raw base.qcow2");
    qemu("create -q -f qcow2 -F qcow2 -b base.qcow2 top.qcow2");
    run(tool("qemu-io")
        .args(["-c", "write -q -P 9 1M 6M"])
        .arg(folder.path().join("top.qcow2")));
    folder
}

/// Starts it with signals that do what they do by default: whoever runs the tests may be ignoring
/// some, as a shell does for what it starts in the background.
fn start(command: &Command) -> Child {
    let mut with_signals = tool("env");
    with_signals
        .arg("--default-signal=HUP,INT,TERM")
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        with_signals.current_dir(folder);
    }
    with_signals
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The program with each of `calls` taking longer, as a slow disk does. It is our child, not
/// strace's.
fn slowed(calls: &str, delay: &str) -> Command {
    let mut strace = tool("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
    strace.args(["-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:delay_enter={delay}")]);
    strace.arg(env!("CARGO_BIN_EXE_platter-img"));
    strace
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        thread::yield_now();
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Sends `signal`, after which the program has to end by it and say so.
fn interrupt(mut child: Child, signal: Signal) {
    assert!(child.try_wait().unwrap().is_none(), "it was done too early");
    send(&child, signal);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.signal(), Some(signal.as_raw()));
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    let last = words.lines().last();
    assert_eq!(last, Some("platter-img: interrupted"), "{words}");
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names
}

fn assert_sound(folder: &Path) {
    for image in ["top.qcow2", "base.qcow2"] {
        let said = output(tool("qemu-img").arg("check").arg(folder.join(image)));
        let words = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(matches!(said.status.code(), Some(0 | 3)), "{words}");
    }
}

/// What the guest sees through the whole chain.
fn content(folder: &Path) -> Vec<u8> {
    let raw = scratch();
    let raw = raw.path().join("content");
    run(tool("qemu-img")
        .args(["convert", "-O", "raw"])
        .arg(folder.join("top.qcow2"))
        .arg(&raw));
    fs::read(raw).unwrap()
}

#[test]
fn a_conversion_leaves_what_was_there() {
    let folder = family();
    let folder = folder.path();
    let new = folder.join("new.qcow2");
    for (signal, compresses) in [
        (Signal::INT, false),
        (Signal::TERM, true),
        (Signal::HUP, false),
    ] {
        fs::write(&new, "old").unwrap();
        let before = names(folder);
        let mut convert = ours();
        convert.args(["convert", "-r", "64k", "-O", "qcow2"]);
        convert.args(compresses.then_some("-c"));
        let child = start(convert.args(["disk.raw", "new.qcow2"]).current_dir(folder));
        let part = folder.join("new.qcow2.part");
        wait_until("a part", || part.exists());
        interrupt(child, signal);
        assert_eq!(names(folder), before);
        assert_eq!(fs::read(&new).unwrap(), b"old");
    }
}

/// Taking over snapshots comes last, and belongs to the work all the same.
#[test]
fn a_conversion_with_snapshots_leaves_nothing() {
    let folder = family();
    let folder = folder.path();
    run(tool("qemu-img")
        .args(["snapshot", "-c", "one"])
        .arg(folder.join("top.qcow2")));
    run(tool("qemu-io")
        .args(["-c", "write -q -P 8 0 8M"])
        .arg(folder.join("top.qcow2")));
    let before = names(folder);
    let mut convert = slowed("fdatasync,fsync", "1s");
    convert.args(["convert", "-O", "qcow2", "--snapshots"]);
    let child = start(convert.args(["top.qcow2", "new.qcow2"]).current_dir(folder));
    let part = folder.join("new.qcow2.part");
    // The tables are there: what follows are the snapshots.
    wait_until("an image", || {
        fs::read(&part).is_ok_and(|bytes| bytes.starts_with(b"QFI\xfb"))
    });
    interrupt(child, Signal::INT);
    assert_eq!(names(folder), before);
}

#[test]
fn a_creation_leaves_nothing() {
    let folder = scratch();
    let new = folder.path().join("new.raw");
    let mut create = slowed("pwrite64", "50ms");
    create.args(["create", "-f", "raw", "-o", "preallocation=full"]);
    let child = start(create.arg(&new).arg("1G"));
    let part = folder.path().join("new.raw.part");
    wait_until("a part", || {
        part.metadata().is_ok_and(|part| part.len() > 0)
    });
    interrupt(child, Signal::INT);
    assert_eq!(names(folder.path()).len(), 0);
}

#[test]
fn a_commit_can_be_run_again() {
    let folder = family();
    let folder = folder.path();
    let (before, base) = (
        content(folder),
        fs::read(folder.join("base.qcow2")).unwrap(),
    );
    let mut commit = ours();
    commit.args(["commit", "-r", "64k", "top.qcow2"]);
    let child = start(commit.current_dir(folder));
    wait_until("a changed base", || {
        fs::read(folder.join("base.qcow2")).unwrap() != base
    });
    interrupt(child, Signal::TERM);
    assert_sound(folder);
    assert!(content(folder) == before);
    run(ours().args(["commit", "top.qcow2"]).current_dir(folder));
    assert!(content(folder) == before);
    assert_sound(folder);
}

#[test]
fn a_rebase_can_be_run_again() {
    let folder = family();
    let folder = folder.path();
    let (before, top) = (content(folder), fs::read(folder.join("top.qcow2")).unwrap());
    let mut rebase = slowed("pwrite64", "200ms");
    let child = start(
        rebase
            .args(["rebase", "-b", "", "top.qcow2"])
            .current_dir(folder),
    );
    wait_until("a changed overlay", || {
        fs::read(folder.join("top.qcow2")).unwrap() != top
    });
    interrupt(child, Signal::INT);
    assert_sound(folder);
    assert!(content(folder) == before);
    run(ours()
        .args(["rebase", "-b", "", "top.qcow2"])
        .current_dir(folder));
    assert!(content(folder) == before);
    assert_sound(folder);
}

#[test]
fn a_resize_is_not_made() {
    let folder = family();
    let folder = folder.path();
    let disk = folder.join("disk.raw");
    let before = fs::read(&disk).unwrap();
    let mut resize = slowed("pwrite64", "50ms");
    resize.args(["resize", "-f", "raw", "--preallocation=full"]);
    let child = start(resize.arg(&disk).arg("1G"));
    wait_until("a longer disk", || {
        disk.metadata().unwrap().len() > before.len() as u64
    });
    interrupt(child, Signal::INT);
    assert!(fs::read(&disk).unwrap() == before);

    let top = folder.join("top.qcow2");
    let size = |image: &Path| {
        let info = run(tool("qemu-img").args(["info", "--output=json"]).arg(image));
        serde_json::from_str::<serde_json::Value>(&info).unwrap()["virtual-size"].as_u64()
    };
    run(ours().args(["rebase", "-b", ""]).arg(&top));
    let (before, length) = (size(&top), top.metadata().unwrap().len());
    let mut resize = slowed("pwrite64", "2ms");
    resize.args(["resize", "--preallocation=full"]);
    let child = start(resize.arg(&top).arg("2G"));
    wait_until("a longer image", || {
        top.metadata().unwrap().len() > length + (80 << 20)
    });
    interrupt(child, Signal::HUP);
    assert_eq!(size(&top), before);
    let now = top.metadata().unwrap().len();
    assert!(now <= length + MIB as u64, "{now} bytes, {length} before");
    assert_sound(folder);
}

/// An edit runs back: nothing has moved, and there is nothing to resume.
#[test]
fn an_edit_is_taken_back() {
    let folder = scratch();
    let disk = folder.path().join("disk.raw");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    run_with_input(
        tool("sfdisk").arg("--quiet").arg(&disk),
        "label: gpt\nstart=2M,size=24M\n",
    );
    let mut bytes = fs::read(&disk).unwrap();
    for (at, byte) in bytes[2 * MIB..26 * MIB].iter_mut().enumerate() {
        *byte = u8::try_from(at / 512 % 251).unwrap();
    }
    fs::write(&disk, &bytes).unwrap();
    let mut edit = slowed("fdatasync,fsync", "100ms");
    edit.args(["edit", "--yes", "-f", "raw", "--op", "move 1 +8M"]);
    let child = start(edit.arg(&disk));
    wait_until("moved bytes", || {
        let now = fs::read(&disk).unwrap();
        now[26 * MIB..34 * MIB].iter().any(|byte| *byte != 0)
    });
    interrupt(child, Signal::INT);
    let now = fs::read(&disk).unwrap();
    // What lay behind the partition was nobody's.
    assert!(
        now[..26 * MIB] == bytes[..26 * MIB],
        "the disk is another one"
    );
    assert!(
        now[63 * MIB..] == bytes[63 * MIB..],
        "the table is another one"
    );
    assert_eq!(names(folder.path()), [disk]);
}

/// Work that does not come to a safe point is not waited for.
#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = family();
    let mut convert = slowed("pwrite64,copy_file_range", "120s");
    convert.args(["convert", "-O", "raw", "disk.raw", "new.raw"]);
    let mut child = start(convert.current_dir(folder.path()));
    let part = folder.path().join("new.raw.part");
    wait_until("a part", || part.exists());
    // The second comes before the program has got to its next safe point. A burst makes sure that
    // two arrive, and the pause that strace gets on.
    wait_until("an end", || {
        for _ in 0..100 {
            send(&child, Signal::INT);
            thread::yield_now();
        }
        thread::park_timeout(Duration::from_millis(50));
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    assert!(part.exists(), "it stopped at a safe point");
}

/// `nohup` means it.
#[test]
fn an_ignored_signal_stays_ignored() {
    let folder = family();
    let mut shell = tool("sh");
    shell.args(["-c", r#"trap "" HUP; exec "$@""#, "sh"]);
    shell.arg(env!("CARGO_BIN_EXE_platter-img"));
    shell.args(["convert", "-r", "64k", "-O", "raw", "disk.raw", "new.raw"]);
    let child = start(shell.current_dir(folder.path()));
    let part = folder.path().join("new.raw.part");
    wait_until("a part", || part.exists());
    send(&child, Signal::HUP);
    let ignored = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let mask = ignored
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .unwrap();
    assert_eq!(u64::from_str_radix(mask.trim(), 16).unwrap() & 1, 1);
    interrupt(child, Signal::TERM);
    assert!(!part.exists());
}

/// Called by the other program's name it dies without a word, as that does.
#[test]
fn the_drop_in_is_silent() {
    let folder = family();
    let link = folder.path().join("qemu-img");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_platter-img"), &link).unwrap();
    let mut convert = Command::new(&link);
    convert.args(["convert", "-r", "64k", "-O", "raw", "disk.raw", "new.raw"]);
    let child = start(convert.current_dir(folder.path()));
    let part = folder.path().join("new.raw.part");
    wait_until("a part", || part.exists());
    send(&child, Signal::INT);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.signal(), Some(Signal::INT.as_raw()));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert!(!part.exists());
}
