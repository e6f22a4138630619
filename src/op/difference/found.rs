//! What a comparison has found: a bit for every granule of the disk.

use std::ops::Range;

/// Where two disks differ. The longer disk's rest is compared with zeroes. Takes 8 MiB at most,
/// however many places there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Differences {
    granularity: u64,
    size: u64,
    /// A bit a granule.
    words: Vec<u64>,
    count: u64,
    bytes: u64,
}

impl Differences {
    pub(super) fn new(granularity: u64, size: u64, words: Vec<u64>) -> Self {
        let mut found = Self {
            granularity,
            size,
            words,
            count: 0,
            bytes: 0,
        };
        let (mut count, mut bytes) = (0, 0);
        for range in found.ranges() {
            count += 1;
            bytes += range.end - range.start;
        }
        (found.count, found.bytes) = (count, bytes);
        found
    }

    /// Bytes that are told apart: a power of two from 4 KiB on, more on very large disks.
    #[must_use]
    pub fn granularity(&self) -> u64 {
        self.granularity
    }

    /// How many ranges there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes in all ranges.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the disks are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The guest ranges, ascending, apart from each other, multiples of the granularity except at
    /// the end of the longer disk.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let range = self.next(at)?;
            at = range.end;
            Some(range)
        })
    }

    /// The first range that ends after `at`; if `at` is inside one, the part from its granule on.
    #[must_use]
    pub fn next(&self, at: u64) -> Option<Range<u64>> {
        // The last granule may reach past the end.
        if at >= self.size {
            return None;
        }
        let first = self.find(at / self.granularity, true)?;
        let end = self.find(first, false);
        let end = end.map_or(self.size, |end| end.saturating_mul(self.granularity));
        Some(first * self.granularity..end.min(self.size))
    }

    /// The last whole range that begins before `at`.
    #[must_use]
    pub fn previous(&self, at: u64) -> Option<Range<u64>> {
        let before = at.min(self.size).div_ceil(self.granularity);
        let mut first = (0..before).rev().find(|index| self.bit(*index))?;
        while first > 0 && self.bit(first - 1) {
            first -= 1;
        }
        self.next(first * self.granularity)
    }

    /// The first whole range that begins at `at` or after it.
    #[must_use]
    pub fn range_from(&self, at: u64) -> Option<Range<u64>> {
        let next = self.next(at)?;
        let whole = self.previous(next.end)?;
        if whole.start < at {
            self.next(whole.end)
        } else {
            Some(whole)
        }
    }

    /// How many of the bytes in `range` differ, in whole granules and their parts.
    #[must_use]
    pub fn bytes_in(&self, range: Range<u64>) -> u64 {
        let range = range.start..range.end.min(self.size);
        if range.is_empty() {
            return 0;
        }
        let (first, last) = (
            range.start / self.granularity,
            (range.end - 1) / self.granularity,
        );
        let part = |index: u64| {
            let start = (index * self.granularity).max(range.start);
            let end = ((index + 1) * self.granularity).min(range.end);
            if self.bit(index) { end - start } else { 0 }
        };
        if first == last {
            return part(first);
        }
        part(first) + part(last) + self.ones(first + 1..last) * self.granularity
    }

    fn bit(&self, index: u64) -> bool {
        self.word(index / 64) & 1 << (index % 64) != 0
    }

    fn word(&self, index: u64) -> u64 {
        let index = usize::try_from(index).ok();
        index
            .and_then(|index| self.words.get(index))
            .copied()
            .unwrap_or(0)
    }

    /// Bits that are set, of those with these indices.
    fn ones(&self, range: Range<u64>) -> u64 {
        let (mut at, mut sum) = (range.start, 0);
        while at < range.end {
            let end = range.end.min((at / 64 + 1) * 64);
            let mask = mask_below(end - at / 64 * 64) & !mask_below(at % 64);
            sum += u64::from((self.word(at / 64) & mask).count_ones());
            at = end;
        }
        sum
    }

    /// The first index from `at` on whose bit is `set`.
    fn find(&self, at: u64, set: bool) -> Option<u64> {
        let mut number = at / 64;
        let mut ignore = mask_below(at % 64);
        while let Some(word) = self.words.get(usize::try_from(number).ok()?) {
            let word = if set { *word } else { !*word } & !ignore;
            if word != 0 {
                return Some(number * 64 + u64::from(word.trailing_zeros()));
            }
            ignore = 0;
            number += 1;
        }
        None
    }
}

/// The lowest `bits` bits, 64 at most.
fn mask_below(bits: u64) -> u64 {
    if bits >= 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_bits(bits: &[bool], size: u64) -> Differences {
        let words = bits.chunks(64).map(|chunk| {
            let bit = |(index, set): (usize, &bool)| u64::from(*set) << index;
            chunk.iter().enumerate().map(bit).sum()
        });
        Differences::new(4096, size, words.collect())
    }

    proptest! {
        #[test]
        fn ranges_and_sums_are_those_of_the_bits(
            bits in prop::collection::vec(any::<bool>(), 1..300),
            cut in 1_u64..4096,
            start in 0_u64..300 * 4096,
            length in 0_u64..300 * 4096,
        ) {
            let size = bits.len() as u64 * 4096 - (4096 - cut);
            let found = of_bits(&bits, size);
            let differs = |at: u64| at < size && bits[usize::try_from(at / 4096).unwrap()];
            let mut ranges = found.ranges().peekable();
            let mut sum = 0;
            while let Some(range) = ranges.next() {
                prop_assert!(!range.is_empty() && range.end <= size);
                prop_assert!((range.start..range.end).step_by(4096).all(differs));
                prop_assert!(ranges.peek().is_none_or(|next| next.start > range.end));
                sum += range.end - range.start;
            }
            prop_assert_eq!(sum, found.bytes());
            prop_assert_eq!(found.bytes_in(0..u64::MAX), sum);
            let mut counted = 0;
            let mut at = start;
            while at < start + length {
                let end = ((at / 4096 + 1) * 4096).min(start + length);
                counted += if differs(at) { end.min(size) - at } else { 0 };
                at = end;
            }
            prop_assert_eq!(found.bytes_in(start..start + length), counted);
            let before = found.ranges().take_while(|range| range.start < start).last();
            prop_assert_eq!(found.previous(start), before);
            let from = found.ranges().find(|range| range.start >= start);
            prop_assert_eq!(found.range_from(start), from);
            let after = found.ranges().find(|range| range.end > start);
            prop_assert_eq!(found.next(start).map(|it| it.end), after.map(|it| it.end));
        }
    }
}
