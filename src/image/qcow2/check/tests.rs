use super::*;
use crate::ErrorKind;
use crate::storage::MemoryStorage;

pub(super) const CLUSTER: usize = 512;
pub(super) const COPIED: u64 = 1 << 63;
/// Clusters of data, so many that the file takes several pages of counts.
const DATA: usize = 10_000;
const L2_TABLES: usize = DATA.div_ceil(CLUSTER / 8);
const L1_CLUSTERS: usize = (L2_TABLES * 8).div_ceil(CLUSTER);
pub(super) const FILE: usize = 1 + 1 + BLOCKS + L1_CLUSTERS + L2_TABLES + DATA;
const BLOCKS: usize = 40;
const L1_AT: usize = 2 + BLOCKS;
pub(super) const L2_AT: usize = L1_AT + L1_CLUSTERS;
pub(super) const DATA_AT: usize = L2_AT + L2_TABLES;

/// A sound image with 512-byte clusters, laid out as the constants say.
pub(super) fn image() -> Vec<u8> {
    assert_eq!(FILE.div_ceil(CLUSTER / 2), BLOCKS);
    let mut image = vec![0; FILE * CLUSTER];
    image[..4].copy_from_slice(b"QFI\xfb");
    put32(&mut image, 4, 3);
    put32(&mut image, 20, 9);
    put(&mut image, 24, (DATA * CLUSTER) as u64);
    put32(&mut image, 36, L2_TABLES);
    put(&mut image, 40, (L1_AT * CLUSTER) as u64);
    put(&mut image, 48, CLUSTER as u64);
    put32(&mut image, 56, 1);
    put32(&mut image, 96, 4);
    put32(&mut image, 100, 104);
    for block in 0..BLOCKS {
        put(
            &mut image,
            CLUSTER + block * 8,
            ((2 + block) * CLUSTER) as u64,
        );
    }
    for cluster in 0..FILE {
        image[2 * CLUSTER + cluster * 2 + 1] = 1;
    }
    for table in 0..L2_TABLES {
        let entry = ((L2_AT + table) * CLUSTER) as u64 | COPIED;
        put(&mut image, L1_AT * CLUSTER + table * 8, entry);
    }
    for cluster in 0..DATA {
        let entry = ((DATA_AT + cluster) * CLUSTER) as u64 | COPIED;
        put(&mut image, L2_AT * CLUSTER + cluster * 8, entry);
    }
    image
}

fn put32(image: &mut [u8], at: usize, value: usize) {
    image[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_be_bytes());
}

pub(super) fn put(image: &mut [u8], at: usize, value: u64) {
    image[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

pub(super) fn check_with(image: &[u8], window: u64) -> CheckReport {
    let storage = MemoryStorage::new(image.to_vec());
    let header = Header::read(&storage).unwrap();
    check_in_windows(&header, &storage, &Control::new(), window).unwrap()
}

#[test]
fn windows_find_what_one_pass_finds() {
    let mut image = image();
    assert!(check_with(&image, PAGE).is_clean());
    // A leak, a refcount too low, a cluster used twice, flags missing, far from each other.
    let refcount = |cluster: usize| 2 * CLUSTER + cluster * 2;
    let entry = |cluster: usize| L2_AT * CLUSTER + cluster * 8;
    image[refcount(4500) + 1] = 3;
    image[refcount(9000) + 1] = 0;
    image[refcount(FILE - 1)] = 1;
    for (cluster, value) in [
        (10, (DATA_AT + 9990) * CLUSTER),
        (9000, DATA_AT * CLUSTER),
        (5000, FILE * CLUSTER),
        (7000, CLUSTER),
    ] {
        put(&mut image, entry(cluster), value as u64);
    }
    let whole = check_with(&image, WINDOW);
    assert!(whole.corruptions > 5 && whole.leaks > 3, "{whole:?}");
    for window in [PAGE, 2 * PAGE] {
        assert_eq!(check_with(&image, window), whole, "window of {window}");
    }
}

#[test]
fn cancelling_stops_it() {
    let storage = MemoryStorage::new(image());
    let header = Header::read(&storage).unwrap();
    let control = Control::new();
    control.cancel();
    let stop = check(&header, &storage, &control).unwrap_err();
    assert!(matches!(stop, Stop::Cancelled));
}

/// A storage that says it is as long as a file can be, and is empty.
#[derive(Debug)]
struct Endless(MemoryStorage);

impl Storage for Endless {
    fn size(&self) -> Result<u64> {
        Ok(i64::MAX as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.0.read_padded_at(buf, offset)
    }
}

#[test]
fn a_file_of_too_many_clusters_is_refused_at_once() {
    let storage = Endless(MemoryStorage::new(image()));
    let header = Header::read(&storage).unwrap();
    match check(&header, &storage, &Control::new()) {
        Err(Stop::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Io),
        other => panic!("{other:?}"),
    }
}
