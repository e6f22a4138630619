//! L1 and L2 tables: every reference counted, every entry looked at.
//!
//! Tables are visited in host order, neighbours in one big read, on all cores. An L2 table that
//! several L1 entries name (snapshots share most of theirs) is read once and counts that often.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use byteorder::{BigEndian, ByteOrder};

use crate::control::Stop;
use crate::image::qcow2::check::entries::L2Walk;
use crate::image::qcow2::check::findings::{Place, Section, Tally};
use crate::image::qcow2::check::{Pass, Subject};
use crate::image::qcow2::entry::{COPIED, OFFSET_MASK};

const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;
/// Bytes of an L1 entry.
pub(super) const L1_ENTRY: u64 = 8;

/// References that are collected before their tables are read: 16 MiB of them.
const BATCH: usize = 1 << 20;
/// Bytes of a read, and how far apart two tables may lie to share one.
const READ: u64 = 1 << 20;
const GAP: u64 = 16 << 10;

/// An L1 table: 0 is the active one, the others are those of the snapshots in table order.
#[derive(Clone, Copy, Debug)]
pub(super) struct L1Table {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) entries: u64,
}

/// An L1 entry that names an L2 table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct L2Reference {
    pub(super) offset: u64,
    /// Number of the L1 table, then index in it.
    owner: u64,
}

impl L2Reference {
    pub(super) fn new(offset: u64, table: u64, index: u64) -> Self {
        Self {
            offset,
            owner: table << 32 | index,
        }
    }

    /// It belongs to the active layer.
    pub(super) fn is_active(&self) -> bool {
        self.owner >> 32 == 0
    }

    /// Index in its L1 table.
    pub(super) fn index(&self) -> u64 {
        self.owner & u64::from(u32::MAX)
    }

    /// Where finding `minor` of its table stands. The first three are those of the L1 entry.
    pub(super) fn place(&self, minor: u64) -> Place {
        Place::new(Section::Tables, self.owner + 1, minor)
    }
}

/// Counts all references of `tables` and what they lead to.
pub(super) fn count(pass: &Pass<'_>, tables: &[L1Table], tally: &mut Tally) -> Result<(), Stop> {
    let mut batch = Vec::new();
    for table in tables {
        let place = Place::new(Section::Tables, table.number << 32, 2);
        pass.reference(tally, place, table.offset, table.entries * L1_ENTRY);
        for_each_l1_entry(pass.subject, table, &mut |index, entry| {
            batch.push(count_l1_entry(pass, table.number, index, entry, tally));
            if batch.len() == BATCH {
                count_batch(pass, &mut batch, tally)?;
            }
            Ok(())
        })?;
    }
    count_batch(pass, &mut batch, tally)
}

/// Visits the entries of an L1 table that are not zero.
pub(super) fn for_each_l1_entry(
    subject: &Subject<'_>,
    table: &L1Table,
    visit: &mut dyn FnMut(u64, u64) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let end = table.offset.saturating_add(table.entries * L1_ENTRY);
    subject.for_each_chunk(table.offset..end, L1_ENTRY, &mut |offset, bytes| {
        let first = (offset - table.offset) / L1_ENTRY;
        for (index, entry) in (first..).zip(bytes.chunks_exact(8)) {
            let entry = BigEndian::read_u64(entry);
            if entry != 0 {
                visit(index, entry)?;
            }
        }
        subject.control.advance(bytes.len() as u64 / L1_ENTRY);
        Ok(())
    })
}

fn count_l1_entry(
    pass: &Pass<'_>,
    table: u64,
    index: u64,
    entry: u64,
    tally: &mut Tally,
) -> L2Reference {
    let reference = L2Reference::new(entry & OFFSET_MASK, table, index);
    let host = Some(reference.offset);
    if entry & L1_RESERVED != 0 {
        tally.corruption(reference.place(0), host, || {
            format!("ERROR found L1 entry with reserved bits set: {entry:x}")
        });
    }
    let cluster_size = pass.subject.cluster_size();
    pass.reference(tally, reference.place(1), reference.offset, cluster_size);
    if !reference.offset.is_multiple_of(cluster_size) {
        tally.corruption(reference.place(2), host, || {
            format!(
                "ERROR l2_offset={:x}: Table is not cluster aligned; L1 entry corrupted",
                reference.offset
            )
        });
    }
    if reference.is_active() && entry & COPIED == 0 {
        pass.saw_uncopied();
    }
    reference
}

