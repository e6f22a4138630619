//! The partition strip as an editor: which border or segment is under the pointer, which byte it
//! points at, and where a border that is dragged comes to lie.
//!
//! Small segments are drawn wider than they are ([`super::bar`]), so a pixel is not the same number
//! of bytes everywhere: inside each segment the scale is its own.

use std::ops::Range;

use super::bar;
use crate::units::align_down;

/// The strip as it is drawn: what a drag is measured by, from its beginning to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Strip {
    segments: Vec<Range<u64>>,
    pixels: Vec<Range<u32>>,
    width: u32,
}

/// What of a segment the pointer has hold of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grip {
    /// Its first byte: the other end stays.
    Start,
    /// Its end: the first byte stays.
    End,
    /// All of it: it keeps its length.
    Whole,
}

/// How a partition may lie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The bytes it may cover while all others stay where they are.
    pub room: Range<u64>,
    /// Whether it may pass the end of the room, because the disk can grow with it.
    pub open_end: bool,
    /// The fewest bytes that hold its content.
    pub least: u64,
    /// Borders are multiples of this many bytes (not 0), where the room leaves any.
    pub alignment: u64,
}

impl Strip {
    /// The strip of these stretches of the disk, in order, drawn `width` pixels wide as
    /// [`bar::layout`] does.
    #[must_use]
    pub fn new(segments: Vec<Range<u64>>, width: u32, minimum: u32, gap: u32) -> Self {
        let sizes: Vec<u64> = segments
            .iter()
            .map(|range| range.end - range.start)
            .collect();
        Self {
            pixels: bar::layout(&sizes, width, minimum, gap),
            segments,
            width,
        }
    }

    /// Its width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The segment at pixel `x`.
    #[must_use]
    pub fn segment_at(&self, x: f64) -> Option<usize> {
        bar::segment_at(&self.pixels, pixel(x)?)
    }

    /// What of segment `index` is at pixel `x`: a border counts within `reach` pixels of it.
    #[must_use]
    pub fn grip_at(&self, index: usize, x: f64, reach: f64) -> Option<Grip> {
        let place = self.pixels.get(index)?;
        let (start, end) = (f64::from(place.start), f64::from(place.end));
        // Of two borders close together each has its half.
        let reach = reach.min((end - start) / 3.0);
        if (x - end).abs() <= reach {
            Some(Grip::End)
        } else if (x - start).abs() <= reach {
            Some(Grip::Start)
        } else {
            (start < x && x < end).then_some(Grip::Whole)
        }
    }

    /// The byte that pixel `x` stands for. Behind the last segment the scale is that of the whole
    /// strip.
    #[must_use]
    pub fn byte_at(&self, x: f64) -> u64 {
        let Some((last, last_pixels)) = self.segments.last().zip(self.pixels.last()) else {
            return 0;
        };
        if x >= f64::from(last_pixels.end) {
            let more = (x - f64::from(last_pixels.end)) * self.bytes_per_pixel();
            return last.end.saturating_add(whole(more));
        }
        let at = self
            .pixels
            .partition_point(|place| f64::from(place.end) <= x);
        let (Some(segment), Some(place)) = (self.segments.get(at), self.pixels.get(at)) else {
            return 0;
        };
        let share = ((x - f64::from(place.start)) / f64::from(place.end - place.start).max(1.0))
            .clamp(0.0, 1.0);
        #[allow(clippy::cast_precision_loss, reason = "a pixel is many bytes")]
        let length = (segment.end - segment.start) as f64;
        segment.start + whole(share * length)
    }

    /// The pixel that a byte is drawn at; more than the width for one behind the last segment.
    #[must_use]
    pub fn pixel_of(&self, byte: u64) -> f64 {
        let Some((last, last_pixels)) = self.segments.last().zip(self.pixels.last()) else {
            return 0.0;
        };
        #[allow(clippy::cast_precision_loss, reason = "a pixel is many bytes")]
        let float = |bytes: u64| bytes as f64;
        if byte >= last.end {
            let scale = self.bytes_per_pixel().max(1.0);
            return f64::from(last_pixels.end) + float(byte - last.end) / scale;
        }
        let at = self.segments.partition_point(|segment| segment.end <= byte);
        let (Some(segment), Some(place)) = (self.segments.get(at), self.pixels.get(at)) else {
            return 0.0;
        };
        let share =
            float(byte.saturating_sub(segment.start)) / float(segment.end - segment.start).max(1.0);
        f64::from(place.start) + share * f64::from(place.end - place.start)
    }

    /// Bytes that a pixel stands for, all segments together.
    #[must_use]
    pub fn bytes_per_pixel(&self) -> f64 {
        let first = self.segments.first().map_or(0, |segment| segment.start);
        let last = self.segments.last().map_or(0, |segment| segment.end);
        #[allow(clippy::cast_precision_loss, reason = "a pixel is many bytes")]
        let length = (last - first) as f64;
        length / f64::from(self.width.max(1))
    }

