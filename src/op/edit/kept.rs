//! What is kept so that undoing brings the whole disk back: what lies where partitions go, and where
//! a disk is cut off, as far as it is no partition's.

use std::ops::{ControlFlow, Range};

use crate::disk::TrialDisk;
use crate::error::Result;
use crate::units::GIB;

/// Bytes kept at most. What was deleted from a disk that was full once may be as much as the disk.
const MOST: u64 = GIB;
/// Pieces kept at most: each is 24 bytes of the journal's list.
const MOST_PIECES: usize = 1 << 17;

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Ranges of the disk before; whether they are zeroes.
    pub(super) pieces: Vec<(Range<u64>, bool)>,
    /// Bytes that are not, because they are too many: then nothing is.
    pub(super) left_out: u64,
}

/// What the moves of a trial write over, and what is cut off, while `free` bytes can be written to
/// the folder of the journal.
pub(super) fn find(disk: &TrialDisk, free: u64) -> Result<Kept> {
    let mut kept = Kept::default();
    let mut data = 0;
    for range in disk.overwritten()? {
        disk.base().for_each_run(range, &mut |run| {
            if !run.hole {
                data += run.range.end - run.range.start;
            }
            if kept.pieces.len() <= MOST_PIECES {
                kept.pieces.push((run.range, run.hole));
            }
            ControlFlow::Continue(())
        })?;
    }
    // Room is left for what the edit itself needs.
    if data > MOST.min(free / 4) || kept.pieces.len() > MOST_PIECES {
        return Ok(Kept {
            pieces: Vec::new(),
            left_out: data,
        });
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{MemoryStorage, WritableStorage as _};

    #[test]
    fn what_is_kept_is_no_more_than_there_is_room_for() {
        let base = MemoryStorage::new(vec![7; 4096]);
        let disk = TrialDisk::new(Arc::new(base), Arc::new(MemoryStorage::default())).unwrap();
        assert_eq!(find(&disk, 0).unwrap().left_out, 0);
        disk.set_len(8192).unwrap();
        // The new room behind the old end holds nothing yet.
        disk.move_bytes(512, 3584, 2048).unwrap();
        let kept = find(&disk, 4096).unwrap();
        assert_eq!((kept.pieces, kept.left_out), (vec![(3584..4096, false)], 0));
        let kept = find(&disk, 2047).unwrap();
        assert_eq!((kept.pieces, kept.left_out), (vec![], 512));
    }
}
