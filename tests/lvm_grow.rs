//! Physical volumes of LVM are made larger, with LVM's own programs as the judges: `pvck` reads what
//! came out, and, where there are loop devices, `pvresize` makes the same of the same volume, and
//! `vgck` and `lvs` call it good.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::device::Device;
use common::physical_volume::{alone, checksum, physical_volume, text};
use common::volume::{Image, free, used};
use common::{ours, run, run_with_input, scratch, tool};
use platter::Control;
use platter::fs::change::{Change, Place, change, check};
use platter::fs::{FsKind, identify};
use platter::storage::{FileStorage, LockMode, Storage, WritableStorage};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn resize_file(path: &Path, size: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(size).unwrap();
}

fn grow(path: &Path, size: u64) -> Result<(), String> {
    resize_file(path, size);
    let storage: Arc<dyn WritableStorage> =
        Arc::new(FileStorage::open(path, LockMode::Write).unwrap());
    let place = Place::new(path.parent().unwrap());
    let control = Control::new();
    let grown = change(&storage, FsKind::Lvm2, &Change::Grow, &place, &control);
    grown.map_err(|stop| stop.to_string())?;
    let storage = storage as Arc<dyn Storage>;
    check(&storage, FsKind::Lvm2, &place, &control).map_err(|stop| stop.to_string())?;
    Ok(())
}

/// A program of LVM that keeps to itself.
fn lvm(name: &str, folder: &Path) -> Command {
    let mut command = tool(name);
    command
        .env("LVM_SYSTEM_DIR", folder)
        .env("LVM_SUPPRESS_FD_WARNINGS", "1");
    command
}

fn dump(what: &str, volume: &Path) -> String {
    let folder = volume.parent().unwrap();
    run(lvm("pvck", folder).args(["--dump", what]).arg(volume))
}

