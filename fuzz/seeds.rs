//! What mutation starts from: small inputs that each parser understands, or nearly.

#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    reason = "shared by several programs; all sizes are below a few megabytes"
)]

use crate::tiny;

const SECTOR: usize = 512;
/// Sectors of the disks with a partition table: a megabyte.
const SECTORS: usize = 2048;

/// Files whose format is told by a magic number: at an offset, or (negative) before the end.
pub(crate) fn files() -> Vec<Vec<u8>> {
    let magics: [(isize, &[u8]); 17] = [
        (0, b"QFI\xfb\0\0\0\x01"),
        (0, b"QFI\xfb\0\0\0\x03"),
        (0, b"QED\0"),
        (0, b"KDMV\x01\0\0\0"),
        (0, b"COWD"),
        (0, b"# Disk DescriptorFile\nversion=1\n"),
        (0, b"conectix"),
        (-512, b"conectix"),
        (0, b"vhdxfile"),
        (0x40, b"\x7f\x10\xda\xbe"),
        (0, b"WithoutFreeSpace"),
        (0, b"WithouFreSpacExt"),
        (0, b"Bochs Virtual HD Image"),
        (0, b"#!/bin/sh\n#V2.0 Format\n"),
        (-512, b"koly\0\0\0\x04\0\0\x02\0"),
        (0, b"LUKS\xba\xbe\0\x02"),
        (0x8001, b"CD001"),
    ];
    let file = |(at, magic): (isize, &[u8])| {
        let mut bytes = vec![0; 40 << 10];
        let start = usize::try_from(at).unwrap_or_else(|_| bytes.len() - at.unsigned_abs());
        bytes[start..start + magic.len()].copy_from_slice(magic);
        bytes
    };
    let mut files: Vec<_> = magics.into_iter().map(file).collect();
    files.push(tiny::image());
    files
}

/// qcow2 images: sound, of version 2, with zstd, with subclusters claimed.
pub(crate) fn images() -> Vec<Vec<u8>> {
    let with = |changes: &[(usize, usize, u64)]| {
        let mut image = tiny::image();
        for (at, length, value) in changes {
            tiny::set(&mut image, ("", *at, *length), *value);
        }
        image
    };
    vec![
        tiny::image(),
        with(&[(4, 4, 2), (72, 8, 0)]),
        with(&[(72, 8, 8), (104, 1, 1)]),
        with(&[(72, 8, 16)]),
        with(&[(72, 8, 4)]),
    ]
}

/// Disks with partition tables, among them those that claim too much.
pub(crate) fn disks() -> Vec<Vec<u8>> {
    vec![
        mbr(&[(0x83, 1, 100), (0x07, 200, 300)]),
        // The extended partition's chain goes on, and comes back to its start.
        extended(&[(1000, 100), (1200, 100)], None),
        extended(&[(1000, 100), (1200, 100)], Some(0)),
        gpt(128, 128),
        gpt(u32::MAX, 128),
        gpt(128, u32::MAX),
        gpt(0, 0),
    ]
}

fn mbr(partitions: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut disk = vec![0; SECTORS * SECTOR];
    boot_record(&mut disk, 0, partitions);
    disk
}

fn boot_record(disk: &mut [u8], sector: usize, partitions: &[(u8, u32, u32)]) {
    let record = &mut disk[sector * SECTOR..][..SECTOR];
    for (entry, (kind, start, length)) in record[446..510].chunks_mut(16).zip(partitions) {
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&length.to_le_bytes());
    }
    record[510..].copy_from_slice(&[0x55, 0xaa]);
}

/// Logical partitions as (sector of the record, length); the last record leads to `again`.
fn extended(logical: &[(u32, u32)], again: Option<u32>) -> Vec<u8> {
    let first = logical[0].0;
    let mut disk = mbr(&[(0x0f, first, 1000)]);
    for (index, (sector, length)) in logical.iter().enumerate() {
        let next = logical
            .get(index + 1)
            .map(|(next, _)| next - first)
            .or(again);
        let link = next.map_or((0, 0, 0), |next| (0x05, next, 200));
        boot_record(&mut disk, *sector as usize, &[(0x83, 1, *length), link]);
    }
    disk
}

fn gpt(entries: u32, entry_size: u32) -> Vec<u8> {
    let mut disk = mbr(&[(0xee, 1, SECTORS as u32 - 1)]);
    for (sector, other, table) in [(1, SECTORS - 1, 2), (SECTORS - 1, 1, SECTORS - 33)] {
        let entry = &mut disk[table * SECTOR..][..128];
        entry[..16].fill(0x11);
        entry[16..32].fill(0x22);
        entry[32..40].copy_from_slice(&64_u64.to_le_bytes());
        entry[40..48].copy_from_slice(&127_u64.to_le_bytes());
        let header = &mut disk[sector * SECTOR..][..92];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
        for (at, value) in [
            (24, sector as u64),
            (32, other as u64),
            (40, 34),
            (48, SECTORS as u64 - 34),
            (72, table as u64),
        ] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[80..84].copy_from_slice(&entries.to_le_bytes());
        header[84..88].copy_from_slice(&entry_size.to_le_bytes());
    }
    fix_gpt(&mut disk);
    disk
}

/// Makes the checksums of a GPT right again, so that more than they is looked at.
pub(crate) fn fix_gpt(disk: &mut [u8]) {
    for sector in [1, SECTORS - 1] {
        let Some(header) = disk.get(sector * SECTOR..sector * SECTOR + 92) else {
            continue;
        };
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        let start = (number(72) as usize).saturating_mul(SECTOR);
        let length = (number(80) as usize).saturating_mul(number(84) as usize);
        let table = disk.get(start..start.saturating_add(length));
        let checksum = crc32fast::hash(table.unwrap_or_default());
        let header = &mut disk[sector * SECTOR..][..92];
        header[88..92].copy_from_slice(&checksum.to_le_bytes());
        header[16..20].fill(0);
        let checksum = crc32fast::hash(header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Names as images hold them.
pub(crate) fn names() -> Vec<Vec<u8>> {
    [
        "base.qcow2",
        "../images/base.raw",
        "/var/lib/images/base.qcow2",
        "file:base.qcow2",
        "file:///base.qcow2",
        "nbd://localhost:10809/export",
        "nbd+unix:///export?socket=/run/nbd",
        "https://example.org/base.img",
        "ssh://root@example.org/base",
        "fat:rw:/tmp",
        "blkdebug::base.img",
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"base.qcow2\"}}",
        "json:{\"file.filename\":\"x\",\"file.driver\":\"nbd\"}",
        "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"raw\",\"file\":{}}}",
        "json:[[[[[[[[",
        "C:\\images\\base.vhd",
        "a:b",
        "",
    ]
    .map(|name| name.as_bytes().to_vec())
    .to_vec()
}
