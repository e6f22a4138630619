//! Cells: the unit in which the allocation map is drawn, and what lies in one.

use std::ops::Range;

use crate::chain::MapEntry;

/// What becomes of guest bytes, as the map tells them apart.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Stored as they are in the active layer.
    Data,
    /// Stored as they are in a backing file.
    Backing,
    /// Stored compressed, in any layer.
    Compressed,
    /// Some layer says that they read as zeroes.
    Zero,
    /// No layer holds them; they read as zeroes.
    Unallocated,
}

impl Class {
    /// All of them, in the order in which they are drawn and listed.
    pub const ALL: [Self; 5] = [
        Self::Data,
        Self::Backing,
        Self::Compressed,
        Self::Zero,
        Self::Unallocated,
    ];

    /// The class of a run of the chain's map.
    #[must_use]
    pub fn of(entry: &MapEntry) -> Self {
        match entry {
            MapEntry {
                compressed: true, ..
            } => Self::Compressed,
            MapEntry {
                data: true,
                depth: 0,
                ..
            } => Self::Data,
            MapEntry { data: true, .. } => Self::Backing,
            MapEntry { present: true, .. } => Self::Zero,
            _ => Self::Unallocated,
        }
    }

    /// A short stable English word, for files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Backing => "backing",
            Self::Compressed => "compressed",
            Self::Zero => "zero",
            Self::Unallocated => "unallocated",
        }
    }

    /// Whether clusters with content are behind it.
    #[must_use]
    pub fn is_stored(self) -> bool {
        matches!(self, Self::Data | Self::Backing | Self::Compressed)
    }
}

/// Bytes of each class.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Share([u64; Class::ALL.len()]);

impl Share {
    /// All `bytes` of one class.
    #[must_use]
    pub fn only(class: Class, bytes: u64) -> Self {
        let mut share = Self::default();
        share.add(class, bytes);
        share
    }

    /// Counts more bytes.
    pub fn add(&mut self, class: Class, bytes: u64) {
        let sum = &mut self.0[class as usize];
        *sum = sum.saturating_add(bytes);
    }

    /// Counts all of `other` too.
    pub fn merge(&mut self, other: &Self) {
        for class in Class::ALL {
            self.add(class, other.of(class));
        }
    }

    /// Bytes of `class`.
    #[must_use]
    pub fn of(&self, class: Class) -> u64 {
        self.0[class as usize]
    }

    /// Bytes with content behind them.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.sum(Class::is_stored)
    }

    /// Bytes of all classes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sum(|_| true)
    }

    /// The classes that have any bytes, in the order of [`Class::ALL`].
    pub fn classes(&self) -> impl Iterator<Item = Class> + '_ {
        Class::ALL.into_iter().filter(|class| self.of(*class) > 0)
    }

    /// The same proportions for a part of `part` bytes out of `whole`: what is known of a piece
    /// when only the whole was counted. Nothing that the whole has is lost by rounding.
    #[must_use]
    pub fn scaled(&self, part: u64, whole: u64) -> Self {
        let scale = |bytes: u64| {
            let exact = u128::from(bytes) * u128::from(part) / u128::from(whole.max(1));
            u64::try_from(exact)
                .unwrap_or(u64::MAX)
                .max(u64::from(bytes > 0))
        };
        Self(self.0.map(scale))
    }

    fn sum(&self, wanted: impl Fn(Class) -> bool) -> u64 {
        Class::ALL
            .into_iter()
            .filter(|class| wanted(*class))
            .fold(0, |sum: u64, class| sum.saturating_add(self.of(class)))
    }
}

/// A run of guest bytes of 2^`shift` bytes, aligned to its length. The last cell of a disk may
/// reach past its end.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cell {
    /// log2 of its length in bytes; less than 64.
    pub shift: u32,
    /// Its guest offset divided by its length.
    pub index: u64,
}

impl Cell {
    /// Cells are not made smaller than a sector.
    pub const MIN_SHIFT: u32 = 9;

    /// The cell of 2^`shift` bytes that holds a guest byte.
    #[must_use]
    pub fn containing(byte: u64, shift: u32) -> Self {
        Self {
            shift,
            index: byte.checked_shr(shift).unwrap_or(0),
        }
    }

    /// Its guest bytes on a disk of `size` bytes; empty past the end.
    #[must_use]
    pub fn guest(&self, size: u64) -> Range<u64> {
        let start = u128::from(self.index) << self.shift;
        let end = start + (1 << self.shift);
        let cut = |byte: u128| u64::try_from(byte).map_or(size, |byte| byte.min(size));
        cut(start)..cut(end)
    }

    /// How many cells of 2^`shift` bytes a disk of `size` bytes has.
    #[must_use]
    pub fn count(size: u64, shift: u32) -> u64 {
        match size.checked_sub(1) {
            Some(last) => Self::containing(last, shift).index + 1,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::TIB;

    #[test]
    fn classes_follow_the_map_entry() {
        let entry = |depth, present, zero, data, compressed| MapEntry {
            guest: 0..1,
            depth,
            present,
            zero,
            data,
            compressed,
            host: None,
        };
        for (entry, class) in [
            (entry(0, true, false, true, false), Class::Data),
            (entry(2, true, false, true, false), Class::Backing),
            (entry(1, true, false, true, true), Class::Compressed),
            (entry(0, true, true, false, false), Class::Zero),
            (entry(0, false, true, false, false), Class::Unallocated),
        ] {
            assert_eq!(Class::of(&entry), class, "{entry:?}");
        }
    }

    #[test]
    fn a_cell_is_cut_at_the_end_of_the_disk() {
        let cell = Cell {
            shift: 20,
            index: 1,
        };
        assert_eq!(cell.guest(TIB), (1 << 20)..(2 << 20));
        assert_eq!(cell.guest((1 << 20) + 5), (1 << 20)..(1 << 20) + 5);
        assert!(cell.guest(100).is_empty());
        assert_eq!(Cell::count(0, 9), 0);
        assert_eq!(Cell::count(512, 9), 1);
        assert_eq!(Cell::count(513, 9), 2);
        assert_eq!(Cell::count(u64::MAX, 46), 1 << 18);
    }

    #[test]
    fn scaling_loses_no_class() {
        let mut share = Share::only(Class::Data, 1);
        share.add(Class::Zero, 1 << 40);
        let piece = share.scaled(1 << 10, 1 << 40);
        assert_eq!(piece.of(Class::Data), 1);
        assert_eq!(piece.of(Class::Zero), 1 << 10);
        assert_eq!(piece.of(Class::Compressed), 0);
    }
}
