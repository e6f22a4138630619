//! The entries of one L2 table.

use std::ops::Range;

use byteorder::{BigEndian, ByteOrder};

use crate::image::check::CheckReport;
use crate::image::qcow2::check::Pass;
use crate::image::qcow2::check::findings::Tally;
use crate::image::qcow2::check::tables::L2Reference;
use crate::image::qcow2::entry::{COMPRESSED, COPIED, OFFSET_MASK, ZERO};

const RESERVED: u64 = 0x3f00_0000_0000_01fe;
/// The half of a subcluster bitmap that says "allocated".
pub(super) const SUBCLUSTERS_ALLOCATED: u64 = 0xffff_ffff;
/// Sectors that the length of compressed data is counted in.
const SECTOR: u64 = 512;
/// Findings of the L1 entry come first.
const FIRST_MINOR: u64 = 3;

/// What an L2 entry means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EntryKind {
    Unallocated,
    /// Stored as it is.
    Normal,
    /// Reads as zeroes, no cluster.
    Zero,
    /// Reads as zeroes, but a cluster is kept for it.
    ZeroAllocated,
    Compressed,
}

impl EntryKind {
    pub(super) fn of(entry: u64, extended: bool, data_file: bool) -> Self {
        let has_offset = entry & OFFSET_MASK != 0;
        if entry & COMPRESSED != 0 {
            Self::Compressed
        } else if entry & ZERO != 0 && !extended {
            if has_offset {
                Self::ZeroAllocated
            } else {
                Self::Zero
            }
        } else if has_offset || (data_file && entry & COPIED != 0) {
            // In an external data file, offset 0 is a place like any other.
            Self::Normal
        } else {
            Self::Unallocated
        }
    }

    /// It has a whole cluster, whose refcount the entry's flag speaks of.
    pub(super) fn has_cluster(self) -> bool {
        matches!(self, Self::Normal | Self::ZeroAllocated)
    }
}

/// A walk over the entries of one table, on behalf of all who refer to it.
pub(super) struct L2Walk<'a> {
    pass: &'a Pass<'a>,
    owners: &'a [L2Reference],
    tally: &'a mut Tally,
    /// How often each reference counts.
    times: u32,
    minor: u64,
    /// A run of host bytes that entries follow each other in, not counted yet.
    run: Range<u64>,
    /// Where the next cluster would not be fragmented; 0 before the first.
    next: u64,
    facts: Facts,
}

/// What one table holds.
#[derive(Default)]
struct Facts {
    allocated: u64,
    compressed: u64,
    fragmented: u64,
    uncopied: bool,
}

impl<'a> L2Walk<'a> {
    pub(super) fn new(pass: &'a Pass<'a>, owners: &'a [L2Reference], tally: &'a mut Tally) -> Self {
        Self {
            pass,
            owners,
            tally,
            times: u32::try_from(owners.len()).unwrap_or(u32::MAX),
            minor: FIRST_MINOR,
            run: 0..0,
            next: 0,
            facts: Facts::default(),
        }
    }

