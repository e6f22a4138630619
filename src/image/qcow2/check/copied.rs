//! The flag of L1 and L2 entries of the active layer that says "the refcount is exactly one".
//!
//! A wrong flag costs data: a cluster that a snapshot shares would be overwritten in place. The
//! tables are read a second time, but only where there can be anything to find.

use byteorder::{BigEndian, ByteOrder};

use crate::control::Stop;
use crate::image::qcow2::check::Pass;
use crate::image::qcow2::check::entries::EntryKind;
use crate::image::qcow2::check::findings::{Place, Section, Tally};
use crate::image::qcow2::check::refcounts::RefcountTable;
use crate::image::qcow2::check::repair::metadata::Metadata;
use crate::image::qcow2::check::repair::target::{Failure, Target};
use crate::image::qcow2::check::tables::{
    L1_ENTRY, L1Table, L2Reference, for_each_l1_entry, for_each_table,
};
use crate::image::qcow2::entry::{COPIED, OFFSET_MASK};

/// The flag in the first byte of an entry on disk.
const COPIED_BYTE: u8 = 0x80;

/// What is done about wrong flags.
pub(super) struct FlagRepair<'a> {
    /// Where tables are written.
    pub(super) target: &'a Target<'a>,
    /// Where they must not be.
    pub(super) metadata: &'a Metadata,
    /// All L1 entries, of snapshots too, sorted by their tables.
    pub(super) references: &'a [L2Reference],
    /// Clears flags that should not be there.
    pub(super) clears: bool,
    /// Sets flags that should be there.
    pub(super) sets: bool,
    /// Notes and counts what is found, whether it is mended now or in another round.
    pub(super) says: bool,
    /// The counts of the pass are what the refcounts on disk will be in the end. Otherwise they are
    /// one bit a cluster, and what is on disk counts.
    pub(super) counts_are_final: bool,
}

/// Checks the flags of the clusters of the pass's window, after the counts were compared.
pub(super) fn check(
    pass: &Pass<'_>,
    active: &L1Table,
    refcounts: &RefcountTable,
    tally: &mut Tally,
    repair: Option<&FlagRepair<'_>>,
) -> Result<(), Stop> {
    let flags = Flags {
        pass,
        refcounts,
        repair,
    };
    let may_change = repair.is_some_and(|repair| repair.metadata.allows_l1_writes());
    let mut references = Vec::new();
    let mut changed = Vec::new();
    for_each_l1_entry(pass.subject, active, &mut |index, entry| {
        let offset = entry & OFFSET_MASK;
        if offset != 0 {
            if flags.check_l1_entry(index, entry, may_change, tally) {
                changed.push((index, entry ^ COPIED));
            }
            if repair.is_none() {
                references.push(L2Reference::new(offset, active.number, index));
            }
        }
        Ok(())
    })?;
    if let Some(repair) = repair {
        repair.write_l1_entries(active, &changed)?;
        for owners in repair.references.chunk_by(|a, b| a.offset == b.offset) {
            if owners[0].is_active() {
                references.extend(owners);
            }
        }
    }
    references.sort_unstable();
    let failure = Failure::default();
    let found = for_each_table(pass, &references, &|owners, bytes, tally| {
        let changed = flags.check_l2_table(owners, bytes, tally);
        if let (Some(repair), false) = (repair, changed.is_empty()) {
            let entry_bytes = pass.subject.entry_length();
            failure.note(repair.target.rewrite(owners[0].offset, bytes, |table| {
                for index in &changed {
                    table[index * entry_bytes] ^= COPIED_BYTE;
                }
            }));
        }
    })?;
    tally.merge(found);
    failure.into_result()
}

struct Flags<'a> {
    pass: &'a Pass<'a>,
    refcounts: &'a RefcountTable,
    repair: Option<&'a FlagRepair<'a>>,
}

