//! Which parts of a partition a tool has changed: one bit each, in a sparse file without a name. So
//! it takes the same memory for one change as for a hundred million, and a 32768th of what was
//! changed on the disk.

use std::ops::{ControlFlow, Range};
use std::path::Path;

use crate::control::Stop;
use crate::error::Result;
use crate::fs::change::bring_back::GRANULE;
use crate::storage::{FileStorage, Storage, WritableStorage};

/// Bytes that a bit stands for.
pub(super) const UNIT: u64 = GRANULE as u64;
/// Bytes of bits that are looked at together.
const PIECE: u64 = 4096;

/// The bits. Offsets are of the partition, in bytes.
#[derive(Debug)]
pub(super) struct Changed {
    bits: FileStorage,
    /// Of the file with the bits.
    length: u64,
}

impl Changed {
    /// Nothing of a partition of `size` bytes. The bits are kept on the file system of `folder`.
    ///
    /// # Errors
    /// As [`FileStorage::unnamed`].
    pub(super) fn nothing(size: u64, folder: &Path) -> Result<Self> {
        let bits = FileStorage::unnamed(folder)?;
        let length = size.div_ceil(UNIT).div_ceil(8);
        bits.set_len(length)?;
        Ok(Self { bits, length })
    }

    /// Counts all granules as changed that `range` touches.
    ///
    /// # Errors
    /// As writing to the file with the bits.
    pub(super) fn mark(&self, range: &Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let granules = range.start / UNIT..range.end.div_ceil(UNIT);
        let bytes = granules.start / 8..granules.end.div_ceil(8);
        for piece in pieces(bytes) {
            let mut buf = self.read(&piece)?;
            let mut is_news = false;
            for (at, byte) in piece.clone().zip(&mut buf) {
                let with = *byte | mask(&granules, at);
                is_news |= with != *byte;
                *byte = with;
            }
            if is_news {
                self.bits.write_at(&buf, piece.start)?;
            }
        }
        Ok(())
    }

    /// Counts nothing as changed any more that begins at `length` or behind it.
    ///
    /// # Errors
    /// As [`Self::mark`].
    pub(super) fn cut(&self, length: u64) -> Result<()> {
        let kept = length.div_ceil(UNIT);
        let bytes = kept.div_ceil(8).min(self.length);
        self.bits.set_len(bytes)?;
        self.bits.set_len(self.length)?;
        if let Some(last) = bytes.checked_sub(1) {
            let mut byte = [0];
            self.bits.read_at(&mut byte, last)?;
            self.bits
                .write_at(&[byte[0] & mask(&(0..kept), last)], last)?;
        }
        Ok(())
    }

    /// Whether the granule at `offset` has changed.
    ///
    /// # Errors
    /// As reading the bits.
    pub(super) fn is_changed(&self, offset: u64) -> Result<bool> {
        let runs = self.runs(&(offset..offset + 1))?;
        Ok(runs.first().is_some_and(|(_, is_changed)| *is_changed))
    }

    /// Cuts `range` in runs that have changed, and that have not, in order and without gaps.
    /// It takes memory by the number of runs: not for a whole partition.
    ///
    /// # Errors
    /// As reading the bits.
    pub(super) fn runs(&self, range: &Range<u64>) -> Result<Vec<(Range<u64>, bool)>> {
        let mut runs: Vec<(Range<u64>, bool)> = Vec::new();
        if range.is_empty() {
            return Ok(runs);
        }
        let granules = range.start / UNIT..range.end.div_ceil(UNIT);
        let bytes = granules.start / 8..granules.end.div_ceil(8);
        for piece in pieces(bytes) {
            let buf = self.read(&piece)?;
            let inside = granules.start.max(piece.start * 8)..granules.end.min(piece.end * 8);
            for granule in inside {
                let index = usize::try_from(granule / 8 - piece.start).unwrap_or(usize::MAX);
                let is_changed = buf[index] >> (granule % 8) & 1 == 1;
                let end = (granule + 1).saturating_mul(UNIT).min(range.end);
                match runs.last_mut() {
                    Some((run, same)) if *same == is_changed => run.end = end,
                    _ => runs.push((range.start.max(granule * UNIT)..end, is_changed)),
                }
            }
        }
        Ok(runs)
    }

