//! The disk that the map shows, and what was counted of it.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use platter::chain::Chain;
use platter::inspect::Contents;
use platter::plot::allocation::AllocationSeries;
use platter::plot::summary::Summary;
use platter::plot::tiles::MapCells;
use platter::table::Role;

use crate::session::{Document, DocumentId};

/// Names one reading of one image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SubjectKey {
    id: DocumentId,
    generation: u64,
}

impl From<&Document> for SubjectKey {
    fn from(document: &Document) -> Self {
        Self {
            id: document.id,
            generation: document.generation,
        }
    }
}

/// A disk whose map has been read.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) key: SubjectKey,
    pub(super) chain: Arc<Chain>,
    pub(super) summary: Arc<Summary>,
    /// Locked by background work only.
    pub(super) cells: Arc<Mutex<MapCells>>,
    pub(super) series: Arc<AllocationSeries>,
}

impl Subject {
    /// Most steps of the plot: more than it has pixels would only cost time.
    const PLOT_STEPS: usize = 512;

    pub(super) fn new(key: SubjectKey, chain: Arc<Chain>, summary: Summary) -> Self {
        let summary = Arc::new(summary);
        Self {
            key,
            chain,
            series: Arc::new(AllocationSeries::new(&summary, Self::PLOT_STEPS)),
            cells: Arc::new(Mutex::new(MapCells::new(Arc::clone(&summary)))),
            summary,
        }
    }
}

/// The bytes of the partitions on a disk of `size` bytes, for the arrangement by partition. What
/// pending edits put behind the end of the disk is not on the map yet.
pub(super) fn regions(contents: Option<&Arc<Contents>>, size: u64) -> Vec<Range<u64>> {
    let Some(contents) = contents else {
        return Vec::new();
    };
    contents
        .table
        .partitions
        .iter()
        .filter(|partition| partition.role != Role::Extended)
        .map(|partition| partition.range.start..partition.range.end.min(size))
        .filter(|range| !range.is_empty())
        .collect()
}
