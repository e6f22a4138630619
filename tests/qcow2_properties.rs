//! Properties of qcow2 images that nobody wrote by hand: whatever clusters an image maps, it reads
//! as that, its map says so and its check is clean; whatever its fields are changed to, nothing
//! breaks.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the images are small"
)]

#[path = "../fuzz/exercise.rs"]
mod exercise;
#[path = "common/inputs.rs"]
mod inputs;
#[path = "common/tiny.rs"]
mod tiny;

use std::ops::ControlFlow;
use std::sync::Arc;

use inputs::Random;
use platter::Control;
use platter::image::{self, Extent, ExtentState, Format, ImageDriver};
use platter::storage::MemoryStorage;
use platter::units::GuestOffset;
use proptest::collection::vec;
use proptest::prelude::*;
use tiny::FIELDS;

const CLUSTER: usize = 512;
/// L2 tables map so many clusters each, and an L1 table of a cluster names so many L2 tables.
const ENTRIES: usize = CLUSTER / 8;
const COPIED: u64 = 1 << 63;

/// What is done with one guest cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Unallocated,
    Zero,
    ZeroAllocated,
    Data(u8),
    Compressed(u8),
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let kind = prop_oneof![
        4 => Just(Kind::Unallocated),
        1 => Just(Kind::Zero),
        1 => Just(Kind::ZeroAllocated),
        4 => any::<u8>().prop_map(Kind::Data),
        2 => any::<u8>().prop_map(Kind::Compressed),
    ];
    vec(kind, 1..500)
}

impl Kind {
    fn content(self) -> Option<[u8; CLUSTER]> {
        match self {
            Self::Unallocated => None,
            Self::Zero | Self::ZeroAllocated => Some([0; CLUSTER]),
            Self::Data(seed) | Self::Compressed(seed) => {
                Some(std::array::from_fn(|at| seed.wrapping_add((at / 37) as u8)))
            }
        }
    }
}

/// An image of these clusters, placed on the host in an order that `seed` decides.
fn build(kinds: &[Kind], seed: u64) -> Vec<u8> {
    let tables = kinds.len().div_ceil(ENTRIES);
    let (blocks_at, blocks) = (2, 8);
    let l1_at = blocks_at + blocks;
    let l2_at = l1_at + 1;
    let needs_cluster = |kind: &&Kind| matches!(kind, Kind::Data(_) | Kind::ZeroAllocated);
    let data = kinds.iter().filter(needs_cluster).count();
    let mut places: Vec<usize> = (l2_at + tables..l2_at + tables + data).collect();
    Random(seed).shuffle(&mut places);
    let mut image = vec![0; (l2_at + tables + data) * CLUSTER];
    let mut entries = vec![0; tables * ENTRIES];
    for (kind, entry) in kinds.iter().zip(&mut entries) {
        match kind {
            Kind::Unallocated => {}
            Kind::Zero => *entry = 1,
            Kind::Data(_) | Kind::ZeroAllocated => {
                let place = places.pop().expect("one for each") * CLUSTER;
                let zero = u64::from(*kind == Kind::ZeroAllocated);
                *entry = place as u64 | COPIED | zero;
                let content = kind
                    .content()
                    .filter(|_| zero == 0)
                    .unwrap_or([0xee; CLUSTER]);
                image[place..place + CLUSTER].copy_from_slice(&content);
            }
            Kind::Compressed(_) => {
                let packed = tiny::packed(&kind.content().expect("it has one"));
                let place = image.len();
                // Sectors that the data touch behind the first; one bit has to be enough.
                let more = (place + packed.len() - 1) / 512 - place / 512;
                *entry = 1 << 62 | (more as u64) << 61 | place as u64;
                image.extend(packed);
            }
        }
    }
    image.resize(image.len().next_multiple_of(CLUSTER), 0);
    for (index, entry) in entries.iter().enumerate() {
        put(&mut image, l2_at * CLUSTER + index * 8, *entry);
    }
    for table in 0..tables {
        let place = ((l2_at + table) * CLUSTER) as u64;
        put(&mut image, l1_at * CLUSTER + table * 8, place | COPIED);
    }
    for block in 0..blocks {
        let place = ((blocks_at + block) * CLUSTER) as u64;
        put(&mut image, CLUSTER + block * 8, place);
    }
    count_references(
        &mut image,
        &entries,
        blocks_at * CLUSTER,
        l2_at + tables + data,
    );
    image[..4].copy_from_slice(b"QFI\xfb");
    for (at, length, value) in [
        (4, 4, 3),
        (20, 4, 9),
        (24, 8, kinds.len() * CLUSTER),
        (36, 4, tables),
        (40, 8, l1_at * CLUSTER),
        (48, 8, CLUSTER),
        (56, 4, 1),
        (96, 4, 4),
        (100, 4, 104),
    ] {
        tiny::set(&mut image, ("", at, length), value as u64);
    }
    image
}

