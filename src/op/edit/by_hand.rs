//! The commands that would do by hand, as root, what an edit does: for those who want to know, and
//! for those who want to learn.

use std::ops::Range;
use std::path::Path;

use crate::fs::FsKind;
use crate::fs::change::Identifier;
use crate::image::Format;
use crate::op::edit::{Change, Draft};
use crate::op::plan::command_line;
use crate::table::{Partition, Role, TableKind};

/// The commands for `draft` of the image at `path`, one a line, in an order that loses nothing.
#[must_use]
pub fn by_hand(path: &Path, format: Format, draft: &Draft) -> Vec<String> {
    let mut lines = Lines {
        device: device(format),
        lines: Vec::new(),
    };
    let size = draft.table.disk_size;
    if size > draft.size_before() {
        lines.resize_disk(path, format, size, false);
    }
    lines.attach(path, format);
    if draft.rewrites_table || draft.table.kind != draft.kind_before() {
        lines.table(draft);
    }
    for change in &draft.changes {
        lines.before_moving(change);
    }
    lines.moves(draft);
    for partition in &draft.table.partitions {
        if let Some(change) = draft.change_of(partition) {
            lines.after_moving(partition, change, draft);
        }
    }
    lines.detach(format);
    if size < draft.size_before() {
        lines.resize_disk(path, format, size, true);
    }
    lines.lines
}

fn device(format: Format) -> &'static str {
    match format {
        Format::Raw => "/dev/loop0",
        _ => "/dev/nbd0",
    }
}

struct Lines {
    device: &'static str,
    lines: Vec<String>,
}

impl Lines {
    fn say<S: AsRef<std::ffi::OsStr>>(&mut self, words: impl IntoIterator<Item = S>) {
        self.lines.push(command_line(words));
    }

    fn resize_disk(&mut self, path: &Path, format: Format, size: u64, shrink: bool) {
        let path = path.to_string_lossy();
        let size = size.to_string();
        let mut words = vec!["qemu-img", "resize", "-f", format.name()];
        if shrink {
            words.push("--shrink");
        }
        words.extend([path.as_ref(), &size]);
        self.say(words);
    }

    fn attach(&mut self, path: &Path, format: Format) {
        let path = path.to_string_lossy();
        if format == Format::Raw {
            self.say(["losetup", "--partscan", self.device, &path]);
        } else {
            let connect = format!("--connect={}", self.device);
            let format = format!("--format={}", format.name());
            self.say(["qemu-nbd", &connect, &format, &path]);
        }
    }

    fn detach(&mut self, format: Format) {
        if format == Format::Raw {
            self.say(["losetup", "--detach", self.device]);
        } else {
            self.say(["qemu-nbd", "--disconnect", self.device]);
        }
    }

    fn table(&mut self, draft: &Draft) {
        let label = match draft.table.kind {
            TableKind::Gpt => "label: gpt",
            TableKind::Mbr | TableKind::None => "label: dos",
        };
        if draft.table.kind == draft.kind_before()
            && draft
                .changes
                .iter()
                .any(|change| change.number_before.is_some() && change.after.is_some())
        {
            // The table itself stays: it is only written anew.
            self.say(["sgdisk", "--move-second-header", self.device]);
        } else {
            self.sfdisk(label, &[]);
        }
    }

    /// `echo INPUT | sfdisk OPTIONS DEVICE`.
    fn sfdisk(&mut self, input: &str, options: &[&str]) {
        let mut words = vec!["sfdisk"];
        words.extend(options);
        words.push(self.device);
        let line = format!(
            "{} | {}",
            command_line(["echo", input]),
            command_line(words)
        );
        self.lines.push(line);
    }

    fn partition(&self, number: u32) -> String {
        format!("{}p{number}", self.device)
    }

