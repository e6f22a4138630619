//! What a guest does: write, zero, discard, write compressed, with a flush after every ten.

use std::sync::Arc;

use platter::image::ImageWriter;
use platter::storage::{MemoryStorage, WriteLog};
use platter::units::GuestOffset;

use crate::common::inputs::Random;
use crate::harness::{Effort, Tally, examine};
use crate::model::History;
use crate::subject::{Files, Judge, create};

/// Images of all kinds: options of `qemu-img create`, size of the disk in KiB, with a backing file,
/// with a snapshot.
pub(crate) const IMAGES: [(&str, usize, bool, bool); 12] = [
    ("cluster_size=512", 160, false, false),
    ("cluster_size=512,compat=0.10", 96, true, false),
    ("cluster_size=4k", 5000, true, false),
    ("cluster_size=4k,refcount_bits=1", 512, false, false),
    ("cluster_size=512,refcount_bits=64", 96, true, true),
    ("cluster_size=2k,lazy_refcounts=on", 512, false, false),
    ("cluster_size=16k,extended_l2=on", 512, true, false),
    (
        "cluster_size=16k,extended_l2=on,refcount_bits=2",
        512,
        true,
        true,
    ),
    ("cluster_size=4k,compression_type=zstd", 512, false, true),
    ("cluster_size=64k", 2048, true, true),
    ("cluster_size=4k,data_file=data.raw", 512, true, false),
    (
        "cluster_size=4k,data_file=data.raw,data_file_raw=on",
        512,
        false,
        false,
    ),
];

/// What is done.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Write,
    Zero { discard: bool },
    Discard,
    Compressed,
}

pub(crate) fn writes(effort: Effort) -> Result<Tally, String> {
    let kinds = [Kind::Write, Kind::Write, Kind::Write, Kind::Compressed];
    all_images("write", &kinds, effort)
}

pub(crate) fn zeroes(effort: Effort) -> Result<Tally, String> {
    let kinds = [
        Kind::Write,
        Kind::Zero { discard: false },
        Kind::Zero { discard: true },
    ];
    all_images("zero", &kinds, effort)
}

pub(crate) fn discards(effort: Effort) -> Result<Tally, String> {
    all_images(
        "discard",
        &[Kind::Write, Kind::Discard, Kind::Discard],
        effort,
    )
}

fn all_images(operation: &str, kinds: &[Kind], effort: Effort) -> Result<Tally, String> {
    let mut sum = Tally {
        operation: operation.to_owned(),
        ..Tally::default()
    };
    let each = Effort {
        points_each: effort.points_each / IMAGES.len(),
        ..effort
    };
    for (seed, image) in IMAGES.iter().enumerate() {
        sum.add(&script(operation, *image, kinds, seed as u64, each)?);
    }
    Ok(sum)
}

/// The bytes of a backing file.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length / 512)
        .flat_map(|_| [random.next() as u8 | 1; 512])
        .collect()
}

