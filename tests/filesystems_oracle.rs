//! File systems made by their own mkfs are recognised as `blkid` recognises them, and are as full
//! as their own tools say.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::disk::CountingFile;
use common::volume::{Image, detail, free, number_after, used};
use common::{run, run_with_input, tool};
use platter::fs::{self, FileSystem, FsKind};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[test]
fn ext_family() {
    let cases: [(&str, FsKind, &[&str]); 7] = [
        ("ext2", FsKind::Ext2, &[]),
        ("ext3", FsKind::Ext3, &[]),
        ("ext4", FsKind::Ext4, &[]),
        ("ext4", FsKind::Ext4, &["-O", "^has_journal", "-b", "1024"]),
        (
            "ext4",
            FsKind::Ext4,
            &["-O", "64bit,metadata_csum,bigalloc"],
        ),
        (
            "ext4",
            FsKind::Ext4,
            &["-O", "^64bit,^metadata_csum", "-b", "2048"],
        ),
        ("ext2", FsKind::Ext2, &["-r", "0"]),
    ];
    for (their_type, kind, options) in cases {
        let image = Image::new(128 * MIB);
        let mut mkfs = tool("mke2fs");
        mkfs.args(["-q", "-t", their_type, "-L", "Daten 1"]);
        if !options.contains(&"-r") {
            mkfs.arg("-d").arg(image.files());
        }
        run(mkfs.args(options).arg(&image.path));
        let found = image.equals_blkid(kind, their_type);
        let theirs = image.says("dumpe2fs", &["-h"]);
        let block = number_after(&theirs, "Block size:");
        assert_eq!(found.block_size, Some(block));
        let size = number_after(&theirs, "Block count:") * block;
        assert_eq!(found.size, Some(size), "{options:?}");
        assert_eq!(free(&found), number_after(&theirs, "Free blocks:") * block);
        assert_eq!(used(&found), size - free(&found));
        assert!(options.contains(&"-r") || used(&found) > 5_000_000);
        assert_eq!(found.notes, [""; 0], "{options:?}");
    }
}

#[test]
fn ext4_of_any_size_costs_one_read() {
    let image = Image::made(20 * GIB, "mkfs.ext4", &["-q", "-E", "lazy_itable_init=1"]);
    let found = image.identify_within(70 << 10);
    assert_eq!(found.size, Some(20 * GIB));
    let image = Image::made(
        15 << 40,
        "mkfs.ext4",
        &[
            "-q",
            "-O",
            "^has_journal,^resize_inode,sparse_super2",
            "-E",
            "lazy_itable_init=1,num_backup_sb=0",
            "-N",
            "16",
            "-G",
            "4096",
        ],
    );
    let found = image.equals_blkid(FsKind::Ext4, "ext4");
    assert_eq!(found.size, Some(15 << 40));
}

#[test]
fn ext_states() {
    let image = Image::made(64 * MIB, "mkfs.ext4", &["-q"]);
    let notes = |image: &Image| image.identify().notes;
    assert_eq!(notes(&image), [""; 0]);

    run(tool("debugfs")
        .args(["-w", "-R", "feature needs_recovery"])
        .arg(&image.path));
    assert_eq!(
        notes(&image),
        ["was not unmounted cleanly: the journal waits to be replayed"]
    );

    let image = Image::made(64 * MIB, "mkfs.ext4", &["-q"]);
    run(tool("debugfs")
        .args(["-w", "-R", "set_super_value state 2"])
        .arg(&image.path));
    assert_eq!(
        notes(&image),
        [
            "was not unmounted cleanly",
            "has errors, found while it was mounted: needs e2fsck"
        ]
    );

    let image = Image::made(64 * MIB, "mkfs.ext4", &["-q"]);
    image.overwrite(1024 + 120, b"changed by hand");
    let note = &notes(&image)[0];
    assert!(
        note.starts_with("checksum of its superblock is 0x"),
        "{note}"
    );

    let image = Image::made(64 * MIB, "mkfs.ext4", &["-q"]);
    image.resize(48 * MIB);
    assert_eq!(notes(&image), ["larger than its partition by 16 MiB"]);
    image.resize(GIB);
    assert_eq!(notes(&image), ["leaves 960 MiB of its partition unused"]);
}