    /// Visits what has changed, in order, in whole granules: also where the last one passes the end
    /// of the partition. Neighbours may come one after the other.
    ///
    /// # Errors
    /// As reading the bits, and those of `visit`.
    pub(super) fn for_each(
        &self,
        visit: &mut dyn FnMut(Range<u64>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut at = 0;
        while let Some(data) = self.next_data(at)? {
            at = data.end;
            for piece in pieces(data) {
                let all = piece.start * 8 * UNIT..piece.end.saturating_mul(8 * UNIT);
                for (run, is_changed) in self.runs(&all)? {
                    if is_changed {
                        visit(run)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The next bytes of bits from `at` on that are not a hole of the file.
    fn next_data(&self, at: u64) -> Result<Option<Range<u64>>> {
        let mut found = None;
        self.bits.for_each_run(at..self.length, &mut |run| {
            if run.hole {
                return ControlFlow::Continue(());
            }
            found = Some(run.range);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    fn read(&self, bytes: &Range<u64>) -> Result<Vec<u8>> {
        let mut buf = vec![0; usize::try_from(bytes.end - bytes.start).unwrap_or(0)];
        self.bits.read_at(&mut buf, bytes.start)?;
        Ok(buf)
    }
}

/// The bits of the byte `at` that stand for `granules`.
fn mask(granules: &Range<u64>, at: u64) -> u8 {
    (0..8)
        .filter(|bit| granules.contains(&(at * 8 + bit)))
        .fold(0, |mask, bit| mask | 1 << bit)
}

fn pieces(bytes: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = bytes.end;
    let mut at = bytes.start;
    std::iter::from_fn(move || {
        let piece = at..end.min((at / PIECE + 1) * PIECE);
        at = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(changed: &Changed) -> Vec<Range<u64>> {
        let mut all = Vec::new();
        changed
            .for_each(&mut |run| {
                all.push(run);
                Ok(())
            })
            .unwrap();
        all
    }

    #[test]
    fn whole_granules_are_marked_and_cut() {
        let folder = tempfile::tempdir().unwrap();
        let changed = Changed::nothing(100 * UNIT - 1, folder.path()).unwrap();
        changed.mark(&(5..5)).unwrap();
        assert_eq!(all(&changed), []);
        changed.mark(&(UNIT - 1..UNIT + 1)).unwrap();
        changed.mark(&(7 * UNIT..20 * UNIT)).unwrap();
        changed.mark(&(99 * UNIT..100 * UNIT - 1)).unwrap();
        let marked = [0..2 * UNIT, 7 * UNIT..20 * UNIT, 99 * UNIT..100 * UNIT];
        assert_eq!(all(&changed), marked);
        assert_eq!(
            changed.runs(&(UNIT + 5..8 * UNIT + 1)).unwrap(),
            [
                (UNIT + 5..2 * UNIT, true),
                (2 * UNIT..7 * UNIT, false),
                (7 * UNIT..8 * UNIT + 1, true)
            ]
        );
        assert!(changed.is_changed(2 * UNIT - 1).unwrap());
        assert!(!changed.is_changed(2 * UNIT).unwrap());
        changed.cut(9 * UNIT + 1).unwrap();
        assert_eq!(all(&changed), [0..2 * UNIT, 7 * UNIT..10 * UNIT]);
        changed.cut(0).unwrap();
        assert_eq!(all(&changed), []);
    }

    /// Every second granule, across many pieces, is as many places as there can be.
    #[test]
    fn any_number_of_places_is_remembered() {
        const PLACES: u64 = 100_000;
        let folder = tempfile::tempdir().unwrap();
        let changed = Changed::nothing(2 * PLACES * UNIT, folder.path()).unwrap();
        for place in 0..PLACES {
            let start = 2 * place * UNIT;
            changed.mark(&(start..start + 1)).unwrap();
        }
        let (mut count, mut next) = (0, 0);
        changed
            .for_each(&mut |run| {
                assert_eq!(run, next..next + UNIT);
                next += 2 * UNIT;
                count += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(count, PLACES);
    }

    #[test]
    fn what_is_between_is_not_looked_at() {
        const SIZE: u64 = 64 << 40;
        let folder = tempfile::tempdir().unwrap();
        let changed = Changed::nothing(SIZE, folder.path()).unwrap();
        changed.mark(&(0..1)).unwrap();
        changed.mark(&(SIZE - 1..SIZE)).unwrap();
        assert_eq!(all(&changed), [0..UNIT, SIZE - UNIT..SIZE]);
        assert!(changed.bits.allocated().unwrap().unwrap() <= 128 << 10);
    }
}
