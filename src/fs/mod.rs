//! File systems and other contents of a partition: what it is, how it is called, how full it is.
//! Superblocks and free maps only, read natively; nothing is mounted.
//!
//! One file a family. Each says whether it recognises a volume from its first 68 KiB, and then
//! reads the rest that it needs. Names, labels and UUIDs are those of `blkid`.

mod apfs;
mod bitlocker;
mod btrfs;
pub mod change;
mod exfat;
mod ext;
mod extents;
mod f2fs;
mod fat;
mod hfsplus;
mod iso9660;
mod luks;
mod lvm;
mod ntfs;
mod squashfs;
mod swap;
mod volume;
mod xfs;
mod zfs;

use std::ops::{ControlFlow, Range};

use extents::Extents;
use volume::Volume;

use crate::error::{ErrorKind, Result};
use crate::storage::Storage;
use crate::units::{ByteSize, MIB};

/// What a partition (or a whole disk) contains.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum FsKind {
    /// Apple file system container.
    Apfs,
    /// BitLocker volume.
    BitLocker,
    /// btrfs.
    Btrfs,
    /// exFAT.
    ExFat,
    /// ext2.
    Ext2,
    /// ext3.
    Ext3,
    /// ext4.
    Ext4,
    /// FAT12.
    Fat12,
    /// FAT16.
    Fat16,
    /// FAT32.
    Fat32,
    /// f2fs.
    F2fs,
    /// HFS+ and HFSX.
    HfsPlus,
    /// ISO 9660.
    Iso9660,
    /// LUKS version 1.
    Luks1,
    /// LUKS version 2.
    Luks2,
    /// LVM2 physical volume.
    Lvm2,
    /// NTFS.
    Ntfs,
    /// squashfs.
    Squashfs,
    /// Linux swap.
    Swap,
    /// XFS.
    Xfs,
    /// Member of a ZFS pool.
    Zfs,
}

impl FsKind {
    /// The short name that mkfs and mount use ("ext4", "vfat" is "fat32" here…).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Apfs => "apfs",
            Self::BitLocker => "bitlocker",
            Self::Btrfs => "btrfs",
            Self::ExFat => "exfat",
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Fat12 => "fat12",
            Self::Fat16 => "fat16",
            Self::Fat32 => "fat32",
            Self::F2fs => "f2fs",
            Self::HfsPlus => "hfsplus",
            Self::Iso9660 => "iso9660",
            Self::Luks1 => "luks1",
            Self::Luks2 => "luks2",
            Self::Lvm2 => "lvm2",
            Self::Ntfs => "ntfs",
            Self::Squashfs => "squashfs",
            Self::Swap => "swap",
            Self::Xfs => "xfs",
            Self::Zfs => "zfs",
        }
    }

    /// The name as people write it ("NTFS", "exFAT", "ext4").
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Apfs => "APFS",
            Self::BitLocker => "BitLocker",
            Self::Btrfs => "Btrfs",
            Self::ExFat => "exFAT",
            Self::Fat12 => "FAT12",
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
            Self::F2fs => "F2FS",
            Self::HfsPlus => "HFS+",
            Self::Iso9660 => "ISO 9660",
            Self::Luks1 => "LUKS1",
            Self::Luks2 => "LUKS2",
            Self::Lvm2 => "LVM2",
            Self::Ntfs => "NTFS",
            Self::Squashfs => "SquashFS",
            Self::Xfs => "XFS",
            Self::Zfs => "ZFS",
            Self::Ext2 | Self::Ext3 | Self::Ext4 | Self::Swap => self.name(),
        }
    }

    /// Made to fill its partition and able to grow with it.
    fn can_grow(self) -> bool {
        matches!(
            self,
            Self::Btrfs
                | Self::ExFat
                | Self::Ext2
                | Self::Ext3
                | Self::Ext4
                | Self::F2fs
                | Self::Fat12
                | Self::Fat16
                | Self::Fat32
                | Self::Lvm2
                | Self::Ntfs
                | Self::Swap
                | Self::Xfs
        )
    }
}

/// How full a file system is, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Held by files and the file system's own structures.
    pub used: u64,
    /// Free for files.
    pub free: u64,
}

