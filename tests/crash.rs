//! No crash costs what was flushed. Each operation runs on a storage that writes down every change;
//! then every state that a crash could have left is looked at: after every single write and flush,
//! with all, none and part of what was not flushed. Each state has to be sound (or a version 3
//! image that says that a repair is due, and is clean after it), hold what a guest may rely on, and
//! be good to go on with.
//!
//! `PLATTER_CRASH_POINTS` asks for more states than the 2500 of an ordinary run; then every state
//! goes through `qemu-img check` too.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking; the images are small"
)]

mod common;
#[path = "crash/create.rs"]
mod create;
#[path = "crash/guest.rs"]
mod guest;
#[path = "crash/harness.rs"]
mod harness;
#[path = "crash/model.rs"]
mod model;
#[path = "crash/raw.rs"]
mod raw;
#[path = "crash/remap.rs"]
mod remap;
#[path = "crash/subject.rs"]
mod subject;
#[path = "crash/toy.rs"]
mod toy;
#[path = "crash/traced.rs"]
mod traced;
#[path = "crash/verb_list.rs"]
mod verb_list;
#[path = "crash/verbs.rs"]
mod verbs;

use std::sync::{Arc, Mutex, PoisonError};

use harness::{Effort, Tally};
use libtest_mimic::{Arguments, Trial};
use verb_list::VERBS;

/// An operation whose crashes are looked at.
type Case = fn(Effort) -> Result<Tally, String>;

const CASES: [(&str, Case); 9] = [
    ("self_test", toy::judged),
    ("create", create::files),
    ("create_on_device", create::devices),
    ("raw_writes", raw::writes),
    ("raw_resize", raw::resize),
    ("guest_writes", guest::writes),
    ("guest_zeroes", guest::zeroes),
    ("guest_discards", guest::discards),
    ("guest_moves", remap::moves),
];

fn main() {
    let arguments = Arguments::from_args();
    let effort = Effort::of_this_run(CASES.len() + VERBS.len());
    let tallies = Arc::new(Mutex::new(Vec::new()));
    let all = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let trial = |name: &str, case: Box<dyn Fn() -> Result<Tally, String> + Send>| {
        let tallies = Arc::clone(&tallies);
        Trial::test(name, move || {
            let tally = case()?;
            let mut tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
            tallies.push(tally);
            Ok(())
        })
    };
    let cases = CASES.iter();
    let cases = cases.map(|(name, case)| trial(name, Box::new(move || case(effort))));
    let verbs = VERBS.iter();
    let verbs = verbs.map(|(name, verb)| trial(name, Box::new(move || verb.crashes(effort))));
    let trials = cases.chain(verbs).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let states = print(&tallies.lock().unwrap_or_else(PoisonError::into_inner));
    if all && !conclusion.has_failed() && states < effort.points {
        eprintln!(
            "{states} stop points are fewer than the {} promised",
            effort.points
        );
        std::process::exit(1);
    }
    conclusion.exit();
}

/// Prints what was looked at. The sum of states.
fn print(tallies: &[Tally]) -> usize {
    let mut sum = Tally {
        operation: "all".to_owned(),
        ..Tally::default()
    };
    println!("{}", Tally::HEADINGS);
    for tally in tallies {
        println!("{tally}");
        if !tally.is_self_test {
            sum.add(tally);
        }
    }
    println!("{sum}\n");
    sum.states
}
