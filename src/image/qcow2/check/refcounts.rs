//! Refcount table and blocks: checked as structures, and compared with what was counted.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use byteorder::{BigEndian, ByteOrder};

use crate::control::Stop;
use crate::error::Result;
use crate::image::qcow2::check::counts::{PAGE, Page};
use crate::image::qcow2::check::findings::{Place, Section, Tally};
use crate::image::qcow2::check::tables::on_all_cores;
use crate::image::qcow2::check::{Pass, Subject};
use crate::storage::WritableStorage;

const OFFSET_MASK: u64 = 0xffff_ffff_ffff_fe00;
const RESERVED: u64 = 0x1ff;
/// Bytes of refcounts compared at a time.
const READ: u64 = 1 << 20;
/// 64 refcounts of one, 16 bits each.
const ONES: [u8; 128] = {
    let mut ones = [0; 128];
    let mut at = 1;
    while at < ones.len() {
        ones[at] = 1;
        at += 2;
    }
    ones
};

/// The refcount table: where the refcount of a cluster is on disk.
#[derive(Debug)]
pub(super) struct RefcountTable {
    entries: Vec<u64>,
    /// Log2 of the bits of a refcount.
    pub(super) order: u32,
    /// Clusters that a block counts.
    block_clusters: u64,
}

/// Where the refcounts of a block are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Block {
    /// Nowhere: all zero.
    Absent,
    At(u64),
    /// At an offset that no block can have.
    Unreadable,
}

impl RefcountTable {
    /// Reads the table; what the file does not have of it is absent.
    pub(super) fn read(subject: &Subject<'_>) -> Result<Self, Stop> {
        let header = subject.header;
        let bytes = u64::from(header.refcount_table_clusters) << header.cluster_bits;
        let start = header.refcount_table_offset;
        let mut entries = Vec::new();
        subject.for_each_chunk(
            start..start.saturating_add(bytes),
            8,
            &mut |offset, chunk| {
                // A hole before this chunk is a stretch of absent blocks.
                let index = usize::try_from((offset - start) / 8).unwrap_or(usize::MAX);
                entries.resize(index, 0);
                entries.extend(chunk.chunks_exact(8).map(BigEndian::read_u64));
                Ok(())
            },
        )?;
        let used = entries.iter().rposition(|entry| *entry != 0);
        entries.truncate(used.map_or(0, |last| last + 1));
        Ok(Self {
            entries,
            order: header.refcount_order,
            block_clusters: 1 << (header.cluster_bits + 3 - header.refcount_order),
        })
    }

    /// The largest refcount there is room for.
    pub(super) fn max(&self) -> u64 {
        u64::MAX >> (64 - (1 << self.order))
    }

