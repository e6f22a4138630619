//! The result of checking an image, shared by all formats.

use crate::phrase::{Phrase, gettext_noop};
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

impl Finding {
    /// What it means for who uses the image, where there is more to say than the words of the
    /// checker do.
    #[must_use]
    pub fn meaning(&self) -> Option<Phrase> {
        let has = |words: &str| self.message.contains(words);
        let template = if !self.corruption {
            gettext_noop("Wasted space; nothing is in danger")
        } else if has("refcount=") && has("reference=") {
            gettext_noop("Counted as free or less used than it is: writing may destroy data")
        } else if has("OFLAG_COPIED") || has("copied flag") {
            gettext_noop("Writing may change a snapshot, or copy without need")
        } else if has("overflow cluster") {
            gettext_noop("Used more often than can be counted")
        } else if has("reserved bits") {
            gettext_noop("The entry is damaged, or of a newer program")
        } else if has("outside image") || has("not properly aligned") || has("not cluster aligned")
        {
            gettext_noop("The entry leads nowhere: what it held may be lost")
        } else if has("snapshot") {
            gettext_noop("A snapshot is damaged")
        } else if has("bitmap") && !has("subcluster") {
            gettext_noop("A dirty bitmap is damaged: the next backup should be a full one")
        } else if has("Can't get refcount") {
            gettext_noop("What is used could not be read")
        } else {
            return None;
        };
        Some(Phrase::new(template))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_say_what_they_mean() {
        let meaning = |corruption, message: &str| {
            let finding = Finding {
                corruption,
                host: None,
                message: message.to_owned(),
            };
            finding.meaning().map(|it| it.to_string())
        };
        let leak = meaning(false, "Leaked cluster 5 refcount=1 reference=0").unwrap();
        assert!(leak.starts_with("Wasted space"));
        let counted_low = meaning(true, "ERROR cluster 5 refcount=0 reference=1").unwrap();
        assert!(counted_low.contains("destroy data"));
        let bitmap = meaning(true, "ERROR bitmap directory: too long").unwrap();
        assert!(bitmap.contains("backup"));
        let subclusters =
            "ERROR offset=0: Allocated cluster has corrupted subcluster allocation bitmap";
        assert_eq!(meaning(true, subclusters), None);
        assert_eq!(meaning(true, "something new"), None);
    }
}
