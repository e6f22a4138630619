//! QCOW2 as qemu-img and qemu-io write it, in every variant that they know: the facts are those
//! of `qemu-img info`, the bytes those of `qemu-img convert`, the extents those of `qemu-img map`.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platter::image::{
    self, Extent, ExtentState, Format, FormatDetails, ImageDriver, ImageInfo, SnapshotSelector,
};
use platter::storage::{FileStorage, LockMode, Storage};
use platter::units::{GuestOffset, KIB, MIB};
use serde_json::Value;

use common::inputs::Random;
use common::{run, run_tool, scratch, tool};

/// How an image is made: options of `qemu-img create`, and what `qemu-io` then does to it.
struct Variant {
    name: &'static str,
    options: &'static str,
    size: u64,
    cluster: u64,
    /// Whether compressed clusters can be written.
    compressed: bool,
    /// Whether there are zero clusters.
    zeroes: bool,
}

const fn variant(name: &'static str, options: &'static str, cluster: u64) -> Variant {
    Variant {
        name,
        options,
        size: cluster * if cluster < 256 * KIB { 75 } else { 11 } + 1536,
        cluster,
        compressed: true,
        zeroes: true,
    }
}

const VARIANTS: [Variant; 21] = [
    // 512-byte clusters: an L2 table maps 32 KiB, so there are many.
    Variant {
        size: 700 * KIB + 512,
        ..variant("c512", "cluster_size=512", 512)
    },
    variant("c1k", "cluster_size=1k,compression_type=zstd", KIB),
    variant("c4k", "cluster_size=4k", 4 * KIB),
    variant("c64k", "cluster_size=64k", 64 * KIB),
    variant(
        "c256k",
        "cluster_size=256k,compression_type=zstd",
        256 * KIB,
    ),
    variant("c2m", "cluster_size=2M", 2 * MIB),
    variant("c2m-zstd", "cluster_size=2M,compression_type=zstd", 2 * MIB),
    Variant {
        zeroes: false,
        ..variant("v2", "compat=0.10", 64 * KIB)
    },
    Variant {
        zeroes: false,
        ..variant("v2-c512", "compat=0.10,cluster_size=512", 512)
    },
    variant("zstd", "compression_type=zstd", 64 * KIB),
    variant("lazy", "lazy_refcounts=on", 64 * KIB),
    variant("rc1", "refcount_bits=1", 64 * KIB),
    variant("rc2", "refcount_bits=2,cluster_size=4k", 4 * KIB),
    variant("rc8", "refcount_bits=8,cluster_size=4k", 4 * KIB),
    variant("rc64", "refcount_bits=64", 64 * KIB),
    variant("ext16k", "extended_l2=on,cluster_size=16k", 16 * KIB),
    variant("ext128k", "extended_l2=on,cluster_size=128k", 128 * KIB),
    variant(
        "ext2m-zstd",
        "extended_l2=on,cluster_size=2M,compression_type=zstd",
        2 * MIB,
    ),
    Variant {
        compressed: false,
        ..variant("prealloc", "preallocation=metadata", 64 * KIB)
    },
    Variant {
        compressed: false,
        ..variant("data-file", "data_file=data-file.raw", 64 * KIB)
    },
    Variant {
        compressed: false,
        ..variant(
            "data-file-raw",
            "data_file=data-file-raw.raw,data_file_raw=on,cluster_size=4k",
            4 * KIB,
        )
    },
];

