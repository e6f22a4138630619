//! Making a journal: every step, and every byte that will be written, before anything is changed.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::journal::record::{self, CONTENT, Identity, Position, Record};
use crate::journal::shift;
use crate::journal::steps::{self, Kept, Replacement, Step};
use crate::storage::{Move, WritableStorage};
use crate::units::MIB;

/// Of a disk that is cut, this much of the end is kept at most: partitions do not lie there, the
/// backup of a GPT does.
const KEPT_TAIL: u64 = MIB;

/// A journal that is not finished yet. Dropped, it is none.
#[derive(Debug)]
pub struct JournalBuilder {
    storage: Arc<dyn WritableStorage>,
    identity: Identity,
    steps: Vec<Step>,
    /// Where the next bytes go.
    end: u64,
}

impl JournalBuilder {
    /// Begins a journal in an empty storage.
    ///
    /// # Errors
    /// I/O errors.
    pub fn new(storage: Arc<dyn WritableStorage>, identity: Identity) -> Result<Self> {
        storage.set_len(0)?;
        storage.set_len(CONTENT)?;
        Ok(Self {
            storage,
            identity,
            steps: Vec::new(),
            end: CONTENT,
        })
    }

    /// Then the disk gets the length `after`. What lies behind it is lost, but for the last
    /// mebibyte before the old end, which going back restores.
    pub fn set_length(&mut self, before: u64, after: u64) {
        self.steps.push(Step::Length {
            before,
            after,
            kept: before.saturating_sub(after).min(KEPT_TAIL),
            kept_at: 0,
        });
    }

    /// Then `length` bytes move from `from` to `to`. What is at the new place is lost, except what
    /// moves itself.
    pub fn move_bytes(&mut self, from: u64, to: u64, length: u64) {
        if from != to && length > 0 {
            self.steps.push(Step::Move { from, to, length });
        }
    }

    /// Then all of `moves` are made at once, without copying: see [`WritableStorage::remap`], also for
    /// what is lost.
    pub fn remap(&mut self, moves: &[Move]) {
        if !moves.is_empty() {
            self.steps.push(Step::Remap(moves.to_vec()));
        }
    }

    /// Going back past here makes the bytes of `range` what they are at this time. `zeroes` says
    /// that they are zeroes; else they are kept in the journal.
    pub fn keep(&mut self, range: &Range<u64>, zeroes: bool) {
        let one = Kept {
            offset: range.start,
            length: range.end.saturating_sub(range.start),
            // Where, is found when everything is known.
            at: u64::from(!zeroes),
        };
        match self.steps.last_mut() {
            Some(Step::Keep(all)) => all.push(one),
            _ => self.steps.push(Step::Keep(vec![one])),
        }
    }

    /// Then these bytes replace what is at `offset` by that time. Replacements that follow each
    /// other in calls are one step; they must not overlap.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.storage.write_at(bytes, self.end)?;
        let length = bytes.len() as u64;
        if !matches!(self.steps.last(), Some(Step::Write(_))) {
            self.steps.push(Step::Write(Vec::new()));
        }
        if let Some(Step::Write(all)) = self.steps.last_mut() {
            match all.last_mut() {
                Some(last)
                    if last.offset + last.length == offset
                        && last.new_at + last.length == self.end =>
                {
                    last.length += length;
                }
                _ => all.push(Replacement {
                    offset,
                    length,
                    new_at: self.end,
                    old_at: 0,
                }),
            }
        }
        self.end += length;
        Ok(())
    }

    /// What follows is a step of its own, also where it could join the last one.
    pub fn next_step(&mut self) {
        self.steps.push(Step::Write(Vec::new()));
    }

    /// Reserves the room for what the change will keep, and makes the journal durable. Only from
    /// now on the disk may be changed.
    ///
    /// # Errors
    /// I/O errors, a full disk among them; [`ErrorKind::Unsupported`] for more steps than a journal
    /// can hold.
    pub fn finish(mut self) -> Result<Journal> {
        self.reserve();
        let encoded = steps::encode(&self.steps);
        if encoded.len() as u64 > steps::MAX_STEPS {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the change has more steps than a journal holds",
            ));
        }
        let steps_at = self.end;
        let hot_at = steps_at + encoded.len() as u64;
        let hottest = self.steps.iter().map(shift::hot_bytes).max();
        let end = hot_at + hottest.unwrap_or(0);
        self.storage.write_at(&encoded, steps_at)?;
        match self.storage.allocate(CONTENT..end) {
            Err(error) if error.kind() == ErrorKind::Unsupported => self.storage.set_len(end)?,
            result => result?,
        }
        self.storage.flush()?;
        let mut record = Record {
            sequence: 0,
            identity: self.identity,
            position: Position::default(),
            steps_at,
            steps_length: encoded.len() as u64,
            steps_crc: crc32c::crc32c(&encoded),
            hot_at,
        };
        record::save(self.storage.as_ref(), &mut record)?;
        Ok(Journal {
            storage: self.storage,
            record,
            steps: self.steps,
        })
    }

    fn reserve(&mut self) {
        let mut take = |length: u64| {
            let at = self.end;
            self.end += length;
            at
        };
        for step in &mut self.steps {
            match step {
                Step::Length { kept, kept_at, .. } => *kept_at = take(*kept),
                Step::Move { .. } | Step::Remap(_) => {}
                Step::Keep(all) => {
                    for one in all.iter_mut().filter(|one| !one.is_zeroes()) {
                        one.at = take(one.length);
                    }
                }
                Step::Write(all) => {
                    for one in all {
                        one.old_at = take(one.length);
                    }
                }
            }
        }
    }
}
