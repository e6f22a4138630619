//! Free space on its way from a format's own map to byte ranges.

use std::ops::{ControlFlow, Range};

use super::volume::{Piece, Volume};
use crate::error::Result;

/// Joins runs of units to extents in bytes, within the volume.
pub(super) struct Extents<'a> {
    unit: u64,
    base: u64,
    limit: u64,
    open: Option<Range<u64>>,
    visit: &'a mut dyn FnMut(Range<u64>) -> ControlFlow<()>,
}

impl<'a> Extents<'a> {
    pub(super) fn new(limit: u64, visit: &'a mut dyn FnMut(Range<u64>) -> ControlFlow<()>) -> Self {
        Self {
            unit: 1,
            base: 0,
            limit,
            open: None,
            visit,
        }
    }

    /// From now on runs count units of so many bytes from `base`.
    pub(super) fn set_unit(&mut self, unit: u64, base: u64) {
        self.unit = unit;
        self.base = base;
    }

    /// Adds a run that begins behind all that were added before.
    pub(super) fn add(&mut self, units: Range<u64>) -> ControlFlow<()> {
        let byte = |unit: u64| {
            let offset = unit.saturating_mul(self.unit).saturating_add(self.base);
            offset.min(self.limit)
        };
        let extent = byte(units.start)..byte(units.end);
        if extent.is_empty() {
            return ControlFlow::Continue(());
        }
        match &mut self.open {
            Some(open) if open.end == extent.start => {
                open.end = extent.end;
                ControlFlow::Continue(())
            }
            open => match open.replace(extent) {
                Some(done) => (self.visit)(done),
                None => ControlFlow::Continue(()),
            },
        }
    }

    /// Visits the extent that is still open.
    pub(super) fn finish(mut self) {
        if let Some(open) = self.open.take() {
            let _ = (self.visit)(open);
        }
    }
}

/// Adds the zeroes among the first `bits` bits of the bitmap that `ranges` hold one behind the
/// other. False when they are too short, not inside the volume, or too long.
pub(super) fn add_zero_bits(
    volume: &Volume<'_>,
    ranges: &[Range<u64>],
    bits: u64,
    extents: &mut Extents<'_>,
) -> Result<bool> {
    let mut next = 0;
    let mut flow = ControlFlow::Continue(());
    for range in ranges {
        let needed = (bits - next).div_ceil(8);
        if needed == 0 || flow.is_break() {
            break;
        }
        let length = range.end.saturating_sub(range.start).min(needed);
        let scanned = volume.scan(
            range.start..range.start.saturating_add(length),
            &mut |piece| {
                let count = match &piece {
                    Piece::Zeroes(bytes) => bytes.saturating_mul(8),
                    Piece::Data(bytes) => bytes.len() as u64 * 8,
                };
                let count = count.min(bits - next);
                flow = match piece {
                    Piece::Zeroes(_) => extents.add(next..next + count),
                    Piece::Data(bytes) => zero_runs(bytes, count, next, extents),
                };
                next += count;
                flow
            },
        )?;
        if !scanned {
            return Ok(false);
        }
    }
    Ok(next == bits || flow.is_break())
}

/// Adds the zeroes among the first `count` bits of `bytes`, of which the first is number `base`.
pub(super) fn zero_runs(
    bytes: &[u8],
    count: u64,
    base: u64,
    extents: &mut Extents<'_>,
) -> ControlFlow<()> {
    let mut run: Option<u64> = None;
    let mut at = 0;
    for byte in bytes {
        if at >= count {
            break;
        }
        let width = (count - at).min(8);
        match (*byte, run) {
            // Whole bytes of one kind are the rule.
            (0, Some(_)) => {}
            (0, None) => run = Some(at),
            (0xff, None) => {}
            _ => {
                for bit in 0..width {
                    let is_free = byte >> bit & 1 == 0;
                    match (is_free, run) {
                        (true, None) => run = Some(at + bit),
                        (false, Some(start)) => {
                            extents.add(base + start..base + at + bit)?;
                            run = None;
                        }
                        _ => {}
                    }
                }
            }
        }
        at += width;
    }
    match run {
        Some(start) => extents.add(base + start..base + at),
        None => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(limit: u64, add: impl FnOnce(&mut Extents<'_>)) -> Vec<Range<u64>> {
        let mut found = Vec::new();
        let mut visit = |extent| {
            found.push(extent);
            ControlFlow::Continue(())
        };
        let mut extents = Extents::new(limit, &mut visit);
        add(&mut extents);
        extents.finish();
        found
    }

    #[test]
    fn zero_bits_become_runs_that_join_across_pieces() {
        let found = collect(1000, |extents| {
            extents.set_unit(10, 5);
            let _ = zero_runs(&[0b1111_0011, 0, 0xff], 24, 0, extents);
            let _ = zero_runs(&[0xff, 0b0000_1111, 0], 20, 24, extents);
            let _ = zero_runs(&[0], 8, 44, extents);
        });
        assert_eq!(found, [25..45, 85..165, 365..525]);
    }

    #[test]
    fn extents_end_with_the_volume() {
        let found = collect(100, |extents| {
            let _ = extents.add(90..u64::MAX);
            let _ = extents.add(u64::MAX..u64::MAX);
        });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0], 90..100);
    }
}
