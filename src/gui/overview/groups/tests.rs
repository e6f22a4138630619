use std::time::Duration;

use platter::image::{FileReference, Format};
use platter::units::HostOffset;

use super::*;
use crate::disk_layout::fixture::mbr_disk;

fn details() -> Qcow2Details {
    Qcow2Details {
        version: 3,
        compression: "zstd",
        lazy_refcounts: false,
        refcount_bits: 16,
        extended_l2: true,
        data_file_raw: false,
        unfinished_edit: false,
        incompatible_features: 0x10,
        compatible_features: 0,
        autoclear_features: 1,
        l1_size: 1024,
        l1_table_offset: HostOffset(0x30000),
        refcount_table_offset: HostOffset(0x10000),
        refcount_table_clusters: 1,
        bitmaps: vec![Bitmap {
            name: "backup".to_owned(),
            granularity: 65536,
            in_use: true,
            auto: true,
        }],
        bitmaps_damage: None,
        extensions: vec![(0x6803_f857, vec![0; 336])],
    }
}

fn info() -> ImageInfo {
    ImageInfo {
        format: Format::Qcow2,
        virtual_size: 40 << 30,
        cluster_size: Some(65536),
        encryption: None,
        backing: Some(FileReference {
            name: "base.qcow2".to_owned(),
            format: None,
        }),
        data_file: None,
        dirty: false,
        corrupt: false,
        snapshots: Vec::new(),
        details: FormatDetails::Qcow2(Box::new(details())),
    }
}

fn link() -> Link {
    Link {
        reference: None,
        path: Some("/vm/a.qcow2".into()),
        stamp: None,
        file_size: Some(3 << 20),
        allocated_size: Some(2 << 20),
        holders: Vec::new(),
        unstable: false,
        lock_conflict: None,
        writable: None,
        state: platter::chain::LinkState::Broken(LinkProblem::Missing),
    }
}

fn value<'a>(group: &'a FactGroup, title: &str) -> &'a Fact {
    let mut all = group
        .facts
        .iter()
        .chain(group.more.iter().flat_map(|(_, facts)| facts));
    all.find(|fact| fact.title == title)
        .unwrap_or_else(|| panic!("no fact {title}"))
}

#[test]
fn all_of_the_header_is_shown() {
    let group = format_group(&link(), &info());
    assert_eq!(value(&group, "Format").value, "QCOW2, compat 1.1");
    assert_eq!(
        value(&group, "Virtual size").copied(),
        (40_u64 << 30).to_string()
    );
    assert_eq!(value(&group, "Compression").value, "zstd");
    assert_eq!(value(&group, "Refcount width").value, "16 bits");
    assert_eq!(value(&group, "Subclusters").value, "32 a cluster");
    assert_eq!(value(&group, "Backing file").value, "base.qcow2");
    assert_eq!(value(&group, "L1 table at").value, "0x30000");
    assert_eq!(value(&group, "Incompatible features").value, "0x10");
    assert_eq!(value(&group, "Header extension").value, "0x6803f857");
}

#[test]
fn a_bitmap_that_was_not_saved_is_a_warning() {
    let group = bitmaps_group(&info());
    let fact = value(&group, "backup");
    assert_eq!(fact.tone, Tone::Warning);
    assert_eq!(fact.value, "recording");
}

#[test]
fn a_damaged_snapshot_says_why() {
    let fact = snapshot_fact(&Snapshot {
        id: "1".to_owned(),
        name: String::new(),
        vm_state_size: 1 << 20,
        date: Duration::from_secs(1_700_000_000),
        vm_clock: Duration::ZERO,
        icount: None,
        virtual_size: 1 << 30,
        damage: Some("its L1 table is outside of the file".to_owned()),
    });
    assert_eq!(fact.title, "Snapshot 1");
    assert_eq!(fact.tone, Tone::Bad);
    assert!(fact.subtitle.unwrap().contains("outside of the file"));
}

#[test]
fn findings_name_the_partition() {
    let mut contents = mbr_disk();
    contents.table.damage.push(platter::table::Damage {
        message: platter::phrase::Phrase::new("entry 3 overlaps entry 4"),
        offset: 0,
        serious: true,
    });
    contents.volumes[1].error = Some("bad sector".to_owned());
    let facts = content_findings(&contents);
    assert_eq!(facts[0].title, "Partition table");
    assert_eq!(facts[0].tone, Tone::Bad);
    assert_eq!(facts[1].title, "Partition 5");
    assert_eq!(facts[1].copied(), "bad sector");
}
