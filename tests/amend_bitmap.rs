//! `amend` and `bitmap` against `qemu-img`: the same words and exit codes, the same facts and the
//! same bits afterwards, and images that `qemu-img check` calls sound.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fmt::Write as _;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{run_tool, scratch, tool};
use platter::chain::{Chain, ChainOptions};
use platter::image::{self, Format, FormatDetails};
use platter::storage::{FileStorage, LockMode};
use platter::units::GuestOffset;

const IMAGES: [&str; 6] = ["a", "dirty", "old", "overlay", "outside", "zstd"];

/// The images, in a folder of its own for each program.
fn make(folder: &Path) {
    let image = |name: &str| folder.join(format!("{name}.qcow2"));
    let create = |name: &str, options: &[&str], size: &[&str]| {
        let mut command = tool("qemu-img");
        command.args(["create", "-qf", "qcow2"]).args(options);
        common::run(command.arg(image(name)).args(size).current_dir(folder));
    };
    let io = |name: &str, line: &str| {
        common::run(tool("qemu-io").args(["-c", line]).arg(image(name)));
    };
    create("a", &[], &["10M"]);
    io("a", "write -P 1 1M 1M");
    create("dirty", &[], &["10M"]);
    run_tool(
        "qemu-img",
        [
            "bitmap".as_ref(),
            "--add".as_ref(),
            image("dirty").as_os_str(),
            "d".as_ref(),
        ],
    );
    io("dirty", "write 0 100k");
    io("dirty", "write 5M 1M");
    create("old", &["-o", "compat=0.10"], &["1M"]);
    create("overlay", &["-b", "a.qcow2", "-F", "qcow2"], &[]);
    io("overlay", "write -z 1M 64k");
    io("overlay", "write 1536k 64k");
    io("overlay", "write -z 1600k 10k");
    create(
        "outside",
        &["-o", "data_file=data,data_file_raw=on"],
        &["1M"],
    );
    create("zstd", &["-o", "compression_type=zstd"], &["1M"]);
    io("zstd", "write -c 0 64k");
    File::create(folder.join("raw"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
}

/// Runs a line; what is seen, without the numbers that QEMU gives its nodes.
fn run(mut program: Command, folder: &Path, line: &str) -> String {
    let words = line.split_whitespace().map(|word| word.trim_matches('\''));
    program.arg0("qemu-img").args(words).current_dir(folder);
    let output = common::output(&mut program);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // How far the work was at some moment is everybody's own.
    let stdout = match stdout.split_once("    (") {
        Some((before, progress)) if progress.contains("(100.00") => format!("{before}(progress)\n"),
        _ => stdout.into_owned(),
    };
    format!(
        "{stdout}[stderr]\n{}[{}]\n",
        without_nodes(&stderr),
        output.status
    )
}

fn without_nodes(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let line = ["persistent in '", "persistent bitmaps to "]
            .iter()
            .find_map(|words| {
                let at = line.find(words)? + words.len();
                let end = at + line[at..].find(':')?;
                Some(format!("{}…{}", &line[..at], &line[end..]))
            })
            .unwrap_or_else(|| line.to_owned());
        kept += &line;
        kept.push('\n');
    }
    kept
}

/// The facts of an image, without what the host does with it.
fn facts(folder: &Path, image: &str) -> String {
    let text = run_tool(
        "qemu-img",
        [
            "info".as_ref(),
            folder.join(format!("{image}.qcow2")).as_os_str(),
        ],
    );
    let own = ["image:", "disk size:", "file length:", "filename:"];
    let is_own = |line: &str| own.iter().any(|name| line.trim_start().starts_with(name));
    let folder = folder.to_string_lossy().into_owned();
    text.lines()
        .filter(|line| !is_own(line))
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .replace(&folder, "")
}

fn assert_same(lines: &[&str]) -> (tempfile::TempDir, tempfile::TempDir) {
    let (theirs, ours) = (scratch(), scratch());
    make(theirs.path());
    make(ours.path());
    let mut different = String::new();
    for line in lines {
        let their = run(tool("qemu-img"), theirs.path(), line);
        let our = run(common::ours(), ours.path(), line);
        if their != our {
            let _ = writeln!(different, "\n===== {line}\n{their}----- ours\n{our}");
        }
        let is_changed = our.ends_with("[exit status: 0]\n");
        let images = IMAGES
            .iter()
            .filter(|image| is_changed && line.contains(*image));
        for image in images {
            let (their, our) = (facts(theirs.path(), image), facts(ours.path(), image));
            if their != our {
                let _ = writeln!(
                    different,
                    "\n===== {image} after {line}\n{their}-----\n{our}"
                );
            }
            let mut check = tool("qemu-img");
            check.arg("check").arg(format!("{image}.qcow2"));
            let check = common::output(check.current_dir(ours.path()));
            if !check.status.success() {
                let said = String::from_utf8_lossy(&check.stderr);
                let _ = writeln!(different, "\n===== check of {image} after {line}\n{said}");
            }
        }
    }
    assert!(different.is_empty(), "{different}");
    // The data file of "outside" is found from the current directory only, and was not touched.
    for image in IMAGES.iter().filter(|image| **image != "outside") {
        let name = format!("{image}.qcow2");
        let paths = [theirs.path().join(&name), ours.path().join(&name)];
        run_tool(
            "qemu-img",
            [
                "compare".as_ref(),
                paths[0].as_os_str(),
                paths[1].as_os_str(),
            ],
        );
    }
    (theirs, ours)
}

#[test]
fn options_are_amended_in_the_same_way() {
    assert_same(&[
        "amend",
        "amend a.qcow2",
        "amend -o help",
        "amend -o help a.qcow2",
        "amend -f raw -o help",
        "amend -f vmdk -o help",
        "amend -f foo -o help",
        "amend -f raw -o size=1M raw",
        "amend -o size=1M nope",
        "amend -o size=1M a b",
        "amend -o , a.qcow2",
        "amend -f foo -o size=1M a.qcow2",
        "amend -t foo -o size=1M a.qcow2",
        "amend -o foo=1 a.qcow2",
        "amend -o size=zz a.qcow2",
        "amend -o lazy_refcounts=zz a.qcow2",
        "amend -o refcount_bits=zz a.qcow2",
        "amend -o encrypt.keyslot=1 a.qcow2",
        "amend -o cluster_size=4k a.qcow2",
        "amend -o compat=0.11 a.qcow2",
        "amend -o refcount_bits=3 a.qcow2",
        "amend -o refcount_bits=128 a.qcow2",
        "amend -o compat=0.10,refcount_bits=8 a.qcow2",
        "amend -o compat=0.10,lazy_refcounts=on a.qcow2",
        "amend -o refcount_bits=8 a.qcow2",
        "amend -o compat=0.10 a.qcow2",
        "amend -o refcount_bits=1,lazy_refcounts=on a.qcow2",
        "amend -p -o refcount_bits=64 a.qcow2",
        "amend -o refcount_bits=16 a.qcow2",
        "amend -q -p -o lazy_refcounts=off a.qcow2",
        "amend -p -o lazy_refcounts=on a.qcow2",
        "amend --force -o compat=v3 a.qcow2",
        "amend -o backing_file=dirty.qcow2,backing_fmt=qcow2 a.qcow2",
        "amend -o backing_file=a.qcow2,backing_fmt=qcow2 overlay.qcow2",
        "amend -o backing_file=a.qcow2 overlay.qcow2",
        "amend -o data_file=x a.qcow2",
        "amend -o data_file=data outside.qcow2",
        "amend -o data_file_raw=on outside.qcow2",
        "amend -o data_file_raw=on a.qcow2",
        "amend -o data_file_raw=off outside.qcow2",
        "amend -o compat=0.10 outside.qcow2",
        "amend -o compat=0.10 zstd.qcow2",
        "amend -o compat=0.10 a.qcow2",
        "amend -o compat=1.1 a.qcow2",
        "amend -o compat=0.10 overlay.qcow2",
        "amend -o lazy_refcounts=on,compat=1.1 old.qcow2",
        "amend -o compat=0.10 dirty.qcow2",
    ]);
}

#[test]
fn a_snapshot_that_says_too_much_for_version_2_prevents_it() {
    let folder = scratch();
    make(folder.path());
    let path = folder.path().join("a.qcow2");
    common::run(tool("qemu-io").args(["-c", "write -z 3M 64k"]).arg(&path));
    common::run(tool("qemu-img").args(["snapshot", "-c", "one"]).arg(&path));
    let refused = run(
        common::ours(),
        folder.path(),
        "amend -o compat=0.10 a.qcow2",
    );
    assert!(
        refused.contains("Internal snapshots prevent downgrade of image"),
        "{refused}"
    );
    common::run(tool("qemu-img").arg("check").arg(&path));
    // One more reference than a bit can count.
    let refused = run(
        common::ours(),
        folder.path(),
        "amend -o refcount_bits=1 a.qcow2",
    );
    assert!(
        refused.contains("Cannot decrease refcount entry width to 1 bits"),
        "{refused}"
    );
    let done = run(
        common::ours(),
        folder.path(),
        "amend -o refcount_bits=2 a.qcow2",
    );
    assert!(done.ends_with("[exit status: 0]\n"), "{done}");
    common::run(tool("qemu-img").arg("check").arg(&path));
}

/// Version 2 need not say how large the disk was at the time of a snapshot; version 3 has to.
#[test]
fn a_snapshot_that_says_too_little_for_version_3_is_completed() {
    let house = scratch();
    let folder = house.path();
    let path = folder.join("old.qcow2");
    let img = |line: &str| common::qemu::img(folder, line);
    img("create -q -f qcow2 -o compat=0.10 old.qcow2 1M");
    common::qemu::io(folder, "qcow2", "old.qcow2", &["write -P 1 0 100k"]);
    img("snapshot -c before old.qcow2");
    common::qemu::io(folder, "qcow2", "old.qcow2", &["write -P 2 0 50k"]);
    let before = img("snapshot -l old.qcow2");
    // The oldest form: an entry without extra data.
    let mut bytes = std::fs::read(&path).unwrap();
    let offset = u64::from_be_bytes(bytes[64..72].try_into().unwrap());
    let entry = usize::try_from(offset).unwrap();
    assert_eq!(bytes[entry + 36..entry + 40], [0, 0, 0, 24]);
    bytes[entry + 36..entry + 40].fill(0);
    bytes.copy_within(entry + 64..entry + 96, entry + 40);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(img("snapshot -l old.qcow2").lines().count(), 3);

    let amend = ["amend", "-f", "qcow2", "-o", "compat=1.1"];
    common::run(common::ours().args(amend).arg(&path));
    img("check -q old.qcow2");
    let mut without_count = before.replace(" 0\n", "--\n");
    if !before.ends_with(" 0\n") {
        without_count = before;
    }
    assert_eq!(img("snapshot -l old.qcow2"), without_count);
    img("snapshot -a before old.qcow2");
    common::qemu::io(folder, "qcow2", "old.qcow2", &["read -P 1 0 100k"]);
    img("check -q old.qcow2");
}

#[test]
fn bitmaps_are_changed_in_the_same_way() {
    let (theirs, ours) = assert_same(&[
        "bitmap",
        "bitmap --bogus",
        "bitmap --merge",
        "bitmap --add",
        "bitmap a.qcow2 b0",
        "bitmap --add a.qcow2",
        "bitmap --add a b c",
        "bitmap --add nope b",
        "bitmap --add a.qcow2 b0",
        "bitmap --add a.qcow2 b0",
        "bitmap --remove a.qcow2 nope",
        "bitmap --clear a.qcow2 nope",
        "bitmap --disable a.qcow2 b0",
        "bitmap --enable a.qcow2 b0",
        "bitmap --merge nope a.qcow2 b0",
        "bitmap --merge b0 a.qcow2 b0",
        "bitmap --add -g 3000 a.qcow2 b1",
        "bitmap --add -g 256 a.qcow2 b1",
        "bitmap --add -g 4G a.qcow2 b1",
        "bitmap --add -g 2G a.qcow2 b1",
        "bitmap --add -g zz a.qcow2 b2",
        "bitmap --add -g 512 a.qcow2 b2",
        "bitmap -g 64k --remove a.qcow2 b1",
        "bitmap -F raw --remove a.qcow2 b1",
        "bitmap -b raw --remove a.qcow2 b1",
        "bitmap --merge b0 -b nope a.qcow2 b1",
        "bitmap --merge b0 -b raw -F raw a.qcow2 b1",
        "bitmap -f raw --add raw b",
        "bitmap -f raw --remove raw b",
        "bitmap --add a.qcow2 ''",
        "bitmap --add --disable --clear a.qcow2 b4",
        "bitmap --add --merge d -b dirty.qcow2 a.qcow2 b5",
        "bitmap --merge d -b dirty.qcow2 a.qcow2 b2",
        "bitmap --merge b2 a.qcow2 b1",
        "bitmap --add --merge b2 -b a.qcow2 -g 4k dirty.qcow2 fine",
        "bitmap --clear a.qcow2 b5",
        "bitmap --add overlay.qcow2 o",
        "bitmap --add -g 0 overlay.qcow2 p",
        "bitmap --add old.qcow2 v",
        "bitmap --merge v -b old.qcow2 a.qcow2 b0",
        "bitmap --remove a.qcow2 b0",
        "bitmap --remove --add a.qcow2 b1",
        "bitmap --add --add a.qcow2 twice",
    ]);
    for (image, names) in [
        ("a.qcow2", &["b1", "b2", "b4", "b5"][..]),
        ("dirty.qcow2", &["d", "fine"]),
    ] {
        for name in names {
            let (their, our) = (
                dirty(&theirs.path().join(image), name),
                dirty(&ours.path().join(image), name),
            );
            assert_eq!(their, our, "{image} {name}");
        }
    }
    assert_eq!(
        dirty(&ours.path().join("a.qcow2"), "b2"),
        [0..131_072, 5 << 20..6 << 20]
    );
    // QEMU reads the same bits out of our file.
    let (from, to) = (
        ours.path().join("a.qcow2"),
        theirs.path().join("zstd.qcow2"),
    );
    run_tool(
        "qemu-img",
        ["resize".as_ref(), to.as_os_str(), "10M".as_ref()],
    );
    let mut merge = tool("qemu-img");
    merge
        .args(["bitmap", "--add", "--merge", "b2", "-b"])
        .arg(from)
        .arg(&to)
        .arg("ours");
    common::run(&mut merge);
    assert_eq!(dirty(&to, "ours"), [0..131_072, 5 << 20..6 << 20]);
}

/// What is written through us is recorded as QEMU records it; until it is flushed, nobody believes
/// the bitmap.
#[test]
fn enabled_bitmaps_record_writes() {
    let folder = scratch();
    make(folder.path());
    let path = folder.path().join("dirty.qcow2");
    let options = ChainOptions {
        writable: vec![0],
        ..ChainOptions::default()
    };
    let state = |path: &Path| {
        let file = Arc::new(FileStorage::open(path, LockMode::Peek).unwrap());
        let driver = image::open(file, Format::Qcow2).unwrap();
        let FormatDetails::Qcow2(details) = &driver.info().details else {
            panic!("no details");
        };
        details.bitmaps[0].in_use
    };
    {
        let chain = Chain::open(&path, &options).unwrap();
        let writer = chain.writer(0).unwrap();
        writer.write_at(&[7; 1000], GuestOffset(3 << 20)).unwrap();
        writer.write_at(&[7], GuestOffset(8 << 20)).unwrap();
        assert!(state(&path));
        writer.flush().unwrap();
        assert!(!state(&path));
    }
    let expected = [
        0..131_072,
        3 << 20..(3 << 20) + 65_536,
        5 << 20..6 << 20,
        8 << 20..(8 << 20) + 65_536,
    ];
    assert_eq!(dirty(&path, "d"), expected);
    common::run(tool("qemu-img").arg("check").arg(&path));
    let given_up = path.with_file_name("given-up.qcow2");
    {
        let chain = Chain::open(&path, &options).unwrap();
        let writer = chain.writer(0).unwrap();
        writer.write_at(&[7; 1000], GuestOffset(9 << 20)).unwrap();
        // What a crash leaves; who only gives up leaves more.
        std::fs::copy(&path, &given_up).unwrap();
    }
    std::fs::rename(&path, path.with_extension("new")).unwrap();
    std::fs::rename(&given_up, &path).unwrap();
    std::fs::rename(path.with_extension("new"), &given_up).unwrap();
    assert!(!state(&given_up));
    let written = 9 << 20..(9 << 20) + 65_536;
    assert_eq!(dirty(&given_up, "d").last(), Some(&written));
    assert!(state(&path));
    let said = run(
        tool("qemu-img"),
        folder.path(),
        "bitmap --disable dirty.qcow2 d",
    );
    assert!(said.contains("inconsistent"), "{said}");
}

fn dirty(path: &Path, name: &str) -> Vec<Range<u64>> {
    let file = Arc::new(FileStorage::open(path, LockMode::Read).unwrap());
    let driver = image::open(file, Format::Qcow2).unwrap();
    let mut ranges = Vec::new();
    driver
        .for_each_dirty(name, &mut |range| {
            ranges.push(range);
            ControlFlow::Continue(())
        })
        .unwrap();
    ranges
}