fn number(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in:\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_volume_gets_the_extents_that_there_is_room_for() {
    let text = alone();
    // At the beginning of the ring, in its middle, to its end, and around it.
    let ring = MIB - 4096;
    let length = text.len() as u64;
    for at in [512, 40_960, ring - length, ring - 300, ring - 900] {
        let image = physical_volume(&text, at);
        let before = image.identify();
        for (round, size) in [GIB + 4 * MIB, 3 * GIB + 12_345, 3 * GIB + 12_345]
            .into_iter()
            .enumerate()
        {
            grow(&image.path, size).unwrap();
            let metadata = dump("metadata", &image.path);
            let said = format!("{at}, {size}:\n{metadata}");
            assert_eq!(
                number(&metadata, "pe_count"),
                (size - MIB) / (4 * MIB),
                "{said}"
            );
            assert_eq!(
                number(&metadata, "seqno"),
                4 + round.min(1) as u64,
                "{said}"
            );
            assert!(metadata.contains("stripes = [\n\"pv0\", 100\n]"), "{said}");
            let headers = dump("headers", &image.path);
            assert_eq!(number(&headers, "pv_header.device_size"), size / 512 * 512);
            assert!(!headers.to_lowercase().contains("invalid"), "{headers}");
            let found = image.equals_blkid(FsKind::Lvm2, "LVM2_member");
            assert_eq!(
                used(&found) - free_less(&found, size),
                120 * 4 * MIB,
                "{found:?}"
            );
            assert_eq!(
                (&found.details, &found.notes),
                (&before.details, &before.notes)
            );
        }
    }
}

/// What of a volume of `size` bytes is neither free nor a logical volume's.
fn free_less(found: &platter::fs::FileSystem, size: u64) -> u64 {
    let extents = (size - MIB) / (4 * MIB);
    assert_eq!(free(found), (extents - 120) * 4 * MIB);
    size / 512 * 512 - extents * 4 * MIB
}

/// All but logical volumes.
fn head(path: &Path) -> Vec<u8> {
    let mut head = vec![0; 2 << 20];
    File::open(path).unwrap().read_exact(&mut head).unwrap();
    head
}

#[test]
fn less_than_an_extent_changes_nothing() {
    let image = physical_volume(&alone(), 512);
    let before = head(&image.path);
    grow(&image.path, GIB + 512).unwrap();
    assert!(head(&image.path) == before);
}

/// Refused, and left alone: the reason.
fn refused(image: &Image) -> String {
    let before = head(&image.path);
    let why = grow(&image.path, 2 * GIB).unwrap_err();
    assert!(head(&image.path) == before, "{why}");
    why
}

#[test]
fn what_lvm_would_not_change_alone_is_left_alone() {
    let (text, alone) = (text(""), alone());
    let with = |from: &str, to: &str| {
        assert!(alone.contains(from));
        alone.replacen(from, to, 1)
    };
    let read_only = "\"READ\"]";
    for (text, reason) in [
        (text, "spans 2 physical volumes: run pvresize in the guest"),
        (with("\"WRITE\"", "\"WRITE\", \"EXPORTED\""), "is exported"),
        (
            with("\"WRITE\"", "\"WRITE\", \"CLUSTERED\""),
            "shared by several hosts",
        ),
        (
            with("extent_size", "lock_type = \"sanlock\"\nextent_size"),
            "shared by several hosts",
        ),
        (with("\"READ\", \"WRITE\"]", read_only), "is read-only"),
        (with("\"lvm2\"", "\"lvm3\""), "a format that is not known"),
        (
            with("version = 1", "version = 2"),
            "a format that is not known",
        ),
        (
            with(
                "\"ALLOCATABLE\"]\nflags = []",
                "\"ALLOCATABLE\"]\nflags = [\"MISSING\"]",
            ),
            "missing",
        ),
        (
            with("pe_count = 255", "pe_count = 119"),
            "more extents than it has",
        ),
        (
            with("pe_start = 2048", "pe_start = 4096"),
            "contradicts its label",
        ),
        (
            with("pe_count = 255", "pe_count = 255\npe_count = 255"),
            "makes no sense",
        ),
        (
            with("seqno = 3", "seqno = 18446744073709551615"),
            "makes no sense",
        ),
        (with("gPuKKv", "hPuKKv"), "does not know it"),
    ] {
        let why = refused(&physical_volume(&text, 512));
        assert!(why.contains(reason), "{why}, not {reason}");
    }
}

/// Bytes of the header of the metadata, signed again.
fn with_header(change: impl Fn(&mut [u8])) -> Image {
    let image = physical_volume(&alone(), 512);
    let mut header = head(&image.path)[4096..4608].to_vec();
    change(&mut header);
    let sum = checksum(&header[4..]);
    header[..4].copy_from_slice(&sum.to_le_bytes());
    image.overwrite(4096, &header);
    image
}

#[test]
fn unfinished_ignored_and_damaged_metadata_is_left_alone() {
    for (at, byte, reason) in [
        (65, 2, "was not finished"),
        (60, 1, "on other physical volumes only"),
        (20, 2, "contradicts its label"),
        (24, 1, "contradicts its label"),
        (40, 1, "checksum of its metadata"),
    ] {
        let why = refused(&with_header(|header| header[at] = byte));
        assert!(why.contains(reason), "{why}, not {reason}");
    }
    // An empty ring: of a group that keeps its metadata elsewhere, or of none.
    let orphan = with_header(|header| header[40..64].fill(0));
    let why = refused(&orphan);
    assert!(why.contains("on other physical volumes only"), "{why}");
    let mut label = head(&orphan.path)[512..1024].to_vec();
    label[140] = 0;
    let sum = checksum(&label[20..]);
    label[16..20].copy_from_slice(&sum.to_le_bytes());
    orphan.overwrite(512, &label);
    grow(&orphan.path, 2 * GIB).unwrap();
    assert_eq!(orphan.identify().size, Some(2 * GIB));
    let text = alone();
    let end = 4608 + text.len();
    let places = (512..680).step_by(3).chain((4096..4176).step_by(3));
    for at in places.chain((4608..end).step_by(29)) {
        let image = physical_volume(&text, 512);
        let byte = head(&image.path)[at];
        image.overwrite(at as u64, &[byte ^ 0x55]);
        refused(&image);
    }
}

/// What LVM's own programs make of the same volume; the metadata but for when and by what.
fn theirs(volume: &Path, size: u64) -> Option<()> {
    resize_file(volume, size);
    let device = Device::of(volume)?;
    let folder = volume.parent().unwrap();
    run(lvm("pvresize", folder)
        .arg("--devices")
        .args([device.node(), device.node()]));
    Some(())
}

fn comparable(volume: &Path) -> String {
    let metadata = dump("metadata", volume);
    let is_of_writer = |line: &&str| {
        let starts = [
            "description",
            "creation_",
            "# Generated",
            "metadata text",
            "device =",
        ];
        !starts
            .iter()
            .any(|start| line.trim_start().starts_with(start))
            && !line.is_empty()
    };
    let lines: Vec<&str> = metadata.lines().filter(is_of_writer).collect();
    lines.join("\n")
}

/// LVM's programs find nothing to complain about, and count `extents`.
fn accepted(volume: &Path, extents: u64) {
    let folder = volume.parent().unwrap();
    let Some(device) = Device::of(volume) else {
        return;
    };
    let mut pvs = lvm("pvs", folder);
    pvs.args([
        "--noheadings",
        "-o",
        "pv_pe_count,pv_mda_used_count",
        "--devices",
    ]);
    let output = common::output(pvs.args([device.node(), device.node()]));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && !complaints.contains("WARNING"),
        "{said}{complaints}"
    );
    let counted: u64 = said.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(counted, extents, "{said}{complaints}");
    run(lvm("vgck", folder).arg("--devices").arg(device.node()));
}

