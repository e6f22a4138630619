//! A disk to try things on. It reads as another one until something is changed; what is written
//! goes to a scratch file, what moves is only said to have moved. In the end the changes can be
//! thrown away, or told to whoever makes them real.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    Move, Run, Storage, WritableStorage, check_bounds, check_moves, overwritten, vacated,
};
use crate::units::MIB;

/// Bytes that are handed over at a time.
const PIECE: u64 = MIB;

/// A try-out of changes of another disk, which stays as it is.
#[derive(Debug)]
pub struct TrialDisk {
    base: Arc<dyn Storage>,
    scratch: Arc<dyn WritableStorage>,
    state: RwLock<State>,
}

#[derive(Clone, Debug)]
struct State {
    size: u64,
    /// By their start; they cover the disk without gap or overlap.
    pieces: BTreeMap<u64, Piece>,
    /// Moves that were made at once, before all others.
    remapped: Vec<Move>,
    /// Moves so far, one after the other.
    moves: Vec<Move>,
    /// Bytes of the scratch file in use.
    scratch_end: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Piece {
    length: u64,
    source: Source,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// The other disk, from this offset on; behind its end it reads as zeroes.
    Base(u64),
    /// The scratch file, from this offset on.
    Scratch(u64),
    Zeroes,
}

impl Source {
    fn advanced(self, bytes: u64) -> Self {
        match self {
            Self::Base(at) => Self::Base(at + bytes),
            Self::Scratch(at) => Self::Scratch(at + bytes),
            Self::Zeroes => Self::Zeroes,
        }
    }
}

/// What must be done to the other disk so that it becomes this one, in this order: the moves as
/// they were made, then the writes.
pub trait Changes {
    /// All of these move at once; what they leave behind reads as zeroes
    /// ([`WritableStorage::remap`]).
    fn remap(&mut self, moves: &[Move]);

    /// `length` bytes move; both places may overlap.
    fn move_bytes(&mut self, from: u64, to: u64, length: u64);

    /// Bytes are replaced.
    ///
    /// # Errors
    /// Whatever ends the telling.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
}

impl TrialDisk {
    /// A disk that reads as `base`; `scratch` must be empty.
    ///
    /// # Errors
    /// When the size of `base` cannot be told.
    pub fn new(base: Arc<dyn Storage>, scratch: Arc<dyn WritableStorage>) -> Result<Self> {
        let size = base.size()?;
        let whole = Piece {
            length: size,
            source: Source::Base(0),
        };
        Ok(Self {
            base,
            scratch,
            state: RwLock::new(State {
                size,
                pieces: BTreeMap::from_iter([(0, whole)]),
                remapped: Vec::new(),
                moves: Vec::new(),
                scratch_end: 0,
            }),
        })
    }

    /// The disk as it was before everything that was tried.
    #[must_use]
    pub fn base(&self) -> &Arc<dyn Storage> {
        &self.base
    }

    /// Moves bytes to another place without copying them. What was at the new place is lost; the
    /// old place keeps its bytes until something is written there.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfBounds`] when a place is not on the disk.
    pub fn move_bytes(&self, from: u64, to: u64, length: u64) -> Result<()> {
        let mut state = self.write_state();
        let ends = [from, to].map(|start| start.checked_add(length));
        if ends
            .iter()
            .any(|end| end.is_none_or(|end| end > state.size))
        {
            return Err(outside("a move passes the end of the disk"));
        }
        if from == to || length == 0 {
            return Ok(());
        }
        let moved = state.range(from..from + length);
        state.cut_out(to..to + length);
        for (start, piece) in moved {
            state.pieces.insert(start - from + to, piece);
        }
        state.moves.push(Move { from, to, length });
        Ok(())
    }

