//! Whether two guest disks are equal: `qemu-img compare`.
//!
//! Both maps are walked side by side, so that what reads as zeroes on both sides is never read;
//! the rest is read and compared on all cores. The answer is that of a comparison from the first
//! byte to the last: the first difference counts, whoever finds it.

mod merge;
mod run;

use std::thread::available_parallelism;

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::storage::Storage;

/// One of the two disks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The first.
    First,
    /// The second.
    Second,
}

/// A difference. Offsets of contents are those of a 512-byte sector, as the field's tool has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Difference {
    /// The sizes differ; asked for in a strict comparison.
    Size,
    /// The allocation differs from this guest offset on; asked for in a strict comparison.
    Status(u64),
    /// The bytes differ in the sector at this guest offset.
    Content(u64),
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Comparison {
    /// The first difference; `None` when all bytes are equal, taking the longer disk's rest for
    /// zeroes.
    pub difference: Option<Difference>,
    /// The disks have different sizes, and are equal as far as the shorter one goes.
    pub sizes_differ: bool,
}

/// Why a comparison came to no result.
#[derive(Debug)]
pub struct CompareStop {
    /// Which disk.
    pub side: Side,
    /// What could not be done.
    pub step: Step,
    /// Why.
    pub stop: Stop,
}

/// A step of a comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Before anything was compared.
    Open,
    /// Asking what is allocated.
    Map,
    /// Reading at this guest offset.
    Read(u64),
}

/// Compares the guest disks of two chains. `strict` also compares sizes and what is allocated.
///
/// # Errors
/// When a map or the data of one side cannot be read before a difference was found, or on cancel.
pub fn compare(
    first: &Chain,
    second: &Chain,
    strict: bool,
    control: &Control,
) -> Result<Comparison, CompareStop> {
    let threads = available_parallelism().map_or(1, usize::from);
    let first = Operand::new(first, Side::First)?;
    let second = Operand::new(second, Side::Second)?;
    let sizes_differ = first.size != second.size;
    if strict && sizes_differ {
        return Ok(Comparison {
            difference: Some(Difference::Size),
            sizes_differ,
        });
    }
    control.enter("comparing", first.size.max(second.size));
    let end_of_both = first.size.min(second.size);
    let difference = run::first_difference(&first, &second, strict, threads, control)?;
    Ok(Comparison {
        difference,
        sizes_differ: sizes_differ
            && !matches!(difference, Some(Difference::Content(at)) if at < end_of_both),
    })
}

/// One disk, ready to be compared.
struct Operand<'a> {
    side: Side,
    chain: &'a Chain,
    disk: Disk,
    size: u64,
}

impl<'a> Operand<'a> {
    fn new(chain: &'a Chain, side: Side) -> Result<Self, CompareStop> {
        let stop = |error: Error| CompareStop {
            side,
            step: Step::Open,
            stop: error.into(),
        };
        let disk = chain.settled_disk().map_err(stop)?;
        let size = disk.size().map_err(stop)?;
        Ok(Self {
            side,
            chain,
            disk,
            size,
        })
    }
}
