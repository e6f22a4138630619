//! Images in many variants, made by `qemu-img` and `qemu-io`.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

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
    make("loop2.qcow2", "loop.qcow2");
    make("loop.qcow2", "loop2.qcow2");
    names
}
