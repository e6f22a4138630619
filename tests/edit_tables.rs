//! Tables that are converted, written as text and read from it, with the programs that everyone
//! trusts: sfdisk and sgdisk. Partitions that are copied.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{run_tool, run_with_input, tool};

const MIB: usize = 1 << 20;

fn platter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_platter-img"))
}

fn edit(image: &Path, ops: &[&str]) {
    let mut command = platter();
    command.args(["edit", "--yes", "-f", "raw"]);
    for op in ops {
        command.args(["--op", op]);
    }
    common::run(command.arg(image));
}

fn refusal(image: &Path, op: &str) -> String {
    let mut command = platter();
    command
        .args(["edit", "--yes", "-f", "raw", "--op", op])
        .arg(image);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{op}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn disk(folder: &Path, name: &str, mib: usize, script: &str) -> PathBuf {
    let image = folder.join(name);
    File::create(&image)
        .unwrap()
        .set_len((mib * MIB) as u64)
        .unwrap();
    run_with_input(tool("sfdisk").arg("--quiet").arg(&image), script);
    image
}

fn dump(image: &Path) -> String {
    run_tool("sfdisk", ["--dump", image.to_str().unwrap()])
}

fn our_dump(image: &Path) -> String {
    let mut command = platter();
    command.args(["partitions", "--dump", "-f", "raw"]);
    common::run(command.arg(image))
}

fn judge(image: &Path, is_gpt: bool) {
    let image = image.to_str().unwrap();
    let verdict = run_tool("sfdisk", ["--verify", image]);
    assert!(verdict.contains("No errors detected."), "{verdict}");
    if is_gpt {
        let verdict = run_tool("sgdisk", ["-v", image]);
        assert!(verdict.contains("No problems found."), "{verdict}");
    }
}

/// Start and size of each partition, by the order of numbers.
fn places(image: &Path) -> Vec<(u64, u64)> {
    let number = |line: &str, field: &str| -> u64 {
        let (_, rest) = line.split_once(field).unwrap();
        rest.split(',').next().unwrap().trim().parse().unwrap()
    };
    dump(image)
        .lines()
        .filter(|line| line.contains("start=") && !line.contains("type=5"))
        .map(|line| (number(line, "start="), number(line, "size=")))
        .collect()
}

const LOGICAL: &str = "label: dos\nlabel-id: 0x1234abcd\nstart=2048,size=20480,type=c,bootable\n\
    start=22528,size=61440,type=5\nstart=24576,size=20480,type=83\nstart=47104,size=20480,type=82\n";

#[test]
fn an_mbr_becomes_a_gpt_and_comes_back() {
    let folder = common::scratch();
    let image = disk(folder.path(), "disk.raw", 64, LOGICAL);
    let first = folder.path().join("first");
    File::create(&first).unwrap().set_len(10 << 20).unwrap();
    run_tool("mkfs.fat", [first.to_str().unwrap()]);
    let mut bytes = fs::read(&image).unwrap();
    bytes[MIB..11 * MIB].copy_from_slice(&fs::read(&first).unwrap());
    fs::write(&image, &bytes).unwrap();
    let before = places(&image);

    edit(&image, &["convert-table gpt"]);
    judge(&image, true);
    assert_eq!(places(&image), before);
    assert!(dump(&image).contains("LegacyBIOSBootable"));
    let after = fs::read(&image).unwrap();
    assert!(after[MIB..63 * MIB] == bytes[MIB..63 * MIB]);

    let refused = refusal(&image, "convert-table gpt");
    assert!(refused.contains("no MBR"), "{refused}");
    edit(&image, &["convert-table mbr"]);
    judge(&image, false);
    assert_eq!(places(&image), before);
    let text = dump(&image);
    assert!(
        text.contains("label: dos") && text.contains("bootable"),
        "{text}"
    );
    common::run(platter().args(["undo", "-f", "raw"]).arg(&image));
    judge(&image, true);
}

#[test]
fn what_an_mbr_cannot_hold_is_refused_by_name() {
    let folder = common::scratch();
    let five = "label: gpt\n".to_owned() + &"size=1M\n".repeat(5);
    let image = disk(folder.path(), "five.raw", 64, &five);
    let why = refusal(&image, "convert-table mbr");
    assert!(why.contains("there are 5"), "{why}");
    let script = "label: gpt\nsize=1M,attrs=\"RequiredPartition\"\n";
    let image = disk(folder.path(), "attributes.raw", 64, script);
    let why = refusal(&image, "convert-table mbr");
    assert!(why.contains("attributes (required)"), "{why}");
    let image = disk(
        folder.path(),
        "huge.raw",
        3 << 20,
        "label: gpt\nstart=2048,size=5G\nstart=2200G,size=1G\n",
    );
    let why = refusal(&image, "convert-table mbr");
    assert!(why.contains("up to sector 4294967295"), "{why}");
    let image = disk(folder.path(), "full.raw", 64, "label: dos\nstart=2048\n");
    let why = refusal(&image, "convert-table gpt");
    assert!(why.contains("up to sector 131071"), "{why}");
}

#[test]
fn text_is_what_sfdisk_writes_and_reads() {
    let folder = common::scratch();
    let gpt = "label: gpt\nstart=2048,size=2048,name=\"EFI\",type=U\n\
        start=6144,size=4096,name=\"two words, and one\",attrs=\"RequiredPartition,GUID:60,GUID:63\"\n";
    let short = "label: gpt\ntable-length: 64\nstart=2048,size=2048\n";
    for (name, script) in [("gpt.raw", gpt), ("mbr.raw", LOGICAL), ("short.raw", short)] {
        let image = disk(folder.path(), name, 64, script);
        let theirs = dump(&image);
        // They drop the folder of a device they print; what counts is the rest.
        let ours = our_dump(&image);
        let rest = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| !line.starts_with("device:"))
                .map(|line| {
                    line.split_once(" : ")
                        .map_or(line, |(_, rest)| rest)
                        .to_owned()
                })
                .collect()
        };
        let file = folder.path().join("table.txt");
        fs::write(&file, &ours).unwrap();
        let same = disk(folder.path(), "same.raw", 64, &ours);
        assert_eq!(rest(&dump(&same)), rest(&theirs), "sfdisk reads {name}");
        let empty = folder.path().join("empty.raw");
        File::create(&empty).unwrap().set_len(64 << 20).unwrap();
        fs::write(&file, &theirs).unwrap();
        edit(&empty, &[&format!("import {}", file.display())]);
        judge(&empty, name != "mbr.raw");
        let first_usable =
            |line: &String| !line.starts_with("first-lba") && !line.starts_with("last-lba");
        let without =
            |text: &str| -> Vec<String> { rest(text).into_iter().filter(first_usable).collect() };
        assert_eq!(without(&dump(&empty)), without(&theirs), "we read {name}");
        assert_eq!(without(&ours), without(&theirs), "we write {name}");
    }
}

