//! The qcow2 writer against a model in memory and the real qemu-img: random writes, zeroes,
//! discards and compressed writes through chains and between snapshots. What is read back is what
//! the model says, by us and by `qemu-img convert`, and `qemu-img check` finds nothing.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the images are small"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use common::inputs::Random;
use common::{output, run_tool, scratch, tool};
use platter::Control;
use platter::chain::{Chain, ChainOptions};
use platter::image::ImageWriter;
use platter::units::GuestOffset;

/// One test at a time: a program that another thread is just starting holds our locks until it
/// runs.
static ALONE: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy, Debug)]
struct Options {
    cluster: u64,
    refcount_bits: u32,
    extended: bool,
    v2: bool,
    zstd: bool,
    data_file: DataFile,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum DataFile {
    No,
    Plain,
    Raw,
}

const PLAIN: Options = Options {
    cluster: 65536,
    refcount_bits: 16,
    extended: false,
    v2: false,
    zstd: false,
    data_file: DataFile::No,
};

impl Options {
    /// For `qemu-img create -o`, at depth `level` of a chain.
    fn text(&self, folder: &Path, level: usize) -> String {
        let mut text = format!("cluster_size={}", self.cluster);
        if self.v2 {
            text += ",compat=0.10";
        } else {
            text += &format!(",refcount_bits={}", self.refcount_bits);
        }
        if self.extended {
            text += ",extended_l2=on";
        }
        if self.zstd {
            text += ",compression_type=zstd";
        }
        // A raw data file cannot have a backing file.
        if self.data_file == DataFile::Plain || self.data_file == DataFile::Raw && level == 0 {
            let name = folder.join(format!("data{level}.raw"));
            text += &format!(",data_file={}", name.display());
        }
        if self.data_file == DataFile::Raw && level == 0 {
            text += ",data_file_raw=on";
        }
        text
    }

    /// Bytes that a discard cannot split.
    fn unit(&self) -> u64 {
        if self.extended {
            self.cluster / 32
        } else {
            self.cluster
        }
    }
}

/// One image of a chain, and what it should hold.
struct Subject {
    options: Options,
    level: usize,
    path: PathBuf,
    model: Vec<u8>,
    /// What the images below hold.
    backing: Option<Vec<u8>>,
    /// The disk as it was at each snapshot.
    snapshots: Vec<Vec<u8>>,
}

impl Subject {
    fn change(&mut self, random: &mut Random, count: usize) {
        let options = ChainOptions {
            writable: vec![0],
            ..ChainOptions::default()
        };
        let chain = Chain::open(&self.path, &options).unwrap();
        let writer = chain.writer(0).unwrap();
        for _ in 0..count {
            self.step(writer.as_ref(), random);
        }
        self.compare(writer.as_ref());
        writer.flush().unwrap();
    }

    fn step(&mut self, writer: &dyn ImageWriter, random: &mut Random) {
        let size = self.model.len() as u64;
        let start = random.below(size);
        let longest = match random.below(4) {
            0 => 100,
            1 => self.options.cluster,
            _ => self.options.cluster * 6,
        };
        let end = size.min(start + 1 + random.below(longest));
        let range = start as usize..end as usize;
        match random.below(12) {
            0..5 => {
                let data = content(random, range.len());
                writer.write_at(&data, GuestOffset(start)).unwrap();
                self.model[range].copy_from_slice(&data);
            }
            // Compressed clusters share host clusters, which narrow refcounts cannot count twice.
            5 if self.options.data_file == DataFile::No
                && (self.options.refcount_bits >= 16 || self.options.refcount_bits == 1) =>
            {
                self.compress(writer, random, start);
            }
            6 | 7 => {
                writer
                    .write_zeroes(start..end, random.below(2) == 0)
                    .unwrap();
                self.model[range].fill(0);
            }
            8 => {
                writer.discard(start..end, false).unwrap();
                let whole = self.whole_units(start..end);
                self.model[whole].fill(0);
            }
            9 if self.options.data_file != DataFile::Raw => {
                writer.discard(start..end, true).unwrap();
                for at in self.whole_units(start..end) {
                    self.model[at] = self.below(at);
                }
            }
            10 => writer.flush().unwrap(),
            11 => {
                let mut found = vec![0; range.len()];
                let mut missing = Vec::new();
                writer
                    .read_at(&mut found, GuestOffset(start), &mut missing)
                    .unwrap();
                for at in missing.into_iter().flatten() {
                    found[(at - start) as usize] = self.below(at as usize);
                }
                assert!(found == self.model[range], "read at {start:#x}");
            }
            _ => {}
        }
    }

