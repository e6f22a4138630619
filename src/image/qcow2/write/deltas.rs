//! Changes of the refcounts of any number of clusters, summed up before they are made, so that
//! each refcount block is touched once and in the order of the file, however scattered the
//! references are.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::image::qcow2::write::refcounts::{Change, Refcounts};

/// Clusters of a page.
const PAGE: usize = 1 << 14;
/// Clusters that are summed up at a time: a byte for each of those that are met.
const WINDOW: u64 = 1 << 27;
/// Clusters whose sum needs more than a byte. More than these are damage: a cluster holds at most
/// a few compressed ones.
const MAX_LARGE: usize = 1 << 20;
/// Changes that are made at a time.
const BATCH: usize = 1 << 16;

/// Sums for the clusters of one window of the file.
#[derive(Debug)]
pub(super) struct Deltas {
    window: Range<u64>,
    pages: Vec<Option<Box<[i8; PAGE]>>>,
    /// What does not fit a byte.
    large: BTreeMap<u64, i64>,
}

/// Which changes are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// Refcounts that rise.
    Up,
    /// Refcounts that fall.
    Down,
}

impl Deltas {
    /// The windows of a file of so many clusters. The last one has no end: references behind the
    /// end of the file are counted too.
    pub(super) fn windows(clusters: u64) -> Vec<Range<u64>> {
        let last = clusters.saturating_sub(1) / WINDOW;
        let end = |index| {
            if index == last {
                u64::MAX
            } else {
                (index + 1) * WINDOW
            }
        };
        (0..=last).map(|index| index * WINDOW..end(index)).collect()
    }

    /// Sums of 0 for a window.
    pub(super) fn new(window: Range<u64>) -> Self {
        Self {
            window,
            pages: Vec::new(),
            large: BTreeMap::new(),
        }
    }

    /// Adds `delta` for a cluster, if it is in the window.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for more references to the same places, or behind the end of
    /// the file, than a sound image has.
    pub(super) fn add(&mut self, cluster: u64, delta: i8) -> Result<()> {
        if !self.window.contains(&cluster) {
            return Ok(());
        }
        let at = cluster - self.window.start;
        if at >= WINDOW {
            return self.add_large(cluster, i64::from(delta));
        }
        let (page, index) = place(at);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new([0; PAGE]));
        if let Some(sum) = page[index].checked_add(delta) {
            page[index] = sum;
            return Ok(());
        }
        let sum = i64::from(std::mem::take(&mut page[index])) + i64::from(delta);
        self.add_large(cluster, sum)
    }

    /// Makes the changes of one direction; calls `freed` with runs of clusters whose refcount is 0
    /// now. On an error no refcount is changed.
    ///
    /// # Errors
    /// As [`Refcounts::adjust_many`].
    pub(super) fn apply(
        &self,
        refcounts: &mut Refcounts,
        part: Part,
        freed: &mut dyn FnMut(Range<u64>),
    ) -> Result<()> {
        let mut done = 0;
        let outcome = self.for_each_batch(part, &mut |changes| {
            refcounts.adjust_many(changes, freed)?;
            done += changes.len();
            Ok(())
        });
        let Err(error) = outcome else {
            return Ok(());
        };
        self.for_each_batch(part, &mut |changes| {
            let mut back = changes[..done.min(changes.len())].to_vec();
            done -= back.len();
            for change in &mut back {
                change.delta = -change.delta;
            }
            refcounts.adjust_many(&back, &mut |_| ())
        })?;
        Err(error)
    }

    /// Turns the sums into marks, after [`Self::apply`]: of clusters whose refcount fell and is 1
    /// now.
    ///
    /// # Errors
    /// As [`Refcounts::get`].
    pub(super) fn mark_exclusive(&mut self, refcounts: &mut Refcounts) -> Result<()> {
        let mut marks = Self::new(self.window.clone());
        self.for_each_batch(Part::Down, &mut |changes| {
            for change in changes {
                let mut at = change.clusters.start;
                while at < change.clusters.end {
                    let (value, count) = refcounts.run(at..change.clusters.end)?;
                    if value == 1 {
                        (at..at + count).try_for_each(|cluster| marks.add(cluster, 1))?;
                    }
                    at += count;
                }
            }
            Ok(())
        })?;
        *self = marks;
        Ok(())
    }

    /// Whether a cluster has a mark.
    pub(super) fn is_marked(&self, cluster: u64) -> bool {
        let Some(at) = cluster.checked_sub(self.window.start) else {
            return false;
        };
        if at >= WINDOW {
            return self.large.contains_key(&cluster);
        }
        let (page, index) = place(at);
        matches!(self.pages.get(page), Some(Some(page)) if page[index] != 0)
    }

    fn add_large(&mut self, cluster: u64, delta: i64) -> Result<()> {
        *self.large.entry(cluster).or_insert(0) += delta;
        if self.large.len() > MAX_LARGE {
            return Err(Error::corrupt(
                "too many references to the same clusters or behind the end of the file",
            ));
        }
        Ok(())
    }

    /// Visits the changes of one direction in the order of the file, many at a time.
    fn for_each_batch(
        &self,
        part: Part,
        visit: &mut dyn FnMut(&[Change]) -> Result<()>,
    ) -> Result<()> {
        let mut batch = Batch {
            part,
            changes: Vec::new(),
            visit,
        };
        for (page, start) in self.pages.iter().zip((self.window.start..).step_by(PAGE)) {
            let Some(page) = page else {
                continue;
            };
            let mut large = self.large.range(start..start + PAGE as u64).peekable();
            for (sum, cluster) in page.iter().zip(start..) {
                let more = large.next_if(|(at, _)| **at == cluster);
                batch.push(cluster, i64::from(*sum) + more.map_or(0, |(_, more)| *more))?;
            }
        }
        let behind = self.window.start.saturating_add(WINDOW);
        for (cluster, delta) in self.large.range(behind..) {
            batch.push(*cluster, *delta)?;
        }
        (batch.visit)(&batch.changes)
    }
}

