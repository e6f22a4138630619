//! File systems that were made, resized, checked and named here are clean by their own checkers,
//! and their files are there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::run_tool;
use platter::Control;
use platter::disk::TrialDisk;
use platter::fs::change::{
    Action, Capability, Change, Identifier, Place, capability, change, check, minimum_size,
};
use platter::fs::{FsKind, identify};
use platter::storage::{FileStorage, LockMode, MemoryStorage, Storage, WritableStorage};

const MIB: u64 = 1 << 20;

/// One test at a time: between fork and exec a child holds whatever its parent has locked, and the
/// tools are children.
static ALONE: Mutex<()> = Mutex::new(());

struct Volume {
    folder: tempfile::TempDir,
}

impl Volume {
    /// A file full of what must not be taken for content.
    fn new(size: u64) -> Self {
        let folder = common::scratch();
        let volume = Self { folder };
        let file = std::fs::File::create(volume.path()).unwrap();
        file.set_len(size).unwrap();
        let storage = volume.open();
        let noise = vec![0x5a; 1 << 20];
        for offset in (0..size.min(8 * MIB)).step_by(noise.len()) {
            storage.write_at(&noise, offset).unwrap();
        }
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

    fn place(&self) -> Place {
        Place::new(self.folder.path())
    }

    fn change(&self, kind: FsKind, what: &Change) {
        let outcome = change(&self.open(), kind, what, &self.place(), &Control::new());
        outcome.unwrap_or_else(|stop| panic!("{kind:?} {what:?}: {stop}"));
        let clean = check(&self.read(), kind, &self.place(), &Control::new());
        clean.unwrap_or_else(|stop| panic!("{kind:?} after {what:?}: {stop}"));
        let left: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().collect();
        assert!(left.len() <= 2, "scratch files are left: {left:?}");
    }

    fn make(&self, kind: FsKind, label: &str) {
        let label = Some(label.to_owned());
        self.change(kind, &Change::Make { kind, label });
        let found = identify(&*self.open()).unwrap().unwrap();
        assert_eq!((found.kind, found.label.as_deref()), (kind, Some("Daten")));
    }
}

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn debugfs(path: &Path, command: &str) -> String {
    run_tool("debugfs", ["-w", "-R", command, path.to_str().unwrap()])
}

#[test]
fn every_kind_is_made_named_and_clean() {
    let _alone = alone();
    for (kind, size) in [
        (FsKind::Ext2, 32 * MIB),
        (FsKind::Ext3, 32 * MIB),
        (FsKind::Ext4, 32 * MIB),
        (FsKind::Fat12, 4 * MIB),
        (FsKind::Fat16, 32 * MIB),
        (FsKind::Fat32, 64 * MIB),
        (FsKind::Ntfs, 32 * MIB),
        (FsKind::ExFat, 32 * MIB),
        (FsKind::Xfs, 400 * MIB),
        (FsKind::Btrfs, 128 * MIB),
        (FsKind::Swap, 16 * MIB),
    ] {
        assert!(
            !matches!(capability(kind, Action::Make), Capability::Missing { .. }),
            "install with build-aux/dev test: {kind:?}"
        );
        let volume = Volume::new(size);
        // mkfs.fat makes its labels upper case.
        if kind.name().starts_with("fat") {
            let label = Some("DATEN".to_owned());
            volume.change(kind, &Change::Make { kind, label });
            volume.change(kind, &Change::Label("NEU".into()));
        } else {
            volume.make(kind, "Daten");
            volume.change(kind, &Change::Label("Neu".into()));
        }
        let found = identify(&*volume.open()).unwrap().unwrap();
        assert_eq!(found.label.unwrap().to_lowercase(), "neu", "{kind:?}");
    }
}

/// By `blkid`, as everything that mounts by it reads it.
fn uuid_of(volume: &Volume) -> String {
    let path = volume.path();
    let path = path.to_str().unwrap();
    let said = run_tool("blkid", ["-p", "-s", "UUID", "-o", "value", path]);
    said.trim().to_owned()
}

#[test]
fn every_kind_gets_the_identifier_that_is_wanted() {
    const UUID: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
    let _alone = alone();
    for (kind, size, wanted) in [
        (FsKind::Ext2, 32 * MIB, UUID),
        (FsKind::Ext4, 32 * MIB, UUID),
        (FsKind::Fat12, 4 * MIB, "0123-ABCD"),
        (FsKind::Fat16, 32 * MIB, "0123-ABCD"),
        (FsKind::Fat32, 64 * MIB, "0123-ABCD"),
        (FsKind::Ntfs, 32 * MIB, "0123456789ABCDEF"),
        (FsKind::ExFat, 32 * MIB, "0123-4567"),
        (FsKind::Xfs, 400 * MIB, UUID),
        (FsKind::Btrfs, 128 * MIB, UUID),
        (FsKind::Swap, 16 * MIB, UUID),
    ] {
        assert!(
            !matches!(capability(kind, Action::Uuid), Capability::Missing { .. }),
            "install with build-aux/dev test: {kind:?}"
        );
        let volume = Volume::new(size);
        volume.change(kind, &Change::Make { kind, label: None });
        let first = uuid_of(&volume);
        volume.change(kind, &Change::Uuid(Identifier::Random));
        let drawn = uuid_of(&volume);
        assert_ne!(drawn, first, "{kind:?}");
        volume.change(
            kind,
            &Change::Uuid(Identifier::Exactly(wanted.to_lowercase())),
        );
        assert_eq!(uuid_of(&volume), wanted, "{kind:?}");
        let found = identify(&*volume.open()).unwrap().unwrap();
        assert_eq!(found.uuid.as_deref(), Some(wanted), "{kind:?}");
    }
}

#[test]
fn a_serial_of_fat_is_all_that_changes() {
    let _alone = alone();
    let volume = Volume::new(64 * MIB);
    let kind = FsKind::Fat32;
    volume.change(kind, &Change::Make { kind, label: None });
    let before = std::fs::read(volume.path()).unwrap();
    volume.change(kind, &Change::Uuid(Identifier::Exactly("FEDC-BA98".into())));
    let after = std::fs::read(volume.path()).unwrap();
    let changed: Vec<usize> = (0..before.len())
        .filter(|at| before[*at] != after[*at])
        .collect();
    let backup = 6 * 512;
    let places = [67..71, backup + 67..backup + 71];
    assert!(
        changed
            .iter()
            .all(|at| places.iter().any(|place| place.contains(at))),
        "{changed:?}"
    );
    for place in places {
        assert_eq!(after[place], [0x98, 0xba, 0xdc, 0xfe]);
    }
}

#[test]
fn ext4_grows_and_shrinks_with_its_files() {
    let _alone = alone();
    let volume = Volume::new(64 * MIB);
    volume.make(FsKind::Ext4, "Daten");
    let content = volume.folder.path().join("content");
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&content, &bytes).unwrap();
    debugfs(&volume.path(), &format!("write {} file", content.display()));

