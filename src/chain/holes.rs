//! The holes of a host file, for many small questions in any order.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Run, Storage};
use crate::units::GIB;

/// The holes of one file. The first questions go to the host; when there are many, all runs of the
/// file are read in one pass and kept.
#[derive(Debug)]
pub(super) struct HostHoles {
    storage: Arc<dyn Storage>,
    questions: u32,
    table: Table,
}

#[derive(Debug)]
enum Table {
    NotYet,
    /// There are more runs than may be kept.
    TooBig,
    Kept(Toggles),
}

impl HostHoles {
    /// A good budget for the runs kept of all files together: 32 MiB.
    pub(super) const BUDGET: usize = 4 << 20;

    /// So many questions are cheaper asked one by one than by a pass over the file.
    const FEW: u32 = 256;

    /// The holes of `storage`.
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            questions: 0,
            table: Table::NotYet,
        }
    }

    /// Visits the runs of `range` in order until the visitor breaks. What is behind the end of the
    /// file is a hole. Runs that are kept are taken from `budget`.
    ///
    /// # Errors
    /// When the host fails.
    pub(super) fn for_each_run(
        &mut self,
        range: Range<u64>,
        budget: &mut usize,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        self.questions = self.questions.saturating_add(1);
        if self.questions > Self::FEW && matches!(self.table, Table::NotYet) {
            self.table = match Toggles::read(self.storage.as_ref(), *budget)? {
                Some(toggles) => {
                    *budget -= toggles.offsets.len();
                    Table::Kept(toggles)
                }
                None => Table::TooBig,
            };
        }
        match &self.table {
            Table::Kept(toggles) => {
                toggles.for_each_run(range, visit);
                Ok(())
            }
            Table::NotYet | Table::TooBig => self.ask(range, visit),
        }
    }

    fn ask(&self, range: Range<u64>, visit: &mut dyn FnMut(Run) -> ControlFlow<()>) -> Result<()> {
        let mut position = range.start;
        let mut stopped = false;
        self.storage.for_each_run(range.clone(), &mut |run| {
            position = run.range.end;
            let flow = visit(run);
            stopped = flow.is_break();
            flow
        })?;
        if position < range.end && !stopped {
            let _ = visit(Run {
                range: position..range.end,
                hole: true,
            });
        }
        Ok(())
    }
}

/// The offsets at which a file turns from hole to data and back, beginning with a hole.
#[derive(Debug)]
struct Toggles {
    offsets: Vec<u64>,
    /// Of each stretch of `1 << shift` bytes: how many toggles come before it.
    index: Vec<u32>,
    shift: u32,
}

impl Toggles {
    /// `None` when there are more than `max`. The parts of a big file are asked for on all cores:
    /// the host takes most of the time.
    fn read(storage: &dyn Storage, max: usize) -> Result<Option<Self>> {
        let size = storage.size()?;
        let cores = thread::available_parallelism().map_or(1, usize::from) as u64;
        let step = size.div_ceil(cores).max(PART);
        let parts: Vec<Range<u64>> = (0..size.div_ceil(step).max(1))
            .map(|part| part * step..(part + 1).saturating_mul(step))
            .collect();
        let read = |part: &Range<u64>| read_part(storage, part.clone(), max);
        let results: Vec<Result<Vec<u64>>> = match parts.as_slice() {
            [part] => vec![read(part)],
            parts => thread::scope(|scope| {
                let threads: Vec<_> = parts
                    .iter()
                    .map(|part| scope.spawn(|| read(part)))
                    .collect();
                let panicked = |_| Err(Error::new(ErrorKind::Io, "a thread broke off"));
                let join = |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(panicked);
                threads.into_iter().map(join).collect()
            }),
        };
        let mut offsets: Vec<u64> = Vec::new();
        for part in results {
            let part = part?;
            // Data across a boundary was told in two pieces.
            let joined = usize::from(!offsets.is_empty() && offsets.last() == part.first());
            offsets.truncate(offsets.len() - joined);
            offsets.extend_from_slice(&part[joined..]);
        }
        Ok((offsets.len() <= max).then(|| Self::new(offsets)))
    }

    fn new(offsets: Vec<u64>) -> Self {
        let end = offsets.last().copied().unwrap_or(0);
        // Some four toggles a stretch: found in one line of the cache.
        let stretches = (offsets.len() / 4).next_power_of_two() as u64;
        let shift = (end / stretches).checked_ilog2().map_or(0, |log| log + 1);
        let mut index = Vec::new();
        let mut before = 0_u32;
        for offset in &offsets {
            let stretch = offset >> shift;
            while (index.len() as u64) <= stretch {
                index.push(before);
            }
            before = before.saturating_add(1);
        }
        index.push(before);
        Self {
            offsets,
            index,
            shift,
        }
    }

    /// How many toggles are at or before `position`.
    fn before(&self, position: u64) -> usize {
        let stretch = usize::try_from(position >> self.shift).unwrap_or(usize::MAX);
        let bound = |stretch: usize| match self.index.get(stretch) {
            Some(&count) => count as usize,
            None => self.offsets.len(),
        };
        let (low, high) = (bound(stretch), bound(stretch.saturating_add(1)));
        low + self.offsets[low..high].partition_point(|&offset| offset <= position)
    }

