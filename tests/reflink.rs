//! Conversions on a file system whose files can share extents: the target has the same disk, and
//! takes no space of its own. Partitions that move there in a raw disk are not copied either. Needs
//! loop mounts of XFS and btrfs, so root and a host that allows them: where there are none, the tests
//! fail on the machine that decides (`CI=true`), and elsewhere say that they have looked at nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{ours, run, tool};

const MIB: u64 = 1 << 20;

/// File systems whose files can share extents, and how they are made.
const FILE_SYSTEMS: [(&str, &[&str]); 2] = [
    ("xfs", &["mkfs.xfs", "-q", "-m", "reflink=1"]),
    ("btrfs", &["mkfs.btrfs", "-q"]),
];

/// A file system in a file, mounted until this is dropped.
struct Mount {
    folder: tempfile::TempDir,
}

impl Mount {
    /// `None` where there can be none, outside of continuous integration.
    fn new(name: &str, make: &[&str]) -> Option<Self> {
        match Self::try_new(name, make) {
            Ok(mount) => Some(mount),
            Err(reason) => {
                assert!(std::env::var_os("CI").is_none(), "no {name}: {reason}");
                eprintln!("NOT TESTED, shared extents: no loop mount of {name}: {reason}");
                None
            }
        }
    }

    fn try_new(name: &str, make: &[&str]) -> Result<Self, String> {
        let folder = common::scratch();
        let image = folder.path().join("image");
        // Large enough for either.
        File::create(&image).unwrap().set_len(512 * MIB).unwrap();
        let place = folder.path().join("mount");
        fs::create_dir(&place).unwrap();
        let (program, words) = make.split_first().unwrap();
        for (program, words) in [
            (*program, words),
            ("mount", &["-t", name, "-o", "loop"][..]),
        ] {
            let mut command = Command::new(program);
            command.args(words).arg(&image);
            if program == "mount" {
                command.arg(&place);
            }
            let output = command
                .output()
                .map_err(|error| format!("{program}: {error}"))?;
            if !output.status.success() {
                let message = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{program}: {}", message.trim()));
            }
        }
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("mount").join(name)
    }

    /// Bytes in use, everything written.
    fn used(&self) -> u64 {
        run(Command::new("sync").arg("-f").arg(self.path("")));
        let text = run(Command::new("df")
            .args(["-B1", "--output=used"])
            .arg(self.path("")));
        text.lines().last().unwrap().trim().parse().unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path("")).status();
    }
}

/// 64 MiB with 24 MiB of data, of which the end is part of a cluster.
fn make_disk(path: &Path) {
    let size = 64 * MIB + 512;
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..8 * MIB)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect();
    for at in [0, 20 * MIB + 4096, 40 * MIB + 65536] {
        file.write_all_at(&bytes, at).unwrap();
    }
    file.write_all_at(b"the end", size - 512).unwrap();
}

