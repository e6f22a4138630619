//! What crashes leave of a log.
//!
//! The model is a disk with a volatile cache: what was flushed is there; of what was not, any part
//! may be there, sector by sector. Of two changes of one sector the earlier one never comes back
//! over the later one.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::storage::WritableStorage;
use crate::storage::log::image::CrashFile;
use crate::storage::log::{Change, Record};

/// Bytes that a disk writes whole or not at all.
const SECTOR: u64 = 512;
/// Pieces into which a change is torn at most; longer ones get larger pieces.
const PIECES: u64 = 64;

/// How many crashes are looked at.
#[derive(Clone, Copy, Debug)]
pub struct CrashPlan {
    /// Between two flushes: how many times only the later changes are there, and how many times
    /// all but one.
    pub orders: usize,
    /// At each stop point: how many times a random part of the unflushed sectors is there.
    pub torn: usize,
    /// What the random parts follow from.
    pub seed: u64,
}

impl Default for CrashPlan {
    fn default() -> Self {
        Self {
            orders: 64,
            torn: 1,
            seed: 1,
        }
    }
}

/// What is lost of the changes that were not flushed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// Nothing.
    Nothing,
    /// All of them.
    Everything,
    /// All but this many of the last.
    Earlier {
        /// How many are there.
        kept: usize,
    },
    /// This one, counted from the last flush.
    One(usize),
    /// A random part, sector by sector. A new length may come before or after what it came after
    /// or before.
    Random {
        /// What the part follows from.
        seed: u64,
    },
}

/// The files after one crash.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Changes that had been made.
    pub position: usize,
    /// What of them is lost.
    pub loss: Loss,
    /// The files, in the order in which they were added to the log. They hold this crash until the
    /// next one is asked for.
    pub files: Vec<Arc<CrashFile>>,
}

/// All crashes of a plan, in the order of the log. No two of a stop point lose the same.
///
/// The files are not copied: what was not flushed is applied for each crash and taken back after
/// it.
#[derive(Debug)]
pub struct Crashes {
    files: Vec<Arc<CrashFile>>,
    records: Vec<Record>,
    /// Changes that were made.
    position: usize,
    /// Those of them that were not flushed.
    pending: Vec<Record>,
    /// What is looked at before the next change is made.
    losses: VecDeque<Loss>,
    /// The losses of orders were queued for the changes since the last flush.
    ordered: bool,
    plan: CrashPlan,
}

impl Crashes {
    pub(super) fn new(before: &[Vec<u8>], records: Vec<Record>, plan: CrashPlan) -> Self {
        let files = before.iter().cloned().map(CrashFile::new).map(Arc::new);
        Self {
            files: files.collect(),
            records,
            position: 0,
            pending: Vec::new(),
            losses: VecDeque::new(),
            ordered: false,
            plan,
        }
    }

    /// Makes the next change. `false` at the end of the log.
    fn advance(&mut self) -> bool {
        let next = self.records.get(self.position);
        if next.is_none_or(|record| record.change == Change::Flush) && !self.ordered {
            self.ordered = true;
            self.queue_orders();
            return true;
        }
        let Some(record) = next.cloned() else {
            return false;
        };
        self.position += 1;
        self.ordered = false;
        if record.change == Change::Flush {
            self.flush(record.file);
            self.losses.push_back(Loss::Nothing);
        } else {
            self.pending.push(record);
            self.losses.push_back(Loss::Nothing);
            if self.pending.len() > 1 {
                self.losses.push_back(Loss::Earlier { kept: 1 });
            }
        }
        self.queue_torn();
        true
    }

    /// What can be lost at the end of an epoch, but for the last change alone, which was looked at
    /// when it was made.
    fn queue_orders(&mut self) {
        let count = self.pending.len();
        if count > 0 {
            self.losses.push_back(Loss::Everything);
        }
        let step = count.div_ceil(self.plan.orders.max(1)).max(1);
        for kept in (2..count).step_by(step) {
            self.losses.push_back(Loss::Earlier { kept });
        }
        // The first lost is all but one kept, the last lost was the stop point before.
        for lost in (1..count.saturating_sub(1)).step_by(step) {
            self.losses.push_back(Loss::One(lost));
        }
    }

    fn queue_torn(&mut self) {
        let all = |(index, record): (usize, &Record)| {
            (0..pieces(&record.change)).map(move |piece| (index, piece))
        };
        let all: Vec<Piece> = self.pending.iter().enumerate().flat_map(all).collect();
        if all.len() < 2 {
            return;
        }
        // All and none of them were looked at.
        let mut seen = HashSet::from([all, Vec::new()]);
        for round in 0..self.plan.torn as u64 {
            let mut random = Random(self.plan.seed ^ (self.position as u64) << 20 ^ round);
            let seed = random.next();
            if seen.insert(self.torn(seed)) {
                self.losses.push_back(Loss::Random { seed });
            }
        }
    }

