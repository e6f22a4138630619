//! `resize` beside the program whose place it takes.

mod common;

use std::fs;
use std::path::Path;

use common::twins::Twins;

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
