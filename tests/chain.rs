//! Chains made by `qemu-img`: what is followed, what is refused, and what is wrong with a link are
//! facts of the chain.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use common::{run, scratch, tool};
use platter::chain::{Chain, ChainOptions, LinkProblem, LinkState, OpenPolicy};
use platter::control::Control;
use platter::disk::read_parallel;
use platter::image::{Format, SnapshotSelector};
use platter::storage::{FileStamp, Storage};
use platter::{Error, ErrorKind};

/// An overlay that names `backing` as it is, whatever that means.
fn naming(path: &Path, backing: &str, format: Option<&str>) {
    let mut command = tool("qemu-img");
    command.args(["create", "-q", "-u", "-f", "qcow2", "-b", backing]);
    // Nobody can leave the format out any more, but many images have none; nor name an unknown one.
    let known = format.filter(|name| *name != "tap").unwrap_or("dmg");
    run(command.args(["-F", known]).arg(path).arg("1M"));
    match format {
        None => replace(path, &0xe279_2aca_u32.to_be_bytes(), b"none"),
        Some("tap") => replace(path, b"dmg", b"tap"),
        Some(_) => {}
    }
}

/// Replaces the only place in a file that has `old`.
fn replace(path: &Path, old: &[u8], new: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let place = bytes.windows(old.len()).position(|window| window == old);
    bytes[place.unwrap()..][..new.len()].copy_from_slice(new);
    fs::write(path, bytes).unwrap();
}

fn plain(path: &Path) {
    run(tool("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(path)
        .arg("1M"));
}

fn open(path: &Path) -> Chain {
    Chain::open(path, &ChainOptions::default()).unwrap()
}

fn open_with(path: &Path, policy: OpenPolicy) -> Chain {
    let options = ChainOptions {
        policy,
        ..ChainOptions::default()
    };
    Chain::open(path, &options).unwrap()
}

/// The chain's problem in one word, and where it is.
fn problem(chain: &Chain) -> (usize, &'static str) {
    let word = |problem: &LinkProblem| match problem {
        LinkProblem::Missing => "missing",
        LinkProblem::Cyclic => "cyclic",
        LinkProblem::TooDeep => "too deep",
        LinkProblem::WrongFormat { .. } => "wrong format",
        LinkProblem::NotAllowed(_) => "not allowed",
        LinkProblem::Remote(_) => "remote",
        LinkProblem::Encrypted(_) => "encrypted",
        LinkProblem::Unreadable(_) => "unreadable",
    };
    chain
        .first_problem()
        .map_or((chain.links().len(), "none"), |(index, problem)| {
            (index, word(problem))
        })
}

fn error_of(chain: &Chain) -> Error {
    chain
        .disk()
        .expect_err("a chain with a broken link is no disk")
}

#[test]
fn what_is_wrong_with_a_link_is_a_fact() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    plain(&at("good.qcow2"));
    fs::write(at("plain.raw"), [7; 4096]).unwrap();
    fs::write(at("damaged"), b"QFI\xfb\0\0\0\x03").unwrap();
    for (backing, format, expected, kind) in [
        ("gone.qcow2", Some("qcow2"), "missing", ErrorKind::NotFound),
        (
            "good.qcow2/x",
            Some("qcow2"),
            "missing",
            ErrorKind::NotFound,
        ),
        (
            "plain.raw",
            Some("qcow2"),
            "wrong format",
            ErrorKind::Corrupt,
        ),
        (
            "good.qcow2",
            Some("vmdk"),
            "wrong format",
            ErrorKind::Corrupt,
        ),
        (
            "good.qcow2",
            Some("tap"),
            "unreadable",
            ErrorKind::Unsupported,
        ),
        ("damaged", Some("qcow2"), "unreadable", ErrorKind::Corrupt),
        ("self.qcow2", Some("qcow2"), "cyclic", ErrorKind::Corrupt),
    ] {
        let path = at("self.qcow2");
        let _ = fs::remove_file(&path);
        naming(&path, backing, format);
        let chain = open(&path);
        assert_eq!(problem(&chain), (1, expected), "{backing} {format:?}");
        assert_eq!(chain.links().len(), 2);
        assert!(chain.active().info().is_some());
        let error = error_of(&chain);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(backing), "{error}");
    }
}

