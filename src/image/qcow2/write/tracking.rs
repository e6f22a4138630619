//! Enabled dirty bitmaps record what the guest writes.
//!
//! Before the first change of guest data they are marked "in use" on disk, so that after a crash
//! nobody believes them; a flush writes the new bits and takes the mark away.

use std::ops::Range;

use crate::error::Result;
use crate::image::qcow2::bitmap::{self, BitmapEntry, FLAG_AUTO, FLAG_IN_USE};
use crate::image::qcow2::feature;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::structures::Structure;
use crate::storage::Storage;

/// Ranges that are kept apart; of more, neighbours become one.
const MAX_RANGES: usize = 1 << 18;

/// What was written since the bitmaps were last stored.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    /// The bitmaps are marked on disk.
    is_marked: bool,
    ranges: Vec<Range<u64>>,
}

impl Tracking {
    fn record(&mut self, range: &Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if last.start <= range.start && range.start <= last.end => {
                last.end = last.end.max(range.end);
            }
            _ => self.ranges.push(range.clone()),
        }
        if self.ranges.len() > MAX_RANGES {
            self.join();
            if self.ranges.len() > MAX_RANGES / 2 {
                // Too much is said, never too little.
                let pairs = self.ranges.chunks(2);
                let joined = pairs.map(|pair| pair[0].start..pair[pair.len() - 1].end);
                self.ranges = joined.collect();
            }
        }
    }

    /// Sorts the ranges and joins those that touch.
    fn join(&mut self) {
        self.ranges.sort_unstable_by_key(|range| range.start);
        self.ranges.dedup_by(|next, kept| {
            let touches = next.start <= kept.end;
            if touches {
                kept.end = kept.end.max(next.end);
            }
            touches
        });
    }
}

impl State {
    /// Called before each change of guest data in `range`: on return no enabled bitmap on disk can
    /// be believed that does not know of it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for a damaged bitmap directory; I/O errors.
    pub(super) fn before_guest_write(&mut self, range: &Range<u64>) -> Result<()> {
        if !self.has_enabled_bitmaps {
            return Ok(());
        }
        if !self.tracking.is_marked {
            self.mark_bitmaps()?;
        }
        if self.tracking.is_marked {
            self.tracking.record(range);
        }
        Ok(())
    }

    /// Whether bitmaps on disk are marked by us.
    pub(super) fn has_marked_bitmaps(&self) -> bool {
        self.tracking.is_marked
    }

    /// Stores what was recorded in all enabled bitmaps, and takes their marks away; durable on
    /// return. Guest data must be durable already.
    ///
    /// # Errors
    /// As [`Self::before_guest_write`].
    pub(super) fn store_recorded(&mut self) -> Result<()> {
        if !self.tracking.is_marked {
            return Ok(());
        }
        self.tracking.join();
        let ranges = std::mem::take(&mut self.tracking.ranges);
        let mut entries = self.bitmap_entries()?;
        let mut old = Vec::new();
        for entry in &mut entries {
            // Those that were in use before we came stay so.
            if entry.facts.auto && self.tracked.contains(&entry.facts.name) {
                entry.facts.in_use = false;
                old.extend(self.set_bits(entry, &ranges)?);
            }
        }
        self.store_bitmaps(&entries, old)?;
        self.tracking = Tracking::default();
        self.tracked.clear();
        Ok(())
    }

    /// Marks the enabled bitmaps in their directory as being in use, durable on return. Bitmaps
    /// that nobody here understands are given up: their feature bit goes.
    fn mark_bitmaps(&mut self) -> Result<()> {
        let storage = self.storage.as_ref() as &dyn Storage;
        let Some(entries) = bitmap::read(storage, &self.header.fields)
            .ok()
            .filter(|entries| entries.iter().all(|entry| self.is_understood(entry)))
        else {
            self.has_enabled_bitmaps = false;
            self.header.fields.autoclear_features &= !feature::BITMAPS;
            return self.write_header();
        };
        self.tracked.clear();
        for entry in entries {
            if entry.facts.auto && !entry.facts.in_use {
                let flags = (FLAG_AUTO | FLAG_IN_USE).to_be_bytes();
                self.storage.write_at(&flags, entry.flags_offset)?;
                self.tracked.push(entry.facts.name);
            }
        }
        self.tracking.is_marked = true;
        self.storage.flush()
    }

    /// Whether an entry of the directory can be written, and is nothing else besides.
    fn is_understood(&self, entry: &BitmapEntry) -> bool {
        let bits = self.cluster_bits();
        let at = [entry.flags_offset, entry.flags_offset + 3];
        let is_other = |offset: u64| {
            let structure = self.structures.get(offset >> bits);
            structure.is_some_and(|structure| structure != Structure::Bitmap)
        };
        !entry.has_extra_data && !at.into_iter().any(is_other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_too_much_rather_than_too_little() {
        let mut tracking = Tracking::default();
        for index in 0..=MAX_RANGES as u64 {
            tracking.record(&(index * 10..index * 10 + 5));
        }
        assert!(tracking.ranges.len() <= MAX_RANGES / 2 + 1);
        assert!(tracking.ranges.iter().any(|range| range.contains(&14)));
        tracking.record(&(3..20));
        tracking.record(&(20..30));
        tracking.join();
        assert!(tracking.ranges[0].start == 0 && tracking.ranges[0].end >= 30);
    }
}
