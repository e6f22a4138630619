use std::ops::ControlFlow;
use std::sync::Arc;

use super::*;
use crate::image::ImageDriver;
use crate::image::extent::ExtentState;
use crate::image::qcow2::Qcow2;
use crate::storage::{MemoryStorage, Storage};
use crate::units::{GuestOffset, KIB, MIB};

fn created(options: &Qcow2Options, before: &[u8]) -> Arc<MemoryStorage> {
    let memory = Arc::new(MemoryStorage::new(before.to_vec()));
    let state = if before.is_empty() {
        Before::Nothing
    } else {
        Before::Old
    };
    let data_file = MemoryStorage::new(Vec::new());
    let control = Control::new();
    create_qcow2(memory.as_ref(), Some(&data_file), state, options, &control).unwrap();
    memory
}

fn opened(memory: &Arc<MemoryStorage>) -> Qcow2 {
    Qcow2::open(Arc::clone(memory) as Arc<dyn Storage>).unwrap()
}

fn of_size(size: u64) -> Qcow2Options {
    Qcow2Options {
        size,
        ..Qcow2Options::default()
    }
}

/// Every combination that is cheap in memory opens, is clean and reads as zeroes.
#[test]
fn every_layout_is_clean() {
    for cluster_size in [512, 4 * KIB, 64 * KIB] {
        for refcount_bits in [1, 2, 4, 8, 16, 32, 64] {
            for preallocation in [
                Preallocation::Off,
                Preallocation::Metadata,
                Preallocation::Falloc,
                Preallocation::Full,
            ] {
                for size in [0, 512, MIB - 512, 2 * MIB] {
                    let options = Qcow2Options {
                        cluster_size,
                        refcount_bits,
                        preallocation,
                        extended_l2: cluster_size == 64 * KIB && refcount_bits > 8,
                        ..of_size(size)
                    };
                    check_created(&options);
                }
            }
        }
    }
}

fn check_created(options: &Qcow2Options) {
    let memory = created(options, &[]);
    let image = opened(&memory);
    assert_eq!(image.virtual_size(), options.size);
    let report = image.check(&Control::new()).unwrap();
    assert!(report.findings.is_empty(), "{options:?}: {report:?}");
    let mut missing = Vec::new();
    let mut bytes = vec![1; usize::try_from(options.size).unwrap()];
    image
        .read_at(&mut bytes, GuestOffset(0), &mut missing)
        .unwrap();
    let placed = options.preallocation != Preallocation::Off && !options.extended_l2;
    if placed || options.size == 0 {
        assert!(missing.is_empty() && bytes.iter().all(|byte| *byte == 0));
    } else {
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0], 0..options.size);
    }
}

#[test]
fn what_was_there_before_shows_nowhere() {
    let options = Qcow2Options {
        preallocation: Preallocation::Metadata,
        ..of_size(MIB)
    };
    let memory = created(&options, &[0xaa; 2 << 20]);
    let image = opened(&memory);
    assert!(image.check(&Control::new()).unwrap().findings.is_empty());
    let mut bytes = vec![1; 1 << 20];
    image
        .read_at(&mut bytes, GuestOffset(0), &mut Vec::new())
        .unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    let fresh = created(&options, &[]);
    assert!(memory.to_vec() == fresh.to_vec());
}

#[test]
fn names_and_features_come_back() {
    let options = Qcow2Options {
        lazy_refcounts: true,
        compression: Compression::Zstd,
        data_file: Some("data.raw".into()),
        data_file_raw: true,
        ..of_size(MIB)
    };
    let image = opened(&created(&options, &[]));
    let data_file = image.info().data_file.clone().unwrap();
    assert_eq!(data_file.name, "data.raw");
    let mut states = Vec::new();
    image
        .for_each_extent(0..MIB, &mut |extent| {
            states.push(extent.state);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(
        matches!(states[..], [ExtentState::Data { .. }]),
        "{states:?}"
    );

    let backing = FileReference {
        name: "base.qcow2".into(),
        format: Some("qcow2".into()),
    };
    let options = Qcow2Options {
        backing: Some(backing.clone()),
        ..of_size(MIB)
    };
    let image = opened(&created(&options, &[]));
    assert_eq!(image.info().backing, Some(backing));
}

#[test]
fn what_the_format_has_not_is_refused() {
    let fine = of_size(MIB);
    assert!(fine.check().is_ok());
    let backing = |length: usize| {
        Some(FileReference {
            name: "x".repeat(length),
            format: None,
        })
    };
    for wrong in [
        Qcow2Options {
            cluster_size: 3,
            ..fine.clone()
        },
        Qcow2Options {
            cluster_size: 4 * MIB,
            ..fine.clone()
        },
        Qcow2Options {
            refcount_bits: 3,
            ..fine.clone()
        },
        Qcow2Options {
            refcount_bits: 128,
            ..fine.clone()
        },
        Qcow2Options {
            version: 2,
            lazy_refcounts: true,
            ..fine.clone()
        },
        Qcow2Options {
            version: 2,
            refcount_bits: 8,
            ..fine.clone()
        },
        Qcow2Options {
            version: 4,
            ..fine.clone()
        },
        Qcow2Options {
            extended_l2: true,
            cluster_size: 8192,
            ..fine.clone()
        },
        Qcow2Options {
            data_file_raw: true,
            ..fine.clone()
        },
        Qcow2Options {
            size: 513,
            ..fine.clone()
        },
        Qcow2Options {
            size: 1 << 60,
            ..fine.clone()
        },
        Qcow2Options {
            backing: backing(1024),
            ..fine.clone()
        },
        Qcow2Options {
            backing: backing(0),
            ..fine.clone()
        },
    ] {
        let error = wrong.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    let long = Qcow2Options {
        cluster_size: 512,
        backing: backing(500),
        ..fine
    };
    assert!(long.header(&Qcow2Tables::default()).is_err());
}

#[test]
fn a_cancelled_run_stops() {
    let control = Control::new();
    control.cancel();
    let memory = MemoryStorage::new(Vec::new());
    let stop = create_qcow2(&memory, None, Before::Nothing, &of_size(MIB), &control);
    assert!(matches!(stop, Err(Stop::Cancelled)));
}