#[test]
fn a_gpt_keeps_its_number_of_entries() {
    let folder = common::scratch();
    for length in [4, 64, 256] {
        let script = format!("label: gpt\ntable-length: {length}\nstart=2048,size=2048\n");
        let image = disk(folder.path(), "disk.raw", 64, &script);
        edit(
            &image,
            &["create 2M +1M linux", "resize-disk +16M", "move 1 40M"],
        );
        judge(&image, true);
        let told = run_tool("sgdisk", ["-p", image.to_str().unwrap()]);
        assert!(
            told.contains(&format!("holds up to {length} entries")),
            "{told}"
        );
    }
}

#[test]
fn partitions_are_copied_within_a_disk_and_from_another() {
    let folder = common::scratch();
    let script = "label: gpt\nstart=1M,size=20M,name=\"data\"\n";
    let image = disk(folder.path(), "disk.raw", 128, script);
    edit(&image, &["format 1 ext4 first"]);
    let other = disk(folder.path(), "other.raw", 128, script);
    edit(&other, &["format 1 ext4 other"]);
    let copy = format!("copy 1 50M {}", other.display());
    edit(&image, &["copy 1 24M", &copy, "resize 3 30M"]);
    judge(&image, true);
    let said = common::run(
        platter()
            .args(["partitions", "--output", "json", "-f", "raw"])
            .arg(&image),
    );
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let of = |index: usize, key: &str| json["partitions"][index]["content"][key].clone();
    let labels = [0, 1, 2].map(|index| of(index, "label"));
    assert_eq!(labels, ["first", "first", "other"], "{json:#}");
    assert_ne!(of(0, "uuid"), of(1, "uuid"));
    assert_eq!(of(2, "size"), 30 * MIB);
    assert_eq!(json["partitions"][1]["name"], "data");
    let volume = folder.path().join("cut");
    let bytes = fs::read(&image).unwrap();
    for start in [24, 50] {
        let length = if start == 24 { 20 } else { 30 };
        fs::write(&volume, &bytes[start * MIB..(start + length) * MIB]).unwrap();
        run_tool("e2fsck", ["-f", "-n", volume.to_str().unwrap()]);
    }
    let why = refusal(&image, "copy 7 100M");
    assert!(why.contains("no partition 7"), "{why}");
}

#[test]
fn partitions_change_places_by_way_of_free_space() {
    let folder = common::scratch();
    let script = "label: gpt\nstart=1M,size=20M\nstart=21M,size=20M\n";
    let image = disk(folder.path(), "disk.raw", 64, script);
    edit(&image, &["format 1 ext4 first", "format 2 ext4 second"]);
    let before = fs::read(&image).unwrap();
    edit(&image, &["move 1 41M", "move 2 1M", "move 1 21M"]);
    judge(&image, true);
    let after = fs::read(&image).unwrap();
    assert!(before[MIB..21 * MIB] == after[21 * MIB..41 * MIB]);
    assert!(before[21 * MIB..41 * MIB] == after[MIB..21 * MIB]);
    common::run(platter().args(["undo", "-f", "raw"]).arg(&image));
    let undone = fs::read(&image).unwrap();
    // What no partition holds is nobody's.
    assert!(undone[..41 * MIB] == before[..41 * MIB] && undone[61 * MIB..] == before[61 * MIB..]);
}

/// What moves may lie where the old table was: undoing brings that back too.
#[test]
fn undoing_restores_tables_that_were_moved_over() {
    let folder = common::scratch();
    let logical = "label: dos\nstart=1M,size=60M,type=5\nstart=2M,size=10M\nstart=20M,size=20M\n";
    let gpt = "label: gpt\nstart=1M,size=20M\nstart=22M,size=30M\n";
    for (script, ops) in [
        (logical, vec!["move 6 -2M"]),
        (logical, vec!["move 5 5M"]),
        (gpt, vec!["resize-disk +64M", "move 2 50M"]),
    ] {
        let image = disk(folder.path(), "disk.raw", 64, script);
        let number = if script == gpt { 2 } else { 6 };
        edit(&image, &[&format!("format {number} ext4 x")]);
        let before = dump(&image);
        edit(&image, &ops);
        judge(&image, script == gpt);
        common::run(platter().args(["undo", "-f", "raw"]).arg(&image));
        assert_eq!(dump(&image), before, "{ops:?}");
        judge(&image, script == gpt);
    }
}
