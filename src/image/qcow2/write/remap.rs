//! Guest bytes at other guest offsets, without copying them: new L2 tables lead to the same
//! clusters from other places.
//!
//! Entries are taken over as they are, so that what they refer to is counted as before, and copied
//! flags, compressed clusters and subclusters stay right. Only clusters in which bytes of several
//! owners come together are copied, and what a backing file shows at the old place.
//! Where it would show what is not to be read any more, an entry says zeroes; version 2 has none such
//! and gets clusters of zeroes, no more than the backing file holds there.
//!
//! The order of writes (‖ is a barrier):
//! copied clusters, new L2 tables, new L1 table, their refcounts ‖ header: that table ‖ refcounts of
//! the old tables and of what was overwritten down

use std::ops::{ControlFlow, Range};

use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::image::qcow2::entry::COPIED;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::mapping::Mapping;
use crate::image::qcow2::write::tree::Tree;
use crate::storage::{Move, check_moves, vacated};

/// Entries that are taken over at a time, at most: what is known of the backing file under them is
/// in memory.
const CHUNK: u64 = 1 << 12;

/// Where the bytes of a place come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// They are there already.
    Here,
    /// From this guest offset.
    There(u64),
    /// They become zeroes.
    Zeroes,
}

impl Source {
    fn advanced(self, bytes: u64) -> Self {
        match self {
            Self::There(from) => Self::There(from + bytes),
            other => other,
        }
    }
}

/// A part of the disk that does not stay as it is.
#[derive(Clone, Debug)]
struct Part {
    range: Range<u64>,
    source: Source,
}

/// All of these, ascending.
#[derive(Debug)]
struct Parts(Vec<Part>);

impl Parts {
    fn new(moves: &[Move]) -> Self {
        let moves = moves
            .iter()
            .filter(|one| one.from != one.to && one.length > 0);
        let moves: Vec<Move> = moves.copied().collect();
        let moved = moves.iter().map(|one| Part {
            range: one.target(),
            source: Source::There(one.from),
        });
        let left = vacated(&moves).into_iter().map(|range| Part {
            range,
            source: Source::Zeroes,
        });
        let mut parts: Vec<Part> = moved.chain(left).collect();
        parts.sort_unstable_by_key(|part| part.range.start);
        Self(parts)
    }

    /// What becomes of `range`: all of it, piece by piece.
    fn within(&self, range: &Range<u64>) -> Vec<Part> {
        let first = self.0.partition_point(|part| part.range.end <= range.start);
        let mut pieces = Vec::new();
        let mut at = range.start;
        let stays = |range| Part {
            range,
            source: Source::Here,
        };
        for part in self.0[first..]
            .iter()
            .take_while(|part| part.range.start < range.end)
        {
            if at < part.range.start {
                pieces.push(stays(at..part.range.start));
                at = part.range.start;
            }
            let end = part.range.end.min(range.end);
            pieces.push(Part {
                range: at..end,
                source: part.source.advanced(at - part.range.start),
            });
            at = end;
        }
        if at < range.end {
            pieces.push(stays(at..range.end));
        }
        pieces
    }
}

/// What becomes of an L2 table.
enum NewTable {
    /// It stays, or there is none.
    Same,
    /// Nothing is left in it.
    Nothing,
    /// It has this content.
    Changed(Vec<u8>),
}

/// What was allocated on the way, to be given back if it comes to nothing.
#[derive(Debug, Default)]
struct Made(Vec<(u64, u64)>);

impl Made {
    fn note(&mut self, host: u64, cluster_size: u64) {
        match self.0.last_mut() {
            Some((first, count)) if *first + *count * cluster_size == host => *count += 1,
            _ => self.0.push((host, 1)),
        }
    }
}

impl State {
    /// See [`crate::image::ImageWriter::remap`].
    pub(super) fn remap(&mut self, moves: &[Move], control: &Control) -> Result<(), Stop> {
        let fields = &self.header.fields;
        let size = fields.size;
        check_moves(moves, size)?;
        let unit = fields.moves_by();
        let is_whole = |one: &Move| unit.is_some_and(|unit| one.distance().is_multiple_of(unit));
        if !moves.iter().all(is_whole) {
            let message = "this image moves whole clusters only, and none of an external data file";
            return Err(Error::unsupported(message).into());
        }
        let parts = Parts::new(moves);
        if parts.0.is_empty() {
            return Ok(());
        }
        for part in &parts.0 {
            self.before_guest_write(&part.range)?;
        }
        self.settle()?;
        let mut made = Made::default();
        let prepared = self.prepare_remap(&parts, &mut made, control);
        let (host, entries, trees) = match prepared {
            Ok(prepared) => prepared,
            Err(stop) => {
                for (host, count) in made.0 {
                    self.release(host, count)?;
                }
                return Err(stop);
            }
        };
        self.switch_l1(host, entries, size)?;
        self.l2.clear();
        let outcome = self
            .count_down(&trees, &Control::new(), &mut |_, _| Ok(()))
            .and_then(|()| self.checkpoint());
        Ok(outcome.map_err(|error| self.poison(error))?)
    }

