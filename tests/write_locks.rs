//! Nobody else writes what we write, and we write nothing that somebody else uses: every way of
//! holding an image against every way of opening it, with QEMU's programs and with ours.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::holder::Holder;
use common::{ours, output, run, scratch, tool};
use platter::ErrorKind;
use platter::storage::{FileStorage, LockMode};

/// Rounds of starting and stopping in an ordinary run; `PLATTER_LOCK_ROUNDS` asks for more.
const ROUNDS: usize = 30;

const MODES: [LockMode; 5] = [
    LockMode::Peek,
    LockMode::HeaderOnly,
    LockMode::Read,
    LockMode::Write,
    LockMode::WriteExclusive,
];

fn image(folder: &Path, format: &str) -> PathBuf {
    let path = folder.join(format!("disk.{format}"));
    // Children of other tests hold our files between their fork and their exec, locks with them.
    let made = || {
        let mut create = tool("qemu-img");
        create.args(["create", "-q", "-f", format]);
        output(create.arg(&path).arg("4M")).status.success()
    };
    assert!((0..100).any(|_| made()), "{} stays locked", path.display());
    path
}

/// A server that has an image open until this is dropped.
struct Server {
    pid: String,
}

impl Server {
    /// `None` when it cannot open the image.
    fn start(arguments: &[&str], format: &str, image: &Path) -> Option<Self> {
        let pid_file = image.with_extension("pid");
        // Comes back when it serves.
        let started = output(
            tool("qemu-nbd")
                .args(["--fork", "--persistent", "--socket"])
                .arg(image.with_extension("socket"))
                .arg("--pid-file")
                .arg(&pid_file)
                .args(arguments)
                .args(["--format", format])
                .arg(image),
        );
        let pid = fs::read_to_string(&pid_file).unwrap_or_default();
        let pid = pid.trim().to_owned();
        started.status.success().then_some(Self { pid })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = output(tool("kill").args(["-9", &self.pid]));
        // Its locks go with it, and not before.
        let process = PathBuf::from("/proc").join(&self.pid).join("fd");
        while fs::read_dir(&process).is_ok_and(|files| files.count() > 0) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn what_others_hold_is_opened_only_as_far_as_they_share() {
    let folder = scratch();
    // Which of `MODES` are granted.
    let none_but_peek = [true, false, false, false, false];
    let reading = [true, true, true, false, false];
    let all_but_exclusive = [true, true, true, true, false];
    // A server always wants the bytes to stay as they are; qemu-io makes no demands on a raw disk.
    for (format, arguments, expected, from_server) in [
        ("qcow2", &[] as &[&str], none_but_peek, none_but_peek),
        ("qcow2", &["-r"], reading, reading),
        ("raw", &[], none_but_peek, none_but_peek),
        ("raw", &["-r"], all_but_exclusive, reading),
    ] {
        let path = image(folder.path(), format);
        let options = [&["-f", format], arguments].concat();
        let granted = |holder: &str| {
            let is_granted = |mode| match FileStorage::open(&path, mode) {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Locked, "{error:?}");
                    assert!(error.to_string().contains(holder), "{error}");
                    false
                }
            };
            MODES.map(is_granted)
        };
        let holder = Holder::qemu_io(&options, &path);
        let name = format!("qemu-io, pid {}", holder.pid());
        assert_eq!(granted(&name), expected, "qemu-io {options:?}");
        drop(holder);
        assert_eq!(granted(""), [true; 5], "nobody holds it any more");

        let server = Server::start(arguments, format, &path).expect("nobody holds it");
        let name = format!("qemu-nbd, pid {}", server.pid);
        let granted = granted(&name);
        assert_eq!(granted, from_server, "qemu-nbd {options:?}");
    }
}

