//! Partitions are moved, grown and cut with what is in them: the files are the same afterwards, and
//! every tool that knows the table, the file system or the image calls it clean. Undoing gives the
//! disk back as it was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{run_tool, run_with_input, tool};

const MIB: u64 = 1 << 20;

/// What is in the partition that is edited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fs {
    Ext4,
    Ntfs,
    Fat32,
    Swap,
    ExFat,
    Xfs,
    Btrfs,
}

/// Where that partition is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Table {
    Gpt,
    Primary,
    Logical,
}

/// What holds the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holder {
    Raw,
    Qcow2,
    WithSnapshot,
    Overlay,
}

/// A disk of 256 MiB with neighbours at both ends and the edited partition from 80 to 144 MiB.
struct Disk {
    folder: tempfile::TempDir,
    fs: Fs,
    table: Table,
    holder: Holder,
    content: Vec<u8>,
}

const FIRST: u64 = 80;
const LENGTH: u64 = 64;

impl Disk {
    fn new(fs: Fs, table: Table, holder: Holder) -> Self {
        let disk = Self {
            folder: common::scratch(),
            fs,
            table,
            holder,
            content: (0..700_000_u32)
                .flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes())
                .collect(),
        };
        let raw = disk.file("made.raw");
        File::create(&raw).unwrap().set_len(256 * MIB).unwrap();
        let script = match table {
            Table::Gpt => {
                "label: gpt\nstart=1M,size=16M\nstart=80M,size=64M\nstart=224M,size=16M\n"
            }
            Table::Primary => {
                "label: dos\nstart=1M,size=16M\nstart=80M,size=64M\nstart=224M,size=16M\n"
            }
            Table::Logical => {
                "label: dos\nstart=1M,size=16M\nstart=20M,size=230M,type=5\nstart=80M,size=64M\nstart=224M,size=16M\n"
            }
        };
        run_with_input(tool("sfdisk").arg("--quiet").arg(&raw), script);
        disk.make_file_system();
        disk.copy(&disk.file("volume"), &raw, FIRST, LENGTH);
        disk.hold(&raw);
        disk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.file(if self.holder == Holder::Raw {
            "disk.raw"
        } else {
            "disk.qcow2"
        })
    }

    /// The number of the partition that is edited.
    fn number(&self) -> u32 {
        if self.table == Table::Logical { 5 } else { 2 }
    }

    fn make_file_system(&self) {
        let volume = self.file("volume");
        File::create(&volume)
            .unwrap()
            .set_len(LENGTH * MIB)
            .unwrap();
        let content = self.file("content");
        fs::write(&content, &self.content).unwrap();
        let [volume, content] = [&volume, &content].map(|path| path.to_str().unwrap());
        match self.fs {
            Fs::Ext4 => {
                run_tool("mkfs.ext4", ["-q", "-F", volume]);
                run_tool(
                    "debugfs",
                    ["-w", "-R", &format!("write {content} file"), volume],
                );
            }
            Fs::Ntfs => {
                run_tool("mkfs.ntfs", ["-q", "-F", "-Q", volume]);
                run_tool("ntfscp", ["-q", "-f", volume, content, "file"]);
            }
            Fs::Fat32 => {
                run_tool("mkfs.fat", ["-F", "32", volume]);
                run_tool("mcopy", ["-i", volume, content, "::file"]);
            }
            Fs::Swap => {
                run_tool("mkswap", ["-q", "-L", "label", volume]);
            }
            Fs::ExFat => {
                run_tool("mkfs.exfat", [volume]);
            }
            Fs::Xfs => {
                let list = self.file("list");
                let text = format!("-\n0 0\nd--755 0 0\nfile ---644 0 0 {content}\n$\n");
                fs::write(&list, text).unwrap();
                let mut make = tool("mkfs.xfs");
                // Its own tests may make small ones.
                for name in ["TEST_DIR", "TEST_DEV", "QA_CHECK_FS"] {
                    make.env(name, "1");
                }
                common::run(make.args(["-q", "-p"]).arg(&list).arg(volume));
            }
            Fs::Btrfs => {
                let root = self.file("root");
                fs::create_dir(&root).unwrap();
                fs::copy(content, root.join("file")).unwrap();
                let root = root.to_str().unwrap();
                let small = ["-q", "--mixed", "-m", "single", "-d", "single"];
                common::run(
                    tool("mkfs.btrfs")
                        .args(small)
                        .args(["--rootdir", root, volume]),
                );
            }
        }
    }

    /// Copies a volume into a disk; sparse.
    fn copy(&self, volume: &Path, disk: &Path, first: u64, length: u64) {
        run_tool(
            "dd",
            [
                &format!("if={}", volume.display()),
                &format!("of={}", disk.display()),
                "bs=1M",
                &format!("seek={first}"),
                &format!("count={length}"),
                "conv=notrunc,sparse",
                "status=none",
            ],
        );
    }

    fn hold(&self, raw: &Path) {
        let image = self.image();
        let [from, to] = [raw, &image].map(|path| path.to_str().unwrap());
        match self.holder {
            Holder::Raw => fs::rename(raw, &image).unwrap(),
            Holder::Qcow2 => drop(run_tool("qemu-img", ["convert", "-O", "qcow2", from, to])),
            Holder::WithSnapshot => {
                run_tool("qemu-img", ["convert", "-O", "qcow2", from, to]);
                run_tool("qemu-img", ["snapshot", "-c", "before", to]);
            }
            Holder::Overlay => {
                run_tool(
                    "qemu-img",
                    ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", from, to],
                );
            }
        }
    }

    /// The disk as a raw file.
    fn to_raw(&self, name: &str) -> PathBuf {
        let out = self.file(name);
        let image = self.image();
        run_tool(
            "qemu-img",
            [
                "convert",
                "-O",
                "raw",
                image.to_str().unwrap(),
                out.to_str().unwrap(),
            ],
        );
        out
    }

    fn edit(&self, ops: &[String]) {
        let mut command = platter();
        command.args([
            "edit",
            "--yes",
            "-f",
            if self.holder == Holder::Raw {
                "raw"
            } else {
                "qcow2"
            },
        ]);
        for op in ops {
            command.args(["--op", op]);
        }
        common::run(command.arg(self.image()));
    }

    /// The table is right, and so is the image.
    fn judge_disk(&self, raw: &Path, first: u64, length: u64) {
        let raw = raw.to_str().unwrap();
        let verdict = run_tool("sfdisk", ["--verify", raw]);
        assert!(verdict.contains("No errors detected."), "{verdict}");
        if self.table == Table::Gpt {
            let verdict = run_tool("sgdisk", ["-v", raw]);
            assert!(verdict.contains("No problems found."), "{verdict}");
        }
        let dump = run_tool("sfdisk", ["--dump", raw]);
        let line = dump
            .lines()
            .find(|line| line.contains(&format!("raw{} :", self.number())));
        let expected = format!("start={:>12}, size={:>12}", first * 2048, length * 2048);
        assert!(line.unwrap().contains(&expected), "{expected}\n{dump}");
        if self.holder != Holder::Raw {
            common::run(tool("qemu-img").args(["check", "-q"]).arg(self.image()));
        }
    }

    /// The file system is clean, as long as its partition, and holds the file.
    fn judge_content(&self, raw: &Path, first: u64, length: u64) {
        let path = self.file("cut");
        let _ = fs::remove_file(&path);
        run_tool(
            "dd",
            [
                &format!("if={}", raw.display()),
                &format!("of={}", path.display()),
                "bs=1M",
                &format!("skip={first}"),
                &format!("count={length}"),
                "conv=sparse",
                "status=none",
            ],
        );
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length * MIB)
            .unwrap();
        let volume = path.to_str().unwrap();
        let out = self.file("out");
        let _ = fs::remove_file(&out);
        let to = out.to_str().unwrap();
        match self.fs {
            Fs::Ext4 => {
                run_tool("e2fsck", ["-f", "-n", volume]);
                run_tool("debugfs", ["-R", &format!("dump file {to}"), volume]);
            }
            Fs::Ntfs => {
                run_tool("ntfsresize", ["--info", "--force", volume]);
                fs::write(
                    &out,
                    common::output(tool("ntfscat").args(["--force", volume, "file"])).stdout,
                )
                .unwrap();
                let boot = fs::read(&path).unwrap();
                let hidden = u32::from_le_bytes([boot[28], boot[29], boot[30], boot[31]]);
                if first != FIRST {
                    assert_eq!(u64::from(hidden), first * 2048, "hidden sectors");
                }
            }
            Fs::Fat32 => {
                run_tool("fsck.fat", ["-n", volume]);
                run_tool("mcopy", ["-i", volume, "::file", to]);
            }
            Fs::Swap => {
                let said = run_tool("swaplabel", [volume]);
                assert!(said.contains("label"), "{said}");
                return;
            }
            Fs::ExFat => {
                run_tool("fsck.exfat", ["-n", volume]);
                // Both boot regions say where the partition begins, and free clusters are not
                // copied; allocation table, bitmap and root directory stay.
                return self.judge_bytes(&path, 24 * 512..(2 << 20) + (128 << 10));
            }
            Fs::Xfs => {
                run_tool("xfs_repair", ["-n", volume]);
                // The blocks of the file, by the first extent that the inode names.
                let said = run_tool("xfs_db", ["-r", "-c", "path /file", "-c", "bmap", volume]);
                let block = said.split("startblock ").nth(1).unwrap();
                let block: usize = block.split(' ').next().unwrap().parse().unwrap();
                let at = 4096 * block;
                let cut = fs::read(&path).unwrap();
                assert!(said.contains("count 684"), "one extent: {said}");
                fs::write(&out, &cut[at..at + self.content.len()]).unwrap();
            }
            Fs::Btrfs => {
                run_tool("btrfs", ["check", volume]);
                let folder = self.file("restored");
                let _ = fs::remove_dir_all(&folder);
                fs::create_dir(&folder).unwrap();
                run_tool("btrfs", ["restore", volume, folder.to_str().unwrap()]);
                fs::rename(folder.join("file"), &out).unwrap();
            }
        }
        assert!(
            fs::read(&out).unwrap() == self.content,
            "the file has changed"
        );
    }
}

