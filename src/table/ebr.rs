//! Extended partitions: a linked list of boot records, each with a logical partition and a link to
//! the next.

use std::collections::HashSet;

use super::damage::Findings;
use super::mbr::{Entry, Layout, entries};
use super::{Partition, Role};
use crate::error::Result;
use crate::phrase::{Phrase, gettext_noop};
use crate::storage::Storage;

/// Boot records followed in one table. Linux stops at 100, fdisk at 60.
const LIMIT: usize = 256;

/// Appends the logical partitions of all extended partitions of an MBR.
pub(super) fn read(
    disk: &dyn Storage,
    containers: &[Entry],
    layout: Layout,
    partitions: &mut Vec<Partition>,
    findings: &mut Findings,
) -> Result<()> {
    let mut chain = Chain {
        disk,
        layout,
        seen: HashSet::new(),
        partitions,
        findings,
        next_number: 5,
    };
    for container in containers {
        chain.follow(*container)?;
    }
    Ok(())
}

/// Byte offsets of the boot records that [`read`] follows, in order.
pub(super) fn places(disk: &dyn Storage, containers: &[Entry], layout: Layout) -> Result<Vec<u64>> {
    let mut findings = Findings::default();
    let mut partitions = Vec::new();
    let mut chain = Chain {
        disk,
        layout,
        seen: HashSet::new(),
        partitions: &mut partitions,
        findings: &mut findings,
        next_number: 5,
    };
    for container in containers {
        chain.follow(*container)?;
    }
    let mut places: Vec<u64> = chain
        .seen
        .iter()
        .map(|at| at * layout.sector_size)
        .collect();
    places.sort_unstable();
    Ok(places)
}

struct Chain<'a> {
    disk: &'a dyn Storage,
    layout: Layout,
    /// Sectors read as boot records, in all extended partitions.
    seen: HashSet<u64>,
    partitions: &'a mut Vec<Partition>,
    findings: &'a mut Findings,
    next_number: u32,
}

impl Chain<'_> {
    fn follow(&mut self, container: Entry) -> Result<()> {
        let first = u64::from(container.start);
        let end = first + u64::from(container.sectors);
        let mut at = first;
        loop {
            if !self.may_read(at, first..end) {
                return Ok(());
            }
            let Some(record) = self.record(at)? else {
                return Ok(());
            };
            self.logical(&record, at, end);
            let link = record
                .into_iter()
                .find(|entry| entry.is_used() && entry.is_extended());
            let Some(link) = link else {
                return Ok(());
            };
            // Links count from the start of the extended partition, not from this record.
            at = first + u64::from(link.start);
        }
    }

    fn may_read(&mut self, at: u64, container: std::ops::Range<u64>) -> bool {
        let offset = at * self.layout.sector_size;
        if at == 0 {
            let message = Phrase::new(gettext_noop(
                "the extended partition begins at the MBR itself",
            ));
            self.findings.serious(446, message);
            return false;
        }
        if !container.contains(&at) {
            let message = Phrase::new(gettext_noop(
                "a link of the logical partitions leads out of the extended one, to sector {sector}",
            ));
            self.findings
                .serious(offset, message.text("sector", at.to_string()));
            return false;
        }
        if self.seen.len() == LIMIT {
            let message = Phrase::new(gettext_noop(
                "more than {number} logical partitions: the rest is not shown",
            ));
            self.findings
                .serious(offset, message.count("number", LIMIT as u64));
            return false;
        }
        if !self.seen.insert(at) {
            let message = Phrase::new(gettext_noop(
                "the list of logical partitions runs in a circle at sector {sector}",
            ));
            self.findings
                .serious(offset, message.text("sector", at.to_string()));
            return false;
        }
        true
    }

    fn record(&mut self, at: u64) -> Result<Option<[Entry; 4]>> {
        let offset = at * self.layout.sector_size;
        let mut sector = [0; 512];
        self.disk.read_padded_at(&mut sector, offset)?;
        let record = entries(&sector)?;
        if record.is_none() {
            let message = Phrase::new(gettext_noop(
                "the boot record of logical partitions in sector {sector} has no signature",
            ));
            self.findings
                .serious(offset, message.text("sector", at.to_string()));
        }
        Ok(record)
    }

    fn logical(&mut self, record: &[Entry; 4], at: u64, end: u64) {
        for entry in record {
            // Only the first two entries mean something; old DOS left rubbish in the others.
            if !entry.is_used() || entry.is_extended() || entry.slot > 2 {
                continue;
            }
            let mut partition = entry.partition(self.next_number, at, self.layout);
            partition.role = Role::Logical;
            let sector_size = self.layout.sector_size;
            if partition.range.start < (at + 1) * sector_size {
                let message = Phrase::new(gettext_noop(
                    "logical partition {number} covers the record that describes it",
                ));
                let message = message.count("number", u64::from(partition.number));
                self.findings.serious(partition.range.start, message);
            }
            if partition.range.end > end.saturating_mul(sector_size) {
                let message = Phrase::new(gettext_noop(
                    "logical partition {number} reaches out of the extended one",
                ));
                let message = message.count("number", u64::from(partition.number));
                self.findings.serious(partition.range.start, message);
            }
            self.next_number += 1;
            self.partitions.push(partition);
        }
    }
}
