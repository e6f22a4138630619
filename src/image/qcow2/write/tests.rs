//! Images for tests, and tests of the parts together.

use super::*;
use crate::image::driver::ImageDriver;
use crate::image::qcow2::entry::COPIED;
use crate::storage::{Calls, Failure, Fault, MemoryStorage, WriteFaultStorage};

/// A version 3 image without data: header, refcount table, one refcount block, L1 table, in this
/// order.
pub(super) fn empty_image(cluster_bits: u32, refcount_order: u32, size: u64) -> Vec<u8> {
    let cluster = 1_usize << cluster_bits;
    let l1_size = u32::try_from(size.div_ceil(1 << (2 * cluster_bits - 3))).unwrap();
    assert!(l1_size as usize * 8 <= cluster);
    let mut bytes = vec![0; cluster * 4];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &0x5146_49fb_u32.to_be_bytes());
    put(4, &3_u32.to_be_bytes());
    put(20, &cluster_bits.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &l1_size.to_be_bytes());
    put(40, &(cluster as u64 * 3).to_be_bytes());
    put(48, &(cluster as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &refcount_order.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(cluster, &(cluster as u64 * 2).to_be_bytes());
    for index in 0..4 {
        let bit = index << refcount_order;
        let last = cluster * 2 + bit / 8 + (1 << refcount_order) / 8;
        match refcount_order {
            0..=2 => bytes[cluster * 2 + bit / 8] |= 1 << (bit % 8),
            _ => bytes[last - 1] = 1,
        }
    }
    bytes
}

fn open(memory: &Arc<MemoryStorage>) -> Qcow2Writer {
    Qcow2Writer::open(WritableFiles {
        storage: Arc::clone(memory) as _,
        data_file: None,
        backing: None,
    })
    .unwrap()
}

#[test]
fn grows_refcounts_and_frees_in_order() {
    for order in 0..=6 {
        let memory = Arc::new(MemoryStorage::new(empty_image(9, order, 1 << 20)));
        let writer = open(&memory);
        let mut state = writer.exclusive().unwrap();
        // More than the first table's 64 blocks describe: 16 MiB with 64 bits.
        let per_block = state.refcounts.per_block();
        let host = state.allocate(per_block * 70).unwrap();
        assert!(state.refcounts.has_moved());
        state.checkpoint().unwrap();
        let (table, clusters) = state.refcounts.table_place();
        assert!(clusters > 1 && table != 512);
        drop(state);

        let writer = open(&memory);
        let mut state = writer.exclusive().unwrap();
        assert_eq!(state.refcounts.table_place(), (table, clusters));
        let run = host / 512..host / 512 + per_block * 70;
        assert_eq!(
            state.refcounts.run(run.clone()).unwrap(),
            (1, per_block * 70)
        );
        // The old table's place is free again, and nothing else.
        assert_eq!(state.refcounts.get(1).unwrap(), 0);
        assert_eq!(state.allocate(1).unwrap(), 512);
        state.free(host, per_block * 70);
        assert!(state.allocate(2).unwrap() > host);
        state.checkpoint().unwrap();
        assert_eq!(state.refcounts.get(run.start).unwrap(), 0);
        assert!(state.allocate(per_block).unwrap() <= host);
    }
}

#[test]
fn never_allocates_where_a_structure_is() {
    let mut bytes = empty_image(9, 4, 1 << 20);
    // The L1 table is counted as free.
    bytes[512 * 2 + 7] = 0;
    let memory = Arc::new(MemoryStorage::new(bytes));
    let writer = open(&memory);
    let mut state = writer.exclusive().unwrap();
    let error = state.allocate(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    drop(state);
    assert!(writer.exclusive().is_err());
    let bytes = memory.to_vec();
    assert_eq!(bytes[79], 2, "the corrupt bit");
}

#[test]
fn an_l2_table_in_two_places_is_refused() {
    let mut bytes = empty_image(9, 4, 1 << 20);
    let l1 = 512 * 3;
    for entry in 0..2 {
        bytes[l1 + entry * 8 + 6] = 4;
    }
    let memory = Arc::new(MemoryStorage::new(bytes));
    let opened = Qcow2Writer::open(WritableFiles {
        storage: memory,
        data_file: None,
        backing: None,
    });
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Bytes of an image with clusters of 512 bytes whose first two guest clusters are at the host
/// clusters 5 and 6, under the L2 table in cluster 4.
fn two_clusters() -> Vec<u8> {
    let mut bytes = empty_image(9, 4, 1 << 20);
    bytes.resize(512 * 7, 0);
    bytes[512 * 5..].fill(0x11);
    for cluster in 4..7 {
        set_refcount(&mut bytes, cluster, 1);
    }
    set_entry(&mut bytes, 512 * 3, COPIED | (512 * 4));
    set_entry(&mut bytes, 512 * 4, COPIED | (512 * 5));
    set_entry(&mut bytes, 512 * 4 + 8, COPIED | (512 * 6));
    bytes
}

fn set_refcount(bytes: &mut [u8], cluster: usize, value: u16) {
    let at = 512 * 2 + cluster * 2;
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn set_entry(bytes: &mut [u8], at: usize, entry: u64) {
    bytes[at..at + 8].copy_from_slice(&entry.to_be_bytes());
}

fn try_open(bytes: Vec<u8>) -> (Arc<MemoryStorage>, Result<Qcow2Writer>) {
    let memory = Arc::new(MemoryStorage::new(bytes));
    let opened = Qcow2Writer::open(WritableFiles {
        storage: Arc::clone(&memory) as _,
        data_file: None,
        backing: None,
    });
    (memory, opened)
}

#[test]
fn guest_data_never_goes_where_a_structure_is() {
    for target in 0..5 {
        let mut bytes = two_clusters();
        set_entry(&mut bytes, 512 * 4 + 8, COPIED | (512 * target));
        if target == 0 {
            // Nowhere: a new place is found.
            let (_, writer) = try_open(bytes);
            writer
                .unwrap()
                .write_at(&[1; 512], GuestOffset(512))
                .unwrap();
            continue;
        }
        let (memory, writer) = try_open(bytes.clone());
        let writer = writer.unwrap();
        let error = writer.write_at(&[1; 512], GuestOffset(512)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{target}");
        let after = memory.to_vec();
        assert_eq!(after[79], 2, "the corrupt bit");
        assert!(after[512..] == bytes[512..], "{target}");
        // Even what would be harmless.
        assert!(writer.write_at(&[1; 512], GuestOffset(0)).is_err());
        assert!(writer.flush().is_err());
        assert!(try_open(after).1.is_err());
    }
}

#[test]
fn what_is_counted_as_free_is_not_written() {
    for (cluster, offset) in [(4, 0), (5, 0), (5, 7), (6, 512)] {
        let mut bytes = two_clusters();
        set_refcount(&mut bytes, cluster, 0);
        let (memory, writer) = try_open(bytes.clone());
        let writer = writer.unwrap();
        let length = if offset == 7 { 3 } else { 512 };
        let error = writer
            .write_at(&vec![1; length], GuestOffset(offset))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{cluster}");
        assert!(writer.write_zeroes(offset..offset + 512, true).is_err());
        writer.flush().unwrap();
        assert!(memory.to_vec() == bytes, "{cluster}");
    }
}

#[test]
fn a_shared_cluster_is_copied_whatever_its_flag_says() {
    let mut bytes = two_clusters();
    set_refcount(&mut bytes, 5, 2);
    let (memory, writer) = try_open(bytes);
    let writer = writer.unwrap();
    writer.write_at(&[1; 3], GuestOffset(7)).unwrap();
    writer.flush().unwrap();
    let after = memory.to_vec();
    assert!(after[512 * 5..512 * 7].iter().all(|byte| *byte == 0x11));
    assert_eq!(
        after[512 * 7..][..11],
        [17, 17, 17, 17, 17, 17, 17, 1, 1, 1, 17]
    );
    assert_eq!(after[512 * 2 + 11], 1);
}

#[test]
fn damaged_entries_are_refused() {
    let wrong = [
        COPIED | 0x201,
        COPIED | (512 * 5 + 0x10_0000_0000_0200),
        512 << 40,
        (1 << 62) | 0x3f_ffff_ffff_ffff,
    ];
    for entry in wrong {
        let mut bytes = two_clusters();
        set_entry(&mut bytes, 512 * 4, entry);
        let (memory, writer) = try_open(bytes.clone());
        let writer = writer.unwrap();
        for length in [1, 512, 1024] {
            let _ = writer.write_at(&vec![1; length], GuestOffset(0));
            let _ = writer.write_zeroes(0..length as u64, true);
            let _ = writer.discard(0..length as u64, true);
        }
        let _ = writer.flush();
        assert!(memory.to_vec().len() < 1 << 20);
    }
}

#[test]
fn refuses_what_must_not_be_changed() {
    let with = |at: usize, field: &[u8]| {
        let mut bytes = two_clusters();
        bytes[at..at + field.len()].copy_from_slice(field);
        try_open(bytes)
    };
    assert!(with(79, &[2]).1.is_err(), "corrupt");
    assert!(with(32, &1_u32.to_be_bytes()).1.is_err(), "encrypted");
    assert!(with(79, &[4]).1.is_err(), "no data file");
    assert!(with(72, &[0x80]).1.is_err(), "unknown feature");
    // Not closed well: mended.
    let (memory, writer) = with(79, &[1]);
    writer.unwrap();
    assert_eq!(memory.to_vec()[79], 0);
    // Unknown autoclear features go, and with the first write the promise about bitmaps.
    let (memory, writer) = with(88, &[0xff; 8]);
    assert!(writer.is_err(), "a raw data file without a data file");
    drop(memory);
    let (memory, writer) = with(88, &0xff00_0000_0000_0001_u64.to_be_bytes());
    let writer = writer.unwrap();
    assert_eq!(memory.to_vec()[88..96], 1_u64.to_be_bytes());
    writer.write_at(&[1], GuestOffset(0)).unwrap();
}

#[test]
fn a_backing_file_that_is_not_open_is_not_taken_for_zeroes() {
    let mut bytes = two_clusters();
    bytes[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
    bytes[256] = b'b';
    let (_, writer) = try_open(bytes);
    let writer = writer.unwrap();
    writer.write_at(&[1; 512], GuestOffset(2048)).unwrap();
    assert!(writer.write_at(&[1; 511], GuestOffset(4096)).is_err());
    writer.flush().unwrap();
}

/// What a script wrote, and what of it was flushed.
fn script(writer: &Qcow2Writer, from: u64) -> Result<()> {
    for step in 0..40_u64 {
        let byte = u8::try_from(from + step).unwrap();
        let at = step * 7919 % 900_000;
        match step % 5 {
            0 | 1 => writer.write_at(&[byte; 3000], GuestOffset(at))?,
            2 => writer.write_compressed(&[byte; 512], GuestOffset(at / 512 * 512))?,
            3 => writer.write_zeroes(at..at + 2000, true)?,
            _ => writer.write_at(&[byte; 100], GuestOffset(at))?,
        }
        if step % 16 == 15 {
            writer.flush()?;
        }
    }
    writer.flush()
}

/// All the guest bytes of an image, and what its check counts as corruptions and leaks.
fn judge(bytes: Vec<u8>) -> (Vec<u8>, u64, u64) {
    let image = qcow2::Qcow2::open(Arc::new(MemoryStorage::new(bytes))).unwrap();
    let mut content = vec![0; 1 << 20];
    image
        .read_at(&mut content, GuestOffset(0), &mut Vec::new())
        .unwrap();
    let report = image.check(&Control::new()).unwrap();
    (content, report.corruptions, report.leaks)
}

#[test]
fn no_failure_costs_what_was_there() {
    let first = Arc::new(MemoryStorage::new(empty_image(9, 4, 1 << 20)));
    script(&open(&first), 1).unwrap();
    let before = judge(first.to_vec());
    assert_eq!((before.1, before.2), (0, 0));
    for failure in [Failure::Io, Failure::NoSpace, Failure::Short] {
        let mut nth = 0;
        loop {
            let memory = Arc::new(MemoryStorage::new(first.to_vec()));
            let faulty = Arc::new(WriteFaultStorage::new(
                Arc::clone(&memory) as _,
                "x",
                Calls::Changes,
                Fault::Once(nth),
                failure,
            ));
            let writer = Qcow2Writer::open(WritableFiles {
                storage: Arc::clone(&faulty) as _,
                data_file: None,
                backing: None,
            })
            .unwrap();
            let outcome = script(&writer, 101);
            let (content, corruptions, _) = judge(memory.to_vec());
            assert_eq!(corruptions, 0, "{failure:?} {nth}");
            if outcome.is_ok() && faulty.failed() == 0 {
                break;
            }
            for (at, (now, then)) in content.iter().zip(&before.0).enumerate() {
                let is_new = *now >= 101 || *now == 0;
                assert!(now == then || is_new, "{failure:?} {nth}: {at:#x}");
            }
            // Data that could not be written costs nothing more: whatever works, works on.
            if writer.flush().is_ok() && script(&writer, 150).is_ok() {
                let (_, corruptions, leaks) = judge(memory.to_vec());
                assert_eq!((corruptions, leaks), (0, 0), "{failure:?} {nth}");
            }
            nth += 1;
        }
        assert!(nth > 50, "{nth}");
    }
}
