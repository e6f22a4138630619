//! Whether a volume may be changed: not while Windows means to go on with it.

use super::{DATA, DIRTY, Layout, VOLUME, VOLUME_INFORMATION};
use crate::codec::{Fields, utf16le};
use crate::error::Result;
use crate::fs::ntfs::record::{Attribute, Record};
use crate::fs::volume::Volume;
use crate::storage::Storage;

const FILE_NAME: u32 = 0x30;
/// The record of the root directory.
const ROOT: u64 = 5;
/// References to records have a sequence number in their upper bits.
const RECORD: u64 = (1 << 48) - 1;
/// Bytes of the master file table that are searched.
const MOST: u64 = 256 << 20;
const PIECE: usize = 1 << 20;

/// Why a volume must not be changed; `None` when it may. What cannot be read is no reason.
///
/// # Errors
/// Only when reading fails.
pub(in crate::fs) fn unfit(volume: &dyn Storage, resizes: bool) -> Result<Option<&'static str>> {
    let volume = Volume::open(volume)?;
    let Ok(layout) = Layout::read(volume.head(0)) else {
        return Ok(None);
    };
    if resizes && is_dirty(&volume, &layout)? {
        return Ok(Some(
            "this NTFS is marked dirty, by Windows or by an earlier resize: let Windows check it \
             first",
        ));
    }
    let Some(header) = hibernation_header(&volume, &layout)? else {
        return Ok(None);
    };
    let is_asleep = header == *b"hibr" || header == *b"HIBR";
    Ok(is_asleep.then_some(
        "Windows is hibernated on this NTFS (hiberfil.sys): shut it down first, without fast \
         startup",
    ))
}

fn is_dirty(volume: &Volume<'_>, layout: &Layout) -> Result<bool> {
    let record = layout.record(volume, VOLUME)?;
    let information = record.and_then(|record| record.attribute(VOLUME_INFORMATION));
    Ok(match information {
        Some(Attribute::Resident(bytes)) if bytes.len() >= 12 => {
            Fields::new(&bytes, 0).le16(10)? & DIRTY != 0
        }
        _ => false,
    })
}

/// The first bytes of `hiberfil.sys` in the root directory, searched in the table of all files.
fn hibernation_header(volume: &Volume<'_>, layout: &Layout) -> Result<Option<[u8; 4]>> {
    let table = layout.record(volume, 0)?;
    let Some(Attribute::Runs(runs)) = table.and_then(|table| table.attribute(DATA)) else {
        return Ok(None);
    };
    let mut searched = 0;
    for run in runs {
        let Some(mut at) = run.start.checked_mul(layout.cluster_size) else {
            continue;
        };
        let end = run.end.saturating_mul(layout.cluster_size);
        while at < end && searched < MOST {
            let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let Some(bytes) = volume.read(at, length)? else {
                break;
            };
            for record in bytes.chunks_exact(layout.record_size) {
                if let Some(header) = header_of(volume, layout, record)? {
                    return Ok(Some(header));
                }
            }
            at += length as u64;
            searched += length as u64;
        }
    }
    Ok(None)
}

/// The first bytes of the file of this record, if it is the one.
fn header_of(volume: &Volume<'_>, layout: &Layout, bytes: &[u8]) -> Result<Option<[u8; 4]>> {
    const IN_USE: u8 = 1;
    if bytes.get(22).is_none_or(|flags| flags & IN_USE == 0) {
        return Ok(None);
    }
    let Some(record) = Record::new(bytes.to_vec()) else {
        return Ok(None);
    };
    let Some(Attribute::Resident(name)) = record.attribute(FILE_NAME) else {
        return Ok(None);
    };
    if !is_hiberfil(&name) {
        return Ok(None);
    }
    let header = match record.attribute(DATA) {
        Some(Attribute::Resident(bytes)) => bytes.first_chunk().copied(),
        Some(Attribute::Runs(runs)) => {
            let start = runs
                .first()
                .and_then(|run| run.start.checked_mul(layout.cluster_size));
            match start {
                Some(start) => volume
                    .read(start, 4)?
                    .and_then(|four| four.first_chunk().copied()),
                None => None,
            }
        }
        None => None,
    };
    Ok(header)
}

fn is_hiberfil(name: &[u8]) -> bool {
    let fields = Fields::new(name, 0);
    let parent = fields.le64(0).map(|parent| parent & RECORD);
    let length = usize::from(fields.u8(64).unwrap_or(0)) * 2;
    let text = fields.slice(66, length).ok().and_then(utf16le);
    matches!(parent, Ok(ROOT)) && text.is_some_and(|text| text.eq_ignore_ascii_case("hiberfil.sys"))
}
