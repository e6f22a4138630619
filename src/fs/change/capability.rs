//! Which change is possible for which file system. Menus, messages and tests follow this table.

use crate::fs::FsKind;
use crate::fs::change::tool;
use crate::phrase::gettext_noop;

/// What can be done to a file system.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Make a new one.
    Make,
    /// Make it larger.
    Grow,
    /// Make it smaller.
    Shrink,
    /// Look whether it is clean.
    Check,
    /// Repair it.
    Repair,
    /// Name it.
    Label,
    /// Give it another identifier.
    Uuid,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Make,
        Self::Grow,
        Self::Shrink,
        Self::Check,
        Self::Repair,
        Self::Label,
        Self::Uuid,
    ];
}

/// Whether something can be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Capability {
    /// Yes, here.
    Native,
    /// Yes, by a program that is installed.
    Tool {
        /// Its name.
        program: &'static str,
    },
    /// By a program that is not installed.
    Missing {
        /// Its name.
        program: &'static str,
        /// The package of most distributions that it is in.
        package: &'static str,
    },
    /// No, and why: the template of a [`crate::phrase::Phrase`], which a window may translate.
    Never(&'static str),
}

/// The packages that a program is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packages {
    /// On Debian, Ubuntu and most others.
    pub debian: &'static str,
    /// On Fedora and its relatives.
    pub fedora: &'static str,
}

/// Where a program of [`Capability::Missing`] comes from, by the name of its package there.
#[must_use]
pub fn packages(package: &'static str) -> Packages {
    Packages {
        debian: package,
        fedora: match package {
            "ntfs-3g" => "ntfsprogs",
            other => other,
        },
    }
}

const NOT_A_FILE_SYSTEM: &str =
    gettext_noop("this is no file system that can be changed on its own");

/// Whether `action` is possible for file systems of `kind` on this host. It looks whether programs
/// are there and runs none: a menu may ask as often as it likes.
#[must_use]
pub fn capability(kind: FsKind, action: Action) -> Capability {
    match needed(kind, action) {
        Need::Native => Capability::Native,
        Need::Never(reason) => Capability::Never(reason),
        Need::Tool(program, package) => {
            if tool::find(program).is_some() {
                Capability::Tool { program }
            } else {
                Capability::Missing { program, package }
            }
        }
    }
}

enum Need {
    Native,
    Tool(&'static str, &'static str),
    Never(&'static str),
}

fn needed(kind: FsKind, action: Action) -> Need {
    use Action::{Check, Grow, Label, Make, Repair, Shrink, Uuid};
    match kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => {
            let program = match (action, kind) {
                (Make, FsKind::Ext2) => "mkfs.ext2",
                (Make, FsKind::Ext3) => "mkfs.ext3",
                (Make, _) => "mkfs.ext4",
                (Grow | Shrink, _) => "resize2fs",
                (Check | Repair, _) => "e2fsck",
                (Label | Uuid, _) => "tune2fs",
            };
            Need::Tool(program, "e2fsprogs")
        }
        FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32 => match action {
            Make => Need::Tool("mkfs.fat", "dosfstools"),
            Check | Repair => Need::Tool("fsck.fat", "dosfstools"),
            Label => Need::Tool("fatlabel", "dosfstools"),
            Grow | Shrink | Uuid => Need::Native,
        },
        FsKind::Ntfs => match action {
            Make => Need::Tool("mkfs.ntfs", "ntfs-3g"),
            Grow | Shrink | Check => Need::Tool("ntfsresize", "ntfs-3g"),
            Label | Uuid => Need::Tool("ntfslabel", "ntfs-3g"),
            Repair => Need::Never(gettext_noop(
                "NTFS is repaired by Windows: let it check the disk",
            )),
        },
        FsKind::Swap => Need::Native,
        FsKind::ExFat => match action {
            Make => Need::Tool("mkfs.exfat", "exfatprogs"),
            Check | Repair => Need::Tool("fsck.exfat", "exfatprogs"),
            Label | Uuid => Need::Tool("exfatlabel", "exfatprogs"),
            Grow | Shrink => Need::Never(gettext_noop("exFAT file systems cannot be resized")),
        },
        FsKind::Xfs => match action {
            Make => Need::Tool("mkfs.xfs", "xfsprogs"),
            Check | Repair => Need::Tool("xfs_repair", "xfsprogs"),
            Label | Uuid => Need::Tool("xfs_admin", "xfsprogs"),
            Grow => Need::Native,
            Shrink => Need::Never(gettext_noop("XFS file systems cannot be made smaller")),
        },
        FsKind::Btrfs => match action {
            Make => Need::Tool("mkfs.btrfs", "btrfs-progs"),
            Check | Label => Need::Tool("btrfs", "btrfs-progs"),
            Uuid => Need::Tool("btrfstune", "btrfs-progs"),
            Grow => Need::Native,
            Shrink => Need::Never(gettext_noop(
                "btrfs can be made smaller only while it is mounted",
            )),
            Repair => Need::Never(gettext_noop(
                "repairing btrfs this way does more harm than good",
            )),
        },
        FsKind::Lvm2 => match action {
            Grow | Check => Need::Native,
            Shrink => Need::Never(gettext_noop(
                "an LVM physical volume cannot be made smaller here",
            )),
            Make | Repair | Label | Uuid => Need::Never(gettext_noop(
                "an LVM physical volume is changed by LVM's own programs",
            )),
        },
        _ => Need::Never(NOT_A_FILE_SYSTEM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_something_about_everything() {
        for action in Action::ALL {
            assert_eq!(capability(FsKind::Swap, action), Capability::Native);
            assert_eq!(
                capability(FsKind::Luks2, action),
                Capability::Never(NOT_A_FILE_SYSTEM)
            );
            assert!(matches!(
                capability(FsKind::Ext4, action),
                Capability::Tool { .. }
                    | Capability::Missing {
                        package: "e2fsprogs",
                        ..
                    }
            ));
        }
    }
}
