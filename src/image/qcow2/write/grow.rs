//! A longer disk: what was left behind the old end is cleared away, a longer backing file hidden,
//! and space prepared as asked for.

use std::ops::Range;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::qcow2::entry::COPIED;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::mapping::{Mapping, Place};
use crate::image::qcow2::write::read::read_compressed;
use crate::image::qcow2::write::tree::Tree;
use crate::image::writer::Preallocation;
use crate::storage::{Storage, WritableStorage};
use crate::units::MIB;

/// Most clusters whose space is prepared at once.
const RUN: u64 = 1 << 16;
/// Bytes of host clusters that are taken at once to be written with zeroes.
const WRITTEN_RUN: u64 = 32 << 20;
/// Zeroes are written so many bytes at a time.
static ZEROES: [u8; 1 << 20] = [0; 1 << 20];

/// The new clusters of a disk that grows, and what they are to be.
#[derive(Debug)]
struct NewPart {
    /// Whole clusters, behind the one that the old end is in.
    guest: Range<u64>,
    /// Up to here the backing file would show.
    hidden: u64,
    preallocation: Preallocation,
    /// Host clusters that are there for the next ones.
    space: Range<u64>,
    /// All host clusters that were taken, to be given back when it fails.
    taken: Vec<Range<u64>>,
}

impl NewPart {
    fn is_plain(&self, from: u64) -> bool {
        self.preallocation == Preallocation::Off && from >= self.hidden
    }
}

impl State {
    /// Makes the disk `size` bytes long, which is more than now.
    ///
    /// # Errors
    /// As [`Self::resize`]; then, and when cancelled, the disk is as it was.
    pub(super) fn grow(
        &mut self,
        size: u64,
        preallocation: Preallocation,
        control: &Control,
    ) -> Result<(), Stop> {
        let old = self.header.fields.size;
        let cluster = self.cluster_size();
        let mut part = NewPart {
            guest: old.next_multiple_of(cluster)..size.next_multiple_of(cluster),
            hidden: self.hidden_end(old, size)?,
            // A raw data file has all of its clusters mapped.
            preallocation: match preallocation {
                Preallocation::Off if self.is_raw_data_file() => Preallocation::Metadata,
                other => other,
            },
            space: 0..0,
            taken: Vec::new(),
        };
        self.fit_data_file(old, size)?;
        let prepared = self.prepare(old, &mut part, control);
        match prepared {
            Ok(tables) => self.enter_size(old, size, &tables, control)?,
            Err(stop) => {
                self.give_up_growing(old, &part)?;
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Up to where the backing file would show behind the old end.
    fn hidden_end(&self, old: u64, size: u64) -> Result<u64> {
        let length = match &self.backing {
            Some(backing) => backing.size()?,
            None if self.has_backing() => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "the backing file is not open",
                ));
            }
            None => 0,
        };
        if length <= old {
            return Ok(0);
        }
        // Zeroes are written into the cluster in which the disk ended; version 2 has no others.
        if self.header.fields.version < 3 && size > old.next_multiple_of(self.cluster_size()) {
            return Err(Error::unsupported(
                "Failed to zero out new clusters: Operation not supported",
            ));
        }
        Ok(length.min(size))
    }

    /// Makes all that lies behind the old end ready, unseen; L1 entries of the tables that are new.
    fn prepare(
        &mut self,
        old: u64,
        part: &mut NewPart,
        control: &Control,
    ) -> Result<Vec<u64>, Stop> {
        self.zero_tail(old, part.hidden > 0)?;
        let reach = self.format.table_reach();
        let bytes = part.guest.end - part.guest.start;
        control.enter("preallocating", bytes);
        let mut tables = Vec::new();
        let mut at = part.guest.start;
        let begun = old.next_multiple_of(reach).min(part.guest.end);
        if at < begun && !old.is_multiple_of(reach) {
            self.refill_begun_table(at..begun, part, control)?;
            at = begun;
        }
        while at < part.guest.end {
            control.checkpoint()?;
            let end = (at - at % reach + reach).min(part.guest.end);
            let entry = if part.is_plain(at) {
                0
            } else {
                self.new_table(at..end, part, control)?
            };
            tables.push(entry);
            control.advance(end - at);
            at = end;
        }
        Ok(tables)
    }

    /// Gives the clusters `guest` of the table in which the old end lies their new meaning.
    fn refill_begun_table(
        &mut self,
        guest: Range<u64>,
        part: &mut NewPart,
        control: &Control,
    ) -> Result<(), Stop> {
        let index = guest.start / self.format.table_reach();
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let table = match self.l1.l2_table(index) {
            None if part.is_plain(guest.start) => return Ok(()),
            None => self.l2_table_for_change(index)?,
            Some(table) => {
                let mappings = self.mappings(table, &guest)?;
                let is_clear = mappings.iter().all(|old| *old == Mapping::default());
                if is_clear && part.is_plain(guest.start) {
                    return Ok(());
                }
                self.l2_table_for_change(index)?
            }
        };
        let size = self.cluster_size();
        for (old, number) in self.mappings(table, &guest)?.into_iter().zip(0_u64..) {
            let cluster = guest.start + number * size;
            let new = self.new_mapping(cluster, part, control)?;
            // The reference in the table is this one's now.
            if let (Place::Plain { host, .. }, None) = (new.place, &self.data_file) {
                part.give_away(host >> self.cluster_bits());
            }
            self.replace(table, cluster, &old, &new)?;
        }
        Ok(())
    }

