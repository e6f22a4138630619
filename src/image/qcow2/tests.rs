//! Images that no program would write: limits, damage, hostile tables.

use std::time::{Duration, Instant};

use proptest::prelude::{Just, ProptestConfig, any, prop_oneof};
use proptest::strategy::Strategy;

use super::*;
use crate::image::extent::ExtentState;
use crate::storage::{Fault, FaultStorage, MemoryStorage};

/// Small, so that a whole image is a few dozen KiB.
const CLUSTER: u64 = 4096;
const SIZE: u64 = 1 << 20;
const REFCOUNT_TABLE: u64 = CLUSTER;
const REFCOUNT_BLOCK: u64 = 2 * CLUSTER;
const L1: u64 = 3 * CLUSTER;
const L2: u64 = 4 * CLUSTER;
const DATA: u64 = 5 * CLUSTER;
const COPIED: u64 = 1 << 63;

/// Bytes of an image, changed field by field.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl Bytes {
    /// A version 3 image of 1 MiB whose first cluster holds 0x11.
    fn new() -> Self {
        let mut image = Self(vec![0; DATA as usize + CLUSTER as usize]);
        image.0[DATA as usize..].fill(0x11);
        image
            .be32(0, 0x5146_49fb)
            .be32(4, 3)
            .be32(20, 12)
            .be64(24, SIZE)
            .be32(36, 1)
            .be64(40, L1)
            .be64(48, REFCOUNT_TABLE)
            .be32(56, 1)
            .be32(96, 4)
            .be32(100, 104)
            .be64(REFCOUNT_TABLE, REFCOUNT_BLOCK)
            .be64(L1, L2 | COPIED)
            .be64(L2, DATA | COPIED);
        for cluster in 0..6 {
            image.be16(REFCOUNT_BLOCK + cluster * 2, 1);
        }
        image
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> &mut Self {
        let at = at as usize;
        if self.0.len() < at + bytes.len() {
            self.0.resize(at + bytes.len(), 0);
        }
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn be16(&mut self, at: u64, value: u16) -> &mut Self {
        self.put(at, &value.to_be_bytes())
    }

    fn be32(&mut self, at: u64, value: u32) -> &mut Self {
        self.put(at, &value.to_be_bytes())
    }

    fn be64(&mut self, at: u64, value: u64) -> &mut Self {
        self.put(at, &value.to_be_bytes())
    }

    fn open(&self) -> Result<Qcow2> {
        Qcow2::open(Arc::new(MemoryStorage::new(self.0.clone())))
    }
}

fn read(image: &Qcow2, guest: u64, length: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0xee; length];
    image.read_at(&mut buf, GuestOffset(guest), &mut Vec::new())?;
    Ok(buf)
}

fn extents(image: &Qcow2) -> Result<Vec<(Range<u64>, ExtentState)>> {
    let mut extents = Vec::new();
    image.for_each_extent(0..u64::MAX, &mut |extent| {
        extents.push((extent.guest, extent.state));
        ControlFlow::Continue(())
    })?;
    Ok(extents)
}

fn data(host: u64) -> ExtentState {
    let host = HostOffset(host);
    ExtentState::Data { host }
}

const NOTHING: ExtentState = ExtentState::Unallocated { host: None };

#[test]
fn the_small_image_is_good() {
    let image = Bytes::new().open().unwrap();
    assert_eq!(read(&image, 0, 4096).unwrap(), [0x11; 4096]);
    assert_eq!(
        extents(&image).unwrap(),
        [(0..CLUSTER, data(DATA)), (CLUSTER..SIZE, NOTHING)]
    );
    let place = image.locate(GuestOffset(5)).unwrap().unwrap();
    assert_eq!(place.host, Some(HostOffset(DATA)));
    assert_eq!(place.refcount, Some(1));
    let place = image.locate(GuestOffset(SIZE - 1)).unwrap().unwrap();
    assert_eq!((place.l1_index, place.l2_index), (0, 255));
    assert_eq!((place.host, place.refcount), (None, None));
    assert!(image.locate(GuestOffset(SIZE)).unwrap().is_none());
}