impl Disk {
    /// The partition holds what was made, at these offsets.
    fn judge_bytes(&self, cut: &Path, range: Range<usize>) {
        let (made, now) = (
            fs::read(self.file("volume")).unwrap(),
            fs::read(cut).unwrap(),
        );
        assert!(
            made[range.clone()] == now[range],
            "the partition has changed"
        );
    }
}

fn platter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_platter-img"))
}

/// The edit, and where the partition is afterwards, in MiB.
fn edits(number: u32) -> Vec<(&'static str, Vec<String>, u64, u64)> {
    vec![
        ("grow", vec![format!("resize {number} +32M")], 80, 96),
        ("shrink", vec![format!("resize {number} 40M")], 80, 40),
        ("left", vec![format!("move {number} -1M")], 79, 64),
        ("right", vec![format!("move {number} +17M")], 97, 64),
        (
            "move and grow",
            vec![
                format!("move {number} 40M"),
                format!("resize {number} 128M"),
            ],
            40,
            128,
        ),
    ]
}

/// Whether that is to be had with this file system: what cannot be resized moves.
fn can(fs: Fs, edit: &str) -> bool {
    match fs {
        Fs::ExFat => matches!(edit, "left" | "right"),
        Fs::Btrfs | Fs::Xfs => edit != "shrink",
        _ => true,
    }
}

