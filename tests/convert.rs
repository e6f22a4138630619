//! `convert` beside `qemu-img`: the same complaints, and disks that each reads as the other wrote
//! them, over a matrix of sources and targets.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and works with small numbers"
)]

mod common;
#[path = "cli/same.rs"]
mod same;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use common::inputs::Random;
use common::{ours, output, run, tool};
use same::Stand;

/// Bytes of the disk that is converted; not a multiple of the larger clusters.
const SIZE: u64 = (12 << 20) + 512;

/// A sparse disk with noise, text and written zeroes, from a sector to some clusters long.
fn make_disk(path: &Path, seed: u64) {
    let file = File::create(path).unwrap();
    file.set_len(SIZE).unwrap();
    let mut random = Random(seed);
    for index in 0..60 {
        let at = random.below(SIZE - (200 << 10)) / 512 * 512;
        let length = [512, 4096, 5120, 65536, 150 << 10][usize::try_from(random.below(5)).unwrap()];
        let bytes: Vec<u8> = match random.below(4) {
            0 => vec![0; length],
            1 => (0..length).map(|_| random.below(256) as u8).collect(),
            _ => format!("this is line {index} ")
                .bytes()
                .cycle()
                .take(length)
                .collect(),
        };
        file.write_all_at(&bytes, at).unwrap();
    }
    file.write_all_at(b"the end", SIZE - 512).unwrap();
}

/// The same disk in every form that a source has: raw, plain, compressed both ways, and as an
/// overlay on an overlay.
fn make_sources(folder: &Path) -> Vec<&'static str> {
    make_disk(&folder.join("disk.raw"), 42);
    let convert = |words: &str| {
        let words = words.split(' ');
        run(tool("qemu-img")
            .arg("convert")
            .args(words)
            .current_dir(folder));
    };
    convert("-O qcow2 disk.raw plain.qcow2");
    convert("-c -O qcow2 disk.raw zlib.qcow2");
    convert("-c -O qcow2 -o compression_type=zstd disk.raw zstd.qcow2");
    convert("-O qcow2 -o extended_l2=on,cluster_size=16k disk.raw sub.qcow2");
    convert("-O qcow2 -o preallocation=metadata disk.raw mapped.qcow2");
    for (name, base, size) in [
        ("middle.qcow2", "zlib.qcow2", "4k"),
        ("top.qcow2", "middle.qcow2", "64k"),
    ] {
        let options = format!("cluster_size={size}");
        run(tool("qemu-img")
            .args([
                "create", "-qf", "qcow2", "-F", "qcow2", "-b", base, "-o", &options, name,
            ])
            .current_dir(folder));
        run(tool("qemu-io")
            .args([
                "-c",
                "write -P 5 1M 300k",
                "-c",
                "write -z 3M 100k",
                "-c",
                "write -P 6 8191k 5k",
            ])
            .arg(name)
            .current_dir(folder));
    }
    vec![
        "disk.raw",
        "plain.qcow2",
        "zlib.qcow2",
        "zstd.qcow2",
        "sub.qcow2",
        "mapped.qcow2",
        "top.qcow2",
    ]
}

const TARGETS: [&str; 25] = [
    "-O raw",
    "-O raw -S 0",
    "-O raw -S 64k",
    "-O raw -o preallocation=falloc",
    "-O qcow2",
    "-O qcow2 -S 0",
    "-O qcow2 -S 1M",
    "-O qcow2 -m 1",
    "-O qcow2 -W -m 16",
    "-O qcow2 -o cluster_size=512",
    "-O qcow2 -o cluster_size=2M",
    "-O qcow2 -o compat=0.10",
    "-O qcow2 -o refcount_bits=1",
    "-O qcow2 -o refcount_bits=64",
    "-O qcow2 -o extended_l2=on",
    "-O qcow2 -o extended_l2=on,cluster_size=16k,preallocation=metadata",
    "-O qcow2 -o preallocation=metadata",
    "-O qcow2 -o preallocation=full,cluster_size=4k",
    "-O qcow2 -o lazy_refcounts=on",
    "-c -O qcow2",
    "-c -O qcow2 -o cluster_size=512",
    "-c -O qcow2 -o cluster_size=2M,compression_type=zstd",
    "-c -O qcow2 -o compression_type=zstd",
    "-c -O qcow2 -o refcount_bits=2,cluster_size=4k",
    "-c -O qcow2 -o extended_l2=on,compression_type=zstd",
];

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(' ')
}