    fn block(&self, index: u64, cluster_size: u64) -> Block {
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| self.entries.get(index))
            .map_or(0, |entry| entry & OFFSET_MASK);
        match entry {
            0 => Block::Absent,
            offset if offset.is_multiple_of(cluster_size) && i64::try_from(offset).is_ok() => {
                Block::At(offset)
            }
            _ => Block::Unreadable,
        }
    }

    /// Bytes of the refcounts of a page of clusters.
    pub(super) fn page_bytes(&self) -> usize {
        usize::try_from((PAGE << self.order) / 8).unwrap_or(usize::MAX)
    }

    /// Reads the refcounts of `clusters`, blocks that follow each other at once. Returns the
    /// clusters whose refcounts cannot be read.
    pub(super) fn load(
        &self,
        subject: &Subject<'_>,
        clusters: &Range<u64>,
        bytes: &mut Vec<u8>,
    ) -> Result<Vec<Range<u64>>> {
        bytes.clear();
        bytes.resize(self.length(clusters.end - clusters.start), 0);
        let mut unreadable = Vec::new();
        // What is to be read next: file offset, and the part of the buffer.
        let mut pending: (u64, Range<usize>) = (0, 0..0);
        for (piece, block) in self.pieces(subject.cluster_size(), clusters) {
            match block {
                Block::Absent => {}
                Block::Unreadable => unreadable.push(piece),
                Block::At(offset) => {
                    let from = self.length(piece.start - clusters.start);
                    let to = self.length(piece.end - clusters.start);
                    let follows = pending.0 + pending.1.len() as u64 == offset;
                    if follows && pending.1.end == from {
                        pending.1.end = to;
                    } else {
                        subject.read_slice(&mut bytes[pending.1], pending.0)?;
                        pending = (offset, from..to);
                    }
                }
            }
        }
        subject.read_slice(&mut bytes[pending.1], pending.0)?;
        Ok(unreadable)
    }

    /// Writes those of the refcounts in `bytes` (of `clusters`) back that `changed` names, by their
    /// place in `bytes`.
    pub(super) fn store(
        &self,
        storage: &dyn WritableStorage,
        cluster_size: u64,
        clusters: &Range<u64>,
        bytes: &[u8],
        changed: &Range<usize>,
    ) -> Result<()> {
        for (piece, block) in self.pieces(cluster_size, clusters) {
            let Block::At(offset) = block else {
                continue;
            };
            let start = self.length(piece.start - clusters.start);
            let end = self.length(piece.end - clusters.start);
            let (from, to) = (start.max(changed.start), end.min(changed.end));
            if from < to {
                storage.write_at(&bytes[from..to], offset + (from - start) as u64)?;
            }
        }
        Ok(())
    }

    /// Cuts `clusters` at the borders of blocks; with where each piece's refcounts are.
    fn pieces(
        &self,
        cluster_size: u64,
        clusters: &Range<u64>,
    ) -> impl Iterator<Item = (Range<u64>, Block)> {
        let clusters = clusters.clone();
        let mut at = clusters.start;
        std::iter::from_fn(move || {
            if at >= clusters.end {
                return None;
            }
            let index = at / self.block_clusters;
            let end = ((index + 1) * self.block_clusters).min(clusters.end);
            let block = match self.block(index, cluster_size) {
                Block::At(offset) => {
                    let skipped = self.length(at % self.block_clusters);
                    Block::At(offset + skipped as u64)
                }
                other => other,
            };
            let piece = at..end;
            at = end;
            Some((piece, block))
        })
    }

    /// Bytes of the refcounts of `clusters` clusters.
    fn length(&self, clusters: u64) -> usize {
        usize::try_from((clusters << self.order).div_ceil(8)).unwrap_or(usize::MAX)
    }

    /// Whether the counts of a page and its refcounts on disk are the same, where that can be told
    /// quickly because all are 0 or 1; if so, which is the last that is not 0.
    pub(super) fn equals(&self, page: &Page, disk: &[u8]) -> Option<Option<u64>> {
        if page.is_empty() {
            let any = disk.iter().fold(0, |all, byte| all | byte);
            return (any == 0).then_some(None);
        }
        if self.order != 4 {
            return None;
        }
        let mut highest = None;
        for (at, block) in (0..).step_by(64).zip(disk.chunks(128)) {
            match page.ones(at) {
                Some(0) if block.iter().all(|byte| *byte == 0) => {}
                Some(u64::MAX) if *block == ONES => highest = Some(at + 63),
                Some(ones) if is_equal_word(ones, block) => {
                    highest = Some(at + 63 - u64::from(ones.leading_zeros()));
                }
                _ => return None,
            }
        }
        Some(highest)
    }

    /// The refcount of one cluster on disk; `None` where it cannot be read.
    pub(super) fn get(&self, subject: &Subject<'_>, cluster: u64) -> Option<u64> {
        let index = cluster / self.block_clusters;
        let bytes = match self.block(index, subject.cluster_size()) {
            Block::Absent => return Some(0),
            Block::Unreadable => return None,
            Block::At(offset) => {
                let at = (cluster % self.block_clusters) << self.order;
                let mut bytes = Vec::new();
                let length = (1 << self.order >> 3).max(1);
                subject.read(&mut bytes, offset + at / 8, length).ok()?;
                bytes
            }
        };
        let at = match self.order {
            0..3 => cluster % (8 >> self.order),
            _ => 0,
        };
        Some(decode(&bytes, self.order, at))
    }

    /// Clusters up to the last one that a block counts.
    pub(super) fn counted_clusters(&self) -> u64 {
        (self.entries.len() as u64).saturating_mul(self.block_clusters)
    }

    /// Where the blocks are.
    pub(super) fn block_offsets(&self) -> impl Iterator<Item = u64> {
        let offsets = self.entries.iter().map(|entry| entry & OFFSET_MASK);
        offsets.filter(|offset| *offset != 0)
    }

    /// Counts the blocks and checks the table's entries, those of other windows silently.
    pub(super) fn count_blocks(&self, pass: &Pass<'_>, tally: &mut Tally) {
        let cluster_size = pass.subject.cluster_size();
        for (index, entry) in (0..).zip(&self.entries) {
            let place = Place::new(Section::RefcountBlocks, index, 0);
            let offset = entry & OFFSET_MASK;
            let cluster = offset / cluster_size;
            if entry & RESERVED != 0 {
                tally.needs_rebuild = true;
                tally.corruption(place, None, || {
                    format!("ERROR refcount table entry {index} has reserved bits set")
                });
            } else if !offset.is_multiple_of(cluster_size) {
                tally.needs_rebuild = true;
                tally.corruption(place, Some(offset), || {
                    format!(
                        "ERROR refcount block {index} is not cluster aligned; refcount table \
                         entry corrupted"
                    )
                });
            } else if cluster >= pass.counts.end() {
                tally.needs_rebuild = true;
                let word = pass.subject.word();
                tally.corruption(place, Some(offset), || {
                    format!("{word} refcount block {index} is outside image")
                });
            } else if offset != 0 {
                pass.counts.add(cluster..cluster + 1, 1);
                let count = u64::from(pass.counts.get(cluster)).min(self.max());
                if count > 1 {
                    tally.needs_rebuild = true;
                    tally.corruption(place, Some(offset), || {
                        format!("ERROR refcount block {index} refcount={count}")
                    });
                }
            }
        }
    }

    /// Notes the first block that is unaligned, as QEMU's own alarm does.
    pub(super) fn note_unreadable(&self, subject: &Subject<'_>, tally: &mut Tally) {
        let cluster_size = subject.cluster_size();
        let unaligned = (0..)
            .zip(self.entries.iter().map(|entry| entry & OFFSET_MASK))
            .find(|(_, offset)| !offset.is_multiple_of(cluster_size));
        if let Some((index, offset)) = unaligned {
            let place = Place::new(Section::Compare, index * self.block_clusters, 0);
            tally.note(place, true, Some(offset), || {
                // As C prints it: zero has no prefix.
                let index = match index {
                    0 => "0".to_owned(),
                    index => format!("{index:#x}"),
                };
                format!(
                    "qcow2: Image is corrupt: Refblock offset {offset:#x} unaligned (reftable \
                     index: {index}); further non-fatal corruption events will be suppressed"
                )
            });
        }
    }
}