/// All edits in each of these tables and holders; `PLATTER_LONG` asks for all there are.
fn try_all(fs: Fs, sample: &[(&[Table], &[Holder])]) {
    let all_of_them = std::env::var_os("PLATTER_LONG").is_some();
    let everything: &[(&[Table], &[Holder])] = &[(&TABLES, &HOLDERS)];
    let mut combinations = 0;
    for (tables, holders) in if all_of_them { everything } else { sample } {
        let pairs = tables.iter().flat_map(|table| {
            let of = move |holder| (*table, holder);
            holders.iter().copied().map(of)
        });
        for (table, holder) in pairs {
            let disk = Disk::new(fs, table, holder);
            let before = disk.to_raw("before.raw");
            disk.judge_content(&before, FIRST, LENGTH);
            for (name, ops, first, length) in edits(disk.number()) {
                if !can(fs, name) {
                    continue;
                }
                let is_telling = matches!(name, "shrink" | "right" | "move and grow");
                if !all_of_them && combinations >= 5 && !is_telling {
                    continue;
                }
                println!("{fs:?} {table:?} {holder:?} {name}");
                disk.edit(&ops);
                let after = disk.to_raw("after.raw");
                disk.judge_disk(&after, first, length);
                disk.judge_content(&after, first, length);
                common::run(
                    platter()
                        .args(["undo", "-f"])
                        .arg(format_of(holder))
                        .arg(disk.image()),
                );
                let undone = disk.to_raw("undone.raw");
                disk.judge_disk(&undone, FIRST, LENGTH);
                disk.judge_content(&undone, FIRST, LENGTH);
                combinations += 1;
            }
            if holder == Holder::WithSnapshot {
                let image = disk.image();
                let old = disk.file("snapshot.raw");
                let [image, old] = [&image, &old].map(|path| path.to_str().unwrap());
                run_tool(
                    "qemu-img",
                    ["convert", "-l", "before", "-O", "raw", image, old],
                );
                run_tool("qemu-img", ["compare", "-q", old, before.to_str().unwrap()]);
            }
        }
    }
    println!("{fs:?}: {combinations} combinations, each undone");
    assert!(combinations > 0);
}

