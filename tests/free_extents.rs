//! What is called free in a file system is what its own tools call free, and holds nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "the numbers are the test's own"
)]

mod common;

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use common::disk::CountingFile;
use common::volume::{Image, free};
use common::{run, tool};
use platter::fs::{self, FsKind};

const MIB: u64 = 1 << 20;

fn free_extents(image: &Image, kind: FsKind) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let file = CountingFile::open(&image.path);
    let whole = fs::free_extents(file.as_ref(), kind, &mut |extent| {
        let ascending = found.last().is_none_or(|last| last.end < extent.start);
        assert!(ascending && extent.start < extent.end, "{extent:?}");
        found.push(extent);
        ControlFlow::Continue(())
    });
    assert!(whole.unwrap(), "the free map could not be walked");
    found
}

fn sum(extents: &[Range<u64>]) -> u64 {
    extents.iter().map(|extent| extent.end - extent.start).sum()
}

/// On a new image everything that was written is in use: the free extents read as zeroes.
fn hold_nothing(path: &Path, extents: &[Range<u64>]) {
    let file = File::open(path).unwrap();
    let mut buffer = vec![0; MIB as usize];
    for extent in extents {
        for offset in (extent.start..extent.end).step_by(MIB as usize) {
            let length = (extent.end - offset).min(MIB) as usize;
            file.read_exact_at(&mut buffer[..length], offset).unwrap();
            let used = buffer[..length].iter().position(|byte| *byte != 0);
            assert_eq!(used, None, "data behind {offset:#x} of {extent:x?}");
        }
    }
}

/// The ranges that dumpe2fs prints for each group ("  Free blocks: 12-99, 120"), joined.
fn of_dumpe2fs(image: &Image) -> Vec<Range<u64>> {
    let text = image.says("dumpe2fs", &[]);
    let block = common::volume::number_after(&text, "Block size:");
    // With bigalloc the last number of a range is the first block of its last cluster.
    let cluster = if text.contains("Cluster size:") {
        common::volume::number_after(&text, "Cluster size:")
    } else {
        block
    };
    let mut joined: Vec<Range<u64>> = Vec::new();
    let lines = text.lines();
    for list in lines.filter_map(|line| line.strip_prefix("  Free blocks: ")) {
        for range in list.split(", ").filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let start = first.parse::<u64>().unwrap() * block;
            let end = last.parse::<u64>().unwrap() * block + cluster;
            match joined.last_mut() {
                Some(before) if before.end == start => before.end = end,
                _ => joined.push(start..end),
            }
        }
    }
    joined
}

#[test]
fn ext() {
    let cases: [(u64, &[&str]); 8] = [
        (128, &["-t", "ext4"]),
        (128, &["-t", "ext2", "-b", "1024"]),
        (128, &["-t", "ext3", "-b", "2048", "-O", "^resize_inode"]),
        (700, &["-t", "ext4", "-O", "^flex_bg,^64bit"]),
        (
            700,
            &["-t", "ext4", "-O", "uninit_bg,^metadata_csum", "-g", "8192"],
        ),
        (700, &["-t", "ext4", "-O", "bigalloc", "-C", "16384"]),
        (
            700,
            &[
                "-t",
                "ext4",
                "-O",
                "sparse_super2,^resize_inode",
                "-b",
                "1024",
            ],
        ),
        (
            300,
            &[
                "-t",
                "ext2",
                "-O",
                "^sparse_super,^resize_inode",
                "-b",
                "1024",
            ],
        ),
    ];
    for (mib, options) in cases {
        let image = Image::new(mib * MIB);
        let files = image.files();
        run(tool("mke2fs")
            .arg("-q")
            .args(options)
            .arg("-d")
            .arg(files)
            .arg(&image.path));
        let found = free_extents(&image, FsKind::Ext4);
        assert_eq!(found, of_dumpe2fs(&image), "{options:?}");
        assert_eq!(sum(&found), free(&image.identify()), "{options:?}");
        assert!(found.len() > 1, "{options:?}");
    }
}

#[test]
fn ext_after_files_were_deleted() {
    let image = Image::new(64 * MIB);
    let files = image.files();
    run(tool("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(files)
        .arg(&image.path));
    for number in (0..200).step_by(3) {
        run(tool("debugfs")
            .args(["-w", "-R", &format!("rm file{number}")])
            .arg(&image.path));
    }
    let found = free_extents(&image, FsKind::Ext4);
    assert_eq!(found, of_dumpe2fs(&image));
    assert!(found.len() > 60);
}

#[test]
fn fat() {
    for (bits, mib) in [(12, 8), (16, 64), (32, 300)] {
        let image = Image::made(mib * MIB, "mkfs.fat", &["-F", &bits.to_string()]);
        let files = image.files();
        let copied = (0..100).map(|number| files.join(format!("file{number}")));
        run(tool("mcopy")
            .arg("-i")
            .arg(&image.path)
            .args(copied)
            .arg("::"));
        let found = free_extents(&image, FsKind::Fat32);
        hold_nothing(&image.path, &found);
        assert_eq!(sum(&found), free(&image.identify()), "FAT{bits}");
        run(tool("mdel").arg("-i").arg(&image.path).arg("::file5*"));
        let after = free_extents(&image, FsKind::Fat32);
        assert_eq!(sum(&after), free(&image.identify()), "FAT{bits}");
        assert!(after.len() > 2, "FAT{bits}: {after:?}");
    }
}

#[test]
fn ntfs() {
    let image = Image::made(256 * MIB, "mkfs.ntfs", &["-F", "-Q", "-q"]);
    let big = image.files().join("big");
    run(tool("ntfscp")
        .arg("-q")
        .arg(&image.path)
        .arg(big)
        .arg("big"));
    let found = free_extents(&image, FsKind::Ntfs);
    hold_nothing(&image.path, &found);
    assert_eq!(sum(&found), free(&image.identify()));
    assert!(found.len() > 1);
}

#[test]
fn exfat() {
    for options in [&[][..], &["-c", "4K"]] {
        let image = Image::made(256 * MIB, "mkfs.exfat", options);
        let found = free_extents(&image, FsKind::ExFat);
        hold_nothing(&image.path, &found);
        assert_eq!(sum(&found), free(&image.identify()));
    }
}

#[test]
fn other_kinds_are_declined() {
    let image = Image::made(320 * MIB, "mkfs.xfs", &["-q"]);
    let file = CountingFile::open(&image.path);
    for kind in [
        FsKind::Xfs,
        FsKind::Ext4,
        FsKind::Fat32,
        FsKind::Ntfs,
        FsKind::ExFat,
    ] {
        let whole = fs::free_extents(file.as_ref(), kind, &mut |extent| {
            panic!("{extent:?} is free in {kind:?}")
        });
        assert!(!whole.unwrap(), "{kind:?}");
    }
}

#[test]
fn the_visitor_stops_the_walk() {
    let image = Image::made(256 * MIB, "mkfs.fat", &["-F", "32", "-s", "1"]);
    let file = CountingFile::open(&image.path);
    let mut visits = 0;
    let whole = fs::free_extents(file.as_ref(), FsKind::Fat32, &mut |_| {
        visits += 1;
        ControlFlow::Break(())
    });
    assert!(whole.unwrap());
    assert_eq!(visits, 1);
}
