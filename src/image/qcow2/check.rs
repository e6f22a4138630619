//! `check`: are the references of an image and its refcounts the same?
//!
//! Findings and counters are those of `qemu-img check`. The way there is not: tables are streamed
//! in host order on all cores, references are counted in about a bit a cluster, and refcount
//! blocks are compared a megabyte at a time. Memory depends on the length of the file, never on
//! what its header claims; a file too long for one pass is checked in windows.

mod bitmaps;
mod copied;
mod counts;
mod entries;
mod findings;
mod refcounts;
mod repair;
mod snapshots;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::codec::Fields;
use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::image::check::CheckReport;
use crate::image::qcow2::check::counts::{Counts, PAGE};
use crate::image::qcow2::check::findings::{Place, Section, Tally};
use crate::image::qcow2::check::refcounts::{Keep, RefcountTable};
use crate::image::qcow2::check::snapshots::SnapshotTable;
use crate::image::qcow2::check::tables::L1Table;
use crate::image::qcow2::extension;
use crate::image::qcow2::header::Header;
use crate::image::writer::Repair;
use crate::storage::Storage;

pub(super) use repair::{change_refcount_order, repair};

/// Most clusters of a file that can be checked, as in QEMU.
const MAX_CLUSTERS: u64 = i32::MAX as u64;
/// Clusters counted in one pass: 32 MiB of memory while they are referenced once.
const WINDOW: u64 = 1 << 28;
/// Bytes of counts at which a pass is repeated with half the window.
const BUDGET: u64 = 96 << 20;
/// Clusters behind the end of the file that are remembered when something refers to them.
const CUT_OFF: u64 = 1 << 20;
/// Bytes of a table that are read at once.
const CHUNK: u64 = 1 << 20;

/// Checks the image in `storage`, reading only.
///
/// # Errors
/// I/O errors; [`crate::ErrorKind::Corrupt`] when the snapshot table cannot be followed, because
/// everything it refers to would look lost; [`crate::ErrorKind::Io`] for a file of more than
/// 2^31 - 1 clusters.
pub(super) fn check(
    header: &Header,
    storage: &dyn Storage,
    control: &Control,
) -> Result<CheckReport, Stop> {
    check_in_windows(header, storage, control, WINDOW)
}

fn check_in_windows(
    header: &Header,
    storage: &dyn Storage,
    control: &Control,
    window: u64,
) -> Result<CheckReport, Stop> {
    let subject = Subject::new(header, storage, control)?;
    let mut tally = Tally::default();
    let structures = Structures::read(&subject, &mut tally)?;
    let mut highest = 0;
    structures.for_each_pass(&subject, window, &mut |pass, counted| {
        tally.merge(counted);
        highest = highest.max(structures.compare(&pass, &mut tally)?);
        Ok(())
    })?;
    Ok(subject.report(tally, highest))
}

/// Called with the offset and the bytes of a chunk of a table.
type VisitChunk<'a> = dyn FnMut(u64, &[u8]) -> Result<(), Stop> + 'a;
/// Called with a pass whose references are counted, and what was found while counting.
type VisitPass<'s, 'a> = dyn FnMut(Pass<'s>, Tally) -> Result<(), Stop> + 'a;

/// The image that is checked, and what every part of the check asks about it.
struct Subject<'a> {
    header: &'a Header,
    storage: &'a dyn Storage,
    control: &'a Control,
    file_size: u64,
    cluster_bits: u32,
    extended_l2: bool,
    data_file: bool,
    /// A cluster that starts below this is in this file.
    plain_end: u64,
    /// What will be mended: findings are worded for it, and what a mended entry no longer refers to
    /// is not counted.
    repair: Option<Repair>,
    /// How often clusters not far behind the end of the file are referenced, where it was cut.
    /// Nothing new may be put there.
    cut_off: Mutex<BTreeMap<u64, u32>>,
}

impl<'a> Subject<'a> {
    fn new(header: &'a Header, storage: &'a dyn Storage, control: &'a Control) -> Result<Self> {
        let file_size = storage.size()?;
        let clusters = file_size.div_ceil(header.cluster_size());
        if clusters > MAX_CLUSTERS {
            let message = format!(
                "the file cannot be checked: {clusters} clusters, at most {MAX_CLUSTERS} can"
            );
            return Err(Error::io(message, io::ErrorKind::FileTooLarge.into()));
        }
        let data_file = header.has_data_file();
        Ok(Self {
            header,
            storage,
            control,
            file_size,
            cluster_bits: header.cluster_bits,
            extended_l2: header.extended_l2(),
            data_file,
            plain_end: if data_file { 0 } else { file_size },
            repair: None,
            cut_off: Mutex::default(),
        })
    }

