//! The same for moves without copying, on QCOW2 images: the mark of the image tells what a crash
//! left.

use super::*;
use crate::disk::WritableDisk;
use crate::image::{Before, Format, Qcow2Options, WritableFiles, create_qcow2, open_in_edit};
use crate::storage::{LogStorage, Move};

const CLUSTER: u64 = 4096;

fn one(from: u64, to: u64, sectors: u64) -> Move {
    Move {
        from: from * 512,
        to: to * 512,
        length: sectors * 512,
    }
}

fn cases() -> Vec<Case> {
    fn remap(builder: &mut JournalBuilder, moves: &[Move]) {
        builder.write(0, &[0xda; 512]).unwrap();
        builder.remap(moves);
        builder.write(0, &[0xee; 512]).unwrap();
        builder.write(50 * 512, &[0xef; 1024]).unwrap();
        builder.write(255 * 512, &[0xed; 512]).unwrap();
    }
    vec![
        Case::new(
            "right by a cluster, from the middle of one",
            &[(100 * 512, 108 * 512)],
            |b| remap(b, &[one(13, 21, 87)]),
        ),
        Case::new(
            "left by more than the partition",
            &[(20 * 512, 50 * 512)],
            |b| remap(b, &[one(140, 20, 30)]),
        ),
        Case::new("left, and what is written over is kept", &[], |b| {
            b.write(0, &[0xda; 512]).unwrap();
            b.keep(&(20 * 512..44 * 512), false);
            b.remap(&[one(44, 20, 50)]);
            b.write(50 * 512, &[0xef; 1024]).unwrap();
        }),
        Case::new("two change places", &[], |b| {
            remap(b, &[one(16, 80, 60), one(80, 16, 60)]);
        }),
        Case::new(
            "into a disk that grew, which is cut afterwards",
            &[(80 * 512, 96 * 512), (200 * 512, SIZE)],
            |b| {
                b.set_length(SIZE as u64, SIZE as u64 + 64 * 512);
                b.write(0, &[0xda; 512]).unwrap();
                b.remap(&[one(100, 188, 100), one(20, 36, 60)]);
                b.write(512, &[1; 700]).unwrap();
                b.write(0, &[0xee; 512]).unwrap();
                b.set_length(SIZE as u64 + 64 * 512, SIZE as u64 + 40 * 512);
            },
        ),
    ]
}

/// An image with the disk of the other tests.
fn image() -> Vec<u8> {
    let memory = Arc::new(MemoryStorage::default());
    let options = Qcow2Options {
        size: SIZE as u64,
        cluster_size: CLUSTER,
        ..Qcow2Options::default()
    };
    let control = Control::new();
    create_qcow2(memory.as_ref(), None, Before::Nothing, &options, &control).unwrap();
    let disk = open(Arc::clone(&memory) as _);
    disk.write_at(&old_bytes(), 0).unwrap();
    disk.flush().unwrap();
    memory.to_vec()
}

fn open(storage: Arc<dyn WritableStorage>) -> WritableDisk {
    let files = WritableFiles {
        storage,
        data_file: None,
        backing: None,
    };
    let image = Arc::from(open_in_edit(files, Format::Qcow2).unwrap());
    WritableDisk::new(image, None)
}

fn content(disk: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.size().unwrap()).unwrap()];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn begun(case: &Case, log: &WriteLog) -> (WritableDisk, Arc<LogStorage>, Journal) {
    let storage = log.storage(image());
    let journal = journal_of(case, log.storage(Vec::new()));
    (open(Arc::clone(&storage) as _), storage, journal)
}

/// Disk and journal after a crash; `None` when the journal is none yet.
fn after(crash: &crate::storage::Crash) -> (WritableDisk, Option<Journal>) {
    let disk = open(Arc::new(MemoryStorage::new(crash.files[0].to_vec())));
    let file = Arc::new(MemoryStorage::new(crash.files[1].to_vec()));
    (disk, Journal::load(file).unwrap())
}

const PLAN: CrashPlan = CrashPlan {
    orders: 2,
    torn: 1,
    seed: 9,
};

