//! How often each cluster of the file is referenced, in about one bit a cluster.
//!
//! Nearly every cluster of nearly every image is referenced once. Counts are kept in pages that
//! start out absent (all zero), then take one bit a cluster, and double that whenever a count does
//! not fit: a snapshot costs two bits a cluster, and only where it shares something.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Clusters of a page. A page of one-bit counts is half a kilobyte.
pub(super) const PAGE: u64 = 4096;
/// Log2 of the bits that a count can have at most.
const WIDEST: u32 = 5;

/// The counts of a window of the file's clusters. Shared between threads.
#[derive(Debug)]
pub(super) struct Counts {
    window: Range<u64>,
    pages: Vec<Mutex<Page>>,
    /// Clusters of the file, or one more where a reference passes its end by less than a cluster.
    end: AtomicU64,
    file_clusters: u64,
    used: AtomicU64,
    budget: u64,
}

/// The counts of [`PAGE`] clusters.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Log2 of the bits of a count.
    width: u32,
    /// Empty while all counts are zero.
    words: Vec<u64>,
}

impl Counts {
    /// All zero, for the clusters of `window` (which starts at a multiple of [`PAGE`]) of a file of
    /// `file_clusters`, meant to use not much more than `budget` bytes.
    pub(super) fn new(window: Range<u64>, file_clusters: u64, budget: u64) -> Self {
        let pages = (window.end - window.start).div_ceil(PAGE);
        Self {
            window,
            pages: (0..pages).map(|_| Mutex::default()).collect(),
            end: AtomicU64::new(file_clusters),
            file_clusters,
            used: AtomicU64::new(0),
            budget,
        }
    }

    /// The clusters it counts.
    pub(super) fn window(&self) -> Range<u64> {
        self.window.clone()
    }

    /// Whether the counts have outgrown the budget.
    pub(super) fn is_over_budget(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.budget
    }

    /// Clusters of the file, counting one that a reference makes it pass its end by.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Counts `times` references to each of `clusters`; those outside the window are not kept.
    pub(super) fn add(&self, clusters: Range<u64>, times: u32) {
        if clusters.end > self.file_clusters {
            self.end.fetch_max(clusters.end, Ordering::Relaxed);
        }
        let end = clusters.end.min(self.window.end);
        let mut at = clusters.start.max(self.window.start);
        while at < end {
            let (index, first) = self.position(at);
            let length = (PAGE - first).min(end - at);
            let mut page = self.lock(index);
            let before = page.words.len();
            page.add(first..first + length, times);
            let grown = (page.words.len() - before) * 8;
            if grown > 0 {
                self.used.fetch_add(grown as u64, Ordering::Relaxed);
            }
            at += length;
        }
    }

    /// The page that holds `cluster` (inside the window), and the cluster's place in it.
    pub(super) fn page(&self, cluster: u64) -> (MutexGuard<'_, Page>, u64) {
        let (index, first) = self.position(cluster);
        (self.lock(index), first)
    }

    /// The count of `cluster`, 0 outside the window.
    pub(super) fn get(&self, cluster: u64) -> u32 {
        if !self.window.contains(&cluster) {
            return 0;
        }
        let (page, at) = self.page(cluster);
        page.get(at)
    }

    /// The first cluster of `clusters` that is counted.
    pub(super) fn first_nonzero(&self, clusters: Range<u64>) -> Option<u64> {
        self.find(clusters, |page, at| page.get(at) != 0)
    }

    /// The first cluster from `from` on that is not counted; it may lie behind the window.
    pub(super) fn first_zero(&self, from: u64) -> u64 {
        let behind = from.max(self.window.end);
        self.find(from..self.window.end, |page, at| page.get(at) == 0)
            .unwrap_or(behind)
    }

    /// Visits the counts of `clusters` that are not zero.
    pub(super) fn for_each_nonzero(&self, clusters: Range<u64>, visit: &mut dyn FnMut(u64, u32)) {
        let mut at = clusters.start.max(self.window.start);
        let end = clusters.end.min(self.window.end);
        while at < end {
            let (page, first) = self.page(at);
            let length = (PAGE - first).min(end - at);
            if !page.is_empty() {
                for offset in 0..length {
                    let count = page.get(first + offset);
                    if count != 0 {
                        visit(at + offset, count);
                    }
                }
            }
            at += length;
        }
    }

    fn find(&self, clusters: Range<u64>, wanted: impl Fn(&Page, u64) -> bool) -> Option<u64> {
        let mut at = clusters.start.max(self.window.start);
        let end = clusters.end.min(self.window.end);
        while at < end {
            let (page, first) = self.page(at);
            let length = (PAGE - first).min(end - at);
            if let Some(found) = (0..length).find(|offset| wanted(&page, first + offset)) {
                return Some(at + found);
            }
            at += length;
        }
        None
    }

