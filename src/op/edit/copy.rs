//! Partitions that are copied, from this disk or from another one.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FsKind, free_extents, identify};
use crate::inspect::Contents;
use crate::storage::{Storage, WindowStorage, WritableStorage};
use crate::table::{PartitionType, Role};
use crate::units::MIB;

/// Bytes that are copied at a time.
const PIECE: u64 = MIB;
/// Stretches of free space that are left out; further ones are copied.
const MOST_FREE: usize = 1 << 20;

/// What a copy is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CopySource {
    /// The partition of this number on the same disk, as it was before the edits.
    Here(u32),
    /// A partition of another disk.
    Other(OtherPartition),
}

/// A partition of another disk, which stays open until the edit is forgotten.
#[derive(Clone, Debug)]
pub struct OtherPartition {
    /// The image, for those who read the edit.
    pub image: PathBuf,
    /// Its number there.
    pub number: u32,
    /// Its bytes.
    pub volume: Arc<WindowStorage>,
    /// How many those are.
    pub length: u64,
    /// Its type there.
    pub kind: PartitionType,
    /// Its name there (GPT).
    pub name: Option<String>,
    /// The file system in it.
    pub fs: Option<FsKind>,
}

impl PartialEq for OtherPartition {
    fn eq(&self, other: &Self) -> bool {
        (&self.image, self.number, self.length) == (&other.image, other.number, other.length)
    }
}

impl Eq for OtherPartition {}

impl OtherPartition {
    /// The partition of this number on `disk`, which is the one of `image`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, or it is an extended one; I/O errors.
    pub fn open(image: impl Into<PathBuf>, disk: &Arc<dyn Storage>, number: u32) -> Result<Self> {
        let image = image.into();
        let contents = Contents::read(disk)?;
        let partition = contents
            .table
            .partition(number)
            .filter(|partition| partition.role != Role::Extended)
            .ok_or_else(|| {
                let message = format!("there is no partition {number} that could be copied");
                Error::new(ErrorKind::NotFound, message).with_path(&image)
            })?;
        let range = partition.range.clone();
        let volume = WindowStorage::new(Arc::clone(disk), range.clone())?;
        let fs = identify(&volume)?.map(|fs| fs.kind);
        Ok(Self {
            image,
            number,
            volume: Arc::new(volume),
            length: range.end - range.start,
            kind: partition.kind,
            name: partition.name.clone(),
            fs,
        })
    }
}

/// What a draft knows of a copy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Copied {
    /// These bytes of the disk before the edits.
    Here(Range<u64>),
    /// A partition of another disk.
    Other(OtherPartition),
}

impl Copied {
    /// Its length in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Here(range) => range.end - range.start,
            Self::Other(other) => other.length,
        }
    }

    /// Copies what is in use to `target`; `base` is the disk before the edits.
    pub(super) fn copy(
        &self,
        base: &Arc<dyn Storage>,
        fs: Option<FsKind>,
        target: &dyn WritableStorage,
        control: &Control,
    ) -> Result<(), Stop> {
        let here;
        let source: &dyn Storage = match self {
            Self::Here(range) => {
                here = WindowStorage::new(Arc::clone(base), range.clone())?;
                &here
            }
            Self::Other(other) => other.volume.as_ref(),
        };
        let free = match fs {
            Some(fs) => free(source, fs)?,
            None => Vec::new(),
        };
        let mut data = Vec::new();
        source.for_each_run(0..self.length(), &mut |run| {
            if !run.hole {
                data.push(run.range);
            }
            ControlFlow::Continue(())
        })?;
        let used = without(data, &free);
        control.enter("copying a partition", used.iter().map(length).sum());
        // What lay here before must not shine through holes and free space.
        target.punch_hole(0..self.length())?;
        let mut buf = Vec::new();
        for range in used {
            let mut at = range.start;
            while at < range.end {
                control.checkpoint()?;
                let piece = PIECE.min(range.end - at);
                buf.resize(usize::try_from(piece).unwrap_or(0), 0);
                source.read_at(&mut buf, at)?;
                if buf.iter().any(|byte| *byte != 0) {
                    target.write_at(&buf, at)?;
                }
                control.advance(piece);
                at += piece;
            }
        }
        Ok(())
    }
}

/// What the file system says is free; nothing where it makes no sense.
fn free(source: &dyn Storage, fs: FsKind) -> Result<Vec<Range<u64>>> {
    let mut free = Vec::new();
    let whole = free_extents(source, fs, &mut |range| {
        free.push(range);
        if free.len() < MOST_FREE {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    if !whole {
        free.clear();
    }
    Ok(free)
}

/// The parts of `data` that are not in `free`; both in order.
fn without(data: Vec<Range<u64>>, free: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut used = Vec::new();
    let mut next = 0;
    for range in data {
        let mut cursor = range.start;
        while let Some(gap) = free.get(next) {
            if gap.start >= range.end {
                break;
            }
            if gap.start > cursor {
                used.push(cursor..gap.start);
            }
            cursor = cursor.max(gap.end);
            if gap.end > range.end {
                break;
            }
            next += 1;
        }
        if cursor < range.end {
            used.push(cursor..range.end);
        }
    }
    used
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

impl CopySource {
    /// The number of the partition on its own disk.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Here(number) => *number,
            Self::Other(other) => other.number,
        }
    }
}

impl fmt::Display for CopySource {
    /// `3`, or `3 of web.qcow2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(number) => write!(f, "{number}"),
            Self::Other(other) => write!(f, "{} of {}", other.number, other.image.display()),
        }
    }
}

/// What a copied partition is called in its new table: the type of the same meaning where both
/// tables have one.
pub(super) fn type_for(kind: PartitionType, is_gpt: bool) -> Option<PartitionType> {
    match kind {
        PartitionType::Gpt(_) if is_gpt => Some(kind),
        PartitionType::Mbr(_) if !is_gpt => Some(kind),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_left_out() {
        let data = vec![0..10, 20..40, 50..60];
        let free = [5..25, 30..35, 55..100];
        assert_eq!(without(data.clone(), &free), [0..5, 25..30, 35..40, 50..55]);
        assert_eq!(without(data.clone(), &[]), data);
        assert_eq!(without(data, &[0..100]), []);
    }
}
