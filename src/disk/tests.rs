//! Layers of a made-up format in memory: what the disk makes of them, byte by byte.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::control::{Control, Stop};
use crate::image::{Extent, Format, FormatDetails, ImageInfo, SnapshotSelector};
use crate::storage::{Fault, FaultStorage, MemoryStorage};
use crate::units::HostOffset;

const CLUSTER: u64 = 16;

/// Each cluster is a letter: `.` unallocated, `0` zero, `c` compressed, anything else data.
#[derive(Debug)]
struct Letters {
    clusters: Vec<u8>,
    info: ImageInfo,
    storage: Arc<dyn Storage>,
}

impl Letters {
    fn layer(clusters: &str) -> Arc<dyn ImageDriver> {
        Arc::new(Self {
            clusters: clusters.into(),
            info: ImageInfo {
                format: Format::Qcow2,
                virtual_size: clusters.len() as u64 * CLUSTER,
                cluster_size: Some(CLUSTER),
                encryption: None,
                backing: None,
                data_file: None,
                dirty: false,
                corrupt: false,
                snapshots: Vec::new(),
                details: FormatDetails::None,
            },
            storage: Arc::new(MemoryStorage::default()),
        })
    }

    fn state(&self, index: u64) -> ExtentState {
        let host = HostOffset(index * CLUSTER);
        match self.letter(index) {
            b'.' => ExtentState::Unallocated { host: None },
            b'0' => ExtentState::Zero { host: None },
            b'c' => ExtentState::Compressed,
            _ => ExtentState::Data { host },
        }
    }

    fn letter(&self, index: u64) -> u8 {
        self.clusters[usize::try_from(index).unwrap()]
    }
}

impl ImageDriver for Letters {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    fn attach_data_file(&mut self, _: Arc<dyn Storage>) -> Result<()> {
        unreachable!("the image names none")
    }

    fn snapshot_view(&self, _: &SnapshotSelector) -> Result<Arc<dyn ImageDriver>> {
        unreachable!("the image has none")
    }

