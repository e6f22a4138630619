//! `check -r` of qcow2 images against `qemu-img check -r`: the same words, the same exit code and
//! the same file, on the same images damaged in the same way; and where `qemu-img` gives up, an
//! image that it calls sound.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the images are small"
)]

mod common;
#[path = "common/damaged.rs"]
mod damaged;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use common::inputs::Random;
use common::{scratch, tool};
use damaged::{Layout, VARIANTS as ALL, Variant, at_random, be64, damages, put};
use platter::image::{self, CheckReport, Format, ImageDriver};
use platter::storage::{MemoryStorage, Storage};
use platter::units::GuestOffset;

/// All but the last: it has more clusters than there are lines to compare.
const VARIANTS: &[Variant] = ALL.split_at(ALL.len() - 1).0;

/// Guest bytes that are compared at a time.
const STEP: u64 = 1 << 16;

/// Runs `check -r` on `image`, in a folder of its own.
fn run(mut program: Command, folder: &Path, image: &[u8], mode: &str) -> (Output, Vec<u8>) {
    let path = folder.join("image.qcow2");
    fs::write(&path, image).unwrap();
    let arguments = ["check", "-f", "qcow2", "-r", mode, "image.qcow2"];
    program.arg0("qemu-img").args(arguments).current_dir(folder);
    let output = common::output(&mut program);
    (output, fs::read(&path).unwrap())
}

fn said(output: &Output) -> String {
    format!(
        "{}[stderr]\n{}[{}]\n",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status
    )
}

/// What `qemu-img` says when it does not go on, although the image could be mended.
fn gave_up(said: &str) -> bool {
    said.contains("Marking image as corrupt")
        || said.contains("signal:")
        || said.contains("rebuilt refcount structure is still broken")
}

/// Where what is said depends on what we do differently on purpose: `qemu-img` makes the file long
/// enough for any refcount block and gives clusters back whose references it could not follow,
/// which changes what it finds the next time; and we do not say more than a thousand things.
fn is_beyond_comparison(said: &str) -> bool {
    let grows = said.contains("is outside image") && !said.contains("could not resize");
    let lost = said.contains("Table is not cluster aligned")
        || said.contains("L1 entry with reserved bits");
    grows || lost || said.lines().count() > CheckReport::MAX_FINDINGS
}

/// We do not even try to.
fn without_resizing(said: &str) -> String {
    let lines = said.lines();
    let kept = lines.filter(|line| !line.to_lowercase().contains("could not resize"));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// Overflows (of narrow refcounts) may be said in another order.
fn in_order(said: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = said.lines().collect();
    if said.contains("overflow") {
        lines.sort_unstable();
    }
    lines
}

/// Both programs' work on one image; what is different.
fn compare(folder: &Path, image: &[u8], mode: &str) -> Option<String> {
    let (theirs, their_file) = run(tool("qemu-img"), folder, image, mode);
    let (ours, our_file) = run(common::ours(), folder, image, mode);
    if let Some(lost) = lost_content(image, &our_file) {
        return Some(format!("{}{lost}", said(&ours)));
    }
    let (theirs, ours) = (said(&theirs), said(&ours));
    if gave_up(&theirs) {
        let verdict = common::output(
            tool("qemu-img")
                .args(["check", "-f", "qcow2"])
                .arg(folder.join("image.qcow2")),
        );
        let code = verdict.status.code().unwrap();
        let is_as_good = code == 0
            || mode == "leaks"
            || theirs.contains("[exit status: 2]")
            || theirs.contains("Preventing invalid write");
        return (!is_as_good).then(|| format!("{theirs}----- ours\n{ours}{}", said(&verdict)));
    }
    // New refcounts in a place where nothing is expected: ours mend a file that was cut.
    let is_better = theirs.contains("Rebuilding") && ours.ends_with("[exit status: 0]\n");
    if is_beyond_comparison(&theirs) || (is_better && !theirs.ends_with("[exit status: 0]\n")) {
        return None;
    }
    let theirs = without_resizing(&theirs);
    if in_order(&theirs) != in_order(&ours) {
        return Some(format!("{theirs}----- ours\n{ours}"));
    }
    // Loading and storing bitmaps is no repair.
    if has_bitmaps(image) {
        return None;
    }
    different_cluster(image, &their_file, &our_file, theirs.contains("ERROR"))
        .map(|at| format!("{theirs}the files differ at {at:#x}\n"))
}

fn has_bitmaps(image: &[u8]) -> bool {
    image[7] == 3 && image[95] & 1 != 0
}

/// Where the files differ. Of an image with errors that remain we keep what nothing refers to:
/// there `qemu-img` may have zeroes.
fn different_cluster(image: &[u8], theirs: &[u8], ours: &[u8], keeps: bool) -> Option<u64> {
    let size = Layout::of(image).cluster as usize;
    if theirs.len() != ours.len() {
        return Some(theirs.len().min(ours.len()) as u64);
    }
    let clusters = theirs.chunks(size).zip(ours.chunks(size));
    let differs = |(theirs, ours): (&[u8], &[u8])| {
        let is_kept = keeps && theirs.iter().all(|byte| *byte == 0);
        theirs != ours && !is_kept
    };
    clusters
        .enumerate()
        .find(|(_, pair)| differs(*pair))
        .map(|(index, _)| (index * size) as u64)
}

/// The first cluster that could be read before and does not read the same.
fn lost_content(image: &[u8], after: &[u8]) -> Option<String> {
    let open = |bytes: &[u8]| {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new(bytes.to_vec()));
        image::open(storage, Format::Qcow2).ok()
    };
    let (Some(before), Some(after)) = (open(image), open(after)) else {
        return None;
    };
    let metadata = metadata_clusters(image);
    let mut expected = vec![0; STEP as usize];
    let mut found = expected.clone();
    for at in (0..before.virtual_size()).step_by(STEP as usize) {
        let length = STEP.min(before.virtual_size() - at) as usize;
        let (expected, found) = (&mut expected[..length], &mut found[..length]);
        let (mut missing, mut still_missing) = (Vec::new(), Vec::new());
        expected.fill(0);
        found.fill(0);
        if before
            .read_at(expected, GuestOffset(at), &mut missing)
            .is_err()
        {
            continue;
        }
        let result = after.read_at(found, GuestOffset(at), &mut still_missing);
        let is_same = result.is_ok() && expected == found && missing == still_missing;
        if !is_same && !is_metadata(before.as_ref(), at, &metadata) {
            return Some(format!("content at {at:#x} is not what it was\n"));
        }
    }
    None
}