fn format_of(holder: Holder) -> &'static str {
    if holder == Holder::Raw {
        "raw"
    } else {
        "qcow2"
    }
}

const TABLES: [Table; 3] = [Table::Gpt, Table::Primary, Table::Logical];
const HOLDERS: [Holder; 4] = [
    Holder::Raw,
    Holder::Qcow2,
    Holder::WithSnapshot,
    Holder::Overlay,
];

#[test]
fn ext4_in_every_table_and_holder() {
    let others = &[Holder::Raw, Holder::Qcow2];
    try_all(
        Fs::Ext4,
        &[(&TABLES[..1], &HOLDERS), (&TABLES[1..], others)],
    );
}

#[test]
fn ntfs_moves_and_resizes() {
    try_all(
        Fs::Ntfs,
        &[
            (&TABLES[..2], &[Holder::Raw]),
            (&TABLES[2..], &[Holder::Overlay]),
        ],
    );
}

#[test]
fn fat_moves_and_resizes() {
    try_all(
        Fs::Fat32,
        &[
            (&TABLES, &[Holder::Raw]),
            (&TABLES[1..2], &[Holder::WithSnapshot]),
        ],
    );
}

#[test]
fn swap_moves_and_resizes() {
    try_all(Fs::Swap, &[(&TABLES, &[Holder::Raw])]);
}

#[test]
fn exfat_xfs_and_btrfs_move_and_two_of_them_grow() {
    for fs in [Fs::ExFat, Fs::Xfs, Fs::Btrfs] {
        try_all(
            fs,
            &[
                (&TABLES[..1], &[Holder::Raw, Holder::Overlay]),
                (&TABLES[2..], &[Holder::WithSnapshot]),
            ],
        );
    }
}

/// The real program is killed at its Nth write; the next one goes on, or back, as it is told.
#[test]
fn a_killed_edit_is_resumed_or_rolled_back() {
    let rounds: usize = if std::env::var_os("PLATTER_LONG").is_some() {
        50
    } else {
        25
    };
    for holder in [Holder::Raw, Holder::Qcow2] {
        let disk = Disk::new(Fs::Ext4, Table::Gpt, holder);
        let image = disk.image();
        let original = fs::read(&image).unwrap();
        let ops = ["move 2 +17M", "resize 2 +32M"];
        let (mut interrupted, mut untouched, mut done) = (0, 0, 0);
        for round in 0..rounds {
            fs::write(&image, &original).unwrap();
            let nth = 1 + round * 97 % 40;
            let mut killed = tool("strace");
            // Only writes from the beginning of the journal on: the trial comes before.
            killed.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]);
            killed.args(["-e", &format!("inject=fdatasync:signal=KILL:when={nth}")]);
            killed.arg(env!("CARGO_BIN_EXE_platter-img"));
            killed.args(["edit", "--yes", "-f", format_of(holder)]);
            killed.args(["--op", ops[0], "--op", ops[1]]).arg(&image);
            let survived = common::output(&mut killed).status.success();
            let rollback = round % 2 == 1;
            let mut resume = platter();
            resume.args(["resume", "-f", format_of(holder)]);
            if rollback {
                resume.arg("--rollback");
            }
            let resumed = common::output(resume.arg(&image));
            let said = String::from_utf8_lossy(&resumed.stderr).into_owned();
            let (first, length) = match (survived, resumed.status.success()) {
                (true, _) => {
                    done += 1;
                    // A rollback of what is done is an undo.
                    if rollback { (FIRST, LENGTH) } else { (97, 96) }
                }
                (false, true) => {
                    interrupted += 1;
                    if rollback { (FIRST, LENGTH) } else { (97, 96) }
                }
                (false, false) => {
                    assert!(said.contains("nothing interrupted"), "{said}");
                    untouched += 1;
                    (FIRST, LENGTH)
                }
            };
            let raw = disk.to_raw("killed.raw");
            disk.judge_disk(&raw, first, length);
            disk.judge_content(&raw, first, length);
            let _ = fs::remove_file(disk.file(&format!(
                ".{}.platter-journal",
                image.file_name().unwrap().to_string_lossy()
            )));
        }
        println!("{holder:?}: {interrupted} interrupted, {untouched} not begun, {done} done");
        assert!(interrupted > 1, "{holder:?}: {interrupted}");
    }
}

