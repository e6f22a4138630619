//! Making btrfs larger: the device gets another size, in its superblocks and in the one item of the
//! chunk tree that describes it. What is unallocated follows from that; no tree grows.

use super::{CSUM_CRC32C, DEVICE, LENGTH, SUPERBLOCK};
use crate::codec::Fields;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::volume::Volume;
use crate::storage::{Storage, WritableStorage};
use crate::units::align_down;

/// Where the copies of the superblock are, as far as the device reaches.
const COPIES: [u64; 3] = [SUPERBLOCK as u64, 64 << 20, 256 << 30];
/// The array of chunks that hold the chunk tree itself.
const SYSTEM_CHUNKS: usize = 811;
const SYSTEM_CHUNKS_END: usize = SYSTEM_CHUNKS + 2048;
const SEEDING: u64 = 1 << 32;
/// Features under which a device is laid out another way.
const ZONED_OR_NEWER: u64 = 1 << 12 | 1 << 13;
/// Bits of a chunk's type that say how its copies are spread, and the one for two on one device.
const PROFILES: u64 = 0x7f8;
const DUP: u64 = 0x20;
const NODE_HEADER: usize = 101;
const KEY: usize = 17;
/// The key of a device: objectid 1, this type, its number.
const DEV_ITEM: u8 = 216;

/// Makes the file system as large as `partition`.
///
/// # Errors
/// [`ErrorKind::Refused`] for one that was not unmounted cleanly or is damaged;
/// [`ErrorKind::Unsupported`] for one that spans several devices, or has features under which this
/// is not all; I/O errors. Nothing is changed then.
pub(in crate::fs) fn grow(partition: &dyn WritableStorage) -> Result<()> {
    let volume = Volume::open(partition)?;
    let head = volume.head(SUPERBLOCK).slice(0, LENGTH)?;
    let superblock = Fields::new(head, SUPERBLOCK as u64);
    judge(superblock)?;
    let sector = u64::from(superblock.le32(144)?).max(4096);
    let new = align_down(partition.size()?, sector);
    let (total, here) = (superblock.le64(112)?, superblock.le64(DEVICE + 8)?);
    if total != here || here > partition.size()? {
        return Err(damaged("its sizes contradict each other"));
    }
    if new <= here {
        return Ok(());
    }
    let item = Item::find(partition, superblock)?;
    // The tree first: with only that changed, the kernel still mounts it and says what is wrong.
    item.write(partition, new)?;
    let mut bytes = head.to_vec();
    for at in COPIES {
        if at + LENGTH as u64 >= new {
            break;
        }
        bytes[48..56].copy_from_slice(&at.to_le_bytes());
        bytes[112..120].copy_from_slice(&new.to_le_bytes());
        bytes[DEVICE + 8..DEVICE + 16].copy_from_slice(&new.to_le_bytes());
        sign(&mut bytes);
        partition.write_at(&bytes, at)?;
    }
    Ok(())
}

fn judge(superblock: Fields<'_>) -> Result<()> {
    if superblock.le16(196)? != CSUM_CRC32C {
        return Err(Error::unsupported(
            "btrfs with other checksums than crc32c grows only while it is mounted",
        ));
    }
    if !is_signed(superblock.slice(0, LENGTH)?) {
        return Err(damaged("the checksum of its superblock does not match"));
    }
    if superblock.le64(96)? != 0 {
        return Err(damaged(
            "it was not unmounted cleanly, and its log has to be replayed by mounting it",
        ));
    }
    let devices = superblock.le64(136)?;
    if devices != 1 {
        return Err(Error::unsupported(format!(
            "this btrfs spans {devices} devices: run btrfs filesystem resize in the guest"
        )));
    }
    let is_special =
        superblock.le64(56)? & SEEDING != 0 || superblock.le64(188)? & ZONED_OR_NEWER != 0;
    if is_special {
        return Err(Error::unsupported(
            "this btrfs is a seed, zoned or newer: run btrfs filesystem resize in the guest",
        ));
    }
    Ok(())
}

/// The item of the device, in every copy of the leaf that holds it.
struct Item {
    leaf: Vec<u8>,
    /// Byte offsets of the copies.
    places: Vec<u64>,
    /// Of the item's data in the leaf.
    at: usize,
}

