//! QEMU's programs and ours keep out of each other's way, in both directions.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::path::{Path, PathBuf};

use common::holder::Holder;
use common::{output, run, scratch, tool};
use platter::ErrorKind;
use platter::chain::{Chain, ChainOptions};
use platter::storage::{FileStorage, LockMode};

fn image(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    run(tool("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&path)
        .arg("1M"));
    path
}

fn overlay(folder: &Path, name: &str, backing: &str) -> PathBuf {
    let path = folder.join(name);
    run(tool("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing])
        .arg(&path));
    path
}

fn kind(path: &Path, lock: LockMode) -> Option<ErrorKind> {
    FileStorage::open(path, lock)
        .err()
        .map(|error| error.kind())
}

/// What `qemu-img` says when it fails; `None` when it does not.
fn complaint(arguments: &[&str], image: &Path) -> Option<String> {
    let output = output(tool("qemu-img").args(arguments).arg(image));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(words)
}

fn resize(image: &Path) -> Option<String> {
    let output = output(
        tool("qemu-img")
            .args(["resize", "-q"])
            .arg(image)
            .arg("+1M"),
    );
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(words)
}

const LOCKED: Option<ErrorKind> = Some(ErrorKind::Locked);

#[test]
fn a_writer_elsewhere_is_refused_named_and_still_looked_at() {
    let folder = scratch();
    let path = image(folder.path(), "vm.qcow2");
    let holder = Holder::qemu_io(&[], &path);
    assert_eq!(kind(&path, LockMode::Read), LOCKED);
    assert_eq!(kind(&path, LockMode::HeaderOnly), LOCKED);
    assert_eq!(kind(&path, LockMode::Observe), LOCKED);
    assert_eq!(kind(&path, LockMode::Peek), None);

    let words = format!("qemu-io, pid {}, writing", holder.pid());
    let error = FileStorage::open(&path, LockMode::Read).unwrap_err();
    assert!(error.to_string().contains(&words), "{error}");

    let chain = Chain::open(&path, &ChainOptions::default()).unwrap();
    let link = chain.active();
    assert!(link.unstable);
    assert_eq!(link.holders, [words]);
    let conflict = link.lock_conflict.as_deref().unwrap();
    assert!(conflict.contains("\"write\" lock"), "{conflict}");
    assert!(chain.first_problem().is_none());

    let sharing = ChainOptions {
        force_share: true,
        ..ChainOptions::default()
    };
    let chain = Chain::open(&path, &sharing).unwrap();
    assert!(chain.active().lock_conflict.is_none());
    drop(holder);
    assert_eq!(kind(&path, LockMode::Read), None);
    assert!(
        !Chain::open(&path, &ChainOptions::default())
            .unwrap()
            .active()
            .unstable
    );
}

#[test]
fn readers_elsewhere_do_not_matter() {
    let folder = scratch();
    let path = image(folder.path(), "shared.qcow2");
    let _holder = Holder::qemu_io(&["-r"], &path);
    assert_eq!(kind(&path, LockMode::Read), None);
    assert_eq!(kind(&path, LockMode::HeaderOnly), None);
    assert!(
        !Chain::open(&path, &ChainOptions::default())
            .unwrap()
            .active()
            .unstable
    );
}

#[test]
fn a_raw_writer_is_seen_too() {
    let folder = scratch();
    let path = folder.path().join("disk.raw");
    std::fs::write(&path, [0; 4096]).unwrap();
    let _holder = Holder::qemu_io(&["-f", "raw"], &path);
    assert_eq!(kind(&path, LockMode::Read), LOCKED);
    assert_eq!(kind(&path, LockMode::Peek), None);
}

#[test]
fn the_backing_file_of_a_running_machine_can_be_read() {
    let folder = scratch();
    let base = image(folder.path(), "base.qcow2");
    let active = overlay(folder.path(), "active.qcow2", "base.qcow2");
    let _holder = Holder::qemu_io(&[], &active);
    assert_eq!(kind(&base, LockMode::Read), None);
    let chain = Chain::open(&active, &ChainOptions::default()).unwrap();
    let unstable: Vec<_> = chain.links().iter().map(|link| link.unstable).collect();
    assert_eq!(unstable, [true, false]);
}

#[test]
fn a_server_is_a_holder_like_any_other() {
    let folder = scratch();
    let path = image(folder.path(), "served.qcow2");
    let pid_file = folder.path().join("pid");
    // Comes back when it serves.
    run(tool("qemu-nbd")
        .args(["--fork", "--persistent", "--format=qcow2", "--socket"])
        .arg(folder.path().join("socket"))
        .arg("--pid-file")
        .arg(&pid_file)
        .arg(&path));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    let error = FileStorage::open(&path, LockMode::Read).map(|_| ());
    run(tool("kill").arg(pid.trim()));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    let words = format!("qemu-nbd, pid {}, writing", pid.trim());
    assert!(error.to_string().contains(&words), "{error}");
}

#[test]
fn qemu_refuses_to_write_what_we_read() {
    let folder = scratch();
    let path = image(folder.path(), "ours.qcow2");
    for lock in [LockMode::Read, LockMode::HeaderOnly] {
        let first = FileStorage::open(&path, lock).unwrap();
        // Another description of ours comes and goes, as does a plain one.
        drop(FileStorage::open(&path, lock).unwrap());
        drop(std::fs::read(&path).unwrap());
        let words = resize(&path).expect("our locks keep writers out");
        assert!(words.contains("Failed to get \"write\" lock"), "{words}");
        for reading in [&["info"] as &[&str], &["check", "-q"], &["map"]] {
            assert_eq!(complaint(reading, &path), None, "{reading:?}");
        }
        drop(first);
        assert_eq!(resize(&path), None);
    }
    let peeking = FileStorage::open(&path, LockMode::Peek).unwrap();
    assert!(peeking.is_locked());
    assert_eq!(resize(&path), None);
}

#[test]
fn a_chain_keeps_writers_out_of_every_link() {
    let folder = scratch();
    let base = image(folder.path(), "base.qcow2");
    let active = overlay(folder.path(), "active.qcow2", "base.qcow2");
    let chain = Chain::open(&active, &ChainOptions::default()).unwrap();
    for path in [&base, &active] {
        assert!(resize(path).is_some(), "{}", path.display());
    }
    drop(chain);
    for path in [&base, &active] {
        assert_eq!(resize(path), None);
    }
}

#[test]
fn a_writer_without_locks_is_noticed() {
    let folder = scratch();
    let path = image(folder.path(), "plain.qcow2");
    let script = "exec 3<>\"$0\"; read go; echo ready; read end";
    let holder = Holder::start(tool("sh").args(["-c", script]).arg(&path), "go\n");
    let storage = FileStorage::open(&path, LockMode::Read).unwrap();
    assert!(storage.is_locked());
    assert_eq!(storage.has_writers(), Some(true));
    let chain = Chain::open(&path, &ChainOptions::default()).unwrap();
    let link = chain.active();
    assert!(link.unstable);
    assert_eq!(link.lock_conflict, None);
    assert_eq!(link.holders, [format!("sh, pid {}, writing", holder.pid())]);
    drop(holder);
    assert_eq!(storage.has_writers(), Some(false));
}

/// Only root can attach loop devices, and not in every container; elsewhere this test has nothing to
/// look at.
#[test]
fn a_loop_device_is_named() {
    let may_attach = || output(tool("losetup").arg("--find")).status.success();
    if !rustix::process::geteuid().is_root() || !may_attach() {
        return;
    }
    let folder = scratch();
    let path = folder.path().join("disk.raw");
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    let device = run(tool("losetup").args(["--find", "--show"]).arg(&path));
    let device = device.trim();
    let options = ChainOptions::default();
    let holders = Chain::open(&path, &options).map(|chain| chain.active().holders.clone());
    run(tool("losetup").args(["--detach", device]));
    assert_eq!(holders.unwrap(), [format!("{device}, writing")]);
}

#[test]
fn who_only_looks_is_in_nobodys_way() {
    let folder = scratch();
    let path = image(folder.path(), "vm.qcow2");
    let options = ChainOptions {
        observe: true,
        ..ChainOptions::default()
    };
    let shown = Chain::open(&path, &options).unwrap();
    assert!(!shown.active().unstable);
    assert_eq!(
        resize(&path),
        None,
        "the image can be changed while it is shown"
    );
    let holder = Holder::qemu_io(&[], &path);
    let shown = Chain::open(&path, &options).unwrap();
    assert!(shown.active().unstable);
    drop(holder);
    assert_eq!(kind(&path, LockMode::WriteExclusive), None);
}