/// What [`identify`] found.
#[derive(Clone, Debug)]
pub struct FileSystem {
    /// Which.
    pub kind: FsKind,
    /// Volume label; `None` when empty.
    pub label: Option<String>,
    /// UUID or serial number as `blkid` prints it.
    pub uuid: Option<String>,
    /// Bytes the file system spans by its own account.
    pub size: Option<u64>,
    /// How full it is, where it says so without a walk.
    pub usage: Option<Usage>,
    /// Allocation unit in bytes.
    pub block_size: Option<u64>,
    /// What a careful person would like to know ("was not unmounted cleanly", "hibernated
    /// Windows", "larger than its partition by 4 MiB").
    pub notes: Vec<String>,
    /// Facts of its own kind, as (English name, value): volume group, logical volumes, cipher…
    pub details: Vec<(&'static str, String)>,
}

impl FileSystem {
    fn new(kind: FsKind) -> Self {
        Self {
            kind,
            label: None,
            uuid: None,
            size: None,
            usage: None,
            block_size: None,
            notes: Vec::new(),
            details: Vec::new(),
        }
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn detail(&mut self, name: &'static str, value: impl Into<String>) {
        self.details.push((name, value.into()));
    }

    /// Everything that is not free counts as used, as the families' own tools count. A free count
    /// above the size is damage.
    fn set_free(&mut self, size: u64, free: u64) {
        match size.checked_sub(free) {
            Some(used) => self.usage = Some(Usage { used, free }),
            None => self.note(format!(
                "claims {} free of {}",
                ByteSize(free),
                ByteSize(size)
            )),
        }
    }

    /// Compares the size it claims with the room it has.
    fn judge_size(&mut self, volume: u64) {
        let Some(size) = self.size else {
            return;
        };
        if size > volume {
            let missing = ByteSize(size - volume);
            self.note(format!("larger than its partition by {missing}"));
        } else if self.kind.can_grow() && volume - size >= UNUSED_WORTH_TELLING {
            let unused = ByteSize(volume - size);
            self.note(format!("leaves {unused} of its partition unused"));
        }
    }
}

/// Less than this is the rounding of one mkfs or another.
const UNUSED_WORTH_TELLING: u64 = 16 * MIB;

/// How one family of file systems is found and read.
struct Family {
    /// What it is called while it cannot be read well enough to say more.
    kind: FsKind,
    /// Looks at the beginning of the volume only.
    recognises: fn(&Volume<'_>) -> bool,
    read: fn(&Volume<'_>) -> Result<FileSystem>,
}

/// In the order of precedence. A family whose mkfs leaves the signatures of others in place comes
/// before those others: ext survives below btrfs' second 64 KiB, nothing survives below LUKS.
const FAMILIES: &[Family] = &[
    Family {
        kind: FsKind::BitLocker,
        recognises: bitlocker::recognises,
        read: bitlocker::read,
    },
    Family {
        kind: FsKind::Luks2,
        recognises: luks::recognises,
        read: luks::read,
    },
    Family {
        kind: FsKind::Lvm2,
        recognises: lvm::recognises,
        read: lvm::read,
    },
    Family {
        kind: FsKind::Ntfs,
        recognises: ntfs::recognises,
        read: ntfs::read,
    },
    Family {
        kind: FsKind::ExFat,
        recognises: exfat::recognises,
        read: exfat::read,
    },
    Family {
        kind: FsKind::Xfs,
        recognises: xfs::recognises,
        read: xfs::read,
    },
    Family {
        kind: FsKind::Apfs,
        recognises: apfs::recognises,
        read: apfs::read,
    },
    Family {
        kind: FsKind::Squashfs,
        recognises: squashfs::recognises,
        read: squashfs::read,
    },
    Family {
        kind: FsKind::Ext4,
        recognises: ext::recognises,
        read: ext::read,
    },
    Family {
        kind: FsKind::F2fs,
        recognises: f2fs::recognises,
        read: f2fs::read,
    },
    Family {
        kind: FsKind::Btrfs,
        recognises: btrfs::recognises,
        read: btrfs::read,
    },
    Family {
        kind: FsKind::Swap,
        recognises: swap::recognises,
        read: swap::read,
    },
    Family {
        kind: FsKind::Zfs,
        recognises: zfs::recognises,
        read: zfs::read,
    },
    Family {
        kind: FsKind::Iso9660,
        recognises: iso9660::recognises,
        read: iso9660::read,
    },
    Family {
        kind: FsKind::HfsPlus,
        recognises: hfsplus::recognises,
        read: hfsplus::read,
    },
    Family {
        kind: FsKind::Fat16,
        recognises: fat::recognises,
        read: fat::read,
    },
];

/// Recognises the content of `volume` (a partition or a whole disk) and reads its superblock.
/// `None` when nothing is recognised. A damaged superblock of a recognised kind is described in
/// [`FileSystem::notes`].
///
/// # Errors
/// Only when reading fails.
pub fn identify(volume: &dyn Storage) -> Result<Option<FileSystem>> {
    let volume = Volume::open(volume)?;
    let mut found = FAMILIES
        .iter()
        .filter(|family| (family.recognises)(&volume));
    let Some(family) = found.next() else {
        return Ok(None);
    };
    let mut file_system = match (family.read)(&volume) {
        Ok(file_system) => file_system,
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let mut file_system = FileSystem::new(family.kind);
            file_system.note(format!("superblock is damaged: {error}"));
            file_system
        }
        Err(error) => return Err(error),
    };
    file_system.judge_size(volume.size());
    for other in found {
        let name = other.kind.name();
        file_system.note(format!("also carries the signature of {name}"));
    }
    Ok(Some(file_system))
}

/// Visits the free space of a file system of `kind` on `volume` as byte ranges of the volume, in
/// ascending order, joined where they touch, until the visitor breaks. What is free here holds no
/// file and no structure.
///
/// It is the map on disk: after an unclean unmount ([`FileSystem::notes`]) a journal may
/// know better, so before space is given back the file system has to be clean.
///
/// False when the free map of this kind cannot be walked, or makes no sense: what was visited
/// until then is to be forgotten. Walked are ext2 to ext4, FAT, exFAT and NTFS.
///
/// # Errors
/// Only when reading fails.
pub fn free_extents(
    volume: &dyn Storage,
    kind: FsKind,
    visit: &mut dyn FnMut(Range<u64>) -> ControlFlow<()>,
) -> Result<bool> {
    let volume = Volume::open(volume)?;
    let mut extents = Extents::new(volume.size(), visit);
    let whole = match kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => ext::free_extents(&volume, &mut extents)?,
        FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32 => fat::free_extents(&volume, &mut extents)?,
        FsKind::ExFat => exfat::free_extents(&volume, &mut extents)?,
        FsKind::Ntfs => ntfs::free_extents(&volume, &mut extents)?,
        _ => false,
    };
    extents.finish();
    Ok(whole)
}
