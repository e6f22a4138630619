use super::*;
use crate::image::qcow2::check::counts::PAGE;
use crate::image::qcow2::check::tests::{
    CLUSTER, COPIED, DATA_AT, FILE, L2_AT, check_with, image, put,
};
use crate::storage::MemoryStorage;

fn refcount(cluster: usize) -> usize {
    2 * CLUSTER + cluster * 2
}

fn entry(cluster: usize) -> usize {
    L2_AT * CLUSTER + cluster * 8
}

fn mend(image: &[u8], repair: Repair, window: u64) -> (RepairReport, Vec<u8>) {
    let storage = MemoryStorage::new(image.to_vec());
    let header = Header::read(&storage).unwrap();
    let report = repair_in_windows(
        &header,
        &storage,
        repair,
        &|_| Ok(()),
        &Control::new(),
        window,
    )
    .unwrap();
    (report, storage.to_vec())
}

/// Leaks, refcounts too low, a cluster used twice, flags missing, far from each other.
fn damaged() -> Vec<u8> {
    let mut image = image();
    image[refcount(4500) + 1] = 3;
    image[refcount(FILE - 1)] = 1;
    for (cluster, value) in [
        (10, (DATA_AT + 9990) * CLUSTER),
        (9000, (DATA_AT * CLUSTER) | (1 << 63)),
        (7000, (DATA_AT + 7000) * CLUSTER),
    ] {
        put(&mut image, entry(cluster), value as u64);
    }
    image
}

#[test]
fn windows_mend_what_one_pass_mends() {
    let damaged = damaged();
    let (report, whole) = mend(&damaged, Repair::All, WINDOW);
    assert!(report.after.is_clean(), "{:?}", report.after);
    assert!(report.corruptions_fixed > 4 && report.leaks_fixed > 2);
    assert!(check_with(&whole, WINDOW).is_clean());
    for window in [PAGE, 2 * PAGE] {
        let (windowed, bytes) = mend(&damaged, Repair::All, window);
        assert_eq!(windowed.steps, report.steps, "window of {window}");
        assert_eq!(windowed.corruptions_fixed, report.corruptions_fixed);
        assert_eq!(bytes, whole);
    }
}

#[test]
fn refcounts_are_rebuilt_behind_the_end_of_a_file_of_many_windows() {
    let mut image = damaged();
    image[refcount(9000) + 1] = 0;
    put(&mut image, CLUSTER + 16, 7);
    for window in [WINDOW, PAGE] {
        let (report, bytes) = mend(&image, Repair::All, window);
        assert!(report.after.is_clean(), "{window}: {:?}", report.after);
        assert!(check_with(&bytes, WINDOW).is_clean());
        let (report, _) = mend(&image, Repair::Leaks, window);
        assert!(report.needs_rebuild);
    }
}

#[test]
fn a_sound_image_is_not_written_to() {
    let image = image();
    let (report, bytes) = mend(&image, Repair::All, WINDOW);
    assert!(report.before.is_clean() && report.steps.is_empty());
    assert_eq!(bytes, image);
}

#[test]
fn marks_go_when_the_image_is_sound_and_only_then() {
    let mut image = image();
    image[79] = 3;
    let (_, bytes) = mend(&image, Repair::Leaks, WINDOW);
    assert_eq!(bytes[79], 0);
    put(
        &mut image,
        entry(3),
        COPIED | ((FILE as u64 + 50) * CLUSTER as u64),
    );
    let (report, bytes) = mend(&image, Repair::All, WINDOW);
    assert_eq!(report.after.corruptions, 1);
    assert_eq!(bytes[79], 3);
}