/// What becomes of the counts when they are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keep {
    /// They stay.
    References,
    /// They become one bit a cluster: whether the refcount on disk is one.
    DiskSingles,
}

/// What [`compare`] found out besides its findings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    /// Highest cluster that is used or counted as used.
    pub(super) highest: u64,
    /// Every used cluster has a refcount of one, on disk and in truth.
    pub(super) all_single: bool,
}

/// Compares the counts of the pass's window with the refcounts on disk.
pub(super) fn compare(
    pass: &Pass<'_>,
    table: &RefcountTable,
    keep: Keep,
    tally: &mut Tally,
) -> Result<Compared, Stop> {
    let work = Stretches::new(pass, table);
    let highest = AtomicU64::new(0);
    let shared = AtomicUsize::new(0);
    let found = on_all_cores(work.count(), &|tally| {
        let mut comparison = Comparison {
            pass,
            table,
            keep,
            tally,
            compared: Compared {
                highest: 0,
                all_single: true,
            },
            bytes: Vec::new(),
        };
        while let Some(range) = work.next()? {
            comparison.compare(range)?;
        }
        highest.fetch_max(comparison.compared.highest, Ordering::Relaxed);
        shared.fetch_add(
            usize::from(!comparison.compared.all_single),
            Ordering::Relaxed,
        );
        Ok(())
    })?;
    tally.merge(found);
    Ok(Compared {
        highest: highest.into_inner(),
        all_single: shared.into_inner() == 0,
    })
}

/// The clusters of a pass in stretches of whole pages, handed out to threads.
pub(super) struct Stretches<'a> {
    pass: &'a Pass<'a>,
    next: AtomicU64,
    end: u64,
    step: u64,
}

