//! `resize` beside the program whose place it takes.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the images are small"
)]

mod common;
#[path = "common/damaged.rs"]
mod damaged;

use std::fs;
use std::path::Path;

use common::inputs::Random;
use common::qemu::img;
use common::twins::Twins;
use damaged::{be64, put};

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
        clear_their_tail(&twins, "a.qcow2", before);
        twins.assert_same_disk("a.qcow2");
    }
}

/// A cut leaves what is behind the new end in the last cluster, and the other program shows it
/// again when the disk grows. There it has to be zeroed by hand.
fn clear_their_tail(twins: &Twins, name: &str, old_size: u64) {
    let path = twins.theirs(name);
    let end = virtual_size(&path).min(old_size.next_multiple_of(2 << 20));
    if end > old_size {
        let line = format!("write -z {old_size} {}", end - old_size);
        let folder = path.parent().unwrap();
        let mut write = common::tool("qemu-io");
        common::run(write.args(["-c", &line, name]).current_dir(folder));
    }
}

fn virtual_size(path: &Path) -> u64 {
    let mut info = common::tool("qemu-img");
    let info = common::run(
        info.args(["info", "--output=json"])
            .arg(path.file_name().unwrap())
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

/// A disk that grows over a longer backing file reads as zeroes there, whatever its old end was,
/// and so does one that was cut before.
#[test]
fn a_longer_backing_file_stays_hidden() {
    for options in ["cluster_size=64k", "extended_l2=on", "cluster_size=4k"] {
        let twins = Twins::new(|folder| {
            fs::write(folder.join("base.raw"), vec![9; 6 << 20]).unwrap();
            let create = format!("create -q -f qcow2 -o {options} -F raw -b base.raw top.qcow2");
            img(folder, &format!("{create} 1000448"));
            let mut write = common::tool("qemu-io");
            write.args(["-c", "write -P 1 300k 100k", "top.qcow2"]);
            common::run(write.current_dir(folder));
        });
        for line in [
            "resize top.qcow2 +512",
            "resize top.qcow2 3M",
            "resize top.qcow2 20M",
            "resize --shrink top.qcow2 400k",
            "resize --preallocation=metadata top.qcow2 2M",
            "resize --preallocation=falloc top.qcow2 9M",
        ] {
            let before = virtual_size(&twins.theirs("top.qcow2"));
            twins.assert_same(line);
            img(&twins.ours(""), "check -q top.qcow2");
            clear_their_tail(&twins, "top.qcow2", before);
            twins.assert_same_disk("top.qcow2");
        }
    }
}

#[test]
fn what_cannot_be_resized_is_refused_alike() {
    let twins = Twins::new(|folder| {
        fs::write(folder.join("base.raw"), vec![9; 6 << 20]).unwrap();
        img(
            folder,
            "create -q -f qcow2 -o compat=0.10 -F raw -b base.raw top.qcow2 1M",
        );
        img(folder, "create -q -f qcow2 -o compat=0.10 old.qcow2 1M");
        img(folder, "snapshot -c s old.qcow2");
        img(folder, "create -q -f qcow2 new.qcow2 1M");
        img(folder, "snapshot -c s new.qcow2");
        img(
            folder,
            "create -q -f qcow2 -u -F qcow2 -b nope.qcow2 bottomless.qcow2 1M",
        );
        img(folder, "create -q -f qcow2 bitmaps.qcow2 1M");
        img(folder, "bitmap --add -g 512 bitmaps.qcow2 b0");
        img(folder, "bitmap --add --disable bitmaps.qcow2 b1");
    });
    twins.assert_same_afresh(&[
        "resize top.qcow2 2M",
        "resize top.qcow2 --shrink 512k",
        "resize old.qcow2 2M",
        "resize old.qcow2 --shrink 512k",
        "resize old.qcow2 1M",
        "resize new.qcow2 2M",
        "resize new.qcow2 --shrink 512k",
        "resize new.qcow2 1000",
        "resize new.qcow2 1048577",
        "resize new.qcow2 --shrink 513",
        "resize new.qcow2 1E",
        "resize new.qcow2 2P",
        "resize bottomless.qcow2 2M",
        "resize bitmaps.qcow2 1G",
        "resize bitmaps.qcow2 --shrink 512k",
    ]);
}

/// In version 2 what a longer backing file has behind the end can be hidden up to the end of the
/// cluster, and no further.
#[test]
fn a_begun_cluster_of_version_2_hides_the_backing_file() {
    let twins = Twins::new(|folder| {
        fs::write(folder.join("base.raw"), vec![9; 2 << 20]).unwrap();
        img(
            folder,
            "create -q -f qcow2 -o compat=0.10 -F raw -b base.raw top.qcow2 1000k",
        );
    });
    for size in ["1020k", "1024k", "1025k"] {
        twins.assert_same(&format!("resize top.qcow2 {size}"));
        twins.assert_same_disk("top.qcow2");
    }
    img(&twins.ours(""), "check -q top.qcow2");
}

/// The dirty bits of a bitmap stay, whatever becomes of the size, and the new part is clean.
#[test]
fn bitmaps_follow_the_size() {
    let folder = common::scratch();
    let folder = folder.path();
    img(folder, "create -q -f qcow2 -o cluster_size=4k a.qcow2 1M");
    img(folder, "bitmap --add -g 512 a.qcow2 b0");
    let mut write = common::tool("qemu-io");
    common::run(
        write
            .args(["-c", "write 256k 64k", "a.qcow2"])
            .current_dir(folder),
    );
    for line in ["resize -q a.qcow2 100M", "resize -q --shrink a.qcow2 700k"] {
        common::run(common::ours().args(line.split(' ')).current_dir(folder));
        let checked = img(folder, "check a.qcow2");
        assert!(checked.contains("No errors"), "{line}: {checked}");
        img(folder, "bitmap --add --merge b0 a.qcow2 merged");
        img(folder, "bitmap --remove a.qcow2 merged");
        let listed = img(folder, "info a.qcow2");
        assert!(listed.contains("name: b0"), "{line}: {listed}");
    }
}

/// Snapshots keep their own size and content; going back to one brings its size back.
#[test]
fn snapshots_keep_their_size() {
    let folder = common::scratch();
    let folder = folder.path();
    let ours = |line: &str| {
        common::run(common::ours().args(line.split(' ')).current_dir(folder));
        img(folder, "check -q a.qcow2");
    };
    let write = |line: &str| {
        let mut write = common::tool("qemu-io");
        common::run(write.args(["-c", line, "a.qcow2"]).current_dir(folder));
    };
    img(folder, "create -q -f qcow2 -o cluster_size=4k a.qcow2 5M");
    write("write -P 1 0 5M");
    img(folder, "convert -O raw a.qcow2 large.raw");
    ours("snapshot -c large a.qcow2");
    ours("resize -q --shrink a.qcow2 1000k");
    write("write -P 2 100k 900k");
    img(folder, "convert -O raw a.qcow2 small.raw");
    ours("snapshot -c small a.qcow2");
    ours("resize -q a.qcow2 9M");
    write("read -P 0 1000k 8216k");
    write("write -P 3 0 9M");
    for name in ["large", "small", "large"] {
        ours(&format!("snapshot -a {name} a.qcow2"));
        img(folder, "convert -O raw a.qcow2 seen.raw");
        let read = |file: &str| fs::read(folder.join(file)).unwrap();
        assert!(read("seen.raw") == read(&format!("{name}.raw")), "{name}");
    }
    img(folder, "snapshot -a small a.qcow2");
    ours("snapshot -d large a.qcow2");
    ours("snapshot -d small a.qcow2");
    img(folder, "compare a.qcow2 small.raw");
}

/// What an entry for guest data leads to is given up only where it is data.
#[test]
fn no_structure_is_given_up_as_data() {
    let folder = common::scratch();
    let folder = folder.path();
    img(folder, "create -q -f raw base.raw 8M");
    // 8 MiB are four L2 tables: the last one goes as a whole, the one before loses its end.
    img(
        folder,
        "create -q -f qcow2 -o cluster_size=4k -b base.raw -F raw a.qcow2",
    );
    let writes = [
        "write -P 1 0 64k",
        "write -P 2 5900k 4k",
        "write -P 3 8M-4k 4k",
    ];
    let writes = writes.map(|line| line.replace("8M-4k", "8188k"));
    for line in &writes {
        let mut write = common::tool("qemu-io");
        common::run(write.args(["-c", line, "a.qcow2"]).current_dir(folder));
    }
    img(folder, "snapshot -c kept a.qcow2");
    img(folder, "snapshot -c other a.qcow2");
    for line in &writes {
        let mut write = common::tool("qemu-io");
        common::run(write.args(["-c", line, "a.qcow2"]).current_dir(folder));
    }
    let mut image = fs::read(folder.join("a.qcow2")).unwrap();
    let snapshots = be64(&image, 64);
    for guest in [5900_u64 << 10, 8188 << 10] {
        let l1_entry = be64(&image, 40) + 8 * (guest >> 21);
        let table = be64(&image, l1_entry) & 0x00ff_ffff_ffff_fe00;
        put(
            &mut image,
            table + 8 * (guest >> 12 & 511),
            1 << 63 | snapshots,
        );
    }
    for line in [
        "resize -q --shrink a.qcow2 5M",
        "commit -q a.qcow2",
        "snapshot -a other a.qcow2",
        "convert -n -O qcow2 base.raw a.qcow2",
    ] {
        fs::write(folder.join("a.qcow2"), &image).unwrap();
        common::output(common::ours().args(line.split(' ')).current_dir(folder));
        img(folder, "convert -l kept -O raw a.qcow2 seen.raw");
        let seen = fs::read(folder.join("seen.raw")).unwrap();
        assert!(seen[..64 << 10].iter().all(|byte| *byte == 1), "{line}");
    }
}
