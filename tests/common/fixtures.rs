//! Images by name, made by the programs that other people make theirs with.
//!
//! `tests/README.md` lists what each name makes. Sizes, UUIDs and contents are the same every time.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{root, run, run_tool, tool};

/// Makes the files of the fixture `name` in `folder`.
///
/// # Panics
/// When there is no such fixture, or a program it needs is missing or fails.
pub(crate) fn make(name: &str, folder: &Path) {
    match name {
        "demo" => demo(folder),
        "map" => map(folder),
        "missing-backing" => missing_backing(folder),
        "dirty" => set_incompatible_feature(folder, "dirty", 0),
        "corrupt" => set_incompatible_feature(folder, "corrupt", 1),
        "encrypted" => encrypted(folder),
        "huge" => create(folder, "huge.qcow2", &["-f", "qcow2"], "63T"),
        "mbr" => mbr(folder),
        "gpt" => gpt(folder),
        "grown" => grown(folder),
        "thumb" => thumb(folder),
        "ntfs" => ntfs(folder),
        "lvm" => lvm(folder),
        "fixed-vhd" => create(
            folder,
            "fixed.vhd",
            &["-f", "vpc", "-o", "subformat=fixed"],
            "64M",
        ),
        "vmdk" => create(folder, "disk.vmdk", &["-f", "vmdk"], "64M"),
        _ => panic!("there is no fixture {name:?}: see tests/README.md"),
    }
}

/// `debian-base.qcow2`, `web.qcow2`, `web-staging.qcow2`, `mail.qcow2`: see `build-aux/make-demo`.
///
/// Made once and copied: it takes seconds. Made anew when the script has changed.
fn demo(folder: &Path) {
    static MAKING: Mutex<()> = Mutex::new(());

    for program in [
        "qemu-img", "qemu-io", "sfdisk", "mke2fs", "mkfs.fat", "mcopy",
    ] {
        drop(tool(program));
    }
    let script = root().join("build-aux/make-demo");
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let made_by = made.join("made-by");
    let making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = fs::read(&script).expect("build-aux/make-demo can be read");
    if fs::read(&made_by).ok().as_ref() != Some(&wanted) {
        run(tool("bash").arg(&script).arg(&made));
        fs::write(made_by, wanted).expect("a file below target can be written");
    }
    drop(making);
    for image in ["debian-base", "web", "web-staging", "mail"] {
        let image = format!("{image}.qcow2");
        fs::copy(made.join(&image), folder.join(&image)).expect("an image can be copied");
    }
}

/// `qemu-img create OPTIONS… FOLDER/FILE SIZE`.
fn create(folder: &Path, file: &str, options: &[&str], size: &str) {
    run(tool("qemu-img")
        .args(["create", "-q"])
        .args(options)
        .arg(folder.join(file))
        .arg(size));
}

/// `map.qcow2` over `map-base.qcow2`, 1 GiB: 4 MiB of data at 0, 8 MiB of the base's at 16 MiB,
/// 2 MiB of zeroes at 64 MiB, 1 MiB compressed at 128 MiB.
fn map(folder: &Path) {
    let base = folder.join("map-base.qcow2");
    let overlay = folder.join("map.qcow2");
    create(folder, "map-base.qcow2", &["-f", "qcow2"], "1G");
    create(
        folder,
        "map.qcow2",
        &["-f", "qcow2", "-F", "qcow2", "-b", "map-base.qcow2"],
        "1G",
    );
    run(tool("qemu-io")
        .args(["-f", "qcow2", "-c", "write -P 1 16M 8M"])
        .arg(base));
    let mut writes = tool("qemu-io");
    writes.args(["-f", "qcow2", "-c", "write -P 2 0 4M"]);
    writes.args(["-c", "write -z 64M 2M"]);
    for cluster in 0..16 {
        writes.args([
            "-c",
            &format!("write -c -P 3 {}k 64k", 128 * 1024 + cluster * 64),
        ]);
    }
    run(writes.arg(overlay));
}