    /// Counts and examines all entries of the table in `bytes`.
    pub(super) fn walk(mut self, bytes: &[u8]) {
        // Most tables of most images are mostly zero: looked at 64 bytes at a time.
        for (at, block) in (0..).zip(bytes.chunks_exact(64)) {
            if block.iter().fold(0, |all, byte| all | byte) == 0 {
                continue;
            }
            if self.pass.subject.extended_l2 {
                for (index, pair) in (at * 4..).zip(block.chunks_exact(16)) {
                    let (entry, bitmap) = pair.split_at(8);
                    self.entry(
                        index,
                        BigEndian::read_u64(entry),
                        BigEndian::read_u64(bitmap),
                    );
                }
            } else {
                for (index, entry) in (at * 8..).zip(block.chunks_exact(8)) {
                    self.entry(index, BigEndian::read_u64(entry), 0);
                }
            }
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.count_run();
        let active = self.owners.iter().take_while(|owner| owner.is_active());
        let active = active.count() as u64;
        self.tally.allocated += active * self.facts.allocated;
        self.tally.compressed += active * self.facts.compressed;
        self.tally.fragmented += active * self.facts.fragmented;
        if active > 0 && self.facts.uncopied {
            self.pass.saw_uncopied();
        }
    }

    #[inline]
    fn entry(&mut self, index: u64, entry: u64, bitmap: u64) {
        let subject = self.pass.subject;
        let offset = entry & OFFSET_MASK;
        let odd = entry & (COMPRESSED | RESERVED | ZERO | (subject.cluster_size() - 1));
        if odd != 0 || bitmap != 0 || offset == 0 || offset >= self.pass.subject.plain_end {
            self.odd_entry(index, entry, bitmap);
            return;
        }
        self.facts.uncopied |= entry & COPIED == 0;
        self.place_cluster(offset);
        if offset == self.run.end {
            self.run.end += subject.cluster_size();
        } else {
            self.count_run();
            self.run = offset..offset + subject.cluster_size();
        }
    }

    fn place_cluster(&mut self, offset: u64) {
        self.facts.allocated += 1;
        self.facts.fragmented += u64::from(self.next != 0 && self.next != offset);
        self.next = offset + self.pass.subject.cluster_size();
    }

    fn count_run(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let bits = self.pass.subject.cluster_bits;
        let clusters = self.run.start >> bits..self.run.end >> bits;
        self.pass.counts.add(clusters, self.times);
    }

    #[cold]
    fn odd_entry(&mut self, index: u64, entry: u64, bitmap: u64) {
        let subject = self.pass.subject;
        let kind = EntryKind::of(entry, subject.extended_l2, subject.data_file);
        if kind != EntryKind::Compressed && entry & RESERVED != 0 {
            self.corruption(None, || {
                format!("ERROR found l2 entry with reserved bits set: {entry:x}")
            });
        }
        match kind {
            EntryKind::Compressed => self.compressed(index, entry, bitmap),
            EntryKind::Normal | EntryKind::ZeroAllocated => self.cluster(entry, bitmap),
            EntryKind::Zero => {}
            EntryKind::Unallocated => {
                if bitmap & SUBCLUSTERS_ALLOCATED != 0 {
                    self.corruption(None, || {
                        "ERROR: Unallocated cluster has non-zero subcluster allocation map".into()
                    });
                }
            }
        }
    }

    fn compressed(&mut self, index: u64, entry: u64, bitmap: u64) {
        let subject = self.pass.subject;
        // The sector count takes as many bits as a cluster has sectors in powers of two.
        let shift = 62 - (subject.cluster_bits - 8);
        let offset = entry & ((1 << shift) - 1);
        if entry & COPIED != 0 {
            self.corruption(Some(offset), || {
                format!(
                    "ERROR: coffset={offset:#x}: copied flag must never be set for compressed \
                     clusters"
                )
            });
        }
        let entry = entry & !COPIED;
        if subject.data_file {
            self.corruption(None, || {
                format!("ERROR compressed cluster {index} with data file, entry={entry:#x}")
            });
            return;
        }
        if bitmap != 0 {
            self.corruption(None, || {
                format!(
                    "ERROR compressed cluster {index} with non-zero subcluster allocation \
                     bitmap, entry={entry:#x}"
                )
            });
            return;
        }
        let sectors = ((entry & !COMPRESSED) >> shift) + 1;
        self.reference(offset, sectors * SECTOR - offset % SECTOR);
        self.facts.allocated += 1;
        self.facts.compressed += 1;
        self.facts.fragmented += 1;
    }

    fn cluster(&mut self, entry: u64, bitmap: u64) {
        let subject = self.pass.subject;
        let offset = entry & OFFSET_MASK;
        self.facts.uncopied |= entry & COPIED == 0;
        if (bitmap >> 32) & bitmap != 0 {
            self.corruption(Some(offset), || {
                format!(
                    "ERROR offset={offset:x}: Allocated cluster has corrupted subcluster \
                     allocation bitmap"
                )
            });
        }
        if !offset.is_multiple_of(subject.cluster_size()) {
            let has_data = if subject.extended_l2 {
                bitmap & SUBCLUSTERS_ALLOCATED != 0
            } else {
                entry & ZERO == 0
            };
            if !has_data && subject.mends_all() {
                self.mended_by_zeroing(offset);
                return;
            }
            self.corruption(Some(offset), || {
                let what = if has_data { "Data" } else { "Preallocated" };
                format!(
                    "ERROR offset={offset:x}: {what} cluster is not properly aligned; L2 entry \
                     corrupted."
                )
            });
        }
        self.place_cluster(offset);
        if !subject.data_file {
            self.reference(offset, subject.cluster_size());
        }
    }

    /// It will read as zeroes without a cluster: nothing is referenced any more. For those who
    /// come to the table later nothing is wrong with it.
    fn mended_by_zeroing(&mut self, offset: u64) {
        self.minor += 1;
        self.tally.corruptions_fixed += 1;
        let place = self.owners[0].place(self.minor);
        self.tally.note(place, true, Some(offset), || {
            format!(
                "Repairing offset={offset:x}: Preallocated cluster is not properly aligned; L2 \
                 entry corrupted."
            )
        });
    }

    fn reference(&mut self, offset: u64, length: u64) {
        if let Err(message) = self.pass.count(offset, length, self.times) {
            self.corruption(Some(offset), || message.to_string());
        }
    }

    /// A corruption in the name of every owner.
    fn corruption(&mut self, host: Option<u64>, message: impl FnOnce() -> String) {
        self.minor += 1;
        self.tally.corruptions += self.owners.len() as u64;
        if !self.tally.wants(self.owners[0].place(self.minor)) {
            return;
        }
        let message = message();
        for owner in self.owners.iter().take(CheckReport::MAX_FINDINGS) {
            let place = owner.place(self.minor);
            self.tally.note(place, true, host, || message.clone());
        }
    }
}
