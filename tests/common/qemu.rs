//! QEMU's programs at work on the images of a folder.

use std::fs;
use std::path::Path;

use crate::common::{run, tool};

/// Runs `qemu-img` with the words of `line` in `folder`; what it says.
///
/// # Panics
/// When it fails.
pub(crate) fn img(folder: &Path, line: &str) -> String {
    run(tool("qemu-img")
        .args(line.split_whitespace())
        .current_dir(folder))
}

/// Runs the commands of `qemu-io` on `image`, which has this format.
///
/// # Panics
/// When it fails.
pub(crate) fn io(folder: &Path, format: &str, image: &str, commands: &[&str]) {
    let mut writes = tool("qemu-io");
    writes.args(["-f", format]).current_dir(folder);
    for command in commands {
        writes.args(["-c", command]);
    }
    run(writes.arg(image));
}

/// The guest disk, byte for byte.
///
/// # Panics
/// When it cannot be read.
pub(crate) fn contents(image: &Path) -> Vec<u8> {
    let raw = image.with_extension("contents");
    run(tool("qemu-img")
        .args(["convert", "-O", "raw"])
        .args([image, &raw]));
    let bytes = fs::read(&raw).expect("the converted disk is there");
    fs::remove_file(raw).expect("a scratch file can be removed");
    bytes
}

/// Makes base.raw (8 MiB) <- mid.qcow2 <- top.qcow2 (16 MiB), with something written to each.
///
/// # Panics
/// When that fails.
pub(crate) fn three(folder: &Path) {
    img(folder, "create -q -f raw base.raw 8M");
    io(folder, "raw", "base.raw", &["write -P 1 0 4M"]);
    img(folder, "create -q -f qcow2 -b base.raw -F raw mid.qcow2");
    io(folder, "qcow2", "mid.qcow2", &["write -P 2 1M 1M"]);
    img(
        folder,
        "create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2 16M",
    );
    let writes = ["write -P 3 2M 1M", "write -z 3M 512k"];
    io(folder, "qcow2", "top.qcow2", &writes);
}
