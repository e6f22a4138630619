//! `dd` against the program whose place it takes: the same words in two folders alike, and the
//! guest disks that come out.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A disk of 3 MiB with a hole in its middle, raw, QCOW2, compressed and as an overlay.
fn furnish(folder: &Path) {
    let mut content: Vec<u8> = (0_u32..3 << 18)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    content[1 << 20..2 << 20].fill(0);
    fs::write(folder.join("in.raw"), &content).expect("it can be written");
    fs::write(folder.join("odd.raw"), &content[..5000]).expect("it can be written");
    for (name, options) in [("in.qcow2", &[][..]), ("packed.qcow2", &["-c"])] {
        let mut convert = common::tool("qemu-img");
        convert
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args(options);
        common::run(convert.args(["in.raw", name]).current_dir(folder));
    }
    let mut create = common::tool("qemu-img");
    create.args([
        "create",
        "-qf",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "packed.qcow2",
        "top.qcow2",
    ]);
    common::run(create.current_dir(folder));
    let mut write = common::tool("qemu-io");
    write.args([
        "-c",
        "write -P 7 100k 70k",
        "-c",
        "write -z 300k 64k",
        "top.qcow2",
    ]);
    common::run(write.current_dir(folder));
}

fn run(mut command: Command, words: &[&str], folder: &Path) -> Output {
    common::output(command.arg0("qemu-img").args(words).current_dir(folder))
}

fn seen(output: &Output) -> String {
    format!(
        "{}[stderr]\n{}[{}]\n",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status
    )
}

/// The guest disk of the image that was made.
fn content(folder: &Path, format: &str) -> Option<Vec<u8>> {
    let image = folder.join("new");
    if !image.exists() {
        return None;
    }
    if format == "raw" {
        return fs::read(image).ok();
    }
    common::run(common::tool("qemu-img").args(["check", "-q"]).arg(&image));
    let raw = folder.join("content");
    let mut convert = common::tool("qemu-img");
    common::run(convert.args(["convert", "-O", "raw"]).arg(&image).arg(&raw));
    fs::read(raw).ok()
}

struct Pair {
    theirs: TempDir,
    ours: TempDir,
}

impl Pair {
    fn new() -> Self {
        let (theirs, ours) = (common::scratch(), common::scratch());
        furnish(theirs.path());
        furnish(ours.path());
        Self { theirs, ours }
    }

    #[track_caller]
    fn assert_same(&self, lines: &[&str]) {
        let mut text = String::new();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (theirs, ours) = (self.theirs.path(), self.ours.path());
            let format = if line.contains("-O qcow2") {
                "qcow2"
            } else {
                "raw"
            };
            let their_words = seen(&run(common::tool("qemu-img"), &words, theirs));
            let our_words = seen(&run(common::ours(), &words, ours));
            if their_words != our_words {
                let _ = write!(
                    text,
                    "\n===== qemu-img {line}\n----- theirs\n{their_words}----- ours\n{our_words}"
                );
            } else if content(theirs, format) != content(ours, format) {
                let _ = write!(text, "\n===== qemu-img {line}\nthe contents differ\n");
            }
            for folder in [theirs, ours] {
                let _ = fs::remove_file(folder.join("new"));
            }
        }
        assert!(text.is_empty(), "{text}");
    }
}

#[test]
fn grammar_and_complaints_are_the_same() {
    Pair::new().assert_same(&[
        "dd",
        "dd if=in.raw",
        "dd of=new",
        "dd if=in.raw of=new foo",
        "dd if=in.raw of=new foo=1",
        "dd if of=new",
        "dd conv=x if=in.raw of=new",
        "dd iseek=1 if=in.raw of=new",
        "dd if= of=new",
        "dd if=nope of=new",
        "dd if=in.raw of=nope/new",
        "dd if=in.raw of=.",
        "dd -q if=in.raw of=new",
        "dd --foo if=in.raw of=new",
        "dd -O foo if=in.raw of=new",
        "dd -O bochs if=in.raw of=new",
        "dd -f foo if=in.raw of=new",
        "dd -f qcow2 if=in.raw of=new",
        "dd --image-opts -f raw if=driver=raw,file.filename=in.raw of=new",
        "dd --object foo if=in.raw of=new",
        "dd if=in.raw of=new bs=0",
        "dd if=in.raw of=new bs=x",
        "dd if=in.raw of=new bs=",
        "dd if=in.raw of=new bs=-1",
        "dd if=in.raw of=new bs=1.5",
        "dd if=in.raw of=new bs=2G",
        "dd if=in.raw of=new bs=9E",
        "dd if=in.raw of=new count=x",
        "dd if=in.raw of=new count=",
        "dd if=in.raw of=new count=-1",
        "dd if=in.raw of=new count=1k",
        "dd if=in.raw of=new count=12e",
        "dd if=in.raw of=new count=1.5",
        "dd if=in.raw of=new skip=-1",
        "dd if=in.raw of=new skip=1b",
    ]);
}

#[test]
fn the_same_bytes_are_copied() {
    Pair::new().assert_same(&[
        "dd -f raw if=in.raw of=new",
        "dd if=odd.raw of=new",
        "dd if=in.qcow2 of=new",
        "dd if=packed.qcow2 of=new bs=1M",
        "dd if=top.qcow2 of=new bs=64k",
        "dd -f raw if=in.qcow2 of=new",
        "dd -U if=top.qcow2 of=new bs=64k",
        "dd --image-opts if=driver=raw,file.filename=in.raw of=new",
        "dd -O qcow2 if=in.qcow2 of=new bs=64k",
        "dd -O qcow2 if=packed.qcow2 of=new bs=1M count=2",
        "dd -O qcow2 if=top.qcow2 of=new bs=1000 skip=99",
        "dd -O qcow2 if=odd.raw of=new bs=1k skip=1",
        "dd if=top.qcow2 of=new bs=1000 skip=99",
        "dd if=top.qcow2 of=new bs=1000 count=1500",
        "dd if=top.qcow2 of=new bs=1000 count=1500 skip=200",
        "dd if=top.qcow2 of=new bs=0x200 count=0x10",
        "dd if=top.qcow2 of=new bs=1k bs=2k count=3",
        "dd if=top.qcow2 of=new bs=1M count=99",
        "dd if=top.qcow2 of=new bs=1M count=9223372036854775807",
        "dd if=top.qcow2 of=new bs=1M count=0",
        "dd if=top.qcow2 of=new bs=1M skip=3",
        "dd if=top.qcow2 of=new bs=1M skip=4",
        "dd if=top.qcow2 of=new bs=1M count=1 skip=2",
        "dd if=top.qcow2 of=new bs=1M skip=9223372036854775807",
        "dd if=odd.raw if=in.qcow2 of=new",
    ]);
}