    let least = minimum_size(
        &volume.read(),
        FsKind::Ext4,
        &volume.place(),
        &Control::new(),
    );
    let least = least.unwrap();
    assert!((12 * MIB..40 * MIB).contains(&least), "{least}");
    // It was given only the first few MiB, and says the same of all.
    let told = run_tool("resize2fs", ["-P".as_ref(), volume.path().as_os_str()]);
    let told = told.trim().rsplit(' ').next().unwrap();
    let blocks: u64 = told.parse().unwrap();
    let block_size = identify(&*volume.open())
        .unwrap()
        .unwrap()
        .block_size
        .unwrap();
    assert_eq!(least, blocks * block_size);
    volume.change(FsKind::Ext4, &Change::Shrink(40 * MIB));
    let size = |volume: &Volume| identify(&*volume.open()).unwrap().unwrap().size.unwrap();
    assert_eq!(size(&volume), 40 * MIB);
    volume.open().set_len(96 * MIB).unwrap();
    volume.change(FsKind::Ext4, &Change::Grow);
    assert_eq!(size(&volume), 96 * MIB);
    let out = volume.folder.path().join("out");
    debugfs(&volume.path(), &format!("dump file {}", out.display()));
    assert!(std::fs::read(out).unwrap() == bytes);
}

#[test]
fn ntfs_grows_and_shrinks() {
    let _alone = alone();
    let volume = Volume::new(64 * MIB);
    volume.make(FsKind::Ntfs, "Daten");
    volume.change(FsKind::Ntfs, &Change::Shrink(32 * MIB));
    // The resize has it checked by Windows, which is not here.
    run_tool(
        "ntfsfix",
        ["--clear-dirty".as_ref(), volume.path().as_os_str()],
    );
    volume.open().set_len(100 * MIB).unwrap();
    volume.change(FsKind::Ntfs, &Change::Grow);
    let size = identify(&*volume.open()).unwrap().unwrap().size.unwrap();
    assert!(size > 99 * MIB, "{size}");
}

#[test]
fn a_tool_that_refuses_has_changed_nothing() {
    let _alone = alone();
    let volume = Volume::new(16 * MIB);
    volume.make(FsKind::Ext4, "Daten");
    let before = std::fs::read(volume.path()).unwrap();
    let stop = change(
        &volume.open(),
        FsKind::Ext4,
        &Change::Shrink(512 << 10),
        &volume.place(),
        &Control::new(),
    );
    let stop = stop.unwrap_err().to_string();
    assert!(stop.contains("resize2fs"), "{stop}");
    assert!(std::fs::read(volume.path()).unwrap() == before);
}

#[test]
fn swap_is_what_the_kernels_tools_know() {
    let _alone = alone();
    let volume = Volume::new(16 * MIB);
    volume.make(FsKind::Swap, "Daten");
    volume.open().set_len(32 * MIB).unwrap();
    volume.change(FsKind::Swap, &Change::Grow);
    let said = run_tool("swaplabel", [volume.path().to_str().unwrap()]);
    assert!(said.contains("Daten"), "{said}");
    let found = identify(&*volume.open()).unwrap().unwrap();
    assert_eq!(found.size, Some(32 * MIB));
}

#[test]
fn changes_are_tried_without_touching_the_disk() {
    let _alone = alone();
    let volume = Volume::new(32 * MIB);
    volume.make(FsKind::Ext4, "Daten");
    let before = std::fs::read(volume.path()).unwrap();
    let base = Arc::new(FileStorage::open(&volume.path(), LockMode::Read).unwrap());
    let trial = TrialDisk::new(base, Arc::new(MemoryStorage::default())).unwrap();
    let trial = Arc::new(trial);
    let place = volume.place();
    let control = Control::new();
    let shrink = Change::Shrink(20 * MIB);
    let writable = Arc::clone(&trial) as Arc<dyn WritableStorage>;
    change(&writable, FsKind::Ext4, &shrink, &place, &control).unwrap();
    let readable = Arc::clone(&trial) as Arc<dyn Storage>;
    check(&readable, FsKind::Ext4, &place, &control).unwrap();
    assert_eq!(identify(&*trial).unwrap().unwrap().size, Some(20 * MIB));
    let written = trial.bytes_to_write().unwrap();
    assert!((1..4 * MIB).contains(&written), "{written}");
    assert!(std::fs::read(volume.path()).unwrap() == before);
    assert_eq!(trial.size().unwrap(), 32 * MIB);
}