/// A command of QEMU's on `image`, and which of [`MODES`] of ours let it pass.
fn others(format: &str, image: &Path) -> Vec<(Command, [bool; 5])> {
    let source = image.with_file_name("source.qcow2");
    let target = image.with_file_name("target.raw");
    let is_raw = format == "raw";
    let writes = [true, false, false, false, false];
    let reads = [true, true, true, false, false];
    // A raw disk that is only read makes no demands, so a writer does not disturb it.
    let asks_nothing = [true, true, true, is_raw, false];
    let header = [true, true, true, is_raw, is_raw];
    let mut all = Vec::new();
    let mut qemu_img = |arguments: &[&str], last: &[&Path], passes: [bool; 5]| {
        let mut command = tool("qemu-img");
        command.args(arguments).args(last);
        all.push((command, passes));
    };
    qemu_img(&["info", "-f", format], &[image], header);
    qemu_img(&["info", "-U", "-f", format], &[image], [true; 5]);
    qemu_img(&["map", "-f", format], &[image], asks_nothing);
    qemu_img(
        &["convert", "-f", format, "-O", "raw"],
        &[image, &target],
        reads,
    );
    qemu_img(
        &["resize", "-q", "-f", format],
        &[image, Path::new("+1M")],
        writes,
    );
    qemu_img(
        &["convert", "-f", "qcow2", "-O", format],
        &[&source, image],
        writes,
    );
    qemu_img(
        &["convert", "-n", "-f", "qcow2", "-O", format],
        &[&source, image],
        writes,
    );
    qemu_img(
        &["create", "-q", "-f", format],
        &[image, Path::new("8M")],
        writes,
    );
    if !is_raw {
        qemu_img(&["check"], &[image], reads);
        qemu_img(&["check", "-r", "all"], &[image], writes);
        qemu_img(&["snapshot", "-c", "new"], &[image], writes);
        qemu_img(&["amend", "-o", "lazy_refcounts=on"], &[image], writes);
        qemu_img(&["bitmap", "--add"], &[image, Path::new("dirty")], writes);
        qemu_img(&["rebase", "-u", "-b", "", "-f", "qcow2"], &[image], writes);
    }
    for (arguments, passes) in [
        (["-f", format, "-c", "write 0 64k"].as_slice(), writes),
        (&["-r", "-f", format, "-c", "read 0 64k"], asks_nothing),
    ] {
        let mut command = tool("qemu-io");
        command.args(arguments).arg(image);
        all.push((command, passes));
    }
    all
}

