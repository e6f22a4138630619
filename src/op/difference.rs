//! All places where two guest disks differ, for a reader who wants to see them; [`super::compare`]
//! is for the one who wants to know whether there are any.

mod csv;
mod found;

pub use found::Differences;

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

use crate::control::{Control, Stop};
use crate::disk::{Chunk, read_parallel};
use crate::error::Result;
use crate::storage::{Run, Storage, check_bounds};
use crate::units::{KIB, MIB};

/// Granules that are kept at most: 8 MiB of bits.
const MOST_GRANULES: u64 = 64 << 20;

/// Finds all differences; memory does not grow with the disks.
///
/// # Errors
/// When one of the disks cannot be read, or on cancel.
pub fn differences(
    first: &dyn Storage,
    second: &dyn Storage,
    control: &Control,
) -> Result<Differences, Stop> {
    let pair = Pair {
        size: first.size()?.max(second.size()?),
        first,
        second,
    };
    let mut granularity = 4 * KIB;
    while pair.size.div_ceil(granularity) > MOST_GRANULES {
        granularity *= 2;
    }
    let bits = Bits::new(pair.size.div_ceil(granularity));
    let threads = available_parallelism().map_or(1, usize::from);
    control.enter("comparing", pair.size);
    read_parallel(&pair, 0..pair.size, threads, control, &|chunk: Chunk<
        '_,
    >| {
        let Some(data) = chunk.data else {
            return Ok(());
        };
        let mut at = chunk.range.start;
        let mut rest = data;
        while !rest.is_empty() {
            let to_next = usize::try_from(granularity - at % granularity).unwrap_or(usize::MAX);
            let (granule, behind) = rest.split_at(to_next.min(rest.len()));
            if granule.iter().fold(0, |all, byte| all | byte) != 0 {
                bits.set(at / granularity);
            }
            at += granule.len() as u64;
            rest = behind;
        }
        Ok(())
    })?;
    Ok(bits.differences(granularity, pair.size))
}

/// One bit a granule, set by many threads.
struct Bits {
    words: Vec<AtomicU64>,
}

impl Bits {
    fn new(count: u64) -> Self {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or(0);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn set(&self, index: u64) {
        let word = usize::try_from(index / 64)
            .ok()
            .and_then(|word| self.words.get(word));
        if let Some(word) = word {
            word.fetch_or(1 << (index % 64), Ordering::Relaxed);
        }
    }

    fn differences(self, granularity: u64, size: u64) -> Differences {
        let words = self.words.into_iter().map(AtomicU64::into_inner);
        Differences::new(granularity, size, words.collect())
    }
}

/// Two disks as one whose bytes are zero where theirs are equal.
#[derive(Debug)]
struct Pair<'a> {
    first: &'a dyn Storage,
    second: &'a dyn Storage,
    size: u64,
}

/// Runs of the second disk are held for this many bytes at a time.
const WINDOW: u64 = 256 * MIB;

impl Storage for Pair<'_> {
    fn size(&self) -> Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(buf.len(), offset, self.size)?;
        let mut other = vec![0; buf.len()];
        self.first.read_padded_at(buf, offset)?;
        self.second.read_padded_at(&mut other, offset)?;
        for (byte, other) in buf.iter_mut().zip(&other) {
            *byte ^= other;
        }
        Ok(())
    }

    /// Holes are where both have one.
    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        let end = range.end.min(self.size);
        let mut start = range.start;
        while start < end {
            let window = start..end.min(start.saturating_add(WINDOW));
            start = window.end;
            let mut data = data_of(self.first, window.clone())?;
            data.extend(data_of(self.second, window.clone())?);
            data.sort_by_key(|range| range.start);
            let mut cursor = window.start;
            for range in data {
                let runs = [
                    (cursor..range.start.max(cursor), true),
                    (range.start.max(cursor)..range.end, false),
                ];
                for (range, hole) in runs {
                    if range.start < range.end {
                        cursor = range.end;
                        if visit(Run { range, hole }).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            let rest = Run {
                range: cursor..window.end,
                hole: true,
            };
            if !rest.range.is_empty() && visit(rest).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn data_of(storage: &dyn Storage, range: Range<u64>) -> Result<Vec<Range<u64>>> {
    let mut data = Vec::new();
    storage.for_each_run(range, &mut |run| {
        if !run.hole {
            data.push(run.range);
        }
        ControlFlow::Continue(())
    })?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn find(first: Vec<u8>, second: Vec<u8>) -> Differences {
        let (first, second) = (MemoryStorage::new(first), MemoryStorage::new(second));
        differences(&first, &second, &Control::new()).unwrap()
    }

    fn ranges(found: &Differences) -> Vec<Range<u64>> {
        found.ranges().collect()
    }

    #[test]
    fn every_granule_that_differs_is_told() {
        let first = vec![1; 3 << 20];
        let mut second = first.clone();
        for at in [0, 4095, 4096, 1 << 20, (3 << 20) - 1] {
            second[at] = 2;
        }
        let found = find(first.clone(), second);
        assert_eq!(
            ranges(&found),
            [
                0..8192,
                1 << 20..(1 << 20) + 4096,
                (3 << 20) - 4096..3 << 20
            ]
        );
        assert_eq!((found.count(), found.bytes()), (3, 4 * 4096));
        assert!(find(first.clone(), first).is_empty());
    }

    #[test]
    fn the_rest_of_the_longer_disk_is_compared_with_zeroes() {
        let mut longer = vec![0; 10_000];
        longer[9_999] = 1;
        let expected = [(8192, 10_000)].map(|(start, end)| start..end);
        assert_eq!(ranges(&find(vec![0; 5000], longer.clone())), expected);
        assert_eq!(ranges(&find(longer, Vec::new())), expected);
    }

    #[test]
    fn what_is_a_hole_in_both_is_not_read() {
        #[derive(Debug)]
        struct Holes(Range<u64>);
        impl Storage for Holes {
            fn size(&self) -> Result<u64> {
                Ok(1 << 40)
            }
            fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
                assert!(offset < 1 << 30, "a hole of both disks is read");
                buf.fill(u8::from(self.0.contains(&offset)));
                Ok(())
            }
            fn for_each_run(
                &self,
                range: Range<u64>,
                visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
            ) -> Result<()> {
                for (part, hole) in [
                    (0..self.0.start, true),
                    (self.0.clone(), false),
                    (self.0.end..1 << 40, true),
                ] {
                    let part = part.start.max(range.start)..part.end.min(range.end);
                    if part.start < part.end && visit(Run { range: part, hole }).is_break() {
                        break;
                    }
                }
                Ok(())
            }
        }
        let (first, second) = (Holes(MIB..2 * MIB), Holes(4 * MIB..5 * MIB));
        let found = differences(&first, &second, &Control::new()).unwrap();
        assert_eq!(found.granularity(), 16 * KIB);
        assert_eq!(ranges(&found), [MIB..2 * MIB, 4 * MIB..5 * MIB]);
    }
}
