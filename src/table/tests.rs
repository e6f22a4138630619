//! Tables made by hand: the damaged and the hostile ones that no program writes.

use super::*;
use crate::storage::MemoryStorage;

const SECTOR: usize = 512;

/// A disk in memory.
struct Disk(Vec<u8>);

impl Disk {
    fn new(sectors: usize) -> Self {
        Self(vec![0; sectors * SECTOR])
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Writes an entry of the boot record in `sector`, and its signature.
    fn entry(&mut self, sector: usize, slot: usize, kind: u8, start: u32, sectors: u32) {
        let at = sector * SECTOR + 446 + 16 * (slot - 1);
        self.put(at + 4, &[kind])
            .put(at + 8, &start.to_le_bytes())
            .put(at + 12, &sectors.to_le_bytes())
            .put(sector * SECTOR + 510, &[0x55, 0xaa]);
    }

    fn read(&self) -> PartitionTable {
        read(&MemoryStorage::new(self.0.clone())).unwrap()
    }

    fn messages(&self) -> Vec<String> {
        let damage = self.read().damage;
        damage
            .into_iter()
            .map(|damage| damage.message.to_string())
            .collect()
    }

    /// A GPT of 128 entries, both copies, with `partitions` as first and last sectors.
    fn gpt(sectors: usize, partitions: &[(u64, u64)]) -> Self {
        let mut disk = Self::new(sectors);
        let last = sectors as u64 - 1;
        disk.entry(0, 1, 0xee, 1, u32::try_from(last).unwrap());
        for (index, (first, end)) in partitions.iter().enumerate() {
            let at = 2 * SECTOR + 128 * index;
            disk.put(at, &[0x11; 16])
                .put(at + 16, &[u8::try_from(index).unwrap() + 1; 16])
                .put(at + 32, &first.to_le_bytes())
                .put(at + 40, &end.to_le_bytes());
        }
        let array = disk.0[2 * SECTOR..34 * SECTOR].to_vec();
        disk.put((sectors - 33) * SECTOR, &array);
        for (own, other, entries) in [(1, last, 2), (last, 1, last - 32)] {
            let at = usize::try_from(own).unwrap() * SECTOR;
            disk.put(at, b"EFI PART\0\0\x01\0\x5c\0\0\0")
                .put(at + 24, &own.to_le_bytes())
                .put(at + 32, &other.to_le_bytes())
                .put(at + 40, &34_u64.to_le_bytes())
                .put(at + 48, &(last - 33).to_le_bytes())
                .put(at + 56, &[0xdd; 16])
                .put(at + 72, &entries.to_le_bytes())
                .put(at + 80, &128_u32.to_le_bytes())
                .put(at + 84, &128_u32.to_le_bytes())
                .put(at + 88, &crc32fast::hash(&array).to_le_bytes());
            disk.seal(at);
        }
        disk
    }

    /// Makes the checksum of the GPT header at `at` right again.
    fn seal(&mut self, at: usize) {
        self.put(at + 16, &[0; 4]);
        let crc = crc32fast::hash(&self.0[at..at + 92]);
        self.put(at + 16, &crc.to_le_bytes());
    }
}

#[test]
fn a_handmade_gpt_is_whole() {
    let table = Disk::gpt(2048, &[(34, 99), (200, 299)]).read();
    assert_eq!(table.damage, []);
    assert_eq!(table.partitions[0].range, 34 * 512..100 * 512);
    assert_eq!(table.partitions[1].range, 200 * 512..300 * 512);
    assert_eq!(table.usable, 34 * 512..2015 * 512);
}

#[test]
fn hostile_gpt_headers_are_named_and_cost_nothing() {
    let cases: [(usize, &[u8], &str); 8] = [
        (12, &[0xff; 4], "header size 4294967295 is not within 92"),
        (12, &[91, 0, 0, 0], "header size 91 is not within 92"),
        (80, &[0xff; 4], "it claims 4294967295 entries of 128 bytes"),
        (84, &[129, 0, 0, 0], "entry size 129 is not"),
        (84, &[0, 32, 0, 0], "entry size 8192 is not"),
        (72, &[0xff; 8], "its entries in sector 18446744073709551615"),
        (72, &[1, 0, 0, 0], "its entries in sector 1 lie on"),
        (48, &[0; 8], "its usable sectors 34 to 0"),
    ];
    for (field, value, expected) in cases {
        let mut disk = Disk::gpt(2048, &[(34, 99)]);
        disk.put(SECTOR + field, value);
        disk.seal(SECTOR);
        let table = disk.read();
        assert_eq!(table.partitions.len(), 1, "the backup is read: {expected}");
        let message = table.damage[0].message.to_string();
        assert!(message.contains(expected), "{message}");
        assert!(message.ends_with("; the backup is used"));
    }
}

#[test]
fn both_copies_gone() {
    let mut disk = Disk::gpt(2048, &[(34, 99)]);
    disk.put(SECTOR, b"x").put(2047 * SECTOR, b"x");
    let table = disk.read();
    assert_eq!(table.kind, TableKind::Gpt);
    assert!(table.partitions.is_empty() && table.regions().is_empty());
    assert!(table.damage[0].serious);
    assert!(
        table.damage[0]
            .message
            .to_string()
            .contains("the partitions are lost")
    );
}

#[test]
fn a_primary_that_is_its_own_backup() {
    let mut disk = Disk::gpt(2048, &[(34, 99)]);
    disk.put(SECTOR + 32, &1_u64.to_le_bytes());
    disk.seal(SECTOR);
    assert_eq!(
        disk.messages(),
        ["primary GPT names sector 1 as the place of its backup"]
    );
}

#[test]
fn gpt_partitions_that_cannot_be() {
    let disk = Disk::gpt(
        2048,
        &[
            (300, 200),
            (0, u64::MAX),
            (34, 199),
            (100, 299),
            (1900, 2040),
            (5000, 5001),
        ],
    );
    let table = disk.read();
    let numbers: Vec<u32> = table.partitions.iter().map(|p| p.number).collect();
    assert_eq!(numbers, [3, 4, 5, 6]);
    assert_eq!(
        disk.messages(),
        [
            "partition 1 claims sectors 300 to 200: left out",
            "partition 2 claims sectors 0 to 18446744073709551615: left out",
            "partition 5 (sectors 1900 to 2040) is not within the usable sectors 34 to 2014",
            "partition 6 (sectors 5000 to 5001) is not within the usable sectors 34 to 2014",
            "partition 6 begins 1.44 MiB behind the end of the disk",
            "partitions 3 and 4 overlap by 50 KiB",
        ]
    );
    assert_eq!(table.regions().len(), 5);
}

#[test]
fn findings_are_bounded() {
    let partitions: Vec<_> = (0..100).map(|i| (9000 + i, 9001)).collect();
    let messages = Disk::gpt(2048, &partitions).messages();
    assert_eq!(messages.len(), 65);
    assert!(messages[64].ends_with("more findings of this kind"));
}

#[test]
fn protective_mbr_of_the_wrong_size() {
    let mut disk = Disk::gpt(2048, &[(34, 99)]);
    disk.entry(0, 1, 0xee, 1, 1000);
    assert_eq!(
        disk.messages(),
        ["protective MBR covers 500 KiB of a 1 MiB disk"]
    );
    disk.entry(0, 1, 0xee, 1, u32::MAX);
    assert_eq!(disk.messages(), [""; 0]);
    disk.put(510, &[0, 0]);
    assert!(disk.messages()[0].starts_with("protective MBR has lost its signature"));
}

#[test]
fn loops_of_logical_partitions_end() {
    // To itself, back to the first, forth and back.
    for links in [&[0][..], &[10, 0], &[10, 20, 10]] {
        let mut disk = Disk::new(2048);
        disk.entry(0, 1, 0x05, 100, 1000);
        let mut at = 100;
        for (index, link) in links.iter().enumerate() {
            disk.entry(at, 1, 0x83, 1, 5);
            disk.entry(at, 2, 0x05, *link, 10);
            if index + 1 < links.len() {
                at = 100 + usize::try_from(*link).unwrap();
            }
        }
        let table = disk.read();
        assert_eq!(table.damage.len(), 1, "{:?}", table.damage);
        assert!(
            table.damage[0]
                .message
                .to_string()
                .contains("runs in a circle")
        );
        assert!(table.damage[0].serious);
        assert_eq!(table.partitions.len(), 1 + links.len());
    }
}

#[test]
fn links_stay_inside_the_extended_partition() {
    for link in [1000, u32::MAX] {
        let mut disk = Disk::new(2048);
        disk.entry(0, 1, 0x0f, 100, 1000);
        disk.entry(100, 1, 0x83, 1, 5);
        disk.entry(100, 2, 0x05, link, 10);
        let messages = disk.messages();
        assert_eq!(messages.len(), 1);
        assert!(messages[0].contains("leads out of the extended one"));
    }
    let mut disk = Disk::new(2048);
    disk.entry(0, 1, 0x85, 0, 1000);
    assert_eq!(
        disk.messages(),
        ["the extended partition begins at the MBR itself"]
    );
}

#[test]
fn thousands_of_logical_partitions_are_cut_off() {
    let mut disk = Disk::new(4096);
    disk.entry(0, 1, 0x05, 1, 4000);
    for index in 0..1000 {
        disk.entry(1 + 2 * index, 1, 0x83, 1, 1);
        let next = u32::try_from(2 * (index + 1)).unwrap();
        disk.entry(1 + 2 * index, 2, 0x05, next, 2);
    }
    let table = disk.read();
    assert_eq!(table.partitions.len(), 257);
    assert_eq!(table.partitions[256].number, 260);
    assert!(
        table.damage[0]
            .message
            .to_string()
            .starts_with("more than 256 logical")
    );
}

#[test]
fn mbr_ranges_do_not_wrap() {
    let mut disk = Disk::new(2048);
    disk.entry(0, 1, 0x83, 1, u32::MAX);
    disk.entry(0, 2, 0x05, 10, u32::MAX);
    disk.entry(10, 1, 0x83, u32::MAX, u32::MAX);
    let table = disk.read();
    assert_eq!(table.partitions.len(), 3);
    assert_eq!(
        table.partitions[2].range,
        (10 + 0xffff_ffff) * 512..(10 + 2 * 0xffff_ffff) * 512
    );
    assert!(table.damage.iter().all(|damage| damage.serious));
    let free = Region::Free {
        range: 11 * 512..2048 * 512,
        logical: true,
    };
    assert_eq!(table.regions().len(), 4);
    assert!(table.regions().contains(&free));
}

#[test]
fn hybrid_iso_images_have_a_partition_from_sector_zero() {
    let mut disk = Disk::new(2048);
    disk.put(440, &0x1234_5678_u32.to_le_bytes());
    disk.put(446, &[0x80]);
    disk.entry(0, 1, 0x00, 0, 2000);
    disk.entry(0, 2, 0xef, 100, 200);
    let table = disk.read();
    assert_eq!(table.kind, TableKind::Mbr);
    assert_eq!(table.id.as_deref(), Some("0x12345678"));
    assert_eq!(table.partitions[0].range, 0..2000 * 512);
    assert!(table.partitions[0].active);
    assert_eq!(table.partitions[1].type_name, "EFI System");
    assert_eq!(disk.messages(), ["partitions 1 and 2 overlap by 100 KiB"]);
}

#[test]
fn boot_code_is_no_table() {
    let mut disk = Disk::new(2048);
    disk.put(446, &[0xb8; 64]).put(510, &[0x55, 0xaa]);
    let table = disk.read();
    assert_eq!(table.kind, TableKind::None);
    assert!(
        table.damage[0]
            .message
            .to_string()
            .contains("make no sense")
    );
    assert_eq!(Disk::new(0).read().kind, TableKind::None);
    assert_eq!(Disk::new(1).read().kind, TableKind::None);
}