/// `overlay.qcow2` names `gone.qcow2`, which is not there.
fn missing_backing(folder: &Path) {
    create(folder, "gone.qcow2", &["-f", "qcow2"], "1G");
    create(
        folder,
        "overlay.qcow2",
        &["-f", "qcow2", "-F", "qcow2", "-b", "gone.qcow2"],
        "1G",
    );
    fs::remove_file(folder.join("gone.qcow2")).expect("gone.qcow2 can be removed");
}

/// `NAME.qcow2`, 1 GiB, with one bit of the header's incompatible features set (offset 72, big
/// endian): what a killed or an alarmed QEMU leaves behind.
fn set_incompatible_feature(folder: &Path, name: &str, bit: u32) {
    let file = format!("{name}.qcow2");
    create(
        folder,
        &file,
        &["-f", "qcow2", "-o", "lazy_refcounts=on"],
        "1G",
    );
    File::options()
        .write(true)
        .open(folder.join(file))
        .and_then(|image| image.write_all_at(&(1u64 << bit).to_be_bytes(), 72))
        .expect("the header can be written");
}

/// `luks.qcow2`, 1 GiB, encrypted with the passphrase "secret" (a key derived fast on purpose).
fn encrypted(folder: &Path) {
    create(
        folder,
        "luks.qcow2",
        &[
            "-f",
            "qcow2",
            "--object",
            "secret,id=key,data=secret",
            "-o",
            "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
        ],
        "1G",
    );
}

/// `mbr.raw`, 1 GiB: two primary partitions (FAT32 "DATA", ext4 "system"), an extended one with
/// two logical ones in it, and free space.
fn mbr(folder: &Path) {
    let disk = folder.join("mbr.raw");
    create(folder, "mbr.raw", &["-f", "raw"], "1G");
    partition(
        &disk,
        "label: dos\nlabel-id: 0x5a17c0de\n\
         start=2048, size=204800, type=c\n\
         start=206848, size=409600, type=83, bootable\n\
         start=616448, size=819200, type=5\n\
         start=618496, size=204800, type=83\n\
         start=825344, size=204800, type=82\n",
    );
    run(tool("mkfs.fat")
        .args(["-F", "32", "-s", "1", "-n", "DATA", "--offset", "2048"])
        .arg(&disk)
        .arg("102400"));
    run(tool("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-L", "system", "-E"])
        .arg(format!("offset={}", 206_848 * 512))
        .arg(&disk)
        .arg("200M"));
}

/// `disk.raw`, 64 MiB: a GPT with partitions of 20 and 30 MiB.
fn gpt(folder: &Path) {
    create(folder, "disk.raw", &["-f", "raw"], "64M");
    let disk = folder.join("disk.raw");
    partition(&disk, "label: gpt\nsize=20M\nsize=30M\n");
}

/// `grown.raw`: a GPT disk of 1 GiB that was enlarged to 2 GiB, so that the backup GPT is no longer
/// at its end.
fn grown(folder: &Path) {
    let disk = folder.join("grown.raw");
    create(folder, "grown.raw", &["-f", "raw"], "1G");
    partition(
        &disk,
        "label: gpt\nstart=2048, size=1048576, name=\"data\"\n",
    );
    run_tool("truncate", ["-s".as_ref(), "2G".as_ref(), disk.as_os_str()]);
}

