//! What applying a draft takes.

use std::ops::Range;

use crate::inspect::Contents;
use crate::op::edit::Draft;
use crate::units::MIB;

/// Bytes a second that are taken for an estimate: a disk that is neither quick nor slow.
const PER_SECOND: u64 = 200 * MIB;

/// Bytes that change their place, as far as the file systems say what they use, before anything was
/// tried. Holes are not copied; free space that still holds data is, on top of this.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cost {
    /// Of partitions that move and are copied for that.
    pub moved: u64,
    /// Of partitions that move without being copied.
    pub remapped: u64,
    /// Of partitions that are copied.
    pub copied: u64,
}

impl Cost {
    /// A guess of how many seconds that takes: each byte is read and written twice, in the journal
    /// and on the disk.
    #[must_use]
    pub fn seconds(self) -> u64 {
        let bytes = self.moved.saturating_add(self.copied);
        bytes.saturating_mul(2).div_ceil(PER_SECOND)
    }
}

/// What applying `draft` of a disk with `contents` takes at most.
#[must_use]
pub fn cost(contents: &Contents, draft: &Draft) -> Cost {
    let mut cost = Cost::default();
    let in_place = draft.moves_in_place(contents.moves_by);
    for change in &draft.changes {
        if let Some(copied) = &change.copied {
            cost.copied = cost.copied.saturating_add(copied.length());
        } else if let (Some(before), Some(after), Some(kept)) =
            (&change.before, &change.after, change.kept())
            && before.start != after.start
            && change.make.is_none()
        {
            let moved = used(contents, before).map_or(kept, |used| used.min(kept));
            let sum = if in_place {
                &mut cost.remapped
            } else {
                &mut cost.moved
            };
            *sum = sum.saturating_add(moved);
        }
    }
    cost
}

fn used(contents: &Contents, range: &Range<u64>) -> Option<u64> {
    let mut volumes = contents.volumes.iter();
    let volume = volumes.find(|known| known.range == *range)?;
    Some(volume.file_system.as_ref()?.usage?.used)
}