impl Item {
    /// Devices come first in the chunk tree, so it is in the leftmost leaf.
    fn find(partition: &dyn Storage, superblock: Fields<'_>) -> Result<Self> {
        let device = superblock.le64(DEVICE)?;
        let node_size = superblock.le32(148)?;
        if !node_size.is_power_of_two() || !(4096..=65536).contains(&node_size) {
            return Err(damaged("its node size makes no sense"));
        }
        let mut logical = superblock.le64(88)?;
        for level in (0..=superblock.u8(199)?.min(7)).rev() {
            let places = physical(superblock, logical, device)?;
            let leaf = read_node(partition, &places, node_size, logical, level)?;
            let node = Fields::new(&leaf, places[0]);
            let count = node.le32(96)?;
            if count == 0 {
                break;
            }
            if level > 0 {
                logical = node.le64(NODE_HEADER + KEY)?;
                continue;
            }
            let at = (0..count as usize)
                .map(|index| NODE_HEADER + index * (KEY + 8))
                .map(|item| Ok((item, device_of(node, item)?)))
                .find_map(|found: Result<_>| match found {
                    Ok((item, Some(number))) if number == device => Some(Ok(item)),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                })
                .transpose()?
                .ok_or_else(|| damaged("its chunk tree does not describe the device"))?;
            let at = usize::try_from(node.le32(at + KEY)?).unwrap_or(usize::MAX);
            let at = at.saturating_add(NODE_HEADER);
            if node.le64(at)? != device || node.le64(at + 8)? != superblock.le64(DEVICE + 8)? {
                return Err(damaged("its chunk tree knows another size of the device"));
            }
            return Ok(Self { leaf, places, at });
        }
        Err(damaged("its chunk tree is empty"))
    }

    fn write(mut self, partition: &dyn WritableStorage, size: u64) -> Result<()> {
        self.leaf[self.at + 8..self.at + 16].copy_from_slice(&size.to_le_bytes());
        sign(&mut self.leaf);
        for place in self.places {
            partition.write_at(&self.leaf, place)?;
        }
        Ok(())
    }
}

/// The number of the device that an item of a leaf describes; `None` for another item.
fn device_of(node: Fields<'_>, item: usize) -> Result<Option<u64>> {
    let is_device = node.le64(item)? == 1 && node.u8(item + 8)? == DEV_ITEM;
    let number = node.le64(item + 9)?;
    Ok(is_device.then_some(number))
}

/// Reads a node, of which all copies must be right.
fn read_node(
    partition: &dyn Storage,
    places: &[u64],
    size: u32,
    logical: u64,
    level: u8,
) -> Result<Vec<u8>> {
    let mut first: Option<Vec<u8>> = None;
    for place in places {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let inside = place.checked_add(u64::from(size));
        if inside.is_none_or(|end| end > partition.size().unwrap_or(0)) {
            return Err(damaged("its chunk tree lies outside of it"));
        }
        partition.read_at(&mut bytes, *place)?;
        let node = Fields::new(&bytes, *place);
        if !is_signed(&bytes) || node.le64(48)? != logical || node.u8(100)? != level {
            return Err(damaged("a node of its chunk tree is damaged"));
        }
        if first.as_ref().is_some_and(|first| *first != bytes) {
            return Err(damaged("the copies of its chunk tree differ"));
        }
        first = Some(bytes);
    }
    first.ok_or_else(|| damaged("its chunk tree is nowhere"))
}

/// Where a byte of the chunk tree is on the device.
fn physical(superblock: Fields<'_>, logical: u64, device: u64) -> Result<Vec<u64>> {
    let length = usize::try_from(superblock.le32(160)?).unwrap_or(usize::MAX);
    let end = SYSTEM_CHUNKS.saturating_add(length).min(SYSTEM_CHUNKS_END);
    let mut at = SYSTEM_CHUNKS;
    while at + KEY + 48 <= end {
        let start = superblock.le64(at + 9)?;
        let chunk = at + KEY;
        let (length, kind) = (superblock.le64(chunk)?, superblock.le64(chunk + 24)?);
        let stripes = usize::from(superblock.le16(chunk + 44)?);
        let within = logical.checked_sub(start).filter(|within| *within < length);
        at = chunk + 48 + stripes * 32;
        let Some(within) = within else {
            continue;
        };
        if kind & PROFILES & !DUP != 0 || stripes == 0 {
            return Err(Error::unsupported(
                "the chunks of this btrfs are spread over devices",
            ));
        }
        return (0..stripes)
            .map(|stripe| {
                let stripe = chunk + 48 + stripe * 32;
                let place = superblock.le64(stripe + 8)?.checked_add(within);
                let is_here = superblock.le64(stripe)? == device;
                place
                    .filter(|_| is_here)
                    .ok_or_else(|| damaged("its chunks are on another device"))
            })
            .collect();
    }
    Err(damaged("it does not say where its chunk tree is"))
}

fn is_signed(bytes: &[u8]) -> bool {
    bytes.len() > 32 && bytes[..4] == crc32c::crc32c(&bytes[32..]).to_le_bytes()
}

fn sign(bytes: &mut [u8]) {
    let sum = crc32c::crc32c(&bytes[32..]).to_le_bytes();
    bytes[..4].copy_from_slice(&sum);
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("{what}: check it first"))
}
