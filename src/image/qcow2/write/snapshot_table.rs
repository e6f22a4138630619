//! The snapshot table as a whole: it is written anew for each change, and the header switched.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Error, ErrorKind, Result};
use crate::image::driver::SnapshotSelector;
use crate::image::info::Snapshot;
use crate::image::qcow2::header::MAX_SNAPSHOTS;
use crate::image::qcow2::snapshot::{self, NO_ICOUNT, SnapshotEntry};
use crate::image::qcow2::table::read_table;
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::structures::Structure;
use crate::storage::Storage;

/// Largest table, in bytes.
const MAX_BYTES: usize = 64 << 20;
/// An entry before its extra data, id and name.
const HEAD: usize = 40;
/// Extra data that is written: size of the VM state, virtual size, instruction count.
const EXTRA: usize = 24;

/// Of which version 3 cannot do without so much: the two sizes.
const NEEDED_EXTRA: usize = 16;

/// The table in memory.
#[derive(Debug)]
pub(super) struct SnapshotTable {
    entries: Vec<SnapshotEntry>,
    /// Each entry as it is on disk, padding included: what is not understood in it stays.
    raw: Vec<Vec<u8>>,
    /// Where it is on disk.
    place: PlacedTable,
}

impl SnapshotTable {
    /// Reads the table of an image whose snapshots are not damaged (see `State::open`).
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn read(state: &State) -> Result<Self> {
        let storage: &dyn Storage = state.storage.as_ref();
        let fields = &state.header.fields;
        let entries = snapshot::read(storage, fields)?;
        let mut raw = Vec::with_capacity(entries.len());
        let mut at = fields.snapshots_offset;
        for entry in &entries {
            // At most some 100 KiB: the lengths of id, name and extra data are bounded.
            let mut bytes = vec![0; usize::try_from(entry.length).unwrap_or(0)];
            // The padding of the last one may be missing.
            let end = storage.size()?.saturating_sub(at).min(entry.length);
            let there = usize::try_from(end).unwrap_or(0);
            read_table(storage, &mut bytes[..there], at, "snapshot table")?;
            at += entry.length;
            raw.push(bytes);
        }
        let length: u64 = entries.iter().map(|entry| entry.length).sum();
        let place = PlacedTable {
            offset: fields.snapshots_offset,
            clusters: length.div_ceil(fields.cluster_size()),
            count: fields.nb_snapshots,
        };
        Ok(Self {
            entries,
            raw,
            place,
        })
    }

    /// Where it was when it was read.
    pub(super) fn place(&self) -> PlacedTable {
        self.place
    }

