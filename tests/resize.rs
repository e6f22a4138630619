//! `resize` beside the program whose place it takes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/inputs.rs"]
mod inputs;

use std::fs;
use std::path::Path;

use common::twins::Twins;
use inputs::Random;

fn img(folder: &Path, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    common::run(common::tool("qemu-img").args(words).current_dir(folder));
}

#[test]
fn raw_disks_get_the_same_size_with_the_same_words() {
    let twins = Twins::new(|folder| {
        fs::write(folder.join("disk.raw"), [7; 1 << 20]).unwrap();
        fs::write(folder.join("odd"), [9; 700]).unwrap();
        fs::write(folder.join("empty"), []).unwrap();
    });
    twins.assert_same_afresh(&[
        "resize",
        "resize disk.raw",
        "resize a b c",
        "resize -Z",
        "resize -5",
        "resize -1k disk.raw",
        "resize -f raw -5 disk.raw",
        "resize disk.raw +1M --bogus",
        "resize disk.raw +1M -f",
        "resize nope 1M",
        "resize nope x",
        "resize -f foo disk.raw 1M",
        "resize --object foo disk.raw 1M",
        "resize --image-opts -f raw disk.raw 1M",
        "resize --image-opts driver=raw,file.filename=disk.raw 2M",
        "resize disk.raw 512k",
        "resize disk.raw +1M",
        "resize --shrink disk.raw 512k",
        "resize -f raw disk.raw 1M",
        "resize -f raw -q disk.raw 2M",
        "resize -f raw -q disk.raw 1k",
        "resize -f raw disk.raw -1k",
        "resize -f raw disk.raw -1k --shrink",
        "resize disk.raw -f raw -1k --shrink",
        "resize -f raw --shrink -- disk.raw -1k",
        "resize -f raw disk.raw -100G --shrink",
        "resize -f raw disk.raw -0",
        "resize -f raw disk.raw 0",
        "resize -f raw disk.raw x",
        "resize -f raw disk.raw +x",
        "resize -f raw disk.raw -- -x",
        "resize -f raw disk.raw -1x",
        "resize -f raw disk.raw +-1M",
        "resize -f raw disk.raw +-1",
        "resize -f raw disk.raw 1.5",
        "resize -f raw disk.raw 1.5M",
        "resize -f raw disk.raw +0x100000",
        "resize -f raw disk.raw +1MB",
        "resize -f raw disk.raw 7E",
        "resize -f raw disk.raw 8E",
        "resize -f raw disk.raw +8E",
        "resize -f raw disk.raw 16E",
        "resize -f raw disk.raw 99999999999999999999",
        "resize -f raw --preallocation=off disk.raw 2M",
        "resize -f raw --preallocation=metadata disk.raw 2M",
        "resize -f raw --preallocation=falloc disk.raw 2M",
        "resize -f raw --preallocation=full disk.raw 2M",
        "resize -f raw --preallocation full --shrink disk.raw 1k",
        "resize -f raw --preallocation=foo disk.raw 2M",
        "resize -f raw odd 1000",
        "resize -f raw odd +1",
        "resize -f raw odd 2000",
        "resize -f raw --shrink odd 100",
        "resize -f raw empty +1",
        "resize -f raw empty 1M",
    ]);
    for (name, lines) in [
        (
            "disk.raw",
            [
                "resize -f raw disk.raw +1k",
                "resize -f raw --shrink disk.raw 513",
            ],
        ),
        ("odd", ["resize -f raw odd +1", "resize -f raw odd +513"]),
        (
            "empty",
            ["resize -f raw empty 5000", "resize -f raw empty --shrink 1"],
        ),
    ] {
        for line in lines {
            twins.assert_same(line);
            let read = |path| fs::read(path).unwrap();
            assert!(read(twins.theirs(name)) == read(twins.ours(name)), "{line}");
        }
    }
}

