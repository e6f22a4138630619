//! A small qcow2 image with a bit of everything, and the places of all its fields: what mutation
//! starts from. `qemu-img check` finds nothing wrong with it.

#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    reason = "shared by several test programs; all sizes are below a megabyte"
)]

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// Log2 of the cluster size.
const BITS: u32 = 12;
/// Bytes of a cluster.
pub(crate) const CLUSTER: usize = 1 << BITS;
/// What the guest sees: four L2 tables' worth, the last one cut.
pub(crate) const VIRTUAL_SIZE: u64 = 7 << 20;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// Clusters of the file, in order.
mod at {
    pub(super) const REFCOUNT_TABLE: usize = 1;
    pub(super) const REFCOUNT_BLOCK: usize = 2;
    pub(super) const L1: usize = 3;
    pub(super) const L2: usize = 4;
    /// Of the active layer only.
    pub(super) const LAST_L2: usize = 5;
    pub(super) const DATA: usize = 6;
    /// Two compressed clusters share it.
    pub(super) const PACKED: usize = 9;
    pub(super) const SNAPSHOTS: usize = 10;
    pub(super) const SNAPSHOT_L1: usize = 11;
    pub(super) const BITMAP_DIRECTORY: usize = 12;
    pub(super) const BITMAP_TABLE: usize = 13;
    pub(super) const BITMAP: usize = 14;
    pub(super) const END: usize = 15;
}