/// `qemu-img` finds nothing wrong with `image`, and the disk of `source` in it.
#[track_caller]
fn assert_is_copy(folder: &Path, image: &str, source: &str, what: &str) {
    let compared = output(
        tool("qemu-img")
            .args(["compare", image, source])
            .current_dir(folder),
    );
    assert!(compared.status.success(), "{what}: {compared:?}");
    if image.ends_with(".qcow2") {
        let checked = output(tool("qemu-img").args(["check", image]).current_dir(folder));
        assert!(checked.status.success(), "{what}: {checked:?}");
    }
}

#[test]
fn every_source_becomes_every_target() {
    let folder = common::scratch();
    let folder = folder.path();
    let sources = make_sources(folder);
    let cases: Vec<(&str, &str)> = sources
        .iter()
        .flat_map(|source| TARGETS.iter().map(|target| (*source, *target)))
        .collect();
    let (left, right) = cases.split_at(cases.len() / 2);
    let convert_all = |cases: &[(&str, &str)], thread: &str| {
        for (source, target) in cases {
            let name = if target.contains("-O raw") {
                format!("{thread}.raw")
            } else {
                format!("{thread}.qcow2")
            };
            let what = format!("{target} {source}");
            run(ours()
                .arg("convert")
                .args(words(target))
                .args([source, name.as_str()])
                .current_dir(folder));
            assert_is_copy(folder, &name, source, &what);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| convert_all(left, "left"));
        convert_all(right, "right");
    });
}

#[test]
fn targets_take_no_more_space_than_those_of_qemu() {
    let folder = common::scratch();
    let folder = folder.path();
    make_sources(folder);
    let allocated = |name: &str| fs::metadata(folder.join(name)).unwrap().blocks() * 512;
    for target in [
        "-O raw",
        "-O qcow2",
        "-O qcow2 -o cluster_size=4k",
        "-O qcow2 -o extended_l2=on",
        "-O qcow2 -o preallocation=metadata",
        "-c -O qcow2",
        "-c -O qcow2 -o compression_type=zstd",
    ] {
        for (program, name) in [(ours(), "ours"), (tool("qemu-img"), "theirs")] {
            let mut program = program;
            run(program
                .arg("convert")
                .args(words(target))
                .args(["plain.qcow2", name])
                .current_dir(folder));
        }
        let (ours, theirs) = (allocated("ours"), allocated("theirs"));
        // The codecs are not the same: their output may be two hundredths longer.
        let most = theirs + theirs / 50;
        assert!(ours <= most, "{target}: {ours} bytes, not {theirs}");
    }
}

#[test]
fn the_same_file_comes_of_any_number_of_threads() {
    let folder = common::scratch();
    let folder = folder.path();
    make_sources(folder);
    for target in [
        "-O qcow2",
        "-c -O qcow2",
        "-c -O qcow2 -o compression_type=zstd",
    ] {
        for (threads, name) in [("1", "one"), ("7", "seven")] {
            run(ours()
                .args(["convert", "-m", threads])
                .args(words(target))
                .args(["top.qcow2", name])
                .current_dir(folder));
        }
        let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
        assert!(bytes("one") == bytes("seven"), "{target}");
    }
}