    /// Everything that the switch needs, durable: the new L1 table's host offset and entries, and
    /// what is to be counted down when nothing leads to it any more.
    fn prepare_remap(
        &mut self,
        parts: &Parts,
        made: &mut Made,
        control: &Control,
    ) -> Result<(u64, Vec<u64>, [Tree; 2]), Stop> {
        let mut entries = self.l1.entries().to_vec();
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let mut start = 0_u64;
        for (index, entry) in entries.iter_mut().enumerate() {
            let end = start.saturating_add(self.format.table_reach());
            let window = start..end.min(self.header.fields.size);
            start = end;
            if window.is_empty() {
                break;
            }
            let replaced = match self.remapped_table(index, &window, parts, made, control)? {
                NewTable::Same => continue,
                NewTable::Nothing => 0,
                NewTable::Changed(bytes) => {
                    let host = self.allocate(1)?;
                    made.note(host, self.cluster_size());
                    self.storage.write_at(&bytes, host)?;
                    host | COPIED
                }
            };
            old.push(*entry);
            new.push(replaced);
            *entry = replaced;
        }
        let bits = self.cluster_bits();
        let trees = [Tree::new(&new, 1, bits)?, Tree::new(&old, -1, bits)?];
        let host = self.write_new_l1(&entries)?;
        Ok((host, entries, trees))
    }

    /// What becomes of L2 table `index`, which maps `window`.
    fn remapped_table(
        &mut self,
        index: usize,
        window: &Range<u64>,
        parts: &Parts,
        made: &mut Made,
        control: &Control,
    ) -> Result<NewTable, Stop> {
        let pieces = parts.within(window);
        if !self.is_touched(index, &pieces)? {
            return Ok(NewTable::Same);
        }
        control.checkpoint()?;
        let size = self.cluster_size();
        let old = self.l2_table(index)?.map(<[u8]>::to_vec);
        if let Some(table) = &old {
            self.check_entries(table, window.start)?;
        }
        let mut table = old.clone().unwrap_or_else(|| vec![0; self.cluster_bytes()]);
        let mut edges: Vec<u64> = Vec::new();
        for piece in pieces.iter().filter(|piece| piece.source != Source::Here) {
            let Range { start, end } = piece.range;
            let whole = start.next_multiple_of(size)..end - end % size;
            for edge in [start, end] {
                let cluster = edge - edge % size;
                if edge != cluster && edges.last() != Some(&cluster) {
                    edges.push(cluster);
                }
            }
            if whole.start < whole.end {
                let source = piece.source.advanced(whole.start - start);
                self.take_over(&mut table, window.start, whole, source, made, control)?;
            }
        }
        for cluster in edges {
            control.checkpoint()?;
            let mapping = self.composed(cluster, parts, made)?;
            let part = self.part_of_table(cluster - window.start, 1);
            self.format.put(&mapping, &mut table[part])?;
        }
        Ok(match old {
            Some(old) if old == table => NewTable::Same,
            None if table.iter().all(|byte| *byte == 0) => NewTable::Same,
            Some(_) if table.iter().all(|byte| *byte == 0) => NewTable::Nothing,
            _ => NewTable::Changed(table),
        })
    }

    /// Refuses damaged entries: what they lead to would be counted down when it is too late.
    fn check_entries(&self, table: &[u8], first: u64) -> Result<()> {
        let entry_size = usize::try_from(self.format.entry_size()).unwrap_or(usize::MAX);
        let guests = (first..).step_by(self.cluster_bytes());
        for (entry, guest) in table.chunks_exact(entry_size).zip(guests) {
            self.format.decode(entry, guest)?;
        }
        Ok(())
    }

