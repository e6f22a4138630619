//! Platter beside `qemu-img`: every operation on the same input in the same run, in turn.
//!
//!     cargo bench --bench peer                     # all rows: minutes, 6 GiB of disk at a time
//!     cargo bench --bench peer -- check map        # rows whose name has one of the words
//!     cargo bench --bench peer -- scattered    # also those that take the peer minutes
//!     cargo bench --bench peer -- --quick          # small inputs: does it run, roughly how fast
//!     cargo bench --bench peer -- --folder DIR     # keep the inputs there and use them again
//!
//! Prints a Markdown table: medians of both, the median of the ratios of the pairs, and the ratio
//! that is aimed at. Absolute times are those of this machine and this minute; ratios are what
//! counts. Files are warm in the page cache.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run ends with the reason"
)]

#[path = "peer/convert.rs"]
mod convert;
#[path = "peer/create.rs"]
mod create;
#[path = "peer/edit.rs"]
mod edit;
#[path = "../tests/common/inputs.rs"]
mod inputs;
#[path = "peer/measure.rs"]
mod measure;
#[path = "peer/overlays.rs"]
mod overlays;
#[path = "peer/repair.rs"]
mod repair;
#[path = "peer/rows.rs"]
mod rows;
#[path = "peer/shared.rs"]
mod shared;
#[path = "peer/verbs.rs"]
mod verbs;
#[path = "peer/workshop.rs"]
mod workshop;

use std::path::PathBuf;

use measure::Bench;
use workshop::Workshop;

fn main() {
    let mut filters = Vec::new();
    let mut quick = false;
    let mut folder = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--quick" => quick = true,
            "--folder" => folder = arguments.next().map(PathBuf::from),
            filter => filters.push(filter.to_owned()),
        }
    }
    let workshop = Workshop::new(folder, quick);
    let mut bench = Bench::new(filters);
    rows::all(&mut bench, &workshop);
    convert::all(&mut bench, &workshop);
    create::all(&mut bench, &workshop);
    overlays::all(&mut bench, &workshop);
    verbs::all(&mut bench, &workshop);
    repair::all(&mut bench, &workshop);
    edit::all(&mut bench, &workshop);
    bench.finish();
}
