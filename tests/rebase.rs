//! `rebase` beside the program whose place it takes.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::path::Path;

use common::twins::Twins;
use common::{run, tool};

fn img(folder: &Path, line: &str) {
    run(tool("qemu-img")
        .args(line.split_whitespace())
        .current_dir(folder));
}

fn io(folder: &Path, format: &str, image: &str, commands: &[&str]) {
    let mut writes = tool("qemu-io");
    writes.args(["-f", format]).current_dir(folder);
    for command in commands {
        writes.args(["-c", command]);
    }
    run(writes.arg(image));
}

/// base.raw (8 MiB) <- mid.qcow2 <- top.qcow2 (16 MiB), and other.raw.
fn three(folder: &Path) {
    for name in ["base.raw", "other.raw"] {
        img(folder, &format!("create -q -f raw {name} 8M"));
        io(folder, "raw", name, &["write -P 1 0 4M"]);
    }
    img(folder, "create -q -f qcow2 -b base.raw -F raw mid.qcow2");
    io(folder, "qcow2", "mid.qcow2", &["write -P 2 1M 1M"]);
    img(
        folder,
        "create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2 16M",
    );
    let writes = ["write -P 3 2M 1M", "write -z 3M 512k"];
    io(folder, "qcow2", "top.qcow2", &writes);
}

#[test]
fn grammar_and_complaints_are_the_same() {
    let twins = Twins::new(|folder| {
        three(folder);
        img(
            folder,
            "create -q -f qcow2 -b mid.qcow2 -F qcow2 gone.qcow2",
        );
        img(folder, "rebase -u -b nothing -F qcow2 gone.qcow2");
        img(
            folder,
            "create -q -f qcow2 -o cluster_size=512 small.qcow2 1M",
        );
        let options = "data_file=data.raw,data_file_raw=on";
        img(
            folder,
            &format!("create -q -f qcow2 -o {options} outside.qcow2 1M"),
        );
    });
    let long = |length: usize| "x".repeat(length);
    twins.assert_same_afresh(&[
        "rebase",
        "rebase top.qcow2",
        "rebase a b",
        "rebase -Z",
        "rebase -b",
        "rebase -u nope",
        "rebase -u -b x -F raw nope",
        "rebase -b other.raw top.qcow2",
        "rebase -b other.raw -F foo top.qcow2",
        "rebase -b nope -F raw top.qcow2",
        "rebase -b nope/nope top.qcow2",
        "rebase -b other.raw -F qcow2 top.qcow2",
        "rebase -b top.qcow2 -F qcow2 top.qcow2",
        "rebase -u -b nope top.qcow2",
        "rebase -u -b nope -F foo top.qcow2",
        "rebase -u -b x -F raw other.raw",
        "rebase -u -b x -F raw -f raw other.raw",
        "rebase -u -f raw other.raw",
        "rebase -c -b mid.qcow2 -F qcow2 -f raw other.raw",
        "rebase -t foo -b x top.qcow2",
        "rebase -T foo -b x top.qcow2",
        "rebase -t foo -T foo -b x top.qcow2",
        "rebase --object foo -u top.qcow2",
        "rebase --image-opts -f qcow2 -u top.qcow2",
        "rebase -b mid.qcow2 -F qcow2 gone.qcow2",
        "rebase -u -b base.raw -F raw outside.qcow2",
        "rebase -b base.raw -F raw outside.qcow2",
        &format!("rebase -u -b {} -F raw top.qcow2", long(1024)),
        &format!("rebase -u -b {} -F raw small.qcow2", long(400)),
    ]);
}

/// What the header of an image says; its name and how much of it is allocated aside.
fn header(image: &Path) -> String {
    let mut info = tool("qemu-img");
    let text = run(info.args(["info", "-U", "--output=json"]).arg(image));
    let names = [
        "\"filename\"",
        "\"full-backing-filename\"",
        "\"actual-size\"",
    ];
    let is_kept = |line: &&str| !names.iter().any(|name| line.contains(name));
    text.lines().filter(is_kept).collect()
}

/// Only the header changes, and it says the same.
#[test]
fn names_are_changed_without_a_look_at_data() {
    let twins = Twins::new(|folder| {
        three(folder);
        img(folder, "create -q -f qcow2 -o compat=0.10 old.qcow2 1M");
        img(
            folder,
            "create -q -f qcow2 -o cluster_size=512 small.qcow2 1M",
        );
    });
    for image in ["top.qcow2", "old.qcow2", "small.qcow2"] {
        for options in [
            "-b nowhere -F raw",
            "-b base.raw -F raw",
            "-q -b nbd://x/y -F raw",
            "-b somewhere/else.qcow2 -F qcow2 -p",
            "-b json:{\"driver\":\"raw\",\"file.filename\":\"base.raw\"} -F raw",
            "",
            "-b mid.qcow2 -F qcow2 --backing-unsafe",
            "-F raw -c",
            "-b x -F file -U",
        ] {
            if !options.contains("-p") {
                twins.assert_same(&format!("rebase -u {options} {image}"));
            }
            assert_eq!(
                header(&twins.theirs(image)),
                header(&twins.ours(image)),
                "{image} {options}"
            );
            if options.is_empty() {
                img(&twins.ours(""), &format!("check -q {image}"));
            }
        }
    }
}
