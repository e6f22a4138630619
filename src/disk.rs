//! A chain seen as one guest disk.

mod layers;
mod parallel;
mod pool;
mod trial;
mod writable;

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

pub(crate) use layers::{LayerExtent, LayerWalk, for_each_layer_extent};
pub use parallel::{Chunk, read_parallel};
pub(crate) use pool::in_parallel;
pub use trial::{Changes, TrialDisk};
pub use writable::WritableDisk;

use crate::error::{Error, ErrorKind, Result};
use crate::image::{ExtentState, ImageDriver};
use crate::storage::{Joiner, Run, Storage, check_bounds};
use crate::units::GuestOffset;

/// The guest disk: reads fall through the layers, the active one first. Bytes that a shorter
/// backing file does not reach read as zeroes.
#[derive(Clone, Debug)]
pub struct Disk {
    layers: Arc<[Arc<dyn ImageDriver>]>,
}

impl Disk {
    /// The disk of these layers, the active one first.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] without any layer.
    pub fn new(layers: Vec<Arc<dyn ImageDriver>>) -> Result<Self> {
        if layers.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "a disk needs a layer"));
        }
        Ok(Self {
            layers: layers.into(),
        })
    }

    /// The layers, the active one first.
    #[must_use]
    pub fn layers(&self) -> &[Arc<dyn ImageDriver>] {
        &self.layers
    }
}

impl Storage for Disk {
    fn size(&self) -> Result<u64> {
        Ok(self.layers[0].virtual_size())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(buf.len(), offset, self.layers[0].virtual_size())?;
        let mut wanted = Vec::new();
        self.layers[0].read_at(buf, GuestOffset(offset), &mut wanted)?;
        let mut missing = Vec::new();
        for layer in &self.layers[1..] {
            if wanted.is_empty() {
                return Ok(());
            }
            for range in wanted.drain(..) {
                let end = range.end.min(layer.virtual_size()).max(range.start);
                part(buf, offset, &(end..range.end))?.fill(0);
                if range.start < end {
                    let part = part(buf, offset, &(range.start..end))?;
                    layer.read_at(part, GuestOffset(range.start), &mut missing)?;
                }
            }
            std::mem::swap(&mut wanted, &mut missing);
        }
        for range in &wanted {
            part(buf, offset, range)?.fill(0);
        }
        Ok(())
    }

    /// What the tables of the layers call data or zeroes; holes of the host files under data are
    /// not looked for.
    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut joiner = Joiner::new(visit);
        for_each_layer_extent(&self.layers, range, &mut |extent| {
            let hole = match extent.state {
                ExtentState::Data { .. } | ExtentState::Compressed => false,
                ExtentState::Zero { .. } | ExtentState::Unallocated { .. } => true,
            };
            joiner.push(extent.guest, hole)
        })?;
        joiner.finish();
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        self.layers[0].storage().path()
    }

    fn moves_by(&self) -> Option<u64> {
        self.layers[0].moves_by()
    }
}

/// The part of `buf`, which begins at the guest offset `offset`, that holds `range`.
fn part<'a>(buf: &'a mut [u8], offset: u64, range: &Range<u64>) -> Result<&'a mut [u8]> {
    let index = |at: u64| usize::try_from(at.checked_sub(offset)?).ok();
    let part = match (index(range.start), index(range.end)) {
        (Some(start), Some(end)) => buf.get_mut(start..end),
        _ => None,
    };
    part.ok_or_else(|| Error::corrupt("a layer misses bytes that were not asked for"))
}

#[cfg(test)]
mod tests;
