//! Where compressed clusters lie: byte behind byte, several in a host cluster, each of which is
//! counted.

use std::ops::Range;

/// The places of compressed clusters. How many of them each host cluster holds is not remembered,
/// as that would grow with the file: [`super::recount`] reads it from the tables.
#[derive(Debug)]
pub(super) struct Packing {
    cluster: u64,
    /// Most that a refcount can say.
    max_refcount: u64,
    /// What is left of the last host cluster that was begun.
    gap: Range<u64>,
    /// The last host cluster that was counted, and how many compressed clusters reach into it.
    last: (u64, u64),
}

impl Packing {
    pub(super) fn new(cluster: u64, refcount_bits: u32) -> Self {
        Self {
            cluster,
            max_refcount: u64::MAX >> (64 - refcount_bits.clamp(1, 64)),
            gap: 0..0,
            last: (0, 0),
        }
    }

    /// A place of `length` bytes, `in_sector` bytes behind a multiple of 512 if that matters. In what is left of the last host cluster if that is enough, across its end if
    /// the file ends there, else at the end of the file. `tail` is that end, rounded to clusters.
    pub(super) fn place(&mut self, in_sector: Option<u64>, length: u64, tail: &mut u64) -> u64 {
        let is_full = self.refcount_in_gap() >= self.max_refcount;
        let start = match in_sector {
            None => self.gap.start,
            Some(in_sector) => {
                let before = self.gap.start.saturating_sub(in_sector);
                before.next_multiple_of(512) + in_sector
            }
        };
        let end = start + length;
        let fits = end <= self.gap.end || (self.gap.end == *tail && start < self.gap.end);
        let start = if self.gap.is_empty() || is_full || !fits {
            *tail + in_sector.unwrap_or(0)
        } else {
            start
        };
        let end = start + length;
        let rounded = end.next_multiple_of(self.cluster);
        *tail = (*tail).max(rounded);
        self.gap = end..rounded;
        start
    }

    /// Counts a compressed cluster whose data is at `host`.
    pub(super) fn count(&mut self, host: u64, length: u64) {
        let clusters = host / self.cluster..(host + length).div_ceil(self.cluster);
        if clusters.contains(&self.last.0) && clusters.end == self.last.0 + 1 {
            self.last.1 += 1;
        } else if clusters.end > self.last.0 + 1 {
            self.last = (clusters.end - 1, 1);
        }
    }

    /// No cluster was compressed.
    pub(super) fn is_empty(&self) -> bool {
        self.last.1 == 0
    }

    fn refcount_in_gap(&self) -> u64 {
        if self.gap.is_empty() { 0 } else { self.last.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_gaps_and_goes_on_behind_them() {
        let mut packing = Packing::new(1024, 16);
        let mut tail = 1024;
        let mut place = |length, tail: &mut u64| {
            let host = packing.place(None, length, tail);
            packing.count(host, length);
            host
        };
        assert_eq!(place(600, &mut tail), 1024);
        assert_eq!(place(600, &mut tail), 1624);
        assert_eq!(tail, 3072);
        // Something else takes two clusters: the gap is used for what fits into it.
        tail += 2048;
        assert_eq!(place(900, &mut tail), 5120);
        assert_eq!(tail, 6144);
        assert_eq!(place(124, &mut tail), 6020);
        assert_eq!(place(10, &mut tail), 6144);
        assert!(!packing.is_empty());
    }

    #[test]
    fn a_full_refcount_ends_a_cluster() {
        let mut packing = Packing::new(1024, 1);
        let mut tail = 1024;
        for index in 1..5 {
            let host = packing.place(None, 100, &mut tail);
            packing.count(host, 100);
            assert_eq!(host, index * 1024);
        }
        let mut packing = Packing::new(1 << 21, 16);
        let mut tail = 0;
        for _ in 0..1000 {
            let host = packing.place(None, 100, &mut tail);
            packing.count(host, 100);
        }
        assert_eq!((tail, packing.refcount_in_gap()), (1 << 21, 1000));
    }

    #[test]
    fn stored_bytes_keep_their_place_in_a_sector() {
        let mut packing = Packing::new(4096, 16);
        let mut tail = 4096;
        assert_eq!(packing.place(None, 700, &mut tail), 4096);
        assert_eq!(packing.place(Some(100), 500, &mut tail), 4096 + 1024 + 100);
        assert_eq!(packing.place(Some(300), 9000, &mut tail), 11 * 512 + 300);
        assert_eq!(tail, 4 * 4096);
    }
}
