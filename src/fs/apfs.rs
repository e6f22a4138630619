//! APFS containers, after the "Apple File System Reference": the container superblock.

use uuid::Uuid;

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::error::Result;

const MAX_VOLUMES: usize = 100;
const CONTAINER: u32 = 1;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    let block = volume.head(0);
    volume.has(32, b"NXSB")
        && block.le32(24).is_ok_and(|kind| kind & 0xffff == CONTAINER)
        && block
            .le32(36)
            .is_ok_and(|size| size.is_power_of_two() && (4096..=65_536).contains(&size))
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let block = volume.head(0);
    let mut fs = FileSystem::new(FsKind::Apfs);
    let block_size = block.le32(36)?;
    fs.block_size = Some(u64::from(block_size));
    fs.size = block.le64(40)?.checked_mul(u64::from(block_size));
    let uuid = Uuid::from_slice(block.slice(72, 16)?).ok();
    fs.uuid = uuid.map(|uuid| uuid.to_string());
    let mut volumes = 0;
    for index in 0..MAX_VOLUMES {
        volumes += usize::from(block.le64(184 + 8 * index)? != 0);
    }
    fs.detail("volumes", volumes.to_string());
    let length = usize::try_from(block_size).unwrap_or(4096);
    let stored = block.le64(0)?;
    let computed = checksum(block.slice(8, length - 8)?);
    if stored != computed {
        fs.note(format!(
            "checksum of its superblock is {computed:#018x} instead of {stored:#018x}"
        ));
    }
    Ok(fs)
}

/// Fletcher's checksum with 64 bits: two sums modulo 2^32 - 1, stored so that all add up to zero.
fn checksum(bytes: &[u8]) -> u64 {
    const MODULUS: u64 = u32::MAX as u64;
    let (mut first, mut second) = (0_u64, 0_u64);
    for word in bytes.as_chunks::<4>().0 {
        first = (first + u64::from(u32::from_le_bytes(*word))) % MODULUS;
        second = (second + first) % MODULUS;
    }
    let low = MODULUS - (first + second) % MODULUS;
    let high = MODULUS - (first + low) % MODULUS;
    high << 32 | low
}
