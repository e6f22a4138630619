//! XFS is made larger without being mounted, with `xfs_repair` as the judge and, where loop mounts
//! are to be had, the kernel: it mounts what came out, reads the files and fills the new room.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::device::Device;
use common::{run, run_tool, scratch, tool};
use platter::Control;
use platter::fs::FsKind;
use platter::fs::change::{Change, Place, change};
use platter::storage::{FileStorage, LockMode, WritableStorage};

const MIB: u64 = 1 << 20;

/// A volume of `size` bytes; `options` are those of `mkfs.xfs`, which makes small ones for its own
/// tests.
fn made(folder: &Path, size: u64, options: &[&str]) -> PathBuf {
    let path = folder.join("volume");
    let content = folder.join("content");
    fs::write(&content, content_of_file()).unwrap();
    let list = folder.join("list");
    let text = format!(
        "-\n0 0\nd--755 0 0\nfile ---644 0 0 {}\n$\n",
        content.display()
    );
    fs::write(&list, text).unwrap();
    File::create(&path).unwrap().set_len(size).unwrap();
    let mut make = tool("mkfs.xfs");
    for name in ["TEST_DIR", "TEST_DEV", "QA_CHECK_FS"] {
        make.env(name, "1");
    }
    run(make
        .args(["-q", "-f", "-l", "size=14m", "-p"])
        .arg(&list)
        .args(options)
        .arg(&path));
    path
}

fn content_of_file() -> Vec<u8> {
    (0..300_000_u32)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes())
        .collect()
}

fn grow(path: &Path, size: u64) -> Result<(), String> {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(size)
        .unwrap();
    let storage: Arc<dyn WritableStorage> =
        Arc::new(FileStorage::open(path, LockMode::Write).unwrap());
    let place = Place::new(path.parent().unwrap());
    let grown = change(
        &storage,
        FsKind::Xfs,
        &Change::Grow,
        &place,
        &Control::new(),
    );
    grown.map(|_| ()).map_err(|stop| stop.to_string())
}

/// Blocks that it says it has, and their size.
fn blocks(path: &Path) -> (u64, u64) {
    (number(path, "dblocks"), number(path, "blocksize"))
}

/// A number of its superblock.
fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(path: &Path, name: &str) -> T {
    let print = format!("p {name}");
    let path = path.to_str().unwrap();
    let said = run_tool("xfs_db", ["-r", "-c", "sb 0", "-c", &print, path]);
    said.trim().rsplit(' ').next().unwrap().parse().unwrap()
}

fn judge(path: &Path, size: u64) {
    let path_text = path.to_str().unwrap();
    run_tool("xfs_repair", ["-n", path_text]);
    let (blocks, block_size) = blocks(path);
    // A rest that is too short for a group is left.
    assert!(blocks * block_size <= size && size - blocks * block_size <= MIB);
}

/// Mounts and works with it. Answers whether there are devices to do so.
fn mounted(path: &Path, work: impl FnOnce(&Path)) -> bool {
    let Some(device) = Device::of(path) else {
        return false;
    };
    let place = path.with_extension("mounted");
    fs::create_dir_all(&place).unwrap();
    run(tool("mount").args([device.node(), &place]));
    work(&place);
    run(tool("umount").arg(&place));
    true
}

#[test]
fn xfs_of_every_layout_grows_and_is_clean() {
    let layouts: [&[&str]; 7] = [
        &[],
        &["-m", "rmapbt=1"],
        &["-m", "rmapbt=1,reflink=0"],
        &["-m", "finobt=0,inobtcount=0"],
        &["-b", "size=1024"],
        &["-s", "size=4096"],
        &["-d", "agcount=3"],
    ];
    for options in layouts {
        for (from, to) in [
            (64 * MIB, 200 * MIB),
            (65 * MIB + 12_288, 67 * MIB),
            (64 * MIB, 64 * MIB + 65_536),
        ] {
            let folder = scratch();
            let path = made(folder.path(), from, options);
            grow(&path, to).unwrap();
            println!("{options:?} {from} {to}");
            judge(&path, to);
            mounted(&path, |place| {
                assert!(fs::read(place.join("file")).unwrap() == content_of_file());
                let more = vec![7_u8; usize::try_from((to - from) / 2).unwrap()];
                fs::write(place.join("more"), more).unwrap();
            });
            run_tool("xfs_repair", ["-n", path.to_str().unwrap()]);
        }
    }
}

#[test]
fn xfs_that_was_used_grows_more_than_once() {
    let folder = scratch();
    let path = made(folder.path(), 64 * MIB, &[]);
    for round in 1..=3_u64 {
        let size = 64 * MIB + round * 37 * MIB;
        let used = mounted(&path, |place| {
            for number in 0..40 {
                let name = place.join(format!("{round}-{number}"));
                fs::write(&name, vec![1; 5000 * (number + 1)]).unwrap();
                if number % 3 == 0 {
                    fs::remove_file(name).unwrap();
                }
            }
        });
        if !used {
            return;
        }
        grow(&path, size).unwrap();
        judge(&path, size);
    }
    mounted(&path, |place| {
        assert!(fs::read(place.join("file")).unwrap() == content_of_file());
        assert_eq!(fs::read(place.join("2-7")).unwrap(), vec![1; 40_000]);
    });
}

#[test]
fn xfs_that_was_not_unmounted_is_refused_and_left_alone() {
    let folder = scratch();
    let path = made(folder.path(), 64 * MIB, &[]);
    let copy = folder.path().join("copy");
    let could = mounted(&path, |place| {
        fs::write(place.join("unflushed"), [7; 9000]).unwrap();
        run(tool("sync").arg("-f").arg(place));
        fs::copy(&path, &copy).unwrap();
    });
    if could {
        let before = fs::read(&copy).unwrap();
        let why = grow(&copy, 100 * MIB).unwrap_err();
        assert!(why.contains("was not unmounted cleanly"), "{why}");
        let after = fs::read(&copy).unwrap();
        assert!(after[..before.len()] == before && after[before.len()..].iter().all(|b| *b == 0));
    }
}

#[test]
fn damaged_xfs_is_refused_and_left_alone() {
    let folder = scratch();
    let path = made(folder.path(), 65 * MIB + 4096, &["-d", "agcount=2"]);
    let whole = fs::read(&path).unwrap();
    let group: usize = number(&path, "agblocks");
    let group = group * 4096;
    let mut refused = 0;
    // The superblock, and superblock, headers and first tree of the last group.
    for at in (0..2048)
        .step_by(37)
        .chain((group..group + 8192).step_by(101))
    {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, &bytes).unwrap();
        if grow(&path, 90 * MIB).is_err() {
            refused += 1;
            let after = fs::read(&path).unwrap();
            assert!(
                after[..bytes.len()] == bytes,
                "{at} was refused and changed"
            );
        }
    }
    assert!(refused > 10, "{refused}");
}
