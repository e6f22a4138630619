//! The result of checking an image, shared by all formats.

use crate::units::HostOffset;

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// A corruption endangers data; otherwise it is a leak, which only wastes space.
    pub corruption: bool,
    /// Where in the file.
    pub host: Option<HostOffset>,
    /// What, in the words of the field's own checker.
    pub message: String,
}

/// What a check found. Counters follow `qemu-img check`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckReport {
    /// Errors that endanger data.
    pub corruptions: u64,
    /// Clusters that are counted but not used.
    pub leaks: u64,
    /// Errors of the check itself (unreadable tables).
    pub check_errors: u64,
    /// The first findings; at most [`CheckReport::MAX_FINDINGS`], the counters count on.
    pub findings: Vec<Finding>,
    /// Guest clusters that the active layer could hold.
    pub total_clusters: u64,
    /// Guest clusters that it holds.
    pub allocated_clusters: u64,
    /// Of those, compressed.
    pub compressed_clusters: u64,
    /// Of those, not directly behind their predecessor on the host.
    pub fragmented_clusters: u64,
    /// Highest used host byte, rounded up to a cluster.
    pub image_end_offset: u64,
}

impl CheckReport {
    /// How many findings are kept in words.
    pub const MAX_FINDINGS: usize = 1000;

    /// Keeps `finding`, unless enough are kept already. Counters are the caller's.
    pub fn note(&mut self, finding: Finding) {
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// Nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.corruptions == 0 && self.leaks == 0 && self.check_errors == 0
    }
}