    fn before_moving(&mut self, change: &Change) {
        let Some(number) = change.number_before else {
            return;
        };
        let device = self.partition(number);
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            let number = number.to_string();
            self.say(["sfdisk", "--delete", self.device, &number]);
            return;
        };
        if change.make.is_some() {
            return;
        }
        if change.repair {
            self.check(change.fs, &device, true);
        }
        if length(after) < length(before) {
            self.check(change.fs, &device, true);
            self.resize_fs(change.fs, &device, Some(length(after)));
            let size = format!(",{}K", length(after) >> 10);
            self.sfdisk(&size, &["-N", &number.to_string()]);
        }
    }

    /// Partitions that go right begin with the last, those that go left with the first.
    fn moves(&mut self, draft: &Draft) {
        let moved = draft.changes.iter().filter_map(|change| {
            let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
            (before.start != after.start).then_some((change.number_before?, before, after))
        });
        let (right, left): (Vec<_>, Vec<_>) =
            moved.partition(|(_, before, after)| after.start > before.start);
        for (number, before, after) in right.into_iter().rev().chain(left) {
            let by = before.start.abs_diff(after.start) >> 10;
            let sign = if after.start > before.start { '+' } else { '-' };
            let input = format!("{sign}{by}K,");
            self.sfdisk(&input, &["--move-data", "-N", &number.to_string()]);
        }
    }

    fn after_moving(&mut self, partition: &Partition, change: &Change, draft: &Draft) {
        let number = partition.number.to_string();
        let device = self.partition(partition.number);
        let range = &partition.range;
        let grows = change
            .before
            .as_ref()
            .is_some_and(|before| length(range) > length(before));
        if change.before.is_none() {
            let sectors = range.start / draft.table.sector_size;
            let input = format!("{sectors},{}K", length(range) >> 10);
            self.sfdisk(&input, &["--append"]);
        } else if grows {
            let input = format!(",{}K", length(range) >> 10);
            self.sfdisk(&input, &["-N", &number]);
        }
        if partition.role == Role::Extended {
            return;
        }
        let fs = change.make.as_ref().map(|(fs, _)| *fs).or(change.fs);
        if let Some((fs, label)) = &change.make {
            self.make(*fs, label.as_deref(), &device);
        } else if grows {
            self.check(fs, &device, true);
            self.resize_fs(fs, &device, None);
        }
        if let (Some(fs), Some(label)) = (fs, &change.label) {
            self.label(fs, label, &device);
        }
        if let (Some(fs), Some(wanted)) = (fs, &change.new_uuid) {
            self.identify(fs, wanted, &device);
        }
        if change.check {
            self.check(fs, &device, false);
        }
    }

    fn check(&mut self, fs: Option<FsKind>, device: &str, repair: bool) {
        match fs {
            Some(FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4) => {
                let how = if repair { "-fp" } else { "-fn" };
                self.say(["e2fsck", how, device]);
            }
            Some(FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32) => {
                self.say(["fsck.fat", if repair { "-a" } else { "-n" }, device]);
            }
            Some(FsKind::Ntfs) => self.say(["ntfsresize", "--check", device]),
            _ => {}
        }
    }

    fn say_mounted(&mut self, device: &str, words: &[&str]) {
        self.say(["mount", device, "/mnt"]);
        self.say(words.iter().copied());
        self.say(["umount", "/mnt"]);
    }

    fn resize_fs(&mut self, fs: Option<FsKind>, device: &str, size: Option<u64>) {
        match fs {
            Some(FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4) => {
                let size = size.map(|size| format!("{}K", size >> 10));
                self.say(["resize2fs", device].into_iter().chain(size.as_deref()));
            }
            Some(FsKind::Ntfs) => {
                let size = size.map(|size| format!("--size={size}"));
                self.say(
                    ["ntfsresize"]
                        .into_iter()
                        .chain(size.as_deref())
                        .chain([device]),
                );
            }
            Some(FsKind::Swap) => self.say(["mkswap", device]),
            // Their own tools do it only while they are mounted.
            Some(FsKind::Xfs) => self.say_mounted(device, &["xfs_growfs", "/mnt"]),
            Some(FsKind::Btrfs) => {
                self.say_mounted(device, &["btrfs", "filesystem", "resize", "max", "/mnt"]);
            }
            _ => {}
        }
    }

    fn make(&mut self, fs: FsKind, label: Option<&str>, device: &str) {
        let (program, option) = match fs {
            FsKind::Swap => ("mkswap".to_owned(), "-L"),
            FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32 => ("mkfs.fat".to_owned(), "-n"),
            other => (format!("mkfs.{}", other.name()), "-L"),
        };
        let label = label.map(|label| [option, label]);
        let words = [program.as_str()].into_iter();
        self.say(words.chain(label.into_iter().flatten()).chain([device]));
    }

    fn label(&mut self, fs: FsKind, label: &str, device: &str) {
        let program = match fs {
            FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => "e2label",
            FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32 => "fatlabel",
            FsKind::Ntfs => "ntfslabel",
            FsKind::ExFat => "exfatlabel",
            FsKind::Swap => return self.say(["swaplabel", "-L", label, device]),
            FsKind::Xfs => return self.say(["xfs_admin", "-L", label, device]),
            FsKind::Btrfs => return self.say(["btrfs", "filesystem", "label", device, label]),
            _ => return,
        };
        self.say([program, device, label]);
    }

    fn identify(&mut self, fs: FsKind, wanted: &Identifier, device: &str) {
        // What is random is drawn by the programs that can.
        let given = match wanted {
            Identifier::Random => None,
            Identifier::Exactly(_) => wanted.text(fs).ok(),
        };
        let serial = given.as_deref().map(|text| text.replace('-', ""));
        let given = given.as_deref();
        match fs {
            FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => {
                self.say(["tune2fs", "-U", given.unwrap_or("random"), device]);
            }
            FsKind::Xfs => self.say(["xfs_admin", "-U", given.unwrap_or("generate"), device]),
            FsKind::Btrfs => match given {
                Some(uuid) => self.say(["btrfstune", "-U", uuid, device]),
                None => self.say(["btrfstune", "-u", device]),
            },
            FsKind::Swap => match given {
                Some(uuid) => self.say(["swaplabel", "-U", uuid, device]),
                None => self.lines.push(format!("swaplabel -U $(uuidgen) {device}")),
            },
            FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32 => match serial {
                Some(serial) => self.say(["fatlabel", "-i", device, &serial]),
                None => self.say(["fatlabel", "-i", "-r", device]),
            },
            FsKind::Ntfs => match serial {
                Some(serial) => {
                    self.say(["ntfslabel", &format!("--new-serial={serial}"), device]);
                }
                None => self.say(["ntfslabel", "--new-serial", device]),
            },
            FsKind::ExFat => match serial {
                Some(serial) => self.say(["exfatlabel", "-i", device, &format!("0x{serial}")]),
                None => {
                    let random = "0x$(uuidgen | head -c 8)";
                    self.lines.push(format!("exfatlabel -i {device} {random}"));
                }
            },
            _ => {}
        }
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::edit::fixture::two_ext4;
    use crate::op::edit::{Edit, fold};

    fn lines(format: Format, texts: &[&str]) -> Vec<String> {
        let edits: Vec<Edit> = texts
            .iter()
            .map(|text| Edit::parse(text, TableKind::Mbr).unwrap())
            .collect();
        let draft = fold(&two_ext4(), &edits).unwrap();
        by_hand(Path::new("/vm/thumb drive.raw"), format, &draft)
    }

    #[test]
    fn the_guides_example() {
        let edits = ["resize-disk +2G", "move 2 +1024M", "resize 1 max"];
        assert_eq!(
            lines(Format::Raw, &edits),
            [
                "qemu-img resize -f raw '/vm/thumb drive.raw' 3160408064",
                "losetup --partscan /dev/loop0 '/vm/thumb drive.raw'",
                "echo +1048576K, | sfdisk --move-data -N 2 /dev/loop0",
                "echo ,1560576K | sfdisk -N 1 /dev/loop0",
                "e2fsck -fp /dev/loop0p1",
                "resize2fs /dev/loop0p1",
                "losetup --detach /dev/loop0",
            ]
        );
    }

    #[test]
    fn file_systems_shrink_before_their_partitions_and_the_disk_last() {
        let edits = [
            "resize 2 300M",
            "delete 1",
            "resize-disk 810M",
            "label 2 'x'",
        ];
        let lines = lines(Format::Qcow2, &edits);
        let at = |part: &str| {
            let found = lines.iter().position(|line| line.contains(part));
            found.unwrap_or_else(|| panic!("{part} in {lines:?}"))
        };
        assert!(at("qemu-nbd --connect") < at("resize2fs /dev/nbd0p2 307200K"));
        assert!(at("resize2fs") < at("echo ,307200K | sfdisk -N 2 /dev/nbd0"));
        assert!(at("sfdisk --delete /dev/nbd0 1") < at("--disconnect"));
        assert!(at("--disconnect") < at("resize -f qcow2 --shrink"));
    }
}
