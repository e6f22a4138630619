//! What a check found so far, kept in the order in which `qemu-img check` would say it although
//! tables are visited in host order and on several threads.

use crate::image::check::{CheckReport, Finding};
use crate::units::HostOffset;

/// Where a finding stands in the report.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place {
    section: Section,
    /// Position inside the section: an index of the table it is about.
    major: u64,
    /// Position among the findings of that index.
    minor: u64,
}

/// The parts of a check, in order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Section {
    /// Reading the snapshot table.
    SnapshotTable,
    /// L1 and L2 tables of the active layer, then of each snapshot.
    Tables,
    /// Single structures: refcount table, encryption header, bitmaps.
    Structures,
    /// Refcount blocks as such.
    RefcountBlocks,
    /// Refcounts against references.
    Compare,
    /// The "refcount is one" flags of the active layer.
    Copied,
}

impl Place {
    pub(super) fn new(section: Section, major: u64, minor: u64) -> Self {
        Self {
            section,
            major,
            minor,
        }
    }
}

/// Counters and findings. Each thread has its own; they are merged at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) corruptions: u64,
    pub(super) leaks: u64,
    pub(super) check_errors: u64,
    pub(super) allocated: u64,
    pub(super) compressed: u64,
    pub(super) fragmented: u64,
    /// Corruptions that were mended, and are not among the others.
    pub(super) corruptions_fixed: u64,
    /// Leaks that were mended, and are not among the others.
    pub(super) leaks_fixed: u64,
    /// The refcount structures are too broken to be mended in place.
    pub(super) needs_rebuild: bool,
    findings: Vec<(Place, Finding)>,
    /// As many findings are kept in front of this as the report takes.
    bar: Option<Place>,
}

impl Tally {
    /// Counts a corruption and notes it.
    pub(super) fn corruption(
        &mut self,
        place: Place,
        host: Option<u64>,
        message: impl FnOnce() -> String,
    ) {
        self.corruptions += 1;
        self.note(place, true, host, message);
    }

    /// Notes a finding without counting it.
    pub(super) fn note(
        &mut self,
        place: Place,
        corruption: bool,
        host: Option<u64>,
        message: impl FnOnce() -> String,
    ) {
        if !self.wants(place) {
            return;
        }
        self.findings.push((
            place,
            Finding {
                corruption,
                host: host.map(HostOffset),
                message: message(),
            },
        ));
        if self.findings.len() >= 2 * CheckReport::MAX_FINDINGS {
            self.trim();
        }
    }

    /// Whether a finding at `place` could still get into the report.
    pub(super) fn wants(&self, place: Place) -> bool {
        self.bar.is_none_or(|bar| place < bar)
    }

    /// What it has to say, in order.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.trim();
        self.findings.into_iter().map(|(_, found)| found).collect()
    }

    /// Takes over what another thread found.
    pub(super) fn merge(&mut self, other: Self) {
        self.corruptions += other.corruptions;
        self.leaks += other.leaks;
        self.check_errors += other.check_errors;
        self.allocated += other.allocated;
        self.compressed += other.compressed;
        self.fragmented += other.fragmented;
        self.corruptions_fixed += other.corruptions_fixed;
        self.leaks_fixed += other.leaks_fixed;
        self.needs_rebuild |= other.needs_rebuild;
        self.findings.extend(other.findings);
        if self.findings.len() > CheckReport::MAX_FINDINGS {
            self.trim();
        }
    }

    /// Counters and findings as a report; what a tally does not know is left at its default.
    pub(super) fn into_report(mut self) -> CheckReport {
        self.trim();
        CheckReport {
            corruptions: self.corruptions,
            leaks: self.leaks,
            check_errors: self.check_errors,
            allocated_clusters: self.allocated,
            compressed_clusters: self.compressed,
            fragmented_clusters: self.fragmented,
            findings: self.findings.into_iter().map(|(_, found)| found).collect(),
            ..CheckReport::default()
        }
    }

    fn trim(&mut self) {
        self.findings.sort_by_key(|(place, _)| *place);
        if self.findings.len() > CheckReport::MAX_FINDINGS {
            self.findings.truncate(CheckReport::MAX_FINDINGS);
            self.bar = self.findings.last().map(|(place, _)| *place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_findings_in_order() {
        let mut tally = Tally::default();
        for index in (0..5000).rev() {
            let place = Place::new(Section::Compare, index, 0);
            tally.corruption(place, None, || index.to_string());
        }
        let early = Place::new(Section::Tables, 7, 7);
        tally.note(early, true, None, || "early".into());
        let report = tally.into_report();
        assert_eq!(report.corruptions, 5000);
        assert_eq!(report.findings.len(), CheckReport::MAX_FINDINGS);
        assert_eq!(report.findings[0].message, "early");
        assert_eq!(report.findings[1].message, "0");
        assert_eq!(report.findings[999].message, "998");
    }

    #[test]
    fn what_comes_late_is_not_even_worded() {
        let mut tally = Tally::default();
        for index in 0..3000 {
            tally.corruption(Place::new(Section::Tables, index, 0), None, String::new);
        }
        let late = Place::new(Section::Copied, 0, 0);
        assert!(!tally.wants(late));
        tally.corruption(late, None, || unreachable!());
        assert_eq!(tally.corruptions, 3001);
    }
}
