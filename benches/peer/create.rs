//! New images. What either program leaves unwritten in the page cache is written before the next
//! run, so that nobody pays for the other.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::measure::{Bench, Sides, Target, run};
use crate::rows::{PLATTER, QEMU};
use crate::workshop::Workshop;

/// All rows about `create`.
pub(crate) fn all(bench: &mut Bench, workshop: &Workshop) {
    let metadata = "preallocation=metadata";
    row(bench, workshop, "create 1 TiB", None, "1T", 2.0, 21);
    let (size, pairs) = if workshop.quick {
        ("64G", 3)
    } else {
        ("1T", 5)
    };
    row(
        bench,
        workshop,
        "create 1 TiB, metadata",
        Some(metadata),
        size,
        15.0,
        pairs,
    );
    let (size, pairs) = if workshop.quick {
        ("64G", 1)
    } else {
        ("8T", 3)
    };
    row(
        bench,
        workshop,
        "create 8 TiB, metadata",
        Some(metadata),
        size,
        15.0,
        pairs,
    );
}

fn row(
    bench: &mut Bench,
    workshop: &Workshop,
    name: &str,
    options: Option<&str>,
    size: &str,
    aim: f64,
    pairs: usize,
) {
    if !bench.wants(name) {
        return;
    }
    let image = workshop.output("created.qcow2");
    let create = |program: &str| run(&mut create(program, options, &image, size));
    bench.prepared_pairs(
        name,
        &format!("qemu-img create -o {}", options.unwrap_or("(default)")),
        &Target::Ratio(aim),
        pairs,
        Sides {
            prepare: &mut || {
                let _ = fs::remove_file(&image);
                run(&mut Command::new("sync"));
            },
            ours: &mut || create(PLATTER),
            peer: &mut || create(QEMU),
        },
    );
    let checked = Command::new(QEMU)
        .arg("check")
        .arg("-q")
        .arg(&image)
        .status();
    assert!(
        checked.is_ok_and(|status| status.success()),
        "{name}: the image is damaged"
    );
    let _ = fs::remove_file(&image);
}

fn create(program: &str, options: Option<&str>, image: &Path, size: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["create", "-q", "-f", "qcow2"]);
    if let Some(options) = options {
        command.args(["-o", options]);
    }
    command.arg(image).arg(size);
    command
}