/// A field: its name in the specification, its offset in the file, its bytes.
pub(crate) type Field = (&'static str, usize, usize);

/// The fields of the header, and one of each kind of entry elsewhere.
pub(crate) const FIELDS: [Field; 58] = [
    ("magic", 0, 4),
    ("version", 4, 4),
    ("backing_file_offset", 8, 8),
    ("backing_file_size", 16, 4),
    ("cluster_bits", 20, 4),
    ("size", 24, 8),
    ("crypt_method", 32, 4),
    ("l1_size", 36, 4),
    ("l1_table_offset", 40, 8),
    ("refcount_table_offset", 48, 8),
    ("refcount_table_clusters", 56, 4),
    ("nb_snapshots", 60, 4),
    ("snapshots_offset", 64, 8),
    ("incompatible_features", 72, 8),
    ("compatible_features", 80, 8),
    ("autoclear_features", 88, 8),
    ("refcount_order", 96, 4),
    ("header_length", 100, 4),
    ("compression_type", 104, 1),
    ("bitmaps extension type", 112, 4),
    ("bitmaps extension length", 116, 4),
    ("nb_bitmaps", 120, 4),
    ("bitmap_directory_size", 128, 8),
    ("bitmap_directory_offset", 136, 8),
    ("unknown extension type", 144, 4),
    ("unknown extension length", 148, 4),
    ("refcount table entry", at::REFCOUNT_TABLE * CLUSTER, 8),
    (
        "next refcount table entry",
        at::REFCOUNT_TABLE * CLUSTER + 8,
        8,
    ),
    ("refcount", at::REFCOUNT_BLOCK * CLUSTER, 2),
    ("refcounts", at::REFCOUNT_BLOCK * CLUSTER + 8, 8),
    ("L1 entry", at::L1 * CLUSTER, 8),
    ("empty L1 entry", at::L1 * CLUSTER + 8, 8),
    ("last L1 entry", at::L1 * CLUSTER + 24, 8),
    ("L2 entry of data", at::L2 * CLUSTER, 8),
    ("next L2 entry of data", at::L2 * CLUSTER + 8, 8),
    ("L2 entry of zeroes", at::L2 * CLUSTER + 16, 8),
    ("L2 entry of preallocated zeroes", at::L2 * CLUSTER + 24, 8),
    ("L2 entry of compressed data", at::L2 * CLUSTER + 32, 8),
    ("next L2 entry of compressed data", at::L2 * CLUSTER + 40, 8),
    ("empty L2 entry", at::L2 * CLUSTER + 48, 8),
    ("last L2 entry", at::LAST_L2 * CLUSTER, 8),
    ("compressed data", at::PACKED * CLUSTER, 8),
    ("snapshot l1_table_offset", at::SNAPSHOTS * CLUSTER, 8),
    ("snapshot l1_size", at::SNAPSHOTS * CLUSTER + 8, 4),
    ("snapshot id_str_size", at::SNAPSHOTS * CLUSTER + 12, 2),
    ("snapshot name_size", at::SNAPSHOTS * CLUSTER + 14, 2),
    ("snapshot date_sec", at::SNAPSHOTS * CLUSTER + 16, 4),
    ("snapshot date_nsec", at::SNAPSHOTS * CLUSTER + 20, 4),
    ("snapshot vm_clock_nsec", at::SNAPSHOTS * CLUSTER + 24, 8),
    ("snapshot extra_data_size", at::SNAPSHOTS * CLUSTER + 36, 4),
    ("snapshot disk_size", at::SNAPSHOTS * CLUSTER + 48, 8),
    ("snapshot L1 entry", at::SNAPSHOT_L1 * CLUSTER, 8),
    ("bitmap_table_offset", at::BITMAP_DIRECTORY * CLUSTER, 8),
    ("bitmap_table_size", at::BITMAP_DIRECTORY * CLUSTER + 8, 4),
    ("bitmap flags", at::BITMAP_DIRECTORY * CLUSTER + 12, 4),
    (
        "bitmap type and granularity",
        at::BITMAP_DIRECTORY * CLUSTER + 16,
        2,
    ),
    ("bitmap name_size", at::BITMAP_DIRECTORY * CLUSTER + 18, 2),
    ("bitmap table entry", at::BITMAP_TABLE * CLUSTER, 8),
];

/// The image.
pub(crate) fn image() -> Vec<u8> {
    let mut image = vec![0; at::END * CLUSTER];
    header(&mut image);
    put(
        &mut image,
        at::REFCOUNT_TABLE * CLUSTER,
        place(at::REFCOUNT_BLOCK),
    );
    for cluster in 0..at::END {
        image[at::REFCOUNT_BLOCK * CLUSTER + cluster * 2 + 1] = 1;
    }
    // The snapshot shares the first L2 table and all that it maps.
    for cluster in [at::L2, at::DATA, at::DATA + 1, at::DATA + 2] {
        image[at::REFCOUNT_BLOCK * CLUSTER + cluster * 2 + 1] = 2;
    }
    image[at::REFCOUNT_BLOCK * CLUSTER + at::PACKED * 2 + 1] = 4;

    put(&mut image, at::L1 * CLUSTER, place(at::L2));
    put(
        &mut image,
        at::L1 * CLUSTER + 24,
        place(at::LAST_L2) | COPIED,
    );
    put(&mut image, at::SNAPSHOT_L1 * CLUSTER, place(at::L2));
    for data in 0..3 {
        let start = (at::DATA + data) * CLUSTER;
        image[start..start + CLUSTER].fill(data as u8 + 1);
    }
    let packed = packed(&[5; CLUSTER]);
    let second = at::PACKED * CLUSTER + packed.len() + 8;
    image[at::PACKED * CLUSTER..][..packed.len()].copy_from_slice(&packed);
    image[second..][..packed.len()].copy_from_slice(&packed);
    let entries = [
        place(at::DATA),
        place(at::DATA + 1),
        ZERO,
        place(at::DATA + 2) | ZERO,
        COMPRESSED | place(at::PACKED),
        COMPRESSED | second as u64,
    ];
    for (index, entry) in entries.into_iter().enumerate() {
        put(&mut image, at::L2 * CLUSTER + index * 8, entry);
    }
    snapshot(&mut image);
    bitmap(&mut image);
    image
}

fn place(cluster: usize) -> u64 {
    (cluster * CLUSTER) as u64
}

/// Raw deflate, as qcow2 stores clusters.
pub(crate) fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Writes the low bytes of `value` into a field, big-endian.
pub(crate) fn set(image: &mut [u8], (_, at, length): Field, value: u64) {
    let bytes = value.to_be_bytes();
    if let Some(field) = image.get_mut(at..at + length) {
        field.copy_from_slice(&bytes[8 - length..]);
    }
}

fn put(image: &mut [u8], at: usize, value: u64) {
    set(image, ("", at, 8), value);
}

fn header(image: &mut [u8]) {
    image[..4].copy_from_slice(b"QFI\xfb");
    for (at, length, value) in [
        (4, 4, 3),
        (20, 4, u64::from(BITS)),
        (24, 8, VIRTUAL_SIZE),
        (36, 4, 4),
        (40, 8, place(at::L1)),
        (48, 8, place(at::REFCOUNT_TABLE)),
        (56, 4, 1),
        (60, 4, 1),
        (64, 8, place(at::SNAPSHOTS)),
        (88, 8, 1),
        (96, 4, 4),
        (100, 4, 112),
        (112, 4, 0x2385_2875),
        (116, 4, 24),
        (120, 4, 1),
        (128, 8, 32),
        (136, 8, place(at::BITMAP_DIRECTORY)),
        (144, 4, 0x706c_6174),
        (148, 4, 3),
        (152, 4, 0x6162_6300),
    ] {
        set(image, ("", at, length), value);
    }
}

fn snapshot(image: &mut [u8]) {
    let start = at::SNAPSHOTS * CLUSTER;
    for (at, length, value) in [
        (0, 8, place(at::SNAPSHOT_L1)),
        (8, 4, 4),
        (12, 2, 1),
        (14, 2, 4),
        (16, 4, 1_600_000_000),
        (36, 4, 16),
        (48, 8, VIRTUAL_SIZE),
    ] {
        set(image, ("", start + at, length), value);
    }
    image[start + 56..][..5].copy_from_slice(b"1snap");
}

fn bitmap(image: &mut [u8]) {
    let start = at::BITMAP_DIRECTORY * CLUSTER;
    for (at, length, value) in [
        (0, 8, place(at::BITMAP_TABLE)),
        (8, 4, 1),
        (12, 4, 2),
        (16, 1, 1),
        (17, 1, 16),
        (18, 2, 4),
    ] {
        set(image, ("", start + at, length), value);
    }
    image[start + 24..][..4].copy_from_slice(b"bits");
    put(image, at::BITMAP_TABLE * CLUSTER, place(at::BITMAP));
}
