//! Copies that move no bytes: where source and target are on a file system whose files can share
//! extents (XFS, btrfs), the target's data is the source's until one of them is written.
//!
//! Nothing is read for that, so nobody looks for zeroes in it: what takes space in the source does
//! in the target, shared. Holes and zero clusters are left out as ever. Who wants zeroes to be
//! looked for all the same has everything read, and what is not zero is shared.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::disk::for_each_layer_extent;
use crate::image::{ExtentState, ImageDriver};
use crate::op::convert::batch::Batch;
use crate::op::convert::reader::data_pieces;
use crate::op::convert::source::Source;
use crate::op::convert::{BATCH, ConvertOptions, ConvertStop, Step};
use crate::storage::WritableStorage;
use crate::units::MIB;

/// Bytes that are shared at a time: each call costs as much as copying some dozen kilobytes. What
/// cannot be shared after all is read in pieces of this, so it is a bound of memory as well.
const SHARED_BATCH: u64 = 8 * MIB;

/// Shares data of the layers of one chain with a target that is new.
pub(super) struct Share<'a> {
    layers: &'a [Arc<dyn ImageDriver>],
    target: &'a dyn WritableStorage,
    /// The data is read first.
    searches: bool,
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
        (!reads && !layers.is_empty() && layers.iter().all(can_share)).then_some(Self {
            layers,
            target,
            searches: options.search_shared,
        })
    }

    /// Whether everything is read first, and not shared before somebody has looked at it.
    pub(super) fn searches(&self) -> bool {
        self.searches
    }

    /// Bytes of a batch. What has to be read first comes in pieces that fit a core's cache.
    pub(super) fn batch(&self) -> u64 {
        if self.searches { BATCH } else { SHARED_BATCH }
    }

    /// Whether `batch` can be shared without a look at its data: nothing in it is compressed, and
    /// nobody wants it to be searched.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub(super) fn covers(&self, batch: &Batch) -> Result<bool, ConvertStop> {
        let mut covers = !self.searches;
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

    /// Writes `bytes`, which were read at the guest offset `guest`, at `host` of `target`: shared
    /// where they were to be searched, and nothing keeps them from being shared.
    ///
    /// # Errors
    /// When the maps cannot be read or the target not be written.
    pub(super) fn write(
        share: Option<&Self>,
        target: &dyn WritableStorage,
        bytes: &[u8],
        guest: u64,
        host: u64,
    ) -> Result<(), ConvertStop> {
        let range = guest..guest + bytes.len() as u64;
        if let Some(share) = share.filter(|share| share.searches)
            && share.put(&range, host)?
        {
            return Ok(());
        }
        target
            .write_at(bytes, host)
            .map_err(|error| ConvertStop::new(Step::Write(guest), error))
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
