//! The MIME package: what a file manager takes a file for, asked of GIO with the package installed
//! beside the system's own.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::path::{Path, PathBuf};

use common::{root, run, tool};
use platter::APP_ID;
use tempfile::TempDir;

/// A scratch data prefix with our package, in front of the system's.
struct Prefix {
    scratch: TempDir,
}

impl Prefix {
    /// As in `/usr/local`, or, with `own_only` false, in the same prefix as shared-mime-info's.
    fn new(own_only: bool) -> Self {
        let scratch = common::scratch();
        let packages = scratch.path().join("share/mime/packages");
        std::fs::create_dir_all(&packages).unwrap();
        std::fs::copy(
            root().join(format!("data/{APP_ID}.mime.xml.in")),
            packages.join(format!("{APP_ID}.xml")),
        )
        .unwrap();
        if !own_only {
            let system = Path::new("/usr/share/mime/packages/freedesktop.org.xml");
            std::fs::copy(system, packages.join("freedesktop.org.xml")).unwrap();
        }
        std::fs::create_dir(scratch.path().join("home")).unwrap();
        let output = common::output(
            tool("update-mime-database")
                .arg(scratch.path().join("share/mime"))
                .env("XDG_DATA_DIRS", scratch.path().join("share")),
        );
        assert!(output.status.success());
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "",
            "no warning either"
        );
        Self { scratch }
    }

    /// The type of a file, by name and content.
    fn type_of(&self, file: &Path) -> String {
        let mut share = self.scratch.path().join("share").into_os_string();
        share.push(":/usr/share");
        let said = run(tool("gio")
            .args(["info", "--attributes=standard::content-type"])
            .arg(file)
            .env("XDG_DATA_DIRS", share)
            .env("XDG_DATA_HOME", self.scratch.path().join("home")));
        let (_, found) = said
            .split_once("standard::content-type: ")
            .expect("gio tells the type");
        found.trim().to_owned()
    }
}

/// Each sample's file and the type it has to have.
fn samples(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut samples = Vec::new();
    let images = [
        (
            "fixed.vhd",
            "vpc",
            "subformat=fixed",
            "application/x-vhd-disk",
        ),
        (
            "dynamic.vhd",
            "vpc",
            "subformat=dynamic",
            "application/x-vhd-disk",
        ),
        (
            "overlay.avhd",
            "vpc",
            "subformat=dynamic",
            "application/x-vhd-disk",
        ),
        ("disk.hdd", "parallels", "", "application/x-parallels-disk"),
        ("parallels", "parallels", "", "application/x-parallels-disk"),
        ("disk.qcow2", "qcow2", "", "application/x-qemu-disk"),
        ("qcow2", "qcow2", "", "application/x-qemu-disk"),
        (
            "sparse",
            "vmdk",
            "subformat=monolithicSparse",
            "application/x-vmdk-disk",
        ),
        (
            "streamed",
            "vmdk",
            "subformat=streamOptimized",
            "application/x-vmdk-disk",
        ),
        ("vdi", "vdi", "", "application/x-vdi-disk"),
        ("vhdx", "vhdx", "", "application/x-vhdx-disk"),
        ("disk.raw", "raw", "", "application/x-raw-disk-image"),
    ];
    for (name, format, options, expected) in images {
        let path = folder.join(name);
        let mut create = tool("qemu-img");
        create.args(["create", "-q", "-f", format]);
        if !options.is_empty() {
            create.args(["-o", options]);
        }
        run(create.arg(&path).arg("16M"));
        samples.push((path, expected));
    }
    let mut gpt = vec![0; 1 << 20];
    gpt[512..520].copy_from_slice(b"EFI PART");
    let mut gpt_4k = vec![0; 1 << 20];
    gpt_4k[4096..4104].copy_from_slice(b"EFI PART");
    let descriptor = b"# Disk DescriptorFile\nversion=1\nCID=fffffffe\n".to_vec();
    let cloop = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0\n\0\x01\0\0".to_vec();
    let contents: [(&str, Vec<u8>, &str); 11] = [
        ("gpt", gpt, "application/x-raw-disk-image"),
        ("gpt-4k.img", gpt_4k, "application/x-raw-disk-image"),
        ("descriptor", descriptor, "application/x-vmdk-disk"),
        (
            "cowd",
            b"COWD\x01\0\0\0\x03\0\0\0".to_vec(),
            "application/x-vmdk-disk",
        ),
        (
            "bochs",
            b"Bochs Virtual HD Image\0".to_vec(),
            "application/x-bochs-disk",
        ),
        ("knoppix", cloop, "application/x-cloop-disk"),
        // What belongs to others stays with them.
        (
            "adder.vhd",
            b"library ieee;\nentity adder is\nend adder;\n".to_vec(),
            "text/x-vhdl",
        ),
        (
            "photo.raw",
            b"IIU\0\x08\0\0\0\x18\0\0\0".to_vec(),
            "image/x-panasonic-rw",
        ),
        (
            "mount.sh",
            b"#!/bin/sh\nmount /dev/sda1\n".to_vec(),
            "application/x-shellscript",
        ),
        (
            "notes",
            b"EFI PART is the signature of GPT\n".to_vec(),
            "text/plain",
        ),
        ("essay", b"COWD, an acronym\n".to_vec(), "text/plain"),
    ];
    for (name, content, expected) in contents {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        samples.push((path, expected));
    }
    samples
}

fn check(prefix: &Prefix) {
    let folder = common::scratch();
    let wrong: Vec<String> = samples(folder.path())
        .iter()
        .filter_map(|(file, expected)| {
            let found = prefix.type_of(file);
            // shared-mime-info 2.3 gave raw images a registered name; the old one is its alias.
            let same = found == *expected
                || (*expected == "application/x-raw-disk-image"
                    && found == "application/vnd.efi.img");
            (!same).then(|| format!("{}: {found}, not {expected}", file.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn types_are_right_when_installed_beside_the_system() {
    check(&Prefix::new(true));
}

#[test]
fn types_are_right_when_installed_with_the_system() {
    check(&Prefix::new(false));
}
