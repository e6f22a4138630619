use proptest::prelude::*;

use super::*;
use crate::units::{GIB, MIB, TIB};

const ALL: [Arrangement; 3] = [
    Arrangement::Hilbert,
    Arrangement::Linear,
    Arrangement::Partitions,
];

fn layout(size: u64, arrangement: Arrangement, area: (u32, u32)) -> Layout {
    let regions = [size / 100..size / 4, size / 4..size / 2, size / 3..size / 9];
    Layout::new(size, arrangement, &regions, 20, area).mirrored(size % 2 == 1)
}

fn layout_like(other: &Layout, size: u64) -> Layout {
    layout(size, other.arrangement(), (640, 480))
}

#[test]
fn panning_moves_the_picture_with_the_pointer() {
    for mirrored in [false, true] {
        let mut layout =
            Layout::new(TIB, Arrangement::Hilbert, &[], 0, (640, 480)).mirrored(mirrored);
        layout.zoom(2, (320, 240));
        let before = layout.clone();
        let spot = layout.spot_at(300, 200).unwrap();
        layout.pan(30, -20);
        assert_eq!(layout.spot_at(330, 180), Some(spot));
        assert_eq!(layout.offset_of(&before), Some((30, -20)), "{mirrored}");
        layout.zoom(1, (1, 1));
        assert_eq!(layout.offset_of(&before), None);
    }
}

#[test]
fn fitted_all_of_the_disk_shows_once() {
    for arrangement in ALL {
        for size in [1, 512, 513, MIB, 40 * GIB + 512, 64 * TIB, 1 << 63] {
            for area in [(328, 240), (660, 470), (1700, 900), (470, 660), (10, 10)] {
                let layout = layout(size, arrangement, area);
                let mut spots: Vec<_> = layout.visible().map(|(spot, _)| spot.guest).collect();
                spots.sort_by_key(|guest| guest.start);
                let what = format!("{arrangement:?} {size} {area:?}");
                assert!(area == (10, 10) || layout.view() <= (area.0.into(), area.1.into()));
                if area != (10, 10) || arrangement == Arrangement::Linear {
                    assert_eq!(spots.first().map(|guest| guest.start), Some(0), "{what}");
                    assert_eq!(spots.last().map(|guest| guest.end), Some(size), "{what}");
                    let gap = spots.windows(2).find(|pair| pair[0].end != pair[1].start);
                    assert_eq!(gap, None, "{what}");
                    assert_eq!(layout.visible_ranges(), [0..size]);
                }
            }
        }
    }
}

#[test]
fn a_usual_window_is_well_filled() {
    for area in [(640_u32, 440_u32), (900, 560), (1500, 700), (330, 300)] {
        for size in [10 * GIB, 40 * GIB, 500 * GIB, TIB, 8 * TIB, 64 * TIB] {
            let layout = layout(size, Arrangement::Hilbert, area);
            let (x, y) = layout.pitch();
            let cells = i64::try_from(Cell::count(size, layout.shift())).unwrap();
            let share = 100 * cells * x * y / i64::from(area.0 * area.1);
            assert!(share >= 80, "{share} % of {area:?} for {size}");
        }
    }
}

#[test]
fn an_empty_disk_has_no_spots() {
    for arrangement in ALL {
        let mut layout = layout(0, arrangement, (600, 400));
        assert_eq!(layout.visible().count(), 0);
        assert_eq!(layout.spot_at(1, 1), None);
        layout.zoom(3, (10, 10));
        layout.pan(5, 5);
        layout.reveal(7);
    }
}