#[test]
fn it_is_what_pvresize_makes() {
    let folder = scratch();
    let made = folder.path().join("made");
    File::create(&made).unwrap().set_len(64 * MIB).unwrap();
    let Some(device) = Device::of(&made) else {
        return;
    };
    let node = device.node();
    run(lvm("pvcreate", folder.path())
        .args(["-q", "--devices"])
        .args([node, node]));
    let orphan = folder.path().join("orphan");
    fs::copy(&made, &orphan).unwrap();
    run(lvm("vgcreate", folder.path())
        .args(["-q", "-A", "n", "-s", "1M", "--devices"])
        .arg(node)
        .arg("group")
        .arg(node));
    drop(device);
    let handmade = physical_volume(&alone(), 512);
    for (volume, size, extent) in [
        (&made, 100 * MIB, MIB),
        (&made, 65 * MIB + 3584, MIB),
        (&handmade.path, 5 * GIB, 4 * MIB),
    ] {
        let [ours, theirs_] = ["ours", "theirs"].map(|name| folder.path().join(name));
        for copy in [&ours, &theirs_] {
            run(tool("cp").arg("--sparse=always").args([volume, copy]));
        }
        grow(&ours, size).unwrap();
        theirs(&theirs_, size).unwrap();
        assert_eq!(comparable(&ours), comparable(&theirs_));
        accepted(&ours, (size - MIB) / extent);
        // And what LVM made larger is known to be, and grows on.
        let storage = FileStorage::open(&theirs_, LockMode::Write).unwrap();
        let found = identify(&storage).unwrap().unwrap();
        assert_eq!((found.size.unwrap() - MIB) / extent, (size - MIB) / extent);
        drop(storage);
        grow(&theirs_, size + 8 * MIB).unwrap();
        accepted(&theirs_, (size + 7 * MIB) / extent);
    }
    let theirs_ = folder.path().join("theirs");
    fs::copy(&orphan, &theirs_).unwrap();
    grow(&orphan, 100 * MIB).unwrap();
    theirs(&theirs_, 100 * MIB).unwrap();
    let [ours, theirs_] = [orphan, theirs_].map(|path| fs::read(path).unwrap());
    assert!(ours == theirs_);
}

/// A disk of 2 GiB with `volume` as its second partition.
fn disk_with(volume: &Path, folder: &Path) -> std::path::PathBuf {
    let disk = folder.join("disk.raw");
    File::create(&disk).unwrap().set_len(2 * GIB).unwrap();
    let script = "label: gpt\nstart=1M,size=100M\nstart=200M,size=1G,type=lvm\n";
    run_with_input(tool("sfdisk").arg("--quiet").arg(&disk), script);
    run(tool("dd")
        .arg(format!("if={}", volume.display()))
        .arg(format!("of={}", disk.display()))
        .args(["bs=1M", "seek=200", "conv=notrunc,sparse", "status=none"]));
    disk
}

fn edit(disk: &Path, edits: &[&str]) -> String {
    let mut command = ours();
    command.args(["edit", "--yes"]);
    for edit in edits {
        command.args(["--op", edit]);
    }
    run(command.arg(disk))
}

/// The second partition as a file.
fn extract(disk: &Path, start: u64, length: u64) -> std::path::PathBuf {
    let volume = disk.with_extension("volume");
    let _ = fs::remove_file(&volume);
    run(tool("dd")
        .arg(format!("if={}", disk.display()))
        .arg(format!("of={}", volume.display()))
        .arg(format!("skip={}", start / MIB))
        .arg(format!("count={}", length / MIB))
        .args(["bs=1M", "conv=sparse", "status=none"]));
    resize_file(&volume, length);
    volume
}

#[test]
fn it_follows_its_partition_and_undoing_gives_it_back() {
    let folder = scratch();
    let disk = disk_with(&physical_volume(&alone(), 512).path, folder.path());
    let before = extract(&disk, 200 * MIB, GIB);
    let before = head(&before);
    edit(&disk, &["move 2 101M", "resize 2 max", "check 2"]);
    let end = 2 * GIB - MIB;
    let volume = extract(&disk, 101 * MIB, end - 101 * MIB);
    let metadata = dump("metadata", &volume);
    let extents = (end - 102 * MIB) / (4 * MIB);
    assert_eq!(number(&metadata, "pe_count"), extents, "{metadata}");
    accepted(&volume, extents);
    run(ours().arg("undo").arg(&disk));
    assert!(head(&extract(&disk, 200 * MIB, GIB)) == before);

    // It cannot be made smaller, and says so.
    let output = common::output(
        ours()
            .args(["edit", "--yes", "--op", "resize 2 500M"])
            .arg(&disk),
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("physical volume cannot be made smaller"),
        "{said}"
    );
    assert!(!output.status.success());
}

#[test]
fn of_a_group_over_several_disks_only_the_partition_grows() {
    let folder = scratch();
    let disk = disk_with(&physical_volume(&text(""), 512).path, folder.path());
    let said = edit(&disk, &["resize 2 max"]);
    assert!(
        said.contains("stays at 1 GiB: its volume group spans 2 physical volumes"),
        "{said}"
    );
    let volume = extract(&disk, 200 * MIB, GIB + 500 * MIB);
    assert_eq!(number(&dump("metadata", &volume), "pe_count"), 255);
}