#[test]
fn cycles_are_found_by_identity() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    for alias in ["b.qcow2", "link-to-b", "hard-b"] {
        for name in ["a.qcow2", "b.qcow2", "link-to-b", "hard-b"] {
            let _ = fs::remove_file(at(name));
        }
        naming(&at("b.qcow2"), "a.qcow2", Some("qcow2"));
        symlink("b.qcow2", at("link-to-b")).unwrap();
        fs::hard_link(at("b.qcow2"), at("hard-b")).unwrap();
        naming(&at("a.qcow2"), alias, Some("qcow2"));
        let chain = open(&at("b.qcow2"));
        assert_eq!(problem(&chain), (2, "cyclic"), "{alias}");
        assert_eq!(chain.links().len(), 3);
    }
}

#[test]
fn chains_end_at_the_limit() {
    let folder = scratch();
    let name = |index: usize| format!("{index:03}.qcow2");
    let first = folder.path().join(name(0));
    naming(&first, &name(1), Some("qcow2"));
    let bytes = fs::read(&first).unwrap();
    let place = bytes
        .windows(9)
        .position(|window| window == name(1).as_bytes())
        .unwrap();
    for index in 1..=Chain::MAX_LINKS {
        let mut bytes = bytes.clone();
        bytes[place..place + 9].copy_from_slice(name(index + 1).as_bytes());
        fs::write(folder.path().join(name(index)), bytes).unwrap();
    }
    let chain = open(&first);
    assert_eq!(problem(&chain), (Chain::MAX_LINKS, "too deep"));
    assert_eq!(chain.links().len(), Chain::MAX_LINKS + 1);
    // One image further down, the same chain is whole but for its missing end.
    fs::remove_file(folder.path().join(name(Chain::MAX_LINKS - 1))).unwrap();
    let chain = open(&first);
    assert_eq!(problem(&chain), (Chain::MAX_LINKS - 1, "missing"));
}

#[test]
fn a_claim_of_raw_always_holds() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    // What a guest wrote into its raw disk must not become a format.
    naming(&at("base"), "/etc/passwd", Some("raw"));
    for (format, found, links) in [(Some("raw"), Format::Raw, 2), (None, Format::Qcow2, 3)] {
        let _ = fs::remove_file(at("top.qcow2"));
        naming(&at("top.qcow2"), "base", format);
        let chain = open(&at("top.qcow2"));
        assert_eq!(chain.links().len(), links, "{format:?}");
        assert_eq!(chain.links()[1].info().unwrap().format, found);
    }
    // Probed or not, what it names stays under the policy.
    let chain = open(&at("top.qcow2"));
    assert_eq!(problem(&chain), (2, "not allowed"));
}

#[test]
fn an_image_in_the_clothes_of_a_raw_disk_reaches_no_other_images() {
    let house = scratch();
    for folder in ["vm", "other"] {
        fs::create_dir(house.path().join(folder)).unwrap();
    }
    plain(&house.path().join("other/secret.qcow2"));
    for (name, format, expected) in [
        ("disk.qcow2", None, (2, "none")),
        ("disk.img", None, (1, "not allowed")),
        ("disk.img", Some(Format::Qcow2), (2, "none")),
    ] {
        let path = house.path().join("vm").join(name);
        naming(&path, "../other/secret.qcow2", Some("qcow2"));
        let options = ChainOptions {
            format,
            ..ChainOptions::default()
        };
        let chain = Chain::open(&path, &options).unwrap();
        assert_eq!(problem(&chain), expected, "{name} {format:?}");
    }
}