    /// Whether `pieces`, which L2 table `index` maps, may read differently afterwards. Of a large
    /// disk most tables are not even there.
    fn is_touched(&self, index: usize, pieces: &[Part]) -> Result<bool> {
        let reach = self.format.table_reach();
        let covered = match &self.backing {
            Some(backing) => backing.size()?,
            None if self.has_backing() => u64::MAX,
            None => 0,
        };
        let has_table = |index: u64| {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            self.l1.l2_table(index).is_some()
        };
        Ok(pieces.iter().any(|piece| {
            let length = piece.range.end - piece.range.start;
            let holds = |start: u64| {
                let last = start + length - 1;
                start < covered || (start / reach..=last / reach).any(has_table)
            };
            let is_here = self.l1.l2_table(index).is_some() || piece.range.start < covered;
            match piece.source {
                Source::Here => false,
                Source::Zeroes => is_here,
                Source::There(from) => is_here || holds(from),
            }
        }))
    }

    /// Fills the entries of the clusters `whole` in a table that maps the disk from `first` on.
    fn take_over(
        &mut self,
        table: &mut [u8],
        first: u64,
        whole: Range<u64>,
        source: Source,
        made: &mut Made,
        control: &Control,
    ) -> Result<(), Stop> {
        let size = self.cluster_size();
        let mut at = whole.start;
        while at < whole.end {
            control.checkpoint()?;
            let source = source.advanced(at - whole.start);
            let mut end = whole.end.min(at + CHUNK * size);
            if let Source::There(from) = source {
                // From one table.
                end = end.min(at + (self.end_of_table(from) - from));
            }
            let entries = self.part_of_table(at - first, (end - at) / size);
            let entries = &mut table[entries];
            match source {
                Source::There(from) => self.copy_entries(entries, from, at..end, made)?,
                Source::Here | Source::Zeroes => self.zero_entries(entries, at..end, made)?,
            }
            at = end;
        }
        Ok(())
    }

    /// Fills `entries`, of the clusters at `to`, with those of the clusters from `from` on.
    fn copy_entries(
        &mut self,
        entries: &mut [u8],
        from: u64,
        to: Range<u64>,
        made: &mut Made,
    ) -> Result<()> {
        let (format, size) = (self.format, self.cluster_size());
        let count = (to.end - to.start) / size;
        let index = usize::try_from(from / format.table_reach()).unwrap_or(usize::MAX);
        let part = self.part_of_table(from % format.table_reach(), count);
        match self.l2_table(index)? {
            Some(table) => entries.copy_from_slice(&table[part]),
            None => entries.fill(0),
        }
        if !self.has_backing() {
            return Ok(());
        }
        let below_source = self.data_below(from..from + (to.end - to.start))?;
        let below_target = self.data_below(to.clone())?;
        let entry_size = usize::try_from(format.entry_size()).unwrap_or(usize::MAX);
        for (entry, offset) in entries
            .chunks_exact_mut(entry_size)
            .zip((0..).step_by(self.cluster_bytes()))
        {
            let old = format.decode(entry, from + offset)?;
            let missing = old.missing(format);
            if missing == 0 {
                continue;
            }
            let cluster = |start: u64| start + offset..start + offset + size;
            let new = if touches(&below_source, &cluster(from)) {
                let mut bytes = vec![0; self.cluster_bytes()];
                self.read_current(cluster(from), &mut bytes)?;
                self.place(&bytes, cluster(to.start).start, made)?
            } else if old == Mapping::default() && !touches(&below_target, &cluster(to.start)) {
                old
            } else if format.version < 3 {
                // Without subclusters, all of it is missing.
                self.zeroes(made)?
            } else {
                Mapping {
                    zero: old.zero | missing,
                    ..old
                }
            };
            format.put(&new, entry)?;
        }
        Ok(())
    }

    /// Makes `entries`, of the clusters at `to`, read as zeroes.
    fn zero_entries(&mut self, entries: &mut [u8], to: Range<u64>, made: &mut Made) -> Result<()> {
        entries.fill(0);
        if !self.has_backing() {
            return Ok(());
        }
        let below = self.data_below(to.clone())?;
        let (format, size) = (self.format, self.cluster_size());
        let entry_size = usize::try_from(format.entry_size()).unwrap_or(usize::MAX);
        for (entry, at) in entries
            .chunks_exact_mut(entry_size)
            .zip((to.start..).step_by(self.cluster_bytes()))
        {
            if touches(&below, &(at..at + size)) {
                format.put(&self.zeroes(made)?, entry)?;
            }
        }
        Ok(())
    }