#[test]
fn fat_family() {
    let cases: [(FsKind, u64, &[&str]); 5] = [
        (FsKind::Fat12, 4, &["-F", "12"]),
        (FsKind::Fat16, 64, &["-F", "16"]),
        (FsKind::Fat32, 300, &["-F", "32"]),
        (FsKind::Fat32, 300, &["-F", "32", "-s", "1"]),
        (FsKind::Fat32, 600, &["-F", "32", "-S", "4096", "-s", "1"]),
    ];
    for (kind, mib, options) in cases {
        let image = Image::made(
            mib * MIB,
            "mkfs.fat",
            &[options, &["-n", "MY DATA"]].concat(),
        );
        let files = image.files();
        run(tool("mcopy")
            .arg("-i")
            .arg(&image.path)
            .args((0..100).map(|number| files.join(format!("file{number}"))))
            .arg("::"));
        let found = image.equals_blkid(kind, "vfat");
        assert_eq!(found.label.as_deref(), Some("MY DATA"));
        let theirs = image.says("fsck.fat", &["-n", "-v"]);
        compare_fat(&found, &theirs);
        assert_eq!(found.notes, [""; 0], "{options:?}");

        // Without the hint, by counting.
        if kind == FsKind::Fat32 {
            let sector = if options.contains(&"4096") { 4096 } else { 512 };
            image.overwrite(sector + 488, &[0xff; 4]);
            let counted = image.identify_within(4 * MIB);
            assert_eq!(counted.usage, found.usage, "{options:?}");
        }
    }
}

/// fsck.fat ends with "FILE: 102 files, 501/8167 clusters".
fn compare_fat(found: &FileSystem, theirs: &str) {
    let line = theirs.lines().last().unwrap();
    let (_, counts) = line.rsplit_once(", ").unwrap();
    let (used, total) = counts.split_once('/').unwrap();
    let used: u64 = used.parse().unwrap();
    let total: u64 = total.split(' ').next().unwrap().parse().unwrap();
    let cluster = found.block_size.unwrap();
    assert_eq!(free(found), (total - used) * cluster);
    assert_eq!(
        common::volume::used(found),
        found.size.unwrap() - free(found)
    );
    assert!(used > 100);
}

#[test]
fn fat_labels_and_dirty_bits() {
    let image = Image::made(64 * MIB, "mkfs.fat", &["-F", "16", "-n", "OLD"]);
    run(tool("fatlabel").arg(&image.path).arg("NEW"));
    // The one in the boot sector is the older one after a change by Windows.
    image.overwrite(43, b"OLD        ");
    assert_eq!(
        image.equals_blkid(FsKind::Fat16, "vfat").label.as_deref(),
        Some("NEW")
    );
    image.overwrite(37, &[1]);
    assert_eq!(image.identify().notes, ["was not unmounted cleanly"]);

    let image = Image::made(64 * MIB, "mkfs.fat", &["-F", "16"]);
    assert_eq!(image.equals_blkid(FsKind::Fat16, "vfat").label, None);
    let fat = 4 * 512;
    image.overwrite(fat + 3, &[0x7f]);
    assert_eq!(image.identify().notes, ["was not unmounted cleanly"]);
}

#[test]
fn exfat() {
    for (size, options) in [(64 * MIB, &[][..]), (40 * GIB, &["-c", "4K"][..])] {
        let image = Image::made(size, "mkfs.exfat", &[options, &["-L", "Größe 5"]].concat());
        let found = image.identify_within(3 * MIB);
        assert_eq!(found.kind, FsKind::ExFat);
        assert_eq!(found.label.as_deref(), Some("Größe 5"));
        assert_eq!(found.uuid, image.blkid("UUID"));
        let theirs = image.says("dump.exfat", &[]);
        let cluster = number_after(&theirs, "Cluster size:");
        assert_eq!(found.block_size, Some(cluster));
        assert_eq!(found.size, Some(size));
        let clusters = number_after(&theirs, "Free Clusters:");
        assert_eq!(free(&found), clusters * cluster, "{theirs}");
        assert_eq!(found.notes, [""; 0]);
        image.overwrite(106, &[2]);
        let dirty = image.identify_within(3 * MIB);
        assert_eq!(dirty.notes, ["was not unmounted cleanly"]);
    }
}

