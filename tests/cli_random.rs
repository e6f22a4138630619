//! Random command lines, right and wrong ones, through `qemu-img` and ours: the same words, the same
//! exit code, and the same images afterwards.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;
#[path = "cli_random/lines.rs"]
mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::inputs::Random;
use common::qemu::{img, io};
use common::twins::Twins;
use serde_json::Value;

/// Lines that are compared in an ordinary run.
const LINES: u64 = 160;

#[test]
fn random_lines_do_the_same() {
    let lines = number_from("PLATTER_COMMAND_LINES").unwrap_or(LINES);
    let seed = number_from("PLATTER_COMMAND_SEED").unwrap_or(1);
    // Two at a time: most of it is waiting for processes.
    let different = std::thread::scope(|scope| {
        let other = scope.spawn(|| differences(lines / 2, seed << 1 | 1));
        differences(lines.div_ceil(2), seed << 1) + &other.join().expect("no line panics")
    });
    println!("{lines} command lines compared");
    assert!(different.is_empty(), "{different}");
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

fn differences(lines: u64, seed: u64) -> String {
    let twins = Twins::new(make_images);
    let pristine = twins.pristine();
    let mut random = Random(seed);
    let mut text = String::new();
    for _ in 0..lines {
        twins.restore(&pristine);
        let line = lines::line(&mut random);
        if let Some(difference) = difference(&twins, &line) {
            let _ = writeln!(text, "\n===== qemu-img {line}\n{difference}");
        }
    }
    text
}

fn make_images(folder: &Path) {
    let img = |line: &str| drop(img(folder, line));
    let io = |image: &str, commands: &[&str]| io(folder, "qcow2", image, commands);
    let mut bytes = vec![0; 3 << 20];
    let mut random = Random(7);
    for range in [0..70_000, 1_000_000..1_300_000] {
        bytes[range].fill_with(|| random.next().to_le_bytes()[0]);
    }
    fs::write(folder.join("r.raw"), bytes).expect("a file can be written");
    fs::write(folder.join("text"), "hello\n").expect("a file can be written");
    fs::write(folder.join("empty"), "").expect("a file can be written");
    img("create -q -f qcow2 a.qcow2 4M");
    io(
        "a.qcow2",
        &["write -P 3 0 100k", "write -P 4 2M 64k", "write -z 3M 128k"],
    );
    img("create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2");
    io("b.qcow2", &["write -P 7 64k 10k"]);
    img("create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2");
    io("c.qcow2", &["write -P 9 1M 10k"]);
    img("create -q -f qcow2 s.qcow2 2M");
    for (name, pattern) in [("one", 3), ("two", 5)] {
        io("s.qcow2", &[&format!("write -P {pattern} 0 100k")]);
        img(&format!("snapshot -c {name} s.qcow2"));
    }
    img("create -q -f qcow2 -o cluster_size=4k,refcount_bits=1 k.qcow2 1M");
    img("create -q -f qcow2 -o extended_l2=on e.qcow2 1M");
    io("e.qcow2", &["write -P 3 0 10k"]);
    img("create -q -f qcow2 -o compat=0.10 v2.qcow2 1M");
    // Longer and shorter than what they stand on, and without a word for zeroes.
    img("create -q -f qcow2 -b a.qcow2 -F qcow2 -o compat=0.10 long.qcow2 6M");
    io(
        "long.qcow2",
        &["write -P 8 3M 100k", "write -z 1M 1M", "write -P 9 5M 64k"],
    );
    img("create -q -f qcow2 -b r.raw -F raw -o extended_l2=on short.qcow2 1200k");
    io("short.qcow2", &["write -P 8 1M 10k", "write -z 1100k 20k"]);
    img("create -q -f qcow2 bm.qcow2 1M");
    img("bitmap --add bm.qcow2 x");
    img("bitmap --add --disable bm.qcow2 y");
    img("convert -c -O qcow2 r.raw z.qcow2");
}

/// What a script would see of a difference.
fn difference(twins: &Twins, line: &str) -> Option<String> {
    let before = [stamps(&twins.theirs("")), stamps(&twins.ours(""))];
    if names_a_file_twice(line) || has_two_faults(line) {
        return None;
    }
    let outputs = twins.run(line);
    let [theirs, ours] = outputs.each_ref().map(seen);
    if outputs[0].status.signal().is_some() {
        // An assertion of qemu-img did not hold.
        return None;
    }
    if names_a_node(&theirs) {
        return (outputs[0].status != outputs[1].status).then(|| theirs + &ours);
    }
    if theirs != ours {
        return Some(format!("----- theirs\n{theirs}----- ours\n{ours}"));
    }
    // What a failure leaves of a target is no model.
    if !outputs[0].status.success() {
        return None;
    }
    let after = [stamps(&twins.theirs("")), stamps(&twins.ours(""))];
    let mut changed = changed(&before[0], &after[0]);
    // Where nothing is to be done, one may write and the other not.
    changed.append(&mut self::changed(&before[1], &after[1]));
    changed.iter().find_map(|name| different_image(twins, name))
}

/// `qemu-img` lets some verbs read what they overwrite; ours refuses.
fn names_a_file_twice(line: &str) -> bool {
    let mut seen = BTreeSet::new();
    let operands = line.split(' ').filter(|word| word.contains('.'));
    let names = operands.map(|word| word.split_once("f=").map_or(word, |(_, name)| name));
    names.into_iter().any(|name| !seen.insert(name))
}

/// Which of two is found first is nobody's business.
fn has_two_faults(line: &str) -> bool {
    let has = |words: &[&str]| words.iter().all(|word| line.contains(word));
    has(&["nowhere", "extended_l2=on,cluster_size=4k"])
        || has(&["convert ", "nowhere"])
        || has(&["bitmap ", "-g "])
        || has(&["convert ", " -n ", "--bitmaps"])
        || has(&["convert ", " -l "])
}

/// QEMU calls an image by a number of its own in some messages; ours by the file.
fn names_a_node(said: &str) -> bool {
    said.contains("#block")
}

/// What a script sees, but for how far the work was at some moment.
fn seen(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut kept = String::new();
    for part in text.split_inclusive("/100%)\r") {
        match part.rfind("    (") {
            Some(start) if part.ends_with("/100%)\r") => kept.push_str(&part[..start]),
            _ => kept.push_str(part),
        }
    }
    let shown = if text.contains("/100%)") && output.status.success() {
        "[progress]\n"
    } else {
        ""
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    // QEMU opens an image again for some verbs, and warns again.
    let (first, again) = complaints.split_at(complaints.rfind("WARNING: ").unwrap_or(0));
    let complaints = if again.starts_with(first) {
        again
    } else {
        &complaints
    };
    format!("{shown}{kept}[stderr]\n{complaints}[{}]\n", output.status)
}

/// What tells that a file was written.
type Stamps = BTreeMap<String, (u64, u64, i64, i64)>;

fn stamps(folder: &Path) -> Stamps {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let stamp = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let facts = entry.metadata().expect("it is still there");
        let stamp = (facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec());
        (name, stamp)
    };
    entries
        .map(|entry| stamp(entry.expect("an entry")))
        .collect()
}

fn changed(before: &Stamps, after: &Stamps) -> BTreeSet<String> {
    let is_new = |name: &&String| before.get(*name) != after.get(*name);
    after.keys().filter(is_new).cloned().collect()
}

/// How an image that both have written differs: its facts, its disk, or its metadata.
fn different_image(twins: &Twins, name: &str) -> Option<String> {
    let paths = [twins.theirs(name), twins.ours(name)];
    let facts = paths.each_ref().map(|path| facts(path));
    if facts[0] != facts[1] {
        return Some(format!(
            "----- facts of {name}\n{}\n{}\n",
            facts[0], facts[1]
        ));
    }
    let format = facts[0]["format"].as_str().unwrap_or("raw");
    let qemu = |words: &[&str], paths: &[PathBuf]| {
        common::output(common::tool("qemu-img").args(words).args(paths))
    };
    if format == "qcow2" {
        let check = ["check", "-q", "-f", format];
        let [theirs, ours] = [0, 1].map(|side| qemu(&check, &paths[side..=side]));
        if theirs.status.success() && !ours.status.success() {
            return Some(format!("----- check of {name}\n{}", seen(&ours)));
        }
        if !theirs.status.success() {
            // It was made to stand on something that is no image, or qemu-img made a fault.
            return None;
        }
    }
    let compared = qemu(&["compare", "-f", format, "-F", format], &paths);
    (!compared.status.success()).then(|| format!("----- disk of {name}\n{}", seen(&compared)))
}

/// What an image says of itself, but for dates and the space it takes.
fn facts(path: &Path) -> Value {
    let mut info = common::tool("qemu-img");
    let text = common::output(info.args(["info", "--output=json"]).arg(path)).stdout;
    let mut facts: Value = serde_json::from_slice(&text).unwrap_or_default();
    if let Some(facts) = facts.as_object_mut() {
        let of_the_place = [
            "filename",
            "full-backing-filename",
            "actual-size",
            "children",
        ];
        facts.retain(|name, _| !of_the_place.contains(&name.as_str()));
    }
    for snapshot in facts["snapshots"].as_array_mut().into_iter().flatten() {
        let snapshot = snapshot.as_object_mut().expect("an object");
        snapshot.retain(|name, _| !name.starts_with("date-"));
    }
    facts
}
