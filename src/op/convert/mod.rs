//! A disk written anew, in the same or another format: `qemu-img convert`.
//!
//! The map of the source is cut into batches; the threads read those and write what is not zero.
//! A new file is written as `NAME.part` and gets its name when it is whole, so the order of its
//! writes does not matter.

mod batch;
mod existing;
mod keep;
mod qcow2;
mod raw;
mod reader;
mod share;
mod source;
mod verify;
mod workers;
mod zeroes;

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;
use std::slice;
use std::thread;

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::error::Error;
use crate::image::{Before, ImageWriter};
use crate::op::create::{NewImage, Target};
use crate::units::MIB;

pub use keep::{Keep, copy_bitmaps, copy_snapshots};

use source::Source;

/// Bytes of data that a thread reads and writes at a time: fits a core's cache.
const BATCH: u64 = MIB;

/// Threads that copy at most: they wait for the same disk.
const MAX_COPY_THREADS: usize = 8;

/// Threads that compress at most: each has some megabytes of buffers.
const MAX_COMPUTE_THREADS: usize = 32;

/// How to convert.
#[derive(Clone, Copy)]
pub struct ConvertOptions<'a> {
    /// Threads that read and write; 0 chooses.
    pub threads: usize,
    /// Zeroes of at least this many bytes take no space in the target; 0 fills it whole.
    pub sparse: usize,
    /// Zeroes are looked for also where source and target can share space, and nothing would have
    /// to be read.
    pub search_shared: bool,
    /// Data is compressed, where the target can hold it so.
    pub compress: bool,
    /// Bytes a second that are read at most.
    pub rate: Option<NonZeroU64>,
    /// What cannot be read becomes zeroes and is told to `notice`, instead of ending the work.
    pub salvage: bool,
    /// A new image is read again and compared with what was read of the source, before it gets its
    /// name.
    pub verify: bool,
    /// What a new image gets beside the disk.
    pub keep: Keep,
    /// A new file is durable before it gets its name, also where it takes the place of none.
    pub durable: bool,
    /// Hears what happens on the way, from any thread.
    pub notice: &'a (dyn Fn(Notice) + Sync),
}

impl Default for ConvertOptions<'_> {
    fn default() -> Self {
        Self {
            threads: 0,
            sparse: 4096,
            search_shared: false,
            compress: false,
            rate: None,
            salvage: false,
            verify: false,
            keep: Keep::default(),
            durable: true,
            notice: &|_| {},
        }
    }
}

