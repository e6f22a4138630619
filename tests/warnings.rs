//! The traps that other programs make: partition tables and bitmaps by their own tools.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs::File;

use common::{run_tool, run_with_input, scratch, tool};
use platter::chain::{Chain, ChainOptions};
use platter::op::warning::{Warning, of_changed_backing, of_copy, of_resize};
use platter::storage::{FileStorage, LockMode};

const MIB: u64 = 1 << 20;

#[test]
fn a_gpt_is_missed_at_either_new_end() {
    let house = scratch();
    let path = house.path().join("disk.raw");
    File::create(&path).unwrap().set_len(64 * MIB).unwrap();
    let script = "label: gpt\nsize=16MiB\nsize=16MiB\n";
    run_with_input(tool("sfdisk").arg("-q").arg(&path), script);
    let disk = FileStorage::open(&path, LockMode::Read).unwrap();
    let old_end = 64 * MIB;
    let warnings = |new_end| of_resize(&disk, new_end).unwrap();

    assert_eq!(warnings(old_end), []);
    let new_end = 128 * MIB;
    assert_eq!(
        warnings(new_end),
        [Warning::StrandedGptBackup { old_end, new_end }]
    );
    let new_end = 40 * MIB;
    assert_eq!(
        warnings(new_end),
        [Warning::CutGptBackup { old_end, new_end }]
    );
    let new_end = 20 * MIB;
    assert_eq!(
        warnings(new_end),
        [
            Warning::CutPartition {
                number: 2,
                end: 33 * MIB,
                new_end
            },
            Warning::CutGptBackup { old_end, new_end },
        ]
    );
}

#[test]
fn snapshots_and_bitmaps_are_counted() {
    let house = scratch();
    let image = house.path().join("a.qcow2");
    let path = image.to_str().unwrap();
    run_tool("qemu-img", ["create", "-q", "-f", "qcow2", path, "1M"]);
    let open = || Chain::open(&image, &ChainOptions::default()).unwrap();
    let chain = open();
    let info = chain.active().info().unwrap();
    assert_eq!(of_changed_backing(&image, info), None);
    assert_eq!(of_copy(&image, info, false, false), []);
    drop(chain);

    run_tool("qemu-img", ["bitmap", "--add", path, "b"]);
    run_tool("qemu-img", ["bitmap", "--disable", path, "b"]);
    for name in ["one", "two"] {
        run_tool("qemu-img", ["snapshot", "-c", name, path]);
    }
    let chain = open();
    let info = chain.active().info().unwrap();
    let sentences = |keeps_snapshots, keeps_bitmaps| -> Vec<String> {
        let warnings = of_copy(&image, info, keeps_snapshots, keeps_bitmaps);
        warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        sentences(false, false),
        [
            format!("2 internal snapshots of '{path}' will not be in the new image"),
            format!("1 dirty bitmap of '{path}' will not be in the new image"),
        ]
    );
    assert_eq!(sentences(true, true), Vec::<String>::new());
    let changed = Warning::ChangedSnapshots {
        image: image.clone(),
        snapshots: 2,
    };
    assert_eq!(of_changed_backing(&image, info), Some(changed));
}
