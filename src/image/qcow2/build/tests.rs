//! Images built in memory and read again.

use super::*;
use crate::image::qcow2::Qcow2;
use crate::image::{Extent, ExtentState, ImageDriver};
use crate::storage::{MemoryStorage, Storage};
use crate::units::GuestOffset;
use std::ops::ControlFlow;

fn options(size: u64) -> Qcow2Options {
    Qcow2Options {
        size,
        cluster_size: 4096,
        ..Qcow2Options::default()
    }
}

fn built(options: Qcow2Options, fill: impl FnOnce(&mut Qcow2Builder, &MemoryStorage)) -> Qcow2 {
    let memory = Arc::new(MemoryStorage::default());
    let mut builder =
        Qcow2Builder::new(options, Arc::clone(&memory) as _, Before::Nothing).unwrap();
    fill(&mut builder, &memory);
    builder.finish(&Control::new()).unwrap();
    let image = Qcow2::open(memory as Arc<dyn Storage>).unwrap();
    let report = image.check(&Control::new()).unwrap();
    assert_eq!(report.findings, [], "{report:?}");
    image
}

fn extents(image: &Qcow2) -> Vec<(Range<u64>, ExtentState)> {
    let mut found = Vec::new();
    image
        .for_each_extent(0..u64::MAX, &mut |extent: Extent| {
            found.push((extent.guest, extent.state));
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

#[test]
fn an_empty_image_and_one_without_a_disk_are_sound() {
    for size in [0, 512, 1 << 40] {
        let image = built(options(size), |_, _| {});
        assert_eq!(image.virtual_size(), size);
    }
}

#[test]
fn data_is_where_it_was_placed() {
    const UNALLOCATED: ExtentState = ExtentState::Unallocated { host: None };
    // The second L2 table begins at 2 MiB.
    let second = 2 << 20;
    let image = built(options((4 << 20) + 512), |builder, memory| {
        let host = builder.place_data(8192..20480, Filled::All).unwrap();
        assert_eq!(host, HostOffset(4096));
        memory.write_at(&[7; 12288], host.0).unwrap();
        builder.place_zeroes(20480..24576).unwrap();
        let host = builder.place_data(second - 4096..second + 4096, Filled::All);
        memory.write_at(&[8; 8192], host.unwrap().0).unwrap();
        let last = 4 << 20;
        let host = builder.place_data(last..last + 512, Filled::All).unwrap();
        memory.write_at(&[9; 512], host.0).unwrap();
    });
    let mut buf = vec![0; 12288];
    let mut missing = Vec::new();
    image
        .read_at(&mut buf, GuestOffset(8192), &mut missing)
        .unwrap();
    assert_eq!((buf, missing), (vec![7; 12288], Vec::new()));
    let data = |host| ExtentState::Data {
        host: HostOffset(host),
    };
    assert_eq!(
        extents(&image),
        [
            (0..8192, UNALLOCATED),
            (8192..20480, data(4096)),
            (20480..24576, ExtentState::Zero { host: None }),
            (24576..second - 4096, UNALLOCATED),
            (second - 4096..second + 4096, data(16384)),
            (second + 4096..4 << 20, UNALLOCATED),
            (4 << 20..(4 << 20) + 512, data(24576)),
        ]
    );
}

#[test]
fn every_width_of_refcounts_counts_what_shares_a_cluster() {
    for refcount_bits in [1, 2, 4, 8, 16, 32, 64] {
        let options = Qcow2Options {
            refcount_bits,
            ..options(1 << 20)
        };
        built(options, |builder, memory| {
            for cluster in 0..100 {
                let host = builder.place_compressed(cluster * 4096, 200).unwrap();
                memory.write_at(&[1; 200], host.0).unwrap();
            }
        });
    }
}

#[test]
fn compressed_clusters_before_and_behind_much_data_are_counted() {
    const GAP: u64 = 16 << 20;
    built(options(64 << 20), |builder, memory| {
        for start in [0, GAP + 409_600] {
            for cluster in 0..100 {
                let guest = start + cluster * 4096;
                let host = builder.place_compressed(guest, 3000).unwrap();
                memory.write_at(&[1; 3000], host.0).unwrap();
            }
            if start == 0 {
                let data = 409_600..GAP + 409_600;
                let host = builder.place_data(data, Filled::All).unwrap();
                memory.write_at(&[2; 4096], host.0 + GAP - 4096).unwrap();
            }
        }
    });
}

#[test]
fn stored_clusters_out_of_order_are_counted() {
    built(options(1 << 20), |builder, memory| {
        for group in 0..4 {
            let clusters: Vec<_> = [5000, 0, 1000, 4000]
                .into_iter()
                .zip(group * 4..)
                .map(|(at, cluster)| StoredCluster {
                    guest: cluster * 4096,
                    host: HostOffset(8192 + at),
                    length: 700,
                })
                .collect();
            let host = builder.place_stored(&clusters, 8192..8192 + 5700).unwrap();
            memory.write_at(&[1; 5700], host.0).unwrap();
        }
    });
}

#[test]
fn subclusters_are_told_apart() {
    let options = Qcow2Options {
        cluster_size: 16384,
        extended_l2: true,
        ..options(1 << 20)
    };
    let image = built(options, |builder, memory| {
        let bitmaps = Filled::Subclusters(&[0b101, u32::MAX]);
        let host = builder.place_data(0..32768, bitmaps).unwrap();
        memory.write_at(&[1; 32768], host.0).unwrap();
        builder.place_data(32768..49152, Filled::Nothing).unwrap();
        builder.place_zeroes(49152..65536).unwrap();
    });
    let is_data = |(_, state): &(_, ExtentState)| matches!(state, ExtentState::Data { .. });
    let data: Vec<_> = extents(&image)
        .into_iter()
        .filter(is_data)
        .map(|(guest, _)| guest)
        .collect();
    assert_eq!(data, [0..512, 1024..1536, 16384..32768]);
    let zeroes = extents(&image)
        .into_iter()
        .find(|(guest, _)| guest.contains(&50000));
    let state = zeroes.map(|(_, state)| state);
    assert_eq!(state, Some(ExtentState::Zero { host: None }));
}