#[test]
fn several_sources_follow_each_other() {
    let folder = common::scratch();
    let folder = folder.path();
    make_sources(folder);
    for (program, name) in [(ours(), "ours.qcow2"), (tool("qemu-img"), "theirs.qcow2")] {
        let mut program = program;
        run(program
            .args([
                "convert",
                "-c",
                "-O",
                "qcow2",
                "zlib.qcow2",
                "disk.raw",
                "top.qcow2",
                name,
            ])
            .current_dir(folder));
    }
    assert_is_copy(folder, "ours.qcow2", "theirs.qcow2", "three sources");
}

#[test]
fn an_overlay_holds_what_differs_from_its_backing_file() {
    let folder = common::scratch();
    let folder = folder.path();
    make_sources(folder);
    fs::copy(folder.join("middle.qcow2"), folder.join("renamed.qcow2")).unwrap();
    for base in [
        "middle.qcow2",
        "renamed.qcow2",
        "zlib.qcow2",
        "zstd.qcow2",
        "sub.qcow2",
    ] {
        for target in ["", "-c ", "-o compat=0.10 ", "-o extended_l2=on "] {
            let line = format!("convert {target}-O qcow2 -F qcow2 -B {base} top.qcow2 new.qcow2");
            run(ours().args(words(&line)).current_dir(folder));
            assert_is_copy(folder, "new.qcow2", "top.qcow2", &line);
            // 1 MiB of changes at most, where the sources share all the rest.
            let size = fs::metadata(folder.join("new.qcow2")).unwrap().blocks() * 512;
            assert!(size < 2 << 20, "{line}: {size} bytes");
        }
    }
}

#[test]
fn a_target_that_is_there_is_written_over() {
    let folder = common::scratch();
    let folder = folder.path();
    make_sources(folder);
    let raw = folder.join("there.raw");
    fs::write(&raw, vec![9; 13 << 20]).unwrap();
    run(ours()
        .args([
            "convert",
            "-n",
            "-f",
            "qcow2",
            "-O",
            "raw",
            "zlib.qcow2",
            "there.raw",
        ])
        .current_dir(folder));
    let (there, disk) = (
        fs::read(&raw).unwrap(),
        fs::read(folder.join("disk.raw")).unwrap(),
    );
    assert!(there[..disk.len()] == disk);
    assert!(there[disk.len()..].iter().all(|byte| *byte == 9));

    run(tool("qemu-img")
        .args(["create", "-qf", "qcow2", "there.qcow2", "12583424"])
        .current_dir(folder));
    for options in ["--target-is-zero", "-c", "-W"] {
        run(ours()
            .args([
                "convert",
                "-n",
                options,
                "-O",
                "qcow2",
                "top.qcow2",
                "there.qcow2",
            ])
            .current_dir(folder));
        assert_is_copy(folder, "there.qcow2", "top.qcow2", options);
    }
}

#[test]
fn sound_copies_pass_their_verification() {
    let folder = common::scratch();
    let folder = folder.path();
    make_sources(folder);
    for source in ["disk.raw", "top.qcow2", "zstd.qcow2"] {
        for target in TARGETS {
            let line = format!("convert --verify {target} {source} new.img");
            run(ours().args(words(&line)).current_dir(folder));
        }
    }
    let overlay = "convert --verify -O qcow2 -B middle.qcow2 -F qcow2 top.qcow2 new.qcow2";
    run(ours().args(words(overlay)).current_dir(folder));
    let data_file = "convert --verify -O qcow2 -o data_file=new.data top.qcow2 new.qcow2";
    run(ours().args(words(data_file)).current_dir(folder));
    assert_is_copy(folder, "new.qcow2", "top.qcow2", data_file);
}

#[test]
fn a_snapshot_is_a_source() {
    let folder = common::scratch();
    let folder = folder.path();
    make_sources(folder);
    run(tool("qemu-img")
        .args(["snapshot", "-c", "before", "zlib.qcow2"])
        .current_dir(folder));
    run(tool("qemu-io")
        .args(["-c", "write -P 1 0 2M", "zlib.qcow2"])
        .current_dir(folder));
    for options in ["-O qcow2", "-c -O qcow2"] {
        run(ours()
            .args(["convert", "-l", "before"])
            .args(words(options))
            .args(["zlib.qcow2", "new.qcow2"])
            .current_dir(folder));
        assert_is_copy(folder, "new.qcow2", "disk.raw", options);
    }
}

