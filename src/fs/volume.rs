//! Bounded reading of a volume whose own numbers are not to be trusted.

use std::ops::{ControlFlow, Range};

use crate::codec::Fields;
use crate::error::Result;
use crate::storage::Storage;
use crate::units::{KIB, MIB};

/// Read at once on opening: everything that a family is recognised by lies here (btrfs last, at
/// 64 KiB).
const HEAD: usize = 68 << 10;
/// Longest structure read into memory.
const MAX_READ: usize = 4 << 20;
/// Bitmaps and allocation tables are streamed in pieces of this size…
const PIECE: u64 = MIB;
/// …and not counted when more than this had to be read.
const MAX_SCAN: u64 = 256 * MIB;
/// Data and holes of a scanned range kept track of; behind them everything is read.
const MAX_RUNS: usize = 1 << 14;

/// A volume, opened.
pub(super) struct Volume<'a> {
    storage: &'a dyn Storage,
    size: u64,
    /// The first [`HEAD`] bytes, zeroes behind the end.
    head: Vec<u8>,
}

/// A piece of a scanned range.
pub(super) enum Piece<'a> {
    Data(&'a [u8]),
    /// So many bytes of zeroes, which were not read.
    Zeroes(u64),
}

impl<'a> Volume<'a> {
    pub(super) fn open(storage: &'a dyn Storage) -> Result<Self> {
        let mut head = vec![0; HEAD];
        storage.read_padded_at(&mut head, 0)?;
        Ok(Self {
            storage,
            size: storage.size()?,
            head,
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether `magic` stands at `at`, which lies within the head.
    pub(super) fn has(&self, at: usize, magic: &[u8]) -> bool {
        self.head
            .get(at..)
            .is_some_and(|head| head.starts_with(magic))
    }

    /// Fields of the head from `at` on.
    pub(super) fn head(&self, at: usize) -> Fields<'_> {
        Fields::new(self.head.get(at..).unwrap_or_default(), at as u64)
    }

    /// `length` bytes at `offset`; `None` when they are not all inside the volume, or too many.
    pub(super) fn read(&self, offset: u64, length: usize) -> Result<Option<Vec<u8>>> {
        let inside = offset
            .checked_add(length as u64)
            .is_some_and(|end| end <= self.size);
        if !inside || length > MAX_READ {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.storage.read_at(&mut bytes, offset)?;
        Ok(Some(bytes))
    }

    /// Streams `range` in order, without reading its holes, until the visitor breaks. False, with
    /// nothing visited, when it is not inside the volume or too much of it is data.
    pub(super) fn scan(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        if range.start > range.end || range.end > self.size {
            return Ok(false);
        }
        let data = self.data_runs(range.clone())?;
        if data.iter().map(|run| run.end - run.start).sum::<u64>() > MAX_SCAN {
            return Ok(false);
        }
        let mut buffer = Vec::new();
        let mut cursor = range.start;
        for run in data {
            if run.start > cursor && visit(Piece::Zeroes(run.start - cursor)).is_break() {
                return Ok(true);
            }
            cursor = run.start;
            while cursor < run.end {
                let length = PIECE.min(run.end - cursor);
                buffer.resize(usize::try_from(length).unwrap_or(0), 0);
                self.storage.read_at(&mut buffer, cursor)?;
                if visit(Piece::Data(&buffer)).is_break() {
                    return Ok(true);
                }
                cursor += length;
            }
        }
        if cursor < range.end {
            let _ = visit(Piece::Zeroes(range.end - cursor));
        }
        Ok(true)
    }

    /// The parts of `range` that are no holes. Collected before anything is read: the storage may
    /// hold a lock while it visits.
    fn data_runs(&self, range: Range<u64>) -> Result<Vec<Range<u64>>> {
        // Asking costs more than reading so little.
        if range.end - range.start <= 64 * KIB {
            return Ok(vec![range]);
        }
        let mut data: Vec<Range<u64>> = Vec::new();
        self.storage.for_each_run(range.clone(), &mut |run| {
            if run.hole {
                return ControlFlow::Continue(());
            }
            if let Some(last) = data.last_mut()
                && last.end >= run.range.start
            {
                last.end = run.range.end;
            } else if data.len() == MAX_RUNS {
                data.push(run.range.start..range.end);
                return ControlFlow::Break(());
            } else {
                data.push(run.range);
            }
            ControlFlow::Continue(())
        })?;
        Ok(data)
    }

    /// Ones among the first `bits` bits of the bitmap that `ranges` hold one behind the other.
    /// `None` when they are too short, not inside the volume, or too long to count.
    pub(super) fn count_ones(&self, ranges: &[Range<u64>], bits: u64) -> Result<Option<u64>> {
        if bits.div_ceil(8) > MAX_SCAN {
            return Ok(None);
        }
        let mut left = bits;
        let mut ones = 0;
        for range in ranges {
            if left == 0 {
                break;
            }
            let length = range.end.saturating_sub(range.start);
            let end = range.start.saturating_add(length.min(left.div_ceil(8)));
            let scanned = self.scan(range.start..end, &mut |piece| {
                match piece {
                    Piece::Zeroes(bytes) => left = left.saturating_sub(bytes.saturating_mul(8)),
                    Piece::Data(bytes) => count_piece(bytes, &mut left, &mut ones),
                }
                ControlFlow::Continue(())
            })?;
            if !scanned {
                return Ok(None);
            }
        }
        Ok((left == 0).then_some(ones))
    }
}

fn count_piece(bytes: &[u8], left: &mut u64, ones: &mut u64) {
    let bits = bytes.len() as u64 * 8;
    if *left >= bits {
        *ones += count_bytes(bytes);
        *left -= bits;
        return;
    }
    let whole = usize::try_from(*left / 8).unwrap_or(bytes.len());
    *ones += count_bytes(&bytes[..whole]);
    let rest = *left % 8;
    if rest > 0 {
        let mask = (1_u8 << rest) - 1;
        *ones += u64::from((bytes[whole] & mask).count_ones());
    }
    *left = 0;
}

fn count_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words
        .iter()
        .map(|word| u64::from(u64::from_le_bytes(*word).count_ones()))
        .sum();
    in_words
        + rest
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn counts_bits_across_ranges_up_to_the_last_one() {
        let mut bytes = vec![0; 3 << 20];
        bytes[1 << 20..2 << 20].fill(0xff);
        let storage = MemoryStorage::new(bytes);
        let volume = Volume::open(&storage).unwrap();
        let mib = 1_u64 << 20;
        let count = |pairs: &[(u64, u64)], bits| {
            let ranges: Vec<_> = pairs.iter().map(|(start, end)| *start..*end).collect();
            volume.count_ones(&ranges, bits).unwrap()
        };
        assert_eq!(count(&[(0, 3 * mib)], 24 * mib), Some(8 * mib));
        assert_eq!(
            count(&[(mib, mib + 1), (0, 1), (mib, mib + 2)], 19),
            Some(11)
        );
        assert_eq!(count(&[(mib, mib + 2)], 13), Some(13));
        assert_eq!(count(&[(mib, mib + 2)], 17), None, "the bitmap is short");
        assert_eq!(count(&[(2 * mib, 4 * mib)], 16 * mib), None, "outside");
        assert_eq!(count(&[(2 * mib, mib)], 8), None, "backwards");
        assert_eq!(count(&[(0, mib)], u64::MAX), None);
    }

    #[test]
    fn reads_only_what_is_there() {
        let storage = MemoryStorage::new(vec![7; 1000]);
        let volume = Volume::open(&storage).unwrap();
        assert!(volume.has(999, &[7, 0]));
        assert!(!volume.has(HEAD - 1, &[0, 0]));
        assert_eq!(volume.read(990, 10).unwrap(), Some(vec![7; 10]));
        assert_eq!(volume.read(990, 11).unwrap(), None);
        assert_eq!(volume.read(u64::MAX, 11).unwrap(), None);
        assert_eq!(volume.read(0, usize::MAX).unwrap(), None);
    }
}
