//! Maps and contents of chains are what `qemu-img map` and `qemu-img convert` say, entry by entry
//! and byte by byte.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::inputs::{Random, Scattered};
use common::{output, run, scratch, tool};
use platter::chain::{Chain, ChainOptions, MapDetail, MapEntry};
use platter::storage::Storage;
use platter::units::HostOffset;
use serde_json::Value;

/// What `qemu-img map` says about `range`, or all, of an image.
fn oracle(path: &Path, range: Option<&Range<u64>>) -> Vec<MapEntry> {
    let mut command = tool("qemu-img");
    command.args(["map", "--output=json"]);
    if let Some(range) = range {
        command.arg(format!("--start-offset={}", range.start));
        command.arg(format!("--max-length={}", range.end - range.start));
    }
    let text = run(command.arg(path));
    let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
    entries.iter().map(entry).collect()
}

fn entry(value: &Value) -> MapEntry {
    let number = |key: &str| value[key].as_u64().unwrap();
    let flag = |key: &str| value[key].as_bool().unwrap();
    let start = number("start");
    MapEntry {
        guest: start..start + number("length"),
        depth: usize::try_from(number("depth")).unwrap(),
        present: flag("present"),
        zero: flag("zero"),
        data: flag("data"),
        compressed: flag("compressed"),
        host: value
            .get("offset")
            .map(|offset| HostOffset(offset.as_u64().unwrap())),
    }
}

fn ours(chain: &Chain, range: Range<u64>) -> Vec<MapEntry> {
    let mut entries = Vec::new();
    chain
        .for_each_map_entry(range, MapDetail::HostHoles, &mut |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })
        .unwrap();
    entries
}

fn open(path: &Path) -> Chain {
    let chain = Chain::open(path, &ChainOptions::default()).unwrap();
    assert!(
        chain.first_problem().is_none(),
        "{:?}",
        chain.first_problem()
    );
    chain
}

/// Map and contents of an image, whole and in part. The maps come first: reading makes pages of
/// what was only preallocated, and the host calls those data.
fn check(path: &Path, random: &mut Random) {
    let chain = open(path);
    let size = chain.active().info().unwrap().virtual_size;
    assert_same(&ours(&chain, 0..size), &oracle(path, None));
    let start = random.below(size / 512) * 512;
    let part = start..size.min(start + 512 * (1 + random.below(4000)));
    assert_same(&ours(&chain, part.clone()), &oracle(path, Some(&part)));
    check_tables(&chain, size);
    check_contents(&chain, path, random);
}

/// Says where the maps part, not all of both.
fn assert_same(ours: &[MapEntry], oracle: &[MapEntry]) {
    for (ours, oracle) in ours.iter().zip(oracle) {
        assert_eq!(ours, oracle);
    }
    assert_eq!(ours.len(), oracle.len());
}

