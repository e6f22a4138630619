//! Two maps side by side: stretches of the guest disk that are one thing on both sides.

use std::ops::Range;

use crate::chain::MapEntry;

/// A run of one map, as far as a comparison wants to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    pub(super) guest: Range<u64>,
    /// It has to be read to be known.
    pub(super) has_data: bool,
    /// Everything that a strict comparison looks at, as bits.
    pub(super) status: u8,
}

impl Piece {
    pub(super) fn new(entry: &MapEntry, disk_size: u64) -> Self {
        let bits = [
            entry.present,
            entry.zero,
            entry.data,
            entry.compressed,
            entry.host.is_some(),
            // To QEMU the last run of a disk is another one than an equal run before it.
            entry.guest.end == disk_size,
        ];
        Self {
            guest: entry.guest.clone(),
            has_data: entry.present && !entry.zero,
            status: bits
                .iter()
                .fold(0, |status, bit| status << 1 | u8::from(*bit)),
        }
    }
}

/// What has to be read of a stretch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// Nothing: zeroes on both sides.
    Nothing,
    /// Both sides, to be equal.
    Both,
    /// The first side, to be zeroes.
    First,
    /// The second side, to be zeroes.
    Second,
}

/// A stretch of the guest disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stretch {
    pub(super) guest: Range<u64>,
    pub(super) need: Need,
    /// Allocated alike.
    pub(super) same_status: bool,
}

/// Merges two sequences of pieces, each from 0 on without gap; behind the end of the shorter one
/// it counts as zeroes.
pub(super) struct Merge<A, B> {
    first: Cursor<A>,
    second: Cursor<B>,
    position: u64,
}

impl<A: Iterator<Item = Piece>, B: Iterator<Item = Piece>> Merge<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self {
            first: Cursor::new(first),
            second: Cursor::new(second),
            position: 0,
        }
    }
}

impl<A: Iterator<Item = Piece>, B: Iterator<Item = Piece>> Iterator for Merge<A, B> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        let start = self.position;
        let first = self.first.at(start);
        let second = self.second.at(start);
        let ends = [first, second].map(|piece| piece.map(|piece| piece.guest.end));
        let end = ends.into_iter().flatten().min()?;
        let has_data = |piece: Option<&Piece>| piece.is_some_and(|piece| piece.has_data);
        let need = match (has_data(first), has_data(second)) {
            (false, false) => Need::Nothing,
            (true, true) => Need::Both,
            (true, false) => Need::First,
            (false, true) => Need::Second,
        };
        let same_status = first.map(|piece| piece.status) == second.map(|piece| piece.status);
        self.position = end;
        Some(Stretch {
            guest: start..end,
            need,
            same_status,
        })
    }
}

/// The piece around a position that only moves forward.
struct Cursor<I> {
    pieces: I,
    current: Option<Piece>,
}

impl<I: Iterator<Item = Piece>> Cursor<I> {
    fn new(mut pieces: I) -> Self {
        let current = pieces.next();
        Self { pieces, current }
    }

    fn at(&mut self, position: u64) -> Option<&Piece> {
        while self
            .current
            .as_ref()
            .is_some_and(|piece| piece.guest.end <= position)
        {
            self.current = self.pieces.next();
        }
        self.current.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(guest: Range<u64>, has_data: bool, status: u8) -> Piece {
        Piece {
            guest,
            has_data,
            status,
        }
    }

    #[test]
    fn cuts_at_the_borders_of_both_sides() {
        let first = vec![piece(0..10, true, 1), piece(10..30, false, 0)];
        let second = vec![piece(0..20, true, 1), piece(20..25, false, 0)];
        let stretch = |guest, need, same_status| Stretch {
            guest,
            need,
            same_status,
        };
        let merged: Vec<Stretch> = Merge::new(first.into_iter(), second.into_iter()).collect();
        assert_eq!(
            merged,
            [
                stretch(0..10, Need::Both, true),
                stretch(10..20, Need::Second, false),
                stretch(20..25, Need::Nothing, true),
                stretch(25..30, Need::Nothing, false),
            ]
        );
    }

    #[test]
    fn nothing_and_nothing_is_nothing() {
        assert_eq!(
            Merge::new(std::iter::empty(), std::iter::empty()).count(),
            0
        );
    }
}
