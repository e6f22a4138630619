//! A disk written anew, in the same or another format: `qemu-img convert`.
//!
//! The map of the source is cut into batches; the threads read those and write what is not zero.
//! A new file is written as `NAME.part` and gets its name when it is whole and durable, so the
//! order of its writes does not matter.

mod batch;
mod raw;
mod reader;
mod source;
mod workers;
mod zeroes;

use std::fmt;
use std::num::NonZeroU64;
use std::path::Path;
use std::thread;

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::error::Error;
use crate::image::Preallocation;
use crate::storage::NewFile;
use crate::units::MIB;

use source::Source;

/// Bytes of data that a thread reads and writes at a time: fits a core's cache.
const BATCH: u64 = MIB;

/// Threads that copy at most: they wait for the same disk.
const MAX_COPY_THREADS: usize = 8;

/// How to convert.
#[derive(Clone, Copy)]
pub struct ConvertOptions<'a> {
    /// Threads that read and write; 0 chooses.
    pub threads: usize,
    /// Zeroes of at least this many bytes take no space in the target; 0 fills it whole.
    pub sparse: usize,
    /// Bytes a second that are read at most.
    pub rate: Option<NonZeroU64>,
    /// What cannot be read becomes zeroes and is told to `notice`, instead of ending the work.
    pub salvage: bool,
    /// Hears what happens on the way, from any thread.
    pub notice: &'a (dyn Fn(Notice) + Sync),
}

impl Default for ConvertOptions<'_> {
    fn default() -> Self {
        Self {
            threads: 0,
            sparse: 4096,
            rate: None,
            salvage: false,
            notice: &|_| {},
        }
    }
}

impl fmt::Debug for ConvertOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConvertOptions")
            .field("threads", &self.threads)
            .field("sparse", &self.sparse)
            .field("rate", &self.rate)
            .field("salvage", &self.salvage)
            .finish_non_exhaustive()
    }
}

impl ConvertOptions<'_> {
    /// Threads for work that waits for the disk.
    fn copy_threads(&self) -> usize {
        match self.threads {
            0 => cores().clamp(2, MAX_COPY_THREADS),
            threads => threads,
        }
    }
}

/// Something that happened on the way and did not end the work.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A sector of the source could not be read; it is zeroes in the target.
    Unreadable {
        /// Where on the guest disk.
        offset: u64,
        /// Why.
        error: Error,
    },
}

/// Why a conversion ended early, and where it was.
#[derive(Debug)]
pub struct ConvertStop {
    /// What was being done.
    pub step: Step,
    /// What ended it.
    pub stop: Stop,
}

/// What a conversion was doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Opening and laying out.
    Prepare,
    /// Asking what the source holds.
    Map,
    /// Reading the source at this guest offset.
    Read(u64),
    /// Writing the target at this guest offset.
    Write(u64),
    /// Writing the target's tables and making it durable.
    Finish,
}

impl ConvertStop {
    fn new(step: Step, stop: impl Into<Stop>) -> Self {
        Self {
            step,
            stop: stop.into(),
        }
    }
}

impl From<ConvertStop> for Stop {
    fn from(stop: ConvertStop) -> Self {
        stop.stop
    }
}

/// A file that is to be made.
#[derive(Clone, Debug)]
pub struct NewTarget<'a> {
    /// What it will be called.
    pub path: &'a Path,
    /// A file of this name is replaced, once the new one is whole.
    pub replace: bool,
    /// What it will be.
    pub image: NewImage,
}

/// The format of a new file.
#[derive(Clone, Debug)]
pub enum NewImage {
    /// The guest disk byte for byte.
    Raw {
        /// How the space of the whole disk is prepared.
        preallocation: Preallocation,
    },
}

/// Writes the disks of `sources`, one behind the other, into a new file.
///
/// # Errors
/// When a source cannot be read or the target not be written; on cancel. The target, as it was
/// before, stays; nothing of the new file does.
pub fn convert_to_new(
    sources: &[Chain],
    target: &NewTarget<'_>,
    options: &ConvertOptions<'_>,
    control: &Control,
) -> Result<(), ConvertStop> {
    let prepare = |error: Error| ConvertStop::new(Step::Prepare, error);
    let source = Source::new(sources).map_err(prepare)?;
    let file = NewFile::create(target.path, target.replace).map_err(prepare)?;
    control.enter("converting", source.size());
    match &target.image {
        NewImage::Raw { preallocation } => raw::write(
            &source,
            file.storage().as_ref(),
            *preallocation,
            options,
            control,
        )?,
    }
    file.finish()
        .map_err(|error| ConvertStop::new(Step::Finish, error))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}
