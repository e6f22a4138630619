//! Hostile qcow2 files: truncated, zeroed, random and made by hand. Each is opened, described,
//! mapped, read and checked; that ends in an answer or an error within a second and within
//! 256 MiB, and never in a panic.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the images are small"
)]

mod common;
#[path = "../fuzz/exercise.rs"]
mod exercise;
#[path = "common/tiny.rs"]
mod tiny;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::inputs::Random;
use peak_alloc::PeakAlloc;
use platter::chain::{Chain, ChainOptions};
use platter::image::{self, Format};
use platter::storage::{FileStorage, LockMode, MemoryStorage, Storage};
use tiny::{CLUSTER, FIELDS, Field, set};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Of memory, for everything that is done with one file.
const MAX_MEMORY: usize = 256 << 20;
/// A second, on a machine that is busy with other tests and code that is not optimised.
const MAX_TIME: Duration = Duration::from_secs(8);

/// One file at a time: memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Does everything with a file, within the bounds.
fn survive(what: &str, storage: &Arc<dyn Storage>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    bounded(what, "open, map and read", || {
        exercise::open_read(storage);
    });
    bounded(what, "check", || {
        exercise::check(Arc::clone(storage));
    });
}

fn bounded(what: &str, step: &str, work: impl FnOnce()) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let start = Instant::now();
    work();
    let (took, peak) = (start.elapsed(), MEMORY.peak_usage().saturating_sub(before));
    assert!(took < MAX_TIME, "{what}: {step} takes {took:?}");
    assert!(peak < MAX_MEMORY, "{what}: {step} takes {} MiB", peak >> 20);
}

fn survive_bytes(what: &str, bytes: Vec<u8>) {
    survive(
        what,
        &(Arc::new(MemoryStorage::new(bytes)) as Arc<dyn Storage>),
    );
}

fn mutated(changes: &[(&str, u64)]) -> Vec<u8> {
    let mut image = tiny::image();
    for (name, value) in changes {
        set(&mut image, field(name), *value);
    }
    image
}

fn field(name: &str) -> Field {
    let found = FIELDS.iter().find(|(found, ..)| *found == name);
    *found.unwrap_or_else(|| panic!("no field {name}"))
}

