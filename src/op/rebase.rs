//! Putting an overlay on another backing file: `qemu-img rebase`.
//!
//! The guest disk stays what it is: where the old and the new backing file differ and the overlay
//! holds nothing, it gets the old content. The maps of all layers are walked side by side, so that
//! only what may differ is read: not what both take from the same file, nor what neither holds.
//!
//! Order of writes: data into the overlay, flush, then the name in the header. A rebase that was
//! stopped leaves the overlay on the old file with some more clusters, and can be run again.

mod differ;
mod recognise;
mod relink;
mod write;

use std::ops::ControlFlow;
use std::thread::available_parallelism;

pub use recognise::{Recognised, likely_backing_files, recognised};
pub use relink::{check_reference, relink};

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::disk::{Disk, in_parallel};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{FileReference, Format, FormatDetails};
use crate::op::rebase::differ::{Candidates, Layers, Piece};
use crate::op::rebase::write::Write;
use crate::op::warning::{self, Warning};
use crate::op::write_behind::WriteBehind;
use crate::storage::FileId;

/// The file that the overlay is to stand on.
#[derive(Clone, Debug)]
pub struct NewBacking<'a> {
    /// What the header will say; the format is needed.
    pub reference: FileReference,
    /// A chain that has the file.
    pub chain: &'a Chain,
    /// Where: 0 for a chain of its own, more for a link of the overlay's chain.
    pub depth: usize,
}

/// A rebase of the active layer of a chain, which was opened for change.
#[derive(Debug)]
pub struct RebasePlan<'a> {
    chain: &'a Chain,
    new: Option<NewBacking<'a>>,
    compress: bool,
}

impl<'a> RebasePlan<'a> {
    /// Looks at what is asked for; changes nothing. Without a new file the overlay gets everything
    /// and stands on its own. With `compress`, what it gets is compressed.
    ///
    /// # Errors
    /// As [`check_reference`]; [`ErrorKind::Unsupported`] when the format cannot compress; when a
    /// link of either chain is not open.
    pub fn new(chain: &'a Chain, new: Option<NewBacking<'a>>, compress: bool) -> Result<Self> {
        let info = chain.active().info();
        let info =
            info.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the image is not open"))?;
        check_reference(info, new.as_ref().map(|new| &new.reference))?;
        if compress && info.format != Format::Qcow2 {
            return Err(Error::unsupported(format!(
                "{} images do not compress",
                info.format
            )));
        }
        chain.settled_disk()?;
        if let Some(new) = &new {
            new.disk()?;
        }
        Ok(Self {
            chain,
            new,
            compress,
        })
    }

    /// Internal snapshots of the overlay, which will read differently.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let active = self.chain.active();
        let warning = match (&active.path, active.info()) {
            (Some(path), Some(info)) => warning::of_changed_backing(path, info),
            _ => None,
        };
        warning.into_iter().collect()
    }

    /// Does it; durable on return.
    ///
    /// # Errors
    /// When reading or writing fails, or on cancel. The disk reads as before in any case, and the
    /// rebase can be run again.
    pub fn run(&self, control: &Control) -> Result<(), Stop> {
        let writer = match self.new {
            Some(_) => self.chain.writer_before_backing(0)?,
            None => self.chain.writer(0)?,
        };
        let old = self.chain.disk_below(0)?;
        let new = self.new.as_ref().map(NewBacking::disk).transpose()?;
        let unit = self.unit();
        control.enter("comparing", writer.virtual_size());
        let start_flush = || writer.start_flush();
        let write = Write {
            writer: writer.as_ref(),
            old: old.as_ref(),
            new: new.as_ref(),
            unit,
            compress: self.compress,
            behind: WriteBehind::new(&start_flush),
            control,
        };
        in_parallel(
            available_parallelism().map_or(1, usize::from),
            |send| self.for_each_candidate(unit, new.as_ref(), control, send),
            &|pieces: Vec<Piece>, buffers| write.run(pieces, buffers),
        )?;
        writer.flush()?;
        let reference = self.new.as_ref().map(|new| new.reference.clone());
        relink::change(writer.as_ref(), reference, control)
    }

    /// The smallest run of bytes that the overlay holds or does not hold as a whole; where it
    /// compresses, what it compresses as a whole.
    fn unit(&self) -> u64 {
        let info = self.chain.active().info();
        let cluster = info.and_then(|info| info.cluster_size).unwrap_or(512);
        let has_subclusters = info.is_some_and(|info| match &info.details {
            FormatDetails::Qcow2(details) => details.extended_l2,
            _ => false,
        });
        if has_subclusters && !self.compress {
            cluster / 32
        } else {
            cluster
        }
    }

    /// Sends what has to be compared; the rest counts as done.
    fn for_each_candidate(
        &self,
        unit: u64,
        new: Option<&Disk>,
        control: &Control,
        send: &mut dyn FnMut(Vec<Piece>) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let layers = |chain: &Chain, depth: usize, disk: &Disk| Layers {
            images: disk.layers().to_vec(),
            files: chain.links()[depth..]
                .iter()
                .map(|link| link.path.as_deref().and_then(|path| FileId::of(path).ok()))
                .collect(),
        };
        let old = layers(self.chain, 0, &self.chain.disk()?);
        let new = match (&self.new, new) {
            (Some(new), Some(disk)) => layers(new.chain, new.depth, disk),
            _ => Layers::default(),
        };
        Candidates::new(&old, &new, unit, control).send_all(send)
    }
}

impl NewBacking<'_> {
    fn disk(&self) -> Result<Disk> {
        if self.depth == 0 {
            return self.chain.settled_disk();
        }
        let below = self.chain.disk_below(self.depth - 1)?;
        below.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the chain is not that long"))
    }
}