/// 160 MiB of noise move by 200 MiB, and back, in a file system that has no room for twice as much.
#[test]
fn moved_partitions_share_their_space() {
    let [(name, make), _] = FILE_SYSTEMS;
    let Some(mount) = Mount::new(name, make) else {
        return;
    };
    let raw = mount.path("disk.raw");
    let file = File::create_new(&raw).unwrap();
    file.set_len(450 * MIB).unwrap();
    let file = File::options().read(true).write(true).open(&raw).unwrap();
    let mut state = 7_u64;
    let noise: Vec<u8> = (0..160 * MIB / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    let image = |words: &[&str]| run(ours().args(words).args(["-f", "raw"]).arg(&raw));
    image(&[
        "edit",
        "--yes",
        "--op",
        "new-table gpt",
        "--op",
        "create 1M +200M linux",
    ]);
    file.write_all_at(&noise, MIB).unwrap();
    let before = mount.used();
    for (words, start) in [
        (&["edit", "--yes", "--op", "move 1 +200M"][..], 201 * MIB),
        (&["undo"], MIB),
    ] {
        image(words);
        let mut found = vec![0; noise.len()];
        file.read_exact_at(&mut found, start).unwrap();
        assert!(found == noise, "{words:?}");
        let took = mount.used().saturating_sub(before);
        assert!(took < 8 * MIB, "{words:?}: {took} bytes");
    }
}

#[test]
fn converted_disks_share_their_space() {
    for (name, make) in FILE_SYSTEMS {
        if let Some(mount) = Mount::new(name, make) {
            converted_disks_share_their_space_on(&mount);
        }
    }
}

fn converted_disks_share_their_space_on(mount: &Mount) {
    let raw = mount.path("disk.raw");
    make_disk(&raw);
    let plain = mount.path("disk.qcow2");
    for (from, to, format, options) in [
        ("disk.raw", "disk.qcow2", "qcow2", ""),
        ("disk.qcow2", "again.qcow2", "qcow2", ""),
        ("disk.qcow2", "again.raw", "raw", ""),
        ("disk.raw", "copy.raw", "raw", ""),
        ("disk.raw", "subclusters.qcow2", "qcow2", "extended_l2=on"),
        (
            "disk.raw",
            "metadata.qcow2",
            "qcow2",
            "preallocation=metadata",
        ),
        // Clusters that are smaller than blocks of the host.
        ("disk.raw", "small.qcow2", "qcow2", "cluster_size=512"),
    ] {
        let before = mount.used();
        let target = mount.path(to);
        let mut command = ours();
        command.args(["convert", "-O", format]);
        if !options.is_empty() {
            command.args(["-o", options]);
        }
        run(command.arg(mount.path(from)).arg(&target));
        run(tool("qemu-img").arg("compare").args([&raw, &target]));
        if format == "qcow2" {
            run(tool("qemu-img").arg("check").arg(&target));
        }
        let took = mount.used().saturating_sub(before);
        if !options.starts_with("cluster_size") {
            assert!(took < 4 * MIB, "{from} to {to}: {took} bytes");
        }
        if target != plain {
            fs::remove_file(&target).unwrap();
        }
    }
    // Who writes to one does not change the other.
    let target = mount.path("copy.raw");
    run(ours().args(["convert", "-O", "raw"]).args([&raw, &target]));
    let file = File::options().write(true).open(&target).unwrap();
    file.write_all_at(&[7; 4096], 4096).unwrap();
    drop(file);
    run(tool("qemu-img").arg("compare").args([&raw, &plain]));
}

/// What of a disk is data, as QEMU sees it.
fn data_of(image: &Path) -> Vec<String> {
    let mut map = tool("qemu-img");
    let map = run(map.args(["map", "--output=json"]).arg(image));
    let is_data = |line: &&str| line.contains("\"data\": true");
    let extent = |line: &str| line.split(", \"depth\"").next().unwrap().to_owned();
    map.lines().filter(is_data).map(extent).collect()
}

/// Who asks for zeroes to be left out gets that, also where everything could be shared unseen; what
/// is left is shared.
#[test]
fn zeroes_are_looked_for_when_that_is_asked_for() {
    for (name, make) in FILE_SYSTEMS {
        let Some(mount) = Mount::new(name, make) else {
            continue;
        };
        let raw = mount.path("disk.raw");
        make_disk(&raw);
        let file = File::options().write(true).open(&raw).unwrap();
        file.write_all_at(&vec![0; 3 << 20], MIB + 8192).unwrap();
        file.sync_all().unwrap();
        drop(file);
        // On another file system, nothing can be shared.
        let elsewhere = common::scratch();
        for options in [
            &["-O", "raw"][..],
            &["-O", "qcow2"],
            &["-O", "qcow2", "-o", "extended_l2=on"],
            &["-O", "qcow2", "-o", "preallocation=metadata"],
        ] {
            let (shared, copied) = (mount.path("shared"), elsewhere.path().join("copied"));
            let convert = |extra: &[&str], target: &Path| {
                let mut command = ours();
                command.arg("convert").args(options).args(extra);
                run(command.args([&raw, target]));
                run(tool("qemu-img").arg("compare").args([&raw, target]));
            };
            convert(&[], &shared);
            let unseen = data_of(&shared);
            fs::remove_file(&shared).unwrap();
            let before = mount.used();
            convert(&["-S", "4k"], &shared);
            let took = mount.used().saturating_sub(before);
            convert(&["-S", "4k"], &copied);
            assert_ne!(data_of(&shared), unseen, "{name} {options:?}: not searched");
            assert_eq!(data_of(&shared), data_of(&copied), "{name} {options:?}");
            assert!(took < 4 * MIB, "{name} {options:?}: {took} bytes");
            fs::remove_file(&shared).unwrap();
        }
    }
}