fn script(
    operation: &str,
    (options, kib, with_backing, with_snapshot): (&str, usize, bool, bool),
    kinds: &[Kind],
    seed: u64,
    effort: Effort,
) -> Result<Tally, String> {
    let name = format!("{operation} {options}");
    let failed = |error: platter::Error| format!("{name}: {error:?}");
    let size = kib << 10;
    let backing = with_backing.then(|| noise(size * 3 / 4 / 512 * 512, seed));
    let image = create(options, &format!("{kib}k"), backing.as_deref());
    let memory = backing.clone().map(MemoryStorage::new).map(Arc::new);
    let cluster = 1 << u32::from_be_bytes([image[20], image[21], image[22], image[23]]);

    let mut content = backing.clone().unwrap_or_default();
    content.resize(size, 0);
    let mut guest = Guest {
        history: History::new(content),
        random: Random(seed ^ 0xc0ffee),
        cluster,
        log: WriteLog::new(),
    };
    // Half of the disk is in use before the first crash.
    let prepared = Arc::new(MemoryStorage::new(image));
    let has_data_file = options.contains("data_file=");
    let data = has_data_file.then(|| Arc::new(MemoryStorage::new(vec![0; size])));
    let mut files = Files::of(Arc::clone(&prepared) as _).on(memory.as_ref());
    files.data_file = data.clone().map(|data| data as _);
    let writer = files.writer().map_err(failed)?;
    for _ in 0..12 {
        guest.act(writer.as_ref(), Kind::Write).map_err(failed)?;
    }
    if with_snapshot {
        let control = platter::Control::new();
        let taken = writer.create_snapshot("before", &control);
        taken.map_err(|stop| format!("{name}: {stop}"))?;
    }
    writer.flush().map_err(failed)?;
    drop(writer);
    guest.history = History::new(guest.history.now().to_vec());

    let storage = guest.log.storage(prepared.to_vec());
    let mut files = Files::of(storage).on(memory.as_ref());
    if let Some(data) = &data {
        files.data_file = Some(guest.log.storage(data.to_vec()));
    }
    let writer = files.writer().map_err(failed)?;
    for round in 0..40 {
        let kind = match kinds[guest.random.below(kinds.len() as u64) as usize] {
            Kind::Compressed if has_data_file => Kind::Write,
            kind => kind,
        };
        guest.act(writer.as_ref(), kind).map_err(failed)?;
        if round % 10 == 9 {
            writer.flush().map_err(failed)?;
            guest.history.flush(guest.log.position());
        }
    }
    drop(writer);
    let (log, mut history) = (guest.log, guest.history);
    if files.content().map_err(failed)? != history.now() {
        return Err(format!("{name}: what was written is not what is read"));
    }
    let beside = backing.as_deref().map(|bytes| ("base.raw", bytes));
    let mut judge = Judge::new(effort, options, beside.as_slice());
    let mut tally = examine(&name, &log, effort, |crash| {
        let mut files = Files::of(Arc::clone(&crash.files[0]) as _).on(memory.as_ref());
        files.data_file = crash.files.get(1).map(|data| Arc::clone(data) as _);
        judge.state(crash, &files, |found| history.allows(crash.position, found))
    })?;
    tally.through_qemu = judge
        .finish()
        .map_err(|reason| format!("{name}: {reason}"))?;
    Ok(tally)
}

/// Somebody who uses a disk, and knows what is on it.
struct Guest {
    history: History,
    random: Random,
    cluster: usize,
    log: WriteLog,
}

impl Guest {
    fn act(&mut self, writer: &dyn ImageWriter, kind: Kind) -> platter::Result<()> {
        let begun = self.log.position();
        let size = self.history.now().len();
        let clusters = (size / self.cluster) as u64;
        let (start, length) = match kind {
            Kind::Write | Kind::Zero { .. } => {
                let length = 512 * (1 + self.random.below(self.cluster as u64 / 512 * 2 + 2));
                let start = 512 * self.random.below(size as u64 / 512);
                (start as usize, length as usize)
            }
            Kind::Compressed => {
                let start = self.random.below(clusters) as usize * self.cluster;
                (start, self.cluster)
            }
            Kind::Discard => {
                let start = self.random.below(clusters) as usize * self.cluster;
                (start, self.cluster * (1 + self.random.below(4) as usize))
            }
        };
        let end = (start + length).min(size);
        let range = start as u64..end as u64;
        let mut bytes = vec![0; end - start];
        match kind {
            Kind::Write | Kind::Compressed => {
                for sector in bytes.chunks_mut(512) {
                    sector.fill(self.random.next() as u8);
                }
            }
            Kind::Zero { .. } | Kind::Discard => {}
        }
        self.history.write(begun, start, &bytes);
        match kind {
            Kind::Write => writer.write_at(&bytes, GuestOffset(range.start)),
            Kind::Compressed => writer.write_compressed(&bytes, GuestOffset(range.start)),
            Kind::Zero { discard } => writer.write_zeroes(range, discard),
            Kind::Discard => writer.discard(range, false),
        }
    }
}
