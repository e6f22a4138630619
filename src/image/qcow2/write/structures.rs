//! Which host clusters hold the structures of the image, so that nothing else is written there:
//! neither guest data that a damaged entry leads astray, nor a structure in the place of another.

use std::collections::HashMap;
use std::ops::Range;

use crate::error::{Error, Result};

/// What a host cluster holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Structure {
    /// The header.
    Header,
    /// The active L1 table.
    L1Table,
    /// An L2 table of the active L1 table.
    L2Table,
    /// The refcount table.
    RefcountTable,
    /// A refcount block.
    RefcountBlock,
    /// The snapshot table.
    SnapshotTable,
    /// The L1 table of a snapshot.
    SnapshotL1Table,
    /// The bitmap directory, a bitmap's table or its data.
    Bitmap,
}

impl Structure {
    fn name(self) -> &'static str {
        match self {
            Self::Header => "the header",
            Self::L1Table => "the L1 table",
            Self::L2Table => "an L2 table",
            Self::RefcountTable => "the refcount table",
            Self::RefcountBlock => "a refcount block",
            Self::SnapshotTable => "the snapshot table",
            Self::SnapshotL1Table => "the L1 table of a snapshot",
            Self::Bitmap => "a bitmap",
        }
    }
}

/// Structures by host cluster number. Those that are read only through a snapshot (its L2 tables)
/// are not known.
#[derive(Debug, Default)]
pub(super) struct Structures {
    clusters: HashMap<u64, Structure>,
}

impl Structures {
    /// Claims `count` clusters from `first` on.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when another structure is there; then nothing is claimed.
    pub(super) fn claim(&mut self, first: u64, count: u64, what: Structure) -> Result<()> {
        self.check_free(first, count, what.name())?;
        for cluster in first..first + count {
            self.clusters.insert(cluster, what);
        }
        Ok(())
    }

    /// Gives up a claim.
    pub(super) fn forget(&mut self, first: u64, count: u64) {
        for cluster in first..first + count {
            self.clusters.remove(&cluster);
        }
    }

    /// Gives up all claims in a run of clusters, telling of each.
    pub(super) fn forget_run(
        &mut self,
        run: &Range<u64>,
        forgotten: &mut dyn FnMut(u64, Structure),
    ) {
        // A run may be most of a disk.
        if run.end - run.start > self.clusters.len() as u64 {
            self.clusters.retain(|cluster, what| {
                let inside = run.contains(cluster);
                if inside {
                    forgotten(*cluster, *what);
                }
                !inside
            });
            return;
        }
        for cluster in run.clone() {
            if let Some(what) = self.clusters.remove(&cluster) {
                forgotten(cluster, what);
            }
        }
    }

    /// What is in a cluster, as far as it is known.
    pub(super) fn get(&self, cluster: u64) -> Option<Structure> {
        self.clusters.get(&cluster).copied()
    }

    /// The first structure in a run of clusters.
    fn first_in(&self, mut run: Range<u64>) -> Option<(u64, Structure)> {
        // A run may be most of a disk.
        if run.end - run.start > self.clusters.len() as u64 {
            let inside = self.clusters.iter().filter(|(at, _)| run.contains(at));
            return inside
                .min_by_key(|(at, _)| **at)
                .map(|(at, what)| (*at, *what));
        }
        run.find_map(|at| Some((at, self.get(at)?)))
    }

    /// Refuses to give up guest data where a structure is.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`], naming it.
    pub(super) fn check_data(&self, run: Range<u64>) -> Result<()> {
        match self.first_in(run) {
            Some((cluster, there)) => Err(Error::corrupt(format!(
                "an entry for guest data leads to {} in cluster {cluster:#x}",
                there.name()
            ))),
            None => Ok(()),
        }
    }

    /// The parts of a run where no structure is, in order.
    pub(super) fn without(&self, run: Range<u64>) -> Vec<Range<u64>> {
        let mut rest = run;
        let mut parts = Vec::new();
        while let Some((cluster, _)) = self.first_in(rest.clone()) {
            parts.push(rest.start..cluster);
            rest.start = cluster + 1;
        }
        parts.push(rest);
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// Refuses to write `what` where a structure is.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`], naming both.
    pub(super) fn check_free(&self, first: u64, count: u64, what: &str) -> Result<()> {
        match self.first_in(first..first + count) {
            Some((cluster, there)) => Err(Error::corrupt(format!(
                "{what} would overwrite {} in cluster {cluster:#x}",
                there.name()
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_structure_of_a_run_is_named_however_long_the_run_is() {
        let mut structures = Structures::default();
        for cluster in [100, 5, 7] {
            structures.claim(cluster, 1, Structure::L2Table).unwrap();
        }
        for count in [2, 3, 1 << 40] {
            let error = structures.check_free(4, count, "data").unwrap_err();
            assert!(error.message().ends_with("0x5"), "{error}");
        }
        structures.check_free(8, 92, "data").unwrap();
        structures.check_free(6, 1, "data").unwrap();
        structures.check_free(101, 1 << 40, "data").unwrap();
        let error = structures.check_data(6..9).unwrap_err();
        assert!(error.message().ends_with("0x7"), "{error}");
        structures.check_data(8..100).unwrap();
        assert_eq!(structures.without(4..8), [4..5, 6..7]);
        assert_eq!(structures.without(8..1 << 40), [8..100, 101..1 << 40]);
        assert_eq!(structures.without(100..101), []);
    }
}