    fn compress(&mut self, writer: &dyn ImageWriter, random: &mut Random, start: u64) {
        let cluster = self.options.cluster;
        let start = start - start % cluster;
        let end = (start + cluster).min(self.model.len() as u64);
        let data = content(random, (end - start) as usize);
        writer.write_compressed(&data, GuestOffset(start)).unwrap();
        self.model[start as usize..end as usize].copy_from_slice(&data);
    }

    fn below(&self, at: usize) -> u8 {
        let backing = self.backing.as_ref();
        backing
            .and_then(|backing| backing.get(at))
            .copied()
            .unwrap_or(0)
    }

    fn whole_units(&self, range: std::ops::Range<u64>) -> std::ops::Range<usize> {
        let unit = self.options.unit();
        let start = range.start.next_multiple_of(unit);
        let end = if range.end == self.model.len() as u64 {
            range.end
        } else {
            range.end - range.end % unit
        };
        let start = start.min(self.model.len() as u64);
        start as usize..end.max(start) as usize
    }

    /// All of the disk, read by the writer that is open.
    fn compare(&self, writer: &dyn ImageWriter) {
        let mut found = vec![0; self.model.len()];
        let mut missing = Vec::new();
        writer
            .read_at(&mut found, GuestOffset(0), &mut missing)
            .unwrap();
        for at in missing.into_iter().flatten() {
            found[at as usize] = self.below(at as usize);
        }
        assert_same(&found, &self.model, "by the writer");
    }

    /// What qemu-img says of the image when nobody writes.
    fn verify(&self) {
        let check = output(tool("qemu-img").args(["check", "-q"]).arg(&self.path));
        assert!(
            check.status.success(),
            "check: {}{}",
            String::from_utf8_lossy(&check.stdout),
            String::from_utf8_lossy(&check.stderr)
        );
        let raw = self.path.with_extension("out");
        run_tool(
            "qemu-img",
            [
                "convert".as_ref(),
                "-O".as_ref(),
                "raw".as_ref(),
                self.path.as_os_str(),
                raw.as_os_str(),
            ],
        );
        assert_same(&std::fs::read(&raw).unwrap(), &self.model, "by qemu-img");
        for (index, snapshot) in self.snapshots.iter().enumerate() {
            run_tool(
                "qemu-img",
                [
                    "convert".as_ref(),
                    "-l".as_ref(),
                    format!("snapshot.name=s{index}").as_ref(),
                    "-O".as_ref(),
                    "raw".as_ref(),
                    self.path.as_os_str(),
                    raw.as_os_str(),
                ],
            );
            let found = std::fs::read(&raw).unwrap();
            assert_same(&found, snapshot, &format!("in snapshot {index}"));
        }
        if self.options.data_file == DataFile::Raw && self.level == 0 {
            let mut data = std::fs::read(self.path.with_file_name("data0.raw")).unwrap();
            data.resize(self.model.len(), 0);
            assert_same(&data, &self.model, "in the data file");
        }
    }

    fn snapshot(&mut self) {
        let name = format!("s{}", self.snapshots.len());
        run_tool(
            "qemu-img",
            [
                "snapshot".as_ref(),
                "-c".as_ref(),
                name.as_ref(),
                self.path.as_os_str(),
            ],
        );
        self.snapshots.push(self.model.clone());
    }
}

/// Bytes that compress a little, none of them 0 for long.
fn content(random: &mut Random, length: usize) -> Vec<u8> {
    let shift = random.below(6);
    let seed = random.next();
    (0..length as u64)
        .map(|at| {
            let mixed = (at >> shift ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed >> 56) as u8
        })
        .collect()
}

fn assert_same(found: &[u8], expected: &[u8], who: &str) {
    assert_eq!(found.len(), expected.len(), "{who}");
    if let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) {
        panic!(
            "{who}: {:#x} instead of {:#x} at {at:#x}",
            found[at], expected[at]
        );
    }
}

