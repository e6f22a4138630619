//! ext2, ext3 and ext4, as the kernel's `Documentation/filesystems/ext4` lays them down.

mod groups;

use uuid::Uuid;

pub(super) use groups::free_extents;

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, utf8};
use crate::error::{Error, Result};
use crate::units::ByteSize;

const SUPERBLOCK: usize = 1024;
const MAGIC: [u8; 2] = [0x53, 0xef];
const STATE_CLEAN: u16 = 1;
const STATE_ERRORS: u16 = 2;
const COMPAT_JOURNAL: u32 = 0x4;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEVICE: u32 = 0x8;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_ENCRYPT: u32 = 0x1_0000;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// filetype, recover, meta_bg: what ext2 and ext3 may have. Everything else makes an ext4.
const EXT3_INCOMPAT: u32 = 0x2 | INCOMPAT_RECOVER | 0x10;
/// sparse_super, large_file, btree_dir.
const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    let superblock = volume.head(SUPERBLOCK);
    let incompat = superblock.le32(96).unwrap_or(0);
    volume.has(SUPERBLOCK + 56, &MAGIC)
        && superblock.le32(24).is_ok_and(|log| log <= 6)
        && superblock.le32(4).is_ok_and(|blocks| blocks != 0)
        && incompat & INCOMPAT_JOURNAL_DEVICE == 0
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let superblock = Fields::new(volume.head(SUPERBLOCK).slice(0, 1024)?, SUPERBLOCK as u64);
    let features = Features::read(superblock)?;
    let mut fs = FileSystem::new(features.kind());
    fs.label = utf8(superblock.slice(120, 16)?);
    fs.uuid = Uuid::from_slice(superblock.slice(104, 16)?)
        .ok()
        .filter(|uuid| !uuid.is_nil())
        .map(|uuid| uuid.to_string());

    let block_size = 1024_u64 << superblock.le32(24)?.min(6);
    fs.block_size = Some(block_size);
    let blocks = features.join(superblock.le32(4)?, superblock.le32(0x150)?);
    let free = features.join(superblock.le32(12)?, superblock.le32(0x158)?);
    let size = blocks.checked_mul(block_size).ok_or_else(|| {
        Error::corrupt(format!("{blocks} blocks of {block_size} bytes"))
            .with_field("s_blocks_count")
    })?;
    fs.size = Some(size);
    fs.set_free(size, free.saturating_mul(block_size));

    judge(&mut fs, superblock, &features)?;
    describe(&mut fs, superblock, &features, block_size)?;
    Ok(fs)
}

struct Features {
    compat: u32,
    incompat: u32,
    ro_compat: u32,
}

impl Features {
    fn read(superblock: Fields<'_>) -> Result<Self> {
        Ok(Self {
            compat: superblock.le32(92)?,
            incompat: superblock.le32(96)?,
            ro_compat: superblock.le32(100)?,
        })
    }

    /// By features, as `blkid` tells them apart: the format has no version.
    fn kind(&self) -> FsKind {
        let newer = self.incompat & !EXT3_INCOMPAT != 0 || self.ro_compat & !EXT3_RO_COMPAT != 0;
        if newer {
            FsKind::Ext4
        } else if self.has_journal() {
            FsKind::Ext3
        } else {
            FsKind::Ext2
        }
    }

    fn has_journal(&self) -> bool {
        self.compat & COMPAT_JOURNAL != 0
    }

    /// A block count of which the upper half exists only on 64-bit file systems.
    fn join(&self, low: u32, high: u32) -> u64 {
        let high = if self.incompat & INCOMPAT_64BIT != 0 {
            u64::from(high)
        } else {
            0
        };
        high << 32 | u64::from(low)
    }
}

fn judge(fs: &mut FileSystem, superblock: Fields<'_>, features: &Features) -> Result<()> {
    let state = superblock.le16(58)?;
    if features.incompat & INCOMPAT_RECOVER != 0 {
        fs.note("was not unmounted cleanly: the journal waits to be replayed");
    } else if state & STATE_CLEAN == 0 {
        fs.note("was not unmounted cleanly");
    }
    if state & STATE_ERRORS != 0 {
        fs.note("has errors, found while it was mounted: needs e2fsck");
    }
    if features.ro_compat & RO_COMPAT_METADATA_CSUM != 0 {
        let stored = superblock.le32(1020)?;
        let computed = !crc32c::crc32c(superblock.slice(0, 1020)?);
        if stored != computed {
            fs.note(format!(
                "checksum of its superblock is {computed:#010x} instead of {stored:#010x}"
            ));
        }
    }
    Ok(())
}

fn describe(
    fs: &mut FileSystem,
    superblock: Fields<'_>,
    features: &Features,
    block_size: u64,
) -> Result<()> {
    if let Some(path) = utf8(superblock.slice(136, 64)?) {
        fs.detail("last mounted on", path);
    }
    let (inodes, free) = (superblock.le32(0)?, superblock.le32(16)?);
    fs.detail("inodes", format!("{inodes}, {free} free"));
    let reserved = features.join(superblock.le32(8)?, superblock.le32(0x154)?);
    if reserved > 0 {
        let bytes = ByteSize(reserved.saturating_mul(block_size));
        fs.detail("reserved for root", bytes.to_string());
    }
    if !features.has_journal() && fs.kind == FsKind::Ext4 {
        fs.detail("journal", "none");
    }
    if features.incompat & INCOMPAT_ENCRYPT != 0 {
        fs.detail("encryption", "of single folders");
    }
    Ok(())
}
