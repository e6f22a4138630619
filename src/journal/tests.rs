//! A change is stopped after every write and flush, and from what each crash leaves, going on ends
//! in exactly the new state and going back in exactly the old one.

mod remapped;

use std::sync::Arc;

use super::*;
use crate::control::Control;
use crate::storage::{CrashPlan, MemoryStorage, Storage, WriteLog};

/// A change of a small disk.
struct Case {
    name: String,
    /// What is at the new place of a move before is not kept.
    free: Vec<(usize, usize)>,
    build: Box<dyn Fn(&mut JournalBuilder)>,
}

impl Case {
    fn new(
        name: &str,
        free: &[(usize, usize)],
        build: impl Fn(&mut JournalBuilder) + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            free: free.to_vec(),
            build: Box::new(build),
        }
    }
}

/// Stop points of a test: a sample, or what a release asks for.
fn points_wanted(sample: usize) -> usize {
    std::env::var("PLATTER_CRASH_POINTS").map_or(sample, |value| value.parse().unwrap())
}

/// As many torn writes as it takes to come to `wanted` stop points.
fn plan_for(log: &WriteLog, wanted: usize, least: CrashPlan) -> CrashPlan {
    let mut plan = least;
    // Where few sectors wait for a flush, there are no more ways to lose them.
    while plan.torn < 256 && log.crashes(plan).count() < wanted {
        plan.torn *= 2;
    }
    plan
}

const SECTORS: usize = 256;
const SIZE: usize = SECTORS * 512;

/// No two sectors are alike.
fn old_bytes() -> Vec<u8> {
    (0..SIZE / 4)
        .flat_map(|word| (u32::try_from(word).unwrap().wrapping_mul(2_654_435_761)).to_le_bytes())
        .collect()
}

fn journal_of(case: &Case, storage: Arc<dyn WritableStorage>) -> Journal {
    let identity = Identity {
        device: 1,
        inode: 2,
        size: SIZE as u64,
    };
    let mut builder = JournalBuilder::new(storage, identity).unwrap();
    (case.build)(&mut builder);
    builder.finish().unwrap()
}

fn cases() -> Vec<Case> {
    fn shift(builder: &mut JournalBuilder, from: u64, to: u64, sectors: u64) {
        builder.write(0, &[0xda; 512]).unwrap();
        builder.move_bytes(from * 512, to * 512, sectors * 512);
        builder.write(0, &[0xee; 512]).unwrap();
        builder.write(1024, &[0xef; 1024]).unwrap();
        builder.write(255 * 512, &[0xed; 512]).unwrap();
    }
    let mut cases = vec![
        Case::new("right by one sector", &[(100 * 512, 101 * 512)], |b| {
            shift(b, 10, 11, 90);
        }),
        Case::new("left by one sector", &[(9 * 512, 10 * 512)], |b| {
            shift(b, 10, 9, 90);
        }),
        Case::new(
            "right by a window and a half",
            &[(110 * 512, 134 * 512)],
            |b| {
                shift(b, 10, 34, 100);
            },
        ),
        Case::new(
            "left by a window and a half",
            &[(10 * 512, 34 * 512)],
            |b| {
                shift(b, 34, 10, 100);
            },
        ),
        Case::new(
            "left by more than the partition",
            &[(10 * 512, 40 * 512)],
            |b| {
                shift(b, 140, 10, 30);
            },
        ),
        Case::new(
            "two partitions to the right, the disk grown before and cut after",
            &[(80 * 512, 100 * 512), (200 * 512, SIZE)],
            |b| {
                b.set_length(SIZE as u64, SIZE as u64 + 64 * 512);
                b.write(0, &[0xda; 512]).unwrap();
                b.move_bytes(100 * 512, 180 * 512, 100 * 512);
                b.move_bytes(20 * 512, 40 * 512, 60 * 512);
                b.write(512, &[1; 700]).unwrap();
                b.write(0, &[0xee; 512]).unwrap();
                b.next_step();
                b.write(90 * 512, &[2; 512]).unwrap();
                b.set_length(SIZE as u64 + 64 * 512, SIZE as u64 + 32 * 512);
            },
        ),
        Case::new("right, and what is written over is kept", &[], |b| {
            b.write(0, &[0xda; 512]).unwrap();
            b.keep(&(100 * 512..120 * 512), false);
            b.move_bytes(10 * 512, 30 * 512, 90 * 512);
            b.write(115 * 512, &[0xef; 1024]).unwrap();
        }),
        Case::new(
            "left twice, and all of the disk that is cut is kept",
            &[],
            |b| {
                b.write(0, &[0xda; 512]).unwrap();
                b.keep(&(10 * 512..18 * 512), false);
                b.keep(&(58 * 512..60 * 512), false);
                b.keep(&(100 * 512..SIZE as u64), false);
                b.move_bytes(18 * 512, 10 * 512, 40 * 512);
                b.move_bytes(60 * 512, 50 * 512, 40 * 512);
                b.set_length(SIZE as u64, 100 * 512);
            },
        ),
        Case::new("the disk cut", &[], |b| {
            b.write(512, &[3; 4096]).unwrap();
            b.set_length(SIZE as u64, SIZE as u64 - 4096);
        }),
    ];
    // From one sector to twice the partition, both ways.
    for distance in [1, 3, 13, 16, 30, 45, 60] {
        let (low, length) = (70, 30);
        let high = low + distance;
        let end = low + length;
        cases.push(Case::new(
            &format!("right by {distance} sectors"),
            &[(end.max(high) * 512, (end + distance) * 512)],
            move |b| shift(b, low as u64, high as u64, length as u64),
        ));
        cases.push(Case::new(
            &format!("left by {distance} sectors"),
            &[(low * 512, high.min(end) * 512)],
            move |b| shift(b, high as u64, low as u64, length as u64),
        ));
    }
    cases
}