impl FlagRepair<'_> {
    /// Whether an entry with this flag, which is wrong, is mended in this round.
    fn mends(&self, flag: bool) -> bool {
        if flag { self.clears } else { self.sets }
    }

    fn write_l1_entries(&self, table: &L1Table, entries: &[(u64, u64)]) -> Result<(), Stop> {
        for run in entries.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
            let bytes: Vec<u8> = run
                .iter()
                .flat_map(|(_, entry)| entry.to_be_bytes())
                .collect();
            self.target
                .write(&bytes, table.offset + run[0].0 * L1_ENTRY)?;
        }
        Ok(())
    }
}

impl Flags<'_> {
    /// Whether the flag is to be turned over.
    fn check_l1_entry(&self, index: u64, entry: u64, may_change: bool, tally: &mut Tally) -> bool {
        let offset = entry & OFFSET_MASK;
        let flag = entry & COPIED != 0;
        let Some(refcount) = self.contradicted(offset, flag) else {
            return false;
        };
        let place = Place::new(Section::Copied, index, 0);
        self.say(tally, place, offset, may_change, |word| {
            format!(
                "{word} OFLAG_COPIED L2 cluster: l1_index={index} l1_entry={entry:x} \
                 refcount={refcount}"
            )
        });
        may_change && self.repair.is_some_and(|repair| repair.mends(flag))
    }

    /// The entries whose flag is to be turned over.
    fn check_l2_table(
        &self,
        owners: &[L2Reference],
        bytes: &[u8],
        tally: &mut Tally,
    ) -> Vec<usize> {
        let subject = self.pass.subject;
        let may_change = self.repair.is_some_and(|repair| {
            let cluster_bits = subject.cluster_bits;
            repair.metadata.allows_table(owners[0].offset, cluster_bits)
        });
        // A table that is mended is right when its second owner comes to it.
        let speakers = if may_change { &owners[..1] } else { owners };
        let mut changed = Vec::new();
        for (index, entry) in bytes.chunks_exact(subject.entry_length()).enumerate() {
            let entry = BigEndian::read_u64(entry);
            if entry == 0 {
                continue;
            }
            let kind = EntryKind::of(entry, subject.extended_l2, subject.data_file);
            if !kind.has_cluster() {
                continue;
            }
            let offset = entry & OFFSET_MASK;
            let flag = entry & COPIED != 0;
            let refcount = if subject.data_file {
                (!flag).then_some(1)
            } else {
                self.contradicted(offset, flag)
            };
            let Some(refcount) = refcount else {
                continue;
            };
            for owner in speakers.iter().take_while(|owner| owner.is_active()) {
                let place = Place::new(Section::Copied, owner.index(), index as u64 + 1);
                self.say(tally, place, offset, may_change, |word| {
                    format!(
                        "{word} OFLAG_COPIED data cluster: l2_entry={entry:x} refcount={refcount}"
                    )
                });
            }
            if may_change && self.repair.is_some_and(|repair| repair.mends(flag)) {
                changed.push(index);
            }
        }
        changed
    }

    /// Counts and notes a wrong flag.
    fn say(
        &self,
        tally: &mut Tally,
        place: Place,
        offset: u64,
        may_change: bool,
        message: impl FnOnce(&str) -> String,
    ) {
        match self.repair {
            Some(repair) if !repair.says => {}
            Some(_) if may_change => {
                tally.corruptions_fixed += 1;
                tally.note(place, true, Some(offset), || message("Repairing"));
            }
            _ => tally.corruption(place, Some(offset), || message("ERROR")),
        }
    }

    /// The refcount of the cluster at `offset`, when it contradicts the flag.
    fn contradicted(&self, offset: u64, flag: bool) -> Option<u64> {
        let cluster = offset >> self.pass.subject.cluster_bits;
        let counts = &self.pass.counts;
        let window = counts.window();
        if window.contains(&cluster) && cluster < counts.end() {
            let count = u64::from(counts.get(cluster)).min(self.refcounts.max());
            if (count == 1) == flag {
                return None;
            }
            if self.repair.is_some_and(|repair| repair.counts_are_final) {
                return Some(count);
            }
        } else if cluster < window.end.min(counts.end()) || !self.pass.is_last {
            // The business of another pass.
            return None;
        }
        self.refcounts
            .get(self.pass.subject, cluster)
            .filter(|refcount| (*refcount == 1) != flag)
    }
}
