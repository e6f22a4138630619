//! The verbs that `qemu-img` does not have.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::{common, images};

fn run(folder: &Path, line: &str) -> Output {
    let words: Vec<&str> = line.split_whitespace().collect();
    common::output(common::ours().args(words).current_dir(folder))
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&stdout(&run(folder, line))).unwrap()
}

/// A GPT disk with an ext4 partition, as `disk.raw` and `disk.qcow2`.
fn make_disk(folder: &Path) {
    let raw = File::create(folder.join("disk.raw")).unwrap();
    raw.set_len(64 << 20).unwrap();
    common::run_with_input(
        common::tool("sfdisk")
            .args(["-q", "disk.raw"])
            .current_dir(folder),
        "label: gpt\n\
         start=2048, size=16M, type=uefi, name=\"EFI\"\n\
         start=40960, size=32M, type=linux, name=\"root disk\"\n",
    );
    let at = format!("offset={}", 40960 * 512);
    common::run(
        common::tool("mkfs.ext4")
            .args(["-q", "-L", "root", "-E", &at, "disk.raw", "32M"])
            .current_dir(folder),
    );
    common::run(
        common::tool("qemu-img")
            .args(["convert", "-O", "qcow2", "disk.raw", "disk.qcow2"])
            .current_dir(folder),
    );
}

#[test]
fn partitions_are_those_of_sfdisk() {
    let scratch = common::scratch();
    let folder = scratch.path();
    make_disk(folder);
    let theirs = common::run(
        common::tool("sfdisk")
            .args(["--json", "disk.raw"])
            .current_dir(folder),
    );
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    let theirs = theirs["partitiontable"]["partitions"].as_array().unwrap();
    let document = json(folder, "partitions --output=json disk.qcow2");
    assert_eq!(document["table"], "gpt");
    let ours = document["partitions"].as_array().unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        let upper = |value: &Value| value.as_str().unwrap().to_uppercase();
        assert_eq!(ours["start"], theirs["start"].as_u64().unwrap() * 512);
        assert_eq!(ours["size"], theirs["size"].as_u64().unwrap() * 512);
        assert_eq!(ours["name"], theirs["name"]);
        assert_eq!(upper(&ours["type"]), upper(&theirs["type"]));
        assert_eq!(upper(&ours["uuid"]), upper(&theirs["uuid"]));
    }
    assert_eq!(ours[1]["content"]["label"], "root");

    let text = stdout(&run(folder, "partitions disk.qcow2"));
    let line = text
        .lines()
        .find(|line| line.contains("root disk"))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..5], ["2", "40960", "106495", "32", "MiB"], "{text}");
    assert!(text.contains("free"), "{text}");
}

#[test]
fn filesystems_are_those_of_blkid() {
    let scratch = common::scratch();
    let folder = scratch.path();
    make_disk(folder);
    let offset = (40960 * 512).to_string();
    let uuid = common::run(
        common::tool("blkid")
            .args(["-p", "-O", &offset, "-o", "value", "-s", "UUID", "disk.raw"])
            .current_dir(folder),
    );
    let document = json(folder, "filesystems --output=json disk.qcow2");
    let content = &document["volumes"][1]["content"];
    assert_eq!(content["type"], "ext4");
    assert_eq!(content["uuid"], uuid.trim());
    assert_eq!(content["size"], 32 << 20);
    let text = stdout(&run(folder, "filesystems disk.raw"));
    assert!(text.lines().nth(2).unwrap().starts_with("2 "), "{text}");
    assert!(text.contains(uuid.trim()), "{text}");
}

#[test]
fn a_snapshot_is_looked_at_as_it_was() {
    let scratch = common::scratch();
    let folder = scratch.path();
    make_disk(folder);
    for arguments in [
        &["snapshot", "-c", "before", "disk.qcow2"][..],
        &["resize", "-q", "disk.qcow2", "80M"],
    ] {
        common::run(common::tool("qemu-img").args(arguments).current_dir(folder));
    }
    let now = json(folder, "partitions --output=json disk.qcow2");
    assert_eq!(now["size"], 80 << 20);
    assert_eq!(now["damage"][0]["serious"], false);
    let before = json(folder, "partitions -l before --output=json disk.qcow2");
    assert_eq!(before["size"], 64 << 20);
    assert_eq!(before["damage"], Value::Array(Vec::new()));
    let output = run(folder, "filesystems -l never disk.qcow2");
    assert_eq!(
        stderr(&output),
        "platter-img: Failed to load snapshot: Can't find snapshot\n"
    );
}

#[test]
fn a_chain_is_a_tree_with_the_relatives() {
    let scratch = common::scratch();
    let folder = scratch.path();
    images::make_overlays(folder);
    let text = stdout(&run(folder, "chain top.qcow2"));
    let names: Vec<&str> = text
        .lines()
        .skip(1)
        .map(|line| line.split("qcow2").next().unwrap())
        .collect();
    let expected = [
        "base.",
        "├─ relative.",
        "│  └─ top.",
        "├─ absolute.",
        "├─ file.",
        "└─ json.",
    ];
    assert_eq!(names, expected, "{text}");
    let document = json(folder, "chain --output=json top.qcow2");
    let links = document["links"].as_array().unwrap();
    assert_eq!(links.len(), 3);
    assert_eq!(links[1]["named"], "relative.qcow2");
    assert_eq!(links[2]["virtual-size"], 4 << 20);
    assert_eq!(document["relatives"].as_array().unwrap().len(), 3);
}

