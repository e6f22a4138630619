//! Partition tables and file systems with random bytes in them: whatever they say, they are read
//! to an end, with no panic and a bounded number of bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "places inside a page")]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use common::volume::Image;
use common::{run, run_with_input, tool};
use platter::storage::Storage;
use platter::{Error, ErrorKind, Result, fs, table};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// A disk of which only the pages that are not zero are kept, and that counts what is read.
#[derive(Debug, Default)]
struct Sparse {
    size: u64,
    pages: BTreeMap<u64, Vec<u8>>,
    read: AtomicU64,
}

impl Sparse {
    fn load(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let size = file.metadata().unwrap().len();
        let mut pages = BTreeMap::new();
        let mut page = vec![0; PAGE as usize];
        for offset in (0..size / PAGE * PAGE).step_by(PAGE as usize) {
            file.read_exact_at(&mut page, offset).unwrap();
            if page.iter().any(|byte| *byte != 0) {
                pages.insert(offset, page.clone());
            }
        }
        Self {
            size,
            pages,
            read: AtomicU64::new(0),
        }
    }

    /// A copy with the changes made: (a number that chooses a page, a place in it, a value).
    fn changed(&self, changes: &[Change]) -> Self {
        let mut pages = self.pages.clone();
        let offsets: Vec<u64> = pages.keys().copied().collect();
        for change in changes {
            // Half of the changes hit the first two pages: boot sectors and superblocks.
            let chosen = match change.page % (offsets.len() * 2) {
                any if any < offsets.len() => any,
                first => first % offsets.len().min(2),
            };
            let offset = offsets[chosen];
            let page = pages.get_mut(&offset).unwrap();
            let bytes = change.value.to_le_bytes();
            let at = change.place % (PAGE as usize - bytes.len());
            page[at..at + change.width].copy_from_slice(&bytes[..change.width]);
        }
        Self {
            size: self.size,
            pages,
            read: AtomicU64::new(0),
        }
    }
}

impl Storage for Sparse {
    fn size(&self) -> Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(Error::new(ErrorKind::OutOfBounds, "behind the end"));
        }
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        buf.fill(0);
        let first = offset / PAGE * PAGE;
        for (start, page) in self.pages.range(first..end.unwrap_or(offset)) {
            for (index, byte) in page.iter().enumerate() {
                let at = (start + index as u64).wrapping_sub(offset);
                if at < buf.len() as u64 {
                    buf[at as usize] = *byte;
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Change {
    page: usize,
    place: usize,
    width: usize,
    value: u64,
}

/// Numbers that break arithmetic more often than chance does.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let value = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(i64::MAX.cast_unsigned()),
        Just(u64::from(u32::MAX)),
        (0..64_u32).prop_map(|bit| 1 << bit),
        any::<u64>(),
    ];
    // Headers are dense at the beginning of a page or of its sectors.
    let place = prop_oneof![0..512_usize, 0..4096_usize, 1024..1536_usize];
    let width = prop_oneof![Just(1_usize), Just(2), Just(4), Just(8)];
    let change =
        (any::<usize>(), place, width, value).prop_map(|(page, place, width, value)| Change {
            page,
            place,
            width,
            value,
        });
    prop::collection::vec(change, 1..6)
}

/// Runs `check` on `cases` changed copies of `base`, the same ones every time.
fn torment(base: &Sparse, cases: u32, check: impl Fn(&Sparse)) {
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(2026),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&changes(), |changes| {
            check(&base.changed(&changes));
            Ok(())
        })
        .unwrap();
}

