//! Tables that were written or changed here are what sfdisk and sgdisk call right, and say what was
//! meant.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

use common::{run_tool, run_with_input, tool};
use platter::storage::{FileStorage, LockMode, Storage as _};
use platter::table::{self, NewPartition, PartitionTable, PartitionType, Role, TableKind};
use serde_json::Value;
use uuid::{Uuid, uuid};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const LINUX: PartitionType = PartitionType::Gpt(uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"));
const EFI: PartitionType = PartitionType::Gpt(uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"));

struct Disk {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Disk {
    fn new(size: u64) -> Self {
        let folder = common::scratch();
        let path = folder.path().join("disk.raw");
        File::create(&path).unwrap().set_len(size).unwrap();
        Self {
            _folder: folder,
            path,
        }
    }

    fn sfdisk(size: u64, script: &str) -> Self {
        let disk = Self::new(size);
        run_with_input(tool("sfdisk").arg("--quiet").arg(&disk.path), script);
        disk
    }

    fn read(&self) -> PartitionTable {
        table::read(&FileStorage::open(&self.path, LockMode::Read).unwrap()).unwrap()
    }

    /// Writes the table and has it judged; what was written is what is read again.
    fn write(&self, wanted: &PartitionTable) {
        let file = FileStorage::open(&self.path, LockMode::Write).unwrap();
        table::write(wanted, &file).unwrap();
        drop(file);
        let read = self.read();
        assert_eq!(read.damage, [], "{:#?}", read.damage);
        assert_eq!(describe(&read), describe(wanted));
        let verdict = run_tool("sfdisk", ["--verify", self.path.to_str().unwrap()]);
        assert!(verdict.contains("No errors detected."), "{verdict}");
        if wanted.kind == TableKind::Gpt {
            let verdict = run_tool("sgdisk", ["--verify", self.path.to_str().unwrap()]);
            assert!(verdict.contains("No problems found."), "{verdict}");
        }
    }

    /// Number, first sector and number of sectors of each partition as sfdisk sees them.
    fn seen(&self) -> Vec<(u32, u64, u64)> {
        let json = run_tool("sfdisk", ["--json", self.path.to_str().unwrap()]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let partitions = json["partitiontable"]["partitions"].as_array();
        partitions
            .unwrap()
            .iter()
            .map(|partition| {
                let node = partition["node"].as_str().unwrap();
                let number = node.rsplit("disk.raw").next().unwrap();
                (
                    number.parse().unwrap(),
                    partition["start"].as_u64().unwrap(),
                    partition["size"].as_u64().unwrap(),
                )
            })
            .collect()
    }

    fn resize(&self, size: u64) {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.set_len(size).unwrap();
    }
}

/// What must survive writing and reading.
fn describe(table: &PartitionTable) -> String {
    let partitions = table.partitions.iter().map(|p| {
        format!(
            "{} {:?} {:?} {:?} {:?} {:#x} {} {:?}\n",
            p.number, p.range, p.kind, p.name, p.uuid, p.attributes, p.active, p.role
        )
    });
    let head = format!("{:?} {:?} {:?}\n", table.kind, table.id, table.usable);
    head + &partitions.collect::<String>()
}

fn new(range: Range<u64>, kind: PartitionType) -> NewPartition {
    NewPartition {
        uuid: Some(Uuid::from_u128(u128::from(range.start))),
        range,
        kind,
        role: Role::Primary,
        name: None,
    }
}

fn mbr(range: Range<u64>, kind: u8, role: Role) -> NewPartition {
    NewPartition {
        range,
        kind: PartitionType::Mbr(kind),
        role,
        name: None,
        uuid: None,
    }
}

#[test]
fn a_gpt_from_nothing() {
    let disk = Disk::new(GIB);
    let mut table = PartitionTable::new_gpt(GIB, 512, Uuid::from_u128(0x1234)).unwrap();
    table.add(new(MIB..100 * MIB, EFI)).unwrap();
    table.add(new(100 * MIB..1000 * MIB, LINUX)).unwrap();
    table.set_name(2, "Wurzel – grün 🌳").unwrap();
    table.set_attributes(1, 1).unwrap();
    table.set_active(2, true).unwrap();
    disk.write(&table);
    assert_eq!(disk.seen(), [(1, 2048, 202_752), (2, 204_800, 1_843_200)]);
    let json = run_tool("sfdisk", ["--json", disk.path.to_str().unwrap()]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let second = &json["partitiontable"]["partitions"][1];
    assert_eq!(second["name"], "Wurzel – grün 🌳");
    assert_eq!(second["attrs"], "LegacyBIOSBootable");
}

#[test]
fn the_backup_follows_a_disk_that_grows_or_is_cut() {
    let disk = Disk::sfdisk(GIB, "label: gpt\n,100M\n,200M,U\n");
    let mut table = disk.read();
    for size in [
        3 * GIB + 12_345 * 512,
        2 * GIB,
        table.minimum_disk_size().next_multiple_of(MIB),
    ] {
        disk.resize(size);
        table.resize_disk(size).unwrap();
        disk.write(&table);
    }
    // Nothing of the old copies is left that a later look could take for the better one.
    disk.resize(3 * GIB);
    let file = FileStorage::open(&disk.path, LockMode::Read).unwrap();
    let mut sector = [0; 512];
    for offset in [GIB - 512, 2 * GIB - 512] {
        file.read_at(&mut sector, offset).unwrap();
        assert!(!sector.starts_with(b"EFI PART"), "{offset}");
    }
}

#[test]
fn partitions_made_by_others_are_moved_deleted_and_made_anew() {
    let disk = Disk::sfdisk(GIB, "label: gpt\n,100M\n,200M,U\nstart=500M,size=100M\n");
    let mut table = disk.read();
    let second = table.partition(2).unwrap().range.clone();
    table
        .set_range(2, second.start + 64 * MIB..second.end + 128 * MIB)
        .unwrap();
    table.remove(1).unwrap();
    disk.write(&table);
    table.add(new(MIB..11 * MIB, LINUX)).unwrap();
    disk.write(&table);
    assert_eq!(
        disk.seen(),
        [
            (1, 2048, 20_480),
            (2, 337_920, 540_672),
            (3, 1_024_000, 204_800)
        ]
    );
}

#[test]
fn an_mbr_with_logical_partitions() {
    let disk = Disk::new(GIB);
    let mut table = PartitionTable::new_mbr(GIB, 512, 0xdead_beef).unwrap();
    table.add(mbr(MIB..100 * MIB, 0x83, Role::Primary)).unwrap();
    table
        .add(mbr(100 * MIB..GIB, 0x05, Role::Extended))
        .unwrap();
    disk.write(&table);
    for (start, end) in [(300, 400), (101, 200), (401, 500), (600, 1024)] {
        table
            .add(mbr(start * MIB..end * MIB, 0x83, Role::Logical))
            .unwrap();
        disk.write(&table);
    }
    table.set_active(1, true).unwrap();
    table.remove(5).unwrap();
    disk.write(&table);
    assert_eq!(
        disk.seen().iter().map(|seen| seen.0).collect::<Vec<_>>(),
        [1, 2, 5, 6, 7]
    );
    // A record squeezed into the one sector that is left.
    table.set_range(6, 400 * MIB + 512..500 * MIB).unwrap();
    disk.write(&table);
}

#[test]
fn boot_code_stays_and_another_kind_of_table_replaces_the_first() {
    let disk = Disk::sfdisk(GIB, "label: gpt\n,100M\n");
    let file = FileStorage::open(&disk.path, LockMode::Write).unwrap();
    platter::storage::WritableStorage::write_at(&file, &[0x90; 440], 0).unwrap();
    drop(file);
    let mut table = PartitionTable::new_mbr(GIB, 512, 7).unwrap();
    table.add(mbr(MIB..100 * MIB, 0x07, Role::Primary)).unwrap();
    disk.write(&table);
    let gpt = PartitionTable::new_gpt(GIB, 512, Uuid::from_u128(9)).unwrap();
    disk.write(&gpt);
    let mut code = [0; 440];
    let file = FileStorage::open(&disk.path, LockMode::Read).unwrap();
    file.read_at(&mut code, 0).unwrap();
    assert_eq!(code, [0x90; 440]);
}

#[test]
fn an_interrupted_change_leaves_one_whole_copy() {
    let disk = Disk::sfdisk(64 * MIB, "label: gpt\n,10M\n,20M\n");
    let before = disk.read();
    let mut after = before.clone();
    after.remove(1).unwrap();
    after.set_range(2, 40 * MIB..60 * MIB).unwrap();
    let bytes = std::fs::read(&disk.path).unwrap();
    let storage = platter::storage::MemoryStorage::new(bytes.clone());
    let groups = table::encode(&after, &storage).unwrap();
    let writes: Vec<_> = groups.into_iter().flatten().collect();
    for stop in 0..=writes.len() {
        let storage = platter::storage::MemoryStorage::new(bytes.clone());
        for write in &writes[..stop] {
            platter::storage::WritableStorage::write_at(&storage, &write.bytes, write.offset)
                .unwrap();
        }
        let read = describe(&table::read(&storage).unwrap());
        assert!(
            read == describe(&before) || read == describe(&after),
            "stopped after {stop} writes"
        );
    }
}
