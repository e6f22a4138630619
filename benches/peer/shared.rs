//! Conversions on a file system whose files can share extents (XFS in a loop mount). Needs root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Bench, Sides, Target, run};
use crate::rows::{PLATTER, QEMU};
use crate::workshop::Workshop;

/// Both ways of the peer: as it is called, and with `-C`, which lets the host copy.
const ROWS: [(&str, &[&str], f64); 2] = [
    ("convert raw to qcow2 on XFS", &[], 10.0),
    ("convert raw to qcow2 on XFS, beside -C", &["-C"], 3.0),
];

/// All rows, where the host allows the mount.
pub(crate) fn all(bench: &mut Bench, workshop: &Workshop) {
    if !ROWS.iter().any(|(name, ..)| bench.wants(name)) {
        return;
    }
    let Some(mount) = Mount::new(workshop) else {
        println!(
            "| {} | not measured: no loop mount of XFS | | | | | |",
            ROWS[0].0
        );
        return;
    };
    let (raw, target) = (mount.path("content.raw"), mount.path("target.qcow2"));
    workshop.raw_at(&raw);
    let convert = |program: &str, mode: &[&str]| {
        run(Command::new(program)
            .arg("convert")
            .args(mode)
            .args(["-O", "qcow2"])
            .args([&raw, &target]));
    };
    convert(PLATTER, &[]);
    run(Command::new(QEMU).arg("compare").args([&raw, &target]));
    for (name, mode, aim) in ROWS {
        let peer_is = format!("qemu-img convert {} -O qcow2", mode.join(" "));
        bench.prepared_pairs(
            name,
            &peer_is,
            &Target::Ratio(aim),
            5,
            Sides {
                prepare: &mut || {
                    let _ = fs::remove_file(&target);
                    run(&mut Command::new("sync"));
                },
                ours: &mut || convert(PLATTER, &[]),
                peer: &mut || convert(QEMU, mode),
            },
        );
    }
}

/// Unmounted and removed when it is dropped.
struct Mount {
    image: PathBuf,
    place: PathBuf,
}

impl Mount {
    fn new(workshop: &Workshop) -> Option<Self> {
        let mount = Self {
            image: workshop.output("xfs.img"),
            place: workshop.output("xfs"),
        };
        File::create(&mount.image).ok()?.set_len(6 << 30).ok()?;
        fs::create_dir_all(&mount.place).ok()?;
        let is_done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let made = is_done(
            Command::new("mkfs.xfs")
                .args(["-q", "-f"])
                .arg(&mount.image),
        ) && is_done(
            Command::new("mount")
                .args(["-t", "xfs", "-o", "loop"])
                .args([&mount.image, &mount.place]),
        );
        made.then_some(mount)
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.place).join(name)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.place).status();
        let _ = fs::remove_dir(&self.place);
        let _ = fs::remove_file(&self.image);
    }
}
