//! File systems that are resized here and not by a program: their own checkers call them clean, and
//! every file in a random tree is the same afterwards. Damaged ones are refused and left alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::inputs::Random;
use common::{run_tool, tool};
use platter::Control;
use platter::fs::change::{Change, Place, change, check, minimum};
use platter::fs::{FsKind, identify};
use platter::storage::{FileStorage, LockMode, MemoryStorage, Storage, WritableStorage};

const MIB: u64 = 1 << 20;

/// One test at a time: between fork and exec a child holds whatever its parent has locked, and the
/// tools are children.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Volume {
    folder: tempfile::TempDir,
    kind: FsKind,
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Volume {
    fn fat(kind: FsKind, size: u64, sectors_per_cluster: &str) -> Self {
        let folder = common::scratch();
        let volume = Self { folder, kind };
        File::create(volume.path()).unwrap().set_len(size).unwrap();
        let bits = kind.name().trim_start_matches("fat");
        let path = volume.path();
        run_tool(
            "mkfs.fat",
            [
                "-F",
                bits,
                "-s",
                sectors_per_cluster,
                "-n",
                "DATA",
                path.to_str().unwrap(),
            ],
        );
        volume
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    fn open(&self) -> Arc<dyn WritableStorage> {
        Arc::new(FileStorage::open(&self.path(), LockMode::Write).unwrap())
    }

    fn read(&self) -> Arc<dyn Storage> {
        self.open()
    }

    /// A tree with gaps between its clusters.
    fn fill(&self, random: &mut Random, bytes: usize) {
        let tree = self.folder.path().join("tree");
        let volume = self.path();
        let volume = volume.to_str().unwrap();
        for round in 0..3 {
            let _ = fs::remove_dir_all(&tree);
            let mut left = bytes / 3;
            for directory in 0..4 {
                let within = tree.join(format!(
                    "round {round}/a long directory name {directory}/deep"
                ));
                fs::create_dir_all(&within).unwrap();
                for file in 0..12 {
                    let length = usize::try_from(random.below(1 + (left / 8) as u64)).unwrap();
                    left -= length;
                    let content: Vec<u8> = (0..length)
                        .map(|_| random.next().to_le_bytes()[0])
                        .collect();
                    fs::write(within.join(format!("file-{file}.bin")), content).unwrap();
                }
            }
            let top = tree.join(format!("round {round}"));
            run_tool("mcopy", ["-s", "-i", volume, top.to_str().unwrap(), "::"]);
            for directory in 0..4 {
                for file in [1, 4, 7] {
                    let name = format!(
                        "::round {round}/a long directory name {directory}/deep/file-{file}.bin"
                    );
                    run_tool("mdel", ["-i", volume, &name]);
                }
            }
        }
    }

    fn files(&self) -> Files {
        let out = self.folder.path().join("out");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        let volume = self.path();
        run_tool(
            "mcopy",
            [
                "-s",
                "-n",
                "-i",
                volume.to_str().unwrap(),
                "::*",
                out.to_str().unwrap(),
            ],
        );
        let mut files = Files::new();
        collect(&out, &mut files);
        files
    }

    fn resize(&self, to: u64) {
        let storage = self.open();
        let before = identify(&*storage).unwrap().unwrap().size.unwrap();
        let what = if to > before {
            storage.set_len(to).unwrap();
            Change::Grow
        } else {
            Change::Shrink(to)
        };
        let folder = self.folder.path();
        let outcome = change(
            &storage,
            self.kind,
            &what,
            &Place::new(folder),
            &Control::new(),
        );
        outcome.unwrap_or_else(|stop| panic!("{:?} to {to}: {stop}", self.kind));
        if to <= before {
            storage.set_len(to).unwrap();
        }
        drop(storage);
        let found = identify(&*self.open()).unwrap().unwrap();
        assert_eq!((found.kind, found.size), (self.kind, Some(to / 512 * 512)));
        check(
            &self.read(),
            self.kind,
            &Place::new(folder),
            &Control::new(),
        )
        .unwrap();
    }

    fn minimum(&self) -> u64 {
        let folder = self.folder.path();
        minimum(
            &self.read(),
            self.kind,
            &Place::new(folder),
            &Control::new(),
        )
        .unwrap()
        .bytes
    }
}

fn collect(folder: &Path, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
}

#[test]
fn fat_of_every_width_grows_and_shrinks_with_its_files() {
    let _alone = alone();
    let mut random = Random(0xfa7);
    for (kind, size, cluster, most) in [
        (FsKind::Fat12, 3 * MIB, "4", 7 * MIB),
        (FsKind::Fat16, 20 * MIB, "4", 100 * MIB),
        (FsKind::Fat16, 12 * MIB, "1", 30 * MIB),
        (FsKind::Fat32, 64 * MIB, "1", 300 * MIB),
        (FsKind::Fat32, 300 * MIB, "8", 900 * MIB),
    ] {
        let volume = Volume::fat(kind, size, cluster);
        volume.fill(&mut random, usize::try_from(size / 4).unwrap());
        let files = volume.files();
        assert!(files.len() > 90, "{}", files.len());
        for round in 0..5 {
            let least = volume.minimum();
            let to = match round {
                0 => most,
                1 => least,
                _ => least + random.below(most - least) / 512 * 512,
            };
            volume.resize(to);
            assert!(volume.files() == files, "{kind:?} {cluster} to {to}");
            if round == 1 {
                let shorter = Change::Shrink(to - 4096);
                let folder = volume.folder.path();
                let before = fs::read(volume.path()).unwrap();
                let stop = change(
                    &volume.open(),
                    kind,
                    &shorter,
                    &Place::new(folder),
                    &Control::new(),
                );
                let why = stop.unwrap_err().to_string();
                assert!(why.contains("clusters"), "{why}");
                assert!(fs::read(volume.path()).unwrap() == before);
            }
        }
    }
}

#[test]
fn another_type_of_fat_is_refused_with_the_number() {
    let _alone = alone();
    let volume = Volume::fat(FsKind::Fat16, 20 * MIB, "4");
    volume.open().set_len(200 * MIB).unwrap();
    let folder = volume.folder.path();
    let grow = change(
        &volume.open(),
        FsKind::Fat16,
        &Change::Grow,
        &Place::new(folder),
        &Control::new(),
    );
    let why = grow.unwrap_err().to_string();
    assert!(why.contains("at most 65524 clusters"), "{why}");
    let shrink = Change::Shrink(4 * MIB);
    let shrink = change(
        &volume.open(),
        FsKind::Fat16,
        &shrink,
        &Place::new(folder),
        &Control::new(),
    );
    let why = shrink.unwrap_err().to_string();
    assert!(why.contains("at least 4085 clusters"), "{why}");
    let least = minimum(
        &volume.read(),
        FsKind::Fat16,
        &Place::new(folder),
        &Control::new(),
    )
    .unwrap();
    assert!(
        least.reason.to_string().contains("type"),
        "{}",
        least.reason
    );
}

#[test]
fn damaged_fats_are_refused_and_left_alone() {
    let _alone = alone();
    let volume = Volume::fat(FsKind::Fat16, 20 * MIB, "4");
    volume.fill(&mut Random(7), 4 << 20);
    let good = fs::read(volume.path()).unwrap();
    let reserved = usize::from(u16::from_le_bytes([good[14], good[15]])) * 512;
    let fat_size = usize::from(u16::from_le_bytes([good[22], good[23]])) * 512;
    let mut random = Random(11);
    let mut refused = 0;
    for round in 0..60 {
        let mut bytes = good.clone();
        let cluster = 2 + usize::try_from(random.below(2000)).unwrap();
        let value = match round % 4 {
            0 => 0_u16,                                          // cut off
            1 => u16::try_from(cluster).unwrap(),                // a loop
            2 => 2 + u16::try_from(random.below(2000)).unwrap(), // another file
            _ => 60_000,                                         // outside
        };
        for copy in 0..2 {
            let at = reserved + copy * fat_size + cluster * 2;
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        let storage = Arc::new(MemoryStorage::new(bytes.clone()));
        let writable = Arc::clone(&storage) as Arc<dyn WritableStorage>;
        let folder = volume.folder.path();
        let shrink = Change::Shrink(12 * MIB);
        if let Err(stop) = change(
            &writable,
            FsKind::Fat16,
            &shrink,
            &Place::new(folder),
            &Control::new(),
        ) {
            let why = stop.to_string();
            assert!(why.contains("check it first"), "{why}");
            assert!(storage.to_vec() == bytes, "{round}: {why}");
            refused += 1;
        }
    }
    assert!(refused > 30, "{refused}");
    // Copies that differ, and one that is in use.
    for (at, value) in [(reserved + fat_size + 400, 0x55), (reserved + 3, 0x7f)] {
        let mut bytes = good.clone();
        bytes[at] ^= value;
        let storage = Arc::new(MemoryStorage::new(bytes.clone()));
        let writable = Arc::clone(&storage) as Arc<dyn WritableStorage>;
        let shrink = Change::Shrink(12 * MIB);
        let folder = volume.folder.path();
        let stop = change(
            &writable,
            FsKind::Fat16,
            &shrink,
            &Place::new(folder),
            &Control::new(),
        );
        assert!(stop.unwrap_err().to_string().contains("check it first"));
        assert!(storage.to_vec() == bytes);
    }
}

#[test]
fn btrfs_grows_in_every_profile_of_one_device() {
    let _alone = alone();
    for (profile, size) in [("dup", 120 * MIB), ("single", 200 * MIB)] {
        let folder = common::scratch();
        let volume = Volume {
            folder,
            kind: FsKind::Btrfs,
        };
        let path = volume.path();
        File::create(&path).unwrap().set_len(size).unwrap();
        let source = volume.folder.path().join("tree");
        fs::create_dir_all(source.join("deep")).unwrap();
        fs::write(source.join("deep/file"), vec![7; 3_000_000]).unwrap();
        run_tool(
            "mkfs.btrfs",
            [
                "-q",
                "-f",
                "-m",
                profile,
                "-r",
                source.to_str().unwrap(),
                path.to_str().unwrap(),
            ],
        );
        volume.resize(500 * MIB);
        let told = run_tool(
            "btrfs",
            [
                "inspect-internal",
                "dump-super",
                "-fa",
                path.to_str().unwrap(),
            ],
        );
        // Of each of the two superblocks: checksum, magic and identifier.
        assert_eq!(told.matches("[match]").count(), 6, "{told}");
        let out = volume.folder.path().join("out");
        fs::create_dir(&out).unwrap();
        run_tool(
            "btrfs",
            ["restore", path.to_str().unwrap(), out.to_str().unwrap()],
        );
        assert_eq!(fs::read(out.join("deep/file")).unwrap(), vec![7; 3_000_000]);
    }
}

#[test]
fn ntfs_that_windows_means_to_go_on_with_is_refused() {
    let _alone = alone();
    let folder = common::scratch();
    let volume = Volume {
        folder,
        kind: FsKind::Ntfs,
    };
    let path = volume.path();
    File::create(&path).unwrap().set_len(64 * MIB).unwrap();
    let volume_name = path.to_str().unwrap();
    run_tool("mkfs.ntfs", ["-q", "-F", "-Q", volume_name]);
    let header = volume.folder.path().join("header");
    for (magic, is_refused) in [("wake", false), ("hibr", true)] {
        let mut bytes = vec![0; 8192];
        bytes[..4].copy_from_slice(magic.as_bytes());
        fs::write(&header, bytes).unwrap();
        run_tool(
            "ntfscp",
            [
                "-q",
                "-f",
                volume_name,
                header.to_str().unwrap(),
                "hiberfil.sys",
            ],
        );
        let before = fs::read(&path).unwrap();
        let shrink = Change::Shrink(48 * MIB);
        let folder = volume.folder.path();
        let outcome = change(
            &volume.open(),
            FsKind::Ntfs,
            &shrink,
            &Place::new(folder),
            &Control::new(),
        );
        assert_eq!(outcome.is_err(), is_refused, "{magic}");
        if let Err(stop) = outcome {
            assert!(stop.to_string().contains("hibernated"), "{stop}");
            assert!(fs::read(&path).unwrap() == before);
        }
        // The resize has marked it: Windows shall look at it, and nobody else before.
        if !is_refused {
            let again = change(
                &volume.open(),
                FsKind::Ntfs,
                &Change::Grow,
                &Place::new(folder),
                &Control::new(),
            );
            let why = again.unwrap_err().to_string();
            assert!(why.contains("marked dirty"), "{why}");
            common::run(tool("ntfsfix").args(["--clear-dirty", volume_name]));
        }
    }
}
