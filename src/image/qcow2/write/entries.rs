//! The L2 entries of guest clusters, read and changed together with what they refer to.

use std::ops::Range;

use crate::error::Result;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::mapping::{Mapping, Place};
use crate::image::qcow2::write::tables::uncounted;

impl State {
    /// The L2 table that maps `guest`, ready to be changed.
    pub(super) fn table_for_change(&mut self, guest: u64) -> Result<u64> {
        let index = usize::try_from(guest / self.format.table_reach()).unwrap_or(usize::MAX);
        self.l2_table_for_change(index)
    }

    /// What the table says of the clusters that `range` touches.
    pub(super) fn mappings(&mut self, table: u64, range: &Range<u64>) -> Result<Vec<Mapping>> {
        let (format, size) = (self.format, self.cluster_size());
        let clusters = self.indices(range);
        let base = range.start - range.start % size;
        let bytes = &self.l2.get(table)?[format.bytes_of(clusters)];
        let entry_size = if format.extended { 16 } else { 8 };
        bytes
            .chunks_exact(entry_size)
            .zip(0_u64..)
            .map(|(entry, index)| {
                format
                    .decode(entry, base + index * size)
                    .map_err(|error| error.with_offset(table))
            })
            .collect()
    }

    /// The entries of its table that the clusters of `range` have.
    fn indices(&self, range: &Range<u64>) -> Range<usize> {
        let bits = self.cluster_bits();
        let per_table = self.format.entries_per_table();
        // Both are in one table, of at most 2^18 entries.
        let first = usize::try_from((range.start >> bits) % per_table).unwrap_or(usize::MAX);
        let last = usize::try_from(((range.end - 1) >> bits) % per_table).unwrap_or(usize::MAX);
        first..last + 1
    }

    /// Writes the entry of the cluster at `guest`, and drops the reference that is gone with the
    /// old one.
    ///
    /// # Errors
    /// As [`Self::replace_all`].
    pub(super) fn replace(
        &mut self,
        table: u64,
        guest: u64,
        old: &Mapping,
        new: &Mapping,
    ) -> Result<()> {
        self.replace_all(table, guest, &[(*old, *new)])
    }

    /// Writes the entries of clusters from `guest` on, of which each pair is what was and what
    /// will be, and drops the references that are gone. Entries that stay are not touched, bit by
    /// bit.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when what was referred to is counted as free;
    /// [`crate::ErrorKind::Unsupported`] for a place that no entry can hold. Then nothing is
    /// changed.
    pub(super) fn replace_all(
        &mut self,
        table: u64,
        guest: u64,
        changes: &[(Mapping, Mapping)],
    ) -> Result<()> {
        let differs = |(old, new): &(Mapping, Mapping)| old != new;
        let first = changes.iter().position(differs);
        let last = changes.iter().rposition(differs);
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(());
        };
        let changes = &changes[first..=last];
        let (format, size) = (self.format, self.cluster_size());
        let words: Result<Vec<[u64; 2]>> =
            changes.iter().map(|(_, new)| format.encode(new)).collect();
        let words = words?;
        self.drop_places(changes)?;
        let guest = guest + first as u64 * size;
        let part = format.bytes_of(self.indices(&(guest..guest + changes.len() as u64 * size)));
        let entry_size = part.len() / changes.len();
        let entries = self.change_l2(table, part.clone())?[part].chunks_exact_mut(entry_size);
        for ((entry, words), change) in entries.zip(words).zip(changes) {
            if !differs(change) {
                continue;
            }
            entry[..8].copy_from_slice(&words[0].to_be_bytes());
            if format.extended {
                entry[8..].copy_from_slice(&words[1].to_be_bytes());
            }
        }
        Ok(())
    }

    /// Drops the references to where clusters were, unless they stay there.
    fn drop_places(&mut self, changes: &[(Mapping, Mapping)]) -> Result<()> {
        if self.data_file.is_some() {
            return Ok(());
        }
        let bits = self.cluster_bits();
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (old, new) in changes {
            let (host, length) = match (old.place, new.place) {
                (Place::None, _) => continue,
                (Place::Plain { host, .. }, Place::Plain { host: new, .. }) if host == new => {
                    continue;
                }
                // Compressed as before: the same entry.
                _ if old == new => continue,
                (Place::Plain { host, .. }, _) => (host, 1 << bits),
                (Place::Compressed(place), _) => (place.host, place.length),
            };
            let clusters = host >> bits..((host + length - 1) >> bits) + 1;
            match runs.last_mut() {
                Some(last) if last.end == clusters.start => last.end = clusters.end,
                _ => runs.push(clusters),
            }
        }
        for run in &runs {
            let checked = self.structures.check_data(run.clone());
            checked.map_err(|error| self.refuse_overlap(error))?;
            let mut at = run.start;
            while at < run.end {
                let (refcount, same) = self.refcounts.run(at..run.end)?;
                if refcount == 0 {
                    return Err(uncounted(at << bits, "a cluster"));
                }
                at += same;
            }
        }
        for run in runs {
            self.free(run.start << bits, run.end - run.start);
        }
        Ok(())
    }

    /// The host offset of a cluster that may be written in place.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when it is counted as free, or a structure is there.
    pub(super) fn own_host(&mut self, mapping: &Mapping) -> Result<Option<u64>> {
        let Place::Plain { host, .. } = mapping.place else {
            return Ok(None);
        };
        if self.data_file.is_some() {
            return Ok(Some(host));
        }
        let cluster = host >> self.cluster_bits();
        match self.refcounts.get(cluster)? {
            0 => Err(uncounted(host, "a cluster")),
            1 => {
                let checked = self.structures.check_free(cluster, 1, "guest data");
                checked.map_err(|error| self.refuse_overlap(error))?;
                Ok(Some(host))
            }
            _ => Ok(None),
        }
    }
}