/// One reference for each cluster below `single`, behind that one for each compressed cluster that
/// touches it.
fn count_references(image: &mut [u8], entries: &[u64], at: usize, single: usize) {
    let mut counts = vec![0_u16; image.len() / CLUSTER];
    counts[..single].fill(1);
    for entry in entries.iter().filter(|entry| **entry & 1 << 62 != 0) {
        let offset = entry & ((1 << 61) - 1);
        let sectors = (entry >> 61 & 1) + 1;
        let end = offset - offset % 512 + sectors * 512;
        let touched = offset as usize / CLUSTER..(end as usize).div_ceil(CLUSTER);
        for count in &mut counts[touched] {
            *count += 1;
        }
    }
    for (index, count) in counts.iter().enumerate() {
        image[at + index * 2..][..2].copy_from_slice(&count.to_be_bytes());
    }
}

fn put(image: &mut [u8], at: usize, value: u64) {
    tiny::set(image, ("", at, 8), value);
}

fn open(image: Vec<u8>) -> Box<dyn ImageDriver> {
    image::open(Arc::new(MemoryStorage::new(image)), Format::Qcow2).expect("the image opens")
}

fn says(state: ExtentState, kind: Kind) -> bool {
    match kind {
        Kind::Unallocated => matches!(state, ExtentState::Unallocated { host: None }),
        Kind::Zero => matches!(state, ExtentState::Zero { host: None }),
        Kind::ZeroAllocated => matches!(state, ExtentState::Zero { host: Some(_) }),
        Kind::Data(_) => matches!(state, ExtentState::Data { .. }),
        Kind::Compressed(_) => matches!(state, ExtentState::Compressed),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn an_image_reads_maps_and_checks_as_it_was_built(
        kinds in kinds(),
        seed in any::<u64>(),
        reads in vec((0.0..1.0_f64, 1_usize..5000), 1..8),
    ) {
        let image = open(build(&kinds, seed));
        let size = image.virtual_size();
        let report = image.check(&Control::new()).expect("the check ends");
        prop_assert!(report.is_clean(), "{:?}", report.findings);
        let allocated = kinds.iter().filter(|kind| !matches!(kind, Kind::Unallocated | Kind::Zero));
        prop_assert_eq!(report.allocated_clusters, allocated.count() as u64);

        let mut extents: Vec<Extent> = Vec::new();
        image.for_each_extent(0..size, &mut |extent| {
            extents.push(extent);
            ControlFlow::Continue(())
        }).expect("the map ends");
        let mut at = 0;
        for extent in &extents {
            prop_assert_eq!(extent.guest.start, at);
            at = extent.guest.end;
            let clusters = extent.guest.start as usize / CLUSTER..extent.guest.end as usize / CLUSTER;
            for kind in &kinds[clusters] {
                prop_assert!(says(extent.state, *kind), "{:?} is {:?}", extent, kind);
            }
        }
        prop_assert_eq!(at, size);

        for (place, length) in reads {
            let start = (place * size as f64) as usize;
            let end = (start + length).min(size as usize);
            let mut buf = vec![0x77; end - start];
            let mut missing = Vec::new();
            image.read_at(&mut buf, GuestOffset(start as u64), &mut missing).expect("it reads");
            for (at, byte) in (start..end).zip(buf) {
                let is_missing = missing.iter().any(|range| range.contains(&(at as u64)));
                match kinds[at / CLUSTER].content() {
                    Some(content) => prop_assert!(!is_missing && byte == content[at % CLUSTER]),
                    None => prop_assert!(is_missing && byte == 0x77),
                }
            }
        }
    }

    #[test]
    fn nothing_breaks_whatever_the_fields_say(
        changes in vec((0..FIELDS.len(), value()), 1..6),
    ) {
        let mut image = tiny::image();
        for (field, value) in changes {
            tiny::set(&mut image, FIELDS[field], value);
        }
        exercise::qcow2_open_read(&image);
        exercise::qcow2_check(&image);
    }
}

/// Numbers that mean something in an image, more than any others.
fn value() -> impl Strategy<Value = u64> {
    let cluster = tiny::CLUSTER as u64;
    prop_oneof![
        any::<u64>(),
        0..70_u64,
        (0..64_u32).prop_map(|bit| 1 << bit),
        (0..64_u32).prop_map(|bit| (1 << bit) - 1),
        (0..20_u64, 0..4_u64).prop_map(move |(at, flags)| (at * cluster) | (flags << 62)),
        (0..20_u64, 0..9_u64).prop_map(move |(at, off)| at * cluster + 512 * off),
    ]
}