/// A change to the header, and the message it is refused with.
type Limit = (fn(&mut Bytes) -> &mut Bytes, &'static str);

#[test]
fn the_header_keeps_qemus_limits() {
    let limits: [Limit; 31] = [
        (|b| b.be32(4, 1), "Unsupported qcow2 version 1"),
        (|b| b.be32(4, 4), "Unsupported qcow2 version 4"),
        (|b| b.be32(20, 8), "Unsupported cluster size: 2^8"),
        (|b| b.be32(20, 22), "Unsupported cluster size: 2^22"),
        (
            |b| b.be32(20, u32::MAX),
            "Unsupported cluster size: 2^4294967295",
        ),
        (|b| b.be32(100, 103), "qcow2 header too short"),
        (|b| b.be32(100, 4097), "qcow2 header exceeds cluster size"),
        (|b| b.be64(8, CLUSTER + 1), "Invalid backing file offset"),
        (
            |b| b.be64(8, 3072).be32(16, 1024),
            "Backing file name too long",
        ),
        (
            |b| b.be64(8, 4090).be32(16, 7),
            "Backing file name too long",
        ),
        (|b| b.be32(32, 3), "Unsupported encryption method 3"),
        (|b| b.be32(32, 2), "Missing CRYPTO header"),
        (|b| b.be32(36, 0), "L1 table is too small"),
        (|b| b.be64(24, 1 << 40), "L1 table is too small"),
        (|b| b.be64(24, u64::MAX), "L1 table is too small"),
        (|b| b.be32(36, (1 << 22) + 1), "Active L1 table too large"),
        (|b| b.be32(36, u32::MAX), "Active L1 table too large"),
        (
            |b| b.be64(40, L1 + 1),
            "Active L1 table offset 0x3001 invalid",
        ),
        (|b| b.be64(40, !(CLUSTER - 1)), "Active L1 table offset"),
        (
            |b| b.be32(56, 0),
            "does not contain a reference count table",
        ),
        (|b| b.be32(56, 2049), "Reference count table too large"),
        (|b| b.be32(56, u32::MAX), "Reference count table too large"),
        (
            |b| b.be64(48, 1),
            "Reference count table offset 0x1 invalid",
        ),
        (|b| b.be64(48, 1 << 63), "Reference count table offset"),
        (|b| b.be32(60, 65_537), "Snapshot table too large"),
        (|b| b.be32(96, 7), "Reference count entry width too large"),
        (
            |b| b.be64(72, 1 << 5),
            "Unsupported qcow2 feature(s): bit 5",
        ),
        (|b| b.be64(72, 1 << 4), "Unsupported subcluster size: 128"),
        (|b| b.be64(72, 1 << 3), "must not be set for zlib"),
        (|b| b.be32(104, 9), "Header extension too large"),
        (
            |b| b.be64(88, 2),
            "data-file-raw requires an external data file",
        ),
    ];
    for (change, message) in limits {
        let mut bytes = Bytes::new();
        // Room for the last of them: an extension of 64 KiB.
        bytes.be32(108, 65_536);
        if message != "Header extension too large" {
            bytes.be32(104, 0);
        }
        change(&mut bytes);
        let error = bytes.open().unwrap_err();
        assert!(error.message().contains(message), "{message}: {error}");
        assert!(error.offset().is_some(), "{error}");
    }
}

#[test]
fn the_compression_type_is_known() {
    let mut bytes = Bytes::new();
    bytes.be32(100, 112);
    assert!(bytes.open().is_ok());
    for (kind, bit, message) in [
        (1, 0, "must be set for zstd"),
        (0, 1 << 3, "must not be set for zlib"),
        (2, 1 << 3, "unknown compression type: 2"),
    ] {
        let error = bytes.put(104, &[kind]).be64(72, bit).open().unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
    assert!(bytes.put(104, &[1]).be64(72, 1 << 3).open().is_ok());
}

#[test]
fn every_truncation_is_an_error_or_reads_as_zeroes() {
    let whole = Bytes::new();
    for length in 0..whole.0.len() {
        if length > 200 && length % 97 != 0 {
            continue;
        }
        let cut = Bytes(whole.0[..length].to_vec());
        let Ok(image) = cut.open() else {
            assert!(length < 112, "{length}");
            continue;
        };
        let tables = DATA as usize;
        match read(&image, 0, 4096) {
            Ok(bytes) => {
                assert!(length >= tables, "{length}");
                assert!(bytes[..length - tables].iter().all(|byte| *byte == 0x11));
                assert!(bytes[length - tables..].iter().all(|byte| *byte == 0));
                assert!(extents(&image).is_ok());
            }
            Err(error) => {
                assert!(length < tables, "{length}");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.field().is_some() && error.offset().is_some());
                // The walk reads no more of the table than the disk needs: half of it.
                assert_eq!(extents(&image).is_err(), length < L2 as usize + 2048);
            }
        }
    }
}

#[test]
fn damaged_tables_are_named() {
    let rows: [Limit; 7] = [
        (
            |b| b.be64(L1, L2 | 512),
            "L2 table offset 0x4200 unaligned (L1 index: 0x0)",
        ),
        (
            |b| b.be64(L1, 1 << 40),
            "the file ends before this structure does",
        ),
        (
            |b| b.be64(L1, 0x00ff_ffff_ffff_f000),
            "the file ends before this structure does",
        ),
        (
            |b| b.be64(L2, DATA | 512),
            "Cluster allocation offset 0x5200 unaligned",
        ),
        (
            |b| b.be64(L2, DATA | 513),
            "Cluster allocation offset 0x5200 unaligned",
        ),
        (
            |b| b.be32(4, 2).be64(L2, DATA | 1),
            "Zero cluster entry found in pre-v3 image",
        ),
        (
            |b| b.be32(4, 2).be64(L2, 1),
            "Zero cluster entry found in pre-v3 image",
        ),
    ];
    for (change, message) in rows {
        let mut bytes = Bytes::new();
        change(&mut bytes);
        let image = bytes.open().unwrap();
        for error in [
            read(&image, 0, 512).unwrap_err(),
            extents(&image).unwrap_err(),
            image.locate(GuestOffset(0)).unwrap_err(),
        ] {
            assert!(error.message().contains(message), "{message}: {error}");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.field().is_some() && error.offset().is_some());
        }
    }
}