/// A volume may be streamed once for its free map, and read a few MiB beside.
fn identifies(volume: &Sparse) {
    let found = fs::identify(volume).unwrap();
    let read = volume.read.load(Ordering::Relaxed);
    assert!(read <= volume.size + 8 * MIB, "{read} bytes were read");
    if let Some(found) = found {
        let mut end = 0;
        let _whole: bool = fs::free_extents(volume, found.kind, &mut |extent| {
            assert!(end <= extent.start && extent.start < extent.end);
            end = extent.end;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(end <= volume.size, "free space behind the end");
        let texts = found.details.iter().map(|(_, value)| value);
        for text in texts
            .chain(&found.notes)
            .chain(&found.label)
            .chain(&found.uuid)
        {
            assert!(text.len() < 4096 && !text.contains('\u{1b}'), "{text}");
        }
        if let Some(usage) = found.usage {
            assert!(usage.used.checked_add(usage.free).is_some());
        }
    }
}

fn reads_table(disk: &Sparse) {
    let table = table::read(disk).unwrap();
    let read = disk.read.load(Ordering::Relaxed);
    assert!(read <= 8 * MIB, "{read} bytes were read");
    let regions = table.regions();
    let told = regions
        .iter()
        .filter(|region| matches!(region, table::Region::Partition(_)))
        .count();
    assert_eq!(told, table.partitions.len());
    assert!(regions.len() <= 3 * table.partitions.len() + 1);
    assert!(table.damage.len() <= 66);
}

#[test]
fn changed_tables() {
    for script in [
        "label: gpt\nsize=1M\nsize=2M, name=\"data\"\nsize=1M\n",
        "label: dos\nsize=1M\nstart=4M, size=10M, type=5\nsize=1M\nstart=20M, size=1M\n\
         size=1M\nsize=1M\n",
    ] {
        let image = Image::new(32 * MIB);
        run_with_input(tool("sfdisk").arg("--quiet").arg(&image.path), script);
        torment(&Sparse::load(&image.path), 256, reads_table);
    }
}

#[test]
fn changed_file_systems() {
    let made: [(u64, &str, &[&str]); 9] = [
        (16, "mkfs.ext4", &["-q", "-O", "64bit,metadata_csum"]),
        (8, "mkfs.fat", &["-F", "12"]),
        (16, "mkfs.fat", &["-F", "16"]),
        (40, "mkfs.fat", &["-F", "32"]),
        (16, "mkfs.exfat", &["-L", "label"]),
        (16, "mkfs.ntfs", &["-F", "-Q", "-q", "-L", "label"]),
        (120, "mkfs.btrfs", &["-q"]),
        (64, "mkfs.f2fs", &["-q"]),
        (4, "mkswap", &["-q"]),
    ];
    for (mib, program, options) in made {
        let image = Image::made(mib * MIB, program, options);
        torment(&Sparse::load(&image.path), 96, identifies);
    }
}

#[test]
fn changed_containers() {
    let image = Image::new(20 * MIB);
    run_with_input(
        tool("cryptsetup")
            .args(["luksFormat", "--batch-mode", "--type", "luks2"])
            .args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"])
            .arg(&image.path)
            .arg("-"),
        "passphrase",
    );
    torment(&Sparse::load(&image.path), 96, identifies);

    let image = Image::new(0);
    let files = image.files();
    run(tool("genisoimage")
        .args(["-quiet", "-J", "-V", "volume", "-o"])
        .arg(&image.path)
        .arg(files));
    torment(&Sparse::load(&image.path), 96, identifies);
}

#[test]
fn random_volumes() {
    let config = ProptestConfig {
        cases: 64,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let signatures: [(usize, &[u8]); 12] = [
        (1080, &[0x53, 0xef]),
        (3, b"NTFS    "),
        (3, b"EXFAT   "),
        (82, b"FAT32   "),
        (0, b"XFSB"),
        (65_600, b"_BHRfS_M"),
        (0, b"LUKS\xba\xbe\0\x02"),
        (512, b"LABELONE"),
        (32, b"NXSB"),
        (1024, b"H+\0\x04"),
        (16_384, &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        (3, b"-FVE-FS-"),
    ];
    let random = prop::collection::vec(any::<u8>(), 72 << 10);
    TestRunner::new(config)
        .run(&random, |bytes| {
            for (at, signature) in signatures {
                let mut bytes = bytes.clone();
                bytes[at..at + signature.len()].copy_from_slice(signature);
                bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
                let mut sparse = Sparse {
                    size: bytes.len() as u64,
                    ..Sparse::default()
                };
                for (index, page) in bytes.chunks(PAGE as usize).enumerate() {
                    sparse.pages.insert(index as u64 * PAGE, page.to_vec());
                }
                identifies(&sparse);
                sparse.read.store(0, Ordering::Relaxed);
                reads_table(&sparse);
            }
            Ok(())
        })
        .unwrap();
}