#[test]
fn the_image_that_is_mutated_is_sound() {
    let folder = common::scratch();
    let path = folder.path().join("tiny.qcow2");
    fs::write(&path, tiny::image()).unwrap();
    let said = common::run(common::tool("qemu-img").arg("check").arg(&path));
    assert!(said.starts_with("No errors"), "{said}");
    assert!(exercise::qcow2_open_read(&tiny::image()));
    let report = exercise::check(Arc::new(MemoryStorage::new(tiny::image()))).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn every_prefix() {
    let image = tiny::image();
    for end in (0..160).chain((160..image.len()).step_by(509)) {
        survive_bytes(&format!("first {end} bytes"), image[..end].to_vec());
    }
}

#[test]
fn every_cluster_zeroed_or_noise() {
    let image = tiny::image();
    let mut random = Random(3);
    for start in (0..image.len()).step_by(CLUSTER / 4) {
        let mut bytes = image.clone();
        bytes[start..start + CLUSTER / 4].fill(0);
        survive_bytes(&format!("zeroes at {start:#x}"), bytes.clone());
        bytes[start..start + CLUSTER / 4].fill_with(|| random.next() as u8);
        survive_bytes(&format!("noise at {start:#x}"), bytes.clone());
        bytes[start..start + CLUSTER / 4].fill(0xff);
        survive_bytes(&format!("ones at {start:#x}"), bytes);
    }
}

#[test]
fn noise_behind_a_header() {
    let mut random = Random(4);
    for round in 0..60 {
        let mut bytes = tiny::image();
        let from = [4, 20, 72, 112, 4096][round % 5];
        bytes[from..].fill_with(|| random.next() as u8);
        survive_bytes(&format!("noise from {from}, round {round}"), bytes);
    }
}

/// Numbers at which programs break.
fn extremes(length: usize, file: u64) -> Vec<u64> {
    let max = u64::MAX >> (64 - 8 * length);
    let cluster = CLUSTER as u64;
    let mut all = vec![
        0, 1, 2, 3, 7, 8, 9, 12, 16, 21, 22, 31, 63, 64, 255, 511, 512, 513,
    ];
    all.extend([
        cluster - 8,
        cluster - 1,
        cluster,
        cluster + 1,
        2 * cluster,
        3 * cluster,
    ]);
    all.extend([
        file - cluster,
        file - 512,
        file - 1,
        file,
        file + 1,
        file + cluster,
    ]);
    for bits in [24, 25, 31, 32, 47, 55, 56, 57, 61, 62, 63] {
        let bit = 1_u64 << bits;
        all.extend([bit - 1, bit, bit + 1, bit | cluster, bit | (file - cluster)]);
    }
    all.extend([
        u64::MAX - 1,
        u64::MAX,
        max / 2,
        max / 2 + 1,
        max.saturating_sub(511),
    ]);
    all.retain(|value| *value <= max);
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn every_field_at_its_extremes() {
    let image = tiny::image();
    for field in FIELDS {
        for value in extremes(field.2, image.len() as u64) {
            let mut bytes = image.clone();
            set(&mut bytes, field, value);
            survive_bytes(&format!("{} = {value:#x}", field.0), bytes);
        }
    }
}

/// Tables that point at themselves, at each other, at anything: every pair of table and structure.
#[test]
fn every_table_pointing_at_every_structure() {
    let image = tiny::image();
    let clusters = (image.len() / CLUSTER) as u64;
    for name in [
        "l1_table_offset",
        "refcount_table_offset",
        "snapshots_offset",
        "bitmap_directory_offset",
        "refcount table entry",
        "L1 entry",
        "L2 entry of data",
        "snapshot l1_table_offset",
        "snapshot L1 entry",
        "bitmap_table_offset",
        "bitmap table entry",
    ] {
        for cluster in 0..=clusters {
            for flags in [0, 1 << 63, 1 << 62, 1] {
                let value = (cluster * CLUSTER as u64) | flags;
                let what = format!("{name} = {value:#x}");
                survive_bytes(&what, mutated(&[(name, value)]));
            }
        }
    }
}

/// A file on disk of `size` bytes, most of it a hole.
fn sparse(folder: &Path, size: u64, parts: &[(u64, Vec<u8>)]) -> Arc<dyn Storage> {
    use std::os::unix::fs::FileExt;
    let path = folder.join("sparse.qcow2");
    let file = fs::File::create(&path).unwrap();
    file.set_len(size).unwrap();
    for (offset, bytes) in parts {
        file.write_all_at(bytes, *offset).unwrap();
    }
    Arc::new(FileStorage::open(&path, LockMode::Read).unwrap())
}

#[test]
fn claims_beyond_reason() {
    for (what, changes) in [
        ("an L1 table of 2^31 entries", vec![("l1_size", 1 << 31)]),
        (
            "a refcount table of 2^32 clusters",
            vec![("refcount_table_clusters", u64::from(u32::MAX))],
        ),
        (
            "2^32 snapshots",
            vec![("nb_snapshots", u64::from(u32::MAX))],
        ),
        ("2^32 bitmaps", vec![("nb_bitmaps", u64::from(u32::MAX))]),
        (
            "a bitmap table of 2^27 entries",
            vec![("bitmap_table_size", 1 << 27)],
        ),
        (
            "8 EiB on the largest L1 table",
            vec![("size", i64::MAX as u64), ("l1_size", 4 << 20)],
        ),
        (
            "the largest L1 table",
            vec![("size", 8 << 40), ("l1_size", 4 << 20)],
        ),
        (
            "a snapshot of 8 EiB",
            vec![
                ("snapshot disk_size", u64::MAX),
                ("snapshot l1_size", 4 << 20),
            ],
        ),
        ("65536 snapshots", vec![("nb_snapshots", 65_536)]),
    ] {
        survive_bytes(what, mutated(&changes));
    }
}

/// The largest L1 table, full: every entry names the same L2 table.
#[test]
fn four_million_references_to_one_table() {
    let folder = common::scratch();
    let image = mutated(&[
        ("size", 8 << 40),
        ("l1_size", 4 << 20),
        ("l1_table_offset", 1 << 20),
    ]);
    let l2 = image[3 * CLUSTER..][..8].to_vec();
    let parts = [(0, image), (1 << 20, l2.repeat(4 << 20))];
    let storage = sparse(folder.path(), 40 << 20, &parts);
    survive("four million references", &storage);
}

/// A file as long as the host allows, with references all over it.
#[test]
fn references_all_over_a_giant_hole() {
    let folder = common::scratch();
    let size = 15 << 40;
    let mut random = Random(5);
    let mut image = mutated(&[
        ("size", 1 << 40),
        ("l1_size", 65_536),
        ("l1_table_offset", 1 << 20),
    ]);
    image.resize(1 << 20, 0);
    let entries = |count: u64, random: &mut Random| -> Vec<u8> {
        (0..count)
            .flat_map(|_| ((random.below(size >> 12) << 12) | (1 << 63)).to_be_bytes())
            .collect()
    };
    let l1 = entries(65_536, &mut random);
    let l2 = entries(512, &mut random);
    let parts = [(0, image), (1 << 20, l1), (4 << 12, l2)];
    let storage = sparse(folder.path(), size, &parts);
    survive("references over 15 TiB", &storage);
}

#[test]
fn compressed_bombs() {
    // What inflates to far more than a cluster, in many places at once.
    let bomb = tiny::packed(&vec![0; 32 << 20]);
    let zstd_bomb = zstd::bulk::compress(&vec![0; 32 << 20], 19).unwrap();
    for (kind, bytes) in [(0, bomb), (1, zstd_bomb)] {
        let mut image = mutated(&[
            ("compression_type", kind),
            ("incompatible_features", kind << 3),
        ]);
        let at = image.len() as u64;
        image.extend(&bytes);
        image.resize(image.len().next_multiple_of(CLUSTER), 0);
        // The longest data that an entry can claim.
        let entry = (1 << 62) | (0xf << 58) | at;
        for index in 0..512 {
            let field = ("L2 entry", 4 * CLUSTER + index * 8, 8);
            set(&mut image, field, entry);
        }
        survive_bytes(&format!("bomb of compression type {kind}"), image);
    }
}

/// Frames that ask their reader for gigabytes before the first byte.
#[test]
fn greedy_zstd_frames() {
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    for rest in [
        // A window of 2^41 bytes; one segment of 2^63 bytes; a content size of 4 GiB.
        [0x00, 0xf8, 0, 0, 0, 0, 0, 0, 0, 0].as_slice(),
        &[0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0],
        &[0xa0, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0, 0],
    ] {
        let mut image = mutated(&[("compression_type", 1), ("incompatible_features", 8)]);
        let frame = [&magic, rest].concat();
        image[9 * CLUSTER..][..frame.len()].copy_from_slice(&frame);
        survive_bytes("greedy frame", image);
    }
}

#[test]
fn backing_files_in_a_circle_and_without_end() {
    let folder = common::scratch();
    let at = |name: &str| folder.path().join(name);
    let overlay = |name: &str, backing: &str| {
        let mut image = mutated(&[
            ("backing_file_offset", 256),
            ("backing_file_size", backing.len() as u64),
        ]);
        image[256..][..backing.len()].copy_from_slice(backing.as_bytes());
        fs::write(at(name), image).unwrap();
    };
    overlay("self.qcow2", "self.qcow2");
    overlay("a.qcow2", "b.qcow2");
    overlay("b.qcow2", "./a.qcow2");
    overlay("link.qcow2", "to-link.qcow2");
    std::os::unix::fs::symlink("link.qcow2", at("to-link.qcow2")).unwrap();
    overlay(
        "json.qcow2",
        r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"json.qcow2"}}"#,
    );
    overlay("device.qcow2", "/dev/zero");
    overlay("null.qcow2", "a\0b");
    for index in 0..300 {
        overlay(
            &format!("long{index}.qcow2"),
            &format!("long{}.qcow2", index + 1),
        );
    }
    for name in ["self", "a", "link", "json", "device", "null", "long0"] {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        bounded(name, "open the chain", || {
            let options = ChainOptions::default();
            let chain = Chain::open(&at(&format!("{name}.qcow2")), &options).unwrap();
            assert!(
                chain.first_problem().is_some(),
                "{name} has no end, but no problem"
            );
            assert!(chain.disk().is_err(), "{name} reads like a whole disk");
        });
    }
}

