//! Comparing what may differ, and writing what does into the overlay.

use std::ops::{ControlFlow, Range};

use crate::control::{Control, Stop};
use crate::disk::Disk;
use crate::error::Result;
use crate::image::{ExtentState, ImageWriter};
use crate::op::rebase::differ::Piece;
use crate::op::write_behind::WriteBehind;
use crate::storage::Storage;
use crate::units::GuestOffset;

/// What the threads share.
pub(super) struct Write<'a> {
    pub(super) writer: &'a dyn ImageWriter,
    pub(super) old: Option<&'a Disk>,
    pub(super) new: Option<&'a Disk>,
    /// What is compared, and written if it differs: the smallest that the overlay holds as a
    /// whole, or a cluster where it is compressed.
    pub(super) unit: u64,
    pub(super) compress: bool,
    pub(super) behind: WriteBehind<'a>,
    pub(super) control: &'a Control,
}

/// A thread's own.
#[derive(Default)]
pub(super) struct Buffers {
    old: Vec<u8>,
    new: Vec<u8>,
}

/// What becomes of a unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Same,
    /// The overlay gets the data of the old backing file.
    Data,
    /// The overlay gets zeroes, which hide what the new backing file has.
    Zeroes,
}

impl Write<'_> {
    pub(super) fn run(&self, pieces: Vec<Piece>, buffers: &mut Buffers) -> Result<(), Stop> {
        for piece in pieces {
            self.control.checkpoint()?;
            self.compare(&piece, buffers)?;
            self.control.advance(piece.range.end - piece.range.start);
        }
        Ok(())
    }

    fn compare(&self, piece: &Piece, buffers: &mut Buffers) -> Result<()> {
        let Buffers { old, new } = buffers;
        read(self.old.filter(|_| piece.old_has_data), &piece.range, old)?;
        read(self.new.filter(|_| piece.new_has_data), &piece.range, new)?;
        let unit = usize::try_from(self.unit).unwrap_or(usize::MAX).max(1);
        let mut run: Option<(Range<usize>, Verdict)> = None;
        let mut start = 0;
        for (old_unit, new_unit) in old.chunks(unit).zip(new.chunks(unit)) {
            let end = start + old_unit.len();
            let verdict = verdict(old_unit, new_unit);
            match &mut run {
                Some((open, same)) if *same == verdict => open.end = end,
                _ => {
                    if let Some((before, verdict)) = run.replace((start..end, verdict)) {
                        self.write(piece.range.start, before, verdict, old)?;
                    }
                }
            }
            start = end;
        }
        match run {
            Some((last, verdict)) => self.write(piece.range.start, last, verdict, old),
            None => Ok(()),
        }
    }

    /// `run` are bytes of `old`, which begins at the guest offset `base`.
    fn write(&self, base: u64, run: Range<usize>, verdict: Verdict, old: &[u8]) -> Result<()> {
        let range = base + run.start as u64..base + run.end as u64;
        let data = &old[run];
        match verdict {
            Verdict::Same => Ok(()),
            Verdict::Zeroes | Verdict::Data if self.compress => {
                self.write_clusters(range, verdict, data)
            }
            Verdict::Zeroes => self.writer.write_zeroes(range, false),
            Verdict::Data => {
                self.writer.write_at(data, GuestOffset(range.start))?;
                self.behind.wrote(range.end - range.start);
                Ok(())
            }
        }
    }

    /// Compressed where a cluster holds nothing; of a cluster that the overlay has in part (its
    /// subclusters), only the rest is written.
    fn write_clusters(&self, range: Range<u64>, verdict: Verdict, data: &[u8]) -> Result<()> {
        let unit = usize::try_from(self.unit).unwrap_or(usize::MAX).max(1);
        let mut start = range.start;
        for cluster in data.chunks(unit) {
            let end = start + cluster.len() as u64;
            let missing = self.missing(start..end)?;
            let is_whole = missing.first() == Some(&(start..end));
            match verdict {
                Verdict::Data if is_whole => {
                    self.writer.write_compressed(cluster, GuestOffset(start))?;
                }
                _ => self.write_missing(&missing, start, verdict, cluster)?,
            }
            start = end;
        }
        Ok(())
    }

    /// Writes the `missing` parts of `data`, which begins at the guest offset `base`.
    fn write_missing(
        &self,
        missing: &[Range<u64>],
        base: u64,
        verdict: Verdict,
        data: &[u8],
    ) -> Result<()> {
        for range in missing {
            let index = |at: u64| usize::try_from(at - base).unwrap_or(usize::MAX);
            match data.get(index(range.start)..index(range.end)) {
                Some(part) if verdict == Verdict::Data => {
                    self.writer.write_at(part, GuestOffset(range.start))?;
                }
                _ => self.writer.write_zeroes(range.clone(), false)?,
            }
        }
        Ok(())
    }

    /// The parts of `range` that the overlay does not hold.
    fn missing(&self, range: Range<u64>) -> Result<Vec<Range<u64>>> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        self.writer.for_each_extent(range, &mut |extent| {
            match (&extent.state, missing.last_mut()) {
                (ExtentState::Unallocated { .. }, Some(last)) if last.end == extent.guest.start => {
                    last.end = extent.guest.end;
                }
                (ExtentState::Unallocated { .. }, _) => missing.push(extent.guest),
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        Ok(missing)
    }
}

/// Fills `buf` with `range` of a disk that may be shorter; without a disk, with zeroes.
fn read(disk: Option<&Disk>, range: &Range<u64>, buf: &mut Vec<u8>) -> Result<()> {
    let length = usize::try_from(range.end - range.start).unwrap_or(0);
    buf.resize(length, 0);
    match disk {
        Some(disk) => disk.read_padded_at(buf, range.start),
        None => {
            buf.fill(0);
            Ok(())
        }
    }
}

fn verdict(old: &[u8], new: &[u8]) -> Verdict {
    if old == new {
        Verdict::Same
    } else if old.iter().all(|&byte| byte == 0) {
        Verdict::Zeroes
    } else {
        Verdict::Data
    }
}
