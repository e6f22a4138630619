//! Moves that are made at once: which bytes go where, and what is left behind.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Bytes that go to another place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Move {
    /// The first byte before.
    pub from: u64,
    /// The first byte afterwards.
    pub to: u64,
    /// How many bytes.
    pub length: u64,
}

impl Move {
    /// Where the bytes are.
    #[must_use]
    pub fn source(&self) -> Range<u64> {
        self.from..self.from + self.length
    }

    /// Where they go.
    #[must_use]
    pub fn target(&self) -> Range<u64> {
        self.to..self.to + self.length
    }

    /// How far they go.
    #[must_use]
    pub fn distance(&self) -> u64 {
        self.from.abs_diff(self.to)
    }

    /// The way back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            length: self.length,
        }
    }
}

/// Refuses moves that cannot be made at once on a disk of `size` bytes.
///
/// # Errors
/// [`ErrorKind::OutOfBounds`] for a place that is not on the disk; [`ErrorKind::InvalidInput`] when
/// two of them come from or go to the same byte.
pub fn check_moves(moves: &[Move], size: u64) -> Result<()> {
    let is_outside = |start: u64, length: u64| {
        let end = start.checked_add(length);
        end.is_none_or(|end| end > size)
    };
    let mut moves_off = moves.iter();
    if moves_off.any(|one| is_outside(one.from, one.length) || is_outside(one.to, one.length)) {
        let message = "a move passes the end of the disk";
        return Err(Error::new(ErrorKind::OutOfBounds, message));
    }
    for places in [
        ascending(moves, Move::source),
        ascending(moves, Move::target),
    ] {
        if places.windows(2).any(|pair| pair[0].end > pair[1].start) {
            let message = "two moves come from or go to the same place";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    }
    Ok(())
}

/// What moves that are made at once leave behind: ascending ranges from which something goes and to
/// which nothing comes. The moves are as [`check_moves`] wants them.
#[must_use]
pub fn vacated(moves: &[Move]) -> Vec<Range<u64>> {
    let targets = ascending(moves, Move::target);
    let mut left = Vec::new();
    for source in ascending(moves, Move::source) {
        let mut at = source.start;
        for target in &targets {
            if target.end <= at || target.start >= source.end {
                continue;
            }
            if at < target.start {
                left.push(at..target.start);
            }
            at = target.end;
        }
        if at < source.end {
            left.push(at..source.end);
        }
    }
    left
}

/// What moves write over that none of them brings back when all are undone, the last one first, and
/// what of `cut` none brings back, which is cut off the disk in the end: ascending ranges. The moves
/// of one element of `steps` are made at once, and the elements one after the other.
#[must_use]
pub fn overwritten<'a>(
    steps: impl IntoIterator<Item = &'a [Move]>,
    cut: &Range<u64>,
) -> Vec<Range<u64>> {
    let mut known = Covered::default();
    let mut lost = Vec::new();
    for moves in steps {
        for one in moves {
            known.add(one.source());
        }
        for one in moves {
            lost.extend(known.gaps(&one.target()));
            known.add(one.target());
        }
    }
    lost.extend(known.gaps(cut));
    lost.sort_unstable_by_key(|range| range.start);
    lost
}

/// Bytes of a disk, as ranges that do not touch each other: from where to where.
#[derive(Debug, Default)]
struct Covered(BTreeMap<u64, u64>);

impl Covered {
    fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((first, last)) = self.0.range(..=end).next_back()
            && *last >= start
        {
            let first = *first;
            start = start.min(first);
            end = end.max(*last);
            self.0.remove(&first);
        }
        self.0.insert(start, end);
    }

    /// What of `range` is not in it, ascending.
    fn gaps(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let before = self.0.range(..=range.start).next_back();
        let mut at = before.map_or(range.start, |(_, end)| range.start.max(*end));
        let mut gaps = Vec::new();
        for (start, end) in self.0.range(range.start..range.end) {
            if at < *start {
                gaps.push(at..*start);
            }
            at = at.max(*end);
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }
}

fn ascending(moves: &[Move], place: fn(&Move) -> Range<u64>) -> Vec<Range<u64>> {
    let mut places: Vec<Range<u64>> = moves.iter().map(place).collect();
    places.retain(|place| !place.is_empty());
    places.sort_unstable_by_key(|place| place.start);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(from: u64, to: u64, length: u64) -> Move {
        Move { from, to, length }
    }

    #[test]
    fn what_is_written_over_is_what_no_move_brings_back() {
        let one_by_one = |moves: &[Move]| overwritten(moves.chunks(1), &(90..95));
        assert_eq!(one_by_one(&[one(10, 15, 10)]), [20..25, 90..95]);
        assert_eq!(one_by_one(&[one(15, 10, 10)]), [10..15, 90..95]);
        assert_eq!(one_by_one(&[one(10, 10, 0)]), [90..95]);
        assert_eq!(one_by_one(&[one(80, 20, 12)]), [20..32, 92..95]);
        // The place where one waits is lost, the places that change hands are not.
        let swap = [one(10, 50, 10), one(20, 10, 10), one(50, 20, 10)];
        assert_eq!(one_by_one(&swap), [50..60, 90..95]);
        let at_once = [one(10, 20, 10), one(20, 10, 10)];
        assert_eq!(overwritten([&at_once[..]], &(0..0)), []);
        // Parts of a partition, the last one first, with gaps that are not moved.
        let parts = [one(40, 48, 10), one(20, 28, 10), one(10, 18, 5)];
        assert_eq!(one_by_one(&parts), [18..20, 30..38, 50..58, 90..95]);
    }

    #[test]
    fn what_is_left_behind_is_where_nothing_comes_to() {
        assert_eq!(vacated(&[one(10, 15, 10)]), [10..15]);
        assert_eq!(vacated(&[one(15, 10, 10)]), [20..25]);
        assert_eq!(vacated(&[one(10, 40, 10)]), [10..20]);
        let swapped = [one(0, 10, 10), one(10, 0, 10)];
        assert_eq!(vacated(&swapped), []);
        let both = [one(0, 4, 10), one(20, 2, 2), one(40, 22, 1)];
        assert_eq!(vacated(&both), [0..2, 20..22, 40..41]);
    }

    #[test]
    fn what_cannot_be_made_at_once_is_refused() {
        assert!(check_moves(&[one(0, 10, 10), one(10, 0, 10)], 20).is_ok());
        for wrong in [
            &[one(0, 11, 10)][..],
            &[one(u64::MAX, 0, 2)],
            &[one(0, 10, 5), one(5, 12, 5)],
            &[one(0, 10, 5), one(4, 0, 4)],
        ] {
            assert!(check_moves(wrong, 20).is_err(), "{wrong:?}");
        }
    }
}