    /// The index of the first snapshot that `selector` means.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub(super) fn find(&self, selector: &SnapshotSelector) -> Result<usize> {
        let found = snapshot::find(&self.entries, selector);
        found
            .and_then(|found| {
                self.entries
                    .iter()
                    .position(|entry| std::ptr::eq(entry, found))
            })
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "no such snapshot"))
    }

    /// A snapshot.
    pub(super) fn entry(&self, index: usize) -> &SnapshotEntry {
        &self.entries[index]
    }

    /// Whether a snapshot has this id.
    pub(super) fn has_id(&self, id: &str) -> bool {
        self.entries.iter().any(|entry| entry.facts.id == id)
    }

    /// An id that no snapshot has: one more than the highest number.
    pub(super) fn new_id(&self) -> String {
        let highest = self
            .entries
            .iter()
            .map(|entry| leading_number(&entry.facts.id))
            .max();
        highest.unwrap_or(0).saturating_add(1).to_string()
    }

    /// Adds a snapshot that is taken now.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that is too long; [`ErrorKind::Unsupported`] when
    /// there are too many.
    pub(super) fn push(&mut self, new: &NewSnapshot<'_>) -> Result<()> {
        if self.raw.len() >= MAX_SNAPSHOTS as usize {
            return Err(Error::unsupported(format!(
                "an image has at most {MAX_SNAPSHOTS} snapshots"
            )));
        }
        self.raw.push(new.encode()?);
        self.check_length()
    }

    /// Takes a snapshot out.
    pub(super) fn remove(&mut self, index: usize) {
        self.entries.remove(index);
        self.raw.remove(index);
    }

    /// Gives a snapshot another name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that is too long.
    pub(super) fn rename(&mut self, index: usize, name: &str) -> Result<()> {
        let raw = &mut self.raw[index];
        let id_length = usize::from(BigEndian::read_u16(&raw[12..]));
        let extra_length = BigEndian::read_u32(&raw[36..]) as usize;
        // Checked when the table was read.
        raw.truncate(HEAD + extra_length + id_length);
        BigEndian::write_u16(&mut raw[14..], name_length(name)?);
        raw.extend_from_slice(name.as_bytes());
        pad(raw);
        self.check_length()
    }

    /// Gives every entry the sizes that version 3 asks for; whether one had none. `size` is the
    /// disk's, now and when those snapshots were taken.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the table would be too long.
    pub(super) fn complete(&mut self, size: u64) -> Result<bool> {
        let mut was_incomplete = false;
        for raw in &mut self.raw {
            let length = BigEndian::read_u32(&raw[36..]) as usize;
            if length >= NEEDED_EXTRA {
                continue;
            }
            was_incomplete = true;
            let mut extra = [0; EXTRA];
            let vm_state_size = if length >= 8 {
                BigEndian::read_u64(&raw[HEAD..])
            } else {
                u64::from(BigEndian::read_u32(&raw[32..]))
            };
            BigEndian::write_u64(&mut extra, vm_state_size);
            BigEndian::write_u64(&mut extra[8..], size);
            BigEndian::write_u64(&mut extra[16..], NO_ICOUNT);
            let names = [12, 14].map(|at| usize::from(BigEndian::read_u16(&raw[at..])));
            // Checked when the table was read.
            raw.truncate(HEAD + length + names[0] + names[1]);
            raw.splice(HEAD..HEAD + length, extra);
            BigEndian::write_u32(&mut raw[36..], 24);
            pad(raw);
        }
        self.check_length()?;
        Ok(was_incomplete)
    }

    fn check_length(&self) -> Result<()> {
        let length: usize = self.raw.iter().map(Vec::len).sum();
        if length > MAX_BYTES {
            return Err(Error::unsupported(format!(
                "the snapshot table would take {length} bytes, at most {MAX_BYTES} are allowed"
            )));
        }
        Ok(())
    }
}

/// What there is to say of a snapshot `name` of the disk as it is now, without a running machine.
pub(super) fn snapshot_of_now(name: &str, state: &State) -> Snapshot {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Snapshot {
        id: String::new(),
        name: name.to_owned(),
        vm_state_size: 0,
        date: now.unwrap_or(Duration::ZERO),
        vm_clock: Duration::ZERO,
        // No instructions, as no time, have passed in a machine that does not run.
        icount: Some(0),
        virtual_size: state.header.fields.size,
        damage: None,
    }
}

/// A snapshot on its way into the table.
#[derive(Debug)]
pub(super) struct NewSnapshot<'a> {
    pub(super) facts: &'a Snapshot,
    pub(super) l1_table_offset: u64,
    pub(super) l1_size: u32,
}

impl NewSnapshot<'_> {
    fn encode(&self) -> Result<Vec<u8>> {
        let Snapshot { id, name, date, .. } = self.facts;
        let mut bytes = vec![0; HEAD + EXTRA];
        BigEndian::write_u64(&mut bytes[0..], self.l1_table_offset);
        BigEndian::write_u32(&mut bytes[8..], self.l1_size);
        BigEndian::write_u16(&mut bytes[12..], name_length(id)?);
        BigEndian::write_u16(&mut bytes[14..], name_length(name)?);
        // Until 2106.
        let seconds = u32::try_from(date.as_secs()).unwrap_or(u32::MAX);
        BigEndian::write_u32(&mut bytes[16..], seconds);
        BigEndian::write_u32(&mut bytes[20..], date.subsec_nanos());
        let clock = u64::try_from(self.facts.vm_clock.as_nanos()).unwrap_or(u64::MAX);
        BigEndian::write_u64(&mut bytes[24..], clock);
        // Where that is too short for it, it says nothing.
        let vm_state_size = self.facts.vm_state_size;
        BigEndian::write_u32(&mut bytes[32..], u32::try_from(vm_state_size).unwrap_or(0));
        BigEndian::write_u32(&mut bytes[36..], 24);
        BigEndian::write_u64(&mut bytes[HEAD..], vm_state_size);
        BigEndian::write_u64(&mut bytes[HEAD + 8..], self.facts.virtual_size);
        let icount = self.facts.icount.unwrap_or(NO_ICOUNT);
        BigEndian::write_u64(&mut bytes[HEAD + 16..], icount);
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(name.as_bytes());
        pad(&mut bytes);
        Ok(bytes)
    }
}

