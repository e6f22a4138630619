//! Refcounts on disk made equal to the references that were counted, in place.

use std::ops::Range;

use crate::control::Stop;
use crate::error::Result;
use crate::image::qcow2::check::counts::{PAGE, Page};
use crate::image::qcow2::check::findings::{Place, Section, Tally};
use crate::image::qcow2::check::refcounts::{RefcountTable, Stretches, decode, encode};
use crate::image::qcow2::check::repair::target::Target;
use crate::image::qcow2::check::tables::on_all_cores;
use crate::image::qcow2::check::{Pass, Subject};

/// What is done about refcounts that differ from the references.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Raises those that are too low.
    pub(super) raises: bool,
    /// Lowers those that are too high.
    pub(super) lowers: bool,
    /// Gives the space of clusters that are free now back to the host.
    pub(super) punches: bool,
    /// Notes and counts what is found, mended now or in another round.
    pub(super) says: bool,
}

/// Goes through the refcounts of the pass's window.
pub(super) fn mend(
    pass: &Pass<'_>,
    table: &RefcountTable,
    target: &Target<'_>,
    round: Round,
    tally: &mut Tally,
) -> Result<(), Stop> {
    let work = Stretches::new(pass, table);
    let found = on_all_cores(work.count(), &|tally| {
        let mut mending = Mending {
            subject: pass.subject,
            table,
            target,
            round,
            tally,
            freed: Vec::new(),
        };
        let mut bytes = Vec::new();
        while let Some(range) = work.next()? {
            mending.stretch(pass, &range, &mut bytes)?;
        }
        Ok(())
    })?;
    tally.merge(found);
    Ok(())
}

/// The work of one thread.
struct Mending<'a> {
    subject: &'a Subject<'a>,
    table: &'a RefcountTable,
    target: &'a Target<'a>,
    round: Round,
    tally: &'a mut Tally,
    /// Clusters of the stretch that became free.
    freed: Vec<Range<u64>>,
}

impl Mending<'_> {
    fn stretch(
        &mut self,
        pass: &Pass<'_>,
        clusters: &Range<u64>,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let unreadable = self.table.load(self.subject, clusters, bytes)?;
        if !unreadable.is_empty() {
            // Only a new table can help.
            return Ok(());
        }
        let page_bytes = self.table.page_bytes();
        let mut changed: Option<Range<usize>> = None;
        for (index, disk) in bytes.chunks_mut(page_bytes).enumerate() {
            let first = clusters.start + index as u64 * PAGE;
            let (page, _) = pass.counts.page(first);
            if self.table.equals(&page, disk).is_some() {
                continue;
            }
            let last = clusters.end.min(first + PAGE);
            if self.page(&page, disk, first..last) {
                let end = index * page_bytes + disk.len();
                changed.get_or_insert(index * page_bytes..end).end = end;
            }
        }
        if let Some(changed) = changed {
            let storage = self.target.storage()?;
            let cluster_size = self.subject.cluster_size();
            self.table
                .store(storage, cluster_size, clusters, bytes, &changed)?;
        }
        self.punch()
    }

    /// Whether anything in `disk` was changed.
    fn page(&mut self, page: &Page, disk: &mut [u8], clusters: Range<u64>) -> bool {
        let order = self.table.order;
        let mut changed = false;
        for cluster in clusters.clone() {
            let at = cluster - clusters.start;
            let refcount = decode(disk, order, at);
            let reference = u64::from(page.get(at)).min(self.table.max());
            if refcount == reference {
                continue;
            }
            let is_low = refcount < reference;
            if self.round.says {
                self.say(cluster, refcount, reference);
            }
            let mends = match is_low {
                true => self.round.raises,
                false => self.round.lowers,
            };
            if !mends {
                continue;
            }
            encode(disk, order, at, reference);
            changed = true;
            if reference == 0 && self.round.punches {
                match self.freed.last_mut() {
                    Some(last) if last.end == cluster => last.end += 1,
                    _ => self.freed.push(cluster..cluster + 1),
                }
            }
        }
        changed
    }

    fn say(&mut self, cluster: u64, refcount: u64, reference: u64) {
        let is_low = refcount < reference;
        let mends = !is_low || self.subject.mends_all();
        match (is_low, mends) {
            (true, true) => self.tally.corruptions_fixed += 1,
            (true, false) => self.tally.corruptions += 1,
            (false, _) => self.tally.leaks_fixed += 1,
        }
        let word = if mends { "Repairing" } else { "ERROR" };
        let place = Place::new(Section::Compare, cluster, 1);
        let host = cluster << self.subject.cluster_bits;
        self.tally.note(place, is_low, Some(host), || {
            format!("{word} cluster {cluster} refcount={refcount} reference={reference}")
        });
    }

    fn punch(&mut self) -> Result<()> {
        let bits = self.subject.cluster_bits;
        for clusters in self.freed.drain(..) {
            let end = (clusters.end << bits).min(self.subject.file_size);
            let start = (clusters.start << bits).min(end);
            self.target.storage()?.punch_hole(start..end)?;
        }
        Ok(())
    }
}
