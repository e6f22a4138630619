//! Images in many variants, made by `qemu-img` and `qemu-io`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::common;

fn img(folder: &Path, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    common::run(common::tool("qemu-img").args(words).current_dir(folder));
}

fn io(folder: &Path, image: &str, commands: &[&str]) {
    let mut command = common::tool("qemu-io");
    for line in commands {
        command.args(["-c", line]);
    }
    common::run(command.arg(image).current_dir(folder));
}

fn patch(folder: &Path, image: &str, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new()
        .write(true)
        .open(folder.join(image))
        .unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// Raw files of odd lengths, an ordinary qcow2 image with a snapshot, a folder. The images' names.
pub(crate) fn make_plain(folder: &Path) -> Vec<String> {
    fs::create_dir_all(folder.join("folder")).unwrap();
    img(folder, "create -q -f qcow2 a.qcow2 10M");
    img(folder, "snapshot -c s1 a.qcow2");
    io(folder, "a.qcow2", &["write 1M 1M", "write -z 3M 64k"]);
    let raw = File::create(folder.join("raw")).unwrap();
    raw.set_len(5 << 20).unwrap();
    raw.write_all_at(&[7; 70_000], 1 << 20).unwrap();
    fs::write(folder.join("empty"), []).unwrap();
    fs::write(folder.join("one"), [1]).unwrap();
    fs::write(folder.join("odd"), [9; 700]).unwrap();
    ["a.qcow2", "raw", "empty", "one", "odd"]
        .map(str::to_owned)
        .into()
}

/// qcow2 images with every option that shows. Their names.
pub(crate) fn make_qcow2_variants(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut make = |name: &str, options: &str| {
        img(folder, &format!("create -q -f qcow2 {options} {name} 6M"));
        io(folder, name, &["write -P 1 64k 200k", "write -z 1M 300k"]);
        names.push(name.to_owned());
    };
    make("v2.qcow2", "-o compat=0.10");
    make("zstd.qcow2", "-o compression_type=zstd,lazy_refcounts=on");
    make("ext.qcow2", "-o extended_l2=on");
    make("data.qcow2", "-o data_file=data.raw");
    make(
        "raw-data.qcow2",
        "-o data_file=raw-data.raw,data_file_raw=on",
    );
    make("meta.qcow2", "-o preallocation=metadata");
    make("falloc.qcow2", "-o preallocation=falloc");
    for bits in [1, 8, 64] {
        make(
            &format!("refcount{bits}.qcow2"),
            &format!("-o refcount_bits={bits}"),
        );
    }
    for exponent in [9, 12, 18, 21] {
        let size = 1 << exponent;
        make(
            &format!("cluster{size}.qcow2"),
            &format!("-o cluster_size={size}"),
        );
    }
    make("dirty.qcow2", "");
    patch(folder, "dirty.qcow2", 79, &[1]);
    make("corrupt.qcow2", "");
    patch(folder, "corrupt.qcow2", 79, &[2]);
    make("snapshots.qcow2", "");
    for name in ["1", "b\\c", "ü", "a-name-that-is-longer-than-its-column"] {
        img(folder, &format!("snapshot -c {name} snapshots.qcow2"));
    }
    make("bitmaps.qcow2", "");
    for options in ["b0", "-g 4k b1", "--disable b2"] {
        let (flags, name) = options.rsplit_once(' ').unwrap_or(("", options));
        img(
            folder,
            &format!("bitmap --add {flags} bitmaps.qcow2 {name}"),
        );
    }
    names.push(odd_name(folder));
    names
}

/// A file whose name needs every escape of JSON.
fn odd_name(folder: &Path) -> String {
    let name = "odd\"\\name\tü\u{1f600}\u{7f}\u{1}.qcow2";
    fs::copy(folder.join("zstd.qcow2"), folder.join(name)).unwrap();
    name.into()
}

/// Overlays that name their backing files in every way. Their names.
pub(crate) fn make_overlays(folder: &Path) -> Vec<String> {
    fs::create_dir_all(folder.join("sub")).unwrap();
    img(folder, "create -q -f qcow2 base.qcow2 4M");
    io(folder, "base.qcow2", &["write -P 5 0 300k"]);
    let absolute = folder.join("base.qcow2");
    let absolute = absolute.to_str().unwrap();
    let json = r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}"#;
    let mut names = Vec::new();
    let mut make = |name: &str, backing: &str| {
        img(
            folder,
            &format!("create -q -u -f qcow2 -F qcow2 -b {backing} {name} 4M"),
        );
        names.push(name.to_owned());
    };
    make("relative.qcow2", "base.qcow2");
    make("absolute.qcow2", absolute);
    make("sub/relative.qcow2", "../base.qcow2");
    make("json.qcow2", json);
    make("file.qcow2", "file:base.qcow2");
    make("top.qcow2", "relative.qcow2");
    make("missing.qcow2", "nowhere.qcow2");
    make("remote.qcow2", "nbd://localhost:1/x");
    names
}

