//! How far a partition of a draft can reach.

use std::ops::Range;

use super::Draft;
use crate::table::Role;
use crate::units::align_down;

impl Draft {
    /// The bytes that the partition of this number covers by now; `None` when it is gone, or never
    /// was.
    #[must_use]
    pub fn place(&self, number: u32) -> Option<Range<u64>> {
        Some(self.place_of(number).ok()?.1)
    }

    /// The bytes that the partition of this number could cover while all others stay where they
    /// are: its own, and the free space around it. Whole steps of a MiB where that leaves any.
    #[must_use]
    pub fn room_around(&self, number: u32) -> Option<Range<u64>> {
        let (now, range) = self.place_of(number).ok()?;
        let role = self.table.partition(now)?.role;
        let start = self.room_before(range.start, role, now).min(range.start);
        let end = self.room_behind(range.start, role, Some(now));
        Some(start..end.max(range.end))
    }

    /// From where a partition that begins at `start` could begin, aligned.
    fn room_before(&self, start: u64, role: Role, own: u32) -> u64 {
        let mut least = self.table.usable.start;
        for other in &self.table.partitions {
            if role == Role::Logical && other.role == Role::Extended {
                least = least.max(other.range.start.saturating_add(self.step()));
            } else if other.number != own
                && other.range.end <= start
                && (role == Role::Logical) == (other.role == Role::Logical)
            {
                let gap = if role == Role::Logical {
                    self.step()
                } else {
                    0
                };
                least = least.max(other.range.end.saturating_add(gap));
            }
        }
        least.checked_next_multiple_of(self.step()).unwrap_or(start)
    }

    /// Up to where a partition that begins at `start` can reach, aligned.
    pub(super) fn room_behind(&self, start: u64, role: Role, own: Option<u32>) -> u64 {
        let mut end = self.table.usable.end;
        for other in &self.table.partitions {
            if Some(other.number) == own {
                continue;
            }
            if role == Role::Logical && other.role == Role::Extended {
                end = end.min(other.range.end);
            } else if other.range.start > start
                && (role == Role::Logical) == (other.role == Role::Logical)
            {
                // In front of a logical partition a sector describes it; tools keep a MiB there.
                let gap = if role == Role::Logical {
                    self.step()
                } else {
                    0
                };
                end = end.min(other.range.start.saturating_sub(gap));
            }
        }
        let aligned = align_down(end, self.step());
        if aligned > start {
            aligned
        } else {
            align_down(end, self.table.sector_size)
        }
    }
}
