//! Which format a file has, by its content and never by its name.

use crate::codec::Fields;
use crate::error::Result;
use crate::image::info::Format;
use crate::storage::Storage;

/// The answer of [`probe`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// The format. [`Format::Raw`] only when nothing else fits.
    pub format: Format,
    /// What a raw file is known to contain as a whole ("ISO 9660"), for showing.
    pub content: Option<&'static str>,
    /// What `qemu-img` would say, where it differs (a fixed VHD is "raw" to it).
    pub qemu_format: Format,
}

const HEAD: usize = 4096;
const SECTOR: usize = 512;
/// Start of the first ISO 9660 volume descriptor.
const ISO_DESCRIPTOR: u64 = 0x8000;

/// Recognises the format of `storage` from at most a few sectors at its beginning and end.
///
/// # Errors
/// Only when reading fails; what is not recognised is raw.
pub fn probe(storage: &dyn Storage) -> Result<Probe> {
    let mut head = [0; HEAD];
    storage.read_padded_at(&mut head, 0)?;
    if let Some(format) = by_head(&head)? {
        return Ok(Probe {
            format,
            content: None,
            qemu_format: qemu_format_by_head(format, &head)?,
        });
    }
    if let Some(format) = by_tail(storage)? {
        return Ok(Probe {
            format,
            content: None,
            qemu_format: Format::Raw,
        });
    }
    Ok(Probe {
        format: Format::Raw,
        content: content(storage)?,
        qemu_format: Format::Raw,
    })
}

/// Formats with a signature in the first sectors.
fn by_head(head: &[u8; HEAD]) -> Result<Option<Format>> {
    const SIGNATURES: [(&[u8], Format); 9] = [
        (b"QED\0", Format::Qed),
        (b"KDMV", Format::Vmdk),
        (b"COWD", Format::Vmdk),
        // Dynamic and differencing disks begin with a copy of the footer.
        (b"conectix", Format::Vhd),
        (b"vhdxfile", Format::Vhdx),
        (b"WithoutFreeSpace", Format::Parallels),
        (b"WithouFreSpacExt", Format::Parallels),
        (b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", Format::Cloop),
        (b"LUKS\xba\xbe", Format::Luks),
    ];
    let fields = Fields::new(head, 0);
    if head.starts_with(b"QFI\xfb") {
        return Ok(match fields.be32(4)? {
            0 => None,
            1 => Some(Format::Qcow1),
            // A version to come is refused by the driver, in words.
            _ => Some(Format::Qcow2),
        });
    }
    let signed = SIGNATURES
        .iter()
        .find(|(signature, _)| head.starts_with(signature));
    if let Some((_, format)) = signed {
        let version = fields.be16(6)?;
        let is_luks = *format == Format::Luks;
        return Ok((!is_luks || (1..=2).contains(&version)).then_some(*format));
    }
    if fields.le32(0x40)? == 0xbeda_107f {
        return Ok(Some(Format::Vdi));
    }
    if is_bochs(head) {
        return Ok(Some(Format::Bochs));
    }
    Ok(is_vmdk_descriptor(head).then_some(Format::Vmdk))
}

fn qemu_format_by_head(format: Format, head: &[u8; HEAD]) -> Result<Format> {
    // QEMU has no driver for LUKS 2: the container is plain bytes to it.
    let luks2 = format == Format::Luks && Fields::new(head, 0).be16(6)? == 2;
    Ok(if luks2 { Format::Raw } else { format })
}

/// Bochs writes three NUL-padded names into its header.
fn is_bochs(head: &[u8; HEAD]) -> bool {
    let is = |at: usize, length: usize, name: &[u8]| {
        let field = &head[at..at + length];
        field.starts_with(name) && field[name.len()] == 0
    };
    is(0, 32, b"Bochs Virtual HD Image") && is(32, 16, b"Redolog") && is(48, 16, b"Growing")
}

/// A VMDK descriptor is a text file: comments and blank lines, one of them the title, and then the
/// version.
fn is_vmdk_descriptor(head: &[u8; HEAD]) -> bool {
    const TITLE: &[u8] = b"# Disk DescriptorFile";
    let mut titled = false;
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if line.starts_with(b"#") {
            titled |= line.eq_ignore_ascii_case(TITLE);
            continue;
        }
        return titled && line.to_ascii_lowercase().starts_with(b"version");
    }
    false
}

