//! Partition tables made by sfdisk, sgdisk and parted are read as sfdisk reads them, and what is
//! wrong with them is said.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use common::disk::CountingFile;
use common::{run, run_tool, run_with_input, tool};
use platter::table::{self, PartitionTable, PartitionType, Region, Role, TableKind};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A sparse raw file in a folder of its own.
struct Disk {
    _folder: tempfile::TempDir,
    path: PathBuf,
    sector_size: u64,
}

impl Disk {
    fn new(size: u64, sector_size: u64) -> Self {
        let folder = common::scratch();
        let path = folder.path().join("disk.raw");
        File::create(&path).unwrap().set_len(size).unwrap();
        Self {
            _folder: folder,
            path,
            sector_size,
        }
    }

    /// A disk with the table that `script` (as `sfdisk` reads it) describes.
    fn sfdisk(size: u64, sector_size: u64, script: &str) -> Self {
        let disk = Self::new(size, sector_size);
        if sector_size == 512 {
            run_with_input(tool("sfdisk").arg("--quiet").arg(&disk.path), script);
        } else {
            // Older ones of sfdisk know no other sector size for a file; fdisk takes its scripts.
            let file = disk.path.with_extension("script");
            std::fs::write(&file, script).unwrap();
            disk.fdisk(&format!("I\n{}\nw\n", file.display()));
        }
        disk
    }

    fn fdisk(&self, keys: &str) -> String {
        run_with_input(
            tool("fdisk")
                .args(["--sector-size", &self.sector_size.to_string()])
                .arg(&self.path),
            keys,
        )
    }

    fn size(&self) -> u64 {
        self.path.metadata().unwrap().len()
    }

    fn resize(&self, size: u64) {
        File::options()
            .write(true)
            .open(&self.path)
            .unwrap()
            .set_len(size)
            .unwrap();
    }

