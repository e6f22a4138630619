//! `create` against the program whose place it takes: the same words in two folders alike, and the
//! two images that come out.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use common::holder::Holder;
use common::inputs::Random;
use serde_json::Value;
use tempfile::TempDir;

/// Disks up to this size are compared byte by byte.
const SMALL: u64 = 16 << 20;

/// What is there before each command.
fn furnish(folder: &Path) {
    common::run(
        common::tool("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "base.qcow2", "3M"])
            .current_dir(folder),
    );
    for (name, length) in [("base.raw", 1 << 20), ("odd.raw", 1000)] {
        let file = fs::File::create(folder.join(name)).expect("it can be made");
        file.set_len(length).expect("it can be made longer");
    }
    fs::create_dir(folder.join("sub")).expect("it can be made");
}

/// Two folders alike: one for each program.
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

    /// Runs the words in both folders; what differs, in words.
    fn difference(&self, words: &[&str]) -> Option<String> {
        let theirs = run(common::tool("qemu-img"), words, self.theirs.path());
        let ours = run(common::ours(), words, self.ours.path());
        let (their_words, our_words) = (seen(&theirs), seen(&ours));
        let line = words.join(" ");
        if their_words != our_words {
            return Some(format!(
                "\n===== qemu-img {line}\n----- theirs\n{their_words}----- ours\n{our_words}"
            ));
        }
        if !theirs.status.success() || theirs.stdout.starts_with(b"Supported") {
            return None;
        }
        let name = words.iter().skip(1).find(|word| word.starts_with("new"))?;
        let difference = self.image_difference(name, &line)?;
        Some(format!("\n===== qemu-img {line}\n{difference}"))
    }

    fn image_difference(&self, name: &str, line: &str) -> Option<String> {
        let (theirs, ours) = (self.theirs.path(), self.ours.path());
        let (their_info, our_info) = (info(theirs, name), info(ours, name));
        if their_info != our_info {
            return Some(format!(
                "----- theirs\n{their_info}\n----- ours\n{our_info}\n"
            ));
        }
        // What stands on a file that is not there cannot be opened.
        let backing = our_info["full-backing-filename"].as_str();
        let opens = backing.is_none_or(|name| name.contains(':') || ours.join(name).exists());
        if !opens {
            return None;
        }
        if our_info["format"] == "qcow2" {
            for program in [common::tool("qemu-img"), common::ours()] {
                let check = run(program, &["check", name], ours);
                if !check.status.success() {
                    return Some(seen(&check));
                }
            }
        }
        let size = our_info["virtual-size"].as_u64();
        if size.is_some_and(|size| size <= SMALL) && content(theirs, name) != content(ours, name) {
            return Some("the contents differ\n".into());
        }
        // Without preallocated tables there is one layout, as long as one refcount block does.
        let is_mapped = line.contains("cluster_size=512") && size > Some(SMALL)
            || line.contains("preallocation=") && !line.contains("preallocation=off");
        if !is_mapped && !line.contains("data_file_raw") {
            let bytes = |folder: &Path| fs::read(folder.join(name)).expect("it is there");
            if bytes(theirs) != bytes(ours) {
                return Some("the files differ\n".into());
            }
        }
        None
    }
}

