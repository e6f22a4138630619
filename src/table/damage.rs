//! Collects what is wrong with a table, and judges what only shows when all partitions are known.

use std::ops::Range;

use super::{Damage, Partition, Role};
use crate::phrase::{Phrase, gettext_noop};

/// Findings told one by one; a table with more is broken anyway.
const LIMIT: usize = 64;

/// A growing list of [`Damage`], bounded: after [`LIMIT`] findings only their number is kept.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Damage>,
    untold: usize,
}

impl Findings {
    /// Something that does not change which partitions there are.
    pub(super) fn note(&mut self, offset: u64, message: Phrase) {
        self.push(offset, message, false);
    }

    /// Something that makes partitions wrong or missing.
    pub(super) fn serious(&mut self, offset: u64, message: Phrase) {
        self.push(offset, message, true);
    }

    fn push(&mut self, offset: u64, message: Phrase, serious: bool) {
        if self.list.len() == LIMIT {
            self.untold += 1;
            return;
        }
        self.list.push(Damage {
            message,
            offset,
            serious,
        });
    }

    /// Looks for partitions that reach behind the end of the disk or into one another.
    /// `partitions` are in disk order.
    pub(super) fn judge_ranges(&mut self, partitions: &[Partition], disk_size: u64) {
        for partition in partitions {
            let Range { start, end } = partition.range;
            let number = u64::from(partition.number);
            if start >= disk_size {
                let message = Phrase::new(gettext_noop(
                    "partition {number} begins {size} behind the end of the disk",
                ))
                .count("number", number)
                .size("size", start - disk_size);
                self.serious(start, message);
            } else if end > disk_size {
                let message = Phrase::new(gettext_noop(
                    "partition {number} ends {size} behind the end of the disk",
                ))
                .count("number", number)
                .size("size", end - disk_size);
                self.serious(start, message);
            }
        }
        // An extended partition contains its logical ones by design: two sweeps.
        self.judge_overlaps(partitions.iter().filter(|p| p.role != Role::Logical));
        self.judge_overlaps(partitions.iter().filter(|p| p.role != Role::Extended));
    }

    fn judge_overlaps<'a>(&mut self, partitions: impl Iterator<Item = &'a Partition>) {
        let mut widest: Option<&Partition> = None;
        for partition in partitions {
            if let Some(before) = widest
                && before.range.end > partition.range.start
            {
                let shared = before.range.end.min(partition.range.end) - partition.range.start;
                let message = Phrase::new(gettext_noop(
                    "partitions {first} and {second} overlap by {size}",
                ))
                .count("first", u64::from(before.number))
                .count("second", u64::from(partition.number))
                .size("size", shared);
                if !self.list.iter().any(|damage| damage.message == message) {
                    self.serious(partition.range.start, message);
                }
            }
            if widest.is_none_or(|before| partition.range.end > before.range.end) {
                widest = Some(partition);
            }
        }
    }

    /// The list, closed by the number of findings left out.
    pub(super) fn finish(mut self) -> Vec<Damage> {
        if self.untold > 0 {
            self.list.push(Damage {
                message: Phrase::new(gettext_noop("{number} more findings of this kind"))
                    .count("number", self.untold as u64),
                offset: 0,
                serious: true,
            });
        }
        self.list
    }
}