/// Two images that name each other, on which `qemu-img` never ends where it opens the data.
pub(crate) fn make_loop(folder: &Path) -> Vec<String> {
    for (name, backing) in [("loop2.qcow2", "loop.qcow2"), ("loop.qcow2", "loop2.qcow2")] {
        img(
            folder,
            &format!("create -q -u -f qcow2 -F qcow2 -b {backing} {name} 4M"),
        );
    }
    vec!["loop.qcow2".into()]
}

/// Compressed, encrypted and short images. Their names.
fn make_special(folder: &Path) -> Vec<String> {
    img(folder, "convert -c -O qcow2 a.qcow2 a-zlib.qcow2");
    img(
        folder,
        "convert -c -O qcow2 -o compression_type=zstd a.qcow2 a-zstd.qcow2",
    );
    img(
        folder,
        "create -q -f qcow2 --object secret,id=s,data=x -o \
         encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 luks.qcow2 1M",
    );
    img(
        folder,
        "create -q -u -f qcow2 -F qcow2 -b base.qcow2 short.qcow2 3M",
    );
    img(
        folder,
        "create -q -u -f qcow2 -F qcow2 -b short.qcow2 long.qcow2 5M",
    );
    io(folder, "long.qcow2", &["write -P 3 4500k 64k"]);
    img(
        folder,
        "create -q -u -f qcow2 -F qcow2 -b base.qcow2 --object secret,id=s,data=x -o \
         encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,\
         encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,\
         encrypt.ivgen-hash-alg=sha256,encrypt.hash-alg=sha1 cbc.qcow2 1M",
    );
    img(
        folder,
        "create -q -f qcow2 --object secret,id=s,data=x -o \
         compat=0.10,encryption=on,encrypt.key-secret=s aes.qcow2 1M",
    );
    [
        "a-zlib.qcow2",
        "a-zstd.qcow2",
        "luks.qcow2",
        "cbc.qcow2",
        "aes.qcow2",
        "short.qcow2",
        "long.qcow2",
    ]
    .map(str::to_owned)
    .into()
}

/// Every kind of image here. Their names.
pub(crate) fn make_all(folder: &Path) -> Vec<String> {
    let mut names = make_plain(folder);
    names.extend(make_qcow2_variants(folder));
    names.extend(make_overlays(folder));
    names.extend(make_special(folder));
    names
}

/// Images with wrong refcounts. Their names.
pub(crate) fn make_damaged(folder: &Path) -> Vec<String> {
    const COUNTED: u64 = 8;
    let block = refcount_block(folder, "a.qcow2");
    for (name, entry, count) in [
        ("leaks.qcow2", 200, 1_u16),
        ("damaged.qcow2", COUNTED, 0),
        ("counted-twice.qcow2", COUNTED, 2),
    ] {
        fs::copy(folder.join("a.qcow2"), folder.join(name)).unwrap();
        let file = OpenOptions::new()
            .write(true)
            .open(folder.join(name))
            .unwrap();
        file.set_len(16 << 20).unwrap();
        for index in 0..3 {
            file.write_all_at(&count.to_be_bytes(), block + 2 * (entry + index))
                .unwrap();
        }
    }
    ["leaks.qcow2", "damaged.qcow2", "counted-twice.qcow2"]
        .map(str::to_owned)
        .into()
}

/// Where the first refcount block of an image is.
fn refcount_block(folder: &Path, image: &str) -> u64 {
    let file = File::open(folder.join(image)).unwrap();
    let number_at = |offset| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, offset).unwrap();
        u64::from_be_bytes(bytes)
    };
    number_at(number_at(48))
}

/// Images to be compared with `a.qcow2`, equal and not.
pub(crate) fn make_pairs(folder: &Path) {
    img(folder, "convert -O raw a.qcow2 a.raw");
    img(folder, "convert -O qcow2 a.qcow2 changed.qcow2");
    io(folder, "changed.qcow2", &["write -P 7 1235000 100"]);
    for name in ["longer.raw", "longer-changed.raw"] {
        fs::copy(folder.join("a.raw"), folder.join(name)).unwrap();
        let file = OpenOptions::new()
            .write(true)
            .open(folder.join(name))
            .unwrap();
        file.set_len(12 << 20).unwrap();
    }
    patch(folder, "longer-changed.raw", 11_000_000, b"x");
    img(folder, "create -q -f qcow2 empty10.qcow2 10M");
    img(folder, "create -q -f qcow2 zeroes10.qcow2 10M");
    io(folder, "zeroes10.qcow2", &["write -z 3M 64k"]);
    let hole = File::create(folder.join("hole10.raw")).unwrap();
    hole.set_len(10 << 20).unwrap();
}

/// A program that has an image open for writing until it is dropped.
pub(crate) struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens an image for writing and keeps it.
pub(crate) fn hold_open(folder: &Path, image: &str) -> Writer {
    let mut child = common::tool("qemu-io")
        .arg(image)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The prompt comes when the image is open.
    let mut prompt = [0; 8];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut prompt)
        .unwrap();
    assert_eq!(&prompt, b"qemu-io>");
    Writer(child)
}
