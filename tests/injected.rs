//! Calls of the host that fail: each call of an operation in turn, once and from then on, as a disk
//! with bad sectors and as a full one. The operation ends with an error that says which file, where
//! and what; the image is sound, holds what it held or what it was to hold, and the next writer
//! gets on with it.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the images are small"
)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::inputs::Random;
use platter::image::{self, Amendment, BitmapEdit, Format, ImageWriter, Preallocation, Repair};
use platter::image::{SnapshotSelector, WritableFiles};
use platter::storage::{Calls, Failure, Fault, MemoryStorage, Storage, WritableStorage};
use platter::storage::{WriteFaultStorage, is_disk_full};
use platter::units::GuestOffset;
use platter::{Control, Error, Stop};

/// What is done, to an image with the snapshot `one` and the bitmap `bits`.
type Operation = fn(&dyn ImageWriter) -> Result<(), Stop>;

const OPERATIONS: [(&str, Operation); 12] = [
    ("write", |writer| {
        for at in [0, 70, 200] {
            writer.write_at(&[9; 9000], GuestOffset(at << 10))?;
        }
        Ok(writer.flush()?)
    }),
    ("write compressed", |writer| {
        for cluster in [3, 4, 40] {
            writer.write_compressed(&[8; 4096], GuestOffset(cluster * 4096))?;
        }
        Ok(writer.flush()?)
    }),
    ("zero", |writer| {
        writer.write_zeroes(1000..90_000, true)?;
        Ok(writer.flush()?)
    }),
    ("discard", |writer| {
        writer.discard(0..200 << 10, false)?;
        Ok(writer.flush()?)
    }),
    ("take a snapshot", |writer| {
        writer.create_snapshot("two", &Control::new()).map(|_| ())
    }),
    ("delete a snapshot", |writer| {
        let name = SnapshotSelector::Name("one".to_owned());
        writer.delete_snapshot(&name, &Control::new())
    }),
    ("grow", |writer| {
        writer.resize(9 << 20, false, Preallocation::Off, &Control::new())
    }),
    ("grow, with metadata", |writer| {
        writer.resize(1 << 20, false, Preallocation::Metadata, &Control::new())
    }),
    ("change the refcounts' width", |writer| {
        let amendment = Amendment {
            refcount_bits: Some(64),
            ..Amendment::default()
        };
        writer.amend(&amendment, &Control::new())
    }),
    ("add a bitmap", |writer| {
        let edit = BitmapEdit::Add { granularity: None };
        Ok(writer.edit_bitmap("new", &edit)?)
    }),
    ("remove a bitmap", |writer| {
        Ok(writer.edit_bitmap("bits", &BitmapEdit::Remove)?)
    }),
    ("repair", |writer| {
        writer.repair(Repair::All, &Control::new()).map(|_| ())
    }),
];

fn image() -> Vec<u8> {
    let folder = common::scratch();
    let path = folder.path().join("disk.qcow2");
    let qemu_img = |arguments: &[&str], last: &[&str]| {
        let mut command = common::tool("qemu-img");
        common::run(command.args(arguments).arg(&path).args(last));
    };
    qemu_img(
        &["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k"],
        &["400k"],
    );
    let mut random = Random(11);
    for snapshot in ["one", ""] {
        let mut io = common::tool("qemu-io");
        for _ in 0..10 {
            let start = random.below(360) * 1024;
            let byte = random.below(250) + 1;
            io.args(["-c", &format!("write -q -P {byte} {start} 20k")]);
        }
        common::run(io.arg(&path));
        if !snapshot.is_empty() {
            qemu_img(&["snapshot", "-c", snapshot], &[]);
        }
    }
    qemu_img(&["bitmap", "--add"], &["bits"]);
    fs::read(&path).unwrap()
}

fn open(storage: Arc<dyn WritableStorage>) -> platter::Result<Box<dyn ImageWriter>> {
    let files = WritableFiles {
        storage,
        data_file: None,
        backing: None,
    };
    image::open_writable(files, Format::Qcow2)
}