#[test]
fn a_failed_run_leaves_the_old_target_and_nothing_else() {
    let folder = common::scratch();
    let folder = folder.path();
    make_sources(folder);
    let names = || {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    fs::write(folder.join("old"), "old").unwrap();
    let before = names();
    for target in ["-O raw", "-O qcow2", "-c -O qcow2"] {
        // No file may become longer than 512 KiB: what a full disk is to a program.
        let line =
            format!("trap '' XFSZ; ulimit -f 512; exec \"$0\" convert {target} disk.raw old");
        let failed = output(
            Command::new("bash")
                .args(["-c", &line])
                .arg(ours().get_program())
                .current_dir(folder),
        );
        let message = String::from_utf8_lossy(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{target}: {message}");
        assert!(message.contains("error while"), "{target}: {message}");
        assert_eq!(fs::read(folder.join("old")).unwrap(), b"old");
        assert_eq!(names(), before, "{target}");
    }
    // Compressed clusters cannot be in a data file; qemu-img notices in the middle of it.
    for program in [ours(), tool("qemu-img")] {
        let scratch = common::scratch();
        fs::copy(folder.join("disk.raw"), scratch.path().join("disk.raw")).unwrap();
        let mut convert = program;
        convert.args(words("convert -c -O qcow2 -o data_file=d disk.raw new"));
        let refused = output(convert.current_dir(scratch.path()));
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
}

#[test]
fn what_is_lost_is_warned_of() {
    let folder = common::scratch();
    let folder = folder.path();
    make_sources(folder);
    run(tool("qemu-img")
        .args(["snapshot", "-c", "one", "plain.qcow2"])
        .current_dir(folder));
    run(tool("qemu-img")
        .args(["bitmap", "--add", "plain.qcow2", "b"])
        .current_dir(folder));
    let said = output(
        ours()
            .args(["convert", "-O", "qcow2", "plain.qcow2", "disk.raw"])
            .current_dir(folder),
    );
    let message = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{message}");
    assert_eq!(message.matches("warning: ").count(), 3, "{message}");
    for word in ["snapshot", "bitmap", "overwritten"] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn complaints_are_the_same() {
    let stand = Stand::new();
    let folder = stand.folder();
    let qemu = |line: &str| {
        run(tool("qemu-img").args(words(line)).current_dir(folder));
    };
    qemu("create -qf raw a.raw 4M");
    qemu("create -qf qcow2 a.qcow2 4M");
    qemu("create -qf qcow2 -b a.qcow2 -F qcow2 o.qcow2");
    qemu("create -qf raw small 1M");
    qemu("create -qf raw b.raw 4M");
    qemu("create -qf raw zero 4M");
    stand.assert_same(&[
        "convert",
        "convert a.raw",
        "convert --bogus",
        "convert -Z",
        "convert -S",
        "convert --sp",
        "convert --ou=raw",
        "convert nope x",
        "convert -O foo a.raw x",
        "convert -f foo a.raw x",
        "convert -f qcow2 a.raw x",
        "convert -S 3 a.raw x",
        "convert -S foo a.raw x",
        "convert -S -1 a.raw x",
        "convert -S 17M a.raw x",
        "convert -S 99999999999 a.raw x",
        "convert -m 0 a.raw x",
        "convert -m 17 a.raw x",
        "convert -m x a.raw x",
        "convert -r x a.raw x",
        "convert -n -o size=1 a.raw x",
        "convert -n a.raw nope",
        "convert -n a.raw small",
        "convert -n -O qcow2 a.raw small",
        "convert -n -c -O raw a.raw b.raw",
        "convert -n --target-is-zero -B a.qcow2 -F qcow2 a.raw zero",
        "convert -n --target-image-opts -O raw a.raw driver=raw,file.filename=small",
        "convert -n --target-image-opts a.raw driver=qcow2,file.filename=small",
        "convert -C -c a.raw x",
        "convert -C -S 4k a.raw x",
        "convert -C --salvage a.raw x",
        "convert --target-image-opts a.raw x",
        "convert --target-is-zero a.raw x",
        "convert -T foo a.raw x",
        "convert -c a.raw x",
        "convert -c -O raw a.raw x",
        "convert -o foo=1 a.raw x",
        "convert -o ,a a.raw x",
        "convert -O qcow2 -o cluster_size=3 a.raw x",
        "convert -O qcow2 -o compat=0.10,compression_type=zstd a.raw x",
        "convert -O qcow2 -o lazy_refcounts=on,compat=0.10 a.raw x",
        "convert -O qcow2 -o preallocation=foo a.raw x",
        "convert -O qcow2 -o preallocation=metadata -c a.raw x",
        "convert -O qcow2 -o encryption=on -c a.raw x",
        "convert -o preallocation=metadata a.raw x",
        "convert -B a.qcow2 a.raw x",
        "convert -B a.qcow2 -O qcow2 o.qcow2 x",
        "convert -F qcow2 -O qcow2 o.qcow2 x",
        "convert -O qcow2 -o backing_file=a.qcow2 o.qcow2 x",
        "convert -O qcow2 -B a.qcow2 -F qcow2 a.raw a.raw x",
        "convert -l foo a.raw x",
        "convert -l foo a.qcow2 x",
        "convert -l foo a.qcow2 a.qcow2 x",
        "convert --bitmaps a.raw x",
        "convert --bitmaps a.qcow2 a.qcow2 x",
        "convert --skip-broken-bitmaps a.qcow2 x",
        "convert --image-opts -f raw driver=raw,file.filename=a.raw x",
        "convert a.raw a.raw",
        "convert a.raw nofolder/x",
        "convert -O bochs a.raw x",
        "convert a.raw foo:bar",
        "convert -O qcow2 -o help",
        "convert -O qcow2 -o help a.raw x",
        "convert -o help a.raw x",
        "convert -p a.raw p.raw",
        "convert -pq a.raw pq.raw",
        "convert -q -r 0 -m 4 -W -t none -T none a.raw w.raw",
        "convert --image-opts driver=raw,file.filename=a.raw i.raw",
        "convert --output-format qcow2 --source-format raw a.raw long.qcow2",
    ]);
}

/// The lines of `qemu-img info` about bitmaps, without what follows from the file.
fn bitmaps_of(folder: &Path, image: &str) -> serde_json::Value {
    let json = run(tool("qemu-img")
        .current_dir(folder)
        .args(["info", "--output=json", image]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    json["format-specific"]["data"]["bitmaps"].clone()
}

#[test]
fn bitmaps_are_copied_with_their_bits() {
    let folder = common::scratch();
    let folder = folder.path();
    make_disk(&folder.join("a.raw"), 77);
    let qemu = |arguments: &str| {
        run(tool("qemu-img")
            .current_dir(folder)
            .args(arguments.split(' ')));
    };
    qemu("convert -O qcow2 a.raw a.qcow2");
    for bitmap in ["--add a.qcow2 on", "--add --disable -g 8k a.qcow2 off"] {
        qemu(&format!("bitmap {bitmap}"));
    }
    let write = [
        "-c",
        "write -P 9 1M 100k",
        "-c",
        "write -P 9 5M 64k",
        "a.qcow2",
    ];
    run(tool("qemu-io").current_dir(folder).args(write));
    for (program, out) in [(ours(), "ours.qcow2"), (tool("qemu-img"), "theirs.qcow2")] {
        let mut program = program;
        program.current_dir(folder);
        run(program.args(["convert", "-O", "qcow2", "--bitmaps", "a.qcow2", out]));
    }
    assert_eq!(
        bitmaps_of(folder, "ours.qcow2"),
        bitmaps_of(folder, "theirs.qcow2")
    );
    qemu("check -q ours.qcow2");
    // The same bits: merged into an empty one of the other, nothing is left to tell them apart.
    let dirty = |image: &str| {
        let file = platter::storage::FileStorage::open(
            &folder.join(image),
            platter::storage::LockMode::Peek,
        );
        let driver = platter::image::open(
            std::sync::Arc::new(file.unwrap()),
            platter::image::Format::Qcow2,
        );
        let mut ranges = Vec::new();
        let visited = driver.unwrap().for_each_dirty("on", &mut |range| {
            ranges.push(range);
            std::ops::ControlFlow::Continue(())
        });
        visited.unwrap();
        ranges
    };
    assert_eq!(dirty("ours.qcow2"), dirty("a.qcow2"));
    assert!(!dirty("a.qcow2").is_empty());
}

#[test]
fn internal_snapshots_are_kept_on_request() {
    let folder = common::scratch();
    let folder = folder.path();
    make_disk(&folder.join("a.raw"), 78);
    let qemu = |arguments: &str| {
        run(tool("qemu-img")
            .current_dir(folder)
            .args(arguments.split(' ')));
    };
    let io = |command: &str| {
        run(tool("qemu-io")
            .current_dir(folder)
            .args(["-c", command, "a.qcow2"]));
    };
    qemu("create -q -f qcow2 -F raw -b a.raw a.qcow2");
    io("write -P 1 2M 3M");
    qemu("snapshot -c first a.qcow2");
    io("write -P 2 1M 2M");
    io("write -z 4M 1M");
    qemu("snapshot -c second a.qcow2");
    io("discard 6M 1M");
    io("write -P 3 0 64k");
    let mut convert = ours();
    convert.current_dir(folder);
    run(convert.args([
        "convert",
        "-O",
        "qcow2",
        "--snapshots",
        "a.qcow2",
        "b.qcow2",
    ]));
    qemu("check -q b.qcow2");
    qemu("compare -q a.qcow2 b.qcow2");
    for snapshot in ["first", "second"] {
        for image in ["a", "b"] {
            qemu(&format!(
                "convert -l {snapshot} -O raw {image}.qcow2 {image}-{snapshot}.raw"
            ));
        }
        qemu(&format!("compare -q a-{snapshot}.raw b-{snapshot}.raw"));
    }
}

/// The snapshots as `qemu-img` lists them, all that it knows of them.
fn snapshots_of(folder: &Path, image: &str) -> serde_json::Value {
    let info = run(tool("qemu-img")
        .current_dir(folder)
        .args(["info", "--output=json", image]));
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    info["snapshots"].clone()
}

/// Ids, dates, clocks, sizes and the state of a machine.
#[test]
fn snapshots_keep_what_is_known_of_them() {
    let folder = common::scratch();
    let folder = folder.path();
    let qemu = |arguments: &str| {
        run(tool("qemu-img")
            .current_dir(folder)
            .args(arguments.split(' ')));
    };
    let io = |image: &str, command: &str| {
        run(tool("qemu-io")
            .current_dir(folder)
            .args(["-c", command, image]))
    };
    qemu("create -q -f qcow2 a.qcow2 4M");
    io("a.qcow2", "write -P 1 1M 1M");
    qemu("snapshot -c small a.qcow2");
    qemu("snapshot -c gone a.qcow2");
    qemu("resize -q a.qcow2 700M");
    io("a.qcow2", "write -P 2 600M 1M");
    // The state of a machine is written behind the end of the disk.
    io("a.qcow2", "write -b -P 5 64k 192k");
    qemu("snapshot -c large a.qcow2");
    qemu("snapshot -d gone a.qcow2");
    qemu("resize -q --shrink a.qcow2 8M");
    io("a.qcow2", "write -P 3 5M 1M");
    set_snapshot(&folder.join("a.qcow2"), 1, 320 << 10, 123_456_789_012);
    for (number, options) in ["cluster_size=64k", "cluster_size=4k", "extended_l2=on"]
        .into_iter()
        .enumerate()
    {
        let name = format!("b{number}.qcow2");
        let mut convert = ours();
        convert.current_dir(folder);
        convert.args(["convert", "-O", "qcow2", "--snapshots", "-o", options]);
        run(convert.args(["a.qcow2", &name]));
        assert_eq!(snapshots_of(folder, &name), snapshots_of(folder, "a.qcow2"));
        qemu(&format!("check -q {name}"));
        qemu(&format!("compare -q a.qcow2 {name}"));
        for snapshot in ["small", "large"] {
            for image in ["a.qcow2", &name] {
                qemu(&format!("convert -l {snapshot} -O raw {image} {image}.raw"));
            }
            qemu(&format!("compare -q a.qcow2.raw {name}.raw"));
        }
        qemu(&format!("snapshot -a large {name}"));
        io(&name, "read -P 2 600M 1M");
        let state = io(&name, "read -b -P 5 64k 192k");
        assert!(!state.contains("fail"), "{state}");
        qemu(&format!("snapshot -a small {name}"));
        io(&name, "read -P 1 1M 1M");
    }
    let listed = snapshots_of(folder, "b0.qcow2");
    assert_eq!(listed[1]["id"], "3");
    assert_eq!(listed[1]["vm-state-size"], 320 << 10);
    assert_eq!(listed[1]["vm-clock-sec"], 123);
}

/// Sets the size of the machine's state and its clock in the entry of a snapshot.
fn set_snapshot(image: &Path, index: usize, vm_state_size: u64, clock: u64) {
    let mut bytes = fs::read(image).unwrap();
    let number = |bytes: &[u8], at: usize, length: usize| -> usize {
        let field = bytes[at..at + length].iter();
        field.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let mut at = number(&bytes, 64, 8);
    for _ in 0..index {
        let [id, name] = [12, 14].map(|field| number(&bytes, at + field, 2));
        let extra = number(&bytes, at + 36, 4);
        at += (40 + id + name + extra).next_multiple_of(8);
    }
    bytes[at + 24..at + 32].copy_from_slice(&clock.to_be_bytes());
    bytes[at + 40..at + 48].copy_from_slice(&vm_state_size.to_be_bytes());
    fs::write(image, bytes).unwrap();
}

/// The bytes of the host that an image takes, preallocated in each way and with something in it:
/// as many as the other program's.
#[test]
fn preallocation_takes_the_space_that_it_takes_elsewhere() {
    let folder = common::scratch();
    let folder = folder.path();
    make_disk(&folder.join("a.raw"), 31);
    let sizes = |how: &str, format: &str| {
        [ours(), tool("qemu-img")].map(|mut convert| {
            convert.current_dir(folder);
            let option = format!("preallocation={how}");
            convert.args(["convert", "-O", format, "-o", &option, "a.raw", "b"]);
            run(&mut convert);
            let metadata = fs::metadata(folder.join("b")).unwrap();
            let reserved = unwritten(&folder.join("b"));
            fs::remove_file(folder.join("b")).unwrap();
            (metadata.blocks() * 512, reserved)
        })
    };
    for format in ["qcow2", "raw"] {
        for how in ["falloc", "full"] {
            let [(ours, reserved), (theirs, _)] = sizes(how, format);
            let near = ours.abs_diff(theirs) <= 1 << 20;
            assert!(near, "{format}, {how}: {ours}, not {theirs}");
            if how == "full" {
                assert_eq!(reserved, 0, "{format}: space is reserved, not written");
            }
        }
    }
}

/// Bytes of a file that the host has reserved and nobody has written, as `filefrag` tells them.
fn unwritten(path: &Path) -> u64 {
    let said = run(tool("filefrag").args(["-b512", "-v"]).arg(path));
    said.lines()
        .filter(|line| line.contains("unwritten"))
        .filter_map(|line| line.split(':').nth(3))
        .filter_map(|length| length.trim().parse::<u64>().ok())
        .sum::<u64>()
        * 512
}