impl fmt::Debug for ConvertOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConvertOptions")
            .field("threads", &self.threads)
            .field("sparse", &self.sparse)
            .field("search_shared", &self.search_shared)
            .field("compress", &self.compress)
            .field("rate", &self.rate)
            .field("salvage", &self.salvage)
            .field("verify", &self.verify)
            .field("keep", &self.keep)
            .field("durable", &self.durable)
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

    /// Threads for work that needs the processor. Some more than there are cores, because they
    /// also wait for each other.
    fn compute_threads(&self) -> usize {
        match self.threads {
            0 => (2 * cores()).clamp(2, MAX_COMPUTE_THREADS),
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
    /// A dirty bitmap of the source was not saved properly; the target has none of its name.
    BrokenBitmap {
        /// What it is called.
        name: String,
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
    /// Reading the target again.
    Verify,
    /// Taking over snapshots and bitmaps.
    Keep,
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

/// An image that is to be made.
#[derive(Clone, Debug)]
pub struct NewTarget<'a> {
    /// What it will be called.
    pub path: &'a Path,
    /// A file of this name is replaced, once the new one is whole.
    pub replace: bool,
    /// The host file system shall write it in place, where it can (btrfs).
    pub nocow: bool,
    /// What it will be. The size is that of the source.
    pub image: NewImage,
    /// Where the external data file goes that the image names.
    pub data_file: Option<&'a Path>,
    /// The backing file that the image names, opened: what the source has from there is left out.
    pub base: Option<&'a Chain>,
}

/// Writes the disks of `sources`, one behind the other, into a new image.
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
    let source = Source::new(sources).map_err(|error| ConvertStop::new(Step::Prepare, error))?;
    write_new(source, sources.first(), target, options, control)
}

/// As [`convert_to_new`] for these bytes of the disk of `source` (`qemu-img dd`). The new disk has
/// whole sectors, the last filled up with zeroes; a window behind the end gives an empty one.
///
/// # Errors
/// As [`convert_to_new`].
pub fn convert_part_to_new(
    source: &Chain,
    window: Range<u64>,
    target: &NewTarget<'_>,
    options: &ConvertOptions<'_>,
    control: &Control,
) -> Result<(), ConvertStop> {
    let mut source = Source::new(slice::from_ref(source))
        .map_err(|error| ConvertStop::new(Step::Prepare, error))?;
    source.set_window(window);
    write_new(source, None, target, options, control)
}

/// What is to be kept beside the disk comes from `kept`.
fn write_new(
    mut source: Source<'_>,
    kept: Option<&Chain>,
    target: &NewTarget<'_>,
    options: &ConvertOptions<'_>,
    control: &Control,
) -> Result<(), ConvertStop> {
    let prepare = |error: Error| ConvertStop::new(Step::Prepare, error);
    let file = Target::begin(target.path, target.replace, target.nocow).map_err(prepare)?;
    control.enter("converting", source.size());
    match &target.image {
        NewImage::Raw { preallocation, .. } => {
            let storage = file.storage();
            let before = file.before();
            raw::write(&source, &storage, before, *preallocation, options, control)?;
        }
        NewImage::Qcow2(image) => {
            let mut image = image.clone();
            image.size = source.size();
            // Before anything is written.
            image.check().map_err(prepare)?;
            if options.compress && image.data_file.is_some() {
                return Err(prepare(Error::unsupported(
                    "an external data file cannot hold compressed clusters",
                )));
            }
            let data_file = target
                .data_file
                .map(|path| Target::begin(path, target.replace, target.nocow))
                .transpose()
                .map_err(prepare)?;
            let base = match target.base {
                Some(base) => {
                    source.set_base(base);
                    Some(base.disk().map_err(prepare)?)
                }
                None => None,
            };
            let files = qcow2::Files {
                image: file.storage(),
                data_file: data_file.as_ref().map(Target::storage),
                are_old: file.before() == Before::Old
                    || data_file
                        .as_ref()
                        .is_some_and(|file| file.before() == Before::Old),
            };
            qcow2::write(&source, &files, &image, base.as_ref(), options, control)?;
            if let Some(kept) = kept {
                let writable = files.writable(base);
                let written = options.keep.write(kept, writable, options.notice, control);
                written.map_err(|stop| ConvertStop::new(Step::Keep, stop))?;
            }
            // An image without its data file is of no use, the other way round it may be.
            if let Some(data_file) = data_file {
                end(data_file, options)?;
            }
        }
    }
    end(file, options)
}

/// Gives a new file its name.
fn end(file: Target, options: &ConvertOptions<'_>) -> Result<(), ConvertStop> {
    let ended = if options.durable {
        file.finish()
    } else {
        file.finish_unflushed()
    };
    ended.map_err(|error| ConvertStop::new(Step::Finish, error))
}

/// Writes the disks of `sources`, one behind the other, over the start of a disk that is there
/// already. `cluster_size` is that of its image, where it has clusters; with `is_zero` the disk is
/// known to read as zeroes, so that these need not be written.
///
/// # Errors
/// When a source cannot be read, the target not be written or is smaller; on cancel. The target
/// holds a part of the source then.
pub fn convert_into(
    sources: &[Chain],
    target: &dyn ImageWriter,
    cluster_size: Option<u64>,
    is_zero: bool,
    options: &ConvertOptions<'_>,
    control: &Control,
) -> Result<(), ConvertStop> {
    let source = Source::new(sources).map_err(|error| ConvertStop::new(Step::Prepare, error))?;
    control.enter("converting", source.size());
    existing::write(&source, target, cluster_size, is_zero, options, control)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}