    /// Moves bytes at once, as a disk does that need not copy them ([`Storage::moves_by`]): what
    /// they leave behind reads as zeroes. Before any other move.
    ///
    /// # Errors
    /// As [`check_moves`]; [`ErrorKind::InvalidInput`] when something has moved already.
    pub fn remap(&self, moves: &[Move]) -> Result<()> {
        let mut state = self.write_state();
        check_moves(moves, state.size)?;
        if !state.remapped.is_empty() || !state.moves.is_empty() {
            let message = "what moves at once moves before everything else";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        state.rearrange(moves);
        state.remapped = moves.to_vec();
        Ok(())
    }

    /// What of the other disk is written over by what moves, or cut off, and would not come back with
    /// the moves undone: ascending ranges, none behind its end.
    ///
    /// # Errors
    /// When the size of the other disk cannot be told.
    pub fn overwritten(&self) -> Result<Vec<Range<u64>>> {
        let state = self.read_state();
        let end = self.base.size()?;
        let steps = [state.remapped.as_slice()].into_iter();
        let all = overwritten(
            steps.chain(state.moves.chunks(1)),
            &(state.size.min(end)..end),
        );
        let inside = |range: Range<u64>| range.start.min(end)..range.end.min(end);
        Ok(all
            .into_iter()
            .map(inside)
            .filter(|range| !range.is_empty())
            .collect())
    }

    /// Tells what must be done to the other disk, which must not have changed meanwhile. Its new
    /// length is [`Storage::size`] of this one.
    ///
    /// # Errors
    /// As [`Changes::write`]; [`ErrorKind::InvalidInput`] when what was written has moved away from
    /// where moves alone would have it; I/O errors.
    pub fn tell(&self, changes: &mut dyn Changes) -> Result<()> {
        let state = self.read_state();
        if !state.remapped.is_empty() {
            changes.remap(&state.remapped);
        }
        for Move { from, to, length } in &state.moves {
            changes.move_bytes(*from, *to, *length);
        }
        let moved = state.after_moves_alone(self.base.size()?);
        let mut buf = Vec::new();
        for (start, piece) in &state.pieces {
            let mut done = 0;
            while done < piece.length {
                let at = start + done;
                let there = moved.piece_at(at);
                let source = piece.source.advanced(done);
                let rest = there.map_or(u64::MAX, |(start, there)| start + there.length - at);
                let length = rest.min(piece.length - done);
                done += length;
                if there.is_some_and(|(start, there)| there.source.advanced(at - start) == source) {
                    continue;
                }
                self.tell_write(at..at + length, changes, &mut buf)?;
            }
        }
        Ok(())
    }

    /// Bytes that [`Self::tell`] would write.
    ///
    /// # Errors
    /// As there.
    pub fn bytes_to_write(&self) -> Result<u64> {
        struct Count(u64);
        impl Changes for Count {
            fn remap(&mut self, _moves: &[Move]) {}

            fn move_bytes(&mut self, _from: u64, _to: u64, _length: u64) {}

            fn write(&mut self, _offset: u64, bytes: &[u8]) -> Result<()> {
                self.0 += bytes.len() as u64;
                Ok(())
            }
        }
        let mut count = Count(0);
        self.tell(&mut count)?;
        Ok(count.0)
    }

    fn tell_write(
        &self,
        range: Range<u64>,
        changes: &mut dyn Changes,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(PIECE);
            buf.resize(usize::try_from(length).unwrap_or(0), 0);
            self.read_pieces(&self.read_state(), buf, at)?;
            changes.write(at, buf)?;
            at += length;
        }
        Ok(())
    }

