//! Where a regular file has data and where it has holes.
//!
//! Two ways lead to the same answer. `SEEK_DATA`/`SEEK_HOLE` work everywhere and cost two calls a
//! run; `FIEMAP` tells thousands of extents a call, but not about all of them whether they are
//! data. So a file with few runs is asked by seeking, the rest of one with many by `FIEMAP`, and
//! inside the extents that are not plainly written, by seeking again.

use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, fstatfs, seek};
use rustix::io::Errno;

use crate::storage::Run;
use crate::storage::sys::Fiemap;

/// Runs found by seeking before a batch of extents is asked for.
const FEW: usize = 32;

/// Visits the runs of `range`, which must not pass the end of the file; neighbours differ.
///
/// # Errors
/// `EINVAL` where the host cannot tell (block devices), and when it fails.
pub(super) fn for_each_run(
    file: &File,
    range: Range<u64>,
    visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut joiner = Joiner::new(visit);
    find_runs(file, range, FEW, &mut joiner)?;
    joiner.finish();
    Ok(())
}

fn find_runs(
    file: &File,
    range: Range<u64>,
    few: usize,
    joiner: &mut Joiner<'_>,
) -> io::Result<()> {
    let position = seek_runs(file, range.clone(), few, joiner)?;
    let mut rest = position..range.end;
    if !rest.is_empty() && !joiner.stopped && reports_all_extents(file) {
        rest = extent_runs(file, rest, joiner)?;
    }
    seek_runs(file, rest, usize::MAX, joiner)?;
    Ok(())
}

/// Finds at most `limit` runs of data by seeking. The answer is where it stopped.
fn seek_runs(
    file: &File,
    range: Range<u64>,
    limit: usize,
    joiner: &mut Joiner<'_>,
) -> io::Result<u64> {
    let mut position = range.start;
    for _ in 0..limit {
        if position >= range.end || joiner.stopped {
            break;
        }
        let data = next_data(file, position, range.end)?.unwrap_or(range.end..range.end);
        joiner.take(position..data.start, true);
        joiner.take(data.clone(), false);
        position = data.end;
    }
    Ok(position)
}