    /// Makes durable what was done to `file`.
    fn flush(&mut self, file: usize) {
        for record in self.pending.extract_if(.., |record| record.file == file) {
            // The log's own storage took it, so this one does.
            let _ = apply(&self.files[file], &record.change);
        }
        self.files[file].keep();
    }

    /// Applies what is not lost.
    fn crash(&self, loss: Loss) {
        let count = self.pending.len();
        let kept = |index: usize| match loss {
            Loss::Nothing => true,
            Loss::Everything | Loss::Random { .. } => false,
            Loss::Earlier { kept } => index + kept >= count,
            Loss::One(lost) => index != lost,
        };
        for (index, record) in self.pending.iter().enumerate() {
            if kept(index) {
                let _ = apply(&self.files[record.file], &record.change);
            }
        }
        if let Loss::Random { seed } = loss {
            for (index, piece) in self.torn(seed) {
                let record = &self.pending[index];
                let _ = apply(&self.files[record.file], &cut(&record.change, piece));
            }
        }
    }

    /// The pieces that are there of what was not flushed, in the order in which they take effect.
    fn torn(&self, seed: u64) -> Vec<Piece> {
        let mut random = Random(seed);
        let mut order: Vec<usize> = (0..self.pending.len()).collect();
        for from in 0..order.len() {
            let is_length = matches!(self.pending[order[from]].change, Change::SetLen(_));
            if is_length && random.below(2) == 0 {
                let to = usize::try_from(random.below(order.len() as u64)).unwrap_or(from);
                let moved = order.remove(from);
                order.insert(to, moved);
            }
        }
        // Of eight pieces so many are there.
        let share = [1, 4, 4, 7][usize::from(random.next().to_le_bytes()[7] & 3)];
        let mut torn = Vec::new();
        for index in order {
            let pieces = 0..pieces(&self.pending[index].change);
            torn.extend(
                pieces
                    .filter(|_| random.below(8) < share)
                    .map(|piece| (index, piece)),
            );
        }
        torn
    }
}

/// A piece of a change: the index of the change and of the piece.
type Piece = (usize, u64);

impl Iterator for Crashes {
    type Item = Crash;

    fn next(&mut self) -> Option<Crash> {
        for file in &self.files {
            file.set_back();
        }
        loop {
            if let Some(loss) = self.losses.pop_front() {
                self.crash(loss);
                return Some(Crash {
                    position: self.position,
                    loss,
                    files: self.files.clone(),
                });
            }
            if !self.advance() {
                return None;
            }
        }
    }
}

fn apply(file: &CrashFile, change: &Change) -> Result<()> {
    match change {
        Change::Write { offset, bytes } => file.write_at(bytes, *offset),
        Change::Zeroes(range) => file.write_zeroes(range.clone()),
        Change::Punch(range) => file.punch_hole(range.clone()),
        Change::Allocate(range) => file.allocate(range.clone()),
        Change::SetLen(length) => file.set_len(*length),
        Change::Flush => Ok(()),
    }
}

/// The bytes that a change touches; `None` where it is not about bytes.
fn touched(change: &Change) -> Option<Range<u64>> {
    match change {
        Change::Write { offset, bytes } => Some(*offset..*offset + bytes.len() as u64),
        Change::Zeroes(range) | Change::Punch(range) | Change::Allocate(range) => {
            Some(range.clone())
        }
        Change::SetLen(_) | Change::Flush => None,
    }
}

/// Bytes of a piece, a whole number of sectors.
fn piece_length(range: &Range<u64>) -> u64 {
    let length = range.end.saturating_sub(range.start);
    length.div_ceil(PIECES).next_multiple_of(SECTOR).max(SECTOR)
}

/// Into how many pieces a crash can tear it.
fn pieces(change: &Change) -> u64 {
    let Some(range) = touched(change) else {
        return 1;
    };
    let length = piece_length(&range);
    range.end.div_ceil(length) - range.start / length
}

/// A piece of a change.
fn cut(change: &Change, piece: u64) -> Change {
    let Some(range) = touched(change) else {
        return change.clone();
    };
    let length = piece_length(&range);
    let start = (range.start / length + piece) * length;
    let part = start.max(range.start)..(start + length).min(range.end);
    match change {
        Change::Write { offset, bytes } => {
            let at = |place: u64| usize::try_from(place - offset).unwrap_or(bytes.len());
            Change::Write {
                offset: part.start,
                bytes: bytes[at(part.start)..at(part.end)].into(),
            }
        }
        Change::Zeroes(_) => Change::Zeroes(part),
        Change::Punch(_) => Change::Punch(part),
        Change::Allocate(_) => Change::Allocate(part),
        Change::SetLen(_) | Change::Flush => change.clone(),
    }
}

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