    /// Clusters of the file; the last one may be cut.
    fn file_clusters(&self) -> u64 {
        self.file_size.div_ceil(self.cluster_size())
    }

    /// Entries and flags are mended, not only leaks.
    fn mends_all(&self) -> bool {
        self.repair == Some(Repair::All)
    }

    /// How a finding begins that is about to be mended, unless only leaks are.
    fn word(&self) -> &'static str {
        if self.mends_all() {
            "Repairing"
        } else {
            "ERROR"
        }
    }

    fn report(&self, tally: Tally, highest: u64) -> CheckReport {
        CheckReport {
            total_clusters: self.header.size.div_ceil(self.cluster_size()),
            image_end_offset: (highest + 1) << self.cluster_bits,
            ..tally.into_report()
        }
    }

    fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of a cluster, and of an L2 table.
    fn cluster_length(&self) -> usize {
        1 << self.cluster_bits
    }

    /// Bytes of an L2 entry.
    fn entry_length(&self) -> usize {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// Reads `length` bytes into `buffer`; behind the end of the file there are zeroes.
    fn read(&self, buffer: &mut Vec<u8>, offset: u64, length: usize) -> Result<()> {
        buffer.resize(length, 0);
        self.read_slice(buffer, offset)
    }

    fn read_slice(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let there = self.file_size.saturating_sub(offset);
        let there = usize::try_from(there).map_or(buffer.len(), |there| there.min(buffer.len()));
        let (head, tail) = buffer.split_at_mut(there);
        tail.fill(0);
        if head.is_empty() {
            return Ok(());
        }
        self.storage.read_at(head, offset)
    }

    /// Reads what `range` has of the file in chunks of whole entries, passing over holes: those are
    /// all zero, and a table of zeroes says nothing.
    fn for_each_chunk(
        &self,
        range: Range<u64>,
        entry: u64,
        visit: &mut VisitChunk<'_>,
    ) -> Result<(), Stop> {
        let mut result = Ok(());
        let mut buffer = Vec::new();
        let mut done = range.start;
        self.storage.for_each_run(range.clone(), &mut |run| {
            if run.hole {
                return ControlFlow::Continue(());
            }
            // Runs need not end with an entry: the rest belongs to this one.
            let start = run.range.start - (run.range.start - range.start) % entry;
            let end = range.start + (run.range.end - range.start).next_multiple_of(entry);
            let mut at = start.max(done);
            while at < end.min(range.end) && result.is_ok() {
                let length = CHUNK.min(end.min(range.end) - at);
                result = self.read_chunk(&mut buffer, at, length, visit);
                at += length;
            }
            done = at;
            if result.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        result
    }

    fn read_chunk(
        &self,
        buffer: &mut Vec<u8>,
        at: u64,
        length: u64,
        visit: &mut VisitChunk<'_>,
    ) -> Result<(), Stop> {
        self.control.checkpoint()?;
        self.read(buffer, at, usize::try_from(length).unwrap_or(0))?;
        visit(at, buffer)
    }
}

/// Everything outside L1 and L2 tables that refers to clusters.
struct Structures {
    snapshots: SnapshotTable,
    /// The active one first.
    l1_tables: Vec<L1Table>,
    refcounts: RefcountTable,
    /// Offset and length of the LUKS header.
    encryption: Option<(u64, u64)>,
}

impl Structures {
    fn read(subject: &Subject<'_>, tally: &mut Tally) -> Result<Self, Stop> {
        let header = subject.header;
        let snapshots = SnapshotTable::read(subject, tally)?;
        let active = L1Table {
            number: 0,
            offset: header.l1_table_offset,
            entries: u64::from(header.l1_size),
        };
        let l1_tables = std::iter::once(active)
            .chain(snapshots.l1_tables.iter().copied())
            .collect();
        let refcounts = RefcountTable::read(subject)?;
        refcounts.note_unreadable(subject, tally);
        Ok(Self {
            snapshots,
            l1_tables,
            refcounts,
            encryption: encryption_header(header),
        })
    }

    /// Counts all references and calls `visit`: once, or for a file that is too long for that in
    /// windows of `window` clusters or fewer.
    fn for_each_pass<'s>(
        &self,
        subject: &'s Subject<'s>,
        mut window: u64,
        visit: &mut VisitPass<'s, '_>,
    ) -> Result<(), Stop> {
        let clusters = subject.file_clusters();
        let mut start = 0;
        // A reference may pass the end of the file by less than a cluster.
        while start <= clusters {
            let end = start.saturating_add(window).min(clusters + 1);
            let pass = Pass {
                subject,
                counts: Counts::new(start..end, clusters, BUDGET),
                uncopied: AtomicBool::new(false),
                is_last: end > clusters,
            };
            let mut counted = Tally::default();
            self.count(&pass, &mut counted)?;
            if pass.counts.is_over_budget() && window > PAGE {
                window = (window / 2).next_multiple_of(PAGE);
                continue;
            }
            // Every pass meets the same tables; the first one speaks of them.
            if start > 0 {
                counted = Tally::default();
            }
            visit(pass, counted)?;
            start = end;
        }
        Ok(())
    }

    fn count(&self, pass: &Pass<'_>, tally: &mut Tally) -> Result<(), Stop> {
        let header = pass.subject.header;
        let entries = self.l1_tables.iter().map(|table| table.entries).sum();
        pass.subject.control.enter_items("checking tables", entries);
        let place = |index| Place::new(Section::Structures, index, 0);
        pass.reference(tally, place(0), 0, pass.subject.cluster_size());
        tables::count(pass, &self.l1_tables, tally)?;
        let snapshots = &self.snapshots;
        pass.reference(tally, place(0), snapshots.offset, snapshots.length);
        let table_bytes = u64::from(header.refcount_table_clusters) << header.cluster_bits;
        pass.reference(tally, place(1), header.refcount_table_offset, table_bytes);
        if let Some((offset, length)) = self.encryption {
            pass.reference(tally, place(1), offset, length);
        }
        bitmaps::count(pass, tally)?;
        self.refcounts.count_blocks(pass, tally);
        Ok(())
    }

    /// Compares and checks the flags; the highest used cluster.
    fn compare(&self, pass: &Pass<'_>, tally: &mut Tally) -> Result<u64, Stop> {
        let window = pass.counts.window();
        let control = pass.subject.control;
        control.enter_items("comparing refcounts", window.end - window.start);
        let compared = refcounts::compare(pass, &self.refcounts, Keep::DiskSingles, tally)?;
        if pass.has_uncopied() || !compared.all_single || tally.corruptions > 0 {
            let active = &self.l1_tables[0];
            control.enter_items("checking flags", active.entries);
            copied::check(pass, active, &self.refcounts, tally, None)?;
        }
        Ok(compared.highest)
    }
}

/// Where the LUKS header is, by the extension that says so.
fn encryption_header(header: &Header) -> Option<(u64, u64)> {
    let fields = Fields::new(header.extension(extension::ENCRYPTION)?, 0);
    Some((fields.be64(0).ok()?, fields.be64(8).ok()?))
}

/// One pass over the image, counting the clusters of one window.
struct Pass<'a> {
    subject: &'a Subject<'a>,
    counts: Counts,
    /// An entry of the active layer lacks the "refcount is one" flag.
    uncopied: AtomicBool,
    is_last: bool,
}

