//! Writing what overlays hold into a file that they stand on: `qemu-img commit`.
//!
//! Order of writes: the base grows first if it is too short, then gets the data, and is flushed;
//! only then the overlay gives up its own. At any moment the disk reads through the chain as
//! before, and a commit that was stopped can be run again.

use std::ops::{ControlFlow, Range};
use std::thread::available_parallelism;

use crate::chain::{Chain, Link};
use crate::control::{Control, Stop};
use crate::disk::{Disk, LayerExtent, for_each_layer_extent, in_parallel};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{self, ExtentState, Format, ImageWriter, Preallocation};
use crate::op::rate::Rate;
use crate::op::warning::{self, Warning};
use crate::op::write_behind::WriteBehind;
use crate::storage::Storage;
use crate::units::{GIB, GuestOffset, MIB};

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Commit {
    /// Depth of the file that gets the data: 1 for the backing file of the active layer, more to
    /// commit the layers between as well.
    pub base: usize,
    /// The active layer keeps what it holds. Without this it is emptied at the end; only the
    /// direct backing file allows that, as to others the layers between still matter.
    pub keep_top: bool,
    /// Most bytes a second that are written; 0 for as many as can be.
    pub rate: u64,
}

/// A commit of the active layer of a chain. The links at depth 0 and at the base's depth were
/// opened for change.
#[derive(Debug)]
pub struct CommitPlan<'a> {
    chain: &'a Chain,
    request: Commit,
    /// The layers above the base, as a disk without what lies below.
    above: Disk,
    size: u64,
}

impl<'a> CommitPlan<'a> {
    /// Looks at what is asked for; changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when there is no such base, or the top would be emptied above
    /// one that is not its own backing file; [`ErrorKind::Refused`] when the data would make a raw
    /// base look like an image of another format, and nothing but its content says that it is raw.
    pub fn new(chain: &'a Chain, request: Commit) -> Result<Self> {
        let refuse = |message: &str| Err(Error::new(ErrorKind::InvalidInput, message));
        let Commit { base, keep_top, .. } = request;
        let Some(base_link) = chain.links().get(base).filter(|_| base > 0) else {
            return refuse("the image does not have such a backing file");
        };
        if base > 1 && !keep_top {
            return refuse("only a commit to the direct backing file can empty the image");
        }
        let disk = chain.settled_disk()?;
        if is_raw_by_probing(base_link) {
            let found = image::probe(&disk)?.format;
            if found != Format::Raw {
                return Err(with_path_of(
                    base_link,
                    Error::new(
                        ErrorKind::Refused,
                        format!(
                            "the data would make this raw image look like {found}, and its \
                             overlay does not say that it is raw"
                        ),
                    ),
                ));
            }
        }
        Ok(Self {
            chain,
            request,
            above: Disk::new(disk.layers()[..base].to_vec())?,
            size: disk.size()?,
        })
    }

    /// Who reads differently afterwards: images on the base that are no part of the plan, and the
    /// layers between; snapshots of the active layer.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let path = |depth: usize| self.chain.links()[depth].path.as_deref();
        let mut warnings = Vec::new();
        if let (Some(top), Some(base)) = (path(0), path(self.request.base)) {
            warnings.extend(warning::of_changed_base(base, &[top]));
            let info = self.chain.active().info();
            warnings.extend(info.and_then(|info| warning::of_changed_backing(top, info)));
        }
        warnings
    }

    /// Does it; durable on return.
    ///
    /// # Errors
    /// When reading or writing fails, or on cancel. The disk reads as before in any case, and the
    /// commit can be run again.
    pub fn run(&self, control: &Control) -> Result<(), Stop> {
        // What cannot be emptied is found out before anything is written.
        let top = match self.request.keep_top {
            true => None,
            false => Some(self.chain.writer_alone(0)?),
        };
        let base = self.chain.writer(self.request.base)?;
        if base.virtual_size() < self.size {
            base.resize(self.size, false, Preallocation::Off, control)?;
        }
        self.copy(base.as_ref(), control)?;
        base.flush()?;
        match top {
            Some(top) => top.make_empty(control),
            None => Ok(()),
        }
    }

    fn copy(&self, base: &dyn ImageWriter, control: &Control) -> Result<(), Stop> {
        control.enter("committing", self.size);
        let threads = available_parallelism().map_or(1, usize::from);
        let start_flush = || base.start_flush();
        let copy = Copy {
            above: &self.above,
            base,
            base_has_backing: self.chain.links().len() > self.request.base + 1,
            rate: Rate::new(self.request.rate),
            behind: WriteBehind::new(&start_flush),
            control,
        };
        in_parallel(
            threads,
            |send| self.for_each_batch(control, send),
            &|batch: Batch, buf: &mut Vec<u8>| copy.run(batch, buf),
        )
    }

    /// Sends what the layers above the base hold; what they do not hold counts as done.
    fn for_each_batch(
        &self,
        control: &Control,
        send: &mut dyn FnMut(Batch) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let layers = self.above.layers();
        let mut batches = Batches::new(send);
        for_each_layer_extent(layers, 0..self.size, &mut |extent| match holding(
            &extent,
            layers.len(),
        ) {
            Some(holding) => batches.push(extent.guest, holding),
            None => {
                control.advance(extent.guest.end - extent.guest.start);
                ControlFlow::Continue(())
            }
        })?;
        let _ = batches.finish();
        Ok(())
    }
}