#[test]
fn ntfs() {
    let image = Image::made(256 * MIB, "mkfs.ntfs", &["-F", "-Q", "-q", "-L", "Système"]);
    let big = image.files().join("big");
    run(tool("ntfscp")
        .arg("-q")
        .arg(&image.path)
        .arg(big)
        .arg("big"));
    let found = image.equals_blkid(FsKind::Ntfs, "ntfs");
    assert_eq!(found.label.as_deref(), Some("Système"));
    let theirs = image.says("ntfsinfo", &["--mft"]);
    let cluster = number_after(&theirs, "Cluster Size:");
    assert_eq!(found.block_size, Some(cluster));
    let free_clusters = number_after(&theirs, "Free Clusters:");
    assert_eq!(free(&found), free_clusters * cluster);
    assert!(used(&found) > 3_000_000);
    assert_eq!(detail(&found, "version"), "3.1");
    assert_eq!(found.notes, [""; 0]);

    // A large one whose bitmap is 8 MiB of holes.
    let image = Image::made(256 * GIB, "mkfs.ntfs", &["-F", "-Q", "-q"]);
    let found = image.identify_within(9 * MIB);
    let theirs = image.says("ntfsinfo", &["--mft"]);
    assert_eq!(free(&found), number_after(&theirs, "Free Clusters:") * 4096);
}

#[test]
fn xfs() {
    for options in [
        &["-q", "-L", "xfs data"][..],
        &["-q", "-m", "crc=0", "-b", "size=1024"],
        &["-q", "-s", "size=4096", "-b", "size=4096"],
    ] {
        let image = Image::made(320 * MIB, "mkfs.xfs", options);
        let found = image.equals_blkid(FsKind::Xfs, "xfs");
        let theirs = run(tool("xfs_db")
            .args(["-r", "-c", "sb 0", "-c", "print"])
            .arg(&image.path));
        let block = number_after(&theirs, "\nblocksize =");
        assert_eq!(found.block_size, Some(block));
        assert_eq!(
            found.size,
            Some(number_after(&theirs, "\ndblocks =") * block)
        );
        assert_eq!(free(&found), number_after(&theirs, "\nfdblocks =") * block);
        assert_eq!(found.notes, [""; 0], "{options:?}");
    }
    let image = Image::made(320 * MIB, "mkfs.xfs", &["-q"]);
    image.overwrite(108, b"changed");
    let note = &image.identify().notes[0];
    assert!(
        note.starts_with("checksum of its superblock is 0x"),
        "{note}"
    );
}

#[test]
fn btrfs() {
    let image = Image::new(256 * MIB);
    let files = image.files();
    run(tool("mkfs.btrfs")
        .args(["-q", "-L", "btrfs data", "--rootdir"])
        .arg(files)
        .arg(&image.path));
    let found = image.equals_blkid(FsKind::Btrfs, "btrfs");
    let theirs = image.says("btrfs", &["inspect-internal", "dump-super"]);
    assert_eq!(found.size, Some(number_after(&theirs, "\ntotal_bytes")));
    assert_eq!(used(&found), number_after(&theirs, "\nbytes_used"));
    assert!(used(&found) > 4_000_000);
    assert_eq!(
        found.block_size,
        Some(number_after(&theirs, "\nsectorsize"))
    );
    assert_eq!(found.notes, [""; 0]);

    let first = Image::new(256 * MIB);
    let second = Image::new(256 * MIB);
    run(tool("mkfs.btrfs")
        .args(["-q", "-d", "raid1", "-m", "raid1", "--csum", "xxhash"])
        .args([&first.path, &second.path]));
    let found = second.equals_blkid(FsKind::Btrfs, "btrfs");
    assert_eq!(found.size, Some(256 * MIB));
    assert_eq!(found.notes, ["is device 2 of a file system on 2 devices"]);
}