    /// How far borders go at a time when they are dragged: about the bytes of three pixels, as a
    /// power of two, so that round sizes can be hit; never less than `alignment`.
    #[must_use]
    pub fn step(&self, alignment: u64) -> u64 {
        let wanted = whole(self.bytes_per_pixel() * 3.0).max(1);
        let power = wanted.checked_next_power_of_two().unwrap_or(1 << 62);
        alignment.max(power / 2)
    }
}

impl Limits {
    /// Where `range` comes to lie when what is gripped goes from byte `from` to byte `to`. Borders
    /// go by `step` and stay within the limits; ends of the room, the smallest size and round
    /// distances attract from some steps away.
    #[must_use]
    pub fn dragged(
        &self,
        range: &Range<u64>,
        grip: Grip,
        from: u64,
        to: u64,
        step: u64,
    ) -> Range<u64> {
        let distance = rounded(to.abs_diff(from), step.max(1));
        let moved = |border: u64| {
            if to >= from {
                border.saturating_add(distance)
            } else {
                border.saturating_sub(distance)
            }
        };
        match grip {
            Grip::End => self.with_end(range, moved(range.end), step),
            Grip::Start => self.with_start(range, moved(range.start), step),
            Grip::Whole => self.placed(range, moved(range.start), step),
        }
    }

    /// `range` with this end, or the nearest that is possible.
    #[must_use]
    pub fn with_end(&self, range: &Range<u64>, end: u64, step: u64) -> Range<u64> {
        let least = range.start.saturating_add(self.least.max(1));
        let smallest = self.align_up(least).min(range.end.max(least));
        let end = attracted(end, &[self.room.end, range.end, smallest], step);
        let end = if self.open_end {
            end
        } else {
            end.min(self.room.end)
        };
        range.start..self.aligned(end, range.end).max(smallest)
    }

    /// `range` with this first byte, or the nearest that is possible.
    #[must_use]
    pub fn with_start(&self, range: &Range<u64>, start: u64, step: u64) -> Range<u64> {
        let most = align_down(range.end.saturating_sub(self.least.max(1)), self.alignment);
        let most = most.max(range.start);
        let start = attracted(start, &[self.room.start, range.start], step);
        let start = self.aligned(start, range.start);
        start.clamp(self.room.start.min(range.start), most)..range.end
    }

    /// `range` beginning here, or at the nearest place that is possible.
    #[must_use]
    pub fn placed(&self, range: &Range<u64>, start: u64, step: u64) -> Range<u64> {
        let length = range.end - range.start;
        let last =
            align_down(self.room.end.saturating_sub(length), self.alignment).max(range.start);
        let start = attracted(start, &[self.room.start, last, range.start], step);
        let start = if self.open_end {
            start
        } else {
            start.min(last)
        };
        let start = self
            .aligned(start, range.start)
            .max(self.room.start.min(range.start));
        start..start.saturating_add(length)
    }

    /// A multiple of the alignment, unless it is an end of the room or where it was.
    fn aligned(&self, byte: u64, was: u64) -> u64 {
        if byte == was || byte == self.room.end || byte == self.room.start {
            byte
        } else {
            align_down(byte, self.alignment)
        }
    }

    fn align_up(&self, byte: u64) -> u64 {
        byte.checked_next_multiple_of(self.alignment)
            .unwrap_or(byte)
    }
}

/// A whole number of steps, or of sixteen when that is near.
fn rounded(distance: u64, step: u64) -> u64 {
    let nearest = |unit: u64| align_down(distance.saturating_add(unit / 2), unit);
    let round = nearest(step.saturating_mul(16));
    if round.abs_diff(distance) <= step + step / 2 {
        round
    } else {
        nearest(step)
    }
}

/// `byte`, or the nearest of `places` when that is not further than two steps.
fn attracted(byte: u64, places: &[u64], step: u64) -> u64 {
    let nearest = places
        .iter()
        .copied()
        .min_by_key(|place| place.abs_diff(byte));
    nearest
        .filter(|place| place.abs_diff(byte) < step.saturating_mul(2))
        .unwrap_or(byte)
}

fn pixel(x: f64) -> Option<u32> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a pixel"
    )]
    (x >= 0.0 && x < f64::from(u32::MAX)).then_some(x as u32)
}

