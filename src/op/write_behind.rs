//! Copying what has to be durable in the end: the disk writes while the rest is still read.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::units::MIB;

/// Bytes after which the host is told to begin: some requests of a disk, and few enough for the
/// flush in the end to find little left.
const STEP: u64 = 8 * MIB;

/// Counts what several threads write, and calls `start` every now and then.
pub(crate) struct WriteBehind<'a> {
    start: &'a (dyn Fn() + Sync),
    written: AtomicU64,
}

impl<'a> WriteBehind<'a> {
    /// `start` tells the host to begin with what was written so far.
    pub(crate) fn new(start: &'a (dyn Fn() + Sync)) -> Self {
        Self {
            start,
            written: AtomicU64::new(0),
        }
    }

    /// So many bytes more were written.
    pub(crate) fn wrote(&self, bytes: u64) {
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before / STEP != before.saturating_add(bytes) / STEP {
            (self.start)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_once_in_a_while() {
        let begun = AtomicU64::new(0);
        let start = || {
            begun.fetch_add(1, Ordering::Relaxed);
        };
        let behind = WriteBehind::new(&start);
        for _ in 0..64 {
            behind.wrote(MIB);
        }
        behind.wrote(STEP - 1);
        assert_eq!(begun.load(Ordering::Relaxed), 8);
        behind.wrote(1);
        assert_eq!(begun.load(Ordering::Relaxed), 9);
    }
}