    /// The cluster at `cluster` with bytes of several sources, or of one that ends with the disk.
    fn composed(&mut self, cluster: u64, parts: &Parts, made: &mut Made) -> Result<Mapping> {
        let end = (cluster + self.cluster_size()).min(self.header.fields.size);
        let mut bytes = vec![0; self.cluster_bytes()];
        for piece in parts.within(&(cluster..end)) {
            let at = |guest: u64| usize::try_from(guest - cluster).unwrap_or(usize::MAX);
            let length = piece.range.end - piece.range.start;
            let into = &mut bytes[at(piece.range.start)..at(piece.range.end)];
            match piece.source {
                Source::Here => self.read_current(piece.range, into)?,
                Source::There(from) => self.read_current(from..from + length, into)?,
                Source::Zeroes => {}
            }
        }
        self.place(&bytes, cluster, made)
    }

    /// A cluster with these bytes for the guest offset `guest`.
    fn place(&mut self, bytes: &[u8], guest: u64, made: &mut Made) -> Result<Mapping> {
        let size = self.cluster_size();
        if bytes.iter().all(|byte| *byte == 0) {
            let shows = self.has_backing() && !self.data_below(guest..guest + size)?.is_empty();
            return Ok(match shows {
                true => self.zeroes(made)?,
                false => Mapping::default(),
            });
        }
        self.place_data(bytes, made)
    }

    /// Zeroes that hide the backing file.
    fn zeroes(&mut self, made: &mut Made) -> Result<Mapping> {
        if self.format.version >= 3 {
            return Ok(Mapping::zeroes(self.format));
        }
        let bytes = vec![0; self.cluster_bytes()];
        self.place_data(&bytes, made)
    }

    fn place_data(&mut self, bytes: &[u8], made: &mut Made) -> Result<Mapping> {
        let host = self.allocate(1)?;
        made.note(host, self.cluster_size());
        self.storage.write_at(bytes, host)?;
        Ok(Mapping::data(self.format, host))
    }

    /// What the backing file holds of `range`, ascending, but for holes.
    fn data_below(&self, range: Range<u64>) -> Result<Vec<Range<u64>>> {
        let mut data = Vec::new();
        let Some(backing) = &self.backing else {
            // Nobody knows; reading it fails.
            data.push(range);
            return Ok(data);
        };
        backing.for_each_run(range, &mut |run| {
            if !run.hole {
                data.push(run.range);
            }
            ControlFlow::Continue(())
        })?;
        Ok(data)
    }

    /// The bytes in a table of `count` entries from that of the cluster `offset` bytes behind the
    /// first.
    fn part_of_table(&self, offset: u64, count: u64) -> Range<usize> {
        let first = usize::try_from(offset / self.cluster_size()).unwrap_or(usize::MAX);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.format.bytes_of(first..first + count)
    }

    /// Bytes of a cluster: at most 2 MiB.
    fn cluster_bytes(&self) -> usize {
        usize::try_from(self.cluster_size()).unwrap_or(usize::MAX)
    }
}