/// Changes on their way to a visitor.
struct Batch<'a> {
    part: Part,
    changes: Vec<Change>,
    visit: &'a mut dyn FnMut(&[Change]) -> Result<()>,
}

impl Batch<'_> {
    fn push(&mut self, cluster: u64, delta: i64) -> Result<()> {
        let is_wanted = match self.part {
            Part::Up => delta > 0,
            Part::Down => delta < 0,
        };
        if !is_wanted {
            return Ok(());
        }
        match self.changes.last_mut() {
            Some(last) if last.clusters.end == cluster && last.delta == delta => {
                last.clusters.end += 1;
            }
            _ => {
                if self.changes.len() >= BATCH {
                    (self.visit)(&self.changes)?;
                    self.changes.clear();
                }
                self.changes.push(Change {
                    clusters: cluster..cluster + 1,
                    delta,
                });
            }
        }
        Ok(())
    }
}

/// Page, and index in it.
fn place(at: u64) -> (usize, usize) {
    // Less than the clusters of a window.
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    (at / PAGE, at % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(deltas: &Deltas, part: Part) -> Vec<(Range<u64>, i64)> {
        let mut seen = Vec::new();
        deltas
            .for_each_batch(part, &mut |changes| {
                seen.extend(changes.iter().map(|c| (c.clusters.clone(), c.delta)));
                Ok(())
            })
            .unwrap();
        seen
    }

    #[test]
    fn sums_up_in_the_order_of_the_file() {
        let mut deltas = Deltas::new(0..u64::MAX);
        for (cluster, delta) in [(70_000, 1), (5, 1), (4, 1), (6, -1), (9, 1), (9, -1)] {
            deltas.add(cluster, delta).unwrap();
        }
        for _ in 0..300 {
            deltas.add(16_384, 1).unwrap();
        }
        deltas.add(WINDOW + 7, -1).unwrap();
        assert_eq!(
            changes(&deltas, Part::Up),
            [(4..6, 1), (16_384..16_385, 300), (70_000..70_001, 1)]
        );
        let end = WINDOW + 7;
        assert_eq!(
            changes(&deltas, Part::Down),
            [(6..7, -1), (end..end + 1, -1)]
        );
    }

    #[test]
    fn windows_cover_any_file() {
        assert_eq!(Deltas::windows(WINDOW + 1), [0..WINDOW, WINDOW..u64::MAX]);
        assert_eq!(Deltas::windows(0).len(), 1);
        let mut second = Deltas::new(WINDOW..u64::MAX);
        second.add(3, 1).unwrap();
        second.add(WINDOW + 3, 1).unwrap();
        assert_eq!(changes(&second, Part::Up), [(WINDOW + 3..WINDOW + 4, 1)]);
        assert!(second.is_marked(WINDOW + 3));
        assert!(!second.is_marked(3));
    }
}
