//! What no program here can make on a file (physical volumes, the formats of other systems) is laid
//! down by hand, field by field, and `blkid` is asked whether that is what it claims to be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "the numbers are the test's own"
)]

mod common;

use common::physical_volume::Block;
use common::volume::{Image, detail, free, used};
use common::{run, tool};
use platter::fs::FsKind;
use uuid::Uuid;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

mod lvm {
    use super::*;
    use common::physical_volume::{ID, logical_volume, physical_volume, text};

    #[test]
    fn group_and_volumes() {
        let visible = "\"READ\", \"WRITE\", \"VISIBLE\"";
        let text = text(
            &[
                logical_volume("root", visible, 100, "\"pv0\", 0"),
                logical_volume("swap_1", visible, 20, "\"pv0\", 100, \"pv1\", 0"),
                logical_volume("pool_tmeta", "\"READ\"", 5, "\"pv1\", 50"),
            ]
            .concat(),
        );
        // In one piece, and around the end of the ring.
        for at in [512, MIB - 4096 - 300] {
            let image = physical_volume(&text, at);
            let found = image.equals_blkid(FsKind::Lvm2, "LVM2_member");
            assert_eq!(found.uuid.as_deref(), Some(ID));
            assert_eq!(found.size, Some(GIB));
            assert_eq!(detail(&found, "volume group"), "data-vg");
            assert_eq!(
                detail(&found, "logical volumes"),
                "root (400 MiB), swap_1 (80 MiB)"
            );
            assert_eq!(detail(&found, "physical volumes"), "2");
            assert_eq!(free(&found), (255 - 110) * 4 * MIB);
            assert_eq!(used(&found), GIB - free(&found));
            assert_eq!(found.notes, [""; 0]);

            let theirs = run(tool("pvck").args(["--dump", "metadata"]).arg(&image.path));
            assert!(theirs.contains("vgname data-vg seqno 3"), "{theirs}");
        }
    }

    #[test]
    fn damage_is_said_or_skipped() {
        let text = text("");
        let image = physical_volume(&text, 512);
        image.overwrite(512 + 65, b"x");
        let found = image.identify();
        assert_eq!(found.notes[0], "checksum of its label does not match");

        let image = physical_volume(&text, 512);
        image.overwrite(4096 + 512 + 20, b"x");
        let found = image.identify();
        assert_eq!(detail(&found, "volume group"), "none");
        assert_eq!(found.usage, None);

        // A label that points at itself, and one that points nowhere.
        for offset in [512_u64, u64::MAX - 100, GIB - 100] {
            let image = physical_volume(&text, 512);
            image.overwrite(512 + 104, &offset.to_le_bytes());
            assert_eq!(detail(&image.identify(), "volume group"), "none");
        }
    }
}

#[test]
fn apfs_container() {
    let uuid = Uuid::from_u128(0x0102_0304_0506_4708_890a_0b0c_0d0e_0f10);
    let mut block = Block::default();
    block
        .put(8, &1_u64.to_le_bytes())
        .put(16, &7_u64.to_le_bytes())
        .put(24, &0x8000_0001_u32.to_le_bytes())
        .put(32, b"NXSB")
        .put(36, &4096_u32.to_le_bytes())
        .put(40, &(GIB / 4096).to_le_bytes())
        .put(72, uuid.as_bytes())
        .put(184, &1026_u64.to_le_bytes())
        .put(192, &1028_u64.to_le_bytes())
        .padded(4096);
    let sum = |words: &[u8]| {
        let (mut a, mut b) = (0_u64, 0_u64);
        for word in words.chunks(4) {
            a = (a + u64::from(u32::from_le_bytes(word.try_into().unwrap()))) % 0xffff_ffff;
            b = (b + a) % 0xffff_ffff;
        }
        (a, b)
    };
    let (a, b) = sum(&block.0[8..]);
    let low = 0xffff_ffff - (a + b) % 0xffff_ffff;
    let high = 0xffff_ffff - (a + low) % 0xffff_ffff;
    block.put(0, &(high << 32 | low).to_le_bytes());
    let image = Image::new(GIB);
    image.overwrite(0, &block.0);
    let found = image.equals_blkid(FsKind::Apfs, "apfs");
    assert_eq!(found.size, Some(GIB));
    assert_eq!(detail(&found, "volumes"), "2");
    assert_eq!(found.notes, [""; 0]);
    image.overwrite(90, &[1]);
    assert!(image.identify().notes[0].starts_with("checksum of its superblock"));
}

