//! How much I/O and memory operations take. Unlike times, these do not depend on the machine: the
//! figures are promises.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use common::inputs::{Mapped, Scattered};
use peak_alloc::PeakAlloc;
use platter::image::{self, Before, Format, ImageDriver, Qcow2Builder, Qcow2Options};
use platter::storage::{
    Fault, FaultStorage, FileStorage, LockMode, MemoryStorage, NewFile, Storage,
};
use platter::{Control, fs, table};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One test at a time: memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;

/// A storage that only counts.
fn counting(inner: Arc<dyn Storage>) -> Arc<FaultStorage> {
    Arc::new(FaultStorage::new(inner, Fault::Never))
}

fn open(storage: &Arc<FaultStorage>) -> Box<dyn ImageDriver> {
    image::open(Arc::clone(storage) as Arc<dyn Storage>, Format::Qcow2).expect("the image opens")
}

fn map(image: &dyn ImageDriver) -> u64 {
    let mut extents = 0;
    let visit = &mut |_| {
        extents += 1;
        ControlFlow::Continue(())
    };
    image
        .for_each_extent(0..image.virtual_size(), visit)
        .unwrap();
    extents
}

/// Peak memory of `work` above what is in use before.
fn peak(work: impl FnOnce()) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    work();
    MEMORY.peak_usage().saturating_sub(before)
}

#[test]
fn tables_that_follow_each_other_are_read_sixteen_at_a_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = common::scratch();
    let path = folder.path().join("scattered.qcow2");
    let tables = 128;
    let input = Scattered {
        virtual_size: tables << 29,
        clusters: 2000,
        ..Scattered::small()
    };
    input.write(&path).unwrap();
    let file = counting(Arc::new(FileStorage::open(&path, LockMode::Read).unwrap()));
    let image = open(&file);

    file.reset();
    assert!(map(image.as_ref()) >= 2000);
    // The L1 table, and the tables by the megabyte.
    assert!(
        file.reads() <= 1 + tables / 16,
        "map: {} reads",
        file.reads()
    );
    assert!(file.bytes() <= (tables + 1) * common::inputs::CLUSTER);

    file.reset();
    assert!(image.check(&Control::new()).unwrap().is_clean());
    // The same, and the refcount table with one block.
    assert!(
        file.reads() <= 3 + tables / 16,
        "check: {} reads",
        file.reads()
    );
    assert!(file.bytes() <= (tables + 4) * common::inputs::CLUSTER);
}

#[test]
fn describing_an_image_reads_its_header() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = counting(Arc::new(Mapped::new(8 << 40)));
    assert_eq!(image::probe(file.as_ref()).unwrap().format, Format::Qcow2);
    // A fixed VHD is known by its end, optical discs by their 17th sector.
    assert!(file.reads() <= 8, "probe: {} reads", file.reads());
    assert!(file.bytes() <= 64 << 10, "probe: {} bytes", file.bytes());

    file.reset();
    let took = peak(|| assert_eq!(open(&file).virtual_size(), 8 << 40));
    assert!(file.reads() <= 2, "open: {} reads", file.reads());
    assert!(file.bytes() <= 64 << 10, "open: {} bytes", file.bytes());
    assert!(took <= MIB / 4, "open: {took} bytes of memory");
}

#[test]
fn a_disk_of_zeroes_is_soon_known_to_be_empty() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = counting(Arc::new(MemoryStorage::new(vec![0; 64 * MIB])));
    assert!(fs::identify(disk.as_ref()).unwrap().is_none());
    assert!(disk.reads() <= 64, "identify: {} reads", disk.reads());
    assert!(disk.bytes() <= 1 << 20, "identify: {} bytes", disk.bytes());

    disk.reset();
    assert!(table::read(disk.as_ref()).unwrap().partitions.is_empty());
    assert!(disk.reads() <= 8, "table: {} reads", disk.reads());
    assert!(disk.bytes() <= 64 << 10, "table: {} bytes", disk.bytes());
}

/// 8 TiB, every cluster mapped: a gigabyte of L2 tables and 256 MiB of refcounts.
#[test]
fn the_biggest_image_takes_little_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let input = Mapped::new(8 << 40);
    let (tables, blocks) = (input.tables(), input.blocks());
    let file = counting(Arc::new(input));
    let image = open(&file);

    file.reset();
    let took = peak(|| assert_eq!(map(image.as_ref()), tables));
    assert!(took <= 16 * MIB, "map: {} MiB", took / MIB);
    // None of these tables follows another.
    assert!(file.reads() <= tables + 2, "map: {} reads", file.reads());

    file.reset();
    let took = peak(|| assert!(image.check(&Control::new()).unwrap().is_clean()));
    // A quarter of what qemu-img takes, 264 MiB.
    assert!(took <= 64 * MIB, "check: {} MiB", took / MIB);
    let most = tables + blocks / 16 + 8;
    assert!(file.reads() <= most, "check: {} reads", file.reads());
}

/// Sixteen million compressed clusters: their tables take 128 MiB, what counts them does not.
#[test]
fn building_compressed_takes_little_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = common::scratch();
    let file = NewFile::create(&folder.path().join("compressed.qcow2"), false).unwrap();
    let storage = Arc::clone(file.storage());
    let clusters = 1_u64 << 24;
    let options = Qcow2Options {
        size: clusters * 512,
        cluster_size: 512,
        ..Qcow2Options::default()
    };
    let took = peak(|| {
        let mut builder =
            Qcow2Builder::new(options, Arc::clone(&storage) as _, Before::Nothing).unwrap();
        for cluster in 0..clusters {
            builder.place_compressed(cluster * 512, 300).unwrap();
        }
        builder.finish(&Control::new()).unwrap();
    });
    // The L1 table is 2 MiB of it; a byte for each host cluster would be 9, and 16 while it grows.
    assert!(took <= 12 * MIB, "build: {} MiB", took / MIB);
    let report = open(&counting(storage)).check(&Control::new()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}