#[test]
fn swap() {
    for page in [4096_u64, 65_536] {
        let image = Image::made(
            16 * MIB,
            "mkswap",
            &["--label", "swap 1", "--pagesize", &page.to_string()],
        );
        let found = image.equals_blkid(FsKind::Swap, "swap");
        assert_eq!(found.size, Some(16 * MIB));
        assert_eq!(found.block_size, Some(page));
        image.overwrite(page - 10, b"S1SUSPEND\0");
        let found = image.identify();
        assert_eq!(found.kind, FsKind::Swap);
        assert!(found.notes[0].starts_with("holds a suspended system"));
    }
}

#[test]
fn squashfs() {
    let image = Image::new(0);
    let files = image.files();
    run(tool("mksquashfs").arg(files).arg(&image.path).args([
        "-quiet",
        "-no-progress",
        "-comp",
        "xz",
        "-noappend",
    ]));
    let found = image.equals_blkid(FsKind::Squashfs, "squashfs");
    assert_eq!(detail(&found, "compression"), "xz");
    assert_eq!(detail(&found, "inodes"), "202");
    assert!(used(&found) <= image.path.metadata().unwrap().len());
}

#[test]
fn f2fs() {
    let image = Image::made(128 * MIB, "mkfs.f2fs", &["-q", "-l", "Flash ü"]);
    let found = image.equals_blkid(FsKind::F2fs, "f2fs");
    assert_eq!(found.size, Some(128 * MIB));
    assert!(free(&found) > 32 * MIB && used(&found) > MIB, "{found:?}");
    assert_eq!(found.notes, [""; 0]);
}

#[test]
fn nothing_is_recognised_in_nothing() {
    for size in [0, 1, 511, 4096, MIB] {
        let image = Image::new(size);
        let file = CountingFile::open(&image.path);
        assert!(fs::identify(file.as_ref()).unwrap().is_none());
    }
}

#[test]
fn luks() {
    let format = |version: &str, options: &[&str]| {
        let image = Image::new(20 * MIB);
        run_with_input(
            tool("cryptsetup")
                .args(["luksFormat", "--batch-mode", "--type", version])
                .args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"])
                .args(options)
                .arg(&image.path)
                .arg("-"),
            "passphrase",
        );
        image
    };
    let image = format("luks1", &[]);
    let found = image.equals_blkid(FsKind::Luks1, "crypto_LUKS");
    let theirs = image.says("cryptsetup", &["luksDump"]);
    assert_eq!(detail(&found, "cipher"), "aes-xts-plain64");
    assert!(theirs.contains("aes") && theirs.contains("xts-plain64"));
    assert_eq!(detail(&found, "key"), "512 bits");
    assert_eq!(detail(&found, "key slots"), "1 of 8 used");

    let image = format("luks2", &["--label", "geheim 1", "--subsystem", "backup"]);
    let found = image.equals_blkid(FsKind::Luks2, "crypto_LUKS");
    assert_eq!(detail(&found, "cipher"), "aes-xts-plain64");
    assert_eq!(detail(&found, "data begins at"), "16 MiB");
    assert_eq!(detail(&found, "key slots"), "1 used");
    assert_eq!(detail(&found, "subsystem"), "backup");
    run_with_input(
        tool("cryptsetup")
            .args(["luksErase", "--batch-mode"])
            .arg(&image.path),
        "",
    );
    assert_eq!(
        image.identify().notes,
        ["has no key slot in use: it cannot be unlocked"]
    );
}

#[test]
fn iso9660() {
    for options in [
        &["-V", "PLAIN_1"][..],
        &["-J", "-V", "My Volume"],
        &["-J", "-r", "-V", "averyveryverylonglabelfortheiso1"],
    ] {
        let image = Image::new(0);
        let files = image.files();
        run(tool("genisoimage")
            .args(["-quiet", "-publisher", "Someone"])
            .args(options)
            .arg("-o")
            .arg(&image.path)
            .arg(files));
        let found = image.equals_blkid(FsKind::Iso9660, "iso9660");
        assert_eq!(detail(&found, "publisher"), "Someone");
        // genisoimage pads its images.
        let length = image.path.metadata().unwrap().len();
        assert_eq!(found.size, Some(length));
        assert_eq!(free(&found), 0);
    }
}
