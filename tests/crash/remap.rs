//! Guest bytes that go to other offsets without being copied: after a crash all have moved, or none.

use std::sync::Arc;

use platter::image::{ImageWriter, SnapshotSelector};
use platter::storage::{MemoryStorage, Move, WriteLog, vacated};
use platter::units::GuestOffset;
use platter::{Control, ErrorKind, Stop};

use crate::common::inputs::Random;
use crate::guest::{IMAGES, noise};
use crate::harness::{Effort, Tally, examine};
use crate::subject::{Files, Judge, create};

/// Moves in a row, each time several at once.
const ROUNDS: usize = 3;

pub(crate) fn moves(effort: Effort) -> Result<Tally, String> {
    let mut sum = Tally {
        operation: "remap".to_owned(),
        ..Tally::default()
    };
    let each = Effort {
        points_each: effort.points_each / IMAGES.len(),
        ..effort
    };
    for (seed, image) in (0..).zip(IMAGES) {
        if let Some(tally) = script(image, seed, each)? {
            sum.add(&tally);
        }
    }
    Ok(sum)
}

/// A disk that was in use, and what is on it.
struct Prepared {
    image: Vec<u8>,
    backing: Option<Arc<MemoryStorage>>,
    content: Vec<u8>,
    snapshot: Option<Vec<u8>>,
    cluster: u64,
    random: Random,
}