#[test]
fn data_files_that_are_claimed() {
    // The bit without a name, and with the data file missing: described, but not read.
    let image = mutated(&[("incompatible_features", 4), ("nb_snapshots", 0)]);
    survive_bytes("a data file without a name", image.clone());
    let folder = common::scratch();
    let path = folder.path().join("claims.qcow2");
    for name in [
        "/etc/passwd",
        "",
        "../../etc/passwd",
        "nbd://localhost",
        "/dev/mem",
    ] {
        let mut bytes = image.clone();
        set(&mut bytes, field("unknown extension type"), 0x4441_5441);
        set(
            &mut bytes,
            field("unknown extension length"),
            name.len() as u64,
        );
        bytes[152..][..name.len()].copy_from_slice(name.as_bytes());
        fs::write(&path, bytes).unwrap();
        let chain = Chain::open(&path, &ChainOptions::default()).unwrap();
        assert!(
            chain.disk().is_err(),
            "reads {name:?} because an image says so"
        );
    }
}

/// An error of the header says where: file, offset and field.
#[test]
fn errors_name_file_offset_and_field() {
    let folder = common::scratch();
    let path = folder.path().join("wrong.qcow2");
    for (name, value) in [
        ("version", 9),
        ("cluster_bits", 40),
        ("l1_size", 1 << 31),
        ("l1_table_offset", 5),
        ("refcount_table_offset", 7),
        ("refcount_table_clusters", 1 << 30),
        ("refcount_order", 9),
        ("header_length", 1 << 30),
        ("backing_file_offset", 1 << 40),
        ("compression_type", 9),
    ] {
        fs::write(&path, mutated(&[(name, value)])).unwrap();
        let storage = FileStorage::open(&path, LockMode::Read).unwrap();
        let error = image::open(Arc::new(storage), Format::Qcow2).unwrap_err();
        assert_eq!(error.path(), Some(path.as_path()), "{name}: {error}");
        assert!(error.field().is_some(), "{name}: {error}");
        assert!(error.offset().is_some(), "{name}: {error}");
    }
}