    fn for_each_extent(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<()> {
        let end = range.end.min(self.virtual_size());
        let mut position = range.start;
        while position < end {
            let index = position / CLUSTER;
            let guest = position..end.min((index + 1) * CLUSTER);
            position = guest.end;
            let state = skip_into(self.state(index), guest.start % CLUSTER);
            if visit(Extent { guest, state }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_at(
        &self,
        buf: &mut [u8],
        offset: GuestOffset,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<()> {
        for (byte, at) in buf.iter_mut().zip(offset.0..) {
            match self.letter(at / CLUSTER) {
                b'.' => missing.push(at..at + 1),
                b'0' => *byte = 0,
                letter => *byte = letter,
            }
        }
        Ok(())
    }
}

fn skip_into(state: ExtentState, bytes: u64) -> ExtentState {
    match state {
        ExtentState::Data { host } => ExtentState::Data {
            host: HostOffset(host.0 + bytes),
        },
        other => other,
    }
}

fn disk(layers: &[&str]) -> Disk {
    Disk::new(layers.iter().map(|layer| Letters::layer(layer)).collect()).unwrap()
}

/// What a disk of these layers must read as.
fn expected(layers: &[&str]) -> Vec<u8> {
    let cluster = |index: usize| {
        let letters = layers.iter().map_while(|layer| layer.as_bytes().get(index));
        match letters.copied().find(|&letter| letter != b'.') {
            None | Some(b'0') => 0,
            Some(letter) => letter,
        }
    };
    (0..layers[0].len())
        .flat_map(|index| [cluster(index); 16])
        .collect()
}

const CHAINS: [&[&str]; 6] = [
    &["a.0c"],
    &["a..0b.", "cccc.c"],
    &["......", "x.", "yyyyyyyyyy"],
    &["..", "....zz"],
    &["a...", ".b..", "..c.", "...d"],
    &["....", "...0", "1.11", "2222"],
];

#[test]
fn reads_fall_through_the_layers() {
    for layers in CHAINS {
        let disk = disk(layers);
        let bytes = expected(layers);
        for start in 0..bytes.len() {
            for end in [start + 1, start + 20, bytes.len()] {
                let end = end.min(bytes.len());
                let mut buf = vec![b'?'; end - start];
                disk.read_at(&mut buf, start as u64).unwrap();
                assert_eq!(buf, bytes[start..end], "{layers:?} {start}..{end}");
            }
        }
        let outside = disk.read_at(&mut [0; 2], bytes.len() as u64 - 1);
        assert_eq!(outside.unwrap_err().kind(), ErrorKind::OutOfBounds);
    }
}

#[test]
fn runs_and_bytes_agree() {
    for layers in CHAINS {
        let bytes = expected(layers);
        for range in [0..bytes.len(), 5..bytes.len() - 3] {
            let mut position = range.start as u64;
            let mut last = None;
            disk(layers)
                .for_each_run(position..range.end as u64, &mut |run| {
                    assert_eq!(run.range.start, position);
                    assert_ne!(last.replace(run.hole), Some(run.hole), "not merged");
                    for at in run.range.clone() {
                        let byte = bytes[usize::try_from(at).unwrap()];
                        assert_eq!(byte == 0, run.hole, "{layers:?} at {at}");
                    }
                    position = run.range.end;
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(position, range.end as u64);
        }
    }
}

#[test]
fn the_last_layer_that_reaches_decides() {
    let disk = disk(&["......", "x.", "yyy"]);
    let mut depths = Vec::new();
    for_each_layer_extent(disk.layers(), 0..u64::MAX, &mut |extent| {
        depths.push((extent.guest.start / CLUSTER, extent.depth));
        ControlFlow::Continue(())
    })
    .unwrap();
    // The second layer ends first: behind its end the third is not asked any more.
    assert_eq!(depths, [(0, 1), (1, 2), (2, 0), (3, 0), (4, 0), (5, 0)]);
}

#[test]
fn visitors_can_stop_early() {
    let mut visits = 0;
    disk(&["a0a0", "...."])
        .for_each_run(0..64, &mut |_| {
            visits += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(visits, 1);
}

#[test]
fn threads_see_every_byte_once() {
    let mut bytes = vec![0; 5 << 20];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(index % 251).unwrap();
    }
    let storage = MemoryStorage::new(bytes.clone());
    for threads in [0, 1, 3] {
        let seen = Mutex::new(vec![0; bytes.len()]);
        let control = Control::new();
        read_parallel(&storage, 1000..4_500_000, threads, &control, &|chunk| {
            let start = usize::try_from(chunk.range.start).unwrap();
            let data = chunk.data.unwrap();
            seen.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
            Ok(())
        })
        .unwrap();
        assert_eq!(control.progress().done, 4_500_000 - 1000);
        let seen = seen.into_inner().unwrap();
        assert!(seen[1000..4_500_000] == bytes[1000..4_500_000]);
        assert!(seen[..1000].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn zeroes_are_told_and_not_read() {
    let disk = disk(&["a..0", ".b."]);
    let zeroes = AtomicU64::new(0);
    read_parallel(&disk, 0..u64::MAX, 2, &Control::new(), &|chunk| {
        match chunk.data {
            None => {
                zeroes.fetch_add(chunk.range.end - chunk.range.start, Ordering::Relaxed);
            }
            Some(data) => assert!(data.iter().all(|&byte| byte != 0)),
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(zeroes.into_inner(), 2 * CLUSTER);
}

#[test]
fn the_first_failure_or_a_cancel_ends_parallel_reading() {
    let memory = Arc::new(MemoryStorage::new(vec![1; 64 << 20]));
    let storage = FaultStorage::new(memory, Fault::Once(3));
    let result = read_parallel(&storage, 0..u64::MAX, 2, &Control::new(), &|_| Ok(()));
    match result {
        Err(Stop::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Io),
        other => panic!("{other:?}"),
    }
    assert!(storage.reads() < 20, "{} reads", storage.reads());

    let control = Control::new();
    storage.reset();
    let result = read_parallel(&storage, 0..u64::MAX, 2, &control, &|_| {
        control.cancel();
        Ok(())
    });
    assert!(matches!(result, Err(Stop::Cancelled)));
    assert!(control.progress().done <= 2 << 20);
}