    #[allow(clippy::cast_possible_truncation, reason = "an index of a vector")]
    fn position(&self, cluster: u64) -> (usize, u64) {
        let at = cluster - self.window.start;
        ((at / PAGE) as usize, at % PAGE)
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Page> {
        self.pages[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    /// The bits of 64 clusters from `at` (a multiple of 64) on, when every count of the page is 0
    /// or 1.
    pub(super) fn ones(&self, at: u64) -> Option<u64> {
        match (self.words.is_empty(), self.width) {
            (true, _) => Some(0),
            (false, 0) => Some(self.words[index(at / 64)]),
            _ => None,
        }
    }

    /// Whether every count is zero.
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The count at `at`.
    pub(super) fn get(&self, at: u64) -> u32 {
        if self.words.is_empty() {
            return 0;
        }
        let (word, shift, mask) = self.place(at);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "counts have 32 bits at most"
        )]
        let count = (self.words[word] >> shift & mask) as u32;
        count
    }

    /// Replaces the counts by one bit each.
    pub(super) fn replace(&mut self, words: Vec<u64>) {
        debug_assert_eq!(words.len() as u64, PAGE / 64);
        self.width = 0;
        self.words = words;
    }

    fn add(&mut self, range: Range<u64>, times: u32) {
        if self.words.is_empty() {
            self.words = vec![0; index(PAGE / 64)];
        }
        if times == 1 && self.width == 0 && self.set_all(&range) {
            return;
        }
        for at in range {
            self.add_one(at, times);
        }
    }

    /// Sets the bits of `range` when all are clear.
    fn set_all(&mut self, range: &Range<u64>) -> bool {
        let pieces = || {
            (range.start / 64..range.end.div_ceil(64)).map(|word| {
                let from = range.start.max(word * 64) - word * 64;
                let to = range.end.min(word * 64 + 64) - word * 64;
                (index(word), (u64::MAX >> (64 - (to - from))) << from)
            })
        };
        if pieces().any(|(word, mask)| self.words[word] & mask != 0) {
            return false;
        }
        for (word, mask) in pieces() {
            self.words[word] |= mask;
        }
        true
    }

    fn add_one(&mut self, at: u64, times: u32) {
        let count = self.get(at).saturating_add(times);
        while self.width < WIDEST && u64::from(count) >> (1 << self.width) != 0 {
            self.widen();
        }
        let (word, shift, mask) = self.place(at);
        self.words[word] &= !(mask << shift);
        self.words[word] |= u64::from(count) << shift;
    }

    fn widen(&mut self) {
        let wider = Self {
            width: self.width + 1,
            words: vec![0; self.words.len() * 2],
        };
        let narrow = std::mem::replace(self, wider);
        for at in 0..PAGE {
            let count = narrow.get(at);
            if count != 0 {
                let (word, shift, _) = self.place(at);
                self.words[word] |= u64::from(count) << shift;
            }
        }
    }

    /// Word, shift and mask of the count at `at`.
    fn place(&self, at: u64) -> (usize, u32, u64) {
        let per_word = 64 >> self.width;
        let bits = 1_u32 << self.width;
        #[allow(clippy::cast_possible_truncation, reason = "below 64")]
        let shift = (at % per_word) as u32 * bits;
        (index(at / per_word), shift, u64::MAX >> (64 - bits))
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "below the length of a page"
)]
fn index(at: u64) -> usize {
    at as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: u64 = 1 << 30;

    #[test]
    fn counts_widen_as_they_grow_and_saturate() {
        let counts = Counts::new(0..3 * PAGE, 4199, PLENTY);
        for times in [1, 2, 13, 241, 65_000, u32::MAX] {
            counts.add(4000..4200, 1);
            counts.add(4100..4101, times);
        }
        assert_eq!(counts.get(3999), 0);
        assert_eq!(counts.get(4000), 6);
        assert_eq!(counts.get(4100), u32::MAX);
        assert_eq!(counts.get(4199), 6);
        assert_eq!(counts.get(4200), 0);
        assert_eq!(counts.end(), 4200);
    }

    #[test]
    fn runs_equal_single_steps() {
        let whole = Counts::new(0..2 * PAGE, 2 * PAGE, PLENTY);
        let single = Counts::new(0..2 * PAGE, 2 * PAGE, PLENTY);
        for (start, end) in [
            (0, 1),
            (5, 700),
            (690, 4096),
            (4095, 4097),
            (63, 65),
            (0, 8192),
        ] {
            whole.add(start..end, 1);
            for cluster in start..end {
                single.add(cluster..cluster + 1, 1);
            }
            for cluster in 0..2 * PAGE {
                assert_eq!(whole.get(cluster), single.get(cluster), "{cluster}");
            }
        }
    }

    #[test]
    fn a_window_keeps_only_its_own() {
        let counts = Counts::new(PAGE..2 * PAGE, 3 * PAGE, PLENTY);
        counts.add(0..3 * PAGE, 1);
        assert_eq!(counts.get(PAGE - 1), 0);
        assert_eq!(counts.get(PAGE), 1);
        assert_eq!(counts.get(2 * PAGE - 1), 1);
        assert_eq!(counts.get(2 * PAGE), 0);
        assert_eq!(counts.end(), 3 * PAGE);
    }

    #[test]
    fn memory_is_one_bit_a_cluster_until_shared() {
        let counts = Counts::new(0..64 * PAGE, 64 * PAGE, 64 * PAGE / 8);
        counts.add(0..64 * PAGE, 1);
        assert!(!counts.is_over_budget());
        counts.add(0..1, 1);
        assert!(counts.is_over_budget());
    }
}
