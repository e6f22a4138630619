//! Verbs that move data between the layers of a chain, and comparing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::measure::{self, Bench, Sides, Target, run};
use crate::rows::{PLATTER, QEMU};
use crate::workshop::Workshop;

/// All rows.
pub(crate) fn all(bench: &mut Bench, workshop: &Workshop) {
    layers(bench, workshop);
    compare(bench, workshop);
}

/// The layers that are changed, from the top; every run has fresh copies.
struct Row {
    name: &'static str,
    words: &'static [&'static str],
    /// The layers of the chain that the verb changes: 3 is the top.
    changes: &'static [usize],
    aim: f64,
    pairs: usize,
}

impl Row {
    /// The layer whose disk is that of the top afterwards.
    fn holds_the_disk(&self) -> usize {
        match self.words {
            ["commit", ..] => self.changes.iter().copied().min().unwrap_or(3),
            _ => 3,
        }
    }
}

/// `BELOWn` stands for the file of layer n, 0 for the base.
const ROWS: [Row; 6] = [
    Row {
        name: "commit",
        words: &["commit", "-q"],
        changes: &[3, 2],
        aim: 3.0,
        pairs: 7,
    },
    Row {
        name: "commit through two layers",
        words: &["commit", "-q", "-b", "BELOW1"],
        changes: &[3, 2, 1],
        aim: 3.0,
        pairs: 7,
    },
    Row {
        name: "rebase, one layer less",
        words: &["rebase", "-F", "qcow2", "-b", "BELOW1"],
        changes: &[3],
        aim: 3.0,
        pairs: 7,
    },
    Row {
        name: "rebase, two layers less",
        words: &["rebase", "-F", "qcow2", "-b", "BELOW0"],
        changes: &[3],
        aim: 3.0,
        pairs: 7,
    },
    Row {
        name: "rebase -u",
        words: &["rebase", "-u", "-F", "qcow2", "-b", "BELOW1"],
        changes: &[3],
        aim: 2.0,
        pairs: 21,
    },
    Row {
        name: "flatten",
        words: &["rebase", "-b", ""],
        changes: &[3],
        aim: 1.1,
        pairs: 3,
    },
];

fn layers(bench: &mut Bench, workshop: &Workshop) {
    if !ROWS.iter().any(|row| bench.wants(row.name)) {
        return;
    }
    let chain = workshop.chain_files();
    for row in &ROWS {
        let copies: Vec<PathBuf> = (0..chain.len())
            .map(|layer| match row.changes.contains(&layer) {
                true => chain[layer].with_extension("copy"),
                false => chain[layer].clone(),
            })
            .collect();
        let mut prepare = || {
            // From the base up, so that each copy finds the one it stands on.
            for layer in 0..chain.len() {
                if row.changes.contains(&layer) {
                    copy(&chain[layer], &copies[layer]);
                    relink(&copies[layer], &copies[layer - 1]);
                    measure::settle(&copies[layer]);
                }
            }
        };
        let command = |program: &str| {
            let mut command = Command::new(program);
            for word in row.words {
                match word.strip_prefix("BELOW").map(str::parse::<usize>) {
                    Some(Ok(layer)) => command.arg(&copies[layer]),
                    _ => command.arg(word),
                };
            }
            // Ours warns of the other copies.
            command.arg(&copies[3]).stderr(Stdio::null());
            command
        };
        if bench.wants(row.name) && row.name != "rebase -u" {
            same_disk(
                &chain[3],
                &copies[row.holds_the_disk()],
                &mut prepare,
                &mut command(PLATTER),
            );
        }
        bench.prepared_pairs(
            row.name,
            &format!("qemu-img {}", row.words.join(" ")),
            &Target::Ratio(row.aim),
            row.pairs,
            Sides {
                prepare: &mut prepare,
                ours: &mut || run(&mut command(PLATTER)),
                peer: &mut || run(&mut command(QEMU)),
            },
        );
        for layer in row.changes {
            let _ = fs::remove_file(&copies[*layer]);
        }
    }
    let files: Vec<&Path> = chain.iter().map(PathBuf::as_path).collect();
    workshop.done_with(&files);
}

/// The disk of `before`, which nothing changes, is that of `after` when `command` is done.
fn same_disk(before: &Path, after: &Path, prepare: &mut dyn FnMut(), command: &mut Command) {
    prepare();
    run(command);
    run(Command::new(QEMU).arg("compare").args([before, after]));
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("--sparse=always").args([from, to]));
}

fn relink(image: &Path, backing: &Path) {
    run(Command::new(QEMU)
        .args(["rebase", "-u", "-F", "qcow2", "-b"])
        .args([backing, image]));
}

fn compare(bench: &mut Bench, workshop: &Workshop) {
    let zlib = ["-c", "-o", "compression_type=zlib"];
    for (name, options, aim) in [
        ("compare plain", &[][..], 1.5),
        ("compare zlib", &zlib[..], 4.0),
    ] {
        if !bench.wants(name) {
            continue;
        }
        let file = format!("{}.qcow2", name.replace(' ', "-"));
        let image = workshop.converted(&file, options);
        let raw = workshop.raw();
        let command = |program: &str| {
            let mut command = Command::new(program);
            command.args(["compare", "-f", "raw", "-F", "qcow2"]);
            command.args([&raw, &image]);
            command
        };
        bench.pairs(
            name,
            "qemu-img compare",
            &Target::Ratio(aim),
            5,
            &mut || run(&mut command(PLATTER)),
            &mut || run(&mut command(QEMU)),
        );
        workshop.done_with(&[&image, &raw]);
    }
}