/// `thumb_drive.raw` and `thumb_drive.qcow2`, 966 MiB: the thumb drive of the guide, with two
/// partitions of ext4, `pictures` at 1–501 MiB and `letters` at 501–901 MiB. What is in them is in
/// the folders `pictures` and `letters`, too.
fn thumb(folder: &Path) {
    create(folder, "thumb_drive.raw", &["-f", "raw"], "966M");
    let disk = folder.join("thumb_drive.raw");
    partition(
        &disk,
        "label: dos\nlabel-id: 0x5a17c0de\nstart=1M, size=500M, type=83\nstart=501M, size=400M, type=83\n",
    );
    for (label, start, size, seed) in [
        ("pictures", 1_u64, 500_u64, 0x9e37_79b1_u32),
        ("letters", 501, 400, 0x85eb_ca6b),
    ] {
        let content = folder.join(label);
        fs::create_dir(&content).expect("a folder can be made");
        let bytes: Vec<u8> = (0..2_000_000_u32)
            .flat_map(|n| n.wrapping_mul(seed).to_le_bytes())
            .collect();
        fs::write(content.join("big"), bytes).expect("a file can be written");
        fs::write(content.join("name"), label).expect("a file can be written");
        run(tool("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", label])
            .args(["-U", &format!("5a17c0de-0000-4000-8000-{seed:012x}"), "-d"])
            .arg(&content)
            .args(["-E", &format!("offset={}", start << 20)])
            .arg(&disk)
            .arg(format!("{size}M")));
    }
    run(tool("qemu-img")
        .args(["convert", "-q", "-O", "qcow2"])
        .arg(&disk)
        .arg(folder.join("thumb_drive.qcow2")));
}

/// `ntfs.raw`, 300 MiB: an MBR with one partition, NTFS "Windows" of 200 MiB at 1 MiB, with a file of
/// 60 MB that is not at its beginning, and free space.
fn ntfs(folder: &Path) {
    create(folder, "ntfs.raw", &["-f", "raw"], "300M");
    let disk = folder.join("ntfs.raw");
    partition(
        &disk,
        "label: dos\nlabel-id: 0x5a17c0de\nstart=1M, size=200M, type=7\n",
    );
    let (volume, content) = (folder.join("volume"), folder.join("content"));
    create(folder, "volume", &["-f", "raw"], "200M");
    run(tool("mkfs.ntfs")
        .args(["-F", "-Q", "-q", "-L", "Windows"])
        .arg(&volume));
    fs::write(&content, vec![0x55; 60_000_000]).expect("a file can be written");
    run(tool("ntfscp")
        .arg("-q")
        .args([&volume, &content])
        .arg("big"));
    put(&volume, &disk, 1 << 20);
    fs::remove_file(content).expect("the file is there");
}

/// `lvm.raw`, 1.5 GiB: a GPT with one partition of 1 GiB at 1 MiB, a physical volume of LVM with the
/// logical volumes `root` (400 MiB) and `swap_1`, and free space.
fn lvm(folder: &Path) {
    create(folder, "lvm.raw", &["-f", "raw"], "1536M");
    let disk = folder.join("lvm.raw");
    partition(
        &disk,
        "label: gpt\nlabel-id: 5a17c0de-0000-4000-8000-000000000001\n\
         start=1M, size=1G, type=lvm, name=\"system\", uuid=5a17c0de-0000-4000-8000-000000000002\n",
    );
    let volume = super::physical_volume::physical_volume(&super::physical_volume::alone(), 512);
    // Of `root`, its first and its last bytes.
    volume.overwrite(1 << 20, b"the first of root");
    volume.overwrite((401 << 20) - 16, b"the last of root");
    put(&volume.path, &disk, 1 << 20);
}

/// Copies what is in `volume` to `start` of `disk`; holes stay what they are.
fn put(volume: &Path, disk: &Path, start: u64) {
    run(tool("dd")
        .args(["bs=1M", "conv=notrunc,sparse", "status=none"])
        .arg(format!("seek={}", start >> 20))
        .arg(format!("if={}", volume.display()))
        .arg(format!("of={}", disk.display())));
}

fn partition(disk: &Path, script: &str) {
    use std::io::Write as _;
    use std::process::Stdio;

    let mut sfdisk = tool("sfdisk")
        .arg("--quiet")
        .arg(disk)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sfdisk starts");
    let mut stdin = sfdisk.stdin.take().expect("sfdisk has an input");
    stdin
        .write_all(script.as_bytes())
        .expect("sfdisk reads its script");
    drop(stdin);
    assert!(
        sfdisk.wait().expect("sfdisk ends").success(),
        "sfdisk {}",
        disk.display()
    );
}