    /// A new L2 table for the clusters `guest`, on its way to the disk: its L1 entry.
    fn new_table(
        &mut self,
        guest: Range<u64>,
        part: &mut NewPart,
        control: &Control,
    ) -> Result<u64, Stop> {
        let format = self.format;
        let size = self.cluster_size();
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let entry_size = usize::try_from(format.entry_size()).unwrap_or(8);
        let clusters = (guest.start..guest.end).step_by(usize::try_from(size).unwrap_or(1));
        for (entry, cluster) in bytes.chunks_exact_mut(entry_size).zip(clusters) {
            let mapping = self.new_mapping(cluster, part, control)?;
            let words = format.encode(&mapping)?;
            entry[..8].copy_from_slice(&words[0].to_be_bytes());
            if format.extended {
                entry[8..].copy_from_slice(&words[1].to_be_bytes());
            }
        }
        let host = self.allocate(1)?;
        part.take(host >> self.cluster_bits(), 1);
        self.storage.write_at(&bytes, host)?;
        Ok(host | COPIED)
    }

    /// What a new cluster is to be.
    fn new_mapping(
        &mut self,
        cluster: u64,
        part: &mut NewPart,
        control: &Control,
    ) -> Result<Mapping, Stop> {
        let format = self.format;
        let is_hidden = cluster < part.hidden;
        if part.preallocation == Preallocation::Off {
            return Ok(if is_hidden {
                Mapping::zeroes(format)
            } else {
                Mapping::default()
            });
        }
        let host = if self.data_file.is_some() {
            cluster
        } else {
            if part.space.is_empty() {
                control.checkpoint()?;
                self.take_space(cluster, part)?;
            }
            part.space.start += 1;
            (part.space.start - 1) << self.cluster_bits()
        };
        let mut mapping = Mapping::data(format, host);
        if format.extended {
            // Nothing was written to its subclusters yet.
            mapping.allocated = 0;
            mapping.zero = if is_hidden {
                format.all_subclusters()
            } else {
                0
            };
        }
        Ok(mapping)
    }

    /// Takes host clusters for the next guest clusters and makes them zero.
    fn take_space(&mut self, cluster: u64, part: &mut NewPart) -> Result<()> {
        let bits = self.cluster_bits();
        let most = match part.preallocation {
            // What is written takes its time, and can be stopped between two runs.
            Preallocation::Full => (WRITTEN_RUN >> bits).max(1),
            _ => RUN,
        };
        let wanted = ((part.guest.end - cluster) >> bits).min(most);
        let (host, count) = self.allocate_up_to(wanted)?;
        part.take(host >> bits, count);
        part.space = host >> bits..(host >> bits) + count;
        let range = host..host + (count << bits);
        prepare_space(self.storage.as_ref(), range, part.preallocation)
    }

    /// Switches to the new size, with L1 entries for the tables behind the old ones.
    fn enter_size(&mut self, old: u64, size: u64, tables: &[u64], control: &Control) -> Result<()> {
        let kept = self.l1_length_for(old).min(self.l1.entries().len());
        let entries = self.l1.entries().to_vec();
        let (before, stale) = entries.split_at(kept);
        let is_clear = stale.iter().all(|entry| *entry == 0);
        if is_clear && tables.len() <= stale.len() && tables.iter().all(|entry| *entry == 0) {
            self.checkpoint()?;
            self.suspend_bitmaps();
            self.header.fields.size = size;
            return self.write_header();
        }
        let tree = Tree::new(stale, -1, self.cluster_bits())?;
        let entries = [before, tables].concat();
        let host = self.write_new_l1(&entries)?;
        self.suspend_bitmaps();
        self.switch_l1(host, entries, size)?;
        self.l2.clear();
        let outcome = self
            .count_down(&[tree], control, &mut |_, _| Ok(()))
            .and_then(|()| self.checkpoint());
        outcome.map_err(|error| self.poison(error))
    }

    /// The disk stays as it is: what was prepared is given back.
    fn give_up_growing(&mut self, old: u64, part: &NewPart) -> Result<()> {
        let mut nothing = NewPart {
            guest: part.guest.clone(),
            hidden: 0,
            preallocation: Preallocation::Off,
            space: 0..0,
            taken: Vec::new(),
        };
        let reach = self.format.table_reach();
        let begun = old.next_multiple_of(reach).min(part.guest.end);
        if part.guest.start < begun && !old.is_multiple_of(reach) {
            let refilled =
                self.refill_begun_table(part.guest.start..begun, &mut nothing, &Control::new());
            match refilled {
                Err(Stop::Failed(error)) => return Err(error),
                Ok(()) | Err(Stop::Cancelled) => {}
            }
        }
        for clusters in &part.taken {
            let count = clusters.end - clusters.start;
            self.release(clusters.start << self.cluster_bits(), count)?;
        }
        self.fit_data_file(old, old)?;
        self.checkpoint()?;
        self.cut_file()
    }

