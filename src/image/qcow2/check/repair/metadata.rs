//! Where an L2 table must not be for a repair to write to it.

use std::ops::Range;

use crate::image::qcow2::bitmap::Directory;
use crate::image::qcow2::check::tables::{L1_ENTRY, L1Table, L2Reference};
use crate::image::qcow2::check::{Structures, Subject};

/// The clusters of everything that is neither an L2 table nor data.
#[derive(Debug)]
pub(in crate::image::qcow2::check) struct Metadata {
    /// Sorted and apart.
    clusters: Vec<Range<u64>>,
    /// The clusters of the active L1 table are no other metadata besides.
    is_l1_alone: bool,
}

impl Metadata {
    /// `references` are all L1 entries, sorted.
    pub(super) fn new(
        subject: &Subject<'_>,
        structures: &Structures,
        references: &[L2Reference],
    ) -> Self {
        let bits = subject.cluster_bits;
        let of = |offset: u64, length: u64| {
            offset >> bits
                ..offset
                    .saturating_add(length)
                    .div_ceil(subject.cluster_size())
        };
        let of_l1 = |table: &L1Table| of(table.offset, table.entries * L1_ENTRY);
        let header = subject.header;
        let table_bytes = u64::from(header.refcount_table_clusters) << bits;
        let mut others = vec![
            0..1,
            of(header.refcount_table_offset, table_bytes),
            of(structures.snapshots.offset, structures.snapshots.length),
        ];
        others.extend(structures.l1_tables.iter().skip(1).map(of_l1));
        let blocks = structures.refcounts.block_offsets();
        others.extend(blocks.map(|offset| of(offset, subject.cluster_size())));
        if let Ok(Some(directory)) = Directory::find(header) {
            others.push(of(directory.offset, directory.size));
        }
        let active = of_l1(&structures.l1_tables[0]);
        let overlaps = |other: &Range<u64>| other.start < active.end && active.start < other.end;
        let mut l2_tables = references
            .iter()
            .map(|reference| of(reference.offset, subject.cluster_size()));
        let is_l1_alone = !others.iter().any(overlaps) && !l2_tables.any(|table| overlaps(&table));
        others.push(active);
        Self {
            clusters: union(others),
            is_l1_alone,
        }
    }

    /// The bytes of all of it and of the L2 tables that `references` name, ascending and apart.
    pub(super) fn with_tables(
        &self,
        references: &[L2Reference],
        cluster_bits: u32,
    ) -> Vec<Range<u64>> {
        let mut all = self.clusters.clone();
        all.extend(references.iter().map(|reference| {
            let end = reference.offset.saturating_add(1 << cluster_bits);
            reference.offset >> cluster_bits..end.div_ceil(1 << cluster_bits)
        }));
        let bytes = |cluster: u64| cluster.saturating_mul(1 << cluster_bits);
        union(all)
            .into_iter()
            .map(|clusters| bytes(clusters.start)..bytes(clusters.end))
            .collect()
    }

    /// Whether the table at `offset` is one whose change changes nothing but tables (and data that
    /// is a table at the same time).
    pub(in crate::image::qcow2::check) fn allows_table(
        &self,
        offset: u64,
        cluster_bits: u32,
    ) -> bool {
        let cluster = offset >> cluster_bits;
        let before = self
            .clusters
            .partition_point(|range| range.start <= cluster);
        let overlaps = self.clusters[..before]
            .last()
            .is_some_and(|range| range.end > cluster);
        offset == cluster << cluster_bits && !overlaps
    }

    /// Whether entries of the active L1 table may be changed.
    pub(in crate::image::qcow2::check) fn allows_l1_writes(&self) -> bool {
        self.is_l1_alone
    }
}

/// The ranges sorted, and joined where they touch.
fn union(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, kept| {
        let touches = next.start <= kept.end;
        if touches {
            kept.end = kept.end.max(next.end);
        }
        touches
    });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined() {
        let ranges = vec![5..7, 0..1, 1..2, 9..9, 4..10, 20..21];
        assert_eq!(union(ranges), [0..2, 4..10, 20..21]);
    }
}
