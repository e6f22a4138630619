//! One function for each parser: whatever the bytes are, it must return, and what it returns must
//! hold together. Shared by the fuzz targets, which look for bytes that break it, and by the tests,
//! which replay known and mutated ones.
//!
//! Nothing here opens a file; what is written to is memory of bounded size.

#![allow(
    dead_code,
    clippy::expect_used,
    reason = "shared by several programs; a broken promise ends them"
)]

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use platter::chain;
use platter::image::SnapshotSelector;
use platter::image::{self, CheckReport, Extent, ExtentState, Format, ImageDriver};
use platter::image::{Amendment, BitmapEdit, ImageWriter, Preallocation, WritableFiles};
use platter::storage::{MemoryStorage, Storage, WritableStorage};
use platter::table::{self, Region};
use platter::units::GuestOffset;
use platter::{Control, Error, ErrorKind, Result, Stop, fs, inspect};

/// Extents that are looked at before the rest is left alone: a small file can claim billions.
const MAX_EXTENTS: usize = 20_000;
/// Bytes of a read.
const READ: u64 = 64 << 10;
/// Reads of an image, and snapshots looked at.
const READS: usize = 24;
const SNAPSHOTS: usize = 4;

/// Whatever the bytes are, they have one format.
pub(crate) fn probe(bytes: &[u8]) {
    let storage = MemoryStorage::new(bytes.to_vec());
    let first = image::probe(&storage).expect("memory can be read");
    let second = image::probe(&storage).expect("memory can be read");
    assert_eq!(first, second, "two answers for the same bytes");
}

/// Opens the bytes as qcow2, maps and reads them. Whether they could be opened.
pub(crate) fn qcow2_open_read(bytes: &[u8]) -> bool {
    open_read(&(Arc::new(MemoryStorage::new(bytes.to_vec())) as Arc<dyn Storage>))
}

/// [`qcow2_open_read`] of any storage.
pub(crate) fn open_read(storage: &Arc<dyn Storage>) -> bool {
    let image = match image::open(Arc::clone(storage), Format::Qcow2) {
        Ok(image) => image,
        Err(error) => {
            assert!(!error.message().is_empty());
            return false;
        }
    };
    let info = image.info();
    assert_eq!(info.format, Format::Qcow2);
    map_and_read(image.as_ref());
    for snapshot in info.snapshots.iter().take(SNAPSHOTS) {
        let selector = SnapshotSelector::Id(snapshot.id.clone());
        if let Ok(view) = image.snapshot_view(&selector) {
            map_and_read(view.as_ref());
        }
    }
    true
}

