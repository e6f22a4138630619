//! What of a partition is copied when it moves: its free space is not, where that is sure.

use std::ops::{ControlFlow, Range};

use crate::fs::change::{Action, Capability, capability};
use crate::fs::{self, FsKind};
use crate::storage::Storage;
use crate::units::MIB;

/// Shorter stretches of free space are copied with the rest: each part that moves by itself waits
/// for the disk a few times.
const SHORTEST: u64 = 4 * MIB;

/// The parts of `content` that hold something, counted from its start: all of it unless a file system
/// of `kind` says itself what is free and that it was closed well. It must have a checker, which finds
/// on the trial disk whatever was left out although something leads to it.
pub(super) fn parts(content: &dyn Storage, length: u64, kind: Option<FsKind>) -> Vec<Range<u64>> {
    let whole = 0..length;
    let free = kind.and_then(|kind| free(content, kind));
    let mut parts = Vec::new();
    let mut at = whole.start;
    for range in free.unwrap_or_default() {
        let range = range.start.min(length)..range.end.min(length);
        if range.end - range.start < SHORTEST || range.start < at {
            continue;
        }
        if at < range.start {
            parts.push(at..range.start);
        }
        at = range.end;
    }
    if at < whole.end {
        parts.push(at..whole.end);
    }
    parts
}

/// Free stretches, ascending; `None` where nobody can tell, or should be believed.
fn free(content: &dyn Storage, kind: FsKind) -> Option<Vec<Range<u64>>> {
    if !matches!(capability(kind, Action::Check), Capability::Tool { .. }) {
        return None;
    }
    let known = fs::identify(content).ok()??;
    if known.kind != kind || !known.notes.is_empty() {
        return None;
    }
    let mut free = Vec::new();
    let told = fs::free_extents(content, kind, &mut |range| {
        if range.end - range.start >= SHORTEST {
            free.push(range);
        }
        ControlFlow::Continue(())
    });
    matches!(told, Ok(true)).then_some(free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn what_nobody_knows_moves_as_a_whole() {
        let content = MemoryStorage::new(vec![0; 1 << 20]);
        for kind in [None, Some(FsKind::Ext4), Some(FsKind::Swap)] {
            assert_eq!(parts(&content, 1 << 20, kind), [0..1 << 20]);
        }
        assert_eq!(parts(&content, 0, None), []);
    }
}
