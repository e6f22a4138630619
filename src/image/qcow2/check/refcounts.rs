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
    order: u32,
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
    fn max(&self) -> u64 {
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

    /// Counts the blocks and checks the table's entries, those of other windows silently.
    pub(super) fn count_blocks(&self, pass: &Pass<'_>, tally: &mut Tally) {
        let cluster_size = pass.subject.cluster_size();
        for (index, entry) in (0..).zip(&self.entries) {
            let place = Place::new(Section::RefcountBlocks, index, 0);
            let offset = entry & OFFSET_MASK;
            let cluster = offset / cluster_size;
            if entry & RESERVED != 0 {
                tally.corruption(place, None, || {
                    format!("ERROR refcount table entry {index} has reserved bits set")
                });
            } else if !offset.is_multiple_of(cluster_size) {
                tally.corruption(place, Some(offset), || {
                    format!(
                        "ERROR refcount block {index} is not cluster aligned; refcount table \
                         entry corrupted"
                    )
                });
            } else if cluster >= pass.counts.end() {
                tally.corruption(place, Some(offset), || {
                    format!("ERROR refcount block {index} is outside image")
                });
            } else if offset != 0 {
                pass.counts.add(cluster..cluster + 1, 1);
                let count = u64::from(pass.counts.get(cluster)).min(self.max());
                if count > 1 {
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

/// What [`compare`] found out besides its findings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    /// Highest cluster that is used or counted as used.
    pub(super) highest: u64,
    /// Every used cluster has a refcount of one, on disk and in truth.
    pub(super) all_single: bool,
}

/// Compares the counts of the pass's window with the refcounts on disk. Afterwards the counts are
/// one bit a cluster: whether the refcount on disk is one.
pub(super) fn compare(
    pass: &Pass<'_>,
    table: &RefcountTable,
    tally: &mut Tally,
) -> Result<Compared, Stop> {
    let window = pass.counts.window();
    let end = window.end.min(pass.counts.end());
    let page_bytes = (PAGE << table.order) / 8;
    let step = PAGE * (READ / page_bytes).max(1);
    let items = end.saturating_sub(window.start).div_ceil(step);
    let next = AtomicUsize::new(0);
    let highest = AtomicU64::new(0);
    let shared = AtomicUsize::new(0);
    let found = on_all_cores(usize::try_from(items).unwrap_or(usize::MAX), &|tally| {
        let mut comparison = Comparison {
            pass,
            table,
            tally,
            compared: Compared {
                highest: 0,
                all_single: true,
            },
            bytes: Vec::new(),
        };
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed) as u64;
            if item >= items {
                break;
            }
            pass.subject.control.checkpoint()?;
            let start = window.start + item * step;
            let range = start..end.min(start + step);
            pass.subject.control.advance(range.end - range.start);
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

/// The comparison of one thread.
struct Comparison<'a> {
    pass: &'a Pass<'a>,
    table: &'a RefcountTable,
    tally: &'a mut Tally,
    compared: Compared,
    /// Refcounts on disk of the clusters that are compared.
    bytes: Vec<u8>,
}

impl Comparison<'_> {
    fn compare(&mut self, clusters: Range<u64>) -> Result<(), Stop> {
        let unreadable = self.load(&clusters)?;
        let page_bytes = usize::try_from((PAGE << self.table.order) / 8).unwrap_or(0);
        let bytes = std::mem::take(&mut self.bytes);
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

    /// Reads the refcounts of `clusters`, blocks that follow each other at once. Returns the
    /// clusters whose refcounts cannot be read.
    fn load(&mut self, clusters: &Range<u64>) -> Result<Vec<Range<u64>>, Stop> {
        let table = self.table;
        let subject = self.pass.subject;
        let as_bytes = |clusters: u64| (clusters << table.order).div_ceil(8);
        let length = |clusters| usize::try_from(as_bytes(clusters)).unwrap_or(0);
        self.bytes.clear();
        self.bytes.resize(length(clusters.end - clusters.start), 0);
        let mut unreadable: Vec<Range<u64>> = Vec::new();
        // What is to be read next: file offset, and the part of the buffer.
        let mut pending: (u64, Range<usize>) = (0, 0..0);
        let mut at = clusters.start;
        while at < clusters.end {
            let index = at / table.block_clusters;
            let end = ((index + 1) * table.block_clusters).min(clusters.end);
            match table.block(index, subject.cluster_size()) {
                Block::Absent => {}
                Block::Unreadable => unreadable.push(at..end),
                Block::At(offset) => {
                    let offset = offset + as_bytes(at % table.block_clusters);
                    let from = length(at - clusters.start);
                    let to = length(end - clusters.start);
                    let follows = pending.0 + pending.1.len() as u64 == offset;
                    if follows && pending.1.end == from {
                        pending.1.end = to;
                    } else {
                        subject.read_slice(&mut self.bytes[pending.1], pending.0)?;
                        pending = (offset, from..to);
                    }
                }
            }
            at = end;
        }
        subject.read_slice(&mut self.bytes[pending.1], pending.0)?;
        Ok(unreadable)
    }

    /// The short way for a page whose counts and refcounts are all 0 or 1 and equal.
    fn is_equal(&mut self, page: &Page, disk: &[u8], first: u64) -> bool {
        if page.is_empty() {
            return disk.iter().fold(0, |all, byte| all | byte) == 0;
        }
        if self.table.order != 4 {
            return false;
        }
        let mut highest = 0;
        for (at, block) in (0..).step_by(64).zip(disk.chunks(128)) {
            match page.ones(at) {
                Some(0) if block.iter().all(|byte| *byte == 0) => {}
                Some(u64::MAX) if *block == ONES => highest = first + at + 63,
                Some(ones) if is_equal_word(ones, block) => {
                    highest = first + at + 63 - u64::from(ones.leading_zeros());
                }
                _ => return false,
            }
        }
        self.compared.highest = self.compared.highest.max(highest);
        true
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
        page.replace(single);
    }

    fn compare_cluster(&mut self, cluster: u64, refcount: u64, count: u32) {
        let max = self.table.max();
        let host = cluster << self.pass.subject.cluster_bits;
        for over in max..u64::from(count) {
            let place = Place::new(Section::Tables, u64::MAX, over - max);
            if !self.tally.wants(place) {
                self.tally.corruptions += u64::from(count) - over;
                break;
            }
            self.tally.corruption(place, Some(host), || {
                format!(
                    "ERROR: overflow cluster offset={host:#x}\nUse qemu-img amend to increase \
                     the refcount entry width or qemu-img convert to create a clean copy if the \
                     image cannot be opened for writing"
                )
            });
        }
        let reference = u64::from(count).min(max);
        if refcount > 0 || reference > 0 {
            self.compared.highest = self.compared.highest.max(cluster);
            self.compared.all_single &= refcount == 1 && reference == 1;
        }
        if refcount == reference {
            return;
        }
        let corruption = refcount < reference;
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

/// Whether 64 refcounts (or fewer, at the end) of 16 bits are 1 where `ones` has a bit and 0 elsewhere.
fn is_equal_word(ones: u64, block: &[u8]) -> bool {
    block
        .chunks_exact(2)
        .enumerate()
        .all(|(at, refcount)| u64::from(BigEndian::read_u16(refcount)) == ones >> at & 1)
}

/// Refcount `at` of a block with refcounts of `1 << order` bits. Narrow ones start at the least
/// significant bit of a byte; wide ones are big-endian.
fn decode(bytes: &[u8], order: u32, at: u64) -> u64 {
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
}