fn whole(bytes: f64) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and a fraction of a byte is none"
    )]
    let bytes = bytes.max(0.0) as u64;
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// 1 GiB, 3 GiB and 4 GiB on 800 pixels: 10 MiB and a bit a pixel.
    fn strip() -> Strip {
        Strip::new(vec![0..GIB, GIB..4 * GIB, 4 * GIB..8 * GIB], 800, 0, 0)
    }

    fn limits() -> Limits {
        Limits {
            room: GIB..8 * GIB,
            open_end: false,
            least: GIB,
            alignment: MIB,
        }
    }

    #[test]
    fn borders_are_gripped_before_what_lies_between() {
        let strip = strip();
        assert_eq!(strip.grip_at(1, 101.0, 6.0), Some(Grip::Start));
        assert_eq!(strip.grip_at(1, 404.0, 6.0), Some(Grip::End));
        assert_eq!(strip.grip_at(1, 250.0, 6.0), Some(Grip::Whole));
        assert_eq!(strip.grip_at(1, 500.0, 6.0), None);
        assert_eq!(strip.segment_at(99.0), Some(0));
    }

    #[test]
    fn a_small_segment_has_a_scale_of_its_own() {
        let strip = Strip::new(vec![0..MIB, MIB..GIB], 500, 100, 0);
        assert_eq!(strip.byte_at(50.0), MIB / 2);
        assert!((strip.pixel_of(MIB / 2) - 50.0).abs() < 1e-6);
        assert!(strip.byte_at(510.0) > GIB);
        assert!(strip.pixel_of(2 * GIB) > 500.0);
    }

    #[test]
    fn ends_snap_to_the_neighbour_and_to_the_smallest_size() {
        let range = GIB..4 * GIB;
        let end = |to: u64| {
            limits()
                .dragged(&range, Grip::End, 4 * GIB, to, 16 * MIB)
                .end
        };
        assert_eq!(end(8 * GIB - 20 * MIB), 8 * GIB);
        assert_eq!(end(9 * GIB), 8 * GIB);
        assert_eq!(end(MIB), 2 * GIB);
        assert_eq!(end(5 * GIB + 3 * MIB), 5 * GIB);
        assert_eq!(end(5 * GIB + 40 * MIB), 5 * GIB + 48 * MIB);
        assert_eq!(end(4 * GIB + 9 * MIB), 4 * GIB);
    }

    #[test]
    fn round_distances_attract() {
        assert_eq!(rounded(1040 * MIB, 8 * MIB), 1040 * MIB);
        assert_eq!(rounded(1034 * MIB, 8 * MIB), 1024 * MIB);
        assert_eq!(rounded(1013 * MIB, 8 * MIB), 1024 * MIB);
        assert_eq!(rounded(1005 * MIB, 8 * MIB), 1008 * MIB);
        assert_eq!(rounded(3 * MIB, 8 * MIB), 0);
    }

    #[test]
    fn the_last_one_may_pass_the_end_when_the_disk_can_grow() {
        let open = Limits {
            open_end: true,
            ..limits()
        };
        let range = 4 * GIB..8 * GIB;
        assert_eq!(
            open.dragged(&range, Grip::End, 8 * GIB, 10 * GIB, MIB).end,
            10 * GIB
        );
        let moved = open.dragged(&range, Grip::Whole, 5 * GIB, 6 * GIB, MIB);
        assert_eq!(moved, 5 * GIB..9 * GIB);
        let kept = limits().dragged(&range, Grip::Whole, 5 * GIB, 6 * GIB, MIB);
        assert_eq!(kept, range);
    }

    #[test]
    fn a_start_keeps_the_end_and_the_content() {
        let range = 2 * GIB..4 * GIB;
        let start = |to: u64| limits().dragged(&range, Grip::Start, 2 * GIB, to, MIB);
        assert_eq!(start(GIB + 1), GIB..4 * GIB);
        assert_eq!(start(3 * GIB + 500 * MIB), 3 * GIB..4 * GIB);
    }

    proptest! {
        #[test]
        fn whatever_is_dragged_stays_in_the_room(
            start in 1_u64..64, length in 1_u64..64, before in 0_u64..64, behind in 0_u64..64,
            from in 0_u64..256, to in 0_u64..256, grip in 0_usize..3, step in 0_u32..8,
        ) {
            let range = (before + start) * MIB..(before + start + length) * MIB;
            let limits = Limits {
                room: start * MIB..range.end + behind * MIB,
                open_end: false,
                least: MIB,
                alignment: MIB,
            };
            let grip = [Grip::Start, Grip::End, Grip::Whole][grip];
            let now = limits.dragged(&range, grip, from * MIB, to * MIB, MIB << step);
            prop_assert!(now.start >= limits.room.start && now.end <= limits.room.end);
            prop_assert!(now.end - now.start >= limits.least);
            match grip {
                Grip::Whole => prop_assert_eq!(now.end - now.start, range.end - range.start),
                Grip::Start => prop_assert_eq!(now.end, range.end),
                Grip::End => prop_assert_eq!(now.start, range.start),
            }
        }
    }
}
