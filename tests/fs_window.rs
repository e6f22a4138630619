//! Tools that work in a window on a partition do what they do on a copy of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::windows::{alone, has_windows, mounts_of_ours};
use common::{run_tool, scratch};
use platter::fs::FsKind;
use platter::fs::change::{Change, Identifier, Outcome, Place, change, check, minimum_size};
use platter::storage::{
    Fault, FaultStorage, FileStorage, LockMode, MemoryStorage, Storage, WritableStorage,
};
use platter::{Control, ErrorKind, Stop};

const MIB: u64 = 1 << 20;
const UUID: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";

/// Two volumes alike; one is changed in a window, the other as a copy.
struct Twins {
    folder: tempfile::TempDir,
    kind: FsKind,
}

impl Twins {
    fn new(kind: FsKind, size: u64) -> Self {
        let twins = Self {
            folder: scratch(),
            kind,
        };
        for path in twins.paths() {
            File::create(path).unwrap().set_len(size).unwrap();
        }
        twins
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["window", "copy"].map(|name| self.folder.path().join(name))
    }

    fn places(&self) -> [Place; 2] {
        let place = Place::new(self.folder.path());
        [place.clone(), place.without_windows()]
    }

    /// Changes and checks both.
    fn change(&self, what: &Change) {
        for ((path, place), in_window) in self.paths().iter().zip(self.places()).zip([true, false])
        {
            let kind = self.kind;
            let storage = open(path);
            let outcome = change(&storage, kind, what, &place, &Control::new())
                .unwrap_or_else(|stop| panic!("{kind:?} {what:?}, window {in_window}: {stop}"));
            assert_way(&outcome, in_window);
            let readable = storage as Arc<dyn Storage>;
            let outcome = check(&readable, kind, &place, &Control::new())
                .unwrap_or_else(|stop| panic!("{kind:?} after {what:?}, {in_window}: {stop}"));
            assert_way(&outcome, in_window);
        }
        let left: Vec<_> = fs::read_dir(self.folder.path()).unwrap().collect();
        assert!(left.len() <= 3, "scratch files are left: {left:?}");
    }

    /// From now on both are as the one that a window made.
    fn make_equal(&self) {
        let [from, to] = self.paths();
        fs::copy(from, to).unwrap();
    }

    fn assert_equal(&self, what: &str) {
        let [window, copy] = self.paths().map(|path| fs::read(path).unwrap());
        assert_eq!(window.len(), copy.len());
        let differs = window
            .iter()
            .zip(&copy)
            .position(|(one, other)| one != other);
        assert_eq!(differs, None, "{:?} {what}", self.kind);
    }
}

/// Native changes run no tool.
fn assert_way(outcome: &Outcome, in_window: bool) {
    if !outcome.commands.is_empty() {
        assert_eq!(outcome.had_window, in_window, "{:?}", outcome.commands);
    }
}

fn open(path: &Path) -> Arc<dyn WritableStorage> {
    Arc::new(FileStorage::open(path, LockMode::Write).unwrap())
}

#[test]
fn every_kind_of_file_system_is_the_same_in_a_window() {
    let _alone = alone();
    if !has_windows() {
        return;
    }
    for (kind, size, identifier, same) in [
        // Times of writing differ in ext and btrfs.
        (FsKind::Ext4, 64 * MIB, UUID, false),
        (FsKind::Ext2, 32 * MIB, UUID, false),
        (FsKind::Fat32, 64 * MIB, "0123-ABCD", true),
        (FsKind::Fat16, 32 * MIB, "0123-ABCD", true),
        (FsKind::Ntfs, 64 * MIB, "0123456789ABCDEF", true),
        (FsKind::ExFat, 32 * MIB, "0123-4567", true),
        (FsKind::Xfs, 400 * MIB, UUID, true),
        (FsKind::Btrfs, 128 * MIB, UUID, false),
    ] {
        let twins = Twins::new(kind, size);
        let label = Some("OLD".to_owned());
        twins.change(&Change::Make { kind, label });
        // Made twice they have other times and identifiers.
        twins.make_equal();
        twins.change(&Change::Label("NEW".to_owned()));
        if same {
            twins.assert_equal("named");
        }
        twins.change(&Change::Uuid(Identifier::Exactly(identifier.to_owned())));
        if same {
            twins.assert_equal("identified");
        }
    }
    assert_eq!(mounts_of_ours(), [""; 0]);
}

