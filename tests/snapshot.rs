//! `snapshot` beside the program whose place it takes: the same words, and each uses what the other
//! has made.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::inputs::Random;
use common::qemu::img;
use common::twins::Twins;

fn ours(folder: &Path, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    common::run(common::ours().args(words).current_dir(folder));
}

#[test]
fn grammar_and_complaints_are_the_same() {
    let twins = Twins::new(|folder| {
        img(folder, "create -q -f qcow2 a.qcow2 10M");
        img(folder, "create -q -f qcow2 empty.qcow2 10M");
        for name in ["s1", "1", "s1"] {
            img(folder, &format!("snapshot -c {name} a.qcow2"));
        }
        img(
            folder,
            "create -q -f qcow2 -o data_file=d.raw data.qcow2 1M",
        );
        img(folder, "create -q -f qcow2 bitmap.qcow2 1M");
        img(folder, "bitmap --add bitmap.qcow2 b");
        img(folder, "snapshot -c s1 bitmap.qcow2");
        img(folder, "create -q -f qcow2 -o refcount_bits=1 bit.qcow2 1M");
        img(folder, "create -q -f qcow2 -F qcow2 -b a.qcow2 top.qcow2");
        img(
            folder,
            "create -q -f qcow2 -u -F qcow2 -b nope.qcow2 bottomless.qcow2 1M",
        );
        fs::write(folder.join("raw"), [7; 1 << 16]).unwrap();
    });
    twins.assert_same_afresh(&[
        "snapshot",
        "snapshot a b",
        "snapshot nope",
        "snapshot -c x nope",
        "snapshot -Z a.qcow2",
        "snapshot -T x a.qcow2",
        "snapshot -c",
        "snapshot --list=x a.qcow2",
        "snapshot --bogus a.qcow2",
        "snapshot -l -l a.qcow2",
        "snapshot -l -c x a.qcow2",
        "snapshot -c x -c y a.qcow2",
        "snapshot --image-opts -f raw a.qcow2",
        "snapshot --object foo a.qcow2",
        "snapshot a.qcow2",
        "snapshot -l a.qcow2",
        "snapshot --list -q a.qcow2",
        "snapshot -l -U a.qcow2",
        "snapshot -U -c x a.qcow2",
        "snapshot -f foo -l a.qcow2",
        "snapshot -f raw -l a.qcow2",
        "snapshot --image-opts driver=qcow2,file.filename=a.qcow2",
        "snapshot empty.qcow2",
        "snapshot -c x a.qcow2",
        "snapshot -q -c x empty.qcow2",
        "snapshot -a s1 a.qcow2",
        "snapshot -a 2 a.qcow2",
        "snapshot -a nope a.qcow2",
        "snapshot -d s1 a.qcow2",
        "snapshot -d 1 a.qcow2",
        "snapshot -d 3 a.qcow2",
        "snapshot -d nope a.qcow2",
        "snapshot -c x data.qcow2",
        "snapshot -a x data.qcow2",
        "snapshot -d x data.qcow2",
        "snapshot -c x bitmap.qcow2",
        "snapshot -a s1 bitmap.qcow2",
        "snapshot -a nope bitmap.qcow2",
        "snapshot -d s1 bitmap.qcow2",
        "snapshot -c x bit.qcow2",
        "snapshot -c x top.qcow2",
        "snapshot -c x bottomless.qcow2",
        "snapshot bottomless.qcow2",
        "snapshot -l raw",
        "snapshot -f raw -c x raw",
        "snapshot -f raw -d x raw",
        "snapshot -f raw -a x raw",
        "snapshot -c x raw",
        "snapshot -d x raw",
    ]);
}

/// A refcount that does not fit leaves the image as sound as it was, and without leaks.
#[test]
fn a_full_refcount_refuses_and_changes_nothing() {
    let folder = common::scratch();
    let folder = folder.path();
    for bits in [1, 2] {
        let image = format!("r{bits}.qcow2");
        img(
            folder,
            &format!("create -q -f qcow2 -o refcount_bits={bits} {image} 4M"),
        );
        write(folder, &image, "write -P 7 0 2M");
        for _ in 0..(1 << bits) - 2 {
            ours(folder, &format!("snapshot -c s {image}"));
        }
        let refused = common::output(
            common::ours()
                .args(["snapshot", "-c", "s", &image])
                .current_dir(folder),
        );
        assert_eq!(
            String::from_utf8_lossy(&refused.stderr),
            "platter-img: Could not create snapshot 's': Invalid argument\n"
        );
        img(folder, &format!("check -q {image}"));
        write(folder, &image, "read -P 7 0 2M");
    }
}