#[test]
fn a_broken_chain_is_shown_and_its_exit_code_says_so() {
    let scratch = common::scratch();
    let folder = scratch.path();
    images::make_overlays(folder);
    images::make_loop(folder);
    for (image, words) in [
        ("missing.qcow2", "there is no such file"),
        ("remote.qcow2", "not followed: 'nbd' is no local file"),
        ("loop.qcow2", "never ends"),
    ] {
        let output = run(folder, &format!("chain {image}"));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(words), "{text}");
        assert_eq!(output.stderr, b"");
    }
}

/// An overlay says where its backing file is; that alone is no reason to read any file of the host.
#[test]
fn files_outside_are_refused_until_allowed() {
    let scratch = common::scratch();
    let root = scratch.path();
    let folder = root.join("vm");
    fs::create_dir(&folder).unwrap();
    fs::write(root.join("secret"), vec![7; 1 << 20]).unwrap();
    common::run(
        common::tool("qemu-img")
            .args("create -q -f qcow2 -F raw -b ../secret o.qcow2".split(' '))
            .current_dir(&folder),
    );
    for verb in [
        "map",
        "measure",
        "partitions",
        "filesystems",
        "compare o.qcow2",
        "info -b",
    ] {
        let refused = run(&folder, &format!("{verb} o.qcow2"));
        let message = stderr(&refused);
        assert!(!refused.status.success(), "{verb}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains("secret"), "{message}");
        assert!(message.contains("--allow-outside"), "{message}");
        let allowed = run(&folder, &format!("{verb} --allow-outside o.qcow2"));
        assert!(allowed.status.success(), "{verb}: {allowed:?}");
    }
}

#[test]
fn names_cannot_reach_the_terminal() {
    let scratch = common::scratch();
    let folder = scratch.path();
    let name = "a\u{1b}[31mb.raw";
    fs::write(folder.join(name), [0; 512]).unwrap();
    for verb in ["chain", "partitions"] {
        let output = common::output(common::ours().args([verb, name]).current_dir(folder));
        let text = stdout(&output);
        assert!(text.contains("a\\u{1b}[31mb.raw"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn every_verb_explains_itself() {
    let scratch = common::scratch();
    let general = stdout(&run(scratch.path(), "--help"));
    for verb in [
        "chain",
        "check",
        "compare",
        "filesystems",
        "info",
        "map",
        "measure",
        "partitions",
    ] {
        assert!(general.contains(verb), "{general}");
        let own = stdout(&run(scratch.path(), &format!("help {verb}")));
        assert!(own.contains(&format!("platter-img {verb} ")), "{own}");
        assert_eq!(own, stdout(&run(scratch.path(), &format!("{verb} --help"))));
    }
    let version = stdout(&run(scratch.path(), "--version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

/// Every verb that would need the guest data of an encrypted image says why it does nothing, and
/// does nothing; a key makes no difference.
#[test]
fn encrypted_images_are_left_alone() {
    let scratch = common::scratch();
    let folder = scratch.path();
    let secret = ["--object", "secret,id=s,data=abc"];
    let encryption = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    let mut create = common::tool("qemu-img");
    create.args(["create", "-q", "-f", "qcow2"]).args(secret);
    create.args(["-o", encryption, "luks.qcow2", "4M"]);
    common::run(create.current_dir(folder));
    for line in [
        "create -q -f qcow2 -u -b luks.qcow2 -F qcow2 over.qcow2 4M",
        "create -q -f qcow2 plain.qcow2 4M",
    ] {
        let words = line.split(' ');
        common::run(common::tool("qemu-img").args(words).current_dir(folder));
    }
    let files = ["luks.qcow2", "over.qcow2", "plain.qcow2"];
    let content = || files.map(|name| fs::read(folder.join(name)).unwrap());
    let before = content();
    let object = secret.join(" ");
    let named = "--image-opts driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s";
    for line in [
        "map luks.qcow2",
        "partitions luks.qcow2",
        "filesystems luks.qcow2",
        "compare luks.qcow2 plain.qcow2",
        "measure -O raw luks.qcow2",
        "convert -O raw luks.qcow2 new",
        "convert -n -O qcow2 plain.qcow2 luks.qcow2",
        "dd if=luks.qcow2 of=new",
        "resize luks.qcow2 8M",
        "resize --shrink luks.qcow2 1M",
        "snapshot -c one luks.qcow2",
        "amend -o lazy_refcounts=on luks.qcow2",
        "bitmap --add luks.qcow2 bits",
        "commit over.qcow2",
        "commit -d over.qcow2",
        "rebase -b plain.qcow2 -F qcow2 over.qcow2",
        "rebase -b plain.qcow2 -F qcow2 luks.qcow2",
        "edit --yes --op new-table\tgpt luks.qcow2",
        &format!("map {object} {named}"),
        &format!("convert {object} {named} -O raw new"),
        &format!("create {object} -q -f qcow2 -o {encryption} new 4M"),
        &format!("convert {object} -O qcow2 -o {encryption} plain.qcow2 new"),
    ] {
        let words = line.split(' ').map(|word| word.replace('\t', " "));
        let said = common::output(common::ours().args(words).current_dir(folder));
        let words = stderr(&said);
        assert!(!said.status.success(), "{line}: {said:?}");
        assert!(
            words.to_lowercase().contains("encrypted"),
            "{line}: {words}"
        );
        assert!(words.contains("not supported yet"), "{line}: {words}");
        assert!(content() == before, "{line} wrote");
        assert!(!folder.join("new").exists(), "{line} left something");
    }
    // Metadata is not encrypted.
    for line in ["info luks.qcow2", "check luks.qcow2"] {
        stdout(&run(folder, line));
    }
}