/// Formats with their signature in the last sector. To QEMU they are raw disks (a DMG is known to
/// it by name only).
fn by_tail(storage: &dyn Storage) -> Result<Option<Format>> {
    let size = storage.size()?;
    let mut tail = [0; SECTOR];
    let Some(tail_at) = size.checked_sub(tail.len() as u64) else {
        return Ok(None);
    };
    storage.read_at(&mut tail, tail_at)?;
    let fields = Fields::new(&tail, tail_at);
    // Old programs cut the last byte of the footer off.
    let is_vhd = tail.starts_with(b"conectix") || tail[1..].starts_with(b"conectix");
    if is_vhd {
        return Ok(Some(Format::Vhd));
    }
    // Signature, version 4, and the length of the trailer itself.
    let is_dmg = tail.starts_with(b"koly") && fields.be32(4)? == 4 && fields.be32(8)? == 512;
    Ok(is_dmg.then_some(Format::Dmg))
}

/// What a raw file contains as a whole.
fn content(storage: &dyn Storage) -> Result<Option<&'static str>> {
    let mut descriptor = [0; 7];
    storage.read_padded_at(&mut descriptor, ISO_DESCRIPTOR)?;
    let is_iso = &descriptor[1..6] == b"CD001" && descriptor[6] == 1;
    Ok(is_iso.then_some("ISO 9660"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn probe_bytes(bytes: Vec<u8>) -> Probe {
        probe(&MemoryStorage::new(bytes)).unwrap()
    }

    fn with(size: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; size];
        for (at, part) in parts {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn knows_signatures_at_the_head() {
        let vdi = 0xbeda_107f_u32.to_le_bytes();
        let bochs: [(usize, &[u8]); 3] = [
            (0, b"Bochs Virtual HD Image"),
            (32, b"Redolog"),
            (48, b"Growing"),
        ];
        for (bytes, format) in [
            (with(8, &[(0, b"QFI\xfb\0\0\0\x01")]), Format::Qcow1),
            (with(8, &[(0, b"QFI\xfb\0\0\0\x02")]), Format::Qcow2),
            (with(512, &[(0, b"QFI\xfb\0\0\0\x04")]), Format::Qcow2),
            (with(512, &[(0, b"KDMV")]), Format::Vmdk),
            (with(512, &[(0, b"COWD")]), Format::Vmdk),
            (b"# Disk DescriptorFile\nversion=1\n".to_vec(), Format::Vmdk),
            (
                b"\n# made by hand\r\n# disk descriptorfile\r\nVersion = 1".to_vec(),
                Format::Vmdk,
            ),
            (with(1024, &[(0x40, &vdi)]), Format::Vdi),
            (with(1024, &bochs), Format::Bochs),
            (with(512, &[(0, b"LUKS\xba\xbe\0\x01")]), Format::Luks),
            (with(64, &[(0, b"WithouFreSpacExt")]), Format::Parallels),
            (
                b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount".to_vec(),
                Format::Cloop,
            ),
        ] {
            let found = probe_bytes(bytes);
            assert_eq!(found.format, format);
            assert_eq!(found.qemu_format, format);
        }
    }

    #[test]
    fn knows_signatures_at_the_tail() {
        let mut koly = b"koly\0\0\0\x04\0\0\x02\0".to_vec();
        koly.resize(512, 0);
        let found = probe_bytes(with(1536, &[(1024, &koly)]));
        assert_eq!(
            (found.format, found.qemu_format),
            (Format::Dmg, Format::Raw)
        );
        for footer in [1024, 1025] {
            let found = probe_bytes(with(1536, &[(footer, b"conectix")]));
            assert_eq!(
                (found.format, found.qemu_format),
                (Format::Vhd, Format::Raw)
            );
        }
    }

    #[test]
    fn luks_2_is_plain_bytes_to_qemu() {
        let found = probe_bytes(with(512, &[(0, b"LUKS\xba\xbe\0\x02")]));
        assert_eq!(
            (found.format, found.qemu_format),
            (Format::Luks, Format::Raw)
        );
    }

    #[test]
    fn an_iso_image_is_raw_with_content() {
        let found = probe_bytes(with(40_000, &[(0x8000, b"\x01CD001\x01")]));
        assert_eq!(found.format, Format::Raw);
        assert_eq!(found.content, Some("ISO 9660"));
    }

    #[test]
    fn everything_else_is_raw() {
        for bytes in [
            Vec::new(),
            b"Q".to_vec(),
            b"QFI\xfb".to_vec(),
            b"#!/bin/sh\nmodprobe cloop\n".to_vec(),
            b"# Disk DescriptorFile\nis the title of a chapter\n".to_vec(),
            b"version=1\n# Disk DescriptorFile\n".to_vec(),
            b"koly".to_vec(),
            with(1536, &[(1024, b"koly")]),
            with(512, &[(0, b"LUKS\xba\xbe\0\x07")]),
            vec![0xff; 5000],
        ] {
            let found = probe_bytes(bytes);
            assert_eq!(found.format, Format::Raw);
            assert_eq!(found.content, None);
        }
    }
}
