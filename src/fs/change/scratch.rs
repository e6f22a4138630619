//! A private copy of one partition for a tool to work on, and the way back: for where there is no
//! window.

use std::ops::{ControlFlow, Range};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::fs::change::bring_back::{for_each_piece, wipe_signatures, write_changes};
use crate::fs::{FsKind, free_extents};
use crate::storage::{FileStorage, LockMode, Storage, WritableStorage};

/// Stretches of free space that are left out; further ones are copied like used ones.
const MOST_FREE: usize = 1 << 20;

/// What is copied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// Nothing: the tool makes everything anew.
    None,
    /// What is used in a file system of this kind.
    Of(FsKind),
    /// What is in the first so many bytes: for a tool that reads no more.
    Head(u64),
}

/// The copy. Gone when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    file: NamedTempFile,
    storage: FileStorage,
    /// What was copied, in order.
    copied: Vec<Range<u64>>,
    /// The rest holds nothing that matters, but is not zero in the partition.
    makes_anew: bool,
}

impl Scratch {
    /// Copies a partition to a sparse file in `folder`.
    pub(super) fn copy(
        partition: &dyn Storage,
        content: Content,
        folder: &Path,
        control: &Control,
    ) -> Result<Self, Stop> {
        let cannot = |error| Error::io("cannot make a scratch file", error).with_path(folder);
        let file = tempfile::Builder::new()
            .prefix(".platter-")
            .suffix(".scratch")
            .tempfile_in(folder)
            .map_err(cannot)?;
        let storage = FileStorage::open(file.path(), LockMode::Peek)?;
        let writable = FileStorage::open(file.path(), LockMode::WriteExclusive)?;
        writable.set_len(partition.size()?)?;
        let copied = match content {
            Content::None => Vec::new(),
            Content::Of(kind) => used(partition, kind)?,
            Content::Head(bytes) => vec![0..bytes.min(partition.size()?)],
        };
        let bytes = copied.iter().map(|range| range.end - range.start).sum();
        control.enter("copying the file system", bytes);
        for range in &copied {
            for_each_piece(range, &mut |piece, buf| {
                control.checkpoint()?;
                partition.read_at(buf, piece)?;
                if buf.iter().any(|byte| *byte != 0) {
                    writable.write_at(buf, piece)?;
                }
                control.advance(buf.len() as u64);
                Ok(())
            })?;
        }
        Ok(Self {
            file,
            storage,
            copied,
            makes_anew: matches!(content, Content::None),
        })
    }

    /// The file for the tool.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Writes what the tool has changed to the partition. The file may be shorter by now: a file
    /// system that was made smaller does not need the rest.
    pub(super) fn bring_back(
        &self,
        partition: &dyn WritableStorage,
        control: &Control,
    ) -> Result<(), Stop> {
        let size = self.storage.size()?.min(partition.size()?);
        let mut ranges = self.copied.clone();
        // A tool that counts on zeroes may reserve them instead of writing them.
        self.storage
            .for_each_reserved(0..size, &mut |range| ranges.push(range))?;
        if self.makes_anew {
            // What lay here before must not be taken for something later.
            wipe_signatures(partition, size)?;
        }
        let ranges = joined(ranges, size);
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        control.enter("taking the changes over", bytes);
        let mut there = Vec::new();
        for range in &ranges {
            for_each_piece(range, &mut |at, buf| {
                control.checkpoint()?;
                self.storage.read_at(buf, at)?;
                there.resize(buf.len(), 0);
                partition.read_at(&mut there, at)?;
                write_changes(partition, at, buf, &there)?;
                control.advance(buf.len() as u64);
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// The runs of data that the file system uses.
fn used(partition: &dyn Storage, kind: FsKind) -> Result<Vec<Range<u64>>> {
    let mut free: Vec<Range<u64>> = Vec::new();
    let told = free_extents(partition, kind, &mut |range| {
        free.push(range);
        if free.len() < MOST_FREE {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    // What a damaged file system says is free may not be.
    if !matches!(told, Ok(true)) {
        free.clear();
    }
    free.sort_by_key(|range| range.start);
    let mut used = Vec::new();
    let mut next_free = free.into_iter().peekable();
    partition.for_each_run(0..u64::MAX, &mut |run| {
        if run.hole {
            return ControlFlow::Continue(());
        }
        let mut cursor = run.range.start;
        while let Some(range) = next_free.peek() {
            if range.start >= run.range.end {
                break;
            }
            if range.start > cursor {
                used.push(cursor..range.start);
            }
            cursor = cursor.max(range.end);
            if range.end > run.range.end {
                break;
            }
            next_free.next();
        }
        if cursor < run.range.end {
            used.push(cursor..run.range.end);
        }
        ControlFlow::Continue(())
    })?;
    Ok(used)
}

fn joined(mut ranges: Vec<Range<u64>>, end: u64) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let range = range.start..range.end.min(end);
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ if range.is_empty() => {}
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;
    use std::os::unix::fs::FileExt;

    #[test]
    fn only_what_has_changed_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; 3 << 20];
        bytes[5000] = 1;
        bytes[2 << 20] = 2;
        let partition = MemoryStorage::new(bytes.clone());
        let control = Control::new();
        let scratch = Scratch::copy(
            &partition,
            Content::Of(FsKind::Swap),
            folder.path(),
            &control,
        )
        .unwrap();
        assert_eq!(std::fs::read(scratch.path()).unwrap(), bytes);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(scratch.path())
            .unwrap();
        file.write_all_at(&[7; 3], 9000).unwrap();
        file.write_all_at(&[0], 2 << 20).unwrap();
        // Meanwhile something that the tool has not touched is made different, to see what is written.
        partition.write_at(&[9], 1 << 20).unwrap();
        scratch.bring_back(&partition, &control).unwrap();
        bytes[9000..9003].fill(7);
        bytes[2 << 20] = 0;
        bytes[1 << 20] = 0;
        assert_eq!(partition.to_vec(), bytes);
        drop(scratch);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn ranges_join() {
        let ranges = [(5, 9), (0, 3), (3, 5), (20, 40)].map(|(start, end)| start..end);
        let expected = [(0, 9), (20, 30)].map(|(start, end)| start..end);
        assert_eq!(joined(ranges.to_vec(), 30), expected);
    }
}
