//! The serial number of a FAT volume: four bytes of the boot sector, and of its copy.

use super::Layout;
use crate::codec::Fields;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::FsKind;
use crate::storage::WritableStorage;

const SECTOR: usize = 512;
/// What says that there is a serial number, and where that is, in FAT12 and FAT16, and in FAT32.
const SIGNATURE: [usize; 2] = [38, 66];

/// Gives the volume another serial number. FAT32 keeps a copy of its boot sector, whose number
/// follows.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a boot sector that has none; I/O errors. Nothing is changed then.
pub(in crate::fs) fn set_serial(partition: &dyn WritableStorage, serial: u32) -> Result<()> {
    let mut boot = [0; SECTOR];
    partition.read_at(&mut boot, 0)?;
    let fields = Fields::new(&boot, 0);
    let layout = Layout::read(fields)?;
    let is_fat32 = layout.kind == FsKind::Fat32;
    let signature = SIGNATURE[usize::from(is_fat32)];
    if !has_serial(&boot, signature) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "its boot sector is one of old DOS, which has no serial number",
        ));
    }
    let at = signature as u64 + 1;
    if is_fat32 {
        let backup = u64::from(fields.le16(50)?);
        // 0 and 0xffff say that there is none; one behind the reserved sectors is none either.
        let reserved = layout.fat_start / layout.sector_size;
        if (1..reserved).contains(&backup) {
            let backup = backup * layout.sector_size;
            let mut copy = [0; SECTOR];
            partition.read_at(&mut copy, backup)?;
            if has_serial(&copy, signature) && copy[510..] == [0x55, 0xaa] {
                partition.write_at(&serial.to_le_bytes(), backup + at)?;
            }
        }
    }
    partition.write_at(&serial.to_le_bytes(), at)
}

fn has_serial(boot: &[u8; SECTOR], signature: usize) -> bool {
    matches!(boot[signature], 0x28 | 0x29)
}
