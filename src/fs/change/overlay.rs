//! What a tool changes of a partition, apart from the partition: reads go through to it where nothing
//! has changed, writes go to a sparse file that has no name.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::change::bring_back::{for_each_piece, wipe_signatures, write_changes};
use crate::fs::change::changed::{Changed, UNIT};
use crate::storage::{FileStorage, Storage, WritableStorage};

/// The private side of one partition.
#[derive(Debug)]
pub(super) struct Overlay {
    /// Of the partition, in bytes.
    size: u64,
    /// Changed granules are at their own places, whole.
    store: FileStorage,
    /// Nothing of the partition is shown: everything is made anew.
    makes_anew: bool,
    state: RwLock<State>,
    /// The first thing that went wrong below.
    failure: Mutex<Option<Error>>,
}

#[derive(Debug)]
struct State {
    /// Gone when the tool is done: who still serves the file then holds nobody's disk.
    base: Option<Arc<dyn Storage>>,
    /// Of the file as the tool sees it, at most the size of the partition.
    length: u64,
    /// The shortest it has been: what lies behind reads as zeroes unless it was written since.
    shortest: u64,
    /// Where the store is to be read.
    changed: Changed,
}

impl Overlay {
    /// Of `base`, all of which reads as zeroes when everything is made anew. What is written goes to
    /// a file in `folder` that nobody else can open.
    ///
    /// # Errors
    /// As `open(2)`.
    pub(super) fn new(base: Arc<dyn Storage>, makes_anew: bool, folder: &Path) -> Result<Self> {
        let size = base.size()?;
        let store = FileStorage::unnamed(folder)?;
        store.set_len(size)?;
        Ok(Self {
            size,
            store,
            makes_anew,
            state: RwLock::new(State {
                base: Some(base),
                length: size,
                shortest: size,
                changed: Changed::nothing(size, folder)?,
            }),
            failure: Mutex::new(None),
        })
    }

