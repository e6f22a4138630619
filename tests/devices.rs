//! Block devices as source and target, with `qemu-img` as the judge. Loop devices need root: where
//! there are none, the test fails on the machine that decides (`CI=true`), and elsewhere says that
//! it has looked at nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::device::Device;
use common::{ours, output, run, scratch, tool};

const MIB: usize = 1 << 20;

/// Of 24 MiB, full of noise. `None` where none can be had.
fn device(folder: &Path, name: &str) -> Option<Device> {
    let file = folder.join(name);
    fs::write(&file, vec![0x5a; 24 * MIB]).unwrap();
    Device::of(&file)
}

fn with(mut command: Command, words: &[&str], paths: &[&Path]) -> Command {
    command.args(words).args(paths);
    command
}

fn judge(words: &[&str], paths: &[&Path]) {
    run(&mut with(tool("qemu-img"), words, paths));
}

fn platter(words: &[&str], paths: &[&Path]) {
    run(&mut with(ours(), words, paths));
}

/// 16 MiB with data, zeroes and a hole.
fn make_disk(path: &Path) {
    let mut bytes = vec![0; 16 * MIB];
    for (sector, bytes) in bytes[MIB..5 * MIB].chunks_mut(512).enumerate() {
        bytes.fill(u8::try_from(sector % 251).unwrap());
    }
    bytes[11 * MIB..12 * MIB].fill(7);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_device_is_a_target_and_a_source() {
    let folder = scratch();
    let folder = folder.path();
    let Some(device) = device(folder, "device") else {
        return;
    };
    let device = device.node();
    let (disk, back) = (folder.join("disk.raw"), folder.join("back"));
    make_disk(&disk);
    // The device is longer than the disk: only its start is compared.
    let starts_with_disk = || {
        let bytes = fs::read(device).unwrap();
        bytes[..16 * MIB] == fs::read(&disk).unwrap()
    };
    platter(&["convert", "-n", "-O", "raw"], &[&disk, device]);
    assert!(starts_with_disk());

    platter(&["convert", "-f", "raw", "-O", "qcow2"], &[device, &back]);
    judge(
        &["compare", "-q", "-f", "qcow2", "-F", "raw"],
        &[&back, device],
    );

    platter(&["convert", "-O", "qcow2", "--verify"], &[&disk, device]);
    judge(&["check", "-q", "-f", "qcow2"], &[device]);
    judge(
        &["compare", "-q", "-f", "raw", "-F", "qcow2"],
        &[&disk, device],
    );

    platter(&["convert", "-f", "qcow2", "-O", "raw"], &[device, &back]);
    assert!(fs::read(&back).unwrap() == fs::read(&disk).unwrap());

    platter(&["convert", "-O", "raw"], &[&disk, device]);
    assert!(starts_with_disk(), "what was there shines through");
}

#[test]
fn an_image_on_a_device_is_made_and_changed() {
    let folder = scratch();
    let folder = folder.path();
    let Some(device) = device(folder, "device") else {
        return;
    };
    let device = device.node();
    platter(&["create", "-q", "-f", "qcow2"], &[device, Path::new("8M")]);
    judge(&["check", "-q", "-f", "qcow2"], &[device]);
    let io = |command: &str| {
        let said = run(tool("qemu-io")
            .args(["-f", "qcow2", "-c", command])
            .arg(device));
        assert!(!said.contains("fail"), "{command}: {said}");
    };
    io("read -P 0 0 8M");
    io("write -P 5 1M 2M");
    platter(&["snapshot", "-c", "one"], &[device]);
    platter(&["resize", "-q"], &[device, Path::new("12M")]);
    io("read -P 5 1M 2M");
    io("write -P 6 10M 1M");
    platter(&["resize", "-q", "--shrink"], &[device, Path::new("2M")]);
    io("read -P 5 1M 1M");
    platter(&["snapshot", "-d", "one"], &[device]);
    judge(&["check", "-q", "-f", "qcow2"], &[device]);
    // It has the length it has.
    let raw = with(
        ours(),
        &["resize", "-f", "raw"],
        &[device, Path::new("32M")],
    );
    assert_eq!(output(&mut { raw }).status.code(), Some(1));
}

#[test]
fn an_overlay_on_a_device_is_committed() {
    let folder = scratch();
    let folder = folder.path();
    let Some(device) = device(folder, "device") else {
        return;
    };
    let (device, base) = (device.node(), folder.join("base.raw"));
    make_disk(&base);
    let mut create = tool("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]);
    run(create.arg(&base).arg(device));
    run(tool("qemu-io")
        .args(["-f", "qcow2", "-c", "write -P 9 3M 1M"])
        .arg(device));
    platter(
        &["commit", "-q", "-f", "qcow2", "--allow-outside"],
        &[device],
    );
    let bytes = fs::read(&base).unwrap();
    assert!(bytes[3 * MIB..4 * MIB].iter().all(|byte| *byte == 9));
    judge(&["check", "-q", "-f", "qcow2"], &[device]);
}
