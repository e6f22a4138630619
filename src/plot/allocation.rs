//! The plot beneath the map: how much is stored per step of the disk, by guest offset.

use crate::plot::cell::{Class, Share};
use crate::plot::summary::Summary;

/// What is stored in each step of the disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllocationSeries {
    /// Bytes of a step; a power of two. The last step may be shorter.
    pub step: u64,
    /// Virtual size of the disk.
    pub size: u64,
    /// By step, in guest order.
    pub steps: Vec<Share>,
}

impl AllocationSeries {
    /// Adds up the summary in at most `most` steps (at least one).
    #[must_use]
    pub fn new(summary: &Summary, most: usize) -> Self {
        let (mut shift, cells) = summary.base();
        let mut together = 1;
        while cells.len().div_ceil(together) > most.max(1) {
            together *= 2;
            shift += 1;
        }
        let steps = cells.chunks(together).map(|cells| {
            let mut sum = Share::default();
            cells.iter().for_each(|share| sum.merge(share));
            sum
        });
        Self {
            step: 1_u64.checked_shl(shift).unwrap_or(u64::MAX),
            size: summary.size(),
            steps: steps.collect(),
        }
    }

    /// The most bytes with content that any step has.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.steps.iter().map(Share::stored).max().unwrap_or(0)
    }

    /// The outline of the bytes of each step that lie in `classes`, as (guest offset, bytes): a
    /// flat line over each step, so that nothing is drawn where nothing is. Where there is any, it
    /// is no lower than a fiftieth of the peak, to be seen.
    pub fn outline(&self, classes: impl Fn(Class) -> bool) -> Vec<(f64, f64)> {
        let mut points = Vec::with_capacity(self.steps.len() * 2);
        let least = self.peak() / 50;
        for (number, share) in (0_u64..).zip(&self.steps) {
            let start = number.saturating_mul(self.step);
            let end = start.saturating_add(self.step).min(self.size);
            let wanted = Class::ALL.into_iter().filter(|class| classes(*class));
            let bytes: u64 = wanted.map(|class| share.of(class)).sum();
            let seen = if bytes > 0 { bytes.max(least) } else { 0 };
            points.push((float(start), float(seen)));
            points.push((float(end), float(seen)));
        }
        points
    }
}

/// Marks for an axis from 0 to `size` bytes: at most `most` of them beside 0, at round numbers of a
/// binary unit, so that they read 10 GiB and not 9.31 GiB.
#[must_use]
pub fn ticks(size: u64, most: u64) -> Vec<u64> {
    let most = most.max(1);
    let step = tick_steps()
        .find(|step| size / step <= most)
        .unwrap_or(1 << 63);
    (0..=size / step).map(|number| number * step).collect()
}

/// 1, 2, 5, 10, 20, 50, 100, 200, 500 of each binary unit, from bytes up.
fn tick_steps() -> impl Iterator<Item = u64> {
    const IN_A_UNIT: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];
    (0..7).flat_map(|unit| {
        let unit = 1_u64 << (10 * unit);
        IN_A_UNIT
            .iter()
            .filter_map(move |step| step.checked_mul(unit))
    })
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a plot is not finer than 53 bits"
)]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::MapEntry;
    use crate::plot::summary::SummaryBuilder;
    use crate::units::{GIB, MIB, TIB};

    #[test]
    fn steps_are_powers_of_two_and_few() {
        for size in [1, MIB, 40 * GIB, 64 * TIB + 512, 1 << 63] {
            let mut builder = SummaryBuilder::new(size);
            builder.add(&MapEntry {
                guest: 0..size,
                depth: 0,
                present: true,
                zero: false,
                data: true,
                compressed: false,
                host: None,
            });
            let series = AllocationSeries::new(&builder.finish(), 400);
            assert!(series.steps.len() <= 400 && series.step.is_power_of_two());
            let sum: u64 = series.steps.iter().map(Share::total).sum();
            assert_eq!(sum, size);
            let outline = series.outline(Class::is_stored);
            let whole_step = series.step.min(size) as f64;
            assert!((outline[0].1 - whole_step).abs() < 1.0);
            assert_eq!(series.peak(), series.step.min(size));
            assert_eq!(outline.last().map(|point| point.0), Some(size as f64));
        }
    }

    #[test]
    fn marks_are_round_in_binary_units() {
        assert_eq!(
            ticks(40 * GIB, 5),
            [0, 10 * GIB, 20 * GIB, 30 * GIB, 40 * GIB]
        );
        assert_eq!(
            ticks(TIB, 6),
            (0..=5).map(|n| n * 200 * GIB).collect::<Vec<_>>()
        );
        assert_eq!(ticks(64 * TIB, 4), [0, 20 * TIB, 40 * TIB, 60 * TIB]);
        assert_eq!(ticks(0, 4), [0]);
        assert!(ticks(u64::MAX, 3).len() <= 4);
    }
}
