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
use crate::image::qcow2::check::tables::{L1Table, L2Reference, for_each_l1_entry, for_each_table};
use crate::image::qcow2::entry::{COPIED, OFFSET_MASK};

/// Checks the flags of the clusters of the pass's window, after the counts were compared.
pub(super) fn check(
    pass: &Pass<'_>,
    active: &L1Table,
    refcounts: &RefcountTable,
    tally: &mut Tally,
) -> Result<(), Stop> {
    let flags = Flags { pass, refcounts };
    let mut references = Vec::new();
    for_each_l1_entry(pass.subject, active, &mut |index, entry| {
        let offset = entry & OFFSET_MASK;
        if offset != 0 {
            flags.check_l1_entry(index, entry, tally);
            references.push(L2Reference::new(offset, active.number, index));
        }
        Ok(())
    })?;
    references.sort_unstable();
    let found = for_each_table(pass, &references, &|owners, bytes, tally| {
        flags.check_l2_table(owners, bytes, tally);
    })?;
    tally.merge(found);
    Ok(())
}

struct Flags<'a> {
    pass: &'a Pass<'a>,
    refcounts: &'a RefcountTable,
}

impl Flags<'_> {
    fn check_l1_entry(&self, index: u64, entry: u64, tally: &mut Tally) {
        let offset = entry & OFFSET_MASK;
        let Some(refcount) = self.contradicted(offset, entry & COPIED != 0) else {
            return;
        };
        tally.corruption(Place::new(Section::Copied, index, 0), Some(offset), || {
            format!(
                "ERROR OFLAG_COPIED L2 cluster: l1_index={index} l1_entry={entry:x} \
                 refcount={refcount}"
            )
        });
    }

    fn check_l2_table(&self, owners: &[L2Reference], bytes: &[u8], tally: &mut Tally) {
        let subject = self.pass.subject;
        let length = if subject.extended_l2 { 16 } else { 8 };
        for (index, entry) in (1..).zip(bytes.chunks_exact(length)) {
            let entry = BigEndian::read_u64(entry);
            if entry == 0 {
                continue;
            }
            let kind = EntryKind::of(entry, subject.extended_l2, subject.data_file);
            if !kind.has_cluster() {
                continue;
            }
            let offset = entry & OFFSET_MASK;
            let refcount = if subject.data_file {
                (entry & COPIED == 0).then_some(1)
            } else {
                self.contradicted(offset, entry & COPIED != 0)
            };
            let Some(refcount) = refcount else {
                continue;
            };
            for owner in owners {
                let place = Place::new(Section::Copied, owner.index(), index);
                tally.corruption(place, Some(offset), || {
                    format!(
                        "ERROR OFLAG_COPIED data cluster: l2_entry={entry:x} refcount={refcount}"
                    )
                });
            }
        }
    }

    /// The refcount on disk of the cluster at `offset`, when it contradicts the flag.
    fn contradicted(&self, offset: u64, flag: bool) -> Option<u64> {
        let cluster = offset >> self.pass.subject.cluster_bits;
        let counts = &self.pass.counts;
        let window = counts.window();
        if window.contains(&cluster) && cluster < counts.end() {
            if (counts.get(cluster) == 1) == flag {
                return None;
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
