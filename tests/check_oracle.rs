//! `check` of qcow2 images against `qemu-img check`: the same counters, and the same findings in
//! the same words, on sound images of every variant and on the same images damaged.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the images are small"
)]

mod common;
#[path = "common/damaged.rs"]
mod damaged;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::inputs::Random;
use common::{run_tool, scratch, tool};
use damaged::{Layout, PLAIN, VARIANTS, Variant, at_random, be64, damages, io, put};
use platter::image::{self, CheckReport, Format, Probe};
use platter::storage::{FileStorage, LockMode, MemoryStorage, Storage};
use platter::{Control, Stop};

/// What `qemu-img check` said of an image.
struct Verdict {
    /// The report, unless the check could not be done.
    report: Option<serde_json::Value>,
    /// What it printed on the way.
    lines: Vec<String>,
}

fn qemu(path: &Path, options: &[&str]) -> Verdict {
    let mut command = tool("qemu-img");
    command.args(["check", "--output=json"]).args(options);
    if options.is_empty() {
        command.args(["-f", "qcow2"]).arg(path);
    }
    let output = common::output(&mut command);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code().is_some_and(|code| code < 4),
        "qemu-img: {} {stderr}",
        output.status
    );
    Verdict {
        report: serde_json::from_slice(&output.stdout).ok(),
        lines: stderr.lines().map(str::to_owned).collect(),
    }
}

fn platter(storage: Arc<dyn Storage>) -> Result<CheckReport, String> {
    let driver = image::open(storage, Format::Qcow2).map_err(|error| error.to_string())?;
    driver
        .check(&Control::new())
        .map_err(|stop: Stop| stop.to_string())
}

/// The counters as `qemu-img` prints them: what is zero is not there.
fn counters(report: &CheckReport) -> Vec<(&'static str, u64)> {
    [
        ("check-errors", report.check_errors),
        ("corruptions", report.corruptions),
        ("leaks", report.leaks),
        ("total-clusters", report.total_clusters),
        ("allocated-clusters", report.allocated_clusters),
        ("fragmented-clusters", report.fragmented_clusters),
        ("compressed-clusters", report.compressed_clusters),
        ("image-end-offset", report.image_end_offset),
    ]
    .into_iter()
    .collect()
}

/// Compares ours with QEMU's verdict, both on the file at `path`.
fn compare(path: &Path, what: &str) {
    compare_with(path, &[], what);
}

fn compare_with(path: &Path, options: &[&str], what: &str) {
    let theirs = qemu(path, options);
    let bytes = fs::read(path).unwrap();
    let ours = platter(Arc::new(MemoryStorage::new(bytes)));
    let said = theirs.lines.join("\n");
    match (ours, theirs.report) {
        (Err(_), None) => {}
        (Ok(report), None) => assert!(!report.is_clean(), "{what}: qemu-img refuses:\n{said}"),
        (Err(error), Some(_)) => panic!("{what}: we refuse ({error}), qemu-img says:\n{said}"),
        (Ok(report), Some(theirs)) => {
            for (name, count) in counters(&report) {
                let expected = theirs[name].as_u64().unwrap_or(0);
                assert_eq!(
                    count,
                    expected,
                    "{what}: {name}\nqemu-img:\n{said}\nplatter:\n{}",
                    lines(&report).join("\n")
                );
            }
            compare_lines(&report, &said, what);
        }
    }
}

/// All lines that we keep stand where QEMU has them, only overflows (of narrow refcounts) may be
/// said later.
fn compare_lines(report: &CheckReport, said: &str, what: &str) {
    let kept = CheckReport::MAX_FINDINGS;
    let is_overflow =
        |line: &str| line.contains("overflow") || line.starts_with("Use qemu-img amend");
    let theirs = said
        .lines()
        .filter(|line| *line != "qemu-img: Check failed");
    let (ours, theirs) = (lines(report), theirs.map(str::to_owned).collect());
    let split = |lines: Vec<String>| -> (Vec<String>, Vec<String>) {
        lines.into_iter().partition(|line| is_overflow(line))
    };
    let ((mut our_overflows, ours), (mut their_overflows, theirs)) = (split(ours), split(theirs));
    for (at, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(our, their, "{what}: line {at}");
    }
    if report.findings.len() < kept {
        assert_eq!(ours.len(), theirs.len(), "{what}:\n{said}");
        our_overflows.sort();
        their_overflows.sort();
        assert_eq!(our_overflows, their_overflows, "{what}");
    }
}

fn lines(report: &CheckReport) -> Vec<String> {
    report
        .findings
        .iter()
        .flat_map(|finding| finding.message.lines())
        .map(str::to_owned)
        .collect()
}

#[test]
fn sound_images_of_every_variant_have_the_same_counters() {
    let folder = scratch();
    for variant in &VARIANTS {
        compare(&variant.make(folder.path()), variant.name);
    }
}

