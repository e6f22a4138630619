//! Reading a whole disk on several threads, skipping what is known to be zero.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::control::{Control, Stop};
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
    let threads = threads.max(1);
    let (sender, receiver) = mpsc::sync_channel(2 * threads);
    let receiver = Arc::new(Mutex::new(receiver));
    let work = Work {
        storage,
        control,
        visit,
        stopped: AtomicBool::new(false),
        stop: Mutex::new(None),
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            let (work, receiver) = (&work, Arc::clone(&receiver));
            scope.spawn(move || work.consume(&receiver));
        }
        // Only the threads keep the receiver: were all to panic, sending would fail, not block.
        drop(receiver);
        if let Err(error) = work.produce(range, sender) {
            work.end(error);
        }
    });
    let stop = work
        .stop
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    stop.map_or(Ok(()), Err)
}

struct Work<'a> {
    storage: &'a dyn Storage,
    control: &'a Control,
    visit: &'a (dyn Fn(Chunk<'_>) -> Result<(), Stop> + Sync),
    stopped: AtomicBool,
    stop: Mutex<Option<Stop>>,
}

impl Work<'_> {
    /// Cuts the runs of the storage into pieces and sends them in batches.
    fn produce(&self, range: Range<u64>, sender: SyncSender<Vec<Run>>) -> Result<(), Stop> {
        let mut batch = Batch {
            pieces: Vec::new(),
            data: 0,
            sender,
        };
        self.storage.for_each_run(range, &mut |run| {
            for piece in pieces(run) {
                if self.stopped.load(Ordering::Relaxed) {
                    return ControlFlow::Break(());
                }
                batch.push(piece)?;
            }
            ControlFlow::Continue(())
        })?;
        let _ = batch.send();
        Ok(())
    }

    fn consume(&self, receiver: &Mutex<Receiver<Vec<Run>>>) {
        let mut buf = Vec::new();
        loop {
            let received = receiver
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(batch) = received else {
                return;
            };
            // After the end, batches are still taken, so that the sender never blocks.
            if !self.stopped.load(Ordering::Relaxed)
                && let Err(stop) = self.process(batch, &mut buf)
            {
                self.end(stop);
            }
        }
    }

    fn process(&self, batch: Vec<Run>, buf: &mut Vec<u8>) -> Result<(), Stop> {
        for Run { range, hole } in batch {
            self.control.checkpoint()?;
            let length = range.end - range.start;
            let data = if hole {
                None
            } else {
                let length = usize::try_from(length.min(Chunk::MAX_DATA)).unwrap_or(0);
                buf.resize(length, 0);
                self.storage.read_at(buf, range.start)?;
                Some(buf.as_slice())
            };
            (self.visit)(Chunk { range, data })?;
            self.control.advance(length);
        }
        Ok(())
    }

    fn end(&self, stop: Stop) {
        self.stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(stop);
        self.stopped.store(true, Ordering::Relaxed);
    }
}

struct Batch {
    pieces: Vec<Run>,
    data: u64,
    sender: SyncSender<Vec<Run>>,
}

impl Batch {
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
        match self.sender.send(std::mem::take(&mut self.pieces)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
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