    fn bytes(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let file = File::open(&self.path).unwrap();
        file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    fn overwrite(&self, offset: u64, bytes: &[u8]) {
        File::options()
            .write(true)
            .open(&self.path)
            .unwrap()
            .write_all_at(bytes, offset)
            .unwrap();
    }

    fn read(&self) -> PartitionTable {
        let file = CountingFile::open(&self.path);
        let table = table::read(file.as_ref()).unwrap();
        assert!(
            file.bytes_read() < 200 << 10,
            "{} bytes were read for a table",
            file.bytes_read()
        );
        table
    }

    fn messages(&self) -> Vec<String> {
        let damage = self.read().damage;
        damage
            .into_iter()
            .map(|damage| damage.message.to_string())
            .collect()
    }

    /// Reads the table and compares it with what `sfdisk --json` says of the same file.
    fn equals_sfdisk(&self) -> PartitionTable {
        let theirs = if self.sector_size == 512 {
            run(tool("sfdisk").arg("--json").arg(&self.path))
        } else {
            let dump = self.path.with_extension("dump");
            let _ = std::fs::remove_file(&dump);
            self.fdisk(&format!("O\n{}\nq\n", dump.display()));
            json_of_dump(&std::fs::read_to_string(dump).unwrap()).to_string()
        };
        let json: Value = serde_json::from_str(&theirs).unwrap();
        let table = self.read();
        compare(&table, &json["partitiontable"], &self.path);
        table
    }
}

/// A dump of fdisk in the shape of `sfdisk --json`.
fn json_of_dump(dump: &str) -> Value {
    let value = |text: &str| match text.trim().trim_matches('"') {
        number if number.parse::<u64>().is_ok() && number.len() > 2 => {
            Value::from(number.parse::<u64>().unwrap())
        }
        text => Value::from(unescape(text)),
    };
    let mut table = serde_json::Map::new();
    let mut partitions = Vec::new();
    for line in dump.lines() {
        if let Some((node, fields)) = line.split_once(" : ") {
            let mut partition = serde_json::Map::new();
            partition.insert("node".into(), node.into());
            for field in fields.split(", ") {
                let (key, text) = field.split_once('=').unwrap_or((field, "true"));
                partition.insert(key.trim().into(), value(text));
            }
            partitions.push(Value::Object(partition));
        } else if let Some((key, text)) = line.split_once(": ") {
            let key = key.trim_start_matches("label-").replace('-', "");
            table.insert(key, value(text));
        }
    }
    table.insert("partitions".into(), partitions.into());
    serde_json::json!({ "partitiontable": table })
}

/// Undoes the `\\xNN` that fdisk writes for bytes outside ASCII.
fn unescape(text: &str) -> String {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

fn compare(table: &PartitionTable, theirs: &Value, path: &Path) {
    let kind = match theirs["label"].as_str().unwrap() {
        "gpt" => TableKind::Gpt,
        "dos" => TableKind::Mbr,
        other => panic!("label {other}"),
    };
    assert_eq!(table.kind, kind);
    assert_eq!(table.sector_size, theirs["sectorsize"].as_u64().unwrap());
    let id = table.id.as_deref().unwrap();
    assert!(id.eq_ignore_ascii_case(theirs["id"].as_str().unwrap()));
    if kind == TableKind::Gpt {
        let first = theirs["firstlba"].as_u64().unwrap();
        let last = theirs["lastlba"].as_u64().unwrap();
        assert_eq!(table.usable.start, first * table.sector_size);
        assert_eq!(table.usable.end, (last + 1) * table.sector_size);
    }
    let theirs = theirs["partitions"].as_array().cloned().unwrap_or_default();
    assert_eq!(table.partitions.len(), theirs.len());
    for partition in &table.partitions {
        let node = format!("{}{}", path.display(), partition.number);
        let entry = theirs.iter().find(|entry| entry["node"] == node).unwrap();
        let start = entry["start"].as_u64().unwrap() * table.sector_size;
        let size = entry["size"].as_u64().unwrap() * table.sector_size;
        assert_eq!(partition.range, start..start + size, "{node}");
        let code = entry["type"].as_str().unwrap();
        match partition.kind {
            PartitionType::Gpt(guid) => {
                assert!(guid.to_string().eq_ignore_ascii_case(code), "{node}");
                let uuid = partition.uuid.as_deref().unwrap();
                assert!(uuid.eq_ignore_ascii_case(entry["uuid"].as_str().unwrap()));
            }
            PartitionType::Mbr(byte) => assert_eq!(format!("{byte:x}"), code, "{node}"),
        }
        assert_eq!(partition.name.as_deref(), entry["name"].as_str(), "{node}");
        if kind == TableKind::Mbr {
            let active = entry["bootable"].as_bool().unwrap_or(false);
            assert_eq!(partition.active, active, "{node}");
        }
    }
}

const GPT: &str = "label: gpt\n\
    size=100M, type=uefi, name=\"EFI system partition\"\n\
    size=200M, type=linux, name=\"Wurzel für /\u{20ac}\", attrs=\"RequiredPartition LegacyBIOSBootable GUID:60,63\"\n\
    size=50M, type=swap\n\
    size=10M, type=11111111-2222-3333-4444-555555555555\n";

#[test]
fn gpt_with_both_sector_sizes() {
    for sector_size in [512, 4096] {
        let disk = Disk::sfdisk(GIB, sector_size, GPT);
        let table = disk.equals_sfdisk();
        assert_eq!(table.damage, []);
        let partitions = &table.partitions;
        assert_eq!(partitions[0].type_name, "EFI System");
        assert_eq!(partitions[1].name.as_deref(), Some("Wurzel für /\u{20ac}"));
        assert!(partitions[1].active);
        assert_eq!(
            partitions[1].describe_attributes(),
            ["required", "legacy boot", "read-only", "no automount"]
        );
        assert_eq!(
            partitions[3].type_name,
            "unknown (11111111-2222-3333-4444-555555555555)"
        );
        let regions = table.regions();
        assert_eq!(regions.len(), 5);
        let Region::Free { range, logical } = &regions[4] else {
            panic!("{regions:?}");
        };
        assert_eq!(range.start, partitions[3].range.end);
        assert_eq!(range.end, table.usable.end);
        assert!(!logical);
    }
}

#[test]
fn gpt_of_parted_and_sgdisk() {
    let disk = Disk::new(GIB, 512);
    run(tool("parted")
        .args(["--script", "--"])
        .arg(&disk.path)
        .args([
            "mklabel", "gpt", "mkpart", "data", "ext4", "1MiB", "300MiB", "mkpart", "rest", "xfs",
            "300MiB", "-1MiB",
        ]));
    assert_eq!(disk.equals_sfdisk().damage, []);

    let disk = Disk::new(GIB, 512);
    run(tool("sgdisk")
        .args([
            "-S",
            "512",
            "-n",
            "200:0:+100M",
            "-t",
            "200:8e00",
            "-n",
            "3:0:+1M",
        ])
        .arg(&disk.path));
    let table = disk.equals_sfdisk();
    assert_eq!(table.damage, []);
    assert_eq!(table.partitions[0].number, 200);
    assert_eq!(table.partitions[0].type_name, "Linux LVM");
}

#[test]
fn gpt_larger_than_a_protective_mbr_can_say() {
    let disk = Disk::sfdisk(15 << 40, 512, "label: gpt\nsize=14T\n");
    let table = disk.equals_sfdisk();
    assert_eq!(table.damage, []);
    assert_eq!(table.partitions[0].range.end - MIB, 14 << 40);
}

#[test]
fn mbr_with_logical_partitions() {
    let disk = Disk::sfdisk(
        GIB,
        512,
        "label: dos\nlabel-id: 0x00c0ffee\n\
         size=100M, type=c, bootable\n\
         start=300M, size=600M, type=f\n\
         size=100M, start=110M, type=83\n\
         5: start=301M, size=100M, type=83\n\
         6: size=100M, type=82\n\
         7: size=100M, type=8e\n",
    );
    let table = disk.equals_sfdisk();
    assert_eq!(table.damage, []);

    let roles: Vec<_> = table
        .partitions
        .iter()
        .map(|p| (p.number, p.role))
        .collect();
    assert_eq!(
        roles,
        [
            (1, Role::Primary),
            (3, Role::Primary),
            (2, Role::Extended),
            (5, Role::Logical),
            (6, Role::Logical),
            (7, Role::Logical)
        ]
    );
    assert_eq!(table.partitions[3].uuid.as_deref(), Some("00c0ffee-05"));
    let logical_free: u64 = table
        .regions()
        .iter()
        .map(|region| match region {
            Region::Free {
                range,
                logical: true,
            } => range.end - range.start,
            _ => 0,
        })
        .sum();
    // 600 MiB less three partitions and the three sectors that describe them.
    assert_eq!(logical_free, 300 * MIB - 3 * 512);
}

#[test]
fn mbr_with_4096_byte_sectors_shows_by_its_logical_partitions() {
    let script = "label: dos\nsize=100M, type=83\nsize=400M, type=5\nsize=50M, type=83\n";
    let disk = Disk::sfdisk(GIB, 4096, script);
    run(tool("mke2fs")
        .args(["-q", "-F", "-b", "4096", "-E", "offset=1048576"])
        .arg(&disk.path)
        .arg("100M"));
    let table = disk.equals_sfdisk();
    assert_eq!(table.damage, []);
    assert_eq!(table.partitions.len(), 3);
}

#[test]
fn mbr_reaches_two_tebibytes() {
    let disk = Disk::sfdisk(4 << 40, 512, "label: dos\nsize=1T\n");
    let table = disk.equals_sfdisk();
    assert_eq!(table.usable.end, 2 << 40);
    assert_eq!(
        disk.messages(),
        ["an MBR reaches only 2 TiB of this 4 TiB disk"]
    );
}

#[test]
fn hybrid_mbr() {
    let disk = Disk::sfdisk(GIB, 512, GPT);
    run(tool("sgdisk").args(["--hybrid", "1:2"]).arg(&disk.path));
    disk.equals_sfdisk();
    assert_eq!(
        disk.messages(),
        ["hybrid MBR: entry 2, 3 shows partitions to programs that do not know GPT"]
    );
}

#[test]
fn grown_and_shrunk_disks() {
    for sector_size in [512, 4096] {
        let disk = Disk::sfdisk(GIB, sector_size, GPT);
        let usable = disk.equals_sfdisk().usable;
        disk.resize(6 * GIB);
        assert_eq!(
            disk.messages(),
            ["backup GPT is not at the end of the disk: the disk has grown by 5 GiB"]
        );
        assert_eq!(disk.read().usable, usable);
        disk.resize(GIB - 64 * MIB);
        let messages = disk.messages();
        assert_eq!(
            messages,
            ["the disk is 64 MiB too short for its GPT: its end with the backup GPT was cut off"]
        );
        disk.resize(200 * MIB);
        let messages = disk.messages();
        assert_eq!(messages.len(), 4, "{messages:?}");
        assert_eq!(
            messages[1],
            "partition 2 ends 101 MiB behind the end of the disk"
        );
        assert!(messages[3].starts_with("partition 4 begins 151 MiB behind"));
    }
}

#[test]
fn damaged_copies_are_read_around() {
    for sector_size in [512, 4096] {
        // The primary header loses a byte that only its checksum guards.
        let disk = Disk::sfdisk(GIB, sector_size, GPT);
        let whole = disk.read();
        disk.overwrite(sector_size + 60, &[0xaa]);
        let table = disk.read();
        assert_eq!(
            format!("{:?}", table.partitions),
            format!("{:?}", whole.partitions)
        );
        assert_eq!(table.id, whole.id);
        let messages = disk.messages();
        assert_eq!(messages.len(), 1);
        assert!(
            messages[0].starts_with("primary GPT is damaged: checksum of its header is 0x")
                && messages[0].ends_with("; the backup is used"),
            "{messages:?}"
        );

        // An entry of the primary array.
        let disk = Disk::sfdisk(GIB, sector_size, GPT);
        let whole = disk.equals_sfdisk();
        disk.overwrite(2 * sector_size + 33, &[0x77]);
        let table = disk.read();
        assert_eq!(table.partitions[0].range, whole.partitions[0].range);
        let message = table.damage[0].message.to_string();
        assert!(message.starts_with("primary GPT is damaged: checksum of its entries"));
        assert!(!table.damage[0].serious);

        // The whole beginning of the disk is gone.
        let disk = Disk::sfdisk(GIB, sector_size, GPT);
        disk.overwrite(0, &vec![0; 40 * 4096]);
        let table = disk.read();
        assert_eq!(table.kind, TableKind::Gpt);
        assert_eq!(table.partitions.len(), 4);
        assert_eq!(
            disk.messages(),
            [
                "primary GPT is missing; the backup is used",
                "protective MBR is missing: Linux and firmware do not see this GPT"
            ]
        );

        // The backup.
        let disk = Disk::sfdisk(GIB, sector_size, GPT);
        disk.overwrite(disk.size() - sector_size, &vec![0; 512]);
        assert_eq!(disk.messages(), ["backup GPT is missing"]);
        disk.equals_sfdisk();
    }
}

#[test]
fn a_gpt_with_both_arrays_damaged_is_shown_with_a_warning() {
    let disk = Disk::sfdisk(GIB, 512, GPT);
    disk.overwrite(1024 + 56, b"X");
    disk.overwrite(GIB - 33 * 512 + 56, b"Y");
    let table = disk.read();
    assert_eq!(table.partitions.len(), 4);
    assert!(table.damage.iter().any(|damage| damage.serious));
    assert!(
        table.damage[0]
            .message
            .to_string()
            .ends_with("it is used all the same")
    );
}

#[test]
fn differing_copies_are_told() {
    let disk = Disk::sfdisk(GIB, 512, GPT);
    let backup = disk.bytes(GIB - 33 * 512, 33 * 512);
    run(tool("sgdisk").args(["--delete", "3"]).arg(&disk.path));
    disk.overwrite(GIB - 33 * 512, &backup);
    assert_eq!(disk.read().partitions.len(), 3);
    assert_eq!(
        disk.messages(),
        ["backup GPT differs from the primary: it has other partitions"]
    );
}

#[test]
fn an_mbr_beats_an_unprotected_gpt() {
    let disk = Disk::sfdisk(GIB, 512, GPT);
    let mbr = Disk::sfdisk(GIB, 512, "label: dos\nsize=10M\n");
    disk.overwrite(0, &mbr.bytes(0, 512));
    let table = disk.read();
    assert_eq!(table.kind, TableKind::Mbr);
    assert_eq!(table.partitions.len(), 1);
    assert!(disk.messages()[0].starts_with("a GPT is on the disk too"));
}

#[test]
fn cloned_partition_guids_are_told() {
    let same = "uuid=0a0b0c0d-0000-4000-8000-000000000001";
    let disk = Disk::sfdisk(GIB, 512, &format!("label: gpt\nsize=1M, {same}\nsize=1M\n"));
    run(tool("sgdisk")
        .args(["--partition-guid", "2:0a0b0c0d-0000-4000-8000-000000000001"])
        .arg(&disk.path));
    assert_eq!(
        disk.messages(),
        ["partitions 1 and 2 have the same GUID 0a0b0c0d-0000-4000-8000-000000000001"]
    );
}

#[test]
fn no_table_on_empty_disks_and_whole_disk_file_systems() {
    let disk = Disk::new(64 * MIB, 512);
    let empty = disk.read();
    assert_eq!(empty.kind, TableKind::None);
    assert_eq!(empty.damage, []);

    let fat: &[&str] = &["-F", "32", "--mbr=no"];
    let fat_with_entry: &[&str] = &["-F", "16", "--mbr=yes"];
    for (program, options) in [
        ("mkfs.fat", fat),
        ("mkfs.fat", fat_with_entry),
        ("mkfs.ntfs", &["-F", "-Q", "-q"]),
        ("mkfs.exfat", &[]),
        ("mkfs.ext4", &["-q"]),
        ("mkfs.xfs", &["-q"]),
    ] {
        let disk = Disk::new(320 * MIB, 512);
        run(tool(program).args(options).arg(&disk.path));
        let table = disk.read();
        assert_eq!(table.kind, TableKind::None, "{program} {options:?}");
        assert_eq!(table.damage, [], "{program} {options:?}");
    }
}

#[test]
fn an_old_backup_behind_a_file_system_is_no_table() {
    let disk = Disk::sfdisk(320 * MIB, 512, "label: gpt\nsize=100M\n");
    run(tool("mkfs.ext4").args(["-q", "-F"]).arg(&disk.path));
    assert_eq!(disk.read().kind, TableKind::None);
}

#[test]
fn type_names_agree_with_sfdisk() {
    let list = run_tool("sfdisk", ["--label", "gpt", "--list-types"]);
    let mut known = 0;
    for line in list.lines() {
        let Some((guid, name)) = line.split_once("  ") else {
            continue;
        };
        let Ok(guid) = guid.parse::<uuid::Uuid>() else {
            continue;
        };
        let Some(ours) = table::type_name(PartitionType::Gpt(guid)) else {
            continue;
        };
        // Theirs has abbreviations ("sign.") and a longer name for Windows' recovery.
        let word = name.split([' ', '.']).next().unwrap();
        assert!(ours.starts_with(word), "{guid}: {ours} instead of {name}");
        known += 1;
    }
    assert!(known > 60, "{known} type names in common with sfdisk");
}