/// The map covers the disk without gap or overlap, and says what reading finds.
fn map_and_read(image: &dyn ImageDriver) {
    let size = image.virtual_size();
    let mut extents: Vec<Extent> = Vec::new();
    let mut end = 0;
    let mut count = 0;
    let result = image.for_each_extent(0..size, &mut |extent| {
        assert_eq!(extent.guest.start, end, "gap or overlap in the map");
        assert!(extent.guest.end > end && extent.guest.end <= size);
        end = extent.guest.end;
        count += 1;
        if count % 16 < 4 {
            extents.push(extent);
        }
        if count == MAX_EXTENTS {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    if result.is_ok() && count < MAX_EXTENTS {
        assert_eq!(end, size, "the map ends early");
    }
    let step = (extents.len() / READS).max(1);
    for extent in extents.iter().step_by(step) {
        read_extent(image, extent);
    }
    for offset in [0, size / 2, size.saturating_sub(READ)] {
        let _ = image.locate(GuestOffset(offset));
        read(image, offset..size.min(offset + READ));
    }
    let outside = image.read_at(
        &mut [0; 2],
        GuestOffset(size.saturating_sub(1)),
        &mut Vec::new(),
    );
    assert!(outside.is_err(), "a read behind the end succeeds");
}

/// Reads a range twice; what it says is the same both times.
fn read(image: &dyn ImageDriver, range: Range<u64>) -> Option<(Vec<u8>, Vec<Range<u64>>)> {
    let length = usize::try_from(range.end - range.start).expect("reads are short");
    let once = || {
        let mut buf = vec![0xa5; length];
        let mut missing = Vec::new();
        let result = image.read_at(&mut buf, GuestOffset(range.start), &mut missing);
        result.ok().map(|()| (buf, missing))
    };
    let (first, second) = (once(), once());
    assert!(first == second, "two reads of {range:?} differ");
    let (buf, missing) = first?;
    let mut at = range.start;
    for gap in &missing {
        assert!(at <= gap.start && gap.start < gap.end && gap.end <= range.end);
        at = gap.end;
    }
    Some((buf, missing))
}

fn read_extent(image: &dyn ImageDriver, extent: &Extent) {
    let range = extent.guest.start..extent.guest.end.min(extent.guest.start + READ);
    let Some((buf, missing)) = read(image, range.clone()) else {
        return;
    };
    let is_missing = !missing.is_empty();
    match extent.state {
        ExtentState::Unallocated { .. } => {
            let bytes: u64 = missing.iter().map(|gap| gap.end - gap.start).sum();
            assert_eq!(bytes, range.end - range.start, "{extent:?} is not missing");
        }
        ExtentState::Zero { .. } => {
            assert!(
                !is_missing && buf.iter().all(|byte| *byte == 0),
                "{extent:?}"
            );
        }
        ExtentState::Data { host } => {
            assert!(!is_missing, "{extent:?} is missing");
            let mut stored = vec![0; buf.len()];
            if image
                .data_storage()
                .read_padded_at(&mut stored, host.0)
                .is_ok()
            {
                assert!(stored == buf, "{extent:?} reads otherwise");
            }
        }
        ExtentState::Compressed => assert!(!is_missing, "{extent:?} is missing"),
    }
}

/// Checks the bytes as qcow2.
pub(crate) fn qcow2_check(bytes: &[u8]) {
    check(Arc::new(MemoryStorage::new(bytes.to_vec())));
}

/// [`qcow2_check`] of any storage. The report, if it could be opened and checked.
pub(crate) fn check(storage: Arc<dyn Storage>) -> Option<CheckReport> {
    let image = image::open(storage, Format::Qcow2).ok()?;
    match image.check(&Control::new()) {
        Ok(report) => {
            assert!(report.findings.len() <= CheckReport::MAX_FINDINGS);
            assert!(!report.is_clean() || report.findings.is_empty());
            assert!(report.compressed_clusters <= report.allocated_clusters);
            Some(report)
        }
        Err(Stop::Failed(error)) => {
            assert!(!error.message().is_empty());
            None
        }
        Err(Stop::Cancelled) => panic!("nobody cancelled it"),
    }
}

/// Longest file that a writer may make; behind it the disk is full.
const MAX_FILE: u64 = 64 << 20;
/// Changes made to an image.
const CHANGES: usize = 24;

/// Opens the bytes as qcow2 for change, and changes what it can. What is left can be looked at, and
/// what was sound stays so.
pub(crate) fn qcow2_write(bytes: &[u8]) {
    let storage = Arc::new(Bounded::new(bytes));
    let is_sound = || {
        let report = check(Arc::clone(&storage) as _);
        report.is_some_and(|report| report.corruptions == 0 && report.check_errors == 0)
    };
    let was_sound = is_sound();
    let files = WritableFiles {
        storage: Arc::clone(&storage) as _,
        data_file: None,
        backing: None,
    };
    let writer = match image::open_writable(files, Format::Qcow2) {
        Ok(writer) => writer,
        Err(error) => {
            assert!(!error.message().is_empty());
            return;
        }
    };
    // The same bytes, the same script.
    let mut random = Random(u64::from(crc32fast::hash(bytes)));
    for _ in 0..CHANGES {
        change(writer.as_ref(), was_sound, &mut random);
    }
    let flushed = writer.flush();
    drop(writer);
    assert!(
        !was_sound || flushed.is_err() || is_sound(),
        "a sound image was broken"
    );
    open_read(&(Arc::clone(&storage) as Arc<dyn Storage>));
}

/// One change, which may well fail.
fn change(writer: &dyn ImageWriter, is_sound: bool, random: &mut Random) {
    let size = writer.virtual_size();
    let cluster = 4096;
    let start = match random.below(4) {
        0 => random.below(size.max(1)),
        1 => size.saturating_sub(random.below(2 * cluster)),
        _ => random.below(size.clamp(1, 64 * cluster)),
    };
    let range = start
        ..start
            .saturating_add(1 + random.below(3 * cluster))
            .min(size.max(start));
    let control = Control::new();
    let snapshot = SnapshotSelector::Any(["1", "snap", "new"][random.below(3) as usize].into());
    match random.below(16) {
        0..5 => {
            let bytes = vec![random.next().to_le_bytes()[0]; (range.end - range.start) as usize];
            if writer.write_at(&bytes, GuestOffset(start)).is_ok() {
                let mut found = vec![0; bytes.len()];
                let read = writer.read_at(&mut found, GuestOffset(start), &mut Vec::new());
                let same = read.is_ok() && found == bytes;
                assert!(!is_sound || same, "what was written is not what is read");
            }
        }
        5 => drop(writer.write_compressed(&[7; 4096], GuestOffset(start / cluster * cluster))),
        6 => drop(writer.write_zeroes(range, random.below(2) == 0)),
        7 | 8 => drop(writer.discard(range, random.below(2) == 0)),
        9 => drop(writer.flush()),
        10 => drop(writer.create_snapshot("new", &control)),
        11 => drop(writer.apply_snapshot(&snapshot, &control)),
        12 => drop(writer.delete_snapshot(&snapshot, &control)),
        13 => {
            let size = random.next() >> (20 + random.below(40));
            let shrink = random.below(2) == 0;
            drop(writer.resize(size, shrink, Preallocation::Off, &control));
        }
        14 => {
            let edit = [BitmapEdit::Remove, BitmapEdit::Clear, BitmapEdit::Disable];
            let edit = &edit[random.below(3) as usize];
            drop(writer.edit_bitmap("bits", edit));
            let granularity = Some(4096);
            drop(writer.edit_bitmap("new", &BitmapEdit::Add { granularity }));
            drop(writer.merge_into_bitmap("new", std::slice::from_ref(&range)));
        }
        _ => {
            let amendment = Amendment {
                version: Some(2 + random.below(2) as u32),
                lazy_refcounts: (random.below(2) == 0).then_some(true),
                refcount_bits: (random.below(2) == 0).then(|| 1 << random.below(7)),
                ..Amendment::default()
            };
            drop(writer.amend(&amendment, &control));
        }
    }
}

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Memory that is full at [`MAX_FILE`], so that a hostile offset costs nothing.
#[derive(Debug)]
struct Bounded {
    memory: MemoryStorage,
}

impl Bounded {
    fn new(bytes: &[u8]) -> Self {
        Self {
            memory: MemoryStorage::new(bytes.to_vec()),
        }
    }

    fn check(end: u64) -> Result<()> {
        if end <= MAX_FILE {
            return Ok(());
        }
        Err(Error::io("cannot write", io::ErrorKind::StorageFull.into()))
    }
}

impl Storage for Bounded {
    fn size(&self) -> Result<u64> {
        self.memory.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.memory.read_at(buf, offset)
    }
}

impl WritableStorage for Bounded {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        Self::check(offset.saturating_add(buf.len() as u64))?;
        self.memory.write_at(buf, offset)
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        Self::check(range.end)?;
        self.memory.write_zeroes(range)
    }

    fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        self.memory
            .punch_hole(range.start.min(MAX_FILE)..range.end.min(MAX_FILE))
    }

    fn allocate(&self, range: Range<u64>) -> Result<()> {
        Self::check(range.end)?;
        self.memory.allocate(range)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        Self::check(length)?;
        self.memory.set_len(length)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// Reads the bytes as a disk with a partition table.
pub(crate) fn table(bytes: &[u8]) {
    disk(&MemoryStorage::new(bytes.to_vec()));
}

/// [`table`] of any storage.
pub(crate) fn disk(disk: &dyn Storage) {
    let size = disk.size().expect("it has a size");
    let Ok(table) = table::read(disk) else {
        return;
    };
    for partition in &table.partitions {
        assert!(partition.range.start <= partition.range.end);
    }
    let mut covered = 0;
    for region in table.regions() {
        if let Region::Free { range, .. } = region {
            assert!(range.start < range.end && range.end <= size.max(1));
            covered += 1;
        }
    }
    assert!(
        covered <= table.partitions.len() + 2,
        "more gaps than partitions"
    );
}

/// Recognises the bytes as the content of a volume, and as a whole disk.
pub(crate) fn volume(bytes: &[u8]) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new(bytes.to_vec()));
    identify(storage.as_ref());
    let _ = inspect::Contents::read(&storage);
}

/// Recognises what is in a volume.
pub(crate) fn identify(volume: &dyn Storage) {
    match fs::identify(volume) {
        Ok(Some(found)) => {
            if let Some(usage) = found.usage {
                assert!(usage.used.checked_add(usage.free).is_some(), "{found:?}");
            }
        }
        Ok(None) => {}
        Err(error) => assert_ne!(error.kind(), ErrorKind::InvalidInput, "{error:?}"),
    }
}

/// Understands the bytes as the name of a backing file.
pub(crate) fn chain_name(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    let image = Path::new("/images/overlay.qcow2");
    let first = chain::resolve(&name, image);
    assert!(
        first == chain::resolve(&name, image),
        "two meanings of {name:?}"
    );
}