#[test]
fn files_survive_a_resize_in_a_window() {
    let _alone = alone();
    if !has_windows() {
        return;
    }
    let twins = Twins::new(FsKind::Ext4, 64 * MIB);
    let content = twins.folder.path().join("content");
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for path in twins.paths() {
        let path = path.to_str().unwrap();
        fs::write(&content, &bytes).unwrap();
        let write = format!("write {} file", content.display());
        run_tool("mkfs.ext4", ["-q", "-F", "-U", UUID, path]);
        run_tool("debugfs", ["-w", "-R", &write, path]);
    }
    fs::remove_file(&content).unwrap();
    twins.make_equal();
    let least = twins.paths().map(|path| {
        let storage = open(&path) as Arc<dyn Storage>;
        let place = Place::new(twins.folder.path());
        minimum_size(&storage, FsKind::Ext4, &place, &Control::new()).unwrap()
    });
    assert_eq!(least[0], least[1]);
    twins.change(&Change::Shrink(40 * MIB));
    for path in twins.paths() {
        open(&path).set_len(96 * MIB).unwrap();
    }
    twins.change(&Change::Grow);
    for path in twins.paths() {
        let dump = format!("dump file {}", content.display());
        run_tool("debugfs", ["-R", &dump, path.to_str().unwrap()]);
        assert!(fs::read(&content).unwrap() == bytes);
    }
}

#[test]
fn ntfs_is_resized_in_a_window() {
    let _alone = alone();
    if !has_windows() {
        return;
    }
    let twins = Twins::new(FsKind::Ntfs, 64 * MIB);
    let kind = FsKind::Ntfs;
    twins.change(&Change::Make { kind, label: None });
    twins.make_equal();
    let least = |place: Place| {
        let storage = open(&twins.paths()[0]) as Arc<dyn Storage>;
        minimum_size(&storage, kind, &place, &Control::new())
    };
    let [window, copy] = twins.places();
    // In passing, nothing is copied: it is asked in a window, or not at all.
    let known = least(copy.clone()).unwrap();
    assert!(known < 32 * MIB, "{known}");
    assert_eq!(least(window.without_copies()).unwrap(), known);
    let Err(Stop::Failed(error)) = least(copy.without_copies()) else {
        panic!("it was copied");
    };
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    twins.change(&Change::Shrink(32 * MIB));
    // The resize has it checked by Windows first.
    let [window, _] = twins.places();
    let Err(Stop::Failed(error)) = least(window) else {
        panic!("it can be asked");
    };
    assert!(error.message().contains("dirty"), "{error}");
    for path in twins.paths() {
        run_tool("ntfsfix", ["--clear-dirty", path.to_str().unwrap()]);
        open(&path).set_len(100 * MIB).unwrap();
    }
    twins.change(&Change::Grow);
}

#[test]
fn a_sector_that_cannot_be_read_is_named() {
    let _alone = alone();
    if !has_windows() {
        return;
    }
    let folder = scratch();
    let path = folder.path().join("volume");
    File::create(&path).unwrap().set_len(32 * MIB).unwrap();
    run_tool("mkfs.ext4", ["-q", "-F", path.to_str().unwrap()]);
    let memory = Arc::new(MemoryStorage::new(fs::read(&path).unwrap()));
    let broken = FaultStorage::new(memory, Fault::From(1));
    let storage = Arc::new(broken) as Arc<dyn Storage>;
    let place = Place::new(folder.path());
    let stop = check(&storage, FsKind::Ext4, &place, &Control::new()).unwrap_err();
    let Stop::Failed(error) = stop else {
        panic!("{stop}");
    };
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.offset().is_some(), "{error}");
}