#[test]
fn every_variant_reads_as_qemu_reads_it() {
    let folder = scratch();
    let source = folder.path().join("source");
    fs::write(&source, mixed_bytes(4 * MIB)).unwrap();
    for (seed, variant) in (1..).zip(&VARIANTS) {
        let path = folder.path().join(format!("{}.qcow2", variant.name));
        create(&path, variant.options, variant.size);
        write_randomly(&path, variant, &source, &mut Random(seed));
        compare(&path, variant.name);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn converted_images_read_as_qemu_reads_them() {
    let folder = scratch();
    let raw = folder.path().join("source.raw");
    // Not a multiple of the cluster size; zeroes and noise between.
    let mut bytes = mixed_bytes(3 * MIB + 512);
    bytes[MIB as usize..MIB as usize + 300_000].fill(0);
    fs::write(&raw, bytes).unwrap();
    for options in [
        "cluster_size=64k",
        "cluster_size=64k,compression_type=zstd",
        "cluster_size=512",
        "cluster_size=2M,compression_type=zstd",
        "compat=0.10",
        "extended_l2=on,cluster_size=64k",
    ] {
        let path = folder.path().join("converted.qcow2");
        run(tool("qemu-img")
            .args(["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options])
            .args([&raw, &path]));
        compare(&path, options);
    }
}

#[test]
fn snapshots_read_as_the_disk_was() {
    let folder = scratch();
    let source = folder.path().join("source");
    fs::write(&source, mixed_bytes(MIB)).unwrap();
    for (seed, options) in (100..).zip(["", "compat=0.10", "extended_l2=on", "cluster_size=512"]) {
        let path = folder.path().join("snapshots.qcow2");
        let options = if options.is_empty() {
            "cluster_size=64k"
        } else {
            options
        };
        let cluster = if options.contains("512") {
            512
        } else {
            64 * KIB
        };
        let mut variant = Variant {
            zeroes: !options.contains("0.10"),
            ..variant("snapshots", "", cluster)
        };
        create(&path, options, variant.size);
        let mut random = Random(seed);
        for name in ["first", "2", "dritter Zustand"] {
            write_randomly(&path, &variant, &source, &mut random);
            variant.compressed = false;
            run(tool("qemu-img").args(["snapshot", "-c", name]).arg(&path));
        }
        write_randomly(&path, &variant, &source, &mut random);
        compare(&path, options);

        let image = open(&path);
        for (index, name) in ["first", "2", "dritter Zustand"].into_iter().enumerate() {
            let raw = folder.path().join("snapshot.raw");
            run(tool("qemu-img")
                .args(["convert", "-O", "raw", "-l"])
                .arg(format!("snapshot.name={name}"))
                .args([&path, &raw]));
            let view = image
                .snapshot_view(&SnapshotSelector::Name(name.into()))
                .unwrap();
            assert!(
                read_all(view.as_ref(), 100_000) == fs::read(&raw).unwrap(),
                "{options} {name}"
            );
            let id = (index + 1).to_string();
            let by_id = image.snapshot_view(&SnapshotSelector::Id(id)).unwrap();
            assert_eq!(by_id.virtual_size(), view.virtual_size());
        }
        let nobody = image.snapshot_view(&SnapshotSelector::Any("nobody".into()));
        assert_eq!(nobody.unwrap_err().kind(), platter::ErrorKind::NotFound);
        // "2" is the id of the second and the name of the second: ids come first.
        let any = image.snapshot_view(&SnapshotSelector::Any("2".into()));
        assert!(any.is_ok());
    }
}

#[test]
fn bitmaps_are_listed_as_qemu_lists_them() {
    let folder = scratch();
    let path = folder.path().join("bitmaps.qcow2");
    create(&path, "cluster_size=64k", 64 * MIB);
    for (name, arguments) in [
        ("daily", vec!["--add", "--enable"]),
        ("weekly, with a long name", vec!["--add", "-g", "512"]),
        ("coarse", vec!["--add", "--disable", "-g", "2G"]),
    ] {
        run(tool("qemu-img")
            .arg("bitmap")
            .args(arguments)
            .arg(&path)
            .arg(name));
    }
    compare(&path, "bitmaps");

    // A program that does not know bitmaps clears the autoclear bit: then they do not count.
    let mut bytes = fs::read(&path).unwrap();
    assert_eq!(bytes[95] & 1, 1);
    bytes[95] &= !1;
    fs::write(&path, &bytes).unwrap();
    compare(&path, "stale bitmaps");
}

#[test]
fn backing_files_are_named_as_qemu_names_them() {
    let folder = scratch();
    let base = folder.path().join("base.raw");
    fs::write(&base, mixed_bytes(MIB)).unwrap();
    let path = folder.path().join("overlay.qcow2");
    run(tool("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw"])
        .arg(&path)
        .current_dir(folder.path()));
    run(tool("qemu-io").args(["-c", "write 64k 64k"]).arg(&path));
    let image = open(&path);
    compare_facts(image.info(), &info(&path), "overlay");
    // What the image does not hold is for the backing file.
    let mut buf = vec![7; 256 << 10];
    let mut missing = Vec::new();
    image
        .read_at(&mut buf, GuestOffset(1000), &mut missing)
        .unwrap();
    assert_eq!(missing, [1000..64 * KIB, 128 * KIB..256 * KIB + 1000]);
    assert!(buf[..64_536].iter().all(|byte| *byte == 7));
}

#[test]
fn states_are_those_that_qemu_says() {
    let folder = scratch();
    let path = folder.path().join("image.qcow2");
    create(&path, "lazy_refcounts=on", MIB);
    let clean = fs::read(&path).unwrap();
    for bits in 0..4 {
        let mut bytes = clean.clone();
        bytes[79] = bits;
        fs::write(&path, bytes).unwrap();
        compare_facts(open(&path).info(), &info(&path), "dirty, corrupt");
    }
    for format in ["aes", "luks"] {
        let path = folder.path().join(format);
        run(tool("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .args(["--object", "secret,id=s,data=secret"])
            .args([
                "-o",
                &format!("encrypt.format={format},encrypt.key-secret=s"),
            ])
            .args(if format == "luks" {
                ["-o", "encrypt.iter-time=10"].as_slice()
            } else {
                &[]
            })
            .arg(&path)
            .arg("1M"));
        let theirs = info(&path);
        assert_eq!(theirs["encrypted"], true);
        assert_eq!(
            theirs["format-specific"]["data"]["encrypt"]["format"],
            format
        );
        let image = open(&path);
        assert_eq!(image.info().encryption.as_deref(), Some(format));
        compare_facts(image.info(), &theirs, format);
    }
}

#[test]
fn threads_read_what_one_reads() {
    let folder = scratch();
    let raw = folder.path().join("source.raw");
    let reference = mixed_bytes(8 * MIB);
    fs::write(&raw, &reference).unwrap();
    for options in ["compression_type=zstd", "cluster_size=4k"] {
        let path = folder.path().join("image.qcow2");
        run(tool("qemu-img")
            .args(["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options])
            .args([&raw, &path]));
        let image = open(&path);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (image, reference) = (&image, &reference);
                scope.spawn(move || {
                    let mut random = Random(1000 + thread);
                    let mut buf = vec![0; 300_000];
                    for _ in 0..60 {
                        let length = random.below(300_000) + 1;
                        let start = random.below(8 * MIB - length);
                        let part = &mut buf[..usize::try_from(length).unwrap()];
                        part.fill(0xee);
                        read(image.as_ref(), part, start);
                        let start = usize::try_from(start).unwrap();
                        assert!(*part == reference[start..start + part.len()]);
                    }
                });
            }
        });
    }
}

/// Text-like and noisy stretches: compresses, but not to nothing.
fn mixed_bytes(length: u64) -> Vec<u8> {
    let mut random = Random(42);
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let noisy = random.below(4) == 0;
        for _ in 0..random.below(40_000) / 8 {
            let word = random.next();
            let word = if noisy {
                word
            } else {
                word & 0x0303_0000_0f01_0001
            };
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }
    bytes.truncate(usize::try_from(length).unwrap());
    bytes
}

fn create(path: &Path, options: &str, size: u64) {
    run(tool("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-o", options])
        .arg(path)
        .arg(size.to_string())
        .current_dir(path.parent().unwrap()));
}

/// Writes of all kinds, at random places, in one run of `qemu-io`. Compressed clusters come first:
/// they can only be written where nothing is yet.
fn write_randomly(path: &Path, variant: &Variant, source: &Path, random: &mut Random) {
    let mut command = tool("qemu-io");
    command.current_dir(path.parent().unwrap());
    let source = source.display();
    let clusters = variant.size / variant.cluster;
    for cluster in 0..if variant.compressed { clusters } else { 0 } {
        let data = match random.below(8) {
            0 | 1 => format!("-s {source}"),
            2 => format!("-P {}", random.below(200) + 1),
            _ => continue,
        };
        let start = cluster * variant.cluster;
        let write = format!("write -c {data} {start} {}", variant.cluster);
        command.args(["-c", &write]);
    }
    for _ in 0..40 {
        let aligned = random.below(clusters) * variant.cluster;
        let sectors = random.below(variant.cluster * 3 / 512) + 1;
        let start = random.below(variant.size / 512 - 1) * 512;
        let length = (sectors * 512).min(variant.size - start);
        command.arg("-c").arg(match random.below(6) {
            0 if variant.zeroes => format!("write -z {start} {length}"),
            1 if variant.zeroes => format!("write -z -u {aligned} {}", variant.cluster),
            2 => format!("discard {aligned} {}", variant.cluster),
            3 => format!("write -s {source} {start} {length}"),
            _ => format!("write -P {} {start} {length}", random.below(255) + 1),
        });
    }
    run(command.arg(path));
}

fn file(path: &Path) -> Arc<dyn Storage> {
    Arc::new(FileStorage::open(path, LockMode::Read).unwrap())
}

fn open(path: &Path) -> Box<dyn ImageDriver> {
    let mut image = image::open(file(path), Format::Qcow2).unwrap();
    if let Some(reference) = image.info().data_file.clone() {
        let data = path.parent().unwrap().join(reference.name);
        image.attach_data_file(file(&data)).unwrap();
    }
    image
}

fn info(path: &Path) -> Value {
    let text = run_tool(
        "qemu-img",
        ["info", "--output=json", path.to_str().unwrap()],
    );
    serde_json::from_str(&text).unwrap()
}

/// Compares facts, bytes and extents with QEMU's.
fn compare(path: &Path, what: &str) {
    let image = open(path);
    compare_facts(image.info(), &info(path), what);

    let raw = path.with_extension("converted");
    run(tool("qemu-img")
        .args(["convert", "-O", "raw"])
        .arg(path)
        .arg(&raw)
        .current_dir(path.parent().unwrap()));
    let expected = fs::read(&raw).unwrap();
    for chunk in [1 << 20, 77_777] {
        assert!(
            read_all(image.as_ref(), chunk) == expected,
            "{what}: {chunk}"
        );
    }
    compare_extents(image.as_ref(), &expected, path, what);
}

fn compare_facts(ours: &ImageInfo, theirs: &Value, what: &str) {
    let details = &theirs["format-specific"]["data"];
    let FormatDetails::Qcow2(own) = &ours.details else {
        panic!("not qcow2");
    };
    assert_eq!(theirs["virtual-size"], ours.virtual_size, "{what}");
    assert_eq!(theirs["cluster-size"], ours.cluster_size.unwrap(), "{what}");
    assert_eq!(theirs["dirty-flag"], ours.dirty, "{what}");
    let compat = if own.version == 3 { "1.1" } else { "0.10" };
    assert_eq!(details["compat"], compat, "{what}");
    assert_eq!(details["compression-type"], own.compression, "{what}");
    assert_eq!(details["refcount-bits"], own.refcount_bits, "{what}");
    if own.version == 3 {
        assert_eq!(details["lazy-refcounts"], own.lazy_refcounts, "{what}");
        assert_eq!(details["corrupt"], ours.corrupt, "{what}");
        assert_eq!(details["extended-l2"], own.extended_l2, "{what}");
    }
    let data_file = ours.data_file.as_ref().map(|file| file.name.as_str());
    assert_eq!(details["data-file"].as_str(), data_file, "{what}");
    let data_file_raw = data_file.map(|_| own.data_file_raw);
    assert_eq!(details["data-file-raw"].as_bool(), data_file_raw, "{what}");

    let backing = ours.backing.as_ref();
    assert_eq!(
        theirs["backing-filename"].as_str(),
        backing.map(|file| file.name.as_str()),
        "{what}"
    );
    assert_eq!(
        theirs["backing-filename-format"].as_str(),
        backing.and_then(|file| file.format.as_deref()),
        "{what}"
    );
    assert_eq!(snapshots_as_json(ours), theirs["snapshots"], "{what}");
    assert_eq!(bitmaps_as_json(ours), details["bitmaps"], "{what}");
}

fn snapshots_as_json(info: &ImageInfo) -> Value {
    if info.snapshots.is_empty() {
        return Value::Null;
    }
    info.snapshots
        .iter()
        .map(|snapshot| {
            let mut json = serde_json::json!({
                "id": snapshot.id,
                "name": snapshot.name,
                "vm-state-size": snapshot.vm_state_size,
                "date-sec": snapshot.date.as_secs(),
                "date-nsec": snapshot.date.subsec_nanos(),
                "vm-clock-sec": snapshot.vm_clock.as_secs(),
                "vm-clock-nsec": snapshot.vm_clock.subsec_nanos(),
            });
            if let Some(icount) = snapshot.icount {
                json["icount"] = icount.into();
            }
            json
        })
        .collect()
}

fn bitmaps_as_json(info: &ImageInfo) -> Value {
    let FormatDetails::Qcow2(own) = &info.details else {
        return Value::Null;
    };
    assert_eq!(own.bitmaps_damage, None);
    if own.bitmaps.is_empty() {
        return Value::Null;
    }
    own.bitmaps
        .iter()
        .map(|bitmap| {
            let mut flags = Vec::new();
            if bitmap.in_use {
                flags.push("in-use");
            }
            if bitmap.auto {
                flags.push("auto");
            }
            serde_json::json!({
                "name": bitmap.name,
                "granularity": bitmap.granularity,
                "flags": flags,
            })
        })
        .collect()
}

/// Reads with zeroes for what the image does not hold.
fn read(image: &dyn ImageDriver, buf: &mut [u8], offset: u64) {
    let mut missing = Vec::new();
    image
        .read_at(buf, GuestOffset(offset), &mut missing)
        .unwrap();
    for range in missing {
        let at = |guest: u64| usize::try_from(guest - offset).unwrap();
        buf[at(range.start)..at(range.end)].fill(0);
    }
}

fn read_all(image: &dyn ImageDriver, chunk: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::try_from(image.virtual_size()).unwrap()];
    let mut offset = 0;
    for part in bytes.chunks_mut(chunk) {
        read(image, part, offset);
        offset += part.len() as u64;
    }
    bytes
}

fn extents(image: &dyn ImageDriver, range: Range<u64>) -> Vec<Extent> {
    let mut extents = Vec::new();
    image
        .for_each_extent(range, &mut |extent| {
            extents.push(extent);
            ControlFlow::Continue(())
        })
        .unwrap();
    extents
}

fn compare_extents(image: &dyn ImageDriver, content: &[u8], path: &Path, what: &str) {
    let size = image.virtual_size();
    let all = extents(image, 0..u64::MAX);
    let mut next = 0;
    for pair in all.windows(2) {
        assert!(!pair[0].continues_with(&pair[1]), "{what}: {pair:?}");
    }
    for extent in &all {
        assert_eq!(extent.guest.start, next, "{what}");
        next = extent.guest.end;
        let guest = usize::try_from(extent.guest.start).unwrap()
            ..usize::try_from(extent.guest.end).unwrap();
        let content = &content[guest];
        match extent.state {
            ExtentState::Data { host } => {
                let mut bytes = vec![0; content.len()];
                let data = image.data_storage();
                data.read_padded_at(&mut bytes, host.0).unwrap();
                assert!(bytes == content, "{what}: {extent:?}");
            }
            ExtentState::Compressed => {}
            ExtentState::Zero { .. } | ExtentState::Unallocated { .. } => {
                assert!(content.iter().all(|byte| *byte == 0), "{what}: {extent:?}");
            }
        }
    }
    assert_eq!(next, size, "{what}");
    // A part of the disk has the parts of the extents.
    let middle = size / 3 / 512 * 512..size / 3 / 512 * 1024;
    let parts = extents(image, middle.clone());
    assert_eq!(parts.first().unwrap().guest.start, middle.start, "{what}");
    assert_eq!(parts.last().unwrap().guest.end, middle.end, "{what}");
    for part in &parts {
        let whole = all
            .iter()
            .find(|extent| extent.guest.contains(&part.guest.start));
        let whole = extents_state_at(whole.unwrap(), part.guest.start);
        assert_eq!(part.state, whole, "{what}");
    }
    compare_map(&all, path, what);
}

fn extents_state_at(extent: &Extent, guest: u64) -> ExtentState {
    let skipped = guest - extent.guest.start;
    let further = |host: platter::units::HostOffset| host.checked_add(skipped).unwrap();
    match extent.state {
        ExtentState::Data { host } => ExtentState::Data {
            host: further(host),
        },
        ExtentState::Zero { host } => ExtentState::Zero {
            host: host.map(further),
        },
        ExtentState::Unallocated { host } => ExtentState::Unallocated {
            host: host.map(further),
        },
        ExtentState::Compressed => ExtentState::Compressed,
    }
}

/// Every entry of QEMU's map says of its first byte what our extent says.
fn compare_map(extents: &[Extent], path: &Path, what: &str) {
    let text = run(tool("qemu-img")
        .args(["map", "--output=json"])
        .arg(path)
        .current_dir(path.parent().unwrap()));
    let map: Vec<Value> = serde_json::from_str(&text).unwrap();
    for entry in map {
        let start = entry["start"].as_u64().unwrap();
        let extent = extents
            .iter()
            .find(|extent| extent.guest.contains(&start))
            .unwrap();
        let state = extents_state_at(extent, start);
        let host = match state {
            ExtentState::Data { host } => Some(host),
            ExtentState::Zero { host } | ExtentState::Unallocated { host } => host,
            ExtentState::Compressed => None,
        };
        assert_eq!(
            entry["offset"].as_u64(),
            host.map(|host| host.0),
            "{what}: {entry} {state:?}"
        );
        let compressed = state == ExtentState::Compressed;
        assert_eq!(entry["compressed"], compressed, "{what}: {entry}");
        let present = !matches!(state, ExtentState::Unallocated { .. });
        assert_eq!(entry["present"], present, "{what}: {entry}");
    }
}

#[test]
fn probing_agrees_with_qemu_on_what_it_makes() {
    let folder = scratch();
    let made: [(&str, &str, &str, Format); 15] = [
        ("raw", "", "raw", Format::Raw),
        ("qcow2", "", "qcow2", Format::Qcow2),
        ("qcow", "", "qcow", Format::Qcow1),
        ("qed", "", "qed", Format::Qed),
        ("vdi", "", "vdi", Format::Vdi),
        ("vhdx", "", "vhdx", Format::Vhdx),
        ("vhdx", "subformat=fixed", "vhdx", Format::Vhdx),
        ("vpc", "subformat=dynamic", "vpc", Format::Vhd),
        ("vpc", "subformat=fixed", "raw", Format::Vhd),
        ("parallels", "", "parallels", Format::Parallels),
        ("vmdk", "subformat=monolithicSparse", "vmdk", Format::Vmdk),
        ("vmdk", "subformat=monolithicFlat", "vmdk", Format::Vmdk),
        (
            "vmdk",
            "subformat=twoGbMaxExtentSparse",
            "vmdk",
            Format::Vmdk,
        ),
        ("vmdk", "subformat=streamOptimized", "vmdk", Format::Vmdk),
        ("luks", "", "luks", Format::Luks),
    ];
    for (index, (format, options, probed, expected)) in made.into_iter().enumerate() {
        let path: PathBuf = folder.path().join(format!("{index}.image"));
        let mut command = tool("qemu-img");
        command.args(["create", "-q", "-f", format]);
        if format == "luks" {
            command.args(["--object", "secret,id=s,data=secret"]);
            command.args(["-o", "key-secret=s,iter-time=10"]);
        } else if !options.is_empty() {
            command.args(["-o", options]);
        }
        run(command.arg(&path).arg("8M"));
        let found = image::probe(file(&path).as_ref()).unwrap();
        assert_eq!(found.format, expected, "{format} {options}");
        assert_eq!(found.qemu_format.name(), probed, "{format} {options}");
        assert_eq!(info(&path)["format"], probed, "{format} {options}");
        let opened = image::open(file(&path), expected);
        match opened {
            Ok(_) => assert!(expected.is_readable()),
            Err(error) => assert_eq!(error.kind(), platter::ErrorKind::Unsupported),
        }
    }
}
