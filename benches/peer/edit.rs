//! Partitions that are moved and grown with what is in them. The peer is what the guide does as root:
//! a loop device, `sfdisk --move-data`, `resize2fs`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::inputs::content;
use crate::measure::{Bench, Sides, Target, output, run};
use crate::rows::{PLATTER, QEMU};
use crate::workshop::Workshop;

const MIB: u64 = 1 << 20;
/// Of the second partition in the guide's example: where it begins, and where it goes.
const SECOND: [u64; 2] = [501 * MIB, 1525 * MIB];

/// All rows.
pub(crate) fn all(bench: &mut Bench, workshop: &Workshop) {
    guide(bench, workshop);
    large(bench, workshop);
}

/// The example 2.2.1 of the guide: two partitions of ext4 on a disk of 966 MiB. The disk grows by
/// 2 GiB, the second one moves by 1024 MiB, the first one grows into the gap with what is in it.
fn guide(bench: &mut Bench, workshop: &Workshop) {
    let names = ["edit: guide 2.2.1, raw", "edit: guide 2.2.1, qcow2"];
    if !names.iter().any(|name| bench.wants(name)) {
        return;
    }
    let disk = thumb_drive(workshop);
    let image = workshop.output("thumb.qcow2");
    run(Command::new(QEMU)
        .args(["convert", "-q", "-O", "qcow2"])
        .args([&disk, &image]));
    let copies = ["ours.raw", "ours.qcow2", "peer.raw"].map(|name| workshop.output(name));
    let [raw, qcow2, peer] = &copies;
    if !has_loop_devices(&disk) {
        println!("| {} | not measured: no loop device | | | | | |", names[0]);
        return;
    }
    for (name, source, ours, aim) in [(names[0], &disk, raw, 1.0), (names[1], &image, qcow2, 1.0)] {
        bench.prepared_pairs(
            name,
            "qemu-img resize, losetup, sfdisk --move-data, e2fsck, resize2fs",
            &Target::Ratio(aim),
            5,
            Sides {
                prepare: &mut || {
                    copy(source, ours);
                    copy(&disk, peer);
                    forget_journal(ours);
                    run(&mut Command::new("sync"));
                },
                ours: &mut || {
                    run(Command::new(PLATTER)
                        .args(["edit", "--yes", "-f", format_of(ours)])
                        .args(["--op", "resize-disk +2G", "--op", "move 2 +1024M"])
                        .args(["--op", "resize 1 max"])
                        .arg(ours));
                },
                peer: &mut || by_hand(peer),
            },
        );
    }
    forget_journal(raw);
    forget_journal(qcow2);
    for path in copies.iter().chain([&disk, &image]) {
        workshop.throw_away(path);
    }
}

/// A partition of 200 GiB, of whose clusters 50 GiB are there (as holes of the host's file, which
/// nobody looks at), and an ext4 in it.
fn large(bench: &mut Bench, workshop: &Workshop) {
    let name = "edit: move 200 GiB in qcow2";
    if !bench.wants(name) {
        return;
    }
    let image = workshop.output("large.qcow2");
    run(Command::new(QEMU)
        .args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "preallocation=metadata",
        ])
        .arg(&image)
        .arg("50G"));
    run(Command::new(QEMU)
        .args(["resize", "-q"])
        .arg(&image)
        .arg("260G"));
    let edit = |ops: &[&str]| {
        let mut command = Command::new(PLATTER);
        command.args(["edit", "--yes"]);
        for op in ops {
            command.args(["--op", op]);
        }
        run(command.arg(&image));
    };
    edit(&["new-table gpt", "create 1M +200G linux ext4 data"]);
    let mut there = false;
    bench.alone(
        name,
        "none: sfdisk --move-data copies 50 GiB",
        Duration::from_secs(2),
        5,
        &mut || {
            edit(&[if there { "move 1 -10G" } else { "move 1 +10G" }]);
            there = !there;
        },
    );
    run(Command::new(QEMU).args(["check", "-q"]).arg(&image));
    forget_journal(&image);
    workshop.throw_away(&image);
}

/// As the guide makes it, with 300 and 200 MiB of files.
fn thumb_drive(workshop: &Workshop) -> PathBuf {
    let disk = workshop.output("thumb.raw");
    let file = File::create(&disk).expect("the folder is there");
    file.set_len(966 * MIB).expect("a file can be sparse");
    sfdisk(
        &disk,
        &[],
        "label: dos\nstart=1M, size=500M, type=83\nstart=501M, size=400M, type=83\n",
    );
    let files = workshop.output("files");
    for (start, size, used) in [(1, 500, 300), (501, 400, 200)] {
        fs::create_dir_all(&files).expect("the folder is there");
        let used = if workshop.quick { used / 10 } else { used };
        content(&files.join("file"), used * MIB, start).expect("there is room");
        run(Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-d"])
            .arg(&files)
            .args(["-E", &format!("offset={}", start * MIB)])
            .arg(&disk)
            .arg(format!("{size}M"))
            .stderr(Stdio::null()));
        let _ = fs::remove_dir_all(&files);
    }
    disk
}

/// What the guide does, and `platter-img edit --dry-run` can be asked for.
fn by_hand(disk: &Path) {
    run(Command::new(QEMU)
        .args(["resize", "-q", "-f", "raw"])
        .arg(disk)
        .arg("+2G"));
    let device = Loop::new(disk, &[]).expect("it was there before");
    sfdisk(&device.0, &["--move-data", "-N", "2"], "+1048576K,\n");
    sfdisk(
        &device.0,
        &["-N", "1"],
        &format!(",{}K\n", (SECOND[1] - MIB) >> 10),
    );
    drop(device);
    // The partition by itself: not every machine has nodes for partitions of loop devices.
    let size = (SECOND[1] - MIB).to_string();
    let options = ["--offset", "1048576", "--sizelimit", &size];
    let device = Loop::new(disk, &options).expect("it was there before");
    run(Command::new("e2fsck").arg("-fp").arg(&device.0));
    run(Command::new("resize2fs")
        .arg(&device.0)
        .stderr(Stdio::null()));
    drop(device);
    // Ours is durable when it says so.
    run(Command::new("sync").arg(disk));
}

fn sfdisk(disk: &Path, options: &[&str], script: &str) {
    let child = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .args(options)
        .arg(disk)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.expect("sfdisk is installed");
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success(), "sfdisk {options:?} failed");
}

/// A loop device until this is dropped.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path, options: &[&str]) -> Option<Self> {
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show"]).args(options).arg(file);
        let made = losetup.stderr(Stdio::null()).output().ok()?;
        let device = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        made.status.success().then(|| Self(PathBuf::from(device)))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        output(Command::new("losetup").arg("--detach").arg(&self.0));
    }
}

fn has_loop_devices(disk: &Path) -> bool {
    Loop::new(disk, &[]).is_some()
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("--sparse=always").args([from, to]));
}

fn format_of(image: &Path) -> &'static str {
    match image.extension() {
        Some(extension) if extension == "raw" => "raw",
        _ => "qcow2",
    }
}

fn forget_journal(image: &Path) {
    let _ = fs::remove_file(platter::op::edit::journal_path(image));
}