/// While an edit of a version 3 image is unfinished, QEMU does not open it and says why, and we
/// look only. Both ways out open it again.
#[test]
fn an_unfinished_edit_keeps_others_out() {
    for holder in [Holder::Qcow2, Holder::Overlay] {
        for way_out in [&["resume"][..], &["resume", "--rollback"]] {
            let disk = Disk::new(Fs::Swap, Table::Gpt, holder);
            let image = disk.image();
            let path = image.to_str().unwrap();
            // The bits of incompatible features, the highest first.
            let is_guarded = || fs::read(&image).unwrap()[72] & 0x80 != 0;
            for nth in 1.. {
                let mut killed = tool("strace");
                killed.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]);
                killed.args(["-e", &format!("inject=fdatasync:signal=KILL:when={nth}")]);
                killed.arg(env!("CARGO_BIN_EXE_platter-img"));
                killed.args(["edit", "--yes", "--op", "move 2 +17M"]);
                let survived = common::output(killed.arg(&image)).status.success();
                assert!(!survived, "{holder:?}: never guarded");
                if is_guarded() {
                    break;
                }
                let _ = fs::remove_file(disk.file(".disk.qcow2.platter-journal"));
            }
            let refused = common::output(tool("qemu-img").args(["info", path]));
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success(), "{holder:?}: qemu-img opens it");
            let name = "partition edit unfinished: open with Platter";
            assert!(said.contains(name), "{said}");
            common::run(platter().args(["info", path]));
            common::run(platter().args(["partitions", path]));
            let (over, copy) = (disk.file("over.qcow2"), disk.file("copy.raw"));
            let [over, copy] = [&over, &copy].map(|path| path.to_str().unwrap());
            let create = [
                "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", path, over,
            ];
            common::run(platter().args(create));
            for verb in [
                &["resize", path, "+1M"][..],
                &["snapshot", "-c", "now", path],
                &["convert", "-O", "raw", path, copy],
                &["convert", "-O", "raw", over, copy],
                &["compare", over, path],
                &["commit", over],
                &["snapshot", "-c", "now", over],
            ] {
                let refused = common::output(platter().args(verb));
                let said = String::from_utf8_lossy(&refused.stderr).into_owned();
                assert!(!refused.status.success(), "{verb:?}");
                assert!(
                    said.contains("is unfinished: finish it or take it back"),
                    "{said}"
                );
            }
            common::run(platter().args(way_out).arg(&image));
            assert!(!is_guarded());
            common::run(tool("qemu-img").args(["check", "-q", path]));
            let raw = disk.to_raw("after.raw");
            let first = if way_out.len() == 1 { 97 } else { FIRST };
            disk.judge_disk(&raw, first, LENGTH);
            disk.judge_content(&raw, first, LENGTH);
        }
    }
}