#[test]
fn hfs_plus() {
    let mut header = Block::default();
    header
        .put(0, b"H+")
        .put(2, &4_u16.to_be_bytes())
        .put(4, &0x2100_u32.to_be_bytes())
        .put(32, &12_u32.to_be_bytes())
        .put(40, &4096_u32.to_be_bytes())
        .put(44, &((64 * MIB / 4096) as u32).to_be_bytes())
        .put(48, &1000_u32.to_be_bytes())
        .put(104, &0x1122_3344_5566_7788_u64.to_be_bytes())
        .put(272 + 16, &10_u32.to_be_bytes())
        .put(272 + 20, &4_u32.to_be_bytes())
        .padded(512);
    let name: Vec<u8> = "Macintosh Größe"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let mut catalog = Block::default();
    catalog
        .put(8, &[1])
        .put(20, &1_u32.to_be_bytes())
        .put(24, &1_u32.to_be_bytes())
        .put(32, &4096_u16.to_be_bytes())
        .put(4096 + 8, &[0xff, 1, 0, 1])
        .put(4096 + 14, &((6 + name.len()) as u16).to_be_bytes())
        .put(4096 + 16, &1_u32.to_be_bytes())
        .put(4096 + 20, &((name.len() / 2) as u16).to_be_bytes())
        .put(4096 + 22, &name)
        .padded(8192);
    let image = Image::new(64 * MIB);
    image.overwrite(1024, &header.0);
    image.overwrite(10 * 4096, &catalog.0);
    let found = image.equals_blkid(FsKind::HfsPlus, "hfsplus");
    assert_eq!(found.label.as_deref(), Some("Macintosh Größe"));
    assert_eq!(free(&found), 1000 * 4096);
    assert_eq!(found.size, Some(64 * MIB));
    assert_eq!(detail(&found, "journal"), "yes");
    assert_eq!(found.notes, [""; 0]);
    image.overwrite(1024 + 4, &0_u32.to_be_bytes());
    assert_eq!(image.identify().notes, ["was not unmounted cleanly"]);
}

#[test]
fn zfs_member() {
    fn pair(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = (name.len() as u32).to_be_bytes().to_vec();
        bytes.extend(name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(1_u32.to_be_bytes());
        bytes.extend(value);
        let size = (bytes.len() as u32 + 8).to_be_bytes();
        [&size[..], &size, &bytes].concat()
    }
    let number = |name: &str, value: u64| pair(name, 8, &value.to_be_bytes());
    let text = |name: &str, value: &str| {
        let mut bytes = (value.len() as u32).to_be_bytes().to_vec();
        bytes.extend(value.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        pair(name, 9, &bytes)
    };
    let list =
        |pairs: &[Vec<u8>]| [&[0, 0, 0, 0, 0, 0, 0, 1], &pairs.concat()[..], &[0; 8]].concat();
    let tree = list(&[
        text("type", "disk"),
        number("ashift", 12),
        number("asize", 60 * MIB),
    ]);
    let label = list(&[
        number("version", 5000),
        text("name", "tank"),
        number("state", 0),
        number("pool_guid", 12_345_678_901_234_567_890),
        text("hostname", "vm\u{1b}[2J"),
        number("guid", 42),
        pair("vdev_tree", 19, &tree),
    ]);
    let image = Image::new(64 * MIB);
    image.overwrite(16 << 10, &[&[1, 1, 0, 0][..], &label].concat());
    for index in 0..8 {
        image.overwrite((128 << 10) + index * 1024, &0x00ba_b10c_u64.to_le_bytes());
        image.overwrite((384 << 10) + index * 1024, &0x00ba_b10c_u64.to_le_bytes());
    }
    let found = image.equals_blkid(FsKind::Zfs, "zfs_member");
    assert_eq!(found.label.as_deref(), Some("tank"));
    assert_eq!(found.size, Some(60 * MIB));
    assert_eq!(found.block_size, Some(4096));
    assert_eq!(detail(&found, "last used by"), "vm\u{fffd}[2J");
    assert_eq!(found.notes, ["its pool was not exported"]);
}

#[test]
fn bitlocker() {
    let guid = Uuid::parse_str("4967d63b-2e29-4ad8-8399-f6a339e3d001").unwrap();
    let volume = Uuid::from_u128(0xaabb_ccdd_eeff_4011_8022_3344_5566_7788);
    let mut boot = Block::default();
    boot.put(0, &[0xeb, 0x58, 0x90])
        .put(3, b"-FVE-FS-")
        .put(160, &guid.to_bytes_le())
        .put(176, &(8 * MIB).to_le_bytes())
        .put(184, &(16 * MIB).to_le_bytes())
        .put(192, &(24 * MIB).to_le_bytes())
        .put(510, &[0x55, 0xaa]);
    let mut metadata = Block::default();
    metadata
        .put(0, b"-FVE-FS-")
        .put(8, &10_u16.to_le_bytes())
        .put(10, &2_u16.to_le_bytes())
        .put(16, &(64 * MIB).to_le_bytes())
        .put(80, &volume.to_bytes_le())
        .put(100, &0x8004_8004_u32.to_le_bytes())
        .padded(512);
    let image = Image::new(64 * MIB);
    image.overwrite(0, &boot.0);
    image.overwrite(8 * MIB, &metadata.0);
    image.overwrite(16 * MIB, &metadata.0);
    assert_eq!(image.blkid("TYPE").as_deref(), Some("BitLocker"));
    image.overwrite(8 * MIB, &[0; 512]);
    let found = image.identify();
    assert_eq!(found.kind, FsKind::BitLocker);
    assert_eq!(found.uuid, Some(volume.to_string()));
    assert_eq!(detail(&found, "cipher"), "AES-XTS 128");
    assert_eq!(found.size, Some(64 * MIB));
}

#[test]
fn old_signatures_below_a_new_file_system_are_told() {
    let image = Image::made(64 * MIB, "mkfs.ext4", &["-q"]);
    image.overwrite(65_536 + 64, b"_BHRfS_M");
    assert_eq!(
        image.identify().notes,
        ["also carries the signature of btrfs"]
    );
    assert_eq!(image.identify().kind, FsKind::Ext4);
}