#[test]
fn an_external_data_file_and_a_backing_file_have_no_clusters_here() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let options = format!("data_file={}", at("data.raw"));
    run_tool(
        "qemu-img",
        [
            "create",
            "-qf",
            "qcow2",
            "-o",
            &options,
            &at("a.qcow2"),
            "8M",
        ],
    );
    io(
        Path::new(&at("a.qcow2")),
        &["write 0 1M", "write -z 2M 1M", "write 5M 1k"],
    );
    compare(Path::new(&at("a.qcow2")), "external data file");

    run_tool(
        "qemu-img",
        [
            "create",
            "-qf",
            "qcow2",
            "-b",
            &at("a.qcow2"),
            "-F",
            "qcow2",
            &at("b.qcow2"),
        ],
    );
    io(Path::new(&at("b.qcow2")), &["write 1M 1M"]);
    compare(Path::new(&at("b.qcow2")), "overlay");
}

#[test]
fn an_encryption_header_is_counted() {
    let folder = scratch();
    let path = folder.path().join("luks.qcow2");
    let file = path.to_str().unwrap();
    let secret = "secret,id=s,data=123456";
    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    run_tool(
        "qemu-img",
        [
            "create", "-q", "--object", secret, "-f", "qcow2", "-o", options, file, "8M",
        ],
    );
    let image = format!("driver=qcow2,file.filename={file},encrypt.key-secret=s");
    compare_with(&path, &["--object", secret, "--image-opts", &image], "LUKS");
}

#[test]
fn generated_inputs_are_clean_through_the_file_too() {
    let folder = scratch();
    let path = folder.path().join("scattered.qcow2");
    let input = common::inputs::Scattered {
        tables_between: true,
        ..common::inputs::Scattered::small()
    };
    input.write(&path).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(&path, LockMode::Read).unwrap());
    let Probe { format, .. } = image::probe(storage.as_ref()).unwrap();
    let report = image::open(storage, format)
        .unwrap()
        .check(&Control::new())
        .unwrap();
    assert!(report.is_clean(), "{report:?}");
    let theirs = qemu(&path, &[]).report.unwrap();
    for (name, count) in counters(&report) {
        assert_eq!(count, theirs[name].as_u64().unwrap_or(0), "{name}");
    }
}

/// One wrong thing after the other, each in a fresh copy.
#[test]
fn damage_is_told_in_the_same_words() {
    let folder = scratch();
    for variant in &VARIANTS {
        let path = variant.make(folder.path());
        let sound = fs::read(&path).unwrap();
        for (what, at, value) in damages(&sound) {
            let mut image = sound.clone();
            put(&mut image, at, value);
            fs::write(&path, &image).unwrap();
            compare(&path, &format!("{}: {what}", variant.name));
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_a_check_error() {
    let folder = scratch();
    let path = PLAIN.make(folder.path());
    let mut image = fs::read(&path).unwrap();
    let layout = Layout::of(&image);
    put(&mut image, layout.refcount_table, layout.block + 512);
    fs::write(&path, &image).unwrap();
    // Here qemu-img gives no counters, but the same lines.
    let said = qemu(&path, &[]).lines;
    let report = platter(Arc::new(MemoryStorage::new(image))).unwrap();
    assert!(report.check_errors > 0);
    assert_eq!(
        lines(&report),
        said[..said.len() - 1],
        "the last is 'Check failed'"
    );
}

#[test]
fn a_damaged_snapshot_table_is_told_in_the_same_words() {
    let folder = scratch();
    let variant = Variant {
        snapshots: true,
        ..PLAIN
    };
    let path = variant.make(folder.path());
    let sound = fs::read(&path).unwrap();
    let table = Layout::of(&sound).snapshots;
    let entry = be64(&sound, table);
    for (what, at, value) in [
        ("L1 table unaligned", table, entry + 8),
        ("L1 table outside", table, 1 << 45),
        ("L1 table is the snapshot table", table, table),
        ("L1 table too large", table + 8, u64::MAX),
        ("count at the limit", 60, 70_000 << 32),
        ("table unaligned", 64, table + 8),
        ("table outside", 64, 1 << 40),
        ("old entry", table + 32, 0),
        ("too much extra data", table + 32, 2000),
    ] {
        let mut image = sound.clone();
        put(&mut image, at, value);
        fs::write(&path, &image).unwrap();
        compare(&path, what);
    }
}

/// The marks of an image that was not closed, or found damaged: neither changes what is counted.
#[test]
fn dirty_and_corrupt_marks_change_nothing() {
    let folder = scratch();
    let path = PLAIN.make(folder.path());
    let sound = fs::read(&path).unwrap();
    for mark in [1, 2, 3] {
        let mut image = sound.clone();
        put(&mut image, 72, mark);
        fs::write(&path, &image).unwrap();
        compare(&path, &format!("incompatible features {mark}"));
    }
}

/// Random entries of random tables replaced by numbers that mean something.
#[test]
fn random_damage_is_told_in_the_same_words() {
    let folder = scratch();
    let mut random = Random(2);
    for variant in [&VARIANTS[1], &VARIANTS[3], &VARIANTS[6], &PLAIN] {
        let path = variant.make(folder.path());
        let sound = fs::read(&path).unwrap();
        for round in 0..25 {
            let image = at_random(&mut random, &sound);
            fs::write(&path, &image).unwrap();
            compare(&path, &format!("{}, round {round}", variant.name));
        }
    }
}
