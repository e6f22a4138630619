//! The order of moves: nothing is overwritten before it has moved itself.

use std::ops::Range;

use crate::storage::Move;
use crate::units::{MIB, align_up};

/// Puts `wanted` in an order in which each can be made. Where partitions wait for one another in a
/// circle, one of them goes by way of free space, which is searched in `disk` beside what stays
/// where it is (`staying`). `None` when there is not enough of it.
pub(super) fn order(
    wanted: &[Move],
    staying: &[Range<u64>],
    disk: Range<u64>,
) -> Option<Vec<Move>> {
    let mut waiting: Vec<(Move, bool)> = wanted.iter().map(|one| (*one, false)).collect();
    let mut settled = staying.to_vec();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        if let Some(next) = (0..waiting.len()).find(|&index| is_free(&waiting, index)) {
            let (step, _) = waiting.remove(next);
            settled.push(step.target());
            if step.from != step.to {
                ordered.push(step);
            }
            continue;
        }
        let (index, place) = detour(&waiting, &settled, &disk)?;
        let (step, parked) = &mut waiting[index];
        ordered.push(Move { to: place, ..*step });
        step.from = place;
        *parked = true;
    }
    Some(ordered)
}

/// Whether nobody else's bytes are where it goes.
fn is_free(waiting: &[(Move, bool)], index: usize) -> bool {
    let target = waiting[index].0.target();
    let mut others = waiting.iter().enumerate();
    others.all(|(other, (step, _))| other == index || !overlap(&target, &step.source()))
}

/// The smallest partition that has not gone by way of free space yet, and where to.
fn detour(
    waiting: &[(Move, bool)],
    settled: &[Range<u64>],
    disk: &Range<u64>,
) -> Option<(usize, u64)> {
    let mut candidates: Vec<usize> = (0..waiting.len())
        .filter(|index| !waiting[*index].1)
        .collect();
    candidates.sort_by_key(|index| waiting[*index].0.length);
    candidates.into_iter().find_map(|index| {
        let length = waiting[index].0.length;
        let mut taken: Vec<Range<u64>> = settled.to_vec();
        // Where others still have to go is no place to wait.
        for (other, (step, _)) in waiting.iter().enumerate() {
            taken.push(step.source());
            if other != index {
                taken.push(step.target());
            }
        }
        Some((index, gap(taken, length, disk)?))
    })
}

/// The first aligned place for so many bytes.
fn gap(mut taken: Vec<Range<u64>>, length: u64, disk: &Range<u64>) -> Option<u64> {
    taken.sort_by_key(|range| range.start);
    let mut cursor = align_up(disk.start, MIB)?;
    for range in taken {
        if range.end <= cursor {
            continue;
        }
        if cursor.checked_add(length)? <= range.start {
            break;
        }
        cursor = align_up(range.end, MIB)?;
    }
    (cursor.checked_add(length)? <= disk.end).then_some(cursor)
}

fn overlap(first: &Range<u64>, second: &Range<u64>) -> bool {
    first.start < second.end && second.start < first.end
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: u64 = MIB;

    /// Random layouts of one disk, before and after: partitions in random order with random gaps.
    fn layout(random: &mut impl FnMut(u64) -> u64, lengths: &[u64], end: u64) -> Vec<u64> {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        for index in (1..order.len()).rev() {
            let other = usize::try_from(random(index as u64 + 1)).unwrap();
            order.swap(index, other);
        }
        let mut slack = end - 1 - lengths.iter().sum::<u64>();
        let mut starts = vec![0; lengths.len()];
        let mut cursor = 1;
        for index in order {
            let gap = random(slack + 1).min(random(slack + 1));
            slack -= gap;
            cursor += gap;
            starts[index] = cursor;
            cursor += lengths[index];
        }
        starts
    }

    /// Carries moves out on a disk of which each step holds the name of its partition.
    fn judge(seed: u64) -> Option<bool> {
        let mut state = seed;
        let mut random = move |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let count = 1 + random(6);
        let lengths: Vec<u64> = (0..count).map(|_| 1 + random(5)).collect();
        let end = 2 + lengths.iter().sum::<u64>() + random(12);
        let (before, after) = (
            layout(&mut random, &lengths, end),
            layout(&mut random, &lengths, end),
        );
        let mut disk = vec![None; usize::try_from(end).unwrap()];
        let mut moves = Vec::new();
        let mut staying = Vec::new();
        for (name, length) in lengths.iter().enumerate() {
            for offset in 0..*length {
                disk[usize::try_from(before[name] + offset).unwrap()] = Some((name, offset));
            }
            let (from, to) = (before[name] * STEP, after[name] * STEP);
            if from == to {
                staying.push(from..from + length * STEP);
            } else {
                let length = length * STEP;
                moves.push(Move { from, to, length });
            }
        }
        let ordered = order(&moves, &staying, STEP..end * STEP)?;
        for step in &ordered {
            let at = |byte: u64| usize::try_from(byte / STEP).unwrap();
            disk.copy_within(at(step.from)..at(step.from + step.length), at(step.to));
        }
        for (name, length) in lengths.iter().enumerate() {
            for offset in 0..*length {
                let at = usize::try_from(after[name] + offset).unwrap();
                assert_eq!(disk[at], Some((name, offset)), "seed {seed}: {ordered:?}");
            }
        }
        Some(ordered.len() > moves.len())
    }

    #[test]
    fn nothing_is_overwritten_before_it_has_moved() {
        let outcomes: Vec<_> = (0..20_000).map(judge).collect();
        let made = outcomes.iter().flatten().count();
        let detours = outcomes.iter().flatten().filter(|detour| **detour).count();
        println!(
            "{made} of {} made, {detours} by way of free space",
            outcomes.len()
        );
        assert!(made > 10_000 && detours > 500 && made < outcomes.len());
    }

    #[test]
    fn two_change_places_where_there_is_room() {
        let swap = |end| {
            let moves = [(1, 3), (3, 1)].map(|(from, to)| Move {
                from: from * STEP,
                to: to * STEP,
                length: 2 * STEP,
            });
            order(&moves, &[], STEP..end * STEP)
        };
        assert_eq!(swap(7).unwrap().len(), 3);
        assert_eq!(swap(6), None);
    }
}
