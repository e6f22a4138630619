//! Linux swap space, as mkswap makes it.

use uuid::Uuid;

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, utf8};
use crate::error::Result;

/// The signature ends the first page, however long the pages of the machine are.
const PAGE_SIZES: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];
const HEADER: usize = 1024;
/// A system suspended to disk replaces the signature by one of these until it is woken.
const SUSPENDED: [&[u8; 9]; 3] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND"];

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    found(volume).is_some()
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Signature {
    Version0,
    Version1,
    Suspended,
}

fn found(volume: &Volume<'_>) -> Option<(usize, Signature)> {
    PAGE_SIZES.into_iter().find_map(|page| {
        let at = page - 10;
        let signature = if volume.has(at, b"SWAPSPACE2") {
            Signature::Version1
        } else if volume.has(at, b"SWAP-SPACE") {
            Signature::Version0
        } else if SUSPENDED.iter().any(|magic| volume.has(at, *magic)) {
            Signature::Suspended
        } else {
            return None;
        };
        Some((page, signature))
    })
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let mut fs = FileSystem::new(FsKind::Swap);
    let Some((page, signature)) = found(volume) else {
        return Ok(fs);
    };
    fs.block_size = Some(page as u64);
    if signature == Signature::Version0 {
        fs.note("is of the old version 0, which Linux does not use any more");
        return Ok(fs);
    }
    if signature == Signature::Suspended {
        fs.note("holds a suspended system: changing other partitions now may damage them");
    }
    let header = volume.head(HEADER);
    let little = header.le32(0)? == 1;
    let number = |header: Fields<'_>, at| {
        if little {
            header.le32(at)
        } else {
            header.be32(at)
        }
    };
    let version = number(header, 0)?;
    if version != 1 {
        fs.note(format!("has the unknown version {version}"));
        return Ok(fs);
    }
    let last_page = u64::from(number(header, 4)?);
    fs.size = Some((last_page + 1) * page as u64);
    fs.uuid = Uuid::from_slice(header.slice(12, 16)?)
        .ok()
        .filter(|uuid| !uuid.is_nil())
        .map(|uuid| uuid.to_string());
    fs.label = utf8(header.slice(28, 16)?);
    let bad_pages = number(header, 8)?;
    if bad_pages > 0 {
        fs.note(format!("has {bad_pages} bad pages"));
    }
    fs.detail("page size", format!("{page} bytes"));
    if !little {
        fs.detail("byte order", "big-endian");
    }
    Ok(fs)
}