/// The guest disk. Names of data files and some backing files are meant from the folder.
fn content(folder: &Path, name: &str) -> Vec<u8> {
    let output = folder.join("content");
    let mut convert = common::tool("qemu-img");
    convert.args(["convert", "-O", "raw"]);
    if name.ends_with(".raw") {
        convert.args(["-f", "raw"]);
    }
    common::run(convert.arg(name).arg(&output).current_dir(folder));
    let content = fs::read(&output).expect("it was written just now");
    fs::remove_file(output).expect("it is ours");
    content
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

/// What `qemu-img info` says, without what depends on the host.
fn info(folder: &Path, name: &str) -> Value {
    let mut command = common::tool("qemu-img");
    command.args(["info", "--output=json"]);
    if name.ends_with(".raw") {
        command.args(["-f", "raw"]);
    }
    let json = common::run(command.arg(name).current_dir(folder));
    let mut info = serde_json::from_str(&json).expect("it prints JSON");
    forget(&mut info);
    info
}

/// Sizes on the host are those of the layout, which is ours where something is preallocated.
fn forget(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("actual-size");
            members.remove("children");
            members.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

#[track_caller]
fn assert_same(commands: &[Vec<&str>]) {
    let (left, right) = commands.split_at(commands.len() / 2);
    // Two at a time: most of it is waiting for processes.
    let different = std::thread::scope(|scope| {
        let other = scope.spawn(|| differences(right));
        differences(left) + &other.join().expect("no case panics")
    });
    assert!(different.is_empty(), "{different}");
}

fn differences(commands: &[Vec<&str>]) -> String {
    let mut text = String::new();
    let mut pair = Pair::new();
    for words in commands {
        if let Some(difference) = pair.difference(words) {
            let _ = write!(text, "{difference}");
            pair = Pair::new();
        }
    }
    text
}

fn assert_lines_same(lines: &[&str]) {
    let commands: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_same(&commands);
}

#[test]
fn grammar_and_complaints_are_the_same() {
    assert_lines_same(&[
        "create",
        "create -q",
        "create new b c",
        "create new 1M c",
        "create --foo",
        "create -6 new 1M",
        "create -o",
        "create -f",
        "create -f foo new 1M",
        "create -f bochs new 1M",
        "create -f bochs -o help",
        "create -o help -f foo",
        "create -o help",
        "create -o help new.raw",
        "create -o help,size=1 new.raw",
        "create -f qcow2 -o help",
        "create -f qcow2 -o ? new.qcow2",
        "create -f qcow2 -o size=1,?",
        "create -f qcow2 -o help foo:x",
        "create -f qcow2 -o ,a new.qcow2 1M",
        "create -f qcow2 -o a, new.qcow2 1M",
        "create -f qcow2 -o foo=1 new.qcow2 1M",
        "create -f raw -o foo=1 new.raw 1M",
        "create -f raw -o cluster_size=4k new.raw 1M",
        "create --object foo,id=x new.raw 1M",
        "create -f qcow2 json:x 1M",
        "create -f qcow2 foo:x 1M",
        "create -f qcow2 nope/new.qcow2 1M",
        "create -f raw nope/new.raw 1M",
        "create -f qcow2 sub 1M",
        "create -f raw sub 1M",
        "create -f raw new.raw",
        "create -f qcow2 new.qcow2",
        "create -f raw new.raw 1.5",
        "create -f raw new.raw 1.5k",
        "create -f raw new.raw 1x",
        "create -f raw new.raw -- -1",
        "create -f raw new.raw 0x10k",
        "create -f raw new.raw 0x1000",
        "create -f raw new.raw 1,5",
        "create -f raw new.raw 8E",
        "create -f raw new.raw 7E",
        "create -f raw new.raw 1000",
        "create -f raw new.raw 0",
        "create -f qcow2 new.qcow2 1000",
        "create -f raw -o size=2M new.raw 1M",
        "create -f raw -o size=2M new.raw",
        "create -f raw -o size=x new.raw",
        "create -f raw -o size=1000 new.raw",
        "create -f qcow2 -o size=1000 new.qcow2",
        "create -f qcow2 -o size=5M,cluster_size=4k -o cluster_size=8k new.qcow2",
        "create -q new.raw 1M",
        "create new.raw 1M -q",
        "create file:new.raw 1M",
        "create ./new.raw 1M",
        "create -o preallocation=off new.raw 1M",
        "create -o preallocation=falloc new.raw 1M",
        "create -o preallocation=full new.raw 1000",
        "create -o preallocation=metadata new.raw 1M",
        "create -o preallocation=x new.raw 1M",
        "create -o nocow new.raw 1M",
        "create -o nocow=on,extent_size_hint=4M new.raw 1M",
        "create -o nonocow,extent_size_hint=0 new.raw 1M",
        "create -o extent_size_hint=5G new.raw 1M",
        "create -b base.raw new.raw",
        "create -F raw new.raw 1M",
    ]);
    assert_same(&[
        vec!["create", "", "1M"],
        vec!["create", "-f", "qcow2", "", "1M"],
        vec!["create", "new.raw", ""],
        vec!["create", "-f", "", "new.raw", "1M"],
        vec!["create", "-o", "", "new.raw", "1M"],
        vec!["create", "-f", "qcow2", "new a,b.qcow2", "1M"],
    ]);
}

#[test]
fn backing_files_are_the_same() {
    let long = "x".repeat(1100);
    let half = "x".repeat(600);
    let fits = "x".repeat(360);
    let mut commands: Vec<Vec<&str>> = [
        "-b base.raw new.qcow2",
        "-b base.raw new.qcow2 2M",
        "-u -b base.raw new.qcow2 2M",
        "-u -b base.raw new.qcow2",
        "-u -b nope -F raw new.qcow2",
        "-u -b nope -F raw new.qcow2 1M",
        "-u -b nope -F foo new.qcow2 1M",
        "-u -b nope -F nbd new.qcow2 1M",
        "-b nope -F raw new.qcow2 1M",
        "-b nope -F raw new.qcow2",
        "-b nope new.qcow2 1M",
        "-b base.raw -F foo new.qcow2",
        "-b base.raw -F qcow2 new.qcow2",
        "-b base.raw -F raw new.qcow2",
        "-b base.raw -F raw new.qcow2 3M",
        "-b base.raw -F raw new.qcow2 1000",
        "-b odd.raw -F raw new.qcow2",
        "-b base.qcow2 -F qcow2 new.qcow2",
        "-b base.qcow2 -F raw new.qcow2",
        "-b base.qcow2 new.qcow2",
        "-b ./base.qcow2 -F qcow2 new.qcow2",
        "-b file:base.raw -F raw new.qcow2",
        "-b ../base.raw -F raw sub/new.qcow2",
        "-b base.raw -F raw sub/new.qcow2",
        "-b sub -F raw new.qcow2",
        "-b new.qcow2 -F qcow2 new.qcow2",
        "-b ./nope.qcow2 -F qcow2 nope.qcow2",
        "-o backing_file=base.raw,backing_fmt=raw new.qcow2",
        "-o backing_file=base.raw new.qcow2",
        "-o backing_file=base.raw -b nope new.qcow2 1M",
        "-o backing_file=nope,backing_fmt=raw -b base.qcow2 -F qcow2 new.qcow2 1M",
        "-o backing_file=a,,b.raw -F raw -u new.qcow2 1M",
        "-o backing_file= new.qcow2 1M",
        "-o backing_fmt=raw new.qcow2 1M",
        "-F raw new.qcow2 1M",
        "-b base.raw -F raw -o preallocation=metadata new.qcow2",
        "-b base.raw -F raw -o preallocation=metadata,extended_l2=on new.qcow2",
        "-b base.raw -F raw -o preallocation=falloc,extended_l2=on new.qcow2",
        "-b base.raw -F raw -o preallocation=full,extended_l2=on new.qcow2",
        "-b base.raw -F raw -o data_file=d.bin new.qcow2",
        "-b base.raw -F raw -o data_file=d.bin,data_file_raw=on new.qcow2",
        "-b base.raw -F raw -o compat=0.10 new.qcow2",
        "-b base.raw -F raw -o compat=0.10,cluster_size=512 new.qcow2",
    ]
    .iter()
    .map(|line| {
        let words = ["create", "-f", "qcow2"].into_iter();
        words.chain(line.split_whitespace()).collect()
    })
    .collect();
    let json = r#"json:{"driver":"raw","file":{"driver":"file","filename":"base.raw"}}"#;
    for words in [
        ["-b", "", "new.qcow2", "1M"].as_slice(),
        &["-b", "", "-F", "raw", "new.qcow2"],
        &["-b", "base.raw", "-F", "", "new.qcow2"],
        &["-b", "base.raw", "-F", "", "-u", "new.qcow2", "1M"],
        &["-b", json, "-F", "raw", "new.qcow2"],
        &["-b", &long, "-F", "raw", "-u", "new.qcow2", "1M"],
        &[
            "-b",
            &half,
            "-F",
            "raw",
            "-u",
            "-o",
            "cluster_size=512",
            "new.qcow2",
            "1M",
        ],
        &[
            "-b",
            &fits,
            "-F",
            "raw",
            "-u",
            "-o",
            "cluster_size=512",
            "new.qcow2",
            "1M",
        ],
    ] {
        commands.push(
            ["create", "-f", "qcow2"]
                .iter()
                .chain(words)
                .copied()
                .collect(),
        );
    }
    assert_same(&commands);
}

/// Values of an option; `None` leaves it out. Good ones are there more often.
type Choices = (&'static str, &'static [Option<&'static str>]);

const CHOICES: &[Choices] = &[
    (
        "cluster_size",
        &[
            None,
            None,
            None,
            Some("512"),
            Some("4k"),
            Some("16k"),
            Some("2M"),
            Some("3"),
        ],
    ),
    (
        "compat",
        &[
            None,
            None,
            None,
            Some("1.1"),
            Some("v3"),
            Some("0.10"),
            Some("v2"),
            Some("7"),
        ],
    ),
    (
        "refcount_bits",
        &[
            None,
            None,
            None,
            Some("1"),
            Some("8"),
            Some("16"),
            Some("64"),
            Some("3"),
        ],
    ),
    ("lazy_refcounts", &[None, None, Some("on"), Some("off")]),
    ("extended_l2", &[None, None, Some("off"), Some("on")]),
    (
        "compression_type",
        &[None, None, Some("zlib"), Some("zstd"), Some("zstd")],
    ),
    (
        "preallocation",
        &[
            None,
            Some("off"),
            Some("metadata"),
            Some("falloc"),
            Some("full"),
        ],
    ),
    ("data_file", &[None, None, None, Some("d.bin")]),
    ("data_file_raw", &[None, None, None, Some("on")]),
    ("nocow", &[None, None, None, Some("on")]),
];
const SIZES: &[&str] = &["0", "512", "1000", "1M", "1M", "3146240", "12M"];

/// The arguments of a `create` with options drawn at random.
fn words(random: &mut Random) -> Vec<String> {
    let mut options = Vec::new();
    for (name, values) in CHOICES {
        if let Some(value) = random.of(values) {
            options.push(format!("{name}={value}"));
        }
    }
    let mut words = vec!["create".to_owned(), "-f".into(), "qcow2".into()];
    if !options.is_empty() {
        words.extend(["-o".into(), options.join(",")]);
    }
    let size = *random.of(SIZES);
    match random.below(6) {
        0 => words.extend(["-b", "base.raw", "-F", "raw", "new.qcow2"].map(Into::into)),
        1 => {
            words.extend(["-b", "base.qcow2", "-F", "qcow2", "new.qcow2"].map(Into::into));
            words.push(size.into());
        }
        _ => words.extend(["new.qcow2".to_owned(), size.into()]),
    }
    words
}

/// The matrix of options: also what contradicts itself, in every combination.
#[test]
fn options_in_many_combinations_are_the_same() {
    let mut random = Random(20_261_122);
    let commands: Vec<Vec<String>> = (0..300).map(|_| words(&mut random)).collect();
    let commands: Vec<Vec<&str>> = commands
        .iter()
        .map(|words| words.iter().map(String::as_str).collect())
        .collect();
    assert_same(&commands);
}

/// Sizes and layouts at the limits of the format and of the host.
#[test]
fn hostile_options_are_the_same() {
    assert_lines_same(&[
        "create -f qcow2 new.qcow2 1E",
        "create -f qcow2 new.qcow2 7E",
        "create -f qcow2 new.qcow2 8E",
        "create -f qcow2 new.qcow2 9223372036854775807",
        "create -f qcow2 new.qcow2 18446744073709551615",
        "create -f raw new.raw 9223372036854775807",
        "create -f raw new.raw 9223372036854775296",
        "create -f qcow2 -o size=16E new.qcow2",
        "create -f qcow2 -o size=-1 new.qcow2",
        "create -f qcow2 new.qcow2 64T",
        "create -f qcow2 -o cluster_size=512 new.qcow2 10G",
        "create -f qcow2 -o cluster_size=512,refcount_bits=64 new.qcow2 1T",
        "create -f qcow2 -o cluster_size=2M,refcount_bits=1 new.qcow2 2E",
        "create -f qcow2 -o cluster_size=2M new.qcow2 3E",
        "create -f qcow2 -o cluster_size=2M,extended_l2=on new.qcow2 1E",
        "create -f qcow2 -o cluster_size=2M,extended_l2=on new.qcow2 2E",
        "create -f qcow2 -o preallocation=full new.qcow2 7E",
        "create -f qcow2 -o cluster_size=0 new.qcow2 1M",
        "create -f qcow2 -o cluster_size=256 new.qcow2 1M",
        "create -f qcow2 -o cluster_size=4M new.qcow2 1M",
        "create -f qcow2 -o cluster_size=-512 new.qcow2 1M",
        "create -f qcow2 -o cluster_size=1E new.qcow2 1M",
        "create -f qcow2 -o refcount_bits=0 new.qcow2 1M",
        "create -f qcow2 -o refcount_bits=128 new.qcow2 1M",
        "create -f qcow2 -o refcount_bits=-1 new.qcow2 1M",
        "create -f qcow2 -o refcount_bits=4294967312 new.qcow2 1M",
        "create -f qcow2 -o refcount_bits=x new.qcow2 1M",
        "create -f qcow2 -o compression_type=lz4 new.qcow2 1M",
        "create -f qcow2 -o preallocation=x new.qcow2 1M",
        "create -f qcow2 -o compat= new.qcow2 1M",
        "create -f qcow2 -o encryption=on new.qcow2 1M",
        "create -f qcow2 -o encrypt.format=luks new.qcow2 1M",
        "create -f qcow2 -o data_file=nope/d new.qcow2 1M",
        "create -f qcow2 -o data_file= new.qcow2 1M",
        "create -f qcow2 -o data_file=sub new.qcow2 1M",
        "create -f raw -o preallocation=full new.raw 7E",
    ]);
}

/// Who uses the target, or the data file, keeps it.
#[test]
fn files_in_use_are_refused_in_the_same_words() {
    for options in [&["-f", "qcow2"][..], &["-f", "qcow2", "-r"]] {
        let pair = Pair::new();
        let users = [&pair.theirs, &pair.ours]
            .map(|folder| Holder::qemu_io(options, &folder.path().join("base.qcow2")));
        for words in [
            ["create", "-f", "qcow2", "base.qcow2", "1M"].as_slice(),
            &["create", "-f", "raw", "base.qcow2", "1M"],
            &[
                "create",
                "-f",
                "qcow2",
                "-o",
                "data_file=base.qcow2",
                "new.qcow2",
                "1M",
            ],
            &[
                "create",
                "-f",
                "qcow2",
                "-b",
                "base.qcow2",
                "-F",
                "qcow2",
                "top.qcow2",
            ],
        ] {
            assert_eq!(pair.difference(words), None);
        }
        drop(users);
    }
}

/// Ours: what was there stays until the new image is whole.
#[test]
fn the_target_is_replaced_whole_or_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let pair = Pair::new();
    let folder = pair.ours.path();
    let target = folder.join("base.qcow2");
    let old = fs::read(&target).expect("it is there");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).expect("it is ours");
    symlink("base.qcow2", folder.join("link.qcow2")).expect("it can be made");
    let names = |folder: &Path| fs::read_dir(folder).expect("it is a folder").count();
    let before = names(folder);

    let create = |words: &[&str]| {
        let words = [&["create", "-f", "qcow2"], words].concat();
        common::output(common::ours().args(words).current_dir(folder))
    };
    for words in [
        &["-o", "cluster_size=3", "link.qcow2", "1M"][..],
        &["-b", "./base.qcow2", "-F", "qcow2", "link.qcow2"],
    ] {
        let refused = create(words);
        assert_eq!(refused.status.code(), Some(1), "{}", seen(&refused));
        assert_eq!(fs::read(&target).expect("it is there"), old);
        assert_eq!(names(folder), before);
    }
    let made = create(&["link.qcow2", "1M"]);
    assert!(made.status.success(), "{}", seen(&made));
    let warning = "warning: 'link.qcow2' exists and is overwritten (qcow2, 196616 bytes)\n";
    assert_eq!(String::from_utf8_lossy(&made.stderr), warning);
    assert_eq!(names(folder), before);
    let metadata = fs::metadata(&target).expect("it is there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    assert_eq!(info(folder, "base.qcow2")["virtual-size"], 1 << 20);
}

/// A host that has no space in the middle of the work leaves nothing behind, and the message says
/// what could not be done where.
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let folder = common::scratch();
    for (format, preallocation, what) in [
        ("raw", "full", "cannot write 1048576 bytes (at offset 0x"),
        ("qcow2", "full", "cannot write 4194304 bytes (at offset 0x"),
        (
            "raw",
            "falloc",
            "cannot reserve space of 67108864 bytes (at offset 0x0)",
        ),
        (
            "qcow2",
            "falloc",
            "cannot reserve space of 67108864 bytes (at offset 0x",
        ),
    ] {
        // A disk of 8 MiB that only these commands see.
        let script = "mount -t tmpfs -o size=8m none . && cd \"$PWD\" || exit 99; \"$@\"; \
                      code=$?; ls -A; exit $code";
        let mut shell = common::tool("unshare");
        shell.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        shell.arg(common::ours().get_program());
        shell.args(["create", "-q", "-f", format, "-o"]);
        shell
            .arg(format!("preallocation={preallocation}"))
            .args(["new", "64M"]);
        let output = common::output(shell.current_dir(folder.path()));
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        for part in ["new.part: ", what, "No space left on device"] {
            assert!(message.contains(part), "{message} has no {part:?}");
        }
        let left = String::from_utf8_lossy(&output.stdout);
        assert_eq!(left, "", "{format} {preallocation}");
    }
}