/// What the base has to get for some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holding {
    Data,
    Zeroes,
}

/// `None` where the base itself decides.
fn holding(extent: &LayerExtent, layers: usize) -> Option<Holding> {
    match extent.state {
        ExtentState::Data { .. } | ExtentState::Compressed => Some(Holding::Data),
        ExtentState::Zero { .. } => Some(Holding::Zeroes),
        // Behind the end of a layer between, nothing shows of what lies below it.
        ExtentState::Unallocated { .. } if extent.depth + 1 < layers => Some(Holding::Zeroes),
        ExtentState::Unallocated { .. } => None,
    }
}

type Piece = (Range<u64>, Holding);
type Batch = Vec<Piece>;

/// Longest piece of data; it never crosses a multiple of this, so that pieces keep the alignment
/// of clusters.
const DATA: u64 = MIB;
/// Longest piece of zeroes.
const ZEROES: u64 = GIB;
/// Small pieces are handed over together: this many at most.
const PIECES: usize = 256;

/// Joins neighbours, cuts what is long, and gathers what is short.
struct Batches<'a> {
    send: &'a mut dyn FnMut(Batch) -> ControlFlow<()>,
    /// What may still grow.
    open: Option<Piece>,
    batch: Batch,
    data: u64,
}

impl<'a> Batches<'a> {
    fn new(send: &'a mut dyn FnMut(Batch) -> ControlFlow<()>) -> Self {
        Self {
            send,
            open: None,
            batch: Batch::new(),
            data: 0,
        }
    }

    fn push(&mut self, range: Range<u64>, holding: Holding) -> ControlFlow<()> {
        if let Some((open, held)) = &mut self.open
            && open.end == range.start
            && *held == holding
        {
            open.end = range.end;
        } else if let Some(before) = self.open.replace((range, holding)) {
            self.cut(before)?;
        }
        // A long run is handed on while it grows.
        match self.open.take() {
            Some((range, holding)) if range.end - range.start >= DATA => self.cut((range, holding)),
            open => {
                self.open = open;
                ControlFlow::Continue(())
            }
        }
    }

    fn finish(&mut self) -> ControlFlow<()> {
        if let Some(last) = self.open.take() {
            self.cut(last)?;
        }
        self.hand_over()
    }

    fn cut(&mut self, (range, holding): Piece) -> ControlFlow<()> {
        let longest = match holding {
            Holding::Data => DATA,
            Holding::Zeroes => ZEROES,
        };
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min((start / longest + 1).saturating_mul(longest));
            self.batch.push((start..end, holding));
            if holding == Holding::Data {
                self.data += end - start;
            }
            if self.data >= DATA || self.batch.len() >= PIECES {
                self.hand_over()?;
            }
            start = end;
        }
        ControlFlow::Continue(())
    }

    fn hand_over(&mut self) -> ControlFlow<()> {
        self.data = 0;
        (self.send)(std::mem::take(&mut self.batch))
    }
}

/// What the threads share.
struct Copy<'a> {
    above: &'a Disk,
    base: &'a dyn ImageWriter,
    base_has_backing: bool,
    rate: Rate,
    behind: WriteBehind<'a>,
    control: &'a Control,
}

impl Copy<'_> {
    fn run(&self, batch: Batch, buf: &mut Vec<u8>) -> Result<(), Stop> {
        for (range, holding) in batch {
            self.control.checkpoint()?;
            let length = range.end - range.start;
            match holding {
                Holding::Data => {
                    self.rate.pass(length, self.control)?;
                    buf.resize(usize::try_from(length.min(DATA)).unwrap_or(0), 0);
                    self.above.read_at(buf, range.start)?;
                    self.base.write_at(buf, GuestOffset(range.start))?;
                    self.behind.wrote(length);
                }
                Holding::Zeroes => self.write_zeroes(range)?,
            }
            self.control.advance(length);
        }
        Ok(())
    }

    /// Only where the base reads as anything else: tables for nothing are not made.
    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        let mut others: Vec<Range<u64>> = Vec::new();
        self.base.for_each_extent(range, &mut |extent| {
            let is_zero = match extent.state {
                ExtentState::Zero { .. } => true,
                ExtentState::Unallocated { .. } => !self.base_has_backing,
                ExtentState::Data { .. } | ExtentState::Compressed => false,
            };
            match others.last_mut() {
                _ if is_zero => {}
                Some(last) if last.end == extent.guest.start => last.end = extent.guest.end,
                _ => others.push(extent.guest),
            }
            ControlFlow::Continue(())
        })?;
        others
            .into_iter()
            .try_for_each(|range| self.base.write_zeroes(range, true))
    }
}

/// Whether only the content of the file says that it is raw.
fn is_raw_by_probing(link: &Link) -> bool {
    let is_raw = link.info().is_some_and(|info| info.format == Format::Raw);
    let states_no_format = link.reference.as_ref().is_some_and(|reference| {
        reference.format.is_none() && !reference.name.starts_with("json:")
    });
    is_raw && states_no_format
}

fn with_path_of(link: &Link, error: Error) -> Error {
    match &link.path {
        Some(path) => error.with_path(path),
        None => error,
    }
}