impl<'a> Stretches<'a> {
    pub(super) fn new(pass: &'a Pass<'a>, table: &RefcountTable) -> Self {
        let window = pass.counts.window();
        Self {
            pass,
            next: AtomicU64::new(window.start),
            end: window.end.min(pass.counts.end()),
            step: PAGE * (READ / table.page_bytes() as u64).max(1),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        let clusters = self.end.saturating_sub(self.pass.counts.window().start);
        usize::try_from(clusters.div_ceil(self.step)).unwrap_or(usize::MAX)
    }

    /// The next one.
    pub(super) fn next(&self) -> Result<Option<Range<u64>>, Stop> {
        let start = self.next.fetch_add(self.step, Ordering::Relaxed);
        if start >= self.end {
            return Ok(None);
        }
        let control = self.pass.subject.control;
        control.checkpoint()?;
        let range = start..self.end.min(start + self.step);
        control.advance(range.end - range.start);
        Ok(Some(range))
    }
}

/// The comparison of one thread.
struct Comparison<'a> {
    pass: &'a Pass<'a>,
    table: &'a RefcountTable,
    keep: Keep,
    tally: &'a mut Tally,
    compared: Compared,
    /// Refcounts on disk of the clusters that are compared.
    bytes: Vec<u8>,
}

impl Comparison<'_> {
    fn compare(&mut self, clusters: Range<u64>) -> Result<(), Stop> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let unreadable = self.table.load(self.pass.subject, &clusters, &mut bytes)?;
        let page_bytes = self.table.page_bytes();
        for (index, disk) in (0..).zip(bytes.chunks(page_bytes)) {
            let first = clusters.start + index * PAGE;
            let (mut page, _) = self.pass.counts.page(first);
            if unreadable.is_empty() && self.is_equal(&page, disk, first) {
                continue;
            }
            self.compare_page(&mut page, disk, first..clusters.end, &unreadable);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The short way for a page whose counts and refcounts are all 0 or 1 and equal.
    fn is_equal(&mut self, page: &Page, disk: &[u8], first: u64) -> bool {
        let equal = self.table.equals(page, disk);
        if let Some(Some(highest)) = equal {
            self.compared.highest = self.compared.highest.max(first + highest);
        }
        equal.is_some()
    }

    /// The long way: cluster by cluster.
    fn compare_page(
        &mut self,
        page: &mut Page,
        disk: &[u8],
        clusters: Range<u64>,
        unreadable: &[Range<u64>],
    ) {
        let mut single = vec![0_u64; usize::try_from(PAGE / 64).unwrap_or(0)];
        let end = clusters.end.min(clusters.start + PAGE);
        for cluster in clusters.start..end {
            if unreadable.iter().any(|range| range.contains(&cluster)) {
                self.unreadable(cluster);
                continue;
            }
            let at = cluster - clusters.start;
            let refcount = decode(disk, self.table.order, at);
            self.compare_cluster(cluster, refcount, page.get(at));
            if refcount == 1 {
                single[usize::try_from(at / 64).unwrap_or(0)] |= 1 << (at % 64);
            }
        }
        if self.keep == Keep::DiskSingles {
            page.replace(single);
        }
    }

    fn compare_cluster(&mut self, cluster: u64, refcount: u64, count: u32) {
        let max = self.table.max();
        let host = cluster << self.pass.subject.cluster_bits;
        note_overflow(self.tally, max, count, host);
        let reference = u64::from(count).min(max);
        if refcount > 0 || reference > 0 {
            self.compared.highest = self.compared.highest.max(cluster);
            self.compared.all_single &= refcount == 1 && reference == 1;
        }
        if refcount == reference {
            return;
        }
        let corruption = refcount < reference;
        self.tally.needs_rebuild |= refcount == 0;
        if corruption {
            self.tally.corruptions += 1;
        } else {
            self.tally.leaks += 1;
        }
        let place = Place::new(Section::Compare, cluster, 1);
        self.tally.note(place, corruption, Some(host), || {
            let what = if corruption { "ERROR" } else { "Leaked" };
            format!("{what} cluster {cluster} refcount={refcount} reference={reference}")
        });
    }

    fn unreadable(&mut self, cluster: u64) {
        self.compared.all_single = false;
        self.tally.check_errors += 1;
        let place = Place::new(Section::Compare, cluster, 1);
        self.tally.note(place, true, None, || {
            format!("Can't get refcount for cluster {cluster}: Input/output error")
        });
    }
}