#[test]
fn a_hostile_image_opens_nothing() {
    let folder = scratch();
    let path = folder.path().join("evil.qcow2");
    let fifo = folder.path().join("fifo");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    symlink("/etc/shadow", folder.path().join("innocent.raw")).unwrap();
    symlink("/dev/zero", folder.path().join("disk.raw")).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("nbd://{}/", server.local_addr().unwrap());
    let options = format!(
        r#"json:{{"driver":"raw","file":{{"driver":"nbd","host":"127.0.0.1","port":"{}"}}}}"#,
        server.local_addr().unwrap().port()
    );
    for (name, expected) in [
        ("/etc/shadow", "not allowed"),
        ("../../../../../../etc/shadow", "not allowed"),
        ("file:/etc/shadow", "not allowed"),
        ("innocent.raw", "not allowed"),
        (
            r#"json:{"driver":"raw","file.filename":"/etc/shadow"}"#,
            "not allowed",
        ),
        ("/dev/zero", "not allowed"),
        ("disk.raw", "not allowed"),
        ("/proc/self/mem", "not allowed"),
        // Opening it would wait for a writer for ever.
        ("fifo", "not allowed"),
        (".", "not allowed"),
        (&url, "remote"),
        (&options, "remote"),
        ("ssh://localhost/etc/shadow", "remote"),
        ("host_device:/dev/zero", "remote"),
        ("blkdebug::/etc/shadow", "remote"),
    ] {
        let _ = fs::remove_file(&path);
        naming(&path, name, Some("raw"));
        let chain = open(&path);
        assert_eq!(problem(&chain), (1, expected), "{name}");
        assert!(chain.links()[1].image().is_none(), "{name}");
        assert_eq!(error_of(&chain).kind(), ErrorKind::Refused, "{name}");
    }
    let connection = server.accept().map(|_| ());
    assert_eq!(connection.unwrap_err().kind(), IoErrorKind::WouldBlock);
}

#[test]
fn the_user_can_allow_and_locate() {
    let house = scratch();
    let at = |name: &str| house.path().join(name);
    for folder in ["vm", "srv"] {
        fs::create_dir(at(folder)).unwrap();
    }
    fs::write(at("srv/base.raw"), [7; 4096]).unwrap();
    let image = at("vm/a.qcow2");
    naming(&image, "../srv/base.raw", Some("raw"));
    assert_eq!(problem(&open(&image)), (1, "not allowed"));
    let asked = open(&image).links()[1].path.clone().unwrap();
    // Who watches its files sees the same as what was read, also of one that was not opened.
    let stamp = open(&image).links()[1].stamp;
    assert_eq!(stamp, Some(FileStamp::of(&asked).unwrap()));
    for policy in [
        OpenPolicy {
            allow_outside: true,
            ..OpenPolicy::default()
        },
        OpenPolicy {
            granted: vec![asked],
            ..OpenPolicy::default()
        },
        OpenPolicy {
            granted: vec![at("srv")],
            ..OpenPolicy::default()
        },
    ] {
        assert_eq!(problem(&open_with(&image, policy)), (2, "none"));
    }

    fs::rename(at("srv/base.raw"), at("moved.raw")).unwrap();
    let chain = open(&image);
    assert_eq!(problem(&chain), (1, "missing"));
    let meant = chain.links()[1].path.clone().unwrap();
    let located = OpenPolicy {
        located: vec![(meant, at("moved.raw"))],
        ..OpenPolicy::default()
    };
    let chain = open_with(&image, located);
    assert_eq!(problem(&chain), (2, "none"));
    let link = &chain.links()[1];
    assert_eq!(link.path.as_deref(), Some(at("moved.raw").as_path()));
    assert_eq!(link.reference.as_ref().unwrap().name, "../srv/base.raw");
}

#[test]
fn names_start_at_the_image_and_not_at_the_current_folder() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    plain(&at("sub/base.qcow2"));
    for name in [
        "base.qcow2",
        "./base.qcow2",
        "../sub/base.qcow2",
        "file:base.qcow2",
        r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}"#,
    ] {
        let _ = fs::remove_file(at("sub/top.qcow2"));
        naming(&at("sub/top.qcow2"), name, Some("qcow2"));
        assert_eq!(problem(&open(&at("sub/top.qcow2"))), (2, "none"), "{name}");
    }
    // As in QEMU, the folder is that of the name the image was opened by.
    symlink("sub/top.qcow2", at("link.qcow2")).unwrap();
    let options = ChainOptions::default();
    naming(&at("sub/other.qcow2"), "base.qcow2", Some("qcow2"));
    symlink("sub/other.qcow2", at("other.qcow2")).unwrap();
    let chain = Chain::open(&at("other.qcow2"), &options).unwrap();
    assert_eq!(problem(&chain), (1, "missing"));
}

fn with_data_file(path: &Path, name: &str) {
    let options = format!("data_file={name}");
    let mut command = tool("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-o", &options]);
    run(command.arg(path).arg("1M"));
}

