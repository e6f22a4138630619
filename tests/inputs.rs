//! The generated images of the tests and benches are what they claim: `qemu-img` finds nothing
//! wrong with them, and counts what was asked for.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot start must fail"
)]

#[path = "common/inputs.rs"]
mod inputs;

use std::path::Path;
use std::process::Command;

use inputs::{CLUSTER, Mapped, Scattered};
use platter::storage::Storage;

/// The report of `qemu-img check`, which must find the image clean.
fn check(path: &Path) -> serde_json::Value {
    let output = Command::new("qemu-img")
        .args(["check", "--output=json"])
        .arg(path)
        .output()
        .expect("qemu-img is needed: build-aux/dev test installs it");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn scattered_is_clean_in_both_layouts() {
    let scratch = tempfile::tempdir().unwrap();
    for tables_between in [false, true] {
        let path = scratch.path().join(format!("{tables_between}.qcow2"));
        let image = Scattered {
            clusters: 2000,
            tables_between,
            ..Scattered::small()
        };
        image.write(&path).unwrap();
        let report = check(&path);
        assert_eq!(report["allocated-clusters"], 2000);
        assert_eq!(report["total-clusters"], image.virtual_size / CLUSTER);
    }
}

#[test]
fn mapped_is_clean_and_reads_like_its_file() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("mapped.qcow2");
    let image = Mapped::new(4 << 30);
    image.write(&path).unwrap();
    let report = check(&path);
    assert_eq!(report["allocated-clusters"], report["total-clusters"]);

    let size = image.size().unwrap();
    assert_eq!(size, path.metadata().unwrap().len());
    let file = std::fs::File::open(&path).unwrap();
    // Across the boundary of every structure, and all of the metadata.
    for (offset, length) in [
        (0, 20 * CLUSTER),
        (size - 8192 * CLUSTER - 70, 200),
        (100, 1),
    ] {
        let (mut computed, mut stored) = (vec![1; length as usize], vec![2; length as usize]);
        image.read_at(&mut computed, offset).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut stored, offset).unwrap();
        assert!(computed == stored, "differs behind {offset:#x}");
    }
}

#[test]
fn content_compresses_like_a_disk() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("content");
    inputs::content(&path, 8 << 20, 1).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 8 << 20);
    let packed: usize = bytes
        .chunks(CLUSTER as usize)
        .map(|cluster| zstd::bulk::compress(cluster, 3).unwrap().len())
        .sum();
    let ratio = packed * 100 / bytes.len();
    assert!((20..50).contains(&ratio), "compresses to {ratio} %");
}
