//! The snapshot table. An entry that is damaged says so and leaves the others readable.

use std::time::Duration;

use crate::codec::Fields;
use crate::error::{Error, Result};
use crate::image::driver::SnapshotSelector;
use crate::image::info::Snapshot;
use crate::image::qcow2::header::{Header, MAX_L1_BYTES, check_table, text};
use crate::image::qcow2::stream::Stream;
use crate::storage::Storage;
use crate::units::MIB;

/// Largest snapshot table, in bytes.
const MAX_TABLE_BYTES: u64 = 64 * MIB;
/// Most bytes of extra data in an entry.
const MAX_EXTRA: usize = 1024;
const ENTRY_HEADER: usize = 40;
/// Instruction counts are optional: this one says "none".
pub(super) const NO_ICOUNT: u64 = u64::MAX;

/// An entry of the table: what is shown, and where its L1 table is.
#[derive(Clone, Debug)]
pub(super) struct SnapshotEntry {
    pub(super) facts: Snapshot,
    pub(super) l1_table_offset: u64,
    pub(super) l1_size: u32,
    /// Bytes of the entry in the table, padding included.
    pub(super) length: u64,
}

/// Reads the table. Never fails for what the table holds: the first entry that cannot be found is
/// appended with the reason, and stands for all behind it.
pub(super) fn read(storage: &dyn Storage, header: &Header) -> Result<Vec<SnapshotEntry>> {
    if header.nb_snapshots == 0 {
        return Ok(Vec::new());
    }
    let table = check_table(
        "Snapshot table",
        header.snapshots_offset,
        u64::from(header.nb_snapshots) * ENTRY_HEADER as u64,
        MAX_TABLE_BYTES,
        header.cluster_size(),
    );
    if let Err(error) = table {
        return Ok(vec![unreadable(0, header.nb_snapshots, &error)]);
    }
    let mut stream = Stream::new(storage, header.snapshots_offset, MAX_TABLE_BYTES)?;
    let mut entries = Vec::new();
    for index in 0..header.nb_snapshots {
        match read_entry(&mut stream, header) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                entries.push(unreadable(index, header.nb_snapshots, &error));
                break;
            }
        }
    }
    Ok(entries)
}

/// The first entry that `selector` means.
pub(super) fn find<'a>(
    entries: &'a [SnapshotEntry],
    selector: &SnapshotSelector,
) -> Option<&'a SnapshotEntry> {
    let by_id = |id: &str| entries.iter().find(|entry| entry.facts.id == id);
    let by_name = |name: &str| entries.iter().find(|entry| entry.facts.name == name);
    match selector {
        SnapshotSelector::Id(id) => by_id(id),
        SnapshotSelector::Name(name) => by_name(name),
        SnapshotSelector::Any(text) => by_id(text).or_else(|| by_name(text)),
    }
}

fn unreadable(index: u32, count: u32, error: &Error) -> SnapshotEntry {
    SnapshotEntry {
        facts: Snapshot {
            id: String::new(),
            name: String::new(),
            vm_state_size: 0,
            date: Duration::ZERO,
            vm_clock: Duration::ZERO,
            icount: None,
            virtual_size: 0,
            damage: Some(format!(
                "snapshots {} to {count} cannot be read: {error}",
                index + 1
            )),
        },
        l1_table_offset: 0,
        l1_size: 0,
        length: 0,
    }
}

fn read_entry(stream: &mut Stream<'_>, header: &Header) -> Result<SnapshotEntry> {
    let start = stream.offset();
    let head = Fields::new(stream.take(ENTRY_HEADER)?, start);
    let l1_table_offset = head.be64(0)?;
    let l1_size = head.be32(8)?;
    let id_length = usize::from(head.be16(12)?);
    let name_length = usize::from(head.be16(14)?);
    let date = Duration::new(u64::from(head.be32(16)?), head.be32(20)?);
    let vm_clock = Duration::from_nanos(head.be64(24)?);
    let short_vm_state_size = head.be32(32)?;
    let extra_length = head.be32(36)? as usize;

    let extra_at = stream.offset();
    let extra = stream.take(extra_length.min(MAX_EXTRA))?;
    let extra = Extra::parse(&Fields::new(extra, extra_at), extra.len())?;
    stream.skip(extra_length.saturating_sub(MAX_EXTRA) as u64);
    let id = text(stream.take(id_length)?);
    let name = text(stream.take(name_length)?);
    let length = stream.offset() - start;
    stream.skip(length.next_multiple_of(8) - length);

    let l1_table = check_table(
        "Snapshot L1 table",
        l1_table_offset,
        u64::from(l1_size) * 8,
        MAX_L1_BYTES,
        header.cluster_size(),
    );
    let damage = if extra_length > MAX_EXTRA {
        Some(format!(
            "too much extra metadata in snapshot table entry: {extra_length} bytes"
        ))
    } else if let Some(size) = extra
        .disk_size
        .filter(|size| header.l1_entries_for(*size) > u64::from(l1_size))
    {
        Some(format!(
            "L1 table is too small: {l1_size} entries for {size} bytes"
        ))
    } else {
        l1_table.err().map(|error| error.to_string())
    };
    Ok(SnapshotEntry {
        facts: Snapshot {
            id,
            name,
            vm_state_size: extra
                .vm_state_size
                .unwrap_or(u64::from(short_vm_state_size)),
            date,
            vm_clock,
            icount: extra.icount.filter(|count| *count != NO_ICOUNT),
            virtual_size: extra.disk_size.unwrap_or(header.size),
            damage,
        },
        l1_table_offset,
        l1_size,
        length: length.next_multiple_of(8),
    })
}

/// The part of an entry that grew over the years; each field is there when the length reaches it.
struct Extra {
    vm_state_size: Option<u64>,
    disk_size: Option<u64>,
    icount: Option<u64>,
}

impl Extra {
    fn parse(fields: &Fields<'_>, length: usize) -> Result<Self> {
        let field = |at: usize| (length >= at + 8).then(|| fields.be64(at)).transpose();
        Ok(Self {
            vm_state_size: field(0)?,
            disk_size: field(8)?,
            icount: field(16)?,
        })
    }
}