    /// The length of the file that the tool sees, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.read_state().length
    }

    /// Reads up to `length` bytes from `offset`; fewer at the end.
    ///
    /// # Errors
    /// As the partition.
    pub(super) fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>> {
        let state = self.read_state();
        let there = state.length.saturating_sub(offset).min(length.into());
        let mut buf = vec![0; usize::try_from(there).unwrap_or(0)];
        self.fill(&state, &mut buf, offset)?;
        Ok(buf)
    }

    /// Writes `buf` at `offset`. The file grows again after it was cut, but not further than the
    /// partition: `false` says that there is no room.
    ///
    /// # Errors
    /// As the partition and the file that takes the changes.
    pub(super) fn write(&self, offset: u64, buf: &[u8]) -> Result<bool> {
        let mut state = self.write_state();
        let Some(range) = self.inside(offset, buf.len() as u64) else {
            return Ok(false);
        };
        self.complete_edges(&state, &range)?;
        self.store.write_at(buf, offset)?;
        state.changed.mark(&range)?;
        if !range.is_empty() {
            state.length = state.length.max(range.end);
        }
        Ok(true)
    }

    /// Makes `length` bytes from `offset` read as zeroes; the file grows where `grows` says so.
    /// `false` says that there is no room.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn zero(&self, offset: u64, length: u64, grows: bool) -> Result<bool> {
        let mut state = self.write_state();
        let end = offset.saturating_add(length);
        let length = if grows { end } else { end.min(state.length) }.saturating_sub(offset);
        let Some(range) = self.inside(offset, length) else {
            return Ok(false);
        };
        if !range.is_empty() {
            self.complete_edges(&state, &range)?;
            self.store.punch_hole(range.clone())?;
            state.changed.mark(&range)?;
            state.length = state.length.max(range.end);
        }
        Ok(true)
    }

    /// Cuts the file, or makes it longer with zeroes. `false` says that there is no room.
    ///
    /// # Errors
    /// As the file that takes the changes.
    pub(super) fn set_length(&self, length: u64) -> Result<bool> {
        let mut state = self.write_state();
        if length > self.size {
            return Ok(false);
        }
        if length < state.length {
            self.store.set_len(length)?;
            self.store.set_len(self.size)?;
            state.changed.cut(length)?;
            state.shortest = state.shortest.min(length);
        }
        state.length = length;
        Ok(true)
    }

    /// Notes what went wrong: the tool is only told that something did.
    pub(super) fn note_failure(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
    }

    /// The first thing that went wrong.
    ///
    /// # Errors
    /// That.
    pub(super) fn check_failure(&self) -> Result<()> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take().map_or(Ok(()), Err)
    }

    /// Lets go of the partition; from now on nothing can be read.
    pub(super) fn close(&self) {
        self.write_state().base = None;
    }

    /// Writes what has changed to the partition.
    ///
    /// # Errors
    /// As reading and writing there.
    pub(super) fn bring_back(
        &self,
        partition: &dyn WritableStorage,
        control: &Control,
    ) -> Result<(), Stop> {
        let state = self.read_state();
        if self.makes_anew {
            // What lay here before must not be taken for something later.
            wipe_signatures(partition, state.length)?;
        }
        // It was cut there and grew again: zeroes, which are in the store.
        let cut_off = state.shortest..state.length;
        let clip = |range: Range<u64>| range.start..range.end.min(state.length);
        let mut bytes = cut_off.end - cut_off.start;
        state.changed.for_each(&mut |range| {
            let range = clip(range);
            bytes += range.end.saturating_sub(range.start);
            Ok(())
        })?;
        control.enter("taking the changes over", bytes);
        let mut there = Vec::new();
        let mut bring = |range: Range<u64>| self.bring(&range, partition, &mut there, control);
        state.changed.for_each(&mut |range| bring(clip(range)))?;
        bring(cut_off)
    }

    /// Writes what has changed in `range`; `there` is room for what is there now.
    fn bring(
        &self,
        range: &Range<u64>,
        partition: &dyn WritableStorage,
        there: &mut Vec<u8>,
        control: &Control,
    ) -> Result<(), Stop> {
        if range.is_empty() {
            return Ok(());
        }
        for run in self.runs_to_compare(range, partition)? {
            for_each_piece(&run, &mut |at, buf| {
                control.checkpoint()?;
                self.store.read_at(buf, at)?;
                there.resize(buf.len(), 0);
                partition.read_at(there, at)?;
                write_changes(partition, at, buf, there)?;
                Ok(())
            })?;
        }
        control.advance(range.end - range.start);
        Ok(())
    }

    /// Without what is a hole on both sides.
    fn runs_to_compare(
        &self,
        range: &Range<u64>,
        partition: &dyn WritableStorage,
    ) -> Result<Vec<Range<u64>>> {
        let mut holes = Vec::new();
        let mut runs = Vec::new();
        self.store.for_each_run(range.clone(), &mut |run| {
            if run.hole { &mut holes } else { &mut runs }.push(run.range);
            ControlFlow::Continue(())
        })?;
        for hole in holes {
            partition.for_each_run(hole, &mut |run| {
                if !run.hole {
                    runs.push(run.range);
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(runs)
    }

    fn inside(&self, offset: u64, length: u64) -> Option<Range<u64>> {
        let end = offset.checked_add(length)?;
        (end <= self.size).then_some(offset..end)
    }

    fn fill(&self, state: &State, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = offset..offset + buf.len() as u64;
        for (run, is_changed) in state.changed.runs(&range)? {
            let index = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
            let part = &mut buf[index(run.start)..index(run.end)];
            if is_changed {
                self.store.read_at(part, run.start)?;
            } else {
                self.fill_from_base(state, part, run.start)?;
            }
        }
        Ok(())
    }

    fn fill_from_base(&self, state: &State, part: &mut [u8], at: u64) -> Result<()> {
        let shown = if self.makes_anew { 0 } else { state.shortest };
        let there = shown.saturating_sub(at).min(part.len() as u64);
        let (head, tail) = part.split_at_mut(usize::try_from(there).unwrap_or(0));
        tail.fill(0);
        if head.is_empty() {
            return Ok(());
        }
        match &state.base {
            Some(base) => base.read_at(head, at),
            None => Err(Error::new(ErrorKind::Io, "the tool is over")),
        }
    }

    /// Of the granules that a change begins and ends in, the rest comes along.
    fn complete_edges(&self, state: &State, range: &Range<u64>) -> Result<()> {
        let mut edges = [range.start / UNIT * UNIT, range.end / UNIT * UNIT].to_vec();
        edges.dedup();
        for start in edges {
            let end = (start + UNIT).min(self.size);
            let is_whole = range.start <= start && range.end >= end;
            let is_touched = range.start < end && range.end > start;
            if is_touched && !is_whole && !state.changed.is_changed(start)? {
                let mut granule = vec![0; usize::try_from(end - start).unwrap_or(0)];
                self.fill_from_base(state, &mut granule, start)?;
                self.store.write_at(&granule, start)?;
            }
        }
        Ok(())
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    const SIZE: u64 = 50_000;

    struct Pair {
        partition: Arc<MemoryStorage>,
        overlay: Overlay,
        folder: tempfile::TempDir,
    }

    fn pair(makes_anew: bool) -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let bytes = (0..SIZE).map(|at| u8::try_from(1 + at % 251).unwrap());
        let partition = Arc::new(MemoryStorage::new(bytes.collect()));
        let base = Arc::clone(&partition) as Arc<dyn Storage>;
        let overlay = Overlay::new(base, makes_anew, folder.path()).unwrap();
        Pair {
            partition,
            overlay,
            folder,
        }
    }

    #[test]
    fn it_is_a_file_and_what_it_was_comes_back() {
        // Deterministic noise.
        let mut seed = 1_u64;
        let mut next = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for round in 0..200 {
            let Pair {
                partition, overlay, ..
            } = pair(false);
            let before = partition.to_vec();
            let mut model = before.clone();
            for _ in 0..next(12) {
                let offset = next(SIZE);
                let length = 1 + next(SIZE - offset);
                let [start, end] = [offset, offset + length].map(|n| usize::try_from(n).unwrap());
                match next(4) {
                    0 => {
                        assert!(overlay.write(offset, &vec![7; end - start]).unwrap());
                        model.resize(model.len().max(end), 0);
                        model[start..end].fill(7);
                    }
                    1 => {
                        assert!(overlay.zero(offset, length, true).unwrap());
                        model.resize(model.len().max(end), 0);
                        model[start..end].fill(0);
                    }
                    2 => {
                        assert!(overlay.zero(offset, length, false).unwrap());
                        let end = end.min(model.len());
                        model[start.min(end)..end].fill(0);
                    }
                    _ => {
                        assert!(overlay.set_length(offset).unwrap());
                        model.resize(start, 0);
                    }
                }
                let shown = overlay.read(0, u32::MAX).unwrap();
                assert!(shown == model, "round {round}");
            }
            assert!(partition.to_vec() == before);
            overlay.bring_back(&*partition, &Control::new()).unwrap();
            let after = partition.to_vec();
            assert!(after[..model.len()] == model, "round {round}");
            assert!(after[model.len()..] == before[model.len()..]);
        }
    }

    /// As many places as there are granules, half of them.
    #[test]
    fn many_places_come_back() {
        let Pair {
            partition, overlay, ..
        } = pair(false);
        let mut model = partition.to_vec();
        for at in (0..SIZE).step_by(2 * 4096) {
            assert!(overlay.write(at + 1, &[0]).unwrap());
            model[usize::try_from(at + 1).unwrap()] = 0;
        }
        overlay.bring_back(&*partition, &Control::new()).unwrap();
        assert!(partition.to_vec() == model);
    }

    #[test]
    fn what_is_made_anew_sees_nothing_old() {
        let Pair {
            partition,
            overlay,
            folder,
        } = pair(true);
        assert_eq!(overlay.read(10_000, 4).unwrap(), [0; 4]);
        overlay.write(10_000, &[9]).unwrap();
        overlay.bring_back(&*partition, &Control::new()).unwrap();
        let after = partition.to_vec();
        // The signatures of what was there are within a MiB of both ends.
        assert_eq!(after[10_000], 9);
        assert_eq!(after.iter().filter(|byte| **byte != 0).count(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn there_is_no_room_behind_the_partition() {
        let Pair { overlay, .. } = pair(false);
        assert!(!overlay.write(SIZE - 1, &[1, 2]).unwrap());
        assert!(!overlay.write(u64::MAX, &[1]).unwrap());
        assert!(!overlay.zero(SIZE, 1, true).unwrap());
        assert!(overlay.zero(0, u64::MAX, false).unwrap());
        assert!(!overlay.set_length(SIZE + 1).unwrap());
        assert_eq!(overlay.read(SIZE - 1, 100).unwrap(), [0]);
        overlay.close();
        overlay.check_failure().unwrap();
    }
}