#[test]
fn data_files_are_under_the_same_policy() {
    let house = scratch();
    let at = |name: &str| house.path().join(name);
    for folder in ["vm", "srv"] {
        fs::create_dir(at(folder)).unwrap();
    }
    let image = at("vm/a.qcow2");
    for (data, expected) in [
        ("vm/data.raw", (1, "none")),
        ("srv/data.raw", (0, "not allowed")),
    ] {
        with_data_file(&image, at(data).to_str().unwrap());
        assert_eq!(problem(&open(&image)), expected, "{data}");
        let header = ChainOptions {
            headers_only: true,
            ..ChainOptions::default()
        };
        assert_eq!(problem(&Chain::open(&image, &header).unwrap()), (1, "none"));
        fs::remove_file(at(data)).unwrap();
        let chain = open(&image);
        assert_eq!(problem(&chain), (0, "missing"), "{data}");
        assert!(matches!(chain.active().state, LinkState::HeaderOnly(..)));
        assert!(chain.disk().is_err());
    }
}

#[test]
fn encrypted_images_show_their_header_and_their_chain() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    plain(&at("base.qcow2"));
    let mut command = tool("qemu-img");
    command.args([
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=abc",
    ]);
    command.args([
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
    ]);
    command.args(["-b", "base.qcow2", "-F", "qcow2"]);
    run(command.arg(at("top.qcow2")));
    let chain = open(&at("top.qcow2"));
    assert_eq!(problem(&chain), (0, "encrypted"));
    assert_eq!(chain.links().len(), 2);
    assert_eq!(error_of(&chain).kind(), ErrorKind::Unsupported);
}

#[test]
fn the_active_layer_alone_must_open() {
    let folder = scratch();
    let missing = folder.path().join("missing.qcow2");
    let error = Chain::open(&missing, &ChainOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.path(), Some(missing.as_path()));

    let path = folder.path().join("top.qcow2");
    naming(&path, "gone.qcow2", Some("qcow2"));
    let alone = ChainOptions {
        active_only: true,
        ..ChainOptions::default()
    };
    let chain = Chain::open(&path, &alone).unwrap();
    assert_eq!(problem(&chain), (1, "none"));
}

/// The raw bytes that `qemu-img convert` makes of an image.
fn converted(path: &Path, arguments: &[&str]) -> Vec<u8> {
    let raw: PathBuf = path.with_extension("converted");
    let mut command = tool("qemu-img");
    command.args(["convert", "-O", "raw"]).args(arguments);
    run(command.arg(path).arg(&raw));
    fs::read(raw).unwrap()
}

#[test]
fn snapshots_and_threads_read_what_qemu_reads() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    run(tool("qemu-img")
        .args(["create", "-q", "-f", "raw"])
        .arg(at("base.raw"))
        .arg("5M"));
    fs::OpenOptions::new()
        .write(true)
        .open(at("base.raw"))
        .unwrap()
        .write_all_at(&[9; 200_000], 1_000_000)
        .unwrap();
    let mut command = tool("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw"]);
    run(command.arg(at("top.qcow2")).arg("7M"));
    let write = |command: &str| {
        run(tool("qemu-io").args(["-c", command]).arg(at("top.qcow2")));
    };
    write("write -P 1 1M 300k");
    run(tool("qemu-img")
        .args(["snapshot", "-c", "before"])
        .arg(at("top.qcow2")));
    write("write -P 2 1100k 3M");
    write("write -z 6M 100k");

    for snapshot in [None, Some("before")] {
        let expected = match snapshot {
            None => converted(&at("top.qcow2"), &[]),
            Some(name) => converted(&at("top.qcow2"), &["-l", name]),
        };
        let options = ChainOptions {
            snapshot: snapshot.map(|name| SnapshotSelector::Any(name.into())),
            ..ChainOptions::default()
        };
        let chain = Chain::open(&at("top.qcow2"), &options).unwrap();
        let disk = chain.disk().unwrap();
        assert_eq!(disk.size().unwrap(), expected.len() as u64);
        let read = Mutex::new(vec![0; expected.len()]);
        read_parallel(&disk, 0..u64::MAX, 3, &Control::new(), &|chunk| {
            if let Some(data) = chunk.data {
                let start = usize::try_from(chunk.range.start).unwrap();
                read.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
            }
            Ok(())
        })
        .unwrap();
        assert!(read.into_inner().unwrap() == expected, "{snapshot:?}");
    }
    let unknown = ChainOptions {
        snapshot: Some(SnapshotSelector::Any("after".into())),
        ..ChainOptions::default()
    };
    let error = Chain::open(&at("top.qcow2"), &unknown).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