#[test]
fn a_backing_file_name_that_was_cut_off_is_damage() {
    let mut bytes = Bytes::new();
    bytes.be64(8, 4000).be32(16, 90);
    bytes.0.truncate(4050);
    let error = bytes.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.offset(), Some(4000));
    assert_eq!(error.field(), Some("backing file name"));
}

#[test]
fn tables_may_point_at_each_other() {
    let mut bytes = Bytes::new();
    bytes.be64(L1, L1);
    let image = bytes.open().unwrap();
    // The L1 table, taken for an L2 table, maps the first cluster to the L1 table.
    assert_eq!(extents(&image).unwrap()[0], (0..CLUSTER, data(L1)));
    assert_eq!(read(&image, 0, 8).unwrap(), L1.to_be_bytes());
    // Its own L2 table as data.
    bytes.be64(L1, L2).be64(L2, L2);
    let image = bytes.open().unwrap();
    assert_eq!(read(&image, 0, 8).unwrap(), L2.to_be_bytes());
}

#[test]
fn data_past_the_end_of_the_file_reads_as_zeroes() {
    let image = Bytes::new().be64(L2, 1 << 50).open().unwrap();
    assert_eq!(read(&image, 0, 4096).unwrap(), [0; 4096]);
}

#[test]
fn reserved_bits_of_entries_do_not_matter() {
    let mut bytes = Bytes::new();
    bytes.be64(L1, L2 | COPIED | 0x7f << 56 | 0x1ff);
    bytes.be64(L2, DATA | 0x3f << 56 | 0xfe);
    bytes.be64(L2 + 8, 0x3f << 56);
    let image = bytes.open().unwrap();
    assert_eq!(read(&image, 0, 4096).unwrap(), [0x11; 4096]);
    assert_eq!(
        extents(&image).unwrap(),
        [(0..CLUSTER, data(DATA)), (CLUSTER..SIZE, NOTHING)]
    );
}