/// Under our own name, what the new size breaks is said; under the other's, nothing.
#[test]
fn the_traps_of_resizing_are_told() {
    let folder = common::scratch();
    img(folder.path(), "create -q -f raw gpt.raw 64M");
    common::run_with_input(
        common::tool("sfdisk")
            .arg("-q")
            .arg(folder.path().join("gpt.raw")),
        "label: gpt\nsize=20MiB\nsize=30MiB\n",
    );
    let said = |line: &str| {
        let mut command = common::ours();
        let words = line.split_whitespace();
        let output = common::output(command.args(words).current_dir(folder.path()));
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let grown = said("resize -f raw gpt.raw 128M");
    assert!(
        grown.starts_with(
            "warning: the backup GPT stays at the old end of the disk (byte 67108864)"
        ),
        "{grown}"
    );
    let cut = said("resize -f raw --shrink gpt.raw 30M");
    assert!(
        cut.contains("warning: partition 2 ends at byte 53477376, behind the new end"),
        "{cut}"
    );
}

/// Every layout through the same sequence of sizes: the same words and, read by the other program,
/// the same disk.
#[test]
fn qcow2_disks_get_the_same_size_with_the_same_words() {
    let layouts = [
        "",
        "compat=0.10",
        "cluster_size=2k",
        "cluster_size=4k,refcount_bits=1",
        "cluster_size=2M,refcount_bits=64",
        "extended_l2=on",
        "refcount_bits=8,lazy_refcounts=on",
        "data_file=d.raw",
        "data_file=d.raw,data_file_raw=on",
    ];
    let (left, right) = layouts.split_at(layouts.len() / 2);
    std::thread::scope(|scope| {
        for half in [left, right] {
            scope.spawn(move || half.iter().copied().for_each(play));
        }
    });
}

fn play(options: &str) {
    let twins = Twins::new(|folder| {
        let mut command = common::tool("qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-o"]);
        let options = format!(
            "{options}{}size=3M",
            if options.is_empty() { "" } else { "," }
        );
        common::run(command.args([&options, "a.qcow2"]).current_dir(folder));
    });
    let mut random = Random(options.len() as u64);
    for size in [
        "3M",
        "+512",
        "100000256",
        "--preallocation=metadata 5300736",
        "1000448 --shrink",
        "--shrink 65536",
        "1313280 --preallocation=falloc",
        "600M --shrink",
        "+1G",
        "--preallocation=full +1M",
        "--shrink 2M",
        "--preallocation=metadata +1M",
        "--shrink 1k",
        "8M",
    ] {
        let before = scribble(&twins, &mut random);
        let line = match size.split_once(' ') {
            Some((first, rest)) if first.starts_with("--") && first != "--" => {
                format!("resize {first} a.qcow2 {rest}")
            }
            Some(("--", rest)) => format!("resize a.qcow2 -- {rest}"),
            _ => format!("resize a.qcow2 {size}"),
        };
        twins.assert_same(&line);
        twins.with_both(|folder| {
            let mut check = common::tool("qemu-img");
            let checked = common::run(check.args(["check", "a.qcow2"]).current_dir(folder));
            let is_clean = checked.contains("No errors");
            assert!(is_clean, "{options}: {line}: {checked}");
        });
        clear_their_tail(&twins, before);
        twins.assert_same_disk("a.qcow2");
    }
}

/// A cut leaves what is behind the new end in the last cluster, and the other program shows it
/// again when the disk grows. There it has to be zeroed by hand.
fn clear_their_tail(twins: &Twins, old_size: u64) {
    let path = twins.theirs("a.qcow2");
    let end = virtual_size(&path).min(old_size.next_multiple_of(2 << 20));
    if end > old_size {
        let line = format!("write -z {old_size} {}", end - old_size);
        let folder = path.parent().unwrap();
        let mut write = common::tool("qemu-io");
        common::run(write.args(["-c", &line, "a.qcow2"]).current_dir(folder));
    }
}

fn virtual_size(path: &Path) -> u64 {
    let mut info = common::tool("qemu-img");
    let info = common::run(
        info.args(["info", "--output=json", "a.qcow2"])
            .current_dir(path.parent().unwrap()),
    );
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    info["virtual-size"].as_u64().unwrap()
}

/// The same writes, zeroes and discards to both; the size of the disk.
fn scribble(twins: &Twins, random: &mut Random) -> u64 {
    let size = virtual_size(&twins.theirs("a.qcow2"));
    let mut lines = vec![format!("write -P 77 {} 512", size - 512)];
    for _ in 0..6 {
        let at = random.below(size.min(8 << 20) / 512) * 512;
        let length = (512 * (1 + random.below(400))).min(size - at);
        lines.push(match random.below(5) {
            0 => format!("write -z {at} {length}"),
            1 => format!("discard {at} {length}"),
            _ => format!("write -P {} {at} {length}", 1 + random.below(250)),
        });
    }
    twins.with_both(|folder| {
        let mut command = common::tool("qemu-io");
        for line in &lines {
            command.args(["-c", line]);
        }
        common::run(command.arg("a.qcow2").current_dir(folder));
    });
    size
}