#[test]
fn what_we_hold_others_open_only_as_far_as_we_share() {
    let folder = scratch();
    let source = folder.path().join("source.qcow2");
    run(tool("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(source)
        .arg("8M"));
    for format in ["qcow2", "raw"] {
        for (index, mode) in MODES.into_iter().enumerate() {
            let path = image(folder.path(), format);
            let before = fs::read(&path).unwrap();
            let held = FileStorage::open(&path, mode).unwrap();
            assert!(held.is_locked());
            for (mut command, passes) in others(format, &path) {
                let said = output(&mut command);
                let words = String::from_utf8_lossy(&said.stderr).into_owned();
                let passed = said.status.success();
                assert_eq!(passed, passes[index], "{mode:?}: {command:?}: {words}");
                assert!(passed || words.contains(" lock"), "{command:?}: {words}");
            }
            let server = Server::start(&[], format, &path).is_some();
            assert_eq!(server, mode == LockMode::Peek, "{mode:?}: qemu-nbd");
            if mode != LockMode::Peek {
                assert!(
                    fs::read(&path).unwrap() == before,
                    "{mode:?}: somebody wrote"
                );
            }
        }
    }
}

/// Each verb of ours that writes, on an image with a snapshot `one` and a bitmap `bits`, over
/// `base.qcow2`, or on `lone.qcow2` with that snapshot; what it would change.
fn verbs(folder: &Path) -> Vec<(Vec<String>, PathBuf)> {
    let at = |name: &str| folder.join(name).display().to_string();
    let (disk, raw) = (at("disk.qcow2"), at("disk.raw"));
    let base = at("base.qcow2");
    let on = |words: &[&str], path: &str| {
        let words = words.iter().map(ToString::to_string).collect();
        (words, PathBuf::from(path))
    };
    vec![
        on(&["resize", "-f", "raw", &raw, "+1M"], &raw),
        on(&["resize", "--shrink", "-f", "raw", &raw, "1M"], &raw),
        on(&["snapshot", "-c", "two", &disk], &disk),
        // Not where a bitmap would have to record it.
        on(
            &["snapshot", "-a", "one", &at("lone.qcow2")],
            &at("lone.qcow2"),
        ),
        on(&["snapshot", "-d", "one", &disk], &disk),
        on(&["resize", "-q", &disk, "+1M"], &disk),
        on(&["resize", "-q", "--shrink", &disk, "3M"], &disk),
        on(&["amend", "-o", "refcount_bits=32", &disk], &disk),
        on(&["bitmap", "--add", &disk, "more"], &disk),
        on(&["bitmap", "--remove", &disk, "bits"], &disk),
        on(&["commit", "-q", &disk], &disk),
        on(&["rebase", "-b", "", &disk], &disk),
        on(&["check", "-q", "-r", "all", &disk], &disk),
        on(&["convert", "-n", "-O", "raw", &base, &raw], &raw),
        on(&["create", "-q", "-f", "raw", &raw, "8M"], &raw),
        on(&["create", "-q", "-f", "qcow2", &disk, "8M"], &disk),
        on(&["dd", &format!("if={base}"), &format!("of={raw}")], &raw),
        on(
            &[
                "dd",
                "-O",
                "qcow2",
                &format!("if={base}"),
                &format!("of={disk}"),
            ],
            &disk,
        ),
        on(
            &["convert", "-t", "none", "-O", "qcow2", &base, &disk],
            &disk,
        ),
    ]
}

/// The mode in which a verb holds what it changes: nobody may look at what is about to be replaced.
fn mode_of(arguments: &[String]) -> LockMode {
    let replaces = match arguments[0].as_str() {
        "create" | "dd" => true,
        "convert" => arguments[1] != "-n",
        _ => false,
    };
    if replaces {
        LockMode::WriteExclusive
    } else {
        LockMode::Write
    }
}

fn family(folder: &Path) {
    let at = |name: &str| folder.join(name);
    image(folder, "raw");
    run(tool("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(at("base.qcow2"))
        .arg("4M"));
    let (disk, lone) = (at("disk.qcow2"), at("lone.qcow2"));
    let on_base = ["-F", "qcow2", "-b", "base.qcow2"];
    for (image, more) in [(&disk, &on_base[..]), (&lone, &[])] {
        let mut create = tool("qemu-img");
        create.args(["create", "-q", "-f", "qcow2"]).args(more);
        run(create.arg(image).arg("4M"));
        run(tool("qemu-io").args(["-c", "write -P 3 1M 1M"]).arg(image));
        run(tool("qemu-img").args(["snapshot", "-c", "one"]).arg(image));
    }
    run(tool("qemu-img")
        .args(["bitmap", "--add"])
        .arg(&disk)
        .arg("bits"));
}

#[test]
fn our_verbs_refuse_what_others_hold_and_say_who() {
    let folder = scratch();
    family(folder.path());
    for (arguments, path) in verbs(folder.path()) {
        let is_raw = path.extension().is_some_and(|extension| extension == "raw");
        let format = if is_raw { "raw" } else { "qcow2" };
        let mut holders = vec![Vec::from(["-f", format])];
        if !is_raw {
            holders.push(vec!["-r", "-f", format]);
        }
        for options in holders {
            let holder = Holder::qemu_io(&options, &path);
            refused(&arguments, &path, &format!("qemu-io, pid {}", holder.pid()));
        }
        let server = Server::start(&[], format, &path).expect("nobody holds it");
        refused(&arguments, &path, &format!("qemu-nbd, pid {}", server.pid));
    }
}

/// The command ends with who holds `path`, and leaves it as it is.
fn refused(arguments: &[String], path: &Path, holder: &str) {
    let before = fs::read(path).unwrap();
    let said = output(ours().args(arguments));
    let words = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{arguments:?}: {words}");
    assert!(words.contains(" lock"), "{arguments:?}: {words}");
    assert!(words.contains(holder), "{arguments:?}: {words}");
    assert!(fs::read(path).unwrap() == before, "{arguments:?} wrote");
}

/// One of our commands, stopped at its first flush.
struct Stopped {
    tracer: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Stopped {
    fn start(arguments: &[String]) -> Self {
        let mut strace = tool("strace");
        let stop = "inject=fdatasync,fsync:signal=SIGSTOP:when=1";
        strace.args(["-f", "-e", "trace=fdatasync,fsync", "-e", stop]);
        let mut tracer = strace
            .arg(env!("CARGO_BIN_EXE_platter-img"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(tracer.stderr.take().unwrap());
        let mut heard = String::new();
        while !heard.contains("stopped by SIGSTOP") {
            let more = said.read_line(&mut heard).unwrap();
            assert!(more > 0, "{arguments:?} ends without a flush: {heard}");
        }
        Self { tracer, said }
    }

    /// The process that is stopped.
    fn pid(&self) -> String {
        let tracer = self.tracer.id();
        let children = format!("/proc/{tracer}/task/{tracer}/children");
        fs::read_to_string(children).unwrap().trim().to_owned()
    }

    fn finish(mut self) -> bool {
        let pid = self.pid();
        let go_on = || output(tool("kill").args(["-CONT", &pid])).status.success();
        assert!(go_on());
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            // Each of the two calls stops it once. It says so for every thread, and may be over by
            // the time that the last of them is heard.
            if line.contains("stopped by SIGSTOP") {
                let _ = go_on();
            }
            line.clear();
        }
        self.tracer.wait().unwrap().success()
    }
}

#[test]
fn others_refuse_what_our_verbs_work_on() {
    let folder = scratch();
    let source = folder.path().join("source.qcow2");
    run(tool("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(source)
        .arg("8M"));
    for index in 0..verbs(folder.path()).len() {
        family(folder.path());
        let (arguments, path) = verbs(folder.path()).swap_remove(index);
        if arguments[0] == "check" {
            // Nothing is wrong, so it flushes nothing.
            continue;
        }
        let is_raw = path.extension().is_some_and(|extension| extension == "raw");
        let format = if is_raw { "raw" } else { "qcow2" };
        let stopped = Stopped::start(&arguments);
        let pid = stopped.pid();
        // The first verb of each format against all of QEMU's, the others against a few.
        let step = if index == 0 || index == 2 { 1 } else { 5 };
        let mode = mode_of(&arguments);
        let mode = MODES.iter().position(|other| *other == mode).unwrap();
        for (mut command, passes) in others(format, &path).into_iter().step_by(step) {
            let said = output(&mut command);
            let words = String::from_utf8_lossy(&said.stderr).into_owned();
            let expected = passes[mode];
            assert_eq!(
                said.status.success(),
                expected,
                "{arguments:?}: {command:?}: {words}"
            );
        }
        assert!(
            Server::start(&[], format, &path).is_none(),
            "{arguments:?}: qemu-nbd"
        );
        refused(&arguments, &path, &format!("platter-img, pid {pid}"));
        assert!(stopped.finish(), "{arguments:?} fails after all");
    }
}

#[test]
fn of_two_that_start_at_once_at_most_one_writes() {
    let rounds = std::env::var("PLATTER_LOCK_ROUNDS").map_or(ROUNDS, |value| {
        value.parse().expect("PLATTER_LOCK_ROUNDS is a number")
    });
    let folder = scratch();
    let path = image(folder.path(), "qcow2");
    let (mut served, mut opened) = (0, 0);
    for round in 0..rounds {
        let mode = [LockMode::Write, LockMode::WriteExclusive][round % 2];
        let (server, own) = std::thread::scope(|scope| {
            let server = scope.spawn(|| Server::start(&[], "qcow2", &path));
            // Sooner or later in its start, by the number of tries.
            let mut own = None;
            for _ in 0..=(round * 7 % 16) {
                own = FileStorage::open(&path, mode).ok();
            }
            (server.join().expect("it is started"), own)
        });
        assert!(
            server.is_none() || own.is_none(),
            "round {round}: two writers"
        );
        served += usize::from(server.is_some());
        opened += usize::from(own.is_some());
    }
    println!("{rounds} rounds: {served} for the server, {opened} for us");
}