/// Counts the references of the pass's window that refcounts have no room for.
pub(super) fn note_overflows(pass: &Pass<'_>, table: &RefcountTable, tally: &mut Tally) {
    let max = table.max();
    if max >= u64::from(u32::MAX) {
        return;
    }
    let bits = pass.subject.cluster_bits;
    pass.counts
        .for_each_nonzero(pass.counts.window(), &mut |cluster, count| {
            if u64::from(count) > max {
                note_overflow(tally, max, count, cluster << bits);
            }
        });
}

fn note_overflow(tally: &mut Tally, max: u64, count: u32, host: u64) {
    for over in max..u64::from(count) {
        let place = Place::new(Section::Tables, u64::MAX, over - max);
        if !tally.wants(place) {
            tally.corruptions += u64::from(count) - over;
            break;
        }
        tally.corruption(place, Some(host), || {
            format!(
                "ERROR: overflow cluster offset={host:#x}\nUse qemu-img amend to increase the \
                 refcount entry width or qemu-img convert to create a clean copy if the image \
                 cannot be opened for writing"
            )
        });
    }
}

/// Whether 64 refcounts (or fewer, at the end) of 16 bits are 1 where `ones` has a bit and 0 elsewhere.
fn is_equal_word(ones: u64, block: &[u8]) -> bool {
    block
        .chunks_exact(2)
        .enumerate()
        .all(|(at, refcount)| u64::from(BigEndian::read_u16(refcount)) == ones >> at & 1)
}

/// Refcount `at` of a block with refcounts of `1 << order` bits. Narrow ones start at the least
/// significant bit of a byte; wide ones are big-endian.
pub(super) fn decode(bytes: &[u8], order: u32, at: u64) -> u64 {
    #[allow(clippy::cast_possible_truncation, reason = "inside a block in memory")]
    let at = at as usize;
    let narrow = |bits: usize| {
        let (byte, shift) = (at * bits / 8, at * bits % 8);
        u64::from(bytes[byte] >> shift) & ((1 << bits) - 1)
    };
    match order {
        0 => narrow(1),
        1 => narrow(2),
        2 => narrow(4),
        3 => u64::from(bytes[at]),
        4 => u64::from(BigEndian::read_u16(&bytes[at * 2..])),
        5 => u64::from(BigEndian::read_u32(&bytes[at * 4..])),
        _ => BigEndian::read_u64(&bytes[at * 8..]),
    }
}

/// The opposite of [`decode`]. The refcount must fit.
pub(super) fn encode(bytes: &mut [u8], order: u32, at: u64, refcount: u64) {
    #[allow(clippy::cast_possible_truncation, reason = "inside a block in memory")]
    let at = at as usize;
    if order < 3 {
        let bits = 1 << order;
        let (byte, shift) = (at * bits / 8, at * bits % 8);
        let mask = u8::MAX >> (8 - bits) << shift;
        #[allow(clippy::cast_possible_truncation, reason = "narrower than a byte")]
        let value = (refcount as u8) << shift;
        bytes[byte] = bytes[byte] & !mask | value & mask;
        return;
    }
    let width = 1 << (order - 3);
    bytes[at * width..(at + 1) * width].copy_from_slice(&refcount.to_be_bytes()[8 - width..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refcounts_of_every_width_are_decoded() {
        let bytes = [0b1110_0100, 0x21, 0, 1, 0, 0, 0, 2];
        let all = |order, count| {
            (0..count)
                .map(|at| decode(&bytes, order, at))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(0, 8), [0, 0, 1, 0, 0, 1, 1, 1]);
        assert_eq!(all(1, 4), [0, 1, 2, 3]);
        assert_eq!(all(2, 4), [4, 14, 1, 2]);
        assert_eq!(all(3, 2), [0xe4, 0x21]);
        assert_eq!(all(4, 2), [0xe421, 1]);
        assert_eq!(all(5, 2), [0xe421_0001, 2]);
        assert_eq!(all(6, 1), [0xe421_0001_0000_0002]);
    }

    #[test]
    fn refcounts_of_every_width_are_encoded() {
        for order in 0..=6 {
            let count = 64 >> order;
            for filled in [0, 0xff] {
                let mut bytes = [filled; 8];
                for at in 0..count {
                    encode(&mut bytes, order, at, at % 2);
                }
                for at in 0..count {
                    assert_eq!(decode(&bytes, order, at), at % 2, "{order} {at}");
                }
            }
        }
    }
}
