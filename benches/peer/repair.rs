//! Repairing and amending an image of scattered clusters. Each program has a copy of its own.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::measure::{Bench, Sides, Target, run};
use crate::rows::{PLATTER, QEMU};
use crate::workshop::Workshop;

const CLUSTER: u64 = 64 << 10;
/// Clusters that are counted and used by nothing.
const LEAKS: u64 = 100;

/// All rows.
pub(crate) fn all(bench: &mut Bench, workshop: &Workshop) {
    let names = [
        "check -r leaks, scattered",
        "amend refcount_bits, scattered",
    ];
    if !names.iter().any(|name| bench.wants(name)) {
        return;
    }
    let image = workshop.scattered();
    let [our, their] = ["ours.qcow2", "theirs.qcow2"].map(|name| {
        let copy = workshop.output(name);
        run(Command::new("cp")
            .arg("--sparse=always")
            .args([&image, &copy]));
        copy
    });
    leaks(bench, names[0], &our, &their);
    amend(bench, names[1], &our, &their);
    for copy in [&our, &their] {
        run(Command::new(QEMU).args(["check", "-q"]).arg(copy));
        let _ = fs::remove_file(copy);
    }
    workshop.done_with(&[&image]);
}

fn leaks(bench: &mut Bench, name: &str, our: &Path, their: &Path) {
    let repair = |program: &str, image: &Path| {
        let mut command = Command::new(program);
        command.args(["check", "-q", "-r", "leaks"]).arg(image);
        run(command.stderr(Stdio::null()));
    };
    let clusters = fs::metadata(our).unwrap().len() / CLUSTER;
    bench.prepared_pairs(
        name,
        "qemu-img check -r leaks",
        &Target::Ratio(50.0),
        3,
        Sides {
            prepare: &mut || {
                leak(our, clusters);
                leak(their, clusters);
            },
            ours: &mut || repair(PLATTER, our),
            peer: &mut || repair(QEMU, their),
        },
    );
    // Whoever was not the last to run has leaks again.
    repair(PLATTER, our);
    repair(QEMU, their);
}

/// Counts [`LEAKS`] clusters from `first` on, behind the end of the file so far.
fn leak(image: &Path, first: u64) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    file.set_len((first + LEAKS) * CLUSTER).unwrap();
    let field = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes)
    };
    let per_block = CLUSTER / 2;
    for cluster in first..first + LEAKS {
        let block = field(field(48) + cluster / per_block * 8);
        assert!(block != 0, "the last refcount block has room");
        file.write_all_at(&[0, 1], block + cluster % per_block * 2)
            .unwrap();
    }
}

fn amend(bench: &mut Bench, name: &str, our: &Path, their: &Path) {
    let bits: [Cell<u32>; 2] = [Cell::new(16), Cell::new(16)];
    let amend = |program: &str, image: &PathBuf, bits: &Cell<u32>| {
        bits.set(if bits.get() == 16 { 32 } else { 16 });
        let option = format!("refcount_bits={}", bits.get());
        run(Command::new(program)
            .args(["amend", "-o", &option])
            .arg(image));
    };
    let (our, their) = (our.to_path_buf(), their.to_path_buf());
    bench.pairs(
        name,
        "qemu-img amend -o refcount_bits=32, and back",
        &Target::Ratio(2.0),
        5,
        &mut || amend(PLATTER, &our, &bits[0]),
        &mut || amend(QEMU, &their, &bits[1]),
    );
}