impl Pass<'_> {
    fn saw_uncopied(&self) {
        self.uncopied.store(true, Ordering::Relaxed);
    }

    fn has_uncopied(&self) -> bool {
        self.uncopied.load(Ordering::Relaxed)
    }

    /// Counts `times` references to the clusters that `length` bytes at `offset` touch.
    fn count(&self, offset: u64, length: u64, times: u32) -> Result<(), BehindEnd> {
        if length == 0 {
            return Ok(());
        }
        let end = offset.saturating_add(length);
        if end >= self.subject.file_size + self.subject.cluster_size() {
            self.note_cut_off(offset..end);
            return Err(BehindEnd { offset, length });
        }
        let bits = self.subject.cluster_bits;
        self.counts
            .add(offset >> bits..((end - 1) >> bits) + 1, times);
        Ok(())
    }

    #[cold]
    fn note_cut_off(&self, bytes: Range<u64>) {
        let subject = self.subject;
        // Every pass meets the same references.
        if !subject.mends_all() || self.counts.window().start > 0 {
            return;
        }
        let bits = subject.cluster_bits;
        let near = subject.file_clusters()..subject.file_clusters() + CUT_OFF;
        let start = (bytes.start >> bits).max(near.start);
        let end = bytes.end.div_ceil(subject.cluster_size()).min(near.end);
        let mut cut_off = subject
            .cut_off
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for cluster in start..end {
            *cut_off.entry(cluster).or_default() += 1;
        }
    }

    /// Counts one reference, or notes that it leads outside.
    fn reference(&self, tally: &mut Tally, place: Place, offset: u64, length: u64) {
        if let Err(behind) = self.count(offset, length, 1) {
            tally.corruption(place, Some(offset), || behind.to_string());
        }
    }
}

/// A reference to what the file does not have.
struct BehindEnd {
    offset: u64,
    length: u64,
}

impl fmt::Display for BehindEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ERROR: counting reference for region exceeding the end of the file by one cluster \
             or more: offset {:#x} size {:#x}",
            self.offset, self.length
        )
    }
}
