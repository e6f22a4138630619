//! HFS+ and HFSX, after Apple's Technical Note TN1150.

use uuid::{Builder, Uuid, uuid};

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, printable};
use crate::error::Result;

const HEADER: usize = 1024;
const UNMOUNTED: u32 = 1 << 8;
const INCONSISTENT: u32 = 1 << 11;
const JOURNALED: u32 = 1 << 13;
/// Of the volume header: the first extent of the catalog file.
const CATALOG_EXTENT: usize = 272 + 16;
/// The parent of the root folder; the root folder is called like the volume.
const ROOT_PARENT: u32 = 1;
/// Apple makes UUIDs out of the 64-bit identifier in the header by hashing it behind this one.
const NAMESPACE: Uuid = uuid!("b3e20f39-f292-11d6-97a4-00306543ecac");

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    let known = volume.has(HEADER, b"H+\0\x04") || volume.has(HEADER, b"HX\0\x05");
    known
        && volume
            .head(HEADER)
            .be32(40)
            .is_ok_and(|size| size.is_power_of_two() && size >= 512)
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let header = volume.head(HEADER);
    let mut fs = FileSystem::new(FsKind::HfsPlus);
    let block_size = u64::from(header.be32(40)?);
    fs.block_size = Some(block_size);
    let size = u64::from(header.be32(44)?) * block_size;
    fs.size = Some(size);
    fs.set_free(size, u64::from(header.be32(48)?) * block_size);
    let identifier = header.slice(80 + 24, 8)?;
    if identifier != [0; 8] {
        let hash = md5::compute([NAMESPACE.as_bytes(), identifier].concat());
        let uuid = Builder::from_md5_bytes(hash.0).into_uuid();
        fs.uuid = Some(uuid.to_string());
    }
    fs.label = label(volume, header, block_size)?;

    let attributes = header.be32(4)?;
    if attributes & UNMOUNTED == 0 {
        fs.note("was not unmounted cleanly");
    }
    if attributes & INCONSISTENT != 0 {
        fs.note("was found damaged by the Mac: needs fsck_hfs");
    }
    let variant = if volume.has(HEADER, b"HX") {
        "HFSX"
    } else {
        "HFS+"
    };
    fs.detail("variant", variant);
    let journal = attributes & JOURNALED != 0;
    fs.detail("journal", if journal { "yes" } else { "none" });
    fs.detail("files", header.be32(32)?.to_string());
    Ok(fs)
}

/// The key of the first record of the catalog's first leaf holds the volume's name.
fn label(volume: &Volume<'_>, header: Fields<'_>, block_size: u64) -> Result<Option<String>> {
    let catalog = u64::from(header.be32(CATALOG_EXTENT)?) * block_size;
    let Some(bytes) = volume.read(catalog, 64)? else {
        return Ok(None);
    };
    let tree = Fields::new(&bytes, catalog);
    let first_leaf = u64::from(tree.be32(24)?);
    let node_size = u64::from(tree.be16(32)?);
    let leaf = first_leaf * node_size;
    let extent = u64::from(header.be32(CATALOG_EXTENT + 4)?) * block_size;
    if leaf == 0 || leaf >= extent {
        return Ok(None);
    }
    // Node descriptor, then the key: its length, the parent, the length of the name, the name.
    let at = catalog.saturating_add(leaf);
    let Some(bytes) = volume.read(at, 14 + 8 + 2 * 255)? else {
        return Ok(None);
    };
    let record = Fields::new(&bytes, at);
    if record.be32(16)? != ROOT_PARENT {
        return Ok(None);
    }
    let units = usize::from(record.be16(20)?).min(255);
    let units = record.slice(22, units * 2)?.chunks_exact(2);
    let text: String = char::decode_utf16(units.map(|pair| u16::from_be_bytes([pair[0], pair[1]])))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Ok(printable(&text))
}