fn content(storage: &Arc<MemoryStorage>) -> Vec<u8> {
    let image = image::open(Arc::clone(storage) as Arc<dyn Storage>, Format::Qcow2).unwrap();
    let mut found = vec![0; image.virtual_size() as usize];
    let read = image.read_at(&mut found, GuestOffset(0), &mut Vec::new());
    read.unwrap();
    found
}

/// Sound, or it says itself that a repair is due.
fn assert_sound(storage: &Arc<MemoryStorage>, what: &str) {
    let image = image::open(Arc::clone(storage) as Arc<dyn Storage>, Format::Qcow2).unwrap();
    let report = image.check(&Control::new()).unwrap();
    let wrong = report.corruptions + report.check_errors;
    assert!(
        wrong == 0 || image.info().dirty,
        "{what}: {:#?}",
        report.findings
    );
}

fn run(storage: Arc<dyn WritableStorage>, operation: Operation) -> Result<(), Error> {
    match open(storage)
        .map_err(Stop::from)
        .and_then(|writer| operation(writer.as_ref()))
    {
        Ok(()) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Cancelled) => panic!("nobody cancelled it"),
    }
}

/// Every byte is as before or as after: half of a write may be there.
fn is_between(found: &[u8], before: &[u8], after: &[u8]) -> bool {
    let mut bytes = found.iter().enumerate();
    bytes.all(|(at, byte)| before.get(at) == Some(byte) || after.get(at) == Some(byte))
}

#[test]
fn every_call_fails_in_turn() {
    let image = image();
    let path = Path::new("/images/disk.qcow2");
    let mut failures = 0;
    for (name, operation) in OPERATIONS {
        let whole = Arc::new(MemoryStorage::new(image.clone()));
        let before = content(&whole);
        run(Arc::clone(&whole) as _, operation).unwrap();
        let after = content(&whole);
        for failure in [Failure::Io, Failure::NoSpace, Failure::Short] {
            for fault in [Fault::Once as fn(u64) -> Fault, Fault::From] {
                for nth in 0.. {
                    let what = format!("{name}, {failure:?} at {:?}", fault(nth));
                    let memory = Arc::new(MemoryStorage::new(image.clone()));
                    let inner = Arc::clone(&memory) as Arc<dyn WritableStorage>;
                    let failing =
                        WriteFaultStorage::new(inner, path, Calls::Changes, fault(nth), failure);
                    let failing = Arc::new(failing);
                    let outcome = run(Arc::clone(&failing) as _, operation);
                    if failing.failed() == 0 {
                        assert!(outcome.is_ok(), "{what}: {outcome:?}");
                        assert!(nth > 2 || name == "repair", "{what}: hardly anything");
                        break;
                    }
                    failures += 1;
                    if let Err(error) = &outcome {
                        assert_eq!(error.path(), Some(path), "{what}: {error:?}");
                        assert!(error.message().contains("cannot"), "{what}: {error:?}");
                        let is_flush = error.message().contains("flush");
                        assert!(is_flush || error.offset().is_some(), "{what}: {error:?}");
                        assert_eq!(is_disk_full(error), failure != Failure::Io, "{what}");
                    }
                    assert_sound(&memory, &what);
                    let found = content(&memory);
                    assert!(
                        is_between(&found, &before, &after),
                        "{what}: lost something"
                    );
                    let again = open(Arc::clone(&memory) as _).unwrap_or_else(|error| {
                        panic!("{what}: cannot be opened any more: {error:?}")
                    });
                    again.write_at(&[3; 5000], GuestOffset(123_000)).unwrap();
                    again.flush().unwrap();
                    drop(again);
                    assert_sound(&memory, &format!("{what}, and then written to"));
                }
            }
        }
    }
    assert!(failures > 300, "only {failures} failures");
}
