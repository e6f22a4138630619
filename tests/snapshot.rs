//! `snapshot` beside the program whose place it takes.

mod common;

use std::fs;
use std::path::Path;

use common::twins::Twins;

fn img(folder: &Path, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    common::run(common::tool("qemu-img").args(words).current_dir(folder));
}

#[test]
fn grammar_and_complaints_are_the_same() {
    let twins = Twins::new(|folder| {
        img(folder, "create -q -f qcow2 a.qcow2 10M");
        img(folder, "create -q -f qcow2 empty.qcow2 10M");
        for name in ["s1", "1", "s1"] {
            img(folder, &format!("snapshot -c {name} a.qcow2"));
        }
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
        "snapshot -l raw",
        "snapshot -f raw -c x raw",
        "snapshot -f raw -d x raw",
        "snapshot -f raw -a x raw",
        "snapshot -c x raw",
        "snapshot -d x raw",
    ]);
}
