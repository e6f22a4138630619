//! XFS, after the "XFS Algorithms & Data Structures" book.

mod geometry;
mod group;
mod grow;
mod log;

pub(super) use grow::grow;

use uuid::Uuid;

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, utf8};
use crate::error::{Error, ErrorKind, Result};
use crate::units::ByteSize;

const VERSION_5: u16 = 5;
const NEEDS_REPAIR: u32 = 0x10;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    volume.has(0, b"XFSB") && Layout::read(volume.head(0)).is_ok()
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let superblock = volume.head(0);
    let layout = Layout::read(superblock)?;
    let mut fs = FileSystem::new(FsKind::Xfs);
    fs.label = utf8(superblock.slice(108, 12)?);
    fs.uuid = Uuid::from_slice(superblock.slice(32, 16)?)
        .ok()
        .map(|uuid| uuid.to_string());
    let size = layout.blocks.saturating_mul(layout.block_size);
    fs.size = Some(size);
    fs.block_size = Some(layout.block_size);
    let free = superblock.be64(144)?;
    fs.set_free(size, free.saturating_mul(layout.block_size));

    let version = superblock.be16(100)? & 0xf;
    fs.detail("version", version.to_string());
    fs.detail("allocation groups", superblock.be32(88)?.to_string());
    let log = u64::from(superblock.be32(96)?).saturating_mul(layout.block_size);
    let place = if superblock.be64(48)? == 0 {
        "on another device"
    } else {
        "internal"
    };
    fs.detail("log", format!("{}, {place}", ByteSize(log)));
    if version == VERSION_5 {
        judge_checksum(&mut fs, superblock, layout.sector_size)?;
        if superblock.be32(216)? & NEEDS_REPAIR != 0 {
            fs.note("needs xfs_repair");
        }
    }
    if superblock.u8(126)? != 0 {
        fs.note("was being made when mkfs.xfs ended early");
    }
    Ok(fs)
}

fn judge_checksum(fs: &mut FileSystem, superblock: Fields<'_>, sector_size: usize) -> Result<()> {
    let mut sector = superblock.slice(0, sector_size)?.to_vec();
    let stored = superblock.le32(224)?;
    sector[224..228].fill(0);
    let computed = crc32c::crc32c(&sector);
    if stored != computed {
        fs.note(format!(
            "checksum of its superblock is {computed:#010x} instead of {stored:#010x}"
        ));
    }
    Ok(())
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("{what}: check it first"))
}

struct Layout {
    block_size: u64,
    blocks: u64,
    sector_size: usize,
}

impl Layout {
    fn read(superblock: Fields<'_>) -> Result<Self> {
        let bad = |field| Error::corrupt("makes no sense in an XFS superblock").with_field(field);
        let block_size = superblock.be32(4)?;
        if !block_size.is_power_of_two() || !(512..=65_536).contains(&block_size) {
            return Err(bad("sb_blocksize"));
        }
        let sector_size = superblock.be16(102)?;
        if !sector_size.is_power_of_two() || sector_size < 512 {
            return Err(bad("sb_sectsize"));
        }
        let blocks = superblock.be64(8)?;
        let groups = u64::from(superblock.be32(88)?);
        let group_blocks = u64::from(superblock.be32(84)?);
        // The last group may be shorter than the others.
        if groups == 0 || group_blocks == 0 || blocks > groups * group_blocks {
            return Err(bad("sb_dblocks"));
        }
        if blocks.checked_mul(u64::from(block_size)).is_none() {
            return Err(bad("sb_dblocks"));
        }
        Ok(Self {
            block_size: u64::from(block_size),
            blocks,
            sector_size: usize::from(sector_size),
        })
    }
}