/// What the snapshot holds, if there is one.
fn snapshot_of(files: &Files) -> platter::Result<Option<Vec<u8>>> {
    let image = files.reader()?;
    let name = SnapshotSelector::Name("before".to_owned());
    match image.snapshot_view(&name) {
        Ok(view) => files.content_of(view.as_ref()).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn script(
    (options, kib, with_backing, with_snapshot): (&str, usize, bool, bool),
    seed: u64,
    effort: Effort,
) -> Result<Option<Tally>, String> {
    let name = format!("remap {options}");
    let failed = |error: platter::Error| format!("{name}: {error:?}");
    let mut disk = prepare(options, kib << 10, with_backing, with_snapshot, seed)
        .map_err(|stop| format!("{name}: {stop:?}"))?;
    let log = WriteLog::new();
    let storage = log.storage(disk.image.clone());
    let mut files = Files::of(storage).on(disk.backing.as_ref());
    if options.contains("data_file=") {
        files.data_file = Some(Arc::new(MemoryStorage::new(disk.content.clone())));
    }
    let writer = files.writer().map_err(failed)?;
    if writer.moves_by().is_none() {
        let refused = writer.remap(&[one(0, disk.cluster, 512)], &Control::new());
        return match refused {
            Err(Stop::Failed(error)) if error.kind() == ErrorKind::Unsupported => Ok(None),
            other => Err(format!("{name}: not refused but {other:?}")),
        };
    }
    // What is there before, between and after the moves, and when.
    let mut contents = vec![(0, disk.content.clone())];
    for _ in 0..ROUNDS {
        let moves = some_moves(&mut disk);
        let mark = writer.layout_mark();
        let done = writer.remap(&moves, &Control::new());
        done.map_err(|stop| format!("{name}: {moves:?}: {stop:?}"))?;
        if mark == writer.layout_mark() {
            return Err(format!("{name}: the mark is the same"));
        }
        disk.content = moved(&disk.content, &moves);
        contents.push((log.position(), disk.content.clone()));
    }
    writer.flush().map_err(failed)?;
    drop(writer);
    let after = crate::subject::condition(&files).map_err(|why| format!("{name}: {why}"))?;
    if after != crate::harness::Verdict::Clean {
        return Err(format!("{name}: moving leaves {after:?}"));
    }
    if files.content().map_err(failed)? != disk.content {
        return Err(format!("{name}: what was moved is not what is read"));
    }
    if disk.snapshot != snapshot_of(&files).map_err(failed)? {
        return Err(format!("{name}: the snapshot is another one"));
    }
    let backing = disk.backing.as_ref().map(|backing| backing.to_vec());
    let beside = backing.as_deref().map(|bytes| ("base.raw", bytes));
    let mut judge = Judge::new(effort, options, beside.as_slice());
    let mut tally = examine(&name, &log, effort, |crash| {
        let files = Files::of(Arc::clone(&crash.files[0]) as _).on(disk.backing.as_ref());
        judge.state(crash, &files, |found| {
            let done = contents.iter().rposition(|(at, _)| *at <= crash.position);
            let first = done.unwrap_or(0);
            let mut allowed = contents.iter().skip(first).take(2);
            match allowed.any(|(_, content)| content == found) {
                true => Ok(()),
                false => Err("neither before nor after a move".to_owned()),
            }
        })
    })?;
    tally.through_qemu = judge
        .finish()
        .map_err(|reason| format!("{name}: {reason}"))?;
    Ok(Some(tally))
}

fn prepare(
    options: &str,
    size: usize,
    with_backing: bool,
    with_snapshot: bool,
    seed: u64,
) -> Result<Prepared, Stop> {
    let mut random = Random(seed ^ 0x5eed);
    let backing = with_backing.then(|| noise(size * 3 / 4 / 512 * 512, seed));
    let image = create(options, &size.to_string(), backing.as_deref());
    let cluster = 1 << u32::from_be_bytes([image[20], image[21], image[22], image[23]]);
    let backing = backing.map(MemoryStorage::new).map(Arc::new);
    let storage = Arc::new(MemoryStorage::new(image));
    let mut files = Files::of(Arc::clone(&storage) as _).on(backing.as_ref());
    if options.contains("data_file=") {
        files.data_file = Some(Arc::new(MemoryStorage::new(vec![0; size])));
        return Ok(Prepared {
            image: storage.to_vec(),
            backing,
            content: vec![0; size],
            snapshot: None,
            cluster,
            random,
        });
    }
    let writer = files.writer()?;
    // Compressed clusters in one place are more references than few bits count.
    let packs = !options.contains("refcount_bits=1") && !options.contains("refcount_bits=2");
    for round in 0..16 {
        use_disk(writer.as_ref(), &mut random, size as u64, (cluster, packs))?;
        if with_snapshot && round == 8 {
            writer.create_snapshot("before", &Control::new())?;
        }
    }
    writer.flush()?;
    drop(writer);
    let content = files.content()?;
    Ok(Prepared {
        snapshot: snapshot_of(&files)?,
        image: storage.to_vec(),
        backing,
        content,
        cluster,
        random,
    })
}

/// Something of all that an L2 entry can say.
fn use_disk(
    writer: &dyn ImageWriter,
    random: &mut Random,
    size: u64,
    (cluster, packs): (u64, bool),
) -> platter::Result<()> {
    let start = 512 * random.below(size / 512);
    let end = (start + 512 * (1 + random.below(cluster / 512 * 3))).min(size);
    let fill = random.next() as u8 | 1;
    match random.below(5) {
        0 => writer.write_zeroes(start..end, random.below(2) == 0),
        1 if packs => {
            let start = start - start % cluster;
            let length = cluster.min(size - start) as usize;
            writer.write_compressed(&vec![fill; length], GuestOffset(start))
        }
        2 => writer.discard(start..end, true),
        _ => writer.write_at(&vec![fill; (end - start) as usize], GuestOffset(start)),
    }
}

fn one(from: u64, to: u64, length: u64) -> Move {
    Move { from, to, length }
}

/// Two parts of the disk change places, or one goes elsewhere; where they begin and end is no
/// matter of clusters.
fn some_moves(disk: &mut Prepared) -> Vec<Move> {
    let (cluster, random) = (disk.cluster, &mut disk.random);
    let size = disk.content.len() as u64;
    let sectors = size / 512;
    loop {
        let from = 512 * random.below(sectors);
        let length = 512 * (1 + random.below((size - from) / 512));
        let distance = cluster * (1 + random.below(size / cluster));
        let to = if random.below(2) == 0 {
            from.checked_sub(distance)
        } else {
            from.checked_add(distance)
        };
        let Some(to) = to.filter(|to| to + length <= size) else {
            continue;
        };
        if length <= distance && random.below(2) == 0 {
            return vec![one(from, to, length), one(to, from, length)];
        }
        return vec![one(from, to, length)];
    }
}

/// The disk after `moves`, made at once.
fn moved(before: &[u8], moves: &[Move]) -> Vec<u8> {
    let mut after = before.to_vec();
    for range in vacated(moves) {
        after[range.start as usize..range.end as usize].fill(0);
    }
    for step in moves {
        let (source, target) = (step.source(), step.target());
        after[target.start as usize..target.end as usize]
            .copy_from_slice(&before[source.start as usize..source.end as usize]);
    }
    after
}
