//! btrfs: the first superblock, as the on-disk format documentation of btrfs lays it down.

mod grow;

use uuid::Uuid;

use super::volume::Volume;
use super::{FileSystem, FsKind, Usage};
use crate::codec::{Fields, utf8};
use crate::error::Result;
use crate::units::ByteSize;

pub(in crate::fs) use grow::grow;

const SUPERBLOCK: usize = 64 << 10;
const LENGTH: usize = 4096;
const CSUM_CRC32C: u16 = 0;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    volume.has(SUPERBLOCK + 64, b"_BHRfS_M")
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let superblock = Fields::new(volume.head(SUPERBLOCK).slice(0, LENGTH)?, SUPERBLOCK as u64);
    let mut fs = FileSystem::new(FsKind::Btrfs);
    fs.label = utf8(superblock.slice(299, 256)?);
    fs.uuid = uuid(superblock, 32)?;
    fs.block_size = Some(u64::from(superblock.le32(144)?));

    let devices = superblock.le64(136)?;
    let (total, used) = (superblock.le64(112)?, superblock.le64(120)?);
    // What this device gives to the file system, which may span several.
    let here = superblock.le64(DEVICE + 8)?;
    fs.size = Some(here);
    if devices > 1 {
        let number = superblock.le64(DEVICE)?;
        fs.note(format!(
            "is device {number} of a file system on {devices} devices"
        ));
        fs.detail(
            "all devices",
            format!("{}, {} used", ByteSize(total), ByteSize(used)),
        );
    } else if let Some(free) = total.checked_sub(used) {
        fs.usage = Some(Usage { used, free });
    } else {
        fs.note(format!(
            "claims {} used of {}",
            ByteSize(used),
            ByteSize(total)
        ));
    }
    if superblock.le64(96)? != 0 {
        fs.note("was not unmounted cleanly: a log waits to be replayed");
    }
    if superblock.le64(48)? != SUPERBLOCK as u64 {
        fs.note("its superblock says that it belongs elsewhere");
    }
    judge_checksum(&mut fs, superblock)?;
    if let Some(device) = uuid(superblock, DEVICE + 66)? {
        fs.detail("device UUID", device);
    }
    fs.detail("node size", format!("{} bytes", superblock.le32(148)?));
    Ok(fs)
}

/// The item that describes this device.
const DEVICE: usize = 201;

fn uuid(superblock: Fields<'_>, at: usize) -> Result<Option<String>> {
    let uuid = Uuid::from_slice(superblock.slice(at, 16)?).ok();
    Ok(uuid.map(|uuid| uuid.to_string()))
}

fn judge_checksum(fs: &mut FileSystem, superblock: Fields<'_>) -> Result<()> {
    if superblock.le16(196)? != CSUM_CRC32C {
        return Ok(()); // xxhash, sha256, blake2: not worth their code here
    }
    let stored = superblock.le32(0)?;
    let computed = crc32c::crc32c(superblock.slice(32, LENGTH - 32)?);
    if stored != computed {
        fs.note(format!(
            "checksum of its superblock is {computed:#010x} instead of {stored:#010x}"
        ));
    }
    Ok(())
}
