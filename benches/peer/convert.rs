//! Disks written anew. The peer is the faster of `qemu-img`'s two modes: in order, and with sixteen
//! requests in flight, out of order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Bench, Sides, Target, run, time};
use crate::rows::{PLATTER, QEMU};
use crate::shared;
use crate::workshop::Workshop;

const PAIRS: usize = 5;

/// Mode of the peer that wins where it computes: no need to try the other one.
const PARALLEL: &[&str] = &["-W", "-m", "16"];

/// A conversion: name, source, options of both, and the ratio that is aimed at.
struct Row {
    name: &'static str,
    source: Source,
    options: &'static [&'static str],
    aim: f64,
    /// The peer's modes that are tried; the fastest is measured.
    modes: &'static [&'static [&'static str]],
    pairs: usize,
}

#[derive(Clone, Copy)]
enum Source {
    Raw,
    Plain,
    Zlib,
    Zstd,
}

const ZLIB: &[&str] = &["-c", "-O", "qcow2"];
const ZSTD: &[&str] = &["-c", "-O", "qcow2", "-o", "compression_type=zstd"];
const QCOW2: &[&str] = &["-O", "qcow2"];
const BOTH: &[&[&str]] = &[&[], PARALLEL];
const ONE: &[&[&str]] = &[PARALLEL];

#[rustfmt::skip]
const ROWS: [Row; 12] = [
    Row { name: "convert raw to qcow2", source: Source::Raw, options: QCOW2, aim: 1.15, modes: BOTH, pairs: PAIRS },
    Row { name: "convert qcow2 to raw", source: Source::Plain, options: &["-O", "raw"], aim: 1.15, modes: BOTH, pairs: PAIRS },
    Row { name: "convert qcow2 to qcow2", source: Source::Plain, options: QCOW2, aim: 1.15, modes: BOTH, pairs: PAIRS },
    Row { name: "convert to extended L2", source: Source::Raw, options: &["-O", "qcow2", "-o", "extended_l2=on"], aim: 1.3, modes: BOTH, pairs: PAIRS },
    Row { name: "convert to preallocated metadata", source: Source::Raw, options: &["-O", "qcow2", "-o", "preallocation=metadata"], aim: 1.6, modes: BOTH, pairs: PAIRS },
    Row { name: "convert -S 0", source: Source::Raw, options: &["-O", "qcow2", "-S", "0"], aim: 1.15, modes: BOTH, pairs: PAIRS },
    Row { name: "convert -c zlib", source: Source::Raw, options: ZLIB, aim: 3.0, modes: ONE, pairs: 3 },
    Row { name: "convert -c zstd", source: Source::Raw, options: ZSTD, aim: 2.0, modes: ONE, pairs: 3 },
    Row { name: "convert zlib to raw", source: Source::Zlib, options: &["-O", "raw"], aim: 2.7, modes: ONE, pairs: 3 },
    Row { name: "convert zlib to zstd", source: Source::Zlib, options: ZSTD, aim: 2.3, modes: ONE, pairs: 3 },
    Row { name: "convert zlib to zlib", source: Source::Zlib, options: ZLIB, aim: 50.0, modes: ONE, pairs: 3 },
    Row { name: "convert zstd to raw", source: Source::Zstd, options: &["-O", "raw"], aim: 2.2, modes: ONE, pairs: 3 },
];

/// All rows about `convert`.
pub(crate) fn all(bench: &mut Bench, workshop: &Workshop) {
    for row in &ROWS {
        if bench.wants(row.name) {
            row.measure(bench, workshop);
        }
    }
    if bench.wants("convert -c size") {
        sizes(workshop);
    }
    shared::all(bench, workshop);
}

impl Row {
    fn measure(&self, bench: &mut Bench, workshop: &Workshop) {
        let source = self.source.make(workshop);
        let target = workshop.output("converted");
        let convert = |program: &str, mode: &[&str]| {
            run(Command::new(program)
                .arg("convert")
                .args(mode)
                .args(self.options)
                .args([&source, &target]));
        };
        let prepare = || {
            let _ = fs::remove_file(&target);
            run(&mut Command::new("sync"));
        };
        // The right disk first, then the time that it takes.
        prepare();
        convert(PLATTER, &[]);
        run(Command::new(QEMU).arg("compare").args([&source, &target]));
        let speeds = self.modes.iter().map(|mode| {
            let once = || {
                prepare();
                time(&mut || convert(QEMU, mode))
            };
            match self.modes.len() {
                1 => 0.0,
                _ => once().min(once()),
            }
        });
        let speeds: Vec<f64> = speeds.collect();
        let fastest = (0..speeds.len()).min_by(|a, b| speeds[*a].total_cmp(&speeds[*b]));
        let mode = self.modes[fastest.expect("there is a mode")];
        let words = [mode, self.options].concat().join(" ");
        bench.prepared_pairs(
            self.name,
            &format!("qemu-img convert {words}"),
            &Target::Ratio(self.aim),
            self.pairs,
            Sides {
                prepare: &mut || prepare(),
                ours: &mut || convert(PLATTER, &[]),
                peer: &mut || convert(QEMU, mode),
            },
        );
        workshop.done_with(&[&target]);
    }
}

impl Source {
    fn make(self, workshop: &Workshop) -> PathBuf {
        match self {
            Self::Raw => workshop.raw(),
            Self::Plain => workshop.converted("plain.qcow2", &[]),
            Self::Zlib => workshop.converted("zlib.qcow2", &["-c", "-o", "compression_type=zlib"]),
            Self::Zstd => workshop.converted("zstd.qcow2", &["-c", "-o", "compression_type=zstd"]),
        }
    }
}

/// What compression makes of it: as small as the peer's, or at most two hundredths longer.
fn sizes(workshop: &Workshop) {
    let source = workshop.raw();
    for (name, options) in [("zlib", ZLIB), ("zstd", ZSTD)] {
        let size = |program: &str, mode: &[&str], target: &Path| {
            run(Command::new(program)
                .arg("convert")
                .args(mode)
                .args(options)
                .args([source.as_path(), target]));
            let size = fs::metadata(target).expect("the target is there").len();
            fs::remove_file(target).expect("the target can be removed");
            size
        };
        let target = workshop.output("converted");
        let (ours, theirs) = (size(PLATTER, &[], &target), size(QEMU, PARALLEL, &target));
        println!("| convert -c {name}, size | {ours} B | {theirs} B | | 1.02 | | |");
        assert!(
            ours * 100 <= theirs * 102,
            "{name}: {ours} bytes are more than 1.02 times {theirs}"
        );
    }
}
