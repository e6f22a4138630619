//! Moving bytes to a place that overlaps the old one, so that a crash at any moment loses none.
//!
//! Bytes go window by window, from the end of the old place that the new one reaches first. A
//! window that is no longer than the distance does not touch its own source: it can be copied
//! again and again until the record says that it is there. For short distances such windows would
//! be tiny; there they are kept in the journal first.

use std::ops::{ControlFlow, Range};

use crate::error::{Error, Result};
use crate::journal::record::Hot;
use crate::journal::steps::Step;
use crate::storage::{Storage, WritableStorage};
use crate::units::MIB;

/// From this distance on bytes move without being written twice.
const FAR: u64 = if cfg!(test) { SMALL * 2 } else { 8 * MIB };
/// Longest window that needs no journal: two flushes each.
const LONGEST: u64 = if cfg!(test) { SMALL * 3 } else { 64 * MIB };
/// Longest window that is kept in the journal.
const LONGEST_HOT: u64 = if cfg!(test) { SMALL } else { 8 * MIB };
/// Crash tests try each write: with windows of this size a small disk has many of them.
const SMALL: u64 = 4096;
/// Bytes that are copied at a time.
const PIECE: u64 = MIB;

/// A move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shift {
    from: u64,
    to: u64,
    length: u64,
}

/// A part of a move. `done` counts from the side that moves first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Window {
    pub(super) source: u64,
    pub(super) target: u64,
    pub(super) length: u64,
    pub(super) done_before: u64,
    pub(super) done_after: u64,
}

impl Shift {
    pub(super) fn new(from: u64, to: u64, length: u64) -> Self {
        Self { from, to, length }
    }

    fn distance(&self) -> u64 {
        self.from.abs_diff(self.to)
    }

    /// Whether windows must be kept in the journal. Places that do not overlap need none, however
    /// near they are.
    pub(super) fn needs_journal(&self) -> bool {
        self.distance() < FAR.min(self.length)
    }

    fn longest(&self) -> u64 {
        if self.needs_journal() {
            LONGEST_HOT
        } else {
            LONGEST.min(self.distance())
        }
    }

    /// The window that moves when `done` bytes have moved.
    pub(super) fn next(&self, done: u64) -> Window {
        self.window(done, (done + self.longest()).min(self.length))
    }

    /// The window that moves back when `done` bytes have moved.
    pub(super) fn last(&self, done: u64) -> Window {
        self.window(done.saturating_sub(self.longest()), done)
    }

    fn window(&self, done_before: u64, done_after: u64) -> Window {
        let skipped = if self.to < self.from {
            done_before
        } else {
            self.length - done_after
        };
        Window {
            source: self.from + skipped,
            target: self.to + skipped,
            length: done_after - done_before,
            done_before,
            done_after,
        }
    }
}

/// Room that a step needs in the journal while it runs.
pub(super) fn hot_bytes(step: &Step) -> u64 {
    match step {
        Step::Move { from, to, length } => {
            let shift = Shift::new(*from, *to, *length);
            if shift.needs_journal() {
                shift.longest().min(*length)
            } else {
                0
            }
        }
        Step::Length { .. } | Step::Write(_) | Step::Keep(_) | Step::Remap(_) => 0,
    }
}

/// Copies a window to a place that does not overlap it, without a copy where the host can share
/// the bytes; holes stay holes.
pub(super) fn copy(disk: &dyn WritableStorage, source: Range<u64>, target: u64) -> Result<()> {
    let start = source.start;
    let mut runs = Vec::new();
    disk.for_each_run(source, &mut |run| {
        runs.push(run);
        ControlFlow::Continue(())
    })?;
    let mut buf = Vec::new();
    for run in runs {
        let place = target + (run.range.start - start);
        if run.hole {
            disk.punch_hole(place..place + (run.range.end - run.range.start))?;
            continue;
        }
        if disk.share_within(run.range.clone(), place)? {
            continue;
        }
        let mut at = run.range.start;
        while at < run.range.end {
            let length = (run.range.end - at).min(PIECE);
            buf.resize(usize::try_from(length).unwrap_or(0), 0);
            disk.read_at(&mut buf, at)?;
            disk.write_at(&buf, target + (at - start))?;
            at += length;
        }
    }
    Ok(())
}

/// Keeps a window in the journal, without flushing it: the record that names it carries its
/// checksum. Answers that.
pub(super) fn keep(
    disk: &dyn Storage,
    source: Range<u64>,
    journal: &dyn WritableStorage,
    hot_at: u64,
) -> Result<u32> {
    let mut crc = 0;
    let mut buf = Vec::new();
    let mut at = source.start;
    while at < source.end {
        let length = (source.end - at).min(PIECE);
        buf.resize(usize::try_from(length).unwrap_or(0), 0);
        disk.read_at(&mut buf, at)?;
        crc = crc32c::crc32c_append(crc, &buf);
        journal.write_at(&buf, hot_at + (at - source.start))?;
        at += length;
    }
    journal.flush()?;
    Ok(crc)
}

/// Writes a window from the journal to its place.
pub(super) fn bring(
    journal: &dyn WritableStorage,
    hot_at: u64,
    hot: &Hot,
    disk: &dyn WritableStorage,
) -> Result<()> {
    let mut crc = 0;
    for is_checked in [false, true] {
        let mut buf = Vec::new();
        let mut done = 0;
        while done < hot.length {
            let length = (hot.length - done).min(PIECE);
            buf.resize(usize::try_from(length).unwrap_or(0), 0);
            journal.read_at(&mut buf, hot_at + done)?;
            if is_checked {
                disk.write_at(&buf, hot.target + done)?;
            } else {
                crc = crc32c::crc32c_append(crc, &buf);
            }
            done += length;
        }
        if crc != hot.crc {
            return Err(
                Error::corrupt("bytes on their way are damaged in the journal").with_offset(hot_at),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_never_touch_their_own_source() {
        for (from, to) in [(100 * SMALL, 84 * SMALL), (84 * SMALL, 100 * SMALL)] {
            let shift = Shift::new(from, to, 200 * SMALL + 512);
            assert!(!shift.needs_journal());
            let mut done = 0;
            let mut covered = 0;
            while done < shift.length {
                let window = shift.next(done);
                assert!(window.source.abs_diff(window.target) >= window.length);
                assert_eq!(shift.last(window.done_after).done_after, window.done_after);
                done = window.done_after;
                covered += window.length;
            }
            assert_eq!(covered, shift.length);
        }
    }

    #[test]
    fn the_side_that_is_reached_first_moves_first() {
        let left = Shift::new(10, 5, 100 * SMALL);
        assert_eq!(left.next(0).source, 10);
        let right = Shift::new(5, 10, 100 * SMALL);
        assert_eq!(right.next(0).source, 5 + 99 * SMALL);
        assert!(left.needs_journal() && right.needs_journal());
        // Places beside each other need no journal.
        assert!(!Shift::new(0, SMALL, SMALL).needs_journal());
    }
}
