//! ISO 9660 (ECMA-119) with the names of Joliet.

use super::volume::Volume;
use super::{FileSystem, FsKind, Usage};
use crate::codec::{Fields, printable, utf8};
use crate::error::Result;

const SECTOR: u64 = 2048;
const FIRST_DESCRIPTOR: u64 = 16 * SECTOR;
/// Descriptors looked at; images have two to five.
const MAX_DESCRIPTORS: u64 = 16;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    // Other first descriptors than the primary one are allowed, and never seen.
    volume.has(0x8000, b"\x01CD001")
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let primary = volume.head(0x8000);
    let mut fs = FileSystem::new(FsKind::Iso9660);
    let block_size = u64::from(primary.le16(128)?);
    let size = u64::from(primary.le32(80)?) * block_size;
    fs.block_size = Some(block_size);
    fs.size = Some(size);
    fs.usage = Some(Usage {
        used: size,
        free: 0,
    });
    fs.label = utf8(primary.slice(40, 32)?);
    fs.uuid = match date(primary.slice(830, 16)?) {
        Some(modified) => Some(modified),
        None => date(primary.slice(813, 16)?),
    };
    for (name, at, length) in [
        ("publisher", 318, 128),
        ("made with", 574, 128),
        ("system", 8, 32),
    ] {
        if let Some(text) = utf8(primary.slice(at, length)?) {
            fs.detail(name, text);
        }
    }
    read_other_descriptors(volume, &mut fs)?;
    Ok(fs)
}

fn read_other_descriptors(volume: &Volume<'_>, fs: &mut FileSystem) -> Result<()> {
    for number in 1..MAX_DESCRIPTORS {
        let offset = FIRST_DESCRIPTOR + number * SECTOR;
        let Some(bytes) = volume.read(offset, 128)? else {
            break;
        };
        let descriptor = Fields::new(&bytes, offset);
        if descriptor.slice(1, 5)? != b"CD001" {
            break;
        }
        match descriptor.u8(0)? {
            0 if descriptor.slice(7, 23)? == b"EL TORITO SPECIFICATION" => {
                fs.detail("bootable", "El Torito");
            }
            2 if is_joliet(descriptor.slice(88, 3)?) => {
                let name = utf16be(descriptor.slice(40, 32)?);
                fs.label = merge(fs.label.take(), name);
                fs.detail("names", "Joliet");
            }
            255 => break,
            _ => {}
        }
    }
    Ok(())
}

/// The escape sequences that announce UCS-2 at its three levels.
fn is_joliet(escape: &[u8]) -> bool {
    matches!(escape, b"%/@" | b"%/C" | b"%/E")
}

fn utf16be(bytes: &[u8]) -> Option<String> {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0);
    let text: String = char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    printable(&text)
}

/// Joliet has small letters, but room for only 16 characters: the longer plain name completes it.
fn merge(plain: Option<String>, joliet: Option<String>) -> Option<String> {
    let (plain, joliet) = match (plain, joliet) {
        (Some(plain), Some(joliet)) => (plain, joliet),
        (plain, joliet) => return joliet.or(plain),
    };
    match plain.split_at_checked(joliet.len()) {
        Some((head, tail)) if head.eq_ignore_ascii_case(&joliet) => Some(joliet + tail),
        _ => Some(joliet),
    }
}

/// "2026112210223100" as "2026-11-22-10-22-31-00", which serves as UUID; `None` if it is not set.
fn date(digits: &[u8]) -> Option<String> {
    let is_set = digits.iter().any(|digit| *digit != b'0');
    if !is_set || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    let parts = [0..4, 4..6, 6..8, 8..10, 10..12, 12..14, 14..16];
    let parts: Option<Vec<&str>> = parts.into_iter().map(|part| text.get(part)).collect();
    Some(parts?.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joliet_names_are_completed_by_the_longer_plain_ones() {
        let merged = |plain: &str, joliet: &str| {
            merge(Some(plain.to_owned()), Some(joliet.to_owned())).unwrap()
        };
        assert_eq!(merged("DEBIAN 13", "Debian 13"), "Debian 13");
        assert_eq!(
            merged("A_VERY_LONG_VOLUME_NAME", "A_very_long_volu"),
            "A_very_long_voluME_NAME"
        );
        assert_eq!(merged("CDROM", "Größe"), "Größe");
    }

    #[test]
    fn dates_have_only_digits() {
        assert_eq!(
            date(b"2026112210223100").as_deref(),
            Some("2026-11-22-10-22-31-00")
        );
        assert_eq!(date(b"0000000000000000"), None);
        assert_eq!(date(b"20261122 0223100"), None);
    }
}