fn create(folder: &Path, options: &Options, level: usize, size: usize) -> PathBuf {
    let path = folder.join(format!("{level}.qcow2"));
    let mut command = tool("qemu-img");
    command
        .current_dir(folder)
        .args(["create", "-q", "-f", "qcow2", "-o"]);
    command.arg(options.text(folder, level));
    if level > 0 {
        command.args(["-F", "qcow2", "-b", &format!("{}.qcow2", level - 1)]);
    }
    command.arg(&path).arg(size.to_string());
    common::run(&mut command);
    path
}

/// Changes each image of a chain of `depth` in turn, closing and verifying in between.
fn exercise(options: Options, depth: usize, snapshots: usize, seed: u64) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = scratch();
    let mut random = Random(seed);
    let mut backing: Option<Vec<u8>> = None;
    for level in 0..depth {
        // Not a multiple of the cluster, and shorter or longer than what is below.
        let size = (options.cluster * (7 + random.below(9))).max(299_520) as usize;
        let size = size + 512 * random.below(7) as usize;
        let path = create(folder.path(), &options, level, size);
        let mut model = backing.clone().unwrap_or_default();
        model.resize(size, 0);
        let mut subject = Subject {
            options,
            level,
            path,
            model,
            backing: backing.take(),
            snapshots: Vec::new(),
        };
        for round in 0..=snapshots {
            if round > 0 {
                subject.snapshot();
            }
            subject.change(&mut random, 40);
            subject.verify();
        }
        backing = Some(subject.model);
    }
}

#[test]
fn plain_images_of_all_cluster_sizes() {
    for (index, bits) in (9..=21).enumerate() {
        let options = Options {
            cluster: 1 << bits,
            ..PLAIN
        };
        let depth = if bits > 18 { 1 } else { 1 + index % 4 };
        exercise(options, depth, 0, 100 + index as u64);
    }
}

#[test]
fn snapshots_with_refcounts_of_all_widths() {
    for (index, refcount_bits) in [2, 4, 8, 16, 32, 64].into_iter().enumerate() {
        let options = Options {
            cluster: [512, 4096, 65536][index % 3],
            refcount_bits,
            ..PLAIN
        };
        exercise(options, 1, 2, 200 + index as u64);
    }
    // One bit counts to one: no snapshots, and compressed clusters share nothing.
    let options = Options {
        cluster: 1024,
        refcount_bits: 1,
        ..PLAIN
    };
    exercise(options, 2, 0, 210);
}

#[test]
fn subclusters() {
    for (index, cluster) in [16384, 65536, 131_072].into_iter().enumerate() {
        let options = Options {
            cluster,
            extended: true,
            zstd: index == 1,
            ..PLAIN
        };
        exercise(options, 3, index % 2, 300 + index as u64);
    }
}

#[test]
fn version_2() {
    for (index, cluster) in [512, 65536].into_iter().enumerate() {
        let options = Options {
            cluster,
            v2: true,
            ..PLAIN
        };
        exercise(options, 3, index, 400 + index as u64);
    }
}

#[test]
fn external_data_files() {
    for (index, data_file) in [DataFile::Plain, DataFile::Raw].into_iter().enumerate() {
        for extended in [false, true] {
            let options = Options {
                data_file,
                extended,
                cluster: 16384,
                ..PLAIN
            };
            exercise(options, 2, 0, 500 + index as u64 * 2 + u64::from(extended));
        }
    }
}

