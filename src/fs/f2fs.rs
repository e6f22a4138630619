//! f2fs, as the kernel's `Documentation/filesystems/f2fs.rst` and its headers lay it down.

use uuid::Uuid;

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, utf16le};
use crate::error::Result;

const SUPERBLOCK: usize = 1024;
const MAGIC: [u8; 4] = [0x10, 0x20, 0xf5, 0xf2];
const CLEANLY_UNMOUNTED: u32 = 1;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    volume.has(SUPERBLOCK, &MAGIC)
        && volume
            .head(SUPERBLOCK)
            .le32(16)
            .is_ok_and(|log| (9..=16).contains(&log))
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let superblock = volume.head(SUPERBLOCK);
    let mut fs = FileSystem::new(FsKind::F2fs);
    fs.label = utf16le(superblock.slice(124, 1024)?);
    fs.uuid = Uuid::from_slice(superblock.slice(108, 16)?)
        .ok()
        .map(|uuid| uuid.to_string());
    let block_size = 1_u64 << superblock.le32(16)?.min(16);
    fs.block_size = Some(block_size);
    let size = superblock.le64(36)?.saturating_mul(block_size);
    fs.size = Some(size);
    let (major, minor) = (superblock.le16(4)?, superblock.le16(6)?);
    fs.detail("version", format!("{major}.{minor}"));

    match checkpoint(volume, superblock, block_size)? {
        Some(checkpoint) => {
            let free = checkpoint
                .user_blocks
                .saturating_sub(checkpoint.valid_blocks);
            fs.set_free(size, free.saturating_mul(block_size));
            if !checkpoint.clean {
                fs.note("was not unmounted cleanly");
            }
        }
        None => fs.note("has no valid checkpoint"),
    }
    Ok(fs)
}

struct Checkpoint {
    version: u64,
    user_blocks: u64,
    valid_blocks: u64,
    clean: bool,
}

/// The newer of the two checkpoint packs.
fn checkpoint(
    volume: &Volume<'_>,
    superblock: Fields<'_>,
    block_size: u64,
) -> Result<Option<Checkpoint>> {
    let first = u64::from(superblock.le32(76)?);
    let segment = 1_u64.checked_shl(superblock.le32(20)?).unwrap_or(0);
    let mut newest: Option<Checkpoint> = None;
    for block in [first, first.saturating_add(segment)] {
        let offset = block.saturating_mul(block_size);
        let Some(bytes) = volume.read(offset, 512)? else {
            continue;
        };
        let fields = Fields::new(&bytes, offset);
        let pack = Checkpoint {
            version: fields.le64(0)?,
            user_blocks: fields.le64(8)?,
            valid_blocks: fields.le64(16)?,
            clean: fields.le32(132)? & CLEANLY_UNMOUNTED != 0,
        };
        let is_newer = newest.as_ref().is_none_or(|n| pack.version > n.version);
        if pack.version != 0 && pack.valid_blocks <= pack.user_blocks && is_newer {
            newest = Some(pack);
        }
    }
    Ok(newest)
}
