//! The source cut into batches of work: aligned to the target's clusters, so that each cluster is
//! decided about once, and about as long as a core's cache.

use std::ops::{ControlFlow, Range};
use std::sync::mpsc::SyncSender;

use crate::op::convert::source::{RunState, SourceRun};
use crate::units::{align_down, align_up};

/// Pieces of a batch at most: what scattered data makes of one.
const MAX_PIECES: usize = 512;

/// Guest bytes of compressed clusters that are copied as they are, in one batch.
const MAX_STORED: u64 = 16 << 20;

/// Work that one thread does at a time; batches follow each other without gap.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Batch {
    /// Counted from 0 in the order of the disk.
    pub(super) number: u64,
    pub(super) pieces: Vec<Piece>,
}

/// A part of the disk. Its start is a multiple of the unit, and so is its end unless that is the
/// end of the disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    pub(super) range: Range<u64>,
    pub(super) state: RunState,
}

impl Piece {
    pub(super) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Batch {
    /// Bytes that must be read for it.
    pub(super) fn data_length(&self) -> u64 {
        let data = self
            .pieces
            .iter()
            .filter(|piece| piece.state == RunState::Data);
        data.map(Piece::length).sum()
    }

    /// Bytes of the disk that it covers.
    pub(super) fn length(&self) -> u64 {
        self.pieces.iter().map(Piece::length).sum()
    }
}

/// How a disk is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Bytes of the disk.
    pub(super) size: u64,
    /// Bytes that the target decides about together (a power of two).
    pub(super) unit: u64,
    /// Bytes of data in a batch, a multiple of the unit.
    pub(super) batch: u64,
    /// Clusters of this many bytes can be copied as they are stored; 0: none.
    pub(super) stored_unit: u64,
    /// The target has a backing file: what the source does not name reads as that, and zeroes
    /// have to be told.
    pub(super) has_base: bool,
}

/// Cuts runs into batches and sends those.
pub(super) struct Cutter {
    cut: Cut,
    send: SyncSender<Batch>,
    batch: Batch,
    /// Data in the batch, and compressed clusters, in guest bytes.
    data: u64,
    stored: u64,
    /// Everything before is in a batch.
    position: u64,
}

impl Cutter {
    pub(super) fn new(cut: Cut, send: SyncSender<Batch>) -> Self {
        Self {
            cut,
            send,
            batch: Batch::default(),
            data: 0,
            stored: 0,
            position: 0,
        }
    }

    /// Takes the next run; breaks when nobody receives any more.
    pub(super) fn take(&mut self, run: &SourceRun) -> ControlFlow<()> {
        match run.state {
            RunState::Base => ControlFlow::Continue(()),
            RunState::Zero if !self.cut.has_base => ControlFlow::Continue(()),
            RunState::Zero => self.take_whole(run),
            RunState::Compressed { .. } if self.cut.stored_unit == self.cut.unit => {
                self.take_whole(run)
            }
            RunState::Compressed { .. } | RunState::Data => self.take_data(run.range.clone()),
        }
    }

    /// The rest of the disk.
    pub(super) fn finish(mut self) {
        if self.skip_to(self.cut.size).is_continue() {
            let _ = self.send();
        }
    }

    /// Units that are alike throughout stay what they are; parts of units are data.
    fn take_whole(&mut self, run: &SourceRun) -> ControlFlow<()> {
        let Range { start, end } = run.range;
        let first = align_up(start, self.cut.unit)
            .unwrap_or(u64::MAX)
            .max(self.position);
        let last = if end == self.cut.size {
            end
        } else {
            align_down(end, self.cut.unit)
        };
        if first >= last {
            return self.take_data(start..end);
        }
        if start < first {
            self.take_data(start..first)?;
        }
        self.skip_to(first)?;
        if run.state == RunState::Zero {
            self.push(last, run.state);
        }
        while self.position < last {
            let room = MAX_STORED.max(self.cut.unit) - self.stored;
            let next = last.min(self.position + room);
            self.stored += next - self.position;
            self.push(next, run.state);
            if self.stored >= MAX_STORED {
                self.send()?;
            }
        }
        if last < end {
            self.take_data(last..end)?;
        }
        ControlFlow::Continue(())
    }

    fn take_data(&mut self, range: Range<u64>) -> ControlFlow<()> {
        let start = align_down(range.start, self.cut.unit);
        let end = align_up(range.end, self.cut.unit)
            .unwrap_or(u64::MAX)
            .min(self.cut.size);
        if end <= self.position {
            return ControlFlow::Continue(());
        }
        self.skip_to(start)?;
        while self.position < end {
            // At multiples of the batch, so that pieces stay aligned to the host's blocks.
            let aligned = (self.position / self.cut.batch + 1).saturating_mul(self.cut.batch);
            let next = end
                .min(aligned)
                .min(self.position + (self.cut.batch - self.data));
            self.data += next - self.position;
            self.push(next, RunState::Data);
            if self.data >= self.cut.batch {
                self.send()?;
            }
        }
        ControlFlow::Continue(())
    }