#[test]
fn a_table_used_for_everything_is_refused_at_once() {
    // 4 194 304 L1 entries, all of them the same L2 table: 16 GiB of tables in a 32 MiB file.
    let mut bytes = Bytes::new();
    let entries = 1_u32 << 22;
    bytes.be64(24, u64::from(entries) * 512 * CLUSTER);
    bytes.be32(36, entries).be64(40, DATA);
    let table = (L2 | COPIED).to_be_bytes().repeat(entries as usize);
    bytes.put(DATA, &table);
    let start = Instant::now();
    let image = bytes.open().unwrap();
    let error = extents(&image).unwrap_err();
    assert!(
        error.message().contains("uses 4194304 L2 tables"),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn damaged_compressed_clusters_are_named() {
    let compressed = 1_u64 << 62;
    for entry in [
        // Zeroes, which are no deflate stream; beyond the file; as far away as can be.
        compressed | (L2 + 2048),
        compressed | 1 << 40,
        compressed | (compressed - 1),
        compressed | COPIED | (compressed - 1),
    ] {
        let image = Bytes::new().be64(L2, entry).open().unwrap();
        for length in [512, 4096] {
            let error = read(&image, 0, length).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{entry:#x}");
            assert!(error.offset().is_some());
        }
        assert_eq!(extents(&image).unwrap()[0].1, ExtentState::Compressed);
    }
}

#[test]
fn compressed_data_may_reach_past_the_end_of_the_file() {
    // A stored block: one byte of header, the length twice, the data.
    let mut stream = vec![1, 0, 16, 255, 239];
    stream.extend([0x22; 4096]);
    let mut bytes = Bytes::new();
    bytes.put(DATA, &stream);
    // Nine sectors, of which the last is cut.
    bytes.be64(L2, 1 << 62 | 8 << 58 | DATA);
    assert!((bytes.0.len() as u64) < DATA + 9 * 512);
    let image = bytes.open().unwrap();
    assert_eq!(read(&image, 0, 4096).unwrap(), [0x22; 4096]);
    assert_eq!(read(&image, 1000, 96).unwrap(), [0x22; 96]);
    let place = image.locate(GuestOffset(77)).unwrap().unwrap();
    assert_eq!(place.host, Some(HostOffset(DATA)));
}

#[test]
fn external_data_is_read_only_when_it_is_handed_over() {
    let mut bytes = Bytes::new();
    bytes.be64(72, feature::DATA_FILE);
    bytes.be64(L2, COPIED).be64(L2 + 8, CLUSTER | COPIED);
    let mut image = bytes.open().unwrap();
    assert_eq!(image.info().data_file.as_ref().unwrap().name, "");
    let error = read(&image, 0, 512).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    // Offset 0 is a place of its own there.
    assert_eq!(
        extents(&image).unwrap(),
        [(0..2 * CLUSTER, data(0)), (2 * CLUSTER..SIZE, NOTHING)]
    );
    let external = Arc::new(MemoryStorage::new(vec![0x33; 5000]));
    image.attach_data_file(external.clone()).unwrap();
    assert_eq!(read(&image, 4096, 4096).unwrap()[..904], [0x33; 904]);
    assert_eq!(read(&image, 4096, 4096).unwrap()[904..], [0; 3192]);
    let place = image.locate(GuestOffset(0)).unwrap().unwrap();
    assert_eq!((place.host, place.refcount), (Some(HostOffset(0)), None));

    for (entry, message) in [
        (2 * CLUSTER, "does not match guest cluster offset"),
        (1 << 62, "in image with external data file"),
    ] {
        let image = bytes.be64(L2 + 8, entry).open().unwrap();
        let error = read(&image, CLUSTER, 512).unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
    let mut plain = Bytes::new().open().unwrap();
    assert!(plain.attach_data_file(external).is_err());
}

#[test]
fn encrypted_data_is_never_handed_out() {
    let mut luks_header = extension::ENCRYPTION.to_be_bytes().to_vec();
    luks_header.extend(16_u32.to_be_bytes());
    for (method, name) in [(1, "aes"), (2, "luks")] {
        let mut bytes = Bytes::new();
        bytes.be32(32, method).put(104, &luks_header);
        let image = bytes.open().unwrap();
        assert_eq!(image.info().encryption.as_deref(), Some(name));
        let error = read(&image, 0, 512).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains(name));
        // Where nothing is stored, nothing is encrypted.
        assert!(read(&image, CLUSTER, 512).is_ok());
        assert_eq!(extents(&image).unwrap()[0].1, data(DATA));
    }
}

#[test]
fn subclusters_have_states_of_their_own() {
    let mut bytes = Bytes::new();
    // Clusters of 16 KiB: subclusters of 512 bytes.
    let cluster = 16_384;
    bytes.be64(72, feature::EXTENDED_L2).be32(20, 14);
    bytes.be64(40, cluster).be64(48, cluster);
    bytes.be64(cluster, 2 * cluster).put(4 * cluster - 1, &[0]);
    let entry = 2 * cluster;
    bytes.be64(entry, 3 * cluster);
    bytes.be64(entry + 8, 0x0000_00f0_0000_000f);
    bytes.be64(entry + 24, 0x8000_0000_0000_0000);
    let image = bytes.open().unwrap();
    let at = |offset: u64| Some(HostOffset(3 * cluster + offset));
    assert_eq!(
        extents(&image).unwrap(),
        [
            (0..2048, data(3 * cluster)),
            (2048..4096, ExtentState::Zero { host: at(2048) }),
            (4096..cluster, ExtentState::Unallocated { host: at(4096) }),
            (cluster..2 * cluster - 512, NOTHING),
            (
                2 * cluster - 512..2 * cluster,
                ExtentState::Zero { host: None }
            ),
            (2 * cluster..SIZE, NOTHING),
        ]
    );
    let place = image.locate(GuestOffset(5000)).unwrap().unwrap();
    assert_eq!(place.host, at(0));

    for (offset, bitmap) in [(3 * cluster, 0x1_0000_0001), (0, 1)] {
        bytes.be64(entry, offset).be64(entry + 8, bitmap);
        let error = extents(&bytes.open().unwrap()).unwrap_err();
        assert!(
            error.message().contains("invalid subcluster bitmap"),
            "{error}"
        );
    }
}

/// A snapshot table entry with id, name and extra data.
fn snapshot_entry(l1_offset: u64, id: &str, extra: &[u8]) -> Vec<u8> {
    let mut entry = l1_offset.to_be_bytes().to_vec();
    entry.extend(1_u32.to_be_bytes());
    entry.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
    entry.extend(4_u16.to_be_bytes());
    entry.extend(1_000_000_000_u32.to_be_bytes());
    entry.extend(500_u32.to_be_bytes());
    entry.extend(3_000_000_007_u64.to_be_bytes());
    entry.extend(77_u32.to_be_bytes());
    entry.extend(u32::try_from(extra.len()).unwrap().to_be_bytes());
    entry.extend(extra);
    entry.extend(id.as_bytes());
    entry.extend(b"name");
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry
}

#[test]
fn damaged_snapshots_leave_the_others_readable() {
    let table = DATA + CLUSTER;
    let mut extra = (5_u64 << 32).to_be_bytes().to_vec();
    extra.extend((SIZE / 2).to_be_bytes());
    extra.extend(42_u64.to_be_bytes());
    let mut entries = snapshot_entry(L1, "1", &[]);
    entries.extend(snapshot_entry(L1 + 1, "2", &extra));
    entries.extend(snapshot_entry(L1, "3", &[0; 3000]));
    entries.extend(snapshot_entry(L1, "4", &extra));
    entries.extend(snapshot_entry(L1, "5", &[0xff; 24]));
    let mut bytes = Bytes::new();
    bytes.be32(60, 7).be64(64, table).put(table, &entries);
    let image = bytes.open().unwrap();

    let snapshots = &image.info().snapshots;
    let damage: Vec<_> = snapshots.iter().map(|s| s.damage.is_some()).collect();
    assert_eq!(damage, [false, true, true, false, true, true]);
    assert_eq!(snapshots[0].vm_state_size, 77);
    assert_eq!(snapshots[0].virtual_size, SIZE);
    assert_eq!(snapshots[0].icount, None);
    assert_eq!(snapshots[0].vm_clock, Duration::from_nanos(3_000_000_007));
    assert_eq!(snapshots[0].date, Duration::new(1_000_000_000, 500));
    assert_eq!(snapshots[3].vm_state_size, 5 << 32);
    assert_eq!(snapshots[3].icount, Some(42));
    let damage = snapshots[4].damage.as_deref().unwrap();
    assert!(damage.contains("L1 table is too small"), "{damage}");
    let damage = snapshots[5].damage.as_deref().unwrap();
    assert!(damage.contains("snapshots 6 to 7"), "{damage}");

    let view = |id: &str| image.snapshot_view(&SnapshotSelector::Id(id.into()));
    assert_eq!(view("1").unwrap().virtual_size(), SIZE);
    assert_eq!(view("4").unwrap().virtual_size(), SIZE / 2);
    assert_eq!(view("2").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(view("3").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(view("5").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(view("9").unwrap_err().kind(), ErrorKind::NotFound);

    // A table that is nowhere.
    let image = bytes.be64(64, 1 << 50).open().unwrap();
    assert_eq!(image.info().snapshots.len(), 1);
    assert!(read(&image, 0, 512).is_ok());
}

#[test]
fn a_damaged_bitmap_directory_leaves_the_rest_readable() {
    let mut extension = extension::BITMAPS.to_be_bytes().to_vec();
    extension.extend(24_u32.to_be_bytes());
    extension.extend(1_u32.to_be_bytes());
    extension.extend(0_u32.to_be_bytes());
    extension.extend(32_u64.to_be_bytes());
    extension.extend((1_u64 << 40).to_be_bytes());
    let mut bytes = Bytes::new();
    bytes.put(104, &extension);
    let details = |bytes: &Bytes| {
        let image = bytes.open().unwrap();
        assert!(read(&image, 0, 512).is_ok());
        match image.info().details.clone() {
            FormatDetails::Qcow2(details) => details,
            FormatDetails::None => panic!("not qcow2"),
        }
    };
    // Without the autoclear bit the extension does not count.
    assert_eq!(details(&bytes).bitmaps_damage, None);
    bytes.be64(88, feature::BITMAPS);
    assert!(details(&bytes).bitmaps_damage.is_some());
    assert!(details(&bytes).bitmaps.is_empty());
    assert_eq!(details(&bytes).extensions.len(), 1);
}

#[test]
fn tables_are_read_together_and_kept() {
    // 256 L2 tables in one piece, all full: 512 clusters each.
    let tables = 256;
    let mut bytes = Bytes::new();
    bytes
        .be64(24, tables * 512 * CLUSTER)
        .be32(36, tables as u32);
    for table in 0..tables {
        let at = DATA + table * CLUSTER;
        bytes.be64(L1 + table * 8, at | COPIED);
        for entry in 0..512 {
            let cluster = 1_000 + table * 512 + entry;
            bytes.be64(at + entry * 8, (cluster * CLUSTER) | COPIED);
        }
    }
    let inner = Arc::new(MemoryStorage::new(bytes.0));
    let storage = Arc::new(FaultStorage::new(inner, Fault::Never));
    let image = Qcow2::open(storage.clone()).unwrap();
    assert_eq!(storage.reads(), 1, "only the header");
    storage.reset();
    assert_eq!(
        extents(&image).unwrap(),
        [(0..tables * 512 * CLUSTER, data(1_000 * CLUSTER))]
    );
    // The L1 table, and a megabyte of L2 tables.
    assert_eq!(storage.reads(), 2);
    assert!(storage.bytes() <= (1 << 20) + tables * 8);

    storage.reset();
    for _ in 0..2 {
        // Across two L2 tables: two of them once, and the data in one piece.
        read(&image, 510 * CLUSTER, 16_384).unwrap();
    }
    assert_eq!(storage.reads(), 2, "data is past the end of the file");
}

proptest::proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever the tables and the header hold, everything returns.
    #[test]
    fn nothing_panics_or_hangs(
        changes in proptest::collection::vec((where_to_change(), what_to_write()), 1..6),
        extended in any::<bool>(),
        length in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = Bytes::new();
        if extended {
            bytes.be64(72, feature::EXTENDED_L2).be32(20, 14);
        }
        for (at, value) in changes {
            bytes.be64(at, value);
        }
        let cut = length.index(bytes.0.len() * 4);
        bytes.0.truncate(cut);
        let Ok(image) = bytes.open() else {
            return Ok(());
        };
        let size = image.virtual_size();
        let mut covered = 0;
        let walked = image.for_each_extent(0..u64::MAX, &mut |extent| {
            assert_eq!(extent.guest.start, covered);
            covered = extent.guest.end;
            ControlFlow::Continue(())
        });
        assert!(walked.is_err() || covered == size);
        for start in [0, 4096, size.saturating_sub(9000)] {
            let length = usize::try_from((size - start.min(size)).min(20_000)).unwrap();
            let _ = read(&image, start.min(size), length);
            let _ = image.locate(GuestOffset(start));
        }
        let _ = image.has_preallocated_metadata();
        for snapshot in &image.info().snapshots {
            let _ = image.snapshot_view(&SnapshotSelector::Id(snapshot.id.clone()));
        }
    }
}

/// Fields and tables, rather than just anywhere.
fn where_to_change() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..200,
        Just(L1),
        (0_u64..40).prop_map(|word| L2 + word * 8),
        0_u64..DATA,
    ]
}

fn what_to_write() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0_u64..8).prop_map(|cluster| cluster * CLUSTER),
        (0_u64..8).prop_map(|cluster| (cluster * CLUSTER) | COPIED),
        (0_u64..0x8000).prop_map(|at| 1 << 62 | at),
        (0_u32..64).prop_map(|bit| 1 << bit),
    ]
}
