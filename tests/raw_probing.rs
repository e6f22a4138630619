//! A guest writes an image's header into its raw disk, with a file of the host as the backing file.
//! Whoever was told that the disk is raw never looks at that header, whatever is done with the
//! disk, and overlays go on saying that it is raw.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{output, run, scratch, tool};

const SECRET: &[u8] = b"what only the host may read";

/// `guest.raw` with the header of an overlay of the file `secret`, below `overlay.qcow2`.
fn attack(folder: &Path, secret: &Path) {
    let mut bytes = vec![0; 1 << 20];
    bytes[..SECRET.len()].copy_from_slice(SECRET);
    fs::write(secret, bytes).unwrap();
    let qemu_img = |arguments: &[&str]| {
        run(tool("qemu-img").current_dir(folder).args(arguments));
    };
    let secret = secret.to_str().unwrap();
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        secret,
        "guest.raw",
        "1M",
    ]);
    let file = fs::File::options()
        .write(true)
        .open(folder.join("guest.raw"));
    file.unwrap().set_len(1 << 20).unwrap();
    let raw = ["-F", "raw", "-b", "guest.raw"];
    qemu_img(
        &[
            &["create", "-q", "-f", "qcow2"],
            raw.as_slice(),
            &["overlay.qcow2"],
        ]
        .concat(),
    );
    run(tool("qemu-io")
        .args(["-c", "write -q -P 7 512k 4k"])
        .arg(folder.join("overlay.qcow2")));
}

#[test]
fn a_raw_disk_stays_raw_whatever_its_guest_wrote() {
    for arguments in [
        ["convert", "-f", "raw", "-O", "qcow2", "guest.raw", "new"].as_slice(),
        &["convert", "-f", "raw", "-O", "raw", "guest.raw", "new"],
        &["convert", "-O", "raw", "overlay.qcow2", "new"],
        &[
            "create",
            "-f",
            "qcow2",
            "-b",
            "guest.raw",
            "-F",
            "raw",
            "new",
        ],
        &["commit", "-q", "overlay.qcow2"],
        &["rebase", "-b", "", "overlay.qcow2"],
        &[
            "rebase",
            "-u",
            "-b",
            "guest.raw",
            "-F",
            "raw",
            "overlay.qcow2",
        ],
        &["resize", "-q", "-f", "raw", "guest.raw", "2M"],
    ] {
        let folder = scratch();
        // Not beside the images: neighbours are looked at when siblings are looked for.
        let elsewhere = scratch();
        attack(folder.path(), &elsewhere.path().join("secret"));
        let log = folder.path().join("opened");
        let said = output(
            tool("strace")
                .args(["-f", "-e", "trace=open,openat,openat2", "-o"])
                .arg(&log)
                .arg(env!("CARGO_BIN_EXE_platter-img"))
                .args(arguments)
                .current_dir(folder.path()),
        );
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{arguments:?}: {words}");
        let opened = fs::read_to_string(&log).unwrap();
        let is_open = opened.contains("guest.raw") || opened.contains("overlay.qcow2");
        assert!(is_open, "{arguments:?}: {opened}");
        assert!(
            !opened.contains("secret\""),
            "{arguments:?} opens the secret"
        );
        for entry in fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            let has_secret = bytes.windows(SECRET.len()).any(|part| part == SECRET);
            assert!(!has_secret, "{arguments:?}: {entry:?}");
        }
        let info = run(tool("qemu-img")
            .args(["info", "-f", "qcow2", "--output=json"])
            .arg(folder.path().join("overlay.qcow2")));
        let is_alone = !info.contains("backing-filename\"");
        let says_raw = info.contains("\"backing-filename-format\": \"raw\"");
        assert!(is_alone || says_raw, "{arguments:?}: {info}");
    }
}