    /// Makes the rest of the cluster in which the disk ends at `end` read as zeroes, for when it
    /// gets longer. With `hide`, the backing file is hidden there too.
    pub(super) fn zero_tail(&mut self, end: u64, hide: bool) -> Result<()> {
        let size = self.cluster_size();
        if end.is_multiple_of(size) {
            return Ok(());
        }
        let cluster = end - end % size;
        let index = usize::try_from(end / self.format.table_reach()).unwrap_or(usize::MAX);
        let mut table = match self.l1.l2_table(index) {
            Some(table) => table,
            None if hide => self.l2_table_for_change(index)?,
            None => return Ok(()),
        };
        let part_end = end.next_multiple_of(self.format.subcluster_size());
        let mut mapping = self.mapping_at(table, cluster)?;
        if self.must_zero(&mapping, end..part_end, hide)? {
            table = self.l2_table_for_change(index)?;
            let length = usize::try_from(part_end - end).unwrap_or(usize::MAX);
            self.write_part(table, end..part_end, &vec![0; length], &mapping)?;
            mapping = self.mapping_at(table, cluster)?;
        }
        if part_end == cluster + size || matches!(mapping.place, Place::Compressed(_)) {
            return Ok(());
        }
        let bits = self.format.subclusters(&(part_end - cluster..size));
        let mut new = mapping;
        new.allocated &= !bits;
        new.zero = if hide {
            new.zero | bits
        } else {
            new.zero & !bits
        };
        if new == mapping {
            return Ok(());
        }
        table = self.l2_table_for_change(index)?;
        self.replace(table, cluster, &mapping, &new)
    }

    fn mapping_at(&mut self, table: u64, cluster: u64) -> Result<Mapping> {
        let found = self.mappings(table, &(cluster..cluster + 1))?;
        Ok(found.first().copied().unwrap_or_default())
    }

    /// Whether the bytes `range`, within one subcluster, may read as anything but zeroes.
    fn must_zero(&self, mapping: &Mapping, range: Range<u64>, hide: bool) -> Result<bool> {
        if range.is_empty() {
            return Ok(false);
        }
        let size = self.cluster_size();
        let start = range.start % size;
        let within = start..start + (range.end - range.start);
        let bits = self.format.subclusters(&within);
        let index = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
        let mut tail = vec![0; index(within.end - within.start)];
        match mapping.place {
            Place::Compressed(place) => {
                let compression = self.header.fields.compression;
                let storage: &dyn Storage = self.storage.as_ref();
                let cluster = read_compressed(storage, place, compression, size)?;
                tail.copy_from_slice(&cluster[index(within.start)..index(within.end)]);
            }
            Place::Plain { host, .. } if mapping.allocated & bits != 0 => {
                let storage: &dyn Storage = self.data_storage();
                storage.read_padded_at(&mut tail, host + within.start)?;
            }
            _ => return Ok(hide && mapping.zero & bits == 0),
        }
        Ok(tail.iter().any(|byte| *byte != 0))
    }
}

impl NewPart {
    /// Remembers host clusters that were taken.
    fn take(&mut self, first: u64, count: u64) {
        self.taken.push(first..first + count);
    }

    /// A host cluster is referred to by a table that stays: it is not given back with the rest.
    fn give_away(&mut self, cluster: u64) {
        // One that is used up ends where the next one may begin.
        let mut taken = self.taken.iter_mut();
        let Some(run) = taken.find(|run| run.start == cluster && !run.is_empty()) else {
            return;
        };
        // Clusters of a run are used from its start.
        run.start += 1;
    }
}

/// Makes host space read as zeroes, as far prepared as asked for.
fn prepare_space(
    storage: &dyn WritableStorage,
    range: Range<u64>,
    preallocation: Preallocation,
) -> Result<()> {
    let length = storage.size()?;
    match preallocation {
        Preallocation::Off | Preallocation::Metadata => {
            // Free clusters in the middle of the file may hold anything.
            if range.start < length {
                storage.punch_hole(range.start..range.end.min(length))?;
            }
            if range.end > length {
                storage.set_len(range.end)?;
            }
            Ok(())
        }
        Preallocation::Falloc => storage.write_zeroes(range),
        Preallocation::Full => {
            let mut at = range.start;
            while at < range.end {
                let count = (range.end - at).min(MIB);
                storage.write_at(&ZEROES[..usize::try_from(count).unwrap_or(0)], at)?;
                at += count;
            }
            Ok(())
        }
    }
}