/// The journal may get lost, when the image is copied for example: then there is a way to use the
/// disk as it is, and nothing else.
#[test]
fn a_lost_journal_is_no_dead_end() {
    let disk = Disk::new(Fs::Swap, Table::Gpt, Holder::Qcow2);
    let image = disk.image();
    let mut bytes = fs::read(&image).unwrap();
    bytes[72] |= 0x80;
    fs::write(&image, &bytes).unwrap();
    for arguments in [
        &["resume"][..],
        &["resume", "--rollback"],
        &["undo"],
        &["edit", "--yes", "--op", "move 2 +1M"],
    ] {
        let output = common::output(platter().args(arguments).arg(&image));
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
    common::run(platter().args(["undo", "--discard"]).arg(&image));
    bytes[72] &= 0x7f;
    assert!(fs::read(&image).unwrap() == bytes);
}

/// Bytes that a command writes, by all the calls that there are for that.
fn written_by(command: &[&str], log: &Path) -> u64 {
    let mut traced = tool("strace");
    traced.args(["-f", "-qq", "-o"]).arg(log);
    traced.args(["-e", "trace=write,writev,pwrite64,pwritev,copy_file_range"]);
    traced.arg(env!("CARGO_BIN_EXE_platter-img")).args(command);
    common::run(&mut traced);
    let calls = fs::read_to_string(log).unwrap();
    let results = calls.lines().filter_map(|line| line.rsplit_once(" = "));
    results
        .map(|(_, result)| result.parse::<u64>().unwrap_or(0))
        .sum()
}

/// A partition of 200 GiB with 50 GiB in it moves, and back: tables are written, and nothing else.
#[test]
fn a_large_partition_in_qcow2_moves_without_being_copied() {
    const MOST: u64 = 16 * MIB;
    let folder = common::scratch();
    let (image, log) = (folder.path().join("a.qcow2"), folder.path().join("log"));
    let path = image.to_str().unwrap();
    // The clusters are there, and holes of the host's file.
    let create = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "preallocation=metadata",
    ];
    run_tool("qemu-img", create.iter().chain(&[path, "50G"]));
    run_tool("qemu-img", ["resize", "-q", path, "260G"]);
    let mut made = platter();
    made.args(["edit", "--yes", "--op", "new-table gpt"]);
    made.args(["--op", "create 1M +200G linux"]);
    common::run(made.arg(path));
    let io = |words: &[String]| {
        let mut io = tool("qemu-io");
        io.args(["-f", "qcow2"]);
        for word in words {
            io.args(["-c", word]);
        }
        let said = common::run(io.arg(path));
        assert!(!said.contains("verification failed"), "{said}");
    };
    // In MiB.
    let places = [1, 64, 5000, 51_199];
    let at = |verb: &str, offset: u64| -> Vec<String> {
        let words = places.iter().zip(1..);
        words
            .map(|(place, pattern)| format!("{verb} -P {pattern} {}M 64k", place + offset))
            .collect()
    };
    io(&at("write", 0));
    for (arguments, offset) in [
        (&["edit", "--yes", "--op", "move 1 +10G", path][..], 10_240),
        (&["undo", path], 0),
        (&["edit", "--yes", "--op", "move 1 +100M", path], 100),
    ] {
        let written = written_by(arguments, &log);
        println!("{}: {written} bytes written", arguments[0]);
        assert!(written < MOST, "{arguments:?}: {written}");
        io(&at("read", offset));
        let empty = format!("read -P 0 1M {}k", offset.min(50) * 1024 + 512);
        if offset > 0 {
            io(&[empty]);
        }
        common::run(tool("qemu-img").args(["check", "-q", path]));
    }
    let output = platter()
        .args(["edit", "-n", "--op", "move 1 +1G", path])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("without copying"), "{said}");
    assert!(said.contains("Moves up to 0 B"), "{said}");
}

/// What a file system calls free is not copied, whatever is in it.
#[test]
fn free_space_of_a_raw_disk_is_not_copied() {
    let folder = common::scratch();
    let (image, log) = (folder.path().join("a.raw"), folder.path().join("log"));
    let path = image.to_str().unwrap();
    let noise: Vec<u8> = (0..64 * MIB)
        .flat_map(|n| {
            u32::try_from(n)
                .unwrap()
                .wrapping_mul(0x9e37_79b1)
                .to_le_bytes()
        })
        .collect();
    fs::write(&image, &noise).unwrap();
    let mut made = platter();
    made.args(["edit", "--yes", "-f", "raw", "--op", "new-table gpt"]);
    made.args(["--op", "create 1M +200M linux ext4 data", path]);
    common::run(&mut made);
    for (arguments, start) in [
        (
            &["edit", "--yes", "-f", "raw", "--op", "move 1 +40M", path][..],
            41,
        ),
        (&["undo", "-f", "raw", path], 1),
        (
            &["edit", "--yes", "-f", "raw", "--op", "move 1 +50M", path],
            51,
        ),
        (
            &["edit", "--yes", "-f", "raw", "--op", "move 1 -3M", path],
            48,
        ),
    ] {
        let written = written_by(arguments, &log);
        println!("{}: {written} bytes written", arguments[0]);
        assert!(written < 80 * MIB, "{arguments:?}: {written}");
        let bytes = fs::read(&image).unwrap();
        let start = usize::try_from(start * MIB).unwrap();
        let cut = folder.path().join("cut");
        fs::write(&cut, &bytes[start..start + 200 * (1 << 20)]).unwrap();
        run_tool("e2fsck", ["-f", "-n", cut.to_str().unwrap()]);
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let disk = Disk::new(Fs::Ext4, Table::Gpt, Holder::Raw);
    let before = fs::read(disk.image()).unwrap();
    for (op, why) in [
        ("resize 2 4M", "resize2fs"),
        ("move 2 +100M", "overlap partition 3"),
        ("resize 7 max", "there is no partition 7"),
        ("resize 2 +1000M", "partitions can only lie"),
        ("format 2 zfs", "is no file system"),
        ("resize-disk -100M", "need a disk of at least"),
        ("resize 1 8M", "what partition 1 contains is not known"),
    ] {
        let mut command = platter();
        command
            .args(["edit", "--yes", "-f", "raw", "--op", op])
            .arg(disk.image());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{op}: {said}");
        assert!(said.contains(why), "{op}: {said}");
    }
    let mut dry = platter();
    dry.args(["edit", "-n", "-f", "raw", "--op", "resize 2 max"])
        .arg(disk.image());
    let said = common::run(&mut dry);
    assert!(said.contains("grow partition 2 to 144 MiB"), "{said}");
    let mut trial = platter();
    trial
        .args(["edit", "--try", "-f", "raw", "--op", "resize 2 min"])
        .arg(disk.image());
    let said = common::run(&mut trial);
    assert!(said.contains("shrink partition 2"), "{said}");
    assert!(fs::read(disk.image()).unwrap() == before);
    let left: Vec<_> = fs::read_dir(disk.folder.path())
        .unwrap()
        .flatten()
        .collect();
    let hidden = left
        .iter()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "{left:?}");
}

