//! File systems and other contents of a partition: what it is, how it is called, how full it is.
//! Superblocks only, read natively; nothing is mounted.

use crate::error::Result;
use crate::storage::Storage;

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

/// Recognises the content of `volume` (a partition or a whole disk) and reads its superblock.
/// `None` when nothing is recognised. A damaged superblock of a recognised kind is described in
/// [`FileSystem::notes`].
///
/// # Errors
/// Only when reading fails.
pub fn identify(volume: &dyn Storage) -> Result<Option<FileSystem>> {
    let _ = volume;
    Ok(None)
}
