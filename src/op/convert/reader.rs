//! Reading a batch: the data of its pieces one behind the other, at the allowed rate, saving what
//! can be saved from a failing source.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::op::convert::batch::{Batch, Piece};
use crate::op::convert::source::{RunState, Source};
use crate::op::convert::verify::Sums;
use crate::op::convert::{ConvertOptions, ConvertStop, Notice, Step};

/// What is tried again on its own when reading fails.
const SECTOR: usize = 512;

/// Reads batches of one source.
pub(super) struct Reader<'a> {
    source: &'a Source<'a>,
    options: &'a ConvertOptions<'a>,
    started: Instant,
    read: AtomicU64,
    sums: Option<&'a Sums>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source<'a>, options: &'a ConvertOptions<'a>) -> Self {
        Self {
            source,
            options,
            started: Instant::now(),
            read: AtomicU64::new(0),
            sums: None,
        }
    }

    /// Sums up what is read, to be compared with what was written.
    pub(super) fn with_sums(self, sums: Option<&'a Sums>) -> Self {
        Self { sums, ..self }
    }

    /// Reads the data of the batch into `buf`, which is made as long as that.
    pub(super) fn read<'b>(
        &self,
        batch: &Batch,
        buf: &'b mut Vec<u8>,
    ) -> Result<&'b mut [u8], ConvertStop> {
        // Bounded: what the cutter makes of a batch.
        let length = usize::try_from(batch.data_length()).unwrap_or(0);
        if buf.len() < length {
            buf.resize(length, 0);
        }
        let buf = &mut buf[..length];
        for (piece, range) in data_pieces(batch) {
            let buf = &mut buf[range];
            self.read_piece(buf, piece.range.start)?;
            if let Some(sums) = self.sums {
                sums.add(buf, piece.range.start);
            }
        }
        self.pace(length as u64);
        Ok(buf)
    }

    /// Fills `buf` from the guest offset `offset`.
    pub(super) fn read_piece(&self, buf: &mut [u8], offset: u64) -> Result<(), ConvertStop> {
        match self.source.read_at(buf, offset) {
            Err(_) if self.options.salvage => {
                for (index, sector) in buf.chunks_mut(SECTOR).enumerate() {
                    let offset = offset + (index * SECTOR) as u64;
                    if let Err(error) = self.source.read_at(sector, offset) {
                        sector.fill(0);
                        (self.options.notice)(Notice::Unreadable { offset, error });
                    }
                }
                Ok(())
            }
            result => result.map_err(|error| ConvertStop::new(Step::Read(offset), error)),
        }
    }

    /// Waits until so many bytes may have been read.
    fn pace(&self, length: u64) {
        let Some(rate) = self.options.rate else {
            return;
        };
        let read = self.read.fetch_add(length, Ordering::Relaxed) + length;
        let nanoseconds = u128::from(read) * 1_000_000_000 / u128::from(rate.get());
        let due = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        if let Some(early) = due.checked_sub(self.started.elapsed()) {
            thread::sleep(early);
        }
    }
}

/// The pieces that are data, each with its place in the batch's buffer.
pub(super) fn data_pieces(batch: &Batch) -> impl Iterator<Item = (&Piece, std::ops::Range<usize>)> {
    let data = batch
        .pieces
        .iter()
        .filter(|piece| piece.state == RunState::Data);
    data.scan(0, |end, piece| {
        let start = *end;
        // Bounded by the buffer's length.
        *end += usize::try_from(piece.length()).unwrap_or(0);
        Some((piece, start..*end))
    })
}