/// Takes, applies and deletes with either program, with writes of the other between, over all
/// layouts: every snapshot keeps its content, and no check finds anything.
#[test]
fn each_program_uses_the_snapshots_of_the_other() {
    let layouts = [
        ("", 10),
        ("compat=0.10", 8),
        ("cluster_size=1k", 5),
        ("cluster_size=4k,refcount_bits=64", 7),
        ("cluster_size=2M", 5),
        ("extended_l2=on", 7),
        ("refcount_bits=8,lazy_refcounts=on", 7),
        ("refcount_bits=32,compression_type=zstd", 7),
    ];
    let (left, right) = layouts.split_at(layouts.len() / 2);
    std::thread::scope(|scope| {
        for half in [left, right] {
            scope.spawn(move || {
                for (options, steps) in half {
                    play(options, *steps);
                }
            });
        }
    });
}

fn write(folder: &Path, image: &str, line: &str) {
    let mut command = common::tool("qemu-io");
    common::run(command.args(["-c", line, image]).current_dir(folder));
}

/// Random steps on one image.
fn play(options: &str, steps: u64) {
    let folder = common::scratch();
    let folder = folder.path();
    let mut random = Random(options.len() as u64 * 77 + steps);
    // Half of each cluster can be compressed.
    let content = (0..1 << 19).flat_map(|at| {
        let word = if at / 64 % 2 == 0 { random.next() } else { 0 };
        word.to_le_bytes()
    });
    fs::write(folder.join("a.raw"), content.collect::<Vec<u8>>()).unwrap();
    let options = if options.is_empty() {
        "size=4M"
    } else {
        options
    };
    img(
        folder,
        &format!("convert -c -O qcow2 -o {options} a.raw a.qcow2"),
    );
    let mut taken: Vec<String> = Vec::new();
    for step in 0..steps {
        scribble(folder, &mut random);
        let by_us = random.below(3) > 0;
        let run = |line: &str| {
            if by_us {
                ours(folder, line);
            } else {
                img(folder, line);
            }
        };
        match random.below(4) {
            0 if !taken.is_empty() => {
                let name = &taken[index(&mut random, taken.len())];
                run(&format!("snapshot -a {name} a.qcow2"));
                img(folder, &format!("compare -q a.qcow2 {name}.raw"));
            }
            1 if !taken.is_empty() => {
                let name = taken.remove(index(&mut random, taken.len()));
                img(folder, "convert -O raw a.qcow2 active.raw");
                run(&format!("snapshot -d {name} a.qcow2"));
                img(folder, "compare -q a.qcow2 active.raw");
            }
            _ => {
                let name = format!("s{step}");
                run(&format!("snapshot -c {name} a.qcow2"));
                img(folder, &format!("convert -O raw a.qcow2 {name}.raw"));
                taken.push(name);
            }
        }
        let checked = img(folder, "check a.qcow2");
        assert!(checked.contains("No errors"), "{options}: {checked}");
        for name in &taken {
            img(
                folder,
                &format!("convert -O raw -l {name} a.qcow2 seen.raw"),
            );
            let read = |file: &str| fs::read(folder.join(file)).unwrap();
            assert!(
                read("seen.raw") == read(&format!("{name}.raw")),
                "{options}: {name} has changed in step {step}"
            );
        }
    }
}

fn index(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length as u64)).unwrap()
}

/// Writes, zeroes and discards here and there.
fn scribble(folder: &Path, random: &mut Random) {
    let mut command = common::tool("qemu-io");
    for _ in 0..4 {
        let (at, length) = (random.below(7 << 9) << 10, (1 + random.below(511)) << 10);
        let pattern = 1 + random.below(250);
        let line = match random.below(6) {
            0 => format!("write -z {at} {length}"),
            1 => format!("discard {at} {length}"),
            _ => format!("write -P {pattern} {at} {length}"),
        };
        command.args(["-c", &line]);
    }
    common::run(command.arg("a.qcow2").current_dir(folder));
}
