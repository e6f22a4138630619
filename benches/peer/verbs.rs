//! Verbs that change images: each program has a copy of its own, and what one run did the next one
//! goes on from. What takes the peer minutes is run once, and only when it is named.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{self, Bench, Target, run};
use crate::rows::{PLATTER, QEMU};
use crate::workshop::Workshop;

/// All rows.
pub(crate) fn all(bench: &mut Bench, workshop: &Workshop) {
    resize(bench, workshop);
    snapshots_of_content(bench, workshop);
    shrink_scattered(bench, workshop);
    snapshots_of_scattered(bench, workshop);
}

/// A copy for each program.
struct Copies {
    ours: PathBuf,
    theirs: PathBuf,
}

impl Copies {
    fn of(image: &Path) -> Self {
        let copy = |name: &str| {
            let path = image.with_extension(name);
            run(Command::new("cp")
                .arg("--sparse=always")
                .args([image, &path]));
            measure::settle(&path);
            path
        };
        Self {
            ours: copy("ours"),
            theirs: copy("theirs"),
        }
    }

    /// The words, the image and the words behind it with both programs, in pairs.
    fn compare(&self, bench: &mut Bench, name: &str, line: &str, aim: f64, pairs: usize) {
        let (ours, theirs) = self.commands(line);
        let peer_is = format!("qemu-img {}", line.replace("IMAGE", "").trim_end());
        bench.pairs(
            name,
            &peer_is,
            &Target::Ratio(aim),
            pairs,
            &mut || run(&mut ours()),
            &mut || run(&mut theirs()),
        );
    }

    /// As [`Self::compare`], once, without a run before.
    fn compare_once(&self, bench: &mut Bench, name: &str, line: &str, aim: f64) {
        let (ours, theirs) = self.commands(line);
        let peer_is = format!("qemu-img {}", line.replace("IMAGE", "").trim_end());
        bench.once(
            name,
            &peer_is,
            &Target::Ratio(aim),
            &mut || run(&mut ours()),
            &mut || run(&mut theirs()),
        );
    }

    fn commands(&self, line: &str) -> (impl Fn() -> Command, impl Fn() -> Command) {
        let command = |program: &'static str, image: &Path| {
            let words = line.split(' ').map(|word| match word {
                "IMAGE" => image.as_os_str().to_owned(),
                word => word.into(),
            });
            let words: Vec<_> = words.collect();
            move || {
                let mut command = Command::new(program);
                command.args(&words);
                command
            }
        };
        (command(PLATTER, &self.ours), command(QEMU, &self.theirs))
    }

    fn check(&self) {
        run(Command::new(QEMU).args(["check", "-q"]).arg(&self.ours));
    }

    fn done(self, workshop: &Workshop) {
        for path in [self.ours, self.theirs] {
            workshop.throw_away(&path);
        }
    }
}

fn resize(bench: &mut Bench, workshop: &Workshop) {
    let names = [
        "resize raw +1G",
        "resize qcow2 +1G",
        "resize +100G, metadata",
    ];
    for (name, (format, line, aim)) in names.into_iter().zip([
        ("raw", "resize -q -f raw IMAGE +1G", 2.0),
        ("qcow2", "resize -q -f qcow2 IMAGE +1G", 2.0),
        (
            "qcow2",
            "resize -q -f qcow2 --preallocation=metadata IMAGE +100G",
            10.0,
        ),
    ]) {
        if !bench.wants(name) {
            continue;
        }
        let image = workshop.empty(format);
        let copies = Copies::of(&image);
        copies.compare(bench, name, line, aim, if aim > 5.0 { 5 } else { 21 });
        if format == "qcow2" {
            copies.check();
        }
        copies.done(workshop);
    }
}

fn snapshots_of_content(bench: &mut Bench, workshop: &Workshop) {
    let names = ["snapshot -c", "snapshot -a", "snapshot -d"];
    if !names.iter().any(|name| bench.wants(name)) {
        return;
    }
    let image = workshop.converted("plain.qcow2", &[]);
    let copies = Copies::of(&image);
    for (name, line) in names.into_iter().zip([
        "snapshot -c s IMAGE",
        "snapshot -a s IMAGE",
        "snapshot -d s IMAGE",
    ]) {
        copies.compare(bench, name, line, 2.5, 11);
    }
    copies.check();
    copies.done(workshop);
}

fn shrink_scattered(bench: &mut Bench, workshop: &Workshop) {
    let name = "resize --shrink scattered";
    if !bench.names(name) {
        return;
    }
    let image = workshop.scattered();
    let copies = Copies::of(&image);
    let size = if workshop.quick { "62G" } else { "992G" };
    let line = format!("resize -q -f qcow2 --shrink IMAGE {size}");
    copies.compare_once(bench, name, &line, 10.0);
    copies.check();
    copies.done(workshop);
    workshop.done_with(&[&image]);
}

fn snapshots_of_scattered(bench: &mut Bench, workshop: &Workshop) {
    let names = [
        "snapshot -c scattered",
        "snapshot -a scattered",
        "snapshot -d scattered",
    ];
    if !names.iter().any(|name| bench.names(name)) {
        return;
    }
    let image = workshop.scattered();
    let copies = Copies::of(&image);
    for (name, line) in names.into_iter().zip([
        "snapshot -c s IMAGE",
        "snapshot -a s IMAGE",
        "snapshot -d s IMAGE",
    ]) {
        copies.compare_once(bench, name, line, 100.0);
    }
    copies.check();
    copies.done(workshop);
    workshop.done_with(&[&image]);
}
