//! Going on with a change, and going back.
//!
//! Each step can be done again from wherever it was left, and taken back from there. The record is
//! made durable before a step that cannot be told from its bytes begins, and after each step.

use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::journal::record::{self, BACK, FORWARD, Position};
use crate::journal::steps::{Replacement, Step};
use crate::journal::{Journal, Progress, shift};
use crate::storage::{Move, WritableStorage};

/// Bytes that are copied at a time.
const PIECE: u64 = 1 << 20;

impl Journal {
    /// Goes on until the change is done; durable on return.
    ///
    /// # Errors
    /// I/O errors. After those, and after a cancel, the disk is between the states, and both ways
    /// stay open.
    pub fn forward(&mut self, disk: &dyn WritableStorage, control: &Control) -> Result<(), Stop> {
        control.enter("changing the disk", self.bytes_left());
        self.finish_hot(disk)?;
        while let Some(step) = self.step_at(self.record.position.step) {
            control.checkpoint()?;
            match &step {
                Step::Length { .. } | Step::Write(_) | Step::Keep(_) => {
                    if self.record.position.done == 0 {
                        self.keep_old(&step, disk)?;
                        self.at(self.record.position.step, 1)?;
                    }
                    self.do_step(&step, disk)?;
                    disk.flush()?;
                    control.advance(step.bytes());
                }
                Step::Move { from, to, length } => {
                    let shift = shift::Shift::new(*from, *to, *length);
                    while self.record.position.done < *length {
                        control.checkpoint()?;
                        let before = self.record.position.done;
                        let window = shift.next(before);
                        self.carry(&shift, window, window.source, window.target, disk)?;
                        control.advance(self.record.position.done - before);
                    }
                }
                Step::Remap(moves) => {
                    if !self.is_remapped(disk)? {
                        self.remap(FORWARD, moves, disk, control)?;
                    }
                }
            }
            self.at(self.record.position.step + 1, 0)?;
        }
        Ok(())
    }

