//! Images for tests, and tests of the parts together.

use super::*;
use crate::storage::MemoryStorage;

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
