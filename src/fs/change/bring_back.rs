//! What is common to both ways back from a tool to the partition.

use std::ops::Range;

use crate::control::Stop;
use crate::error::Result;
use crate::storage::WritableStorage;
use crate::units::MIB;

/// Bytes that are copied or compared at a time.
const PIECE: u64 = MIB;
/// Bytes of which at least one has changed are brought back together.
pub(super) const GRANULE: usize = 4096;

/// Wipes where the signatures of file systems and volumes are: the beginning and the end.
pub(super) fn wipe_signatures(partition: &dyn WritableStorage, size: u64) -> Result<()> {
    let edge = MIB.min(size);
    partition.punch_hole(0..edge)?;
    partition.punch_hole(size - edge..size)
}

/// Writes the granules of `new` that are not as in `old`.
pub(super) fn write_changes(
    partition: &dyn WritableStorage,
    offset: u64,
    new: &[u8],
    old: &[u8],
) -> Result<()> {
    let granules = new.chunks(GRANULE).zip(old.chunks(GRANULE));
    let mut start = None;
    let mut at = 0;
    for (new_granule, old_granule) in granules {
        if new_granule == old_granule {
            if let Some(start) = start.take() {
                partition.write_at(&new[start..at], offset + start as u64)?;
            }
        } else if start.is_none() {
            start = Some(at);
        }
        at += new_granule.len();
    }
    if let Some(start) = start {
        partition.write_at(&new[start..at], offset + start as u64)?;
    }
    Ok(())
}

/// Visits `range` in pieces, with room for each.
pub(super) fn for_each_piece(
    range: &Range<u64>,
    visit: &mut impl FnMut(u64, &mut [u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut buf = vec![0; usize::try_from(PIECE.min(range.end - range.start)).unwrap_or(0)];
    let mut at = range.start;
    while at < range.end {
        let length = usize::try_from(range.end - at).map_or(buf.len(), |left| left.min(buf.len()));
        visit(at, &mut buf[..length])?;
        at += length as u64;
    }
    Ok(())
}
