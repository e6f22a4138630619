//! The allocation map of a whole chain.

use std::ops::{ControlFlow, Range};

use crate::chain::Chain;
use crate::error::{Error, Result};
use crate::units::HostOffset;

/// How deep the map looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MapDetail {
    /// What the images' tables say: what the window draws.
    Tables,
    /// Also which of the data lies in holes of the host files: what `qemu-img map` prints.
    HostHoles,
}

/// A run of guest bytes, as `qemu-img map --output=json` describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MapEntry {
    /// The guest bytes.
    pub guest: Range<u64>,
    /// Index in [`Chain::links`] of the layer that decides.
    pub depth: usize,
    /// Some layer holds it (data or zero).
    pub present: bool,
    /// Reads as zeroes.
    pub zero: bool,
    /// Clusters with content are behind it.
    pub data: bool,
    /// Stored compressed.
    pub compressed: bool,
    /// Host offset in that layer's data file, where the content is stored as it is.
    pub host: Option<HostOffset>,
}

impl Chain {
    /// Visits the map of `range` (cut to the virtual size) in guest order without gap or overlap;
    /// equal neighbours are merged as `qemu-img map` merges them. Memory does not grow with the
    /// range.
    ///
    /// # Errors
    /// When a link is not open or a table is damaged.
    pub fn for_each_map_entry(
        &self,
        range: Range<u64>,
        detail: MapDetail,
        visit: &mut dyn FnMut(MapEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let _ = (range, detail, visit);
        Err(Error::unsupported("maps are not readable yet"))
    }
}