    fn skip_to(&mut self, end: u64) -> ControlFlow<()> {
        if self.position < end {
            let state = if self.cut.has_base {
                RunState::Base
            } else {
                RunState::Zero
            };
            self.push(end, state);
        }
        if self.batch.pieces.len() >= MAX_PIECES {
            return self.send();
        }
        ControlFlow::Continue(())
    }

    fn push(&mut self, end: u64, state: RunState) {
        let start = std::mem::replace(&mut self.position, end);
        match self.batch.pieces.last_mut() {
            Some(last) if last.state == state => last.range.end = end,
            _ => self.batch.pieces.push(Piece {
                range: start..end,
                state,
            }),
        }
    }

    fn send(&mut self) -> ControlFlow<()> {
        self.data = 0;
        self.stored = 0;
        let next = Batch {
            number: self.batch.number + 1,
            pieces: Vec::new(),
        };
        let batch = std::mem::replace(&mut self.batch, next);
        match self.send.send(batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    const CUT: Cut = Cut {
        size: 1000,
        unit: 64,
        batch: 256,
        stored_unit: 0,
        has_base: false,
    };

    fn batches(cut: Cut, runs: &[(Range<u64>, RunState)]) -> Vec<Batch> {
        let (send, receive) = sync_channel(1000);
        let mut cutter = Cutter::new(cut, send);
        for (range, state) in runs {
            let run = SourceRun {
                range: range.clone(),
                state: *state,
            };
            assert!(cutter.take(&run).is_continue());
        }
        cutter.finish();
        receive.into_iter().collect()
    }

    fn assert_covers(cut: Cut, batches: &[Batch]) {
        let mut position = 0;
        for (index, batch) in batches.iter().enumerate() {
            assert_eq!(batch.number, index as u64);
            assert!(batch.data_length() <= cut.batch);
            for piece in &batch.pieces {
                assert_eq!(piece.range.start, position);
                assert!(position.is_multiple_of(cut.unit));
                position = piece.range.end;
            }
        }
        assert_eq!(position, cut.size);
    }

    #[test]
    fn data_is_rounded_to_units_and_covers_the_disk() {
        let zero = RunState::Zero;
        let data = RunState::Data;
        let found = batches(
            CUT,
            &[
                (0..70, zero),
                (70..80, data),
                (80..100, zero),
                (100..130, data),
                (130..999, zero),
                (999..1000, data),
            ],
        );
        assert_covers(CUT, &found);
        let pieces: Vec<_> = found.into_iter().flat_map(|batch| batch.pieces).collect();
        let ranges: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.range.clone(), piece.state == data))
            .collect();
        assert_eq!(
            ranges,
            [
                (0..64, false),
                (64..192, true),
                (192..960, false),
                (960..1000, true)
            ]
        );
    }

    #[test]
    fn on_a_backing_file_zeroes_are_told_and_gaps_are_left_out() {
        let cut = Cut {
            has_base: true,
            ..CUT
        };
        let found = batches(
            cut,
            &[
                (0..100, RunState::Base),
                (100..300, RunState::Zero),
                (300..1000, RunState::Base),
            ],
        );
        assert_covers(cut, &found);
        let pieces: Vec<_> = found.into_iter().flat_map(|batch| batch.pieces).collect();
        let states: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.range.clone(), piece.state))
            .collect();
        assert_eq!(
            states,
            [
                (0..64, RunState::Base),
                (64..128, RunState::Data),
                (128..256, RunState::Zero),
                (256..320, RunState::Data),
                (320..1000, RunState::Base)
            ]
        );
    }

    #[test]
    fn long_data_is_cut_into_batches() {
        let found = batches(CUT, &[(0..1000, RunState::Data)]);
        assert_covers(CUT, &found);
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn whole_compressed_clusters_stay_what_they_are() {
        let stored = RunState::Compressed { depth: 1 };
        let cut = Cut {
            stored_unit: 64,
            ..CUT
        };
        let runs = [
            (0..100, RunState::Zero),
            (100..300, stored),
            (300..960, RunState::Zero),
            (960..1000, stored),
        ];
        let found = batches(cut, &runs);
        assert_covers(cut, &found);
        let pieces: Vec<_> = found.into_iter().flat_map(|batch| batch.pieces).collect();
        let states: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.range.clone(), piece.state))
            .collect();
        assert_eq!(
            states,
            [
                (0..64, RunState::Zero),
                (64..128, RunState::Data),
                (128..256, stored),
                (256..320, RunState::Data),
                (320..960, RunState::Zero),
                (960..1000, stored)
            ]
        );
        // Other clusters cannot be copied so.
        let found = batches(CUT, &runs);
        assert_covers(CUT, &found);
        let mut pieces = found.iter().flat_map(|batch| &batch.pieces);
        assert!(pieces.all(|piece| piece.state != stored));
    }
}