fn without(mut bytes: Vec<u8>, free: &[(usize, usize)]) -> Vec<u8> {
    for (start, end) in free {
        let end = *end.min(&bytes.len());
        bytes[*start.min(&end)..end].fill(0);
    }
    bytes
}

/// Runs the case once with a log of all writes; the disk afterwards.
fn run(case: &Case, log: &WriteLog) -> Vec<u8> {
    let disk = log.storage(old_bytes());
    let file = log.storage(Vec::new());
    let mut journal = journal_of(case, file);
    journal.forward(disk.as_ref(), &Control::new()).unwrap();
    assert_eq!(journal.progress(), Progress::New);
    disk.to_vec()
}

#[test]
fn every_crash_can_be_resumed_and_taken_back() {
    let plan = CrashPlan {
        orders: 4,
        torn: 2,
        seed: 7,
    };
    let wanted = points_wanted(1000);
    let mut points = 0;
    let cases = cases();
    for case in &cases {
        let log = WriteLog::new();
        let new = run(case, &log);
        for crash in log.crashes(plan_for(&log, wanted * 3 / 2 / cases.len(), plan)) {
            points += 1;
            let at = format!("{}, {:?} at {}", case.name, crash.loss, crash.position);
            for forward in [true, false] {
                let disk = MemoryStorage::new(crash.files[0].to_vec());
                let file = Arc::new(MemoryStorage::new(crash.files[1].to_vec()));
                let Some(mut journal) = Journal::load(file).unwrap() else {
                    assert!(
                        disk.to_vec() == old_bytes(),
                        "{at}: changed without a journal"
                    );
                    continue;
                };
                let control = Control::new();
                if forward {
                    journal.forward(&disk, &control).unwrap();
                    assert_eq!(journal.progress(), Progress::New, "{at}");
                    assert!(disk.to_vec() == new, "{at}: not the new state");
                }
                // After a crash as well as after it is done.
                journal.back(&disk, &control).unwrap();
                assert_eq!(journal.progress(), Progress::Old, "{at}");
                let back = without(disk.to_vec(), &case.free);
                assert!(
                    back == without(old_bytes(), &case.free),
                    "{at}: not the old state"
                );
            }
        }
    }
    println!("{points} stop points of moves, each resumed and taken back");
    assert!(points >= wanted, "{points}");
}

#[test]
fn a_crash_while_going_back_loses_nothing_either() {
    let plan = CrashPlan {
        orders: 2,
        torn: 1,
        seed: 8,
    };
    for case in cases() {
        let log = WriteLog::new();
        let disk = log.storage(old_bytes());
        let file = log.storage(Vec::new());
        let mut journal = journal_of(&case, file);
        journal.forward(disk.as_ref(), &Control::new()).unwrap();
        let new = disk.to_vec();
        let turned = log.position();
        journal.back(disk.as_ref(), &Control::new()).unwrap();
        let crashes = log.crashes(plan).filter(|crash| crash.position > turned);
        for crash in crashes {
            let disk = MemoryStorage::new(crash.files[0].to_vec());
            let file = Arc::new(MemoryStorage::new(crash.files[1].to_vec()));
            let mut journal = Journal::load(file).unwrap().unwrap();
            journal.forward(&disk, &Control::new()).unwrap();
            assert!(disk.to_vec() == new, "{}: {crash:?}", case.name);
        }
    }
}

#[test]
fn a_cancelled_change_goes_either_way() {
    for case in cases() {
        let disk = MemoryStorage::new(old_bytes());
        let mut journal = journal_of(&case, Arc::new(MemoryStorage::default()));
        let control = Control::new();
        control.cancel();
        assert!(journal.forward(&disk, &control).is_err());
        assert_eq!(journal.progress(), Progress::Old);
        journal.forward(&disk, &Control::new()).unwrap();
        assert_eq!(journal.bytes_left(), 0);
        assert!(journal.back(&disk, &control).is_err());
        assert_eq!(journal.progress(), Progress::New);
    }
}

#[test]
fn what_moves_far_is_not_written_twice() {
    let journal_writes = |from: u64, to: u64| {
        let log = WriteLog::new();
        let disk = log.storage(old_bytes());
        let file = log.storage(Vec::new());
        let mut builder = JournalBuilder::new(file, Identity::default()).unwrap();
        builder.move_bytes(from * 512, to * 512, 100 * 512);
        let mut journal = builder.finish().unwrap();
        journal.forward(disk.as_ref(), &Control::new()).unwrap();
        assert_eq!(disk.size().unwrap(), SIZE as u64);
        let records = log.records();
        let bytes = records.iter().map(|record| match &record.change {
            crate::storage::Change::Write { bytes, .. } if record.file == 1 => bytes.len(),
            _ => 0,
        });
        bytes.sum::<usize>()
    };
    assert!(journal_writes(10, 9) > 100 * 512);
    assert!(journal_writes(10, 40) < 20 * 512);
}
