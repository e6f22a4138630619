//! Copies that move no bytes: where source and target are on a file system whose files can share
//! extents (XFS, btrfs), the target's data is the source's until one of them is written.
//!
//! Nothing is read for that, so nobody looks for zeroes in it: what takes space in the source does
//! in the target, shared. Holes and zero clusters are left out as ever.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::disk::for_each_layer_extent;
use crate::image::{ExtentState, ImageDriver};
use crate::op::convert::batch::Batch;
use crate::op::convert::reader::data_pieces;
use crate::op::convert::source::Source;
use crate::op::convert::{ConvertOptions, ConvertStop, Step};
use crate::storage::WritableStorage;
use crate::units::MIB;

/// Bytes that are shared at a time: each call costs as much as copying some dozen kilobytes. What
/// cannot be shared after all is read in pieces of this, so it is a bound of memory as well.
pub(super) const SHARED_BATCH: u64 = 8 * MIB;

/// Shares data of the layers of one chain with a target that is new.
pub(super) struct Share<'a> {
    layers: &'a [Arc<dyn ImageDriver>],
    target: &'a dyn WritableStorage,
}

impl<'a> Share<'a> {
    /// `None` where space cannot be shared, or somebody wants the bytes to be read.
    pub(super) fn new(
        source: &'a Source<'a>,
        target: &'a dyn WritableStorage,
        options: &ConvertOptions<'_>,
    ) -> Option<Self> {
        let layers = source.layers();
        let reads = options.verify
            || options.salvage
            || options.compress
            || options.rate.is_some()
            || options.sparse == 0;
        let can_share = |layer: &Arc<dyn ImageDriver>| {
            layer.info().encryption.is_none() && target.shares_with(layer.data_storage().as_ref())
        };
        (!reads && !layers.is_empty() && layers.iter().all(can_share))
            .then_some(Self { layers, target })
    }

    /// Whether there is nothing compressed in the data of `batch`, which would have to be read.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub(super) fn covers(&self, batch: &Batch) -> Result<bool, ConvertStop> {
        let mut covers = true;
        for (piece, _) in data_pieces(batch) {
            for_each_layer_extent(self.layers, piece.range.clone(), &mut |extent| {
                covers &= extent.state != ExtentState::Compressed;
                match covers {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })
            .map_err(|error| ConvertStop::new(Step::Map, error))?;
        }
        Ok(covers)
    }

    /// Puts the guest bytes `guest` at `host` of the target, which reads as zeroes there. `false`
    /// when some of it has to be read and written.
    ///
    /// # Errors
    /// When the maps cannot be read; when the target's file system is full.
    pub(super) fn put(&self, guest: &Range<u64>, host: u64) -> Result<bool, ConvertStop> {
        let mut shared = Ok(true);
        let mut position = guest.start;
        for_each_layer_extent(self.layers, guest.clone(), &mut |extent| {
            position = extent.guest.end;
            shared = match extent.state {
                ExtentState::Data { host: from } => {
                    let length = extent.guest.end - extent.guest.start;
                    let to = host + (extent.guest.start - guest.start);
                    let source = self.layers[extent.depth].data_storage();
                    let range = from.0..from.0 + length;
                    self.target.copy_from(source.as_ref(), range, to)
                }
                ExtentState::Zero { .. } | ExtentState::Unallocated { .. } => Ok(true),
                ExtentState::Compressed => Ok(false),
            };
            match shared {
                Ok(true) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })
        .map_err(|error| ConvertStop::new(Step::Map, error))?;
        let shared = shared.map_err(|error| ConvertStop::new(Step::Write(guest.start), error))?;
        Ok(shared && position >= guest.end)
    }
}