#[test]
fn a_table_is_made_with_everything_in_it() {
    let folder = common::scratch();
    let image = folder.path().join("disk.raw");
    File::create(&image).unwrap().set_len(512 * MIB).unwrap();
    let mut command = platter();
    command.args(["edit", "--yes", "-f", "raw"]);
    for op in [
        "new-table gpt",
        "create 1M +64M efi fat32 EFI",
        "create 65M +32M swap swap exchange",
        "create 97M max linux ext4 root",
        "name 3 root partition",
        "active 3 on",
    ] {
        command.args(["--op", op]);
    }
    common::run(command.arg(&image));
    let said = common::run(
        platter()
            .args(["partitions", "--output", "json", "-f", "raw"])
            .arg(&image),
    );
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let partitions = json["partitions"].as_array().unwrap();
    let content: Vec<_> = partitions
        .iter()
        .map(|partition| partition["content"]["type"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(content, ["fat32", "swap", "ext4"], "{json:#}");
    assert_eq!(partitions[2]["name"], "root partition");
    assert_eq!(partitions[2]["end"], 511 * MIB);
    assert!(run_tool("sgdisk", ["-v", image.to_str().unwrap()]).contains("No problems found."));
}

#[test]
fn an_overlay_that_will_read_differently_is_named() {
    let disk = Disk::new(Fs::Swap, Table::Gpt, Holder::Qcow2);
    let (image, overlay) = (disk.image(), disk.file("overlay.qcow2"));
    let [base, path] = [&image, &overlay].map(|path| path.to_str().unwrap());
    let create = [
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path,
    ];
    run_tool("qemu-img", create);
    let output = Command::new(env!("CARGO_BIN_EXE_platter-img"))
        .args(["edit", "--yes", "--op", "name 2 moved", base])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("warning: another image stands on"), "{said}");
    assert!(said.contains("overlay.qcow2"), "{said}");
}

/// A disk of 96 MiB, every byte of which is noise but for 4 MiB of zeroes, with three partitions that
/// hold, as far as anybody can tell, nothing, ext4 and swap.
fn noisy_disk(folder: &Path) -> PathBuf {
    let raw = folder.join("noise.raw");
    let mut random = common::inputs::Random(11);
    let noise: Vec<u8> = (0..96 * MIB / 8)
        .flat_map(|_| random.next().to_le_bytes())
        .collect();
    fs::write(&raw, noise).unwrap();
    // Labels of file systems that the noise does not have anyway are not asked for.
    run_with_input(
        tool("sfdisk")
            .args(["--quiet", "--wipe", "never"])
            .arg(&raw),
        "label: gpt\nstart=2M,size=10M,type=linux\nstart=20M,size=24M\nstart=60M,size=12M,type=swap\n",
    );
    let disk = File::options().write(true).open(&raw).unwrap();
    let zeroes = vec![0; 4 << 20];
    std::os::unix::fs::FileExt::write_all_at(&disk, &zeroes, 78 * MIB).unwrap();
    for (number, program, arguments) in [
        (20, "mkfs.ext4", &["-q", "-F", "-E", "nodiscard"][..]),
        (60, "mkswap", &["-q"]),
    ] {
        let length = if number == 20 { 24 } else { 12 };
        let volume = folder.join("volume");
        let cut = fs::read(&raw).unwrap();
        let [start, end] =
            [number, number + length].map(|at: u64| usize::try_from(at * MIB).unwrap());
        fs::write(&volume, &cut[start..end]).unwrap();
        common::run(tool(program).args(arguments).arg(&volume));
        let made = fs::read(&volume).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&disk, &made, number * MIB).unwrap();
    }
    raw
}