/// Whether one of the ascending `ranges` has a byte in `range`.
fn touches(ranges: &[Range<u64>], range: &Range<u64>) -> bool {
    let next = ranges.partition_point(|other| other.end <= range.start);
    ranges
        .get(next)
        .is_some_and(|other| other.start < range.end)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::ErrorKind;
    use crate::image::driver::ImageDriver;
    use crate::image::extent::ExtentState;
    use crate::image::qcow2::Qcow2;
    use crate::image::qcow2::write::Qcow2Writer;
    use crate::image::qcow2::write::tests::empty_image;
    use crate::image::writer::{BitmapEdit, ImageWriter};
    use crate::image::{FormatDetails, WritableFiles};
    use crate::storage::{
        Calls, Failure, Fault, Joiner, MemoryStorage, Run, Storage, WritableStorage,
        WriteFaultStorage, check_bounds,
    };
    use crate::units::GuestOffset;

    const CLUSTER: u64 = 4096;
    const SIZE: u64 = 1 << 20;

    fn open(storage: Arc<dyn WritableStorage>, backing: Option<Arc<dyn Storage>>) -> Qcow2Writer {
        Qcow2Writer::open(WritableFiles {
            storage,
            data_file: None,
            backing,
        })
        .unwrap()
    }

    fn one(from: u64, to: u64, length: u64) -> Move {
        Move { from, to, length }
    }

    fn read(writer: &dyn ImageWriter, backing: Option<&dyn Storage>) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(SIZE).unwrap()];
        let mut missing = Vec::new();
        writer
            .read_at(&mut bytes, GuestOffset(0), &mut missing)
            .unwrap();
        for range in missing {
            let part = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            if let Some(backing) = backing {
                backing
                    .read_padded_at(&mut bytes[part], range.start)
                    .unwrap();
            }
        }
        bytes
    }

    #[test]
    fn a_damaged_entry_is_found_before_anything_changes() {
        let memory = noise();
        let writer = open(Arc::clone(&memory) as _, None);
        let table = {
            let state = writer.exclusive().unwrap();
            state.l1.l2_table(0).unwrap()
        };
        drop(writer);
        // Of a cluster that does not move, in a table that changes.
        memory
            .write_at(&[0x80, 0, 0, 0, 0, 1, 2, 0], table + 8 * 100)
            .unwrap();
        let before = memory.to_vec();
        let writer = open(Arc::clone(&memory) as _, None);
        match writer.remap(&[one(0, 0x8_0000, 0x1_0000)], &Control::new()) {
            Err(Stop::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Corrupt),
            other => panic!("{other:?}"),
        }
        writer.flush().unwrap();
        assert!(memory.to_vec() == before);
    }

    /// An image whose first half is noise.
    fn noise() -> Arc<MemoryStorage> {
        let memory = Arc::new(MemoryStorage::new(empty_image(12, 4, SIZE)));
        let writer = open(Arc::clone(&memory) as _, None);
        let bytes: Vec<u8> = (0..SIZE / 8)
            .flat_map(|word| {
                u32::try_from(word)
                    .unwrap()
                    .wrapping_mul(0x9e37_79b1)
                    .to_le_bytes()
            })
            .collect();
        writer.write_at(&bytes, GuestOffset(0)).unwrap();
        writer.flush().unwrap();
        memory
    }

    #[test]
    fn what_is_not_whole_clusters_is_refused() {
        let memory = noise();
        let before = memory.to_vec();
        let writer = open(Arc::clone(&memory) as _, None);
        assert_eq!(writer.moves_by(), Some(CLUSTER));
        for (moves, kind) in [
            (vec![one(0, 512, 512)], ErrorKind::Unsupported),
            (vec![one(0, CLUSTER, SIZE)], ErrorKind::OutOfBounds),
            (
                vec![one(0, CLUSTER, 512), one(2 * CLUSTER, CLUSTER, 512)],
                ErrorKind::InvalidInput,
            ),
        ] {
            match writer.remap(&moves, &Control::new()) {
                Err(Stop::Failed(error)) => assert_eq!(error.kind(), kind),
                other => panic!("{moves:?}: {other:?}"),
            }
        }
        let cancelled = Control::new();
        cancelled.cancel();
        let stopped = writer.remap(&[one(512, 512 + CLUSTER, CLUSTER)], &cancelled);
        assert!(matches!(stopped, Err(Stop::Cancelled)));
        writer.remap(&[one(5, 5, 100)], &Control::new()).unwrap();
        writer.flush().unwrap();
        assert!(memory.to_vec() == before);
    }

    #[test]
    fn a_bitmap_knows_of_both_places_and_is_not_believed_before() {
        let memory = noise();
        let writer = open(Arc::clone(&memory) as _, None);
        let granularity = Some(65_536);
        writer
            .edit_bitmap("all", &BitmapEdit::Add { granularity })
            .unwrap();
        let moves = [one(0x2_0000, 0x9_0000, 0x1_0000)];
        writer.remap(&moves, &Control::new()).unwrap();
        let found = |bytes: Vec<u8>| {
            let image = Qcow2::open(Arc::new(MemoryStorage::new(bytes))).unwrap();
            let FormatDetails::Qcow2(details) = &image.info().details else {
                panic!("not qcow2");
            };
            let in_use = details.bitmaps[0].in_use;
            let mut dirty = Vec::new();
            let read = image.for_each_dirty("all", &mut |range| {
                dirty.push(range);
                ControlFlow::Continue(())
            });
            (in_use, read.is_ok().then_some(dirty))
        };
        assert_eq!(found(memory.to_vec()), (true, None));
        writer.flush().unwrap();
        let (in_use, dirty) = found(memory.to_vec());
        assert!(!in_use);
        assert_eq!(dirty.unwrap(), [0x2_0000..0x3_0000, 0x9_0000..0xa_0000]);
    }

    #[test]
    fn a_failure_leaves_everything_where_it_was_or_moved() {
        // The start of one comes into the cluster in which the other one ends.
        let moves = [
            one(512, 512 + 64 * CLUSTER, 300 * 512),
            one(0x3_0000, 0x1_0000, 0x8000),
        ];
        let first = noise();
        let old = read(&open(Arc::clone(&first) as _, None), None);
        let memory = Arc::new(MemoryStorage::new(first.to_vec()));
        let writer = open(Arc::clone(&memory) as _, None);
        writer.remap(&moves, &Control::new()).unwrap();
        let new = read(&writer, None);
        let mut failed = 0;
        for nth in 0.. {
            let memory = Arc::new(MemoryStorage::new(first.to_vec()));
            let faulty = Arc::new(WriteFaultStorage::new(
                Arc::clone(&memory) as _,
                "x",
                Calls::Changes,
                Fault::Once(nth),
                Failure::NoSpace,
            ));
            let writer = open(Arc::clone(&faulty) as _, None);
            let outcome = writer.remap(&moves, &Control::new());
            if faulty.failed() == 0 {
                break;
            }
            failed += 1;
            let usable = writer.flush().is_ok();
            let image = Qcow2::open(Arc::new(MemoryStorage::new(memory.to_vec()))).unwrap();
            let report = image.check(&Control::new()).unwrap();
            assert_eq!(report.corruptions, 0, "{nth}");
            assert!(!usable || report.leaks == 0, "{nth}: {report:?}");
            let found = read(&open(memory, None), None);
            assert!(found == old || found == new, "{nth}");
            assert!(outcome.is_err() || found == new, "{nth}");
        }
        assert!(failed > 8, "{failed}");
    }

    /// A disk that says where it is empty.
    #[derive(Debug)]
    struct Sparse(MemoryStorage);

    impl Storage for Sparse {
        fn size(&self) -> Result<u64> {
            self.0.size()
        }

        fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
            check_bounds(buf.len(), offset, self.size()?)?;
            self.0.read_at(buf, offset)
        }

        fn for_each_run(
            &self,
            range: Range<u64>,
            visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
        ) -> Result<()> {
            let mut joiner = Joiner::new(visit);
            let end = range.end.min(self.size()?);
            for start in (range.start..end).step_by(512) {
                let mut sector = [0; 512];
                self.read_at(&mut sector, start)?;
                let _ = joiner.push(start..start + 512, sector == [0; 512]);
            }
            joiner.finish();
            Ok(())
        }
    }

    #[test]
    fn only_what_a_backing_file_holds_is_copied() {
        // Of its 128 clusters every fourth holds something.
        let below: Vec<u8> = (0..SIZE / 2)
            .map(|at| u8::from((at / CLUSTER).is_multiple_of(4)) * 7)
            .collect();
        let backing: Arc<dyn Storage> = Arc::new(Sparse(MemoryStorage::new(below)));
        let memory = Arc::new(MemoryStorage::new(empty_image(12, 4, SIZE)));
        let writer = open(Arc::clone(&memory) as _, Some(Arc::clone(&backing)));
        writer
            .write_at(&[9; 4096 * 2], GuestOffset(CLUSTER * 2))
            .unwrap();
        let before = read(&writer, Some(backing.as_ref()));
        // 64 clusters go to where the backing file is not any more.
        let moves = [one(0, CLUSTER * 128, CLUSTER * 64)];
        writer.remap(&moves, &Control::new()).unwrap();
        let after = read(&writer, Some(backing.as_ref()));
        let half = usize::try_from(SIZE / 2).unwrap();
        assert!(after[half..half + half / 2] == before[..half / 2]);
        assert!(after[..half / 2].iter().all(|byte| *byte == 0));
        assert!(after[half / 2..half] == before[half / 2..half]);
        let mut data = 0;
        let mut zeroes = 0;
        writer
            .for_each_extent(0..SIZE, &mut |extent| {
                let length = extent.guest.end - extent.guest.start;
                match extent.state {
                    ExtentState::Data { .. } => data += length / CLUSTER,
                    ExtentState::Zero { .. } => zeroes += length / CLUSTER,
                    _ => {}
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        // Sixteen were copied, two were here; sixteen are covered at the old place.
        assert_eq!((data, zeroes), (18, 16));
    }
}