    fn read_pieces(&self, state: &State, buf: &mut [u8], offset: u64) -> Result<()> {
        let end = offset + buf.len() as u64;
        for (start, piece) in state.range(offset..end) {
            let at = usize::try_from(start - offset).unwrap_or(usize::MAX);
            let length = usize::try_from(piece.length).unwrap_or(0);
            let part = &mut buf[at..at + length];
            match piece.source {
                Source::Base(at) => self.base.read_padded_at(part, at)?,
                Source::Scratch(at) => self.scratch.read_at(part, at)?,
                Source::Zeroes => part.fill(0),
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

impl State {
    /// The pieces of a range, cut to it.
    fn range(&self, range: Range<u64>) -> Vec<(u64, Piece)> {
        let first = self
            .piece_at(range.start)
            .map_or(range.start, |(start, _)| start);
        self.pieces
            .range(first..range.end)
            .filter_map(|(start, piece)| {
                let cut_start = range.start.max(*start);
                let cut_end = range.end.min(start + piece.length);
                let cut = Piece {
                    length: cut_end
                        .checked_sub(cut_start)
                        .filter(|length| *length > 0)?,
                    source: piece.source.advanced(cut_start - start),
                };
                Some((cut_start, cut))
            })
            .collect()
    }

    fn piece_at(&self, offset: u64) -> Option<(u64, Piece)> {
        let (start, piece) = self.pieces.range(..=offset).next_back()?;
        (offset < start + piece.length).then_some((*start, *piece))
    }

    /// Removes what covers a range; its neighbours stay.
    fn cut_out(&mut self, range: Range<u64>) {
        for at in [range.start, range.end] {
            if let Some((start, piece)) = self.piece_at(at)
                && start < at
            {
                let head = at - start;
                let tail = Piece {
                    length: piece.length - head,
                    source: piece.source.advanced(head),
                };
                self.pieces.insert(at, tail);
                self.pieces.insert(
                    start,
                    Piece {
                        length: head,
                        ..piece
                    },
                );
            }
        }
        let inside: Vec<u64> = self.pieces.range(range).map(|(start, _)| *start).collect();
        for start in inside {
            self.pieces.remove(&start);
        }
    }

    fn put(&mut self, range: Range<u64>, source: Source) {
        self.cut_out(range.clone());
        let length = range.end - range.start;
        // Writes that follow each other are one piece.
        if let Some(before) = range.start.checked_sub(1)
            && let Some((start, piece)) = self.piece_at(before)
            && piece.source.advanced(piece.length) == source
        {
            let length = piece.length + length;
            self.pieces.insert(
                start,
                Piece {
                    length,
                    source: piece.source,
                },
            );
            return;
        }
        self.pieces.insert(range.start, Piece { length, source });
    }

    /// Makes moves at once; what they leave behind becomes zeroes.
    fn rearrange(&mut self, moves: &[Move]) {
        let moving: Vec<_> = moves.iter().map(|one| self.range(one.source())).collect();
        for one in moves {
            self.cut_out(one.target());
        }
        for range in vacated(moves) {
            self.put(range, Source::Zeroes);
        }
        for (one, pieces) in moves.iter().zip(moving) {
            for (start, piece) in pieces {
                self.pieces.insert(start - one.from + one.to, piece);
            }
        }
    }

    /// The disk on which nothing but the moves was made.
    fn after_moves_alone(&self, base_size: u64) -> Self {
        let reach = self
            .remapped
            .iter()
            .chain(&self.moves)
            .map(|one| one.from.max(one.to) + one.length);
        let size = reach.max().unwrap_or(0).max(base_size).max(self.size);
        let whole = Piece {
            length: size,
            source: Source::Base(0),
        };
        let mut moved = Self {
            size,
            pieces: BTreeMap::from_iter([(0, whole)]),
            remapped: Vec::new(),
            moves: Vec::new(),
            scratch_end: 0,
        };
        moved.rearrange(&self.remapped);
        for Move { from, to, length } in &self.moves {
            let pieces = moved.range(*from..from + length);
            moved.cut_out(*to..to + length);
            for (start, piece) in pieces {
                moved.pieces.insert(start - from + to, piece);
            }
        }
        moved
    }
}

impl Storage for TrialDisk {
    fn size(&self) -> Result<u64> {
        Ok(self.read_state().size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let state = self.read_state();
        check_bounds(buf.len(), offset, state.size)?;
        self.read_pieces(&state, buf, offset)
    }

    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        let state = self.read_state().clone();
        let base_size = self.base.size()?;
        let range = range.start..range.end.min(state.size);
        for (start, piece) in state.range(range) {
            let end = start + piece.length;
            let Source::Base(at) = piece.source else {
                let hole = piece.source == Source::Zeroes;
                if visit(Run {
                    range: start..end,
                    hole,
                })
                .is_break()
                {
                    return Ok(());
                }
                continue;
            };
            let mut stopped = false;
            self.base.for_each_run(at..at + piece.length, &mut |run| {
                let shifted = run.range.start - at + start..run.range.end - at + start;
                let flow = visit(Run {
                    range: shifted,
                    hole: run.hole,
                });
                stopped = flow.is_break();
                flow
            })?;
            let behind = base_size.max(at) - at + start;
            if !stopped && behind < end {
                stopped = visit(Run {
                    range: behind.max(start)..end,
                    hole: true,
                })
                .is_break();
            }
            if stopped {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl WritableStorage for TrialDisk {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let mut state = self.write_state();
        check_bounds(buf.len(), offset, state.size)?;
        let at = state.scratch_end;
        self.scratch.write_at(buf, at)?;
        state.scratch_end += buf.len() as u64;
        state.put(offset..offset + buf.len() as u64, Source::Scratch(at));
        Ok(())
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        let mut state = self.write_state();
        if range.end > state.size {
            return Err(outside("zeroes pass the end of the disk"));
        }
        if !range.is_empty() {
            state.put(range, Source::Zeroes);
        }
        Ok(())
    }

    fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        let end = range.end.min(self.read_state().size);
        self.write_zeroes(range.start.min(end)..end)
    }

    fn allocate(&self, _range: Range<u64>) -> Result<()> {
        Err(Error::unsupported(
            "a disk to try things on reserves no space",
        ))
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut state = self.write_state();
        let size = state.size;
        if length < size {
            state.cut_out(length..size);
        } else if length > size {
            // A real disk grows with zeroes; behind its end the base reads as those.
            let base = self.base.size()?;
            let source = if size >= base {
                Source::Base(size)
            } else {
                Source::Zeroes
            };
            state.put(size..length, source);
        }
        state.size = length;
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn outside(message: &str) -> Error {
    Error::new(ErrorKind::OutOfBounds, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    const SIZE: u64 = 4096;

    fn trial() -> TrialDisk {
        let bytes = (0..SIZE)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        let base = Arc::new(MemoryStorage::new(bytes));
        TrialDisk::new(base, Arc::new(MemoryStorage::default())).unwrap()
    }

    fn bytes_of(storage: &dyn Storage) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(storage.size().unwrap()).unwrap()];
        storage.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// Makes the changes real on a copy.
    struct Real(Vec<u8>);

    impl Changes for Real {
        fn remap(&mut self, moves: &[Move]) {
            let before = self.0.clone();
            let at = |range: Range<u64>| {
                usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
            };
            for range in vacated(moves) {
                self.0[at(range)].fill(0);
            }
            for one in moves {
                self.0[at(one.target())].copy_from_slice(&before[at(one.source())]);
            }
        }

        fn move_bytes(&mut self, from: u64, to: u64, length: u64) {
            let [from, to, length] = [from, to, length].map(|n| usize::try_from(n).unwrap());
            self.0.copy_within(from..from + length, to);
        }

        fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
            let at = usize::try_from(offset).unwrap();
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    #[test]
    fn what_is_told_makes_the_other_disk_the_same() {
        // Deterministic noise.
        let mut seed = 1_u64;
        let mut next = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let trial = trial();
            let mut size = SIZE;
            let mut longest = size;
            if next(2) == 0 {
                let distance = 1 + next(SIZE - 1);
                let length = 1 + next(SIZE - distance);
                let from = next(SIZE - distance - length + 1);
                let there = Move {
                    from,
                    to: from + distance,
                    length,
                };
                let moves = match next(3) {
                    0 => vec![there],
                    1 => vec![there.inverse()],
                    _ if length <= distance => vec![there, there.inverse()],
                    _ => vec![],
                };
                if next(2) == 0 {
                    trial.write_at(&[9; 100], from).unwrap();
                }
                trial.remap(&moves).unwrap();
            }
            for _ in 0..next(12) {
                let start = next(size);
                let length = 1 + next(size - start);
                match next(4) {
                    0 => trial
                        .write_at(&vec![7; usize::try_from(length).unwrap()], start)
                        .unwrap(),
                    1 => trial.write_zeroes(start..start + length).unwrap(),
                    2 => trial
                        .move_bytes(start, next(size - length + 1), length)
                        .unwrap(),
                    _ => {
                        size = 512 + next(6000);
                        longest = longest.max(size);
                        trial.set_len(size).unwrap();
                    }
                }
            }
            let mut real = Real(bytes_of(trial.base.as_ref()));
            real.0.resize(usize::try_from(longest).unwrap(), 0);
            trial.tell(&mut real).unwrap();
            real.0.truncate(usize::try_from(size).unwrap());
            assert!(real.0 == bytes_of(&trial));
        }
    }

    #[test]
    fn moves_are_not_copied() {
        let trial = trial();
        trial.move_bytes(100, 2000, 1000).unwrap();
        trial.write_at(&[1; 10], 50).unwrap();
        trial.write_at(&[2; 10], 60).unwrap();
        assert_eq!(trial.bytes_to_write().unwrap(), 20);
        assert!(trial.move_bytes(0, SIZE, 1).is_err());
        assert!(trial.write_at(&[0], SIZE).is_err());
    }

    #[test]
    fn what_is_written_back_as_it_was_is_still_a_write() {
        let trial = trial();
        let before = bytes_of(&trial);
        trial.set_len(1000).unwrap();
        trial.set_len(SIZE).unwrap();
        assert!(bytes_of(&trial)[1000..].iter().all(|byte| *byte == 0));
        assert_eq!(bytes_of(&trial)[..1000], before[..1000]);
        let mut runs = Vec::new();
        trial
            .for_each_run(0..u64::MAX, &mut |run| {
                runs.push((run.range.start, run.range.end, run.hole));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(runs, [(0, 1000, false), (1000, SIZE, true)]);
    }
}