fn count_batch(
    pass: &Pass<'_>,
    batch: &mut Vec<L2Reference>,
    tally: &mut Tally,
) -> Result<(), Stop> {
    batch.sort_unstable();
    let found = for_each_table(pass, batch, &|owners, bytes, tally| {
        L2Walk::new(pass, owners, tally).walk(bytes);
    })?;
    tally.merge(found);
    batch.clear();
    Ok(())
}

/// Called with all references to a table, and its bytes.
type Examine<'a> = dyn Fn(&[L2Reference], &[u8], &mut Tally) + Sync + 'a;

/// Reads the tables of `references` (sorted) on all cores and calls `examine` with each table once,
/// with all that name it.
pub(super) fn for_each_table(
    pass: &Pass<'_>,
    references: &[L2Reference],
    examine: &Examine<'_>,
) -> Result<Tally, Stop> {
    let units = split(references, pass.subject.cluster_size());
    let next = AtomicUsize::new(0);
    on_all_cores(units.len(), &|tally| {
        let mut buffer = Vec::new();
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            pass.subject.control.checkpoint()?;
            if pass.counts.is_over_budget() {
                break;
            }
            let references = &references[unit.clone()];
            examine_unit(pass.subject, references, &mut buffer, examine, tally)?;
        }
        Ok(())
    })
}

/// Runs `work` on as many threads as `units` of it are worth, and merges what they found.
pub(super) fn on_all_cores(
    units: usize,
    work: &(dyn Fn(&mut Tally) -> Result<(), Stop> + Sync),
) -> Result<Tally, Stop> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let all = Mutex::new(Ok(Tally::default()));
    let run = || {
        let mut tally = Tally::default();
        let result = work(&mut tally);
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *all, result) {
            (Ok(all), Ok(())) => all.merge(tally),
            (all @ Ok(_), Err(stop)) => *all = Err(stop),
            (Err(_), _) => {}
        }
    };
    thread::scope(|scope| {
        for _ in 1..cores.min(units / 4) {
            scope.spawn(run);
        }
        run();
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts sorted references into pieces that are read at once. Equal ones stay together.
fn split(references: &[L2Reference], table_bytes: u64) -> Vec<Range<usize>> {
    let mut units: Vec<Range<usize>> = Vec::new();
    let mut first = 0;
    let mut end = 0;
    for (at, reference) in references.iter().enumerate() {
        let table_end = reference.offset + table_bytes;
        match units.last_mut() {
            Some(unit)
                if reference.offset + table_bytes == end
                    || (reference.offset <= end + GAP && table_end - first <= READ) =>
            {
                unit.end = at + 1;
            }
            _ => {
                units.push(at..at + 1);
                first = reference.offset;
            }
        }
        end = table_end;
    }
    units
}

fn examine_unit(
    subject: &Subject<'_>,
    references: &[L2Reference],
    buffer: &mut Vec<u8>,
    examine: &Examine<'_>,
    tally: &mut Tally,
) -> Result<(), Stop> {
    let (Some(first), Some(last)) = (references.first(), references.last()) else {
        return Ok(());
    };
    if first.offset >= subject.file_size {
        // Reads as zeroes, and there is nothing to say about those.
        return Ok(());
    }
    let table_bytes = subject.cluster_length();
    let span = usize::try_from(last.offset - first.offset).unwrap_or(0) + table_bytes;
    subject.read(buffer, first.offset, span)?;
    for owners in references.chunk_by(|a, b| a.offset == b.offset) {
        let at = usize::try_from(owners[0].offset - first.offset).unwrap_or(0);
        examine(owners, &buffer[at..at + table_bytes], tally);
    }
    Ok(())
}