    fn for_each_run(&self, range: Range<u64>, visit: &mut dyn FnMut(Run) -> ControlFlow<()>) {
        let mut next = self.before(range.start);
        let mut position = range.start;
        while position < range.end {
            let toggle = self.offsets.get(next).copied().unwrap_or(u64::MAX);
            let end = toggle.min(range.end);
            let run = Run {
                range: position..end,
                hole: next.is_multiple_of(2),
            };
            if position < end && visit(run).is_break() {
                return;
            }
            position = end;
            next += 1;
        }
    }
}

/// Files are cut into parts of no less than this to be asked for in parallel.
const PART: u64 = GIB;

/// The toggles of a part of a file; not many more than `max`.
fn read_part(storage: &dyn Storage, part: Range<u64>, max: usize) -> Result<Vec<u64>> {
    let mut offsets: Vec<u64> = Vec::new();
    storage.for_each_run(part, &mut |run| {
        if run.hole {
            return ControlFlow::Continue(());
        }
        if offsets.last() == Some(&run.range.start) {
            offsets.pop();
        } else {
            offsets.push(run.range.start);
        }
        offsets.push(run.range.end);
        if offsets.len() > max {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, FaultStorage};

    /// Data where the pattern has a letter, 10 bytes each.
    #[derive(Debug)]
    struct Pattern(&'static str);

    impl Storage for Pattern {
        fn size(&self) -> Result<u64> {
            Ok(self.0.len() as u64 * 10)
        }

        fn read_at(&self, _: &mut [u8], _: u64) -> Result<()> {
            unreachable!("holes are asked for, not read")
        }

        fn for_each_run(
            &self,
            range: Range<u64>,
            visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
        ) -> Result<()> {
            for (start, byte) in (0..).step_by(10).zip(self.0.bytes()) {
                let range = range.start.max(start)..range.end.min(start + 10);
                let hole = byte == b'.';
                if !range.is_empty() && visit(Run { range, hole }).is_break() {
                    break;
                }
            }
            Ok(())
        }
    }

    fn holes(file: &mut HostHoles, range: Range<u64>, budget: &mut usize) -> Vec<bool> {
        let mut holes = Vec::new();
        let mut position = range.start;
        file.for_each_run(range.clone(), budget, &mut |run| {
            assert_eq!(run.range.start, position);
            holes.extend(run.range.clone().map(|_| run.hole));
            position = run.range.end;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(position, range.end);
        holes
    }

    #[test]
    fn the_table_and_the_host_say_the_same() {
        for pattern in [
            "",
            "a",
            ".",
            "a.",
            ".a",
            "aa..a.aaa...a",
            "....a....",
            ".a.a.a.a.a.a",
        ] {
            let mut asked = HostHoles::new(Arc::new(Pattern(pattern)));
            let mut kept = HostHoles::new(Arc::new(Pattern(pattern)));
            let (mut none, mut enough) = (0, 100);
            for _ in 0..=HostHoles::FEW {
                let same = holes(&mut asked, 0..7, &mut none);
                assert_eq!(same, holes(&mut kept, 0..7, &mut enough));
            }
            assert!(matches!(kept.table, Table::Kept(_)));
            let has_data = pattern.contains('a');
            assert_eq!(matches!(asked.table, Table::TooBig), has_data, "{pattern}");
            assert_eq!(enough < 100, has_data);
            for start in 0..150 {
                for end in [start, start + 1, start + 15, 200] {
                    let asked = holes(&mut asked, start..end, &mut none);
                    let kept = holes(&mut kept, start..end, &mut enough);
                    assert_eq!(asked, kept, "{pattern} {start}..{end}");
                }
            }
        }
    }

    /// A hole of a gigabyte, data across its end, a hole to the end of the third.
    #[derive(Debug)]
    struct Big;

    impl Storage for Big {
        fn size(&self) -> Result<u64> {
            Ok(3 * GIB)
        }

        fn read_at(&self, _: &mut [u8], _: u64) -> Result<()> {
            unreachable!("holes are asked for, not read")
        }

        fn for_each_run(
            &self,
            range: Range<u64>,
            visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
        ) -> Result<()> {
            let edges = [0, GIB - 5, 2 * GIB + 7, 3 * GIB];
            for (edge, hole) in edges.windows(2).zip([true, false, true]) {
                let range = range.start.max(edge[0])..range.end.min(edge[1]);
                if !range.is_empty() && visit(Run { range, hole }).is_break() {
                    break;
                }
            }
            Ok(())
        }
    }

    #[test]
    fn parts_of_a_big_file_are_joined() {
        let toggles = Toggles::read(&Big, 100).unwrap().unwrap();
        assert_eq!(toggles.offsets, [GIB - 5, 2 * GIB + 7]);
    }

    #[test]
    fn many_questions_cost_one_pass() {
        let storage = Arc::new(FaultStorage::new(
            Arc::new(Pattern("a.aa..a")),
            Fault::Never,
        ));
        let mut file = HostHoles::new(Arc::clone(&storage) as _);
        let mut budget = HostHoles::BUDGET;
        for question in 0..10_000 {
            holes(&mut file, question % 70..70, &mut budget);
        }
        assert_eq!(storage.run_queries(), u64::from(HostHoles::FEW) + 1);
    }

    #[test]
    fn far_offsets_are_found() {
        let far = 1 << 60;
        let toggles = Toggles::new(vec![0, 5, far, far + 1]);
        for (position, count) in [(0, 1), (5, 2), (far - 1, 2), (far, 3), (u64::MAX, 4)] {
            assert_eq!(toggles.before(position), count, "{position}");
        }
        assert!(toggles.index.len() < 20);
    }
}
