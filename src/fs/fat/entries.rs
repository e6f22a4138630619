//! The entries of a FAT as a stream, of which only zero matters: the cluster is free.

use std::ops::{ControlFlow, Range};

/// Takes a run of free clusters.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Range<u64>) -> ControlFlow<()>;

/// Finds runs of zero entries in a stream of bytes. Works on half bytes where it has to: an entry
/// of FAT12 is one and a half bytes, and holes and pieces may end anywhere.
pub(super) struct Entries<'a> {
    /// Half bytes of an entry: 3, 4 or 8.
    width: u64,
    clusters: u64,
    /// The entry that comes next, or is being read. Entries 0 and 1 belong to no cluster.
    next: u64,
    /// Half bytes of it that have come already, and whether they were zero.
    partial: u64,
    is_zero: bool,
    /// First cluster of the run that is open.
    run: Option<u64>,
    visit: Visit<'a>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(bits: u64, clusters: u64, visit: Visit<'a>) -> Self {
        Self {
            width: bits / 4,
            clusters,
            next: 0,
            partial: 0,
            is_zero: true,
            run: None,
            visit,
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.width != 3 && self.partial == 0 {
                return self.feed_whole(bytes);
            }
            self.byte(*byte)?;
            bytes = rest;
        }
        ControlFlow::Continue(())
    }

    /// The fast way, for FAT16 and FAT32; an entry cut off at the end is fed by the byte.
    fn feed_whole(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let entries = bytes.chunks_exact(if self.width == 8 { 4 } else { 2 });
        let rest = entries.remainder();
        for entry in entries {
            let is_zero = match entry {
                [a, b] => *a == 0 && *b == 0,
                // The upper four bits of a FAT32 entry are reserved.
                [a, b, c, d] => *a == 0 && *b == 0 && *c == 0 && d & 0xf == 0,
                _ => false,
            };
            self.entry(is_zero)?;
        }
        for byte in rest {
            self.byte(*byte)?;
        }
        ControlFlow::Continue(())
    }

    pub(super) fn feed_zeroes(&mut self, bytes: u64) -> ControlFlow<()> {
        let mut left = bytes * 2;
        while left > 0 && self.partial != 0 {
            self.nibble(0)?;
            left -= 1;
        }
        let end = self.next + left / self.width;
        let first = self.next.max(2);
        if self.run.is_none() && first < end.min(self.clusters + 2) {
            self.run = Some(first - 2);
        }
        self.next = end;
        for _ in 0..left % self.width {
            self.nibble(0)?;
        }
        ControlFlow::Continue(())
    }

    /// Visits the run that is still open.
    pub(super) fn finish(mut self) {
        let _ = self.close();
    }

    fn byte(&mut self, byte: u8) -> ControlFlow<()> {
        self.nibble(byte & 0xf)?;
        self.nibble(byte >> 4)
    }

    fn nibble(&mut self, nibble: u8) -> ControlFlow<()> {
        let is_reserved = self.width == 8 && self.partial == 7;
        self.is_zero &= nibble == 0 || is_reserved;
        self.partial += 1;
        if self.partial < self.width {
            return ControlFlow::Continue(());
        }
        let is_zero = self.is_zero;
        self.partial = 0;
        self.is_zero = true;
        self.entry(is_zero)
    }

    fn entry(&mut self, is_zero: bool) -> ControlFlow<()> {
        let belongs_to_cluster = (2..self.clusters + 2).contains(&self.next);
        let mut flow = ControlFlow::Continue(());
        if !is_zero {
            flow = self.close();
        } else if self.run.is_none() && belongs_to_cluster {
            self.run = Some(self.next - 2);
        }
        self.next += 1;
        flow
    }

    /// Ends the open run before the entry that comes next.
    fn close(&mut self) -> ControlFlow<()> {
        match self.run.take() {
            Some(start) => {
                let end = self.next.saturating_sub(2).min(self.clusters);
                (self.visit)(start..end)
            }
            None => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of `bits` bits, packed as in a FAT.
    fn pack(entries: &[u32], bits: u32) -> Vec<u8> {
        let nibble = |entry: &u32, index: u32| (entry >> (index * 4) & 0xf) as u8;
        let nibbles: Vec<u8> = entries
            .iter()
            .flat_map(|entry| (0..bits / 4).map(move |index| nibble(entry, index)))
            .collect();
        nibbles
            .chunks(2)
            .map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4)
            .collect()
    }

    fn runs(bits: u64, clusters: u64, feed: impl FnOnce(&mut Entries<'_>)) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        let mut visit = |run| {
            runs.push(run);
            ControlFlow::Continue(())
        };
        let mut entries = Entries::new(bits, clusters, &mut visit);
        feed(&mut entries);
        entries.finish();
        runs
    }

    #[test]
    fn free_runs_are_found_whatever_the_pieces() {
        let mut fat = vec![0xf_ffff, 0xf_ffff];
        fat.extend((0..1000).map(|i: u32| if i % 7 < 3 || i > 900 { 0 } else { i }));
        let expected: Vec<_> = (0..900_u64)
            .step_by(7)
            .map(|start| start..if start == 896 { 899 } else { start + 3 })
            .chain(std::iter::once(901..998))
            .collect();
        for bits in [12, 16, 32] {
            let bytes = pack(&fat, bits);
            for piece in [1, 3, 7, 512, bytes.len()] {
                let found = runs(u64::from(bits), 998, |entries| {
                    for bytes in bytes.chunks(piece) {
                        let flow = if bytes.iter().all(|byte| *byte == 0) {
                            entries.feed_zeroes(bytes.len() as u64)
                        } else {
                            entries.feed(bytes)
                        };
                        assert!(flow.is_continue());
                    }
                });
                assert_eq!(found, expected, "{bits} bits in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_hole_is_free_from_the_first_cluster_to_the_last() {
        for bits in [12, 16, 32] {
            let found = runs(bits, 1000, |entries| {
                assert!(entries.feed(&[0xf8]).is_continue());
                assert!(entries.feed_zeroes(1 << 20).is_continue());
            });
            assert_eq!(found.len(), 1);
            assert_eq!(found[0], 0..1000, "{bits} bits");
        }
    }
}