/// Threads that write to their own bytes of shared clusters, and to whole clusters of their own,
/// while another one flushes.
#[test]
fn threads_do_not_disturb_each_other() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (seed, extended) in [(700, false), (701, true)] {
        let folder = scratch();
        let options = Options {
            cluster: 16384,
            extended,
            ..PLAIN
        };
        let size = 2 << 20;
        let path = create(folder.path(), &options, 0, size);
        let chain = Chain::open(
            &path,
            &ChainOptions {
                writable: vec![0],
                ..ChainOptions::default()
            },
        )
        .unwrap();
        let writer = chain.writer(0).unwrap();
        let running = AtomicUsize::new(4);
        let models: Vec<Vec<Option<u8>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let (writer, running) = (writer.as_ref(), &running);
                    scope.spawn(move || {
                        let model = change_own(writer, thread, Random(seed * 10 + thread), size);
                        running.fetch_sub(1, Ordering::Release);
                        model
                    })
                })
                .collect();
            while running.load(Ordering::Acquire) > 0 {
                writer.flush().unwrap();
            }
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut model = vec![0; size];
        for (at, byte) in model.iter_mut().enumerate() {
            *byte = models.iter().find_map(|own| own[at]).unwrap_or(0);
        }
        let subject = Subject {
            options,
            level: 0,
            path,
            model,
            backing: None,
            snapshots: Vec::new(),
        };
        subject.compare(writer.as_ref());
        writer.flush().unwrap();
        drop((writer, chain));
        subject.verify();
    }
}

/// Writes what is `thread`'s: every fourth KiB and a half of even clusters, every fourth odd
/// cluster.
fn change_own(
    writer: &dyn ImageWriter,
    thread: u64,
    mut random: Random,
    size: usize,
) -> Vec<Option<u8>> {
    const CLUSTER: u64 = 16384;
    const BLOCK: u64 = 1536;
    let mut model = vec![None; size];
    for _ in 0..1500 {
        let pair = random.below(size as u64 / CLUSTER / 8) * 4 + thread;
        let even = (pair - thread + random.below(4)) * 2 * CLUSTER;
        let odd = (pair * 2 + 1) * CLUSTER;
        let byte = 1 + random.below(255) as u8;
        let (range, byte) = match random.below(8) {
            0 => {
                writer
                    .write_at(&[byte; CLUSTER as usize], GuestOffset(odd))
                    .unwrap();
                (odd..odd + CLUSTER, byte)
            }
            1 => {
                let cluster = [byte; CLUSTER as usize];
                writer.write_compressed(&cluster, GuestOffset(odd)).unwrap();
                (odd..odd + CLUSTER, byte)
            }
            2 => {
                writer.discard(odd..odd + CLUSTER, true).unwrap();
                (odd..odd + CLUSTER, 0)
            }
            _ => {
                let start = even + (random.below(2) * 4 + thread) * BLOCK + random.below(1000);
                let end = start + 1 + random.below(BLOCK - 1000);
                let data = vec![byte; (end - start) as usize];
                writer.write_at(&data, GuestOffset(start)).unwrap();
                (start..end, byte)
            }
        };
        model[range.start as usize..range.end as usize].fill(Some(byte));
    }
    model
}

#[test]
fn an_emptied_overlay_reads_as_its_backing_file() {
    for (index, snapshots) in [0, 1].into_iter().enumerate() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = scratch();
        let mut random = Random(600 + index as u64);
        let options = Options {
            cluster: 4096,
            ..PLAIN
        };
        create(folder.path(), &options, 0, 400_384);
        let mut subject = Subject {
            options,
            level: 1,
            path: create(folder.path(), &options, 1, 400_384),
            model: vec![0; 400_384],
            backing: Some(vec![0; 400_384]),
            snapshots: Vec::new(),
        };
        subject.change(&mut random, 60);
        for _ in 0..snapshots {
            subject.snapshot();
        }
        let chain = Chain::open(
            &subject.path,
            &ChainOptions {
                writable: vec![0],
                ..ChainOptions::default()
            },
        )
        .unwrap();
        let writer = chain.writer(0).unwrap();
        writer.make_empty(&Control::new()).unwrap();
        subject.model.fill(0);
        subject.compare(writer.as_ref());
        drop((writer, chain));
        subject.verify();
        if snapshots == 0 {
            assert!(std::fs::metadata(&subject.path).unwrap().len() <= 6 * 4096);
        }
        subject.change(&mut random, 60);
        subject.verify();
    }
}
