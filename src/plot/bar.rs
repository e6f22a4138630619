//! The partition bar: segments side by side, as long as their sizes say, but none too short to be
//! seen and hit.

use std::ops::Range;

/// Divides `width` pixels among segments of `sizes` bytes, `gap` pixels apart. No segment is
/// shorter than `minimum` as long as there is room for that; the others share the rest in
/// proportion to their sizes. The ranges are in order and fill the width exactly.
#[must_use]
pub fn layout(sizes: &[u64], width: u32, minimum: u32, gap: u32) -> Vec<Range<u32>> {
    let Ok(count) = u32::try_from(sizes.len()) else {
        return Vec::new();
    };
    if count == 0 {
        return Vec::new();
    }
    // Gaps give way first when there is no room.
    let gap = if width >= count.saturating_mul(minimum.saturating_add(gap)) {
        gap
    } else {
        0
    };
    let room = width - gap * (count - 1);
    let lengths = share(sizes, room, minimum.min(room / count));
    let mut start = 0;
    lengths
        .into_iter()
        .map(|length| {
            let range = start..start + length;
            start = range.end + gap;
            range
        })
        .collect()
}

/// The segment at pixel `x`, if it is not in a gap.
#[must_use]
pub fn segment_at(segments: &[Range<u32>], x: u32) -> Option<usize> {
    let index = segments.partition_point(|segment| segment.end <= x);
    segments
        .get(index)
        .filter(|segment| segment.contains(&x))
        .map(|_| index)
}

/// Lengths in proportion to `sizes` that sum up to `room`, none below `minimum` (at most `room`
/// divided by the number of sizes).
fn share(sizes: &[u64], room: u32, minimum: u32) -> Vec<u32> {
    let mut fixed = vec![false; sizes.len()];
    // Each turn fixes those that would fall below the minimum, which leaves less for the others:
    // at most as many turns as segments.
    loop {
        let free_room = u128::from(room) - taken(&fixed, minimum);
        let free_size = total(sizes, &fixed);
        let mut changed = false;
        for (index, size) in sizes.iter().enumerate() {
            if !fixed[index] && u128::from(*size) * free_room < u128::from(minimum) * free_size {
                fixed[index] = true;
                changed = true;
            }
        }
        if !changed {
            return fill(sizes, &fixed, free_room, free_size, minimum);
        }
    }
}

fn taken(fixed: &[bool], minimum: u32) -> u128 {
    fixed.iter().filter(|fixed| **fixed).count() as u128 * u128::from(minimum)
}

fn total(sizes: &[u64], fixed: &[bool]) -> u128 {
    let free = sizes.iter().zip(fixed).filter(|(_, fixed)| !**fixed);
    free.map(|(size, _)| u128::from(*size)).sum()
}

/// Rounds the running sum instead of each length, so that the last segment ends at the end.
fn fill(sizes: &[u64], fixed: &[bool], room: u128, size: u128, minimum: u32) -> Vec<u32> {
    let mut before: u128 = 0;
    let place = |sum: u128| u32::try_from(sum * room / size.max(1)).unwrap_or(u32::MAX);
    sizes
        .iter()
        .zip(fixed)
        .map(|(bytes, fixed)| {
            if *fixed {
                return minimum;
            }
            let start = place(before);
            before += u128::from(*bytes);
            place(before) - start
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn proportional_when_there_is_room() {
        assert_eq!(layout(&[1, 3], 400, 10, 0), [0..100, 100..400]);
        assert_eq!(layout(&[1, 1], 102, 10, 2), [0..50, 52..102]);
        assert_eq!(layout(&[], 100, 10, 2), []);
    }

    #[test]
    fn a_tiny_partition_stays_visible() {
        let bar = layout(&[1 << 20, 1 << 42, 1 << 20], 1000, 24, 4);
        assert_eq!(bar, [0..24, 28..972, 976..1000]);
    }

    #[test]
    fn too_many_for_the_width_share_it() {
        let bar = layout(&[5, 1, 1, 1], 20, 24, 4);
        assert_eq!(bar.last().unwrap().end, 20);
        assert!(bar.iter().all(|segment| segment.len() >= 5));
    }

    #[test]
    fn hits_are_found_and_gaps_are_not() {
        let bar = [0..10, 12..30];
        assert_eq!(segment_at(&bar, 9), Some(0));
        assert_eq!(segment_at(&bar, 10), None);
        assert_eq!(segment_at(&bar, 12), Some(1));
        assert_eq!(segment_at(&bar, 30), None);
    }

    proptest! {
        #[test]
        fn ranges_are_in_order_and_fill_the_width(
            sizes in prop::collection::vec(1_u64.., 1..40),
            width in 0_u32..5000,
        ) {
            let bar = layout(&sizes, width, 24, 3);
            prop_assert_eq!(bar.len(), sizes.len());
            prop_assert_eq!(bar[0].start, 0);
            prop_assert_eq!(bar[bar.len() - 1].end, width);
            for pair in bar.windows(2) {
                prop_assert!(pair[0].start <= pair[0].end && pair[0].end <= pair[1].start);
            }
            if width as usize >= sizes.len() * 27 {
                prop_assert!(bar.iter().all(|segment| segment.len() >= 24));
            }
        }
    }
}
