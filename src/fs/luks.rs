//! LUKS1 and LUKS2 headers, after the on-disk format specifications of cryptsetup. Nothing is
//! unlocked.

use serde_json::Value;

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, utf8};
use crate::error::Result;
use crate::units::ByteSize;

const SLOTS: usize = 8;
const SLOT_ACTIVE: u32 = 0x00ac_71f3;
/// Of the binary header of version 2; text in JSON follows.
const BINARY_HEADER: u64 = 4096;
/// The specification's largest header.
const MAX_HEADER: u64 = 4 << 20;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    volume.has(0, b"LUKS\xba\xbe")
        && volume
            .head(6)
            .be16(0)
            .is_ok_and(|version| matches!(version, 1 | 2))
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let header = volume.head(0);
    let mut fs = if header.be16(6)? == 1 {
        read_version_1(header)?
    } else {
        read_version_2(volume, header)?
    };
    fs.uuid = utf8(header.slice(168, 40)?);
    Ok(fs)
}

fn read_version_1(header: Fields<'_>) -> Result<FileSystem> {
    let mut fs = FileSystem::new(FsKind::Luks1);
    let part = |at| -> Result<String> { Ok(utf8(header.slice(at, 32)?).unwrap_or_default()) };
    fs.detail("cipher", format!("{}-{}", part(8)?, part(40)?));
    fs.detail("hash", part(72)?);
    fs.detail("key", format!("{} bits", u64::from(header.be32(108)?) * 8));
    let mut used = 0;
    for slot in 0..SLOTS {
        used += usize::from(header.be32(208 + 48 * slot)? == SLOT_ACTIVE);
    }
    fs.detail("key slots", format!("{used} of {SLOTS} used"));
    if used == 0 {
        fs.note("has no key slot in use: it cannot be unlocked");
    }
    let data = u64::from(header.be32(104)?) * 512;
    fs.detail("data begins at", ByteSize(data).to_string());
    Ok(fs)
}

fn read_version_2(volume: &Volume<'_>, header: Fields<'_>) -> Result<FileSystem> {
    let mut fs = FileSystem::new(FsKind::Luks2);
    fs.label = utf8(header.slice(24, 48)?);
    if let Some(subsystem) = utf8(header.slice(208, 48)?) {
        fs.detail("subsystem", subsystem);
    }
    let length = header.be64(8)?;
    match metadata(volume, length)? {
        Some(metadata) => describe(&mut fs, &metadata),
        None => fs.note("its metadata cannot be read"),
    }
    Ok(fs)
}

fn metadata(volume: &Volume<'_>, header_size: u64) -> Result<Option<Value>> {
    if header_size <= BINARY_HEADER || header_size > MAX_HEADER {
        return Ok(None);
    }
    let length = usize::try_from(header_size - BINARY_HEADER).unwrap_or(0);
    let Some(bytes) = volume.read(BINARY_HEADER, length)? else {
        return Ok(None);
    };
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(serde_json::from_slice(text).ok())
}

fn describe(fs: &mut FileSystem, metadata: &Value) {
    let segment = metadata["segments"]
        .as_object()
        .and_then(|segments| segments.values().find(|s| s["type"] == "crypt"));
    if let Some(segment) = segment {
        if let Some(cipher) = shown(&segment["encryption"]) {
            fs.detail("cipher", cipher);
        }
        if let Some(size) = segment["sector_size"].as_u64() {
            fs.detail("sector size", format!("{size} bytes"));
        }
        if let Some(integrity) = shown(&segment["integrity"]["type"]) {
            fs.detail("integrity", integrity);
        }
        let offset = segment["offset"]
            .as_str()
            .and_then(|text| text.parse().ok());
        if let Some(offset) = offset {
            fs.detail("data begins at", ByteSize(offset).to_string());
        }
    }
    if let Some(slots) = metadata["keyslots"].as_object() {
        fs.detail("key slots", format!("{} used", slots.len()));
        if slots.is_empty() {
            fs.note("has no key slot in use: it cannot be unlocked");
        }
    }
    let tokens = metadata["tokens"].as_object();
    let tokens: Vec<String> = tokens
        .into_iter()
        .flat_map(|tokens| tokens.values())
        .filter_map(|token| shown(&token["type"]))
        .take(8)
        .collect();
    if !tokens.is_empty() {
        fs.detail("tokens", tokens.join(", "));
    }
    let requirements = metadata["config"]["requirements"]["mandatory"].as_array();
    let reencrypts = |name: &Value| name.as_str().is_some_and(|n| n.contains("reencrypt"));
    if requirements.is_some_and(|names| names.iter().any(reencrypts)) {
        fs.note("is being encrypted anew, which has not ended");
    }
}

fn shown(value: &Value) -> Option<String> {
    utf8(value.as_str()?.as_bytes())
}