    /// Takes back what was done, all of it if it was done; durable on return.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn back(&mut self, disk: &dyn WritableStorage, control: &Control) -> Result<(), Stop> {
        control.enter("taking the change back", 0);
        self.finish_hot(disk)?;
        while self.progress() != Progress::Old {
            control.checkpoint()?;
            let position = self.record.position;
            if position.done == 0 {
                let step = position.step - 1;
                let full = self.step_at(step).map_or(0, |step| step.full());
                if full == 0 {
                    // A step without content.
                    self.at(step, 0)?;
                    continue;
                }
                if let Some(Step::Remap(moves)) = self.step_at(step) {
                    self.record.position.step = step;
                    self.remap_back(&moves, disk, control)?;
                    continue;
                }
                self.at(step, full)?;
            }
            let Some(step) = self.step_at(self.record.position.step) else {
                break;
            };
            match &step {
                Step::Length { .. } | Step::Write(_) | Step::Keep(_) => {
                    self.restore_old(&step, disk)?;
                    disk.flush()?;
                    self.at(self.record.position.step, 0)?;
                }
                Step::Move { from, to, length } => {
                    let shift = shift::Shift::new(*from, *to, *length);
                    while self.record.position.done > 0 {
                        control.checkpoint()?;
                        let window = shift.last(self.record.position.done);
                        self.carry(&shift, window, window.target, window.source, disk)?;
                    }
                }
                Step::Remap(moves) => {
                    if self.is_remapped(disk)? {
                        self.remap_back(moves, disk, control)?;
                    } else {
                        self.at(self.record.position.step, 0)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the moves of the step, a remapping, are made. What was on its way took effect when
    /// the mark of the disk is another one than before.
    fn is_remapped(&self, disk: &dyn WritableStorage) -> Result<bool> {
        let Position { done, mark, .. } = self.record.position;
        if done == 0 {
            return Ok(false);
        }
        let (Some(before), Some(now)) = (mark, disk.layout_mark()) else {
            return Err(Error::corrupt(
                "nobody can tell whether the partitions have moved: the image has no mark",
            ));
        };
        Ok((now != before) == (done == FORWARD))
    }

    /// Makes the moves of the step that is on its way; durable on return.
    fn remap(
        &mut self,
        way: u64,
        moves: &[Move],
        disk: &dyn WritableStorage,
        control: &Control,
    ) -> Result<(), Stop> {
        self.record.position = Position {
            step: self.record.position.step,
            done: way,
            hot: None,
            mark: disk.layout_mark(),
        };
        record::save(self.storage.as_ref(), &mut self.record)?;
        disk.remap(moves, control)?;
        Ok(disk.flush()?)
    }

    fn remap_back(
        &mut self,
        moves: &[Move],
        disk: &dyn WritableStorage,
        control: &Control,
    ) -> Result<(), Stop> {
        let back: Vec<Move> = moves.iter().map(Move::inverse).collect();
        self.remap(BACK, &back, disk, control)?;
        Ok(self.at(self.record.position.step, 0)?)
    }

    fn step_at(&self, index: u64) -> Option<Step> {
        let index = usize::try_from(index).ok()?;
        self.steps.get(index).cloned()
    }

    fn at(&mut self, step: u64, done: u64) -> Result<()> {
        self.record.position = Position {
            step,
            done,
            hot: None,
            mark: None,
        };
        record::save(self.storage.as_ref(), &mut self.record)
    }

    /// Takes the bytes of a window from one place to the other.
    fn carry(
        &mut self,
        shift: &shift::Shift,
        window: shift::Window,
        source: u64,
        target: u64,
        disk: &dyn WritableStorage,
    ) -> Result<()> {
        let then_done = if source == window.source {
            window.done_after
        } else {
            window.done_before
        };
        if shift.needs_journal() {
            let hot = shift::keep(
                disk,
                source..source + window.length,
                self.storage.as_ref(),
                self.record.hot_at,
            )?;
            self.record.position.hot = Some(record::Hot {
                target,
                length: window.length,
                crc: hot,
                then_done,
            });
            record::save(self.storage.as_ref(), &mut self.record)?;
            return self.finish_hot(disk);
        }
        shift::copy(disk, source..source + window.length, target)?;
        disk.flush()?;
        self.at(self.record.position.step, then_done)
    }

    /// A window that is in the journal goes where it belongs, whichever way the change went: half
    /// of it may be there, and then nothing else knows its bytes.
    fn finish_hot(&mut self, disk: &dyn WritableStorage) -> Result<()> {
        let Some(hot) = self.record.position.hot else {
            return Ok(());
        };
        shift::bring(self.storage.as_ref(), self.record.hot_at, &hot, disk)?;
        disk.flush()?;
        self.at(self.record.position.step, hot.then_done)
    }

    /// Keeps what the step will replace; durable on return.
    fn keep_old(&self, step: &Step, disk: &dyn WritableStorage) -> Result<()> {
        let journal = self.storage.as_ref();
        match step {
            Step::Length {
                before,
                kept,
                kept_at,
                ..
            } => transfer(disk, *before - *kept, journal, *kept_at, *kept)?,
            Step::Write(all) => {
                for one in all {
                    transfer(disk, one.offset, journal, one.old_at, one.length)?;
                }
            }
            Step::Keep(all) => {
                for one in all.iter().filter(|one| !one.is_zeroes()) {
                    transfer(disk, one.offset, journal, one.at, one.length)?;
                }
            }
            Step::Move { .. } | Step::Remap(_) => {}
        }
        journal.flush()
    }

    fn do_step(&self, step: &Step, disk: &dyn WritableStorage) -> Result<()> {
        match step {
            Step::Length { after, .. } => disk.set_len(*after),
            Step::Write(all) => self.replace(all, disk, |one| one.new_at),
            Step::Keep(_) | Step::Move { .. } | Step::Remap(_) => Ok(()),
        }
    }

    fn restore_old(&self, step: &Step, disk: &dyn WritableStorage) -> Result<()> {
        match step {
            Step::Length {
                before,
                kept,
                kept_at,
                ..
            } => {
                disk.set_len(*before)?;
                transfer(
                    self.storage.as_ref(),
                    *kept_at,
                    disk,
                    *before - *kept,
                    *kept,
                )
            }
            Step::Write(all) => self.replace(all, disk, |one| one.old_at),
            Step::Keep(all) => {
                let journal = self.storage.as_ref();
                all.iter().try_for_each(|one| {
                    if one.is_zeroes() {
                        return disk.punch_hole(one.offset..one.offset + one.length);
                    }
                    transfer(journal, one.at, disk, one.offset, one.length)
                })
            }
            Step::Move { .. } | Step::Remap(_) => Ok(()),
        }
    }

    fn replace(
        &self,
        all: &[Replacement],
        disk: &dyn WritableStorage,
        from: impl Fn(&Replacement) -> u64,
    ) -> Result<()> {
        for one in all {
            let journal = self.storage.as_ref();
            transfer(journal, from(one), disk, one.offset, one.length)?;
        }
        Ok(())
    }
}

/// Copies bytes between storages; what a source lacks reads as zeroes.
fn transfer(
    source: &dyn WritableStorage,
    from: u64,
    target: &dyn WritableStorage,
    to: u64,
    length: u64,
) -> Result<()> {
    let mut buf = vec![0; usize::try_from(length.min(PIECE)).unwrap_or(0)];
    let mut done = 0;
    while done < length {
        let piece = usize::try_from(length - done).map_or(buf.len(), |left| left.min(buf.len()));
        let buf = &mut buf[..piece];
        source.read_padded_at(buf, from + done)?;
        target.write_at(buf, to + done)?;
        done += piece as u64;
    }
    Ok(())
}