#[test]
fn undoing_gives_every_byte_of_the_disk_back() {
    let folder = common::scratch();
    let raw = noisy_disk(folder.path());
    let before = fs::read(&raw).unwrap();
    let base = folder.path().join("base.qcow2");
    let file = |name: &str| folder.path().join(name);
    let image = |path: &Path| path.to_str().unwrap().to_owned();
    let convert = |options: &[&str], to: &Path| {
        let mut command = tool("qemu-img");
        command
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args(options);
        common::run(command.arg(&raw).arg(to));
    };
    convert(&[], &base);
    let edits: [&[&str]; 7] = [
        &["move 2 +7M"],
        &["move 2 13M", "resize 2 40M"],
        &["move 3 +5M", "move 2 +9M", "move 1 +6M"],
        &["move 2 +1000s", "label 2 moved"],
        &[
            "resize-disk +32M",
            "move 3 80M",
            "resize 2 30M",
            "format 1 ext4 new",
        ],
        &["delete 3", "resize-disk 70M", "move 2 14M"],
        &["resize 2 16M", "move 3 44M", "resize-disk 60M"],
    ];
    for holder in ["raw", "qcow2", "v2", "overlay", "v2-overlay"] {
        for edits in edits {
            let disk = file(&format!("disk.{holder}"));
            let _ = fs::remove_file(&disk);
            let compat = if holder.starts_with("v2") {
                "compat=0.10"
            } else {
                "compat=1.1"
            };
            match holder {
                "raw" => drop(fs::copy(&raw, &disk).unwrap()),
                "qcow2" | "v2" => convert(&["-o", compat], &disk),
                _ => drop(run_tool(
                    "qemu-img",
                    [
                        "create",
                        "-q",
                        "-f",
                        "qcow2",
                        "-o",
                        compat,
                        "-F",
                        "qcow2",
                        "-b",
                        &image(&base),
                        &image(&disk),
                    ],
                )),
            }
            let operations = edits.iter().flat_map(|edit| ["--op", edit]);
            let mut edit = platter();
            edit.args(["edit", "--yes"]).args(operations).arg(&disk);
            let cuts = edits
                .iter()
                .any(|edit| edit.starts_with("resize-disk") && !edit.contains('+'));
            if holder == "v2-overlay" && cuts {
                // It could not grow again, with its backing file showing there.
                let output = common::output(&mut edit);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(said.contains("that could not be undone"), "{said}");
                assert!(to_bytes(&disk, holder) == before);
                continue;
            }
            let said = common::run(&mut edit);
            assert!(!said.contains("too much to be kept"), "{said}");
            let now = to_bytes(&disk, holder);
            assert!(now != before, "{holder} {edits:?}: nothing was done");
            common::run(platter().arg("undo").arg(&disk));
            let now = to_bytes(&disk, holder);
            let first = now
                .iter()
                .zip(&before)
                .position(|(now, before)| now != before);
            assert_eq!(
                (now.len(), first),
                (before.len(), None),
                "{holder} {edits:?}"
            );
            if holder != "raw" {
                run_tool("qemu-img", ["check", "-q", &image(&disk)]);
            }
        }
    }
}

/// The bytes of the disk in an image.
fn to_bytes(image: &Path, holder: &str) -> Vec<u8> {
    if holder == "raw" {
        return fs::read(image).unwrap();
    }
    let raw = image.with_extension("out");
    let [image, raw] = [image, &raw].map(|path| path.to_str().unwrap());
    run_tool("qemu-img", ["convert", "-O", "raw", image, raw]);
    fs::read(raw).unwrap()
}