/// The next data at or behind `position` that begins before `end`.
fn next_data(file: &File, position: u64, end: u64) -> io::Result<Option<Range<u64>>> {
    let start = match seek(file, SeekFrom::Data(position)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if start >= end {
        return Ok(None);
    }
    match seek(file, SeekFrom::Hole(start)) {
        // In a file that is written to meanwhile, a hole can be where data was.
        Ok(hole) => Ok(Some(start..hole.max(start + 1).min(end))),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// File systems whose `FIEMAP` leaves out nothing that has been written, also not what waits in
/// the page cache. (XFS is not among them: data that replaces a hole may be in its copy-on-write
/// fork only, where `SEEK_DATA` looks and `FIEMAP` does not.)
fn reports_all_extents(file: &File) -> bool {
    const EXT: u64 = 0xef53;
    const BTRFS: u64 = 0x9123_683e;
    fstatfs(file).is_ok_and(|status| {
        // The type of the field differs between architectures.
        #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "see above")]
        let magic = status.f_type as u64;
        matches!(magic, EXT | BTRFS)
    })
}

/// Extents with no other flags than these are data, written or in the page cache and still without
/// a place on the disk.
const PLAIN: u32 = LAST | UNKNOWN | DELALLOC | ENCODED | ENCRYPTED | MERGED | SHARED;
const LAST: u32 = 0x1;
/// The place is not known; the kernel says it together with the next.
const UNKNOWN: u32 = 0x2;
const DELALLOC: u32 = 0x4;
const ENCODED: u32 = 0x8;
const ENCRYPTED: u32 = 0x80;
const MERGED: u32 = 0x1000;
const SHARED: u32 = 0x2000;

fn is_plain(flags: u32) -> bool {
    flags & !PLAIN == 0 && (flags & UNKNOWN == 0 || flags & DELALLOC != 0)
}

/// Visits the extents that the host has given the file in `range`, written or only reserved; where
/// it does not tell, everything is one.
pub(super) fn for_each_reserved(
    file: &File,
    range: Range<u64>,
    visit: &mut dyn FnMut(Range<u64>),
) -> io::Result<()> {
    if !reports_all_extents(file) {
        visit(range);
        return Ok(());
    }
    let mut fiemap = Fiemap::new();
    let mut position = range.start;
    while position < range.end {
        let extents = fiemap.read(file.as_fd(), position, range.end - position)?;
        let Some(last) = extents.last() else {
            break;
        };
        for extent in extents {
            let end = extent.logical.saturating_add(extent.length).min(range.end);
            visit(extent.logical.max(range.start)..end);
        }
        let next = last.logical.saturating_add(last.length);
        if last.flags & LAST != 0 || next <= position {
            break;
        }
        position = next;
    }
    Ok(())
}

/// Finds runs by `FIEMAP`. The answer is what is left to be found otherwise.
fn extent_runs(file: &File, range: Range<u64>, joiner: &mut Joiner<'_>) -> io::Result<Range<u64>> {
    let mut fiemap = Fiemap::new();
    let mut position = range.start;
    while position < range.end && !joiner.stopped {
        // Whatever is wrong: seeking works, or says why not.
        let Ok(extents) = fiemap.read(file.as_fd(), position, range.end - position) else {
            break;
        };
        let before = position;
        let is_last_batch = extents.len() < Fiemap::CAPACITY as usize;
        for extent in extents {
            let start = extent.logical.clamp(position, range.end);
            let end = extent.logical.saturating_add(extent.length);
            let end = end.clamp(start, range.end);
            joiner.take(position..start, true);
            if is_plain(extent.flags) {
                joiner.take(start..end, false);
            } else {
                seek_runs(file, start..end, usize::MAX, joiner)?;
            }
            position = end;
            if joiner.stopped {
                return Ok(range.end..range.end);
            }
        }
        if is_last_batch {
            joiner.take(position..range.end, true);
            position = range.end;
        } else if position == before {
            break;
        }
    }
    Ok(position..range.end)
}

/// Joins neighbours of one kind on their way to the visitor.
pub(crate) struct Joiner<'a> {
    pending: Option<Run>,
    visit: &'a mut dyn FnMut(Run) -> ControlFlow<()>,
    stopped: bool,
}

impl<'a> Joiner<'a> {
    /// Nothing has been pushed yet.
    pub(crate) fn new(visit: &'a mut dyn FnMut(Run) -> ControlFlow<()>) -> Self {
        Self {
            pending: None,
            visit,
            stopped: false,
        }
    }

    /// Takes the next run. Breaks when the visitor does not want any more.
    pub(crate) fn push(&mut self, range: Range<u64>, hole: bool) -> ControlFlow<()> {
        self.take(range, hole);
        if self.stopped {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn take(&mut self, range: Range<u64>, hole: bool) {
        if range.is_empty() || self.stopped {
            return;
        }
        match &mut self.pending {
            Some(pending) if pending.hole == hole => pending.range.end = range.end,
            pending => {
                if let Some(done) = pending.replace(Run { range, hole }) {
                    self.stopped = (self.visit)(done).is_break();
                }
            }
        }
    }

    /// Hands over the last run.
    pub(crate) fn finish(self) {
        if let (Some(last), false) = (self.pending, self.stopped) {
            let _ = (self.visit)(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;
    use rustix::fs::{FallocateFlags, fallocate};

    use super::*;

    type Runs = Vec<(Range<u64>, bool)>;

    fn collect(find: impl FnOnce(&mut Joiner<'_>)) -> Runs {
        let mut runs = Vec::new();
        let mut joiner = Joiner {
            pending: None,
            visit: &mut |run| {
                runs.push((run.range, run.hole));
                ControlFlow::Continue(())
            },
            stopped: false,
        };
        find(&mut joiner);
        joiner.finish();
        runs
    }

    fn by_seeking(file: &File, range: Range<u64>) -> Runs {
        collect(|joiner| {
            seek_runs(file, range, usize::MAX, joiner).unwrap();
        })
    }

    fn by_extents(file: &File, range: Range<u64>) -> Runs {
        collect(|joiner| find_runs(file, range, 0, joiner).unwrap())
    }

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Write,
        Reserve,
        Punch,
        Sync,
    }

    fn apply(file: &File, change: Change, offset: u64, length: u64) {
        match change {
            Change::Write => {
                let bytes = vec![1; usize::try_from(length).unwrap()];
                file.write_all_at(&bytes, offset).unwrap();
            }
            Change::Reserve => {
                fallocate(file, FallocateFlags::KEEP_SIZE, offset, length).unwrap();
            }
            Change::Punch => {
                let flags = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE;
                fallocate(file, flags, offset, length).unwrap();
            }
            Change::Sync => file.sync_data().unwrap(),
        }
    }

    fn changes() -> impl Strategy<Value = Vec<(Change, u64, u64)>> {
        let change = prop_oneof![
            6 => Just(Change::Write),
            2 => Just(Change::Reserve),
            2 => Just(Change::Punch),
            1 => Just(Change::Sync),
        ];
        prop::collection::vec((change, 0..500_000_u64, 1..20_000_u64), 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn both_ways_agree(changes in changes(), cut in 0..300_000_u64) {
            let file = tempfile::tempfile().unwrap();
            file.set_len(600_000).unwrap();
            for (change, offset, length) in changes {
                apply(&file, change, offset, length);
                let (seek, extents) = (by_seeking(&file, 0..600_000), by_extents(&file, 0..600_000));
                prop_assert_eq!(seek, extents);
            }
            for range in [cut..600_000, cut..cut + 5000, 0..cut] {
                prop_assert_eq!(by_seeking(&file, range.clone()), by_extents(&file, range));
            }
        }
    }

    #[test]
    fn more_runs_than_a_batch_holds() {
        let file = tempfile::tempfile().unwrap();
        let count = u64::from(Fiemap::CAPACITY) + 100;
        for index in 0..count {
            file.write_all_at(b"x", index * 8192 + 5000).unwrap();
        }
        let end = count * 8192;
        file.set_len(end).unwrap();
        let runs = by_extents(&file, 0..end);
        assert_eq!(runs.len() as u64, 2 * count);
        assert_eq!(runs, by_seeking(&file, 0..end));
    }
}
