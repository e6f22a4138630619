//! Disks that QEMU's programs and ours change in turn. Chains of one to four layers with options
//! drawn at random; writes, snapshots, resizing, commits, rebases, conversions and the rest, each
//! by one side and read by the other: both have to see what was written.
//!
//! `PLATTER_MATRIX_ROUNDS` asks for more chains than the ordinary run has.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the disks are small"
)]

mod common;
#[path = "matrix/steps.rs"]
mod steps;
#[path = "matrix/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use world::World;

/// Chains in an ordinary run.
const ROUNDS: usize = 40;
/// Combinations of options and operation that it has at least.
const COMBINATIONS: usize = 300;

#[test]
fn both_sides_see_the_same_disk() {
    let rounds = std::env::var("PLATTER_MATRIX_ROUNDS").map_or(ROUNDS, |value| {
        value.parse().expect("PLATTER_MATRIX_ROUNDS is a number")
    });
    // One chain that failed, by its seed.
    let first = std::env::var("PLATTER_MATRIX_SEED").map(|seed| seed.parse().expect("a number"));
    let (first, rounds) = first.map_or((0, rounds), |seed| (seed, seed + 1));
    let next = AtomicUsize::new(first);
    let done: Mutex<BTreeMap<String, usize>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        return;
                    }
                    let combinations = World::new(round as u64).live();
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    for combination in combinations {
                        *done.entry(combination).or_default() += 1;
                    }
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut by_operation: BTreeMap<&str, usize> = BTreeMap::new();
    for combination in done.keys() {
        let operation = combination.split(':').next().unwrap_or_default();
        *by_operation.entry(operation).or_default() += 1;
    }
    let mut said = format!("{} combinations on {rounds} chains:\n", done.len());
    for (operation, count) in by_operation {
        said += &format!("  {count:>5}  {operation}\n");
    }
    // Not captured by the test harness: how much was tried is part of the result.
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    assert!(rounds < ROUNDS || done.len() >= COMBINATIONS, "{said}");
}
