//! The allocation map of a whole chain.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::chain::Chain;
use crate::chain::holes::HostHoles;
use crate::disk::{LayerExtent, for_each_layer_extent};
use crate::error::Result;
use crate::image::{ExtentState, ImageDriver};
use crate::storage::Run;
use crate::units::HostOffset;

/// How deep the map looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MapDetail {
    /// What the images' tables say: what the window draws. (Raw images have no tables; of them this
    /// is what the host file system says.)
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
        let layers = self.layers()?;
        let mut hosts = match detail {
            MapDetail::Tables => Vec::new(),
            MapDetail::HostHoles => host_files(&layers)?,
        };
        let mut budget = HostHoles::BUDGET;
        let mut merger = Merger {
            pending: None,
            stopped: false,
            visit,
        };
        let mut failed = None;
        for_each_layer_extent(&layers, range, &mut |extent| {
            let entry = MapEntry::of(&extent);
            let host_file = hosts.get_mut(extent.depth).and_then(Option::as_mut);
            match (host_file, extent.state) {
                (Some(file), ExtentState::Data { host }) => {
                    let length = entry.guest.end - entry.guest.start;
                    let range = host.0..host.0.saturating_add(length);
                    let result = file.for_each_run(range.clone(), &mut budget, &mut |run| {
                        merger.push(entry.in_run(&run, range.start))
                    });
                    if let Err(error) = result {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                    merger.flow()
                }
                _ => merger.push(entry),
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        merger.finish();
        Ok(())
    }
}

/// For each layer the host file whose holes matter, if any: as QEMU, only where clusters were
/// allocated without being written.
fn host_files(layers: &[Arc<dyn ImageDriver>]) -> Result<Vec<Option<HostHoles>>> {
    let file = |layer: &Arc<dyn ImageDriver>| {
        let holes = || HostHoles::new(Arc::clone(layer.data_storage()));
        Ok(layer.has_preallocated_metadata()?.then(holes))
    };
    layers.iter().map(file).collect()
}

impl MapEntry {
    fn of(extent: &LayerExtent) -> Self {
        let host = match extent.state {
            ExtentState::Data { host } => Some(host),
            ExtentState::Unallocated { host } | ExtentState::Zero { host } => host,
            ExtentState::Compressed => None,
        };
        let (present, data) = match extent.state {
            ExtentState::Unallocated { .. } => (false, false),
            ExtentState::Zero { .. } => (true, false),
            ExtentState::Data { .. } | ExtentState::Compressed => (true, true),
        };
        Self {
            guest: extent.guest.clone(),
            depth: extent.depth,
            present,
            zero: !data,
            data,
            compressed: extent.state == ExtentState::Compressed,
            host,
        }
    }

    /// The part of this entry, whose content begins at the host offset `start`, in a run of the
    /// host file.
    fn in_run(&self, run: &Run, start: u64) -> Self {
        let guest = |host: u64| self.guest.start + (host - start);
        Self {
            guest: guest(run.range.start)..guest(run.range.end),
            zero: run.hole,
            host: Some(HostOffset(run.range.start)),
            ..self.clone()
        }
    }

    fn continues_with(&self, next: &Self) -> bool {
        let length = self.guest.end - self.guest.start;
        self.depth == next.depth
            && self.present == next.present
            && self.zero == next.zero
            && self.data == next.data
            && self.compressed == next.compressed
            && self.host.and_then(|host| host.checked_add(length)) == next.host
    }
}

/// Joins neighbours that are alike on their way to the visitor.
struct Merger<'a> {
    pending: Option<MapEntry>,
    stopped: bool,
    visit: &'a mut dyn FnMut(MapEntry) -> ControlFlow<()>,
}

impl Merger<'_> {
    fn push(&mut self, entry: MapEntry) -> ControlFlow<()> {
        match &mut self.pending {
            Some(pending) if pending.continues_with(&entry) => {
                pending.guest.end = entry.guest.end;
            }
            pending => {
                if let Some(done) = pending.replace(entry) {
                    self.stopped = (self.visit)(done).is_break();
                }
            }
        }
        self.flow()
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.stopped {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn finish(self) {
        if let (Some(last), false) = (self.pending, self.stopped) {
            let _ = (self.visit)(last);
        }
    }
}
