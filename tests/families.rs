//! Families of images: bases, overlays beside each other and upon each other, of every kind. Our
//! verbs change them at random, `qemu-io` writes in between, and after each step every disk and
//! snapshot holds what it should, for `qemu-img`, which finds nothing wrong with any image.
//!
//! `PLATTER_FAMILIES` asks for more families than the ordinary run has.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the disks are small"
)]

mod common;
#[path = "families/family.rs"]
mod family;
#[path = "families/verbs.rs"]
mod verbs;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use family::Family;

/// Families in an ordinary run.
const FAMILIES: u64 = 10;
/// Steps in the life of each.
const STEPS: usize = 18;

#[test]
fn every_disk_of_a_family_holds_what_it_should() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let families = number("PLATTER_FAMILIES").unwrap_or(FAMILIES);
    // One family that failed, by its seed.
    let (first, end) =
        number("PLATTER_FAMILIES_SEED").map_or((0, families), |seed| (seed, seed + 1));
    let next = AtomicU64::new(first);
    let done: Mutex<BTreeMap<&str, usize>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let counts = Family::new(seed).live(STEPS);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    for (verb, count) in counts {
                        *done.entry(verb).or_default() += count;
                    }
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Not captured by the test harness: how much was tried is part of the result.
    let said = format!(
        "{} verbs on {} families: {done:?}\n",
        done.values().sum::<usize>(),
        end - first
    );
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    assert!(end - first < FAMILIES || done.len() >= 8, "{said}");
}