#[test]
fn every_crash_can_be_resumed_and_taken_back() {
    let control = Control::new();
    let wanted = points_wanted(500);
    let mut points = 0;
    let cases = cases();
    for case in &cases {
        let log = WriteLog::new();
        let (disk, _, mut journal) = begun(case, &log);
        journal.forward(&disk, &control).unwrap();
        let new = content(&disk);
        assert!(new != old_bytes());
        for crash in log.crashes(plan_for(&log, wanted * 3 / 2 / cases.len(), PLAN)) {
            points += 1;
            let at = format!("{}, {:?} at {}", case.name, crash.loss, crash.position);
            for forward in [true, false] {
                let (disk, journal) = after(&crash);
                let Some(mut journal) = journal else {
                    assert!(content(&disk) == old_bytes(), "{at}: without a journal");
                    continue;
                };
                if forward {
                    journal.forward(&disk, &control).unwrap();
                    assert!(content(&disk) == new, "{at}: not the new state");
                }
                journal.back(&disk, &control).unwrap();
                assert_eq!(journal.progress(), Progress::Old, "{at}");
                let back = without(content(&disk), &case.free);
                let old = without(old_bytes(), &case.free);
                assert!(back == old, "{at}: not the old state");
            }
        }
    }
    println!("{points} stop points of moves without copying, each resumed and taken back");
    assert!(points >= wanted, "{points}");
}

#[test]
fn a_crash_while_going_back_loses_nothing_either() {
    let control = Control::new();
    for case in cases() {
        let log = WriteLog::new();
        let (disk, _, mut journal) = begun(&case, &log);
        journal.forward(&disk, &control).unwrap();
        let new = content(&disk);
        let turned = log.position();
        journal.back(&disk, &control).unwrap();
        for crash in log.crashes(PLAN).filter(|crash| crash.position > turned) {
            let at = format!("{}, {:?} at {}", case.name, crash.loss, crash.position);
            let (disk, journal) = after(&crash);
            journal.unwrap().forward(&disk, &control).unwrap();
            assert!(content(&disk) == new, "{at}");
            let (disk, journal) = after(&crash);
            journal.unwrap().back(&disk, &control).unwrap();
            let back = without(content(&disk), &case.free);
            assert!(back == without(old_bytes(), &case.free), "{at}");
        }
    }
}

/// No more is written than tables and edges, and the journal keeps none of what moves.
#[test]
fn what_moves_is_not_written() {
    let control = Control::new();
    let log = WriteLog::new();
    let storage = log.storage(image());
    let disk = open(Arc::clone(&storage) as _);
    let file = log.storage(Vec::new());
    let mut builder = JournalBuilder::new(file, Identity::default()).unwrap();
    builder.remap(&[one(16, 64, 128)]);
    let mut journal = builder.finish().unwrap();
    let begun = log.position();
    journal.forward(&disk, &control).unwrap();
    let records = log.records();
    let bytes = records[begun..].iter().map(|record| match &record.change {
        crate::storage::Change::Write { bytes, .. } => bytes.len() as u64,
        _ => 0,
    });
    let bytes = bytes.sum::<u64>();
    // L2 table, L1 table, refcount block twice, header, records of the journal.
    assert!(bytes <= 5 * CLUSTER, "{bytes}");
    assert_eq!(
        content(&disk)[64 * 512..192 * 512],
        old_bytes()[16 * 512..144 * 512]
    );
}

/// An image that does not tell where it is in a change is not guessed at.
#[test]
fn without_a_mark_nothing_is_done() {
    let control = Control::new();
    let file = Arc::new(MemoryStorage::default());
    let mut builder = JournalBuilder::new(Arc::clone(&file) as _, Identity::default()).unwrap();
    builder.remap(&[one(16, 64, 128)]);
    let mut journal = builder.finish().unwrap();
    let disk = MemoryStorage::new(old_bytes());
    assert!(journal.forward(&disk, &control).is_err());
    let mut journal = Journal::load(file).unwrap().unwrap();
    assert!(journal.forward(&disk, &control).is_err());
    assert!(journal.back(&disk, &control).is_err());
    assert!(disk.to_vec() == old_bytes());
}