#[test]
fn the_neighbour_of_a_band_is_in_the_next_band() {
    let layout = Layout::new(
        8 * MIB,
        Arrangement::Partitions,
        &[2 * MIB..3 * MIB],
        20,
        (600, 400),
    );
    let mut byte = 0;
    let mut seen = vec![0];
    while let Some(spot) = layout.neighbour(byte, 0, 1) {
        byte = spot.guest.start;
        seen.push(byte);
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
    for band in [0..2 * MIB, 2 * MIB..3 * MIB, 3 * MIB..8 * MIB] {
        assert!(seen.iter().any(|byte| band.contains(byte)), "{band:?}");
    }
    let back = layout.neighbour(2 * MIB, 0, -1).unwrap();
    assert!(back.guest.end <= 2 * MIB);
}

#[test]
fn bands_cover_the_disk_whatever_the_table_says() {
    let regions = [50..70, 10..20, 15..30, 90..400, 5..5, 60..65];
    assert_eq!(
        bands(100, &regions),
        [0..10, 10..20, 20..30, 30..50, 50..70, 70..90, 90..100]
    );
    assert_eq!(bands(100, &[]), [0..100]);
    assert_eq!(bands(0, &[10..20]), [] as [Range<u64>; 0]);
}

#[test]
fn a_larger_window_keeps_scale_and_middle() {
    for arrangement in ALL {
        let mut small = layout(TIB, arrangement, (500, 400));
        small.zoom(3, (200, 200));
        let middle = small
            .spot_at(small.view().0 / 2, small.view().1 / 2)
            .unwrap();
        let large = small.resized(&[], 20, (900, 700));
        assert_eq!(large.shift(), small.shift());
        let rect = large.rect_of(middle.guest.start).unwrap();
        assert!((0..large.view().1).contains(&rect.y), "{arrangement:?}");
    }
}

fn arrangements() -> impl Strategy<Value = Arrangement> {
    prop::sample::select(ALL.to_vec())
}

proptest! {
    #[test]
    fn every_byte_has_one_place(
        arrangement in arrangements(), size in 1_u64..1 << 62, part in 0.0..1.0,
        zooms in 0..14, x in 0_i64..600, y in 0_i64..400,
    ) {
        let mut layout = layout(size, arrangement, (600, 400));
        layout.zoom(zooms, (x, y));
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any byte will do")]
        let byte = ((size as f64 * part) as u64).min(size - 1);
        let spot = layout.spot_of(byte).unwrap();
        prop_assert!(spot.guest.contains(&byte));
        layout.reveal(byte);
        let rect = layout.rect_of(byte).unwrap();
        let inside = |px: i64, py: i64| layout.spot_at(rect.x + px, rect.y + py);
        prop_assert_eq!(inside(0, 0), Some(spot.clone()));
        let last_x = (rect.width - 1).min(layout.view().0 - 1 - rect.x);
        prop_assert_eq!(inside(last_x, rect.height - 1), Some(spot.clone()));
        let seen = layout.visible().find(|(other, _)| *other == spot);
        prop_assert_eq!(seen.map(|(_, rect)| rect), Some(rect));
    }

    #[test]
    fn zooming_keeps_what_is_under_the_pointer(
        hilbert in any::<bool>(), size in MIB..1 << 62, x in 0_i64..640, y in 0_i64..480,
        pans in prop::collection::vec((-500_i64..500, -500_i64..500), 0..6),
    ) {
        let arrangement = if hilbert { Arrangement::Hilbert } else { Arrangement::Linear };
        let mut layout = layout(size, arrangement, (640, 480));
        for pan in pans {
            let Some(before) = layout.spot_at(x, y) else { break };
            let could = layout.can_zoom_in();
            layout.zoom(1, (x, y));
            let after = layout.spot_at(x, y);
            prop_assert!(!could || after.is_some());
            let after = after.unwrap();
            prop_assert!(before.guest.start <= after.guest.start, "{before:?} {after:?}");
            prop_assert!(after.guest.end <= before.guest.end, "{before:?} {after:?}");
            layout.pan(pan.0, pan.1);
        }
    }

    #[test]
    fn the_view_never_leaves_the_picture(
        arrangement in arrangements(), size in 1_u64..1 << 62,
        moves in prop::collection::vec((-9000_i64..9000, -9000_i64..9000, -3..6), 1..12),
    ) {
        let mut layout = layout(size, arrangement, (640, 480));
        for (x, y, zoom) in moves {
            layout.zoom(zoom, (x.rem_euclid(640), y.rem_euclid(480)));
            layout.pan(x, y);
            // The curve's rectangle can have corners that the disk does not reach.
            let may_be_blank = arrangement == Arrangement::Hilbert;
            prop_assert!(may_be_blank || layout.visible().next().is_some());
            let count = layout.visible().count() as i64;
            prop_assert!(count <= (640 / MIN_PITCH + 2) * (480 / MIN_PITCH + 2));
        }
        layout.fit();
        prop_assert!(layout.is_fit());
        let fresh = layout_like(&layout, size);
        prop_assert_eq!(layout.offset_of(&fresh), Some((0, 0)));
    }
}
