//! squashfs 4, the compressed read-only file system.

use super::volume::Volume;
use super::{FileSystem, FsKind, Usage};
use crate::error::Result;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    let superblock = volume.head(0);
    volume.has(0, b"hsqs")
        && superblock.le16(28).is_ok_and(|major| major == 4)
        && superblock
            .le32(12)
            .is_ok_and(|size| size.is_power_of_two() && (4096..=1 << 20).contains(&size))
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let superblock = volume.head(0);
    let mut fs = FileSystem::new(FsKind::Squashfs);
    let used = superblock.le64(40)?;
    fs.size = Some(used);
    fs.usage = Some(Usage { used, free: 0 });
    fs.block_size = Some(u64::from(superblock.le32(12)?));
    let (major, minor) = (superblock.le16(28)?, superblock.le16(30)?);
    fs.detail("version", format!("{major}.{minor}"));
    let compression = match superblock.le16(20)? {
        1 => "gzip",
        2 => "lzma",
        3 => "lzo",
        4 => "xz",
        5 => "lz4",
        6 => "zstd",
        _ => "unknown",
    };
    fs.detail("compression", compression);
    fs.detail("inodes", superblock.le32(4)?.to_string());
    Ok(fs)
}
