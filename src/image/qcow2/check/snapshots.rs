//! The snapshot table as a check sees it: strict, and its own length is a fact.

use crate::codec::Fields;
use crate::control::Stop;
use crate::error::{Error, Result};
use crate::image::qcow2::check::Subject;
use crate::image::qcow2::check::findings::{Place, Section, Tally};
use crate::image::qcow2::check::tables::{L1_ENTRY, L1Table};
use crate::image::qcow2::header::{MAX_L1_BYTES, MAX_SNAPSHOTS, text};
use crate::units::MIB;

const ENTRY_HEADER: usize = 40;
/// Extra data that version 3 demands: a 64-bit VM state size and the disk size.
const REQUIRED_EXTRA: usize = 16;
const MAX_EXTRA: usize = 1024;
const MAX_TABLE_BYTES: u64 = 64 * MIB;

/// What the snapshot table refers to.
#[derive(Debug, Default)]
pub(super) struct SnapshotTable {
    /// Where the table is, in bytes; empty without snapshots.
    pub(super) offset: u64,
    pub(super) length: u64,
    /// L1 tables that can be walked.
    pub(super) l1_tables: Vec<L1Table>,
}

impl SnapshotTable {
    /// Reads the table. An entry that breaks a rule is a finding.
    ///
    /// # Errors
    /// When entries cannot even be found: nothing that refers to clusters may be missed.
    pub(super) fn read(subject: &Subject<'_>, tally: &mut Tally) -> Result<Self, Stop> {
        let header = subject.header;
        let (offset, count) = (header.snapshots_offset, header.nb_snapshots);
        if count == 0 {
            return Ok(Self::default());
        }
        let wrong = |message: String| Error::corrupt(message).with_offset(offset);
        if count > MAX_SNAPSHOTS {
            let message = format!("snapshot table of {count} entries, at most {MAX_SNAPSHOTS}");
            return Err(wrong(message).with_field("nb_snapshots").into());
        }
        if !offset.is_multiple_of(subject.cluster_size()) || i64::try_from(offset).is_err() {
            let message = "snapshot table is not cluster aligned".to_owned();
            return Err(wrong(message).with_field("snapshots_offset").into());
        }
        if subject.data_file {
            tally.corruption(Place::new(Section::Tables, 1 << 32, 0), None, || {
                format!("ERROR {count} snapshots in image with data file")
            });
        }
        let mut l1_tables = Vec::new();
        let mut end = offset;
        for index in 0..u64::from(count) {
            subject.control.checkpoint()?;
            let start = end.next_multiple_of(8);
            let entry = Entry::read(subject, start, index)?;
            end = start + entry.length;
            if end - offset > MAX_TABLE_BYTES {
                let message = format!("snapshot table of more than {MAX_TABLE_BYTES} bytes");
                return Err(wrong(message).into());
            }
            l1_tables.extend(entry.check(subject, tally));
        }
        Ok(Self {
            offset,
            // The padding behind the last entry does not belong to the table.
            length: end - offset,
            l1_tables,
        })
    }
}

/// One entry, as it is. What lies behind the end of the file is zero, as for QEMU.
struct Entry {
    index: u64,
    start: u64,
    length: u64,
    l1_offset: u64,
    l1_size: u32,
    extra_length: usize,
    id: String,
    name: String,
}

impl Entry {
    fn read(subject: &Subject<'_>, start: u64, index: u64) -> Result<Self> {
        let mut bytes = Vec::new();
        subject.read(&mut bytes, start, ENTRY_HEADER)?;
        let head = Fields::new(&bytes, start);
        let l1_offset = head.be64(0)?;
        let l1_size = head.be32(8)?;
        let id_length = usize::from(head.be16(12)?);
        let name_length = usize::from(head.be16(14)?);
        let extra_length = head.be32(36)? as usize;
        if extra_length > MAX_EXTRA {
            return Err(Error::corrupt(format!(
                "too much extra metadata in snapshot table entry {index}: {extra_length} bytes"
            ))
            .with_offset(start)
            .with_field("extra_data_size"));
        }
        let names_at = start + (ENTRY_HEADER + extra_length) as u64;
        subject.read(&mut bytes, names_at, id_length + name_length)?;
        let (id, name) = bytes.split_at(id_length);
        Ok(Self {
            index,
            start,
            length: (ENTRY_HEADER + extra_length + bytes.len()) as u64,
            l1_offset,
            l1_size,
            extra_length,
            id: text(id),
            name: text(name),
        })
    }

    /// Its L1 table, unless that cannot be walked.
    fn check(&self, subject: &Subject<'_>, tally: &mut Tally) -> Option<L1Table> {
        let (index, host) = (self.index, Some(self.start));
        if subject.header.version >= 3 && self.extra_length < REQUIRED_EXTRA {
            let place = Place::new(Section::SnapshotTable, index, 0);
            tally.corruption(place, host, || {
                format!("ERROR snapshot table entry {index} is incomplete")
            });
        }
        let number = index + 1;
        let place = Place::new(Section::Tables, number << 32, 1);
        let Self { id, name, .. } = self;
        let (l1_offset, l1_size) = (self.l1_offset, self.l1_size);
        if !l1_offset.is_multiple_of(subject.cluster_size()) {
            tally.corruption(place, host, || {
                format!(
                    "ERROR snapshot {id} ({name}) l1_offset={l1_offset:#x}: L1 table is not \
                     cluster aligned; snapshot table entry corrupted"
                )
            });
            return None;
        }
        let entries = u64::from(l1_size);
        if entries * L1_ENTRY > MAX_L1_BYTES {
            tally.corruption(place, host, || {
                format!(
                    "ERROR snapshot {id} ({name}) l1_size={l1_size:#x}: L1 table is too large; \
                     snapshot table entry corrupted"
                )
            });
            return None;
        }
        Some(L1Table {
            number,
            offset: l1_offset,
            entries,
        })
    }
}