/// Without host holes the map says the same, only less of what is zero.
fn check_tables(chain: &Chain, size: u64) {
    let mut position = 0;
    let mut entries = Vec::new();
    chain
        .for_each_map_entry(0..u64::MAX, MapDetail::Tables, &mut |entry| {
            assert_eq!(entry.guest.start, position);
            position = entry.guest.end;
            entries.push(entry);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(position, size);
    for detailed in ours(chain, 0..size) {
        let index = entries.partition_point(|entry| entry.guest.end <= detailed.guest.start);
        let entry = &entries[index];
        assert!(entry.guest.end >= detailed.guest.end);
        assert_eq!(
            (entry.depth, entry.present, entry.data, entry.compressed),
            (
                detailed.depth,
                detailed.present,
                detailed.data,
                detailed.compressed
            )
        );
        assert!(detailed.zero || !entry.zero);
    }
}

fn check_contents(chain: &Chain, path: &Path, random: &mut Random) {
    let raw = path.with_extension("converted");
    run(tool("qemu-img")
        .args(["convert", "-O", "raw"])
        .args([path, &raw]));
    let expected = File::open(&raw).unwrap();
    let disk = chain.disk().unwrap();
    let size = disk.size().unwrap();
    assert_eq!(size, expected.metadata().unwrap().len());
    let mut buf = vec![1; 1 << 20];
    let mut reference = vec![2; 1 << 20];
    let mut compare = |start: u64, length: u64| {
        let length = usize::try_from(length).unwrap();
        disk.read_at(&mut buf[..length], start).unwrap();
        expected
            .read_exact_at(&mut reference[..length], start)
            .unwrap();
        assert!(
            buf[..length] == reference[..length],
            "{} {start}+{length}",
            path.display()
        );
    };
    let mut position = 0;
    while position < size {
        let length = (size - position).min(1 << 20);
        compare(position, length);
        position += length;
    }
    for _ in 0..20 {
        let start = random.below(size);
        compare(start, (1 + random.below(200_000)).min(size - start));
    }
    disk.for_each_run(0..size, &mut |run| {
        for start in run.range.clone().step_by(1 << 20).filter(|_| run.hole) {
            let length = usize::try_from((run.range.end - start).min(1 << 20)).unwrap();
            expected
                .read_exact_at(&mut reference[..length], start)
                .unwrap();
            assert!(reference[..length].iter().all(|&byte| byte == 0));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    std::fs::remove_file(raw).unwrap();
}

/// Options of `qemu-img create` for one layer, and the alignment of compressed writes to it.
const OPTIONS: [(&str, u64); 12] = [
    ("cluster_size=64k", 65536),
    ("cluster_size=512", 512),
    ("cluster_size=4k,refcount_bits=1", 4096),
    ("cluster_size=2M", 2 << 20),
    ("extended_l2=on", 65536),
    ("extended_l2=on,cluster_size=16k", 16384),
    ("preallocation=metadata", 65536),
    ("preallocation=falloc", 65536),
    ("compat=0.10", 65536),
    ("compression_type=zstd", 65536),
    ("lazy_refcounts=on", 65536),
    ("data_file=", 0),
];

fn create(path: &Path, size: u64, options: &str, backing: Option<(&Path, &str)>) {
    let mut command = tool("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-o"]);
    let data_file = path.with_extension("data");
    command.arg(match options {
        "data_file=" if backing.is_none() && size.is_multiple_of(1024) => {
            format!("data_file={},data_file_raw=on", data_file.display())
        }
        "data_file=" => format!("data_file={}", data_file.display()),
        _ => options.to_owned(),
    });
    if let Some((backing, format)) = backing {
        command
            .arg("-b")
            .arg(backing.file_name().unwrap())
            .args(["-F", format]);
    }
    run(command.arg(path).arg(size.to_string()));
}

/// Some random writes of every kind, by one `qemu-io`.
fn scribble(path: &Path, format: &str, size: u64, compressed: u64, random: &mut Random) {
    let mut command = tool("qemu-io");
    command.args(["-f", format]);
    for _ in 0..2 + random.below(10) {
        let unit = [512, 4096, 65536][usize::try_from(random.below(3)).unwrap()];
        let start = random.below(size / 512) * 512 / unit * unit;
        let length = (unit * (1 + random.below(6))).min(size - start);
        let action = match random.below(8) {
            0 => "write -z".to_owned(),
            1 => "write -z -u".to_owned(),
            2 => "discard".to_owned(),
            3 if compressed != 0 && size >= compressed => {
                let start = random.below(size / compressed) * compressed;
                let pattern = 1 + random.below(255);
                command.args(["-c", &format!("write -c -P {pattern} {start} {compressed}")]);
                continue;
            }
            _ => format!("write -P {}", 1 + random.below(255)),
        };
        command.args(["-c", &format!("{action} {start} {length}")]);
    }
    // A compressed write where a cluster is already is refused; the other writes count all the same.
    let told = output(command.arg(path));
    assert!(String::from_utf8_lossy(&told.stdout).contains(" bytes at offset "));
}

/// Sizes around `size`, so that backing files are shorter and longer than their overlays.
fn near(size: u64, random: &mut Random) -> u64 {
    match random.below(3) {
        0 => size,
        1 => size / 2 / 512 * 512 + 512,
        _ => size + random.below(3000) * 512,
    }
}

/// A chain of random layers; the path of the active one.
fn random_chain(folder: &Path, depth: usize, random: &mut Random) -> PathBuf {
    let mut size = (1 + random.below(6000)) * 512;
    let mut below: Option<(PathBuf, &str)> = None;
    for layer in 0..depth {
        let path = folder.join(format!("layer{layer}"));
        let is_raw = layer == 0 && depth > 1 && random.below(3) == 0;
        let (format, compressed) = if is_raw {
            File::create(&path).unwrap().set_len(size).unwrap();
            ("raw", 0)
        } else {
            let (options, compressed) = OPTIONS[usize::try_from(random.below(12)).unwrap()];
            let backing = below
                .as_ref()
                .map(|(path, format)| (path.as_path(), *format));
            // With a backing file, only subclusters can be preallocated.
            let options = match (options.strip_prefix("preallocation="), backing) {
                (Some(_), Some(_)) => "preallocation=metadata,extended_l2=on",
                _ => options,
            };
            create(&path, size, options, backing);
            ("qcow2", compressed)
        };
        scribble(&path, format, size, compressed, random);
        below = Some((path, format));
        size = near(size, random);
    }
    below.unwrap().0
}

fn random_chains(depth: usize, count: u64) {
    for seed in 0..count {
        let mut random = Random(seed * 4 + depth as u64);
        let folder = scratch();
        let active = random_chain(folder.path(), depth, &mut random);
        println!("seed {seed}, depth {depth}: {}", active.display());
        check(&active, &mut random);
    }
}

#[test]
fn random_images() {
    random_chains(1, 24);
}

#[test]
fn random_chains_of_two() {
    random_chains(2, 20);
}

#[test]
fn random_chains_of_three() {
    random_chains(3, 14);
}

#[test]
fn random_chains_of_four() {
    random_chains(4, 14);
}

#[test]
fn raw_files() {
    for (seed, size) in [512, 1000, 4096, 100_001, 3 << 20].into_iter().enumerate() {
        let mut random = Random(seed as u64);
        let folder = scratch();
        let path = folder.path().join("disk.raw");
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        for _ in 0..random.below(20) {
            file.write_all_at(b"data", random.below(size)).unwrap();
        }
        check(&path, &mut random);
    }
}

#[test]
fn images_cut_short() {
    let folder = scratch();
    let path = folder.path().join("cut.qcow2");
    create(&path, 2 << 20, "preallocation=metadata", None);
    run(tool("qemu-io")
        .args(["-c", "write -P 1 100k 100k"])
        .arg(&path));
    let file = File::options().write(true).open(&path).unwrap();
    for bytes in [1000, 65536, 400_000] {
        file.set_len(file.metadata().unwrap().len() - bytes)
            .unwrap();
        check(&path, &mut Random(bytes));
    }
}

#[test]
fn scattered_clusters() {
    for tables_between in [false, true] {
        let folder = scratch();
        let path = folder.path().join("scattered.qcow2");
        let image = Scattered {
            clusters: 3000,
            tables_between,
            ..Scattered::small()
        };
        image.write(&path).unwrap();
        let overlay = folder.path().join("overlay.qcow2");
        create(
            &overlay,
            image.virtual_size,
            "extended_l2=on",
            Some((&path, "qcow2")),
        );
        scribble(&overlay, "qcow2", image.virtual_size, 65536, &mut Random(7));
        for path in [path, overlay] {
            let chain = open(&path);
            assert_same(&ours(&chain, 0..u64::MAX), &oracle(&path, None));
        }
    }
}
