//! Reading a whole disk on several threads, skipping what is known to be zero.

use std::ops::{ControlFlow, Range};

use crate::control::{Control, Stop};
use crate::disk::pool::in_parallel;
use crate::storage::{Run, Storage};
use crate::units::MIB;

/// A piece of a disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chunk<'a> {
    /// Where on the disk. Data pieces never cross a multiple of [`Chunk::MAX_DATA`]; zero pieces
    /// are as long as the storage says.
    pub range: Range<u64>,
    /// Its bytes; `None` when it reads as zeroes and nothing was read for it.
    pub data: Option<&'a [u8]>,
}

impl Chunk<'_> {
    /// The longest data piece in bytes. Fits a core's cache beside its destination.
    pub const MAX_DATA: u64 = MIB;
}

/// Small pieces are handed over together: this many at most.
const BATCH: usize = 256;

/// Reads `range` of `storage` (cut to its size) on `threads` threads and hands every byte of it to
/// `visit` once, from those threads, in no fixed order; pieces are begun in ascending order. Memory
/// is a chunk and a few batches of ranges a thread.
///
/// Counts the bytes of each piece as progress, zeroes too, once it was visited.
///
/// # Errors
/// The first error of the storage or of `visit` ends the work, as does a cancel.
pub fn read_parallel(
    storage: &dyn Storage,
    range: Range<u64>,
    threads: usize,
    control: &Control,
    visit: &(dyn Fn(Chunk<'_>) -> Result<(), Stop> + Sync),
) -> Result<(), Stop> {
    let produce = |send: &mut dyn FnMut(Vec<Run>) -> ControlFlow<()>| {
        let mut batch = Batch {
            pieces: Vec::new(),
            data: 0,
            send,
        };
        storage.for_each_run(range, &mut |run| {
            for piece in pieces(run) {
                batch.push(piece)?;
            }
            ControlFlow::Continue(())
        })?;
        let _ = batch.send();
        Ok(())
    };
    in_parallel(threads, produce, &|batch: Vec<Run>, buf: &mut Vec<u8>| {
        for Run { range, hole } in batch {
            control.checkpoint()?;
            let length = range.end - range.start;
            let data = if hole {
                None
            } else {
                let length = usize::try_from(length.min(Chunk::MAX_DATA)).unwrap_or(0);
                buf.resize(length, 0);
                storage.read_at(buf, range.start)?;
                Some(buf.as_slice())
            };
            visit(Chunk { range, data })?;
            control.advance(length);
        }
        Ok(())
    })
}

struct Batch<'a> {
    pieces: Vec<Run>,
    data: u64,
    send: &'a mut dyn FnMut(Vec<Run>) -> ControlFlow<()>,
}

impl Batch<'_> {
    fn push(&mut self, piece: Run) -> ControlFlow<()> {
        if !piece.hole {
            self.data += piece.range.end - piece.range.start;
        }
        self.pieces.push(piece);
        if self.data >= Chunk::MAX_DATA || self.pieces.len() >= BATCH {
            return self.send();
        }
        ControlFlow::Continue(())
    }

    /// Breaks when nobody receives any more.
    fn send(&mut self) -> ControlFlow<()> {
        self.data = 0;
        (self.send)(std::mem::take(&mut self.pieces))
    }
}

/// Data is cut at multiples of the chunk size, so that pieces stay aligned to clusters.
fn pieces(run: Run) -> impl Iterator<Item = Run> {
    let Run { range, hole } = run;
    let mut start = range.start;
    std::iter::from_fn(move || {
        if start >= range.end {
            return None;
        }
        let next = (start / Chunk::MAX_DATA + 1).saturating_mul(Chunk::MAX_DATA);
        let end = if hole { range.end } else { next.min(range.end) };
        let piece = Run {
            range: start..end,
            hole,
        };
        start = end;
        Some(piece)
    })
}