/// Host clusters that a repair changes, although a damaged image may call them guest data.
fn metadata_clusters(image: &[u8]) -> BTreeSet<u64> {
    let layout = Layout::of(image);
    let tables = |start: u64, bytes: u64| {
        let entries = (start..start + bytes).step_by(8);
        let there = entries.filter(|at| *at as usize + 8 <= image.len());
        there.map(|at| (be64(image, at) & 0x00ff_ffff_ffff_fe00) / layout.cluster)
    };
    let l1_bytes = u64::from(u32::from_be_bytes(image[36..40].try_into().unwrap())) * 8;
    let mut clusters = BTreeSet::from([0]);
    clusters.extend((layout.l1..layout.l1 + l1_bytes).map(|at| at / layout.cluster));
    clusters.extend(tables(layout.l1, l1_bytes));
    clusters.extend(tables(layout.refcount_table, layout.cluster));
    clusters
}

/// Whether the guest bytes from `at` on are in one of `clusters` of the host.
fn is_metadata(driver: &dyn ImageDriver, at: u64, clusters: &BTreeSet<u64>) -> bool {
    let cluster = driver.info().cluster_size.unwrap();
    let place = (at..at + STEP)
        .step_by(512)
        .map(|at| driver.locate(GuestOffset(at)));
    place
        .flatten()
        .flatten()
        .filter_map(|place| place.host)
        .any(|host| clusters.contains(&(host.0 / cluster)))
}

#[test]
fn damage_is_mended_in_the_same_way() {
    let mut different = String::new();
    for (number, variant) in VARIANTS.iter().enumerate() {
        let folder = scratch();
        let path = variant.make(folder.path());
        let sound = fs::read(&path).unwrap();
        let modes = if number < 2 {
            &["leaks", "all"][..]
        } else {
            &["all"]
        };
        for (what, at, value) in damages(&sound) {
            let mut image = sound.clone();
            put(&mut image, at, value);
            for mode in modes {
                if let Some(difference) = compare(folder.path(), &image, mode) {
                    let name = variant.name;
                    let _ = writeln!(different, "\n===== {name}: {what}, {mode}\n{difference}");
                }
            }
        }
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
fn random_damage_is_mended_in_the_same_way() {
    let mut random = Random(5);
    let mut different = String::new();
    for variant in VARIANTS {
        let folder = scratch();
        let path = variant.make(folder.path());
        let sound = fs::read(&path).unwrap();
        for round in 0..5 {
            let image = at_random(&mut random, &sound);
            if let Some(difference) = compare(folder.path(), &image, "all") {
                let name = variant.name;
                let _ = writeln!(different, "\n===== {name}, round {round}\n{difference}");
            }
        }
    }
    assert!(different.is_empty(), "{different}");
}
