//! Which bytes a draft moves, and whether they have to be copied for that.

use crate::op::edit::Draft;
use crate::storage::Move;

impl Draft {
    /// What moves, all at once: the content of partitions that are somewhere else afterwards.
    pub(super) fn moves(&self) -> Vec<Move> {
        let moves = self.changes.iter().filter_map(|change| {
            let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
            // An extended partition has no content but its logical ones.
            let has_content = change.make.is_none() && !change.is_extended();
            (has_content && before.start != after.start).then_some(Move {
                from: before.start,
                to: after.start,
                length: change.kept()?,
            })
        });
        moves.collect()
    }

    /// Whether nothing of that has to be copied, on a disk that moves bytes by multiples of
    /// `moves_by` without ([`crate::storage::Storage::moves_by`]).
    pub(super) fn moves_in_place(&self, moves_by: Option<u64>) -> bool {
        let moves = self.moves();
        let is_whole =
            |one: &Move| moves_by.is_some_and(|unit| one.distance().is_multiple_of(unit));
        !moves.is_empty() && moves.iter().all(is_whole)
    }
}