impl State {
    /// Writes `table` to a new place, on its way to the disk. Nothing leads to it before
    /// [`Self::enter_snapshot_table`] and a write of the header.
    ///
    /// # Errors
    /// As [`Self::allocate`]; I/O errors.
    pub(super) fn place_snapshot_table(&mut self, table: &SnapshotTable) -> Result<PlacedTable> {
        let bytes = table.raw.concat();
        let clusters = (bytes.len() as u64).div_ceil(self.cluster_size());
        let mut offset = 0;
        if clusters > 0 {
            offset = self.allocate_for(clusters, Structure::SnapshotTable)?;
            self.storage.write_at(&bytes, offset)?;
        }
        Ok(PlacedTable {
            offset,
            clusters,
            // At most 65,536.
            count: u32::try_from(table.raw.len()).unwrap_or(u32::MAX),
        })
    }

    /// Enters a table into the header, in memory. The one before is to be freed when the header is
    /// durable.
    pub(super) fn enter_snapshot_table(&mut self, placed: PlacedTable) {
        let fields = &mut self.header.fields;
        fields.snapshots_offset = placed.offset;
        fields.nb_snapshots = placed.count;
    }
}

/// Where a table is.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedTable {
    pub(super) offset: u64,
    pub(super) clusters: u64,
    count: u32,
}

fn name_length(name: &str) -> Result<u16> {
    u16::try_from(name.len()).map_err(|_| {
        let message = format!("a name of {} bytes is too long", name.len());
        Error::new(ErrorKind::InvalidInput, message)
    })
}

/// Entries begin at multiples of 8.
fn pad(entry: &mut Vec<u8>) {
    entry.resize(entry.len().next_multiple_of(8), 0);
}

/// The number that an id begins with, as C reads it; 0 for none.
fn leading_number(id: &str) -> u64 {
    let id = id.trim_start();
    let end = id.find(|c: char| !c.is_ascii_digit()).unwrap_or(id.len());
    id[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_on_from_the_highest_number() {
        for (id, number) in [("7", 7), ("12abc", 12), ("abc", 0), ("", 0), (" 3", 3)] {
            assert_eq!(leading_number(id), number, "{id}");
        }
    }

    #[test]
    fn a_new_entry_is_what_the_specification_says() {
        let facts = Snapshot {
            id: "3".to_owned(),
            name: "before the update".to_owned(),
            vm_state_size: 5,
            date: Duration::new(7, 8),
            vm_clock: Duration::from_nanos(9),
            icount: None,
            virtual_size: 1 << 30,
            damage: None,
        };
        let entry = NewSnapshot {
            facts: &facts,
            l1_table_offset: 0x50000,
            l1_size: 2,
        };
        let bytes = entry.encode().unwrap();
        assert_eq!(bytes.len(), 88);
        assert_eq!(BigEndian::read_u64(&bytes), 0x50000);
        assert_eq!(BigEndian::read_u32(&bytes[36..]), 24);
        assert_eq!(BigEndian::read_u32(&bytes[16..]), 7);
        assert_eq!(BigEndian::read_u32(&bytes[20..]), 8);
        assert_eq!(BigEndian::read_u64(&bytes[24..]), 9);
        assert_eq!(BigEndian::read_u32(&bytes[32..]), 5);
        assert_eq!(BigEndian::read_u64(&bytes[40..]), 5);
        assert_eq!(BigEndian::read_u64(&bytes[48..]), 1 << 30);
        assert_eq!(BigEndian::read_u64(&bytes[56..]), u64::MAX);
        assert_eq!(&bytes[64..82], b"3before the update");
        let long = Snapshot {
            name: "x".repeat(1 << 16),
            ..facts.clone()
        };
        let entry = NewSnapshot {
            facts: &long,
            ..entry
        };
        assert!(entry.encode().is_err());
    }
}
