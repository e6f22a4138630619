//! The fuzz targets on a fixed number of mutated inputs, the same every time, and on every input
//! that ever broke something (`fuzz/regressions/TARGET/`).

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; inputs are at most a few megabytes"
)]

mod common;
#[path = "../fuzz/exercise.rs"]
mod exercise;
#[path = "../fuzz/seeds.rs"]
mod seeds;
#[path = "common/tiny.rs"]
mod tiny;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;

use common::inputs::Random;

/// Mutated inputs for each parser.
const ROUNDS: usize = 2000;

/// Replays the regressions of `target`, then `rounds` mutations of `seeds`.
fn replay(
    target: &str,
    seeds: &[Vec<u8>],
    rounds: usize,
    repair: impl Fn(&mut [u8]),
    exercise: impl Fn(&[u8]),
) {
    let guarded = |what: &str, bytes: &[u8]| {
        let result = panic::catch_unwind(AssertUnwindSafe(|| exercise(bytes)));
        if result.is_err() {
            let file =
                std::env::temp_dir().join(format!("platter-{target}-{}", what.replace(' ', "-")));
            fs::write(&file, bytes).unwrap();
            panic!("{target} breaks on {what}, kept as {}", file.display());
        }
    };
    let regressions = common::root().join("fuzz/regressions").join(target);
    for entry in fs::read_dir(&regressions).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        guarded(&name, &fs::read(entry.path()).unwrap());
    }
    for (index, seed) in seeds.iter().enumerate() {
        guarded(&format!("seed {index}"), seed);
    }
    let mut random = Random(0xf022);
    for round in 0..rounds {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(5) {
            mutate(&mut bytes, &mut random);
        }
        if random.below(2) == 0 {
            repair(&mut bytes);
        }
        guarded(&format!("round {round}"), &bytes);
    }
}

/// One change, most often of a number in what is not empty.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
        return;
    }
    let at = interesting_place(bytes, random);
    let left = bytes.len() - at;
    match random.below(12) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at),
        3 => {
            let length = left.min(1 + random.below(64) as usize);
            bytes[at..at + length].fill([0, 0xff][random.below(2) as usize]);
        }
        4 => {
            let length = left.min(1 + random.below(512) as usize);
            let from = random.below((bytes.len() - length + 1) as u64) as usize;
            bytes.copy_within(from..from + length, at);
        }
        _ => {
            let width = [1, 2, 4, 8][random.below(4) as usize].min(left);
            let value = number(random, bytes.len() as u64);
            let at = at - (at % width).min(at);
            let value = if random.below(2) == 0 {
                value.to_le_bytes()[..width].to_vec()
            } else {
                value.to_be_bytes()[8 - width..].to_vec()
            };
            bytes[at..at + width].copy_from_slice(&value);
        }
    }
}

/// An offset, mostly one where there is something: files are mostly empty.
fn interesting_place(bytes: &[u8], random: &mut Random) -> usize {
    for _ in 0..30 {
        let at = random.below(bytes.len() as u64) as usize;
        if bytes[at] != 0 {
            return at;
        }
    }
    match random.below(3) {
        0 => random.below(bytes.len().min(512) as u64) as usize,
        1 => bytes.len() - 1 - random.below(bytes.len().min(512) as u64) as usize,
        _ => random.below(bytes.len() as u64) as usize,
    }
}

fn number(random: &mut Random, size: u64) -> u64 {
    match random.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << random.below(64),
        3 => (1_u64 << random.below(64)).wrapping_sub(1),
        4 => random.below(size + 1),
        5 => random.below(size / 512 + 1) * 512,
        6 => random.below(300),
        _ => random.next(),
    }
}

#[test]
fn probe() {
    replay("probe", &seeds::files(), ROUNDS, |_| {}, exercise::probe);
}

#[test]
fn qcow2_open_read() {
    replay(
        "qcow2_open_read",
        &seeds::images(),
        ROUNDS,
        |_| {},
        |bytes| {
            exercise::qcow2_open_read(bytes);
        },
    );
}

#[test]
fn qcow2_check() {
    replay(
        "qcow2_check",
        &seeds::images(),
        ROUNDS,
        |_| {},
        exercise::qcow2_check,
    );
}

#[test]
fn qcow2_write() {
    replay(
        "qcow2_write",
        &seeds::images(),
        ROUNDS,
        |_| {},
        exercise::qcow2_write,
    );
}

#[test]
fn table() {
    replay(
        "table",
        &seeds::disks(),
        ROUNDS,
        seeds::fix_gpt,
        exercise::table,
    );
}

#[test]
fn chain_name() {
    replay(
        "chain_name",
        &seeds::names(),
        ROUNDS,
        |_| {},
        exercise::chain_name,
    );
}

#[test]
fn fs_of_every_kind() {
    let folder = common::scratch();
    let mut seeds = Vec::new();
    for (program, options, mib) in [
        ("mkfs.ext4", vec!["-q", "-F", "-L", "label"], 2),
        ("mkfs.ext2", vec!["-q", "-F"], 1),
        ("mkfs.fat", vec!["-F", "12"], 1),
        ("mkfs.fat", vec!["-F", "32"], 40),
        ("mkfs.exfat", vec![], 4),
        ("mkfs.ntfs", vec!["-q", "-F", "-f"], 4),
        ("mkfs.xfs", vec!["-q"], 320),
        ("mkfs.btrfs", vec!["-q"], 128),
        ("mkfs.f2fs", vec!["-q"], 64),
        ("mkswap", vec!["-q"], 1),
    ] {
        let path = folder.path().join(format!("{program}{mib}"));
        fs::File::create(&path).unwrap().set_len(mib << 20).unwrap();
        let mut command: Command = common::tool(program);
        common::output(command.args(options).arg(&path));
        // What is recognised lies at the beginning.
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(1 << 20);
        assert!(
            bytes.iter().any(|byte| *byte != 0),
            "{program} wrote nothing"
        );
        seeds.push(bytes);
        fs::remove_file(&path).unwrap();
    }
    seeds.extend(seeds::disks());
    replay("fs", &seeds, ROUNDS, |_| {}, exercise::volume);
}
