//! What L2 entries mean, run by run. This is the inner loop of maps and measures: it works on the
//! bytes as they are on disk, and passes over long runs eight entries at a time.

use std::ops::{ControlFlow, Range};

use crate::error::{Error, Result};
use crate::image::extent::ExtentState;
use crate::image::qcow2::header::Header;
use crate::units::HostOffset;

/// A big-endian 64-bit number on disk: an L2 entry, or half of an extended one.
pub(super) type Word = [u8; 8];

/// The cluster is used by nobody else and may be written in place.
pub(super) const COPIED: u64 = 1 << 63;
/// The cluster is compressed; the other bits are a [`CompressedCluster`].
pub(super) const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeroes (version 3, without subclusters).
pub(super) const ZERO: u64 = 1;
/// Bits that are a host offset.
pub(super) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Subclusters of an extended L2 entry.
pub(super) const SUBCLUSTERS: u32 = 32;

/// Nothing, and no room for it.
pub(super) const UNALLOCATED: ExtentState = ExtentState::Unallocated { host: None };

/// End of the host offsets that an entry can hold.
const OFFSET_END: u64 = 1 << 56;

/// How the L2 entries of one image are to be understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct L2Format {
    pub(super) cluster_bits: u32,
    /// Version 2 has no zero clusters.
    pub(super) version: u32,
    pub(super) extended: bool,
    /// Guest clusters are in an external data file, each at its own guest offset.
    pub(super) data_file: bool,
}

/// A stretch of an L2 table.
#[derive(Clone, Copy, Debug)]
pub(super) struct L2Part<'a> {
    /// Whole entries: one word each, two with subclusters.
    pub(super) words: &'a [Word],
    /// Guest offset of the first entry.
    pub(super) guest: u64,
    /// Where the first entry is in the file.
    pub(super) host: u64,
}

/// A run of guest bytes with one state.
#[derive(Clone, Debug)]
pub(super) struct EntryRun {
    pub(super) guest: Range<u64>,
    pub(super) state: ExtentState,
    /// The entry that the run begins in, counted from the start of the part.
    pub(super) entry: usize,
}

/// The place of a compressed cluster's data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct CompressedCluster {
    pub(super) host: u64,
    /// Bytes up to the end of the last 512-byte sector it reaches into: the data itself may end
    /// earlier.
    pub(super) length: u64,
}

impl CompressedCluster {
    /// The place in L2 entry `entry`.
    pub(super) fn parse(entry: u64, cluster_bits: u32) -> Self {
        // QEMU's names: the offset takes the low bits, above it is the number of further sectors.
        let offset_bits = 62 - (cluster_bits - 8);
        let host = entry & ((1 << offset_bits) - 1);
        let sectors = ((entry & (COMPRESSED - 1)) >> offset_bits) + 1;
        Self {
            host,
            length: sectors * 512 - host % 512,
        }
    }

    /// The place of `length` bytes at `host` as an L2 entry has it, without [`COMPRESSED`]. `None`
    /// where it does not fit into one.
    pub(super) fn encode(host: u64, length: u64, cluster_bits: u32) -> Option<u64> {
        let offset_bits = 62 - (cluster_bits - 8);
        let last = host.checked_add(length.checked_sub(1)?)?;
        let sectors = last / 512 - host / 512;
        (last >> offset_bits == 0 && sectors >> (cluster_bits - 8) == 0)
            .then_some(host | sectors << offset_bits)
    }

    /// The byte behind it.
    pub(super) fn end(self) -> u64 {
        self.host + self.length
    }
}

impl L2Format {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            cluster_bits: header.cluster_bits,
            version: header.version,
            extended: header.extended_l2(),
            data_file: header.has_data_file(),
        }
    }

    pub(super) fn cluster_size(self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of an entry.
    pub(super) fn entry_size(self) -> u64 {
        if self.extended { 16 } else { 8 }
    }

    /// Entries of a table.
    pub(super) fn entries_per_table(self) -> u64 {
        self.cluster_size() / self.entry_size()
    }

    /// Guest bytes that a table maps.
    pub(super) fn table_reach(self) -> u64 {
        self.entries_per_table() << self.cluster_bits
    }

    /// The first word of entry `index`.
    pub(super) fn entry_word(self, words: &[Word], index: usize) -> Option<u64> {
        let word = if self.extended { index * 2 } else { index };
        words.get(word).map(|word| u64::from_be_bytes(*word))
    }

    /// Visits the runs of `range`, which `part` must map, in guest order. Neighbouring runs may
    /// continue each other.
    pub(super) fn for_each_run(
        self,
        part: &L2Part<'_>,
        range: Range<u64>,
        visit: &mut impl FnMut(EntryRun) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let cluster_at = |index: usize| part.guest + ((index as u64) << self.cluster_bits);
        let words_per_entry = if self.extended { 2 } else { 1 };
        let entries = part.words.len() / words_per_entry;
        let clusters = range.end.saturating_sub(part.guest);
        let end = usize::try_from(clusters.div_ceil(self.cluster_size()))
            .map_or(entries, |end| end.min(entries));
        let first = range.start.saturating_sub(part.guest) >> self.cluster_bits;
        let mut index = usize::try_from(first).unwrap_or(entries);

        while index < end {
            let at = Position {
                guest: cluster_at(index),
                host: part.host + index as u64 * self.entry_size(),
            };
            let words = &part.words[index * words_per_entry..end * words_per_entry];
            let mut emit = |guest: Range<u64>, state: ExtentState| {
                let cut = guest.start.max(range.start)..guest.end.min(range.end);
                if cut.is_empty() {
                    return Ok(ControlFlow::Continue(()));
                }
                let state = advance(state, cut.start - guest.start);
                visit(EntryRun {
                    guest: cut,
                    state,
                    entry: index,
                })
            };
            let (flow, count) = if self.extended {
                self.extended_run(words.as_chunks::<2>().0, at, &mut emit)?
            } else {
                let (state, count) = self.standard_run(words, at)?;
                (emit(at.guest..cluster_at(index + count), state)?, count)
            };
            if flow.is_break() {
                return Ok(flow);
            }
            index += count;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// State and number of clusters of the run that begins with `words`.
    fn standard_run(self, words: &[Word], at: Position) -> Result<(ExtentState, usize)> {
        let entry = u64::from_be_bytes(words[0]);
        if entry == 0 {
            return Ok((UNALLOCATED, count_zeroes(words)));
        }
        if entry & COMPRESSED != 0 {
            self.check_compressed(at)?;
            return Ok((ExtentState::Compressed, count_compressed(words)));
        }
        let host = entry & OFFSET_MASK;
        let is_zero = entry & ZERO != 0;
        if is_zero && self.version < 3 {
            return Err(at.wrong("Zero cluster entry found in pre-v3 image"));
        }
        if host == 0 && is_zero {
            let count = words.iter().take_while(|word| **word == words[0]).count();
            return Ok((ExtentState::Zero { host: None }, count));
        }
        if host == 0 && !self.is_allocated_at_0(entry) {
            return Ok((UNALLOCATED, 1));
        }
        self.check_host(host, at)?;
        let count = self.count_contiguous(words, entry, host);
        let host = HostOffset(host);
        let state = if is_zero {
            ExtentState::Zero { host: Some(host) }
        } else {
            ExtentState::Data { host }
        };
        Ok((state, count))
    }

    /// Visits the subclusters of the first entries; how many entries that were.
    fn extended_run(
        self,
        entries: &[[Word; 2]],
        at: Position,
        emit: &mut impl FnMut(Range<u64>, ExtentState) -> Result<ControlFlow<()>>,
    ) -> Result<(ControlFlow<()>, usize)> {
        let cluster_size = self.cluster_size();
        let entry = u64::from_be_bytes(entries[0][0]);
        let bitmap = u64::from_be_bytes(entries[0][1]);
        if entry == 0 && bitmap == 0 {
            let count = count_zeroes(entries.as_flattened()) / 2;
            let end = at.guest + ((count as u64) << self.cluster_bits);
            return Ok((emit(at.guest..end, UNALLOCATED)?, count));
        }
        if entry & COMPRESSED != 0 {
            self.check_compressed(at)?;
            let flow = emit(at.guest..at.guest + cluster_size, ExtentState::Compressed)?;
            return Ok((flow, 1));
        }
        let invalid = || at.wrong(&format!("invalid subcluster bitmap {bitmap:#018x}"));
        let subclusters = Subclusters::parse(bitmap).ok_or_else(invalid)?;
        let host = entry & OFFSET_MASK;
        let host = if host != 0 || self.is_allocated_at_0(entry) {
            self.check_host(host, at)?;
            Some(host)
        } else {
            None
        };
        let subcluster_size = cluster_size / u64::from(SUBCLUSTERS);
        let mut first = 0;
        while first < SUBCLUSTERS {
            let count = subclusters.run(first);
            let skipped = u64::from(first) * subcluster_size;
            let here = host.map(|host| HostOffset(host + skipped));
            let state = match (subclusters.kind(first), here) {
                (Subcluster::Zero, host) => ExtentState::Zero { host },
                (Subcluster::Allocated, Some(host)) => ExtentState::Data { host },
                (Subcluster::Allocated, None) => return Err(invalid()),
                (Subcluster::Unallocated, host) => ExtentState::Unallocated { host },
            };
            let start = at.guest + skipped;
            let flow = emit(start..start + u64::from(count) * subcluster_size, state)?;
            if flow.is_break() {
                return Ok((flow, 1));
            }
            first += count;
        }
        Ok((ControlFlow::Continue(()), 1))
    }

    /// With an external data file, offset 0 is a place like any other, and the copied flag tells
    /// it from "nowhere".
    fn is_allocated_at_0(self, entry: u64) -> bool {
        self.data_file && entry & COPIED != 0
    }

    fn check_compressed(self, at: Position) -> Result<()> {
        if self.data_file {
            return Err(at.wrong("Compressed cluster entry found in image with external data file"));
        }
        Ok(())
    }

    fn check_host(self, host: u64, at: Position) -> Result<()> {
        if !host.is_multiple_of(self.cluster_size()) {
            return Err(at.wrong(&format!("Cluster allocation offset {host:#x} unaligned")));
        }
        if self.data_file && host != at.guest {
            return Err(at.wrong(&format!(
                "External data file host cluster offset {host:#x} does not match guest cluster \
                 offset"
            )));
        }
        Ok(())
    }

    /// How many entries, the first included, continue each other on the host.
    fn count_contiguous(self, words: &[Word], entry: u64, host: u64) -> usize {
        let step = self.cluster_size();
        let room = usize::try_from((OFFSET_END - host) >> self.cluster_bits);
        let words = &words[..words.len().min(room.unwrap_or(usize::MAX))];
        let mut expected = entry & !COPIED;
        let mut count = 0;
        for chunk in words.as_chunks::<8>().0 {
            let mut difference = 0;
            let mut expected_here = expected;
            for word in chunk {
                difference |= (u64::from_be_bytes(*word) & !COPIED) ^ expected_here;
                expected_here = expected_here.wrapping_add(step);
            }
            if difference != 0 {
                break;
            }
            expected = expected_here;
            count += chunk.len();
        }
        for word in &words[count..] {
            if u64::from_be_bytes(*word) & !COPIED != expected {
                break;
            }
            expected = expected.wrapping_add(step);
            count += 1;
        }
        count
    }
}

/// Where an entry is, for messages.
#[derive(Clone, Copy)]
struct Position {
    guest: u64,
    host: u64,
}

impl Position {
    #[cold]
    fn wrong(self, what: &str) -> Error {
        Error::corrupt(format!("{what} (guest offset {:#x})", self.guest))
            .with_offset(self.host)
            .with_field("L2 entry")
    }
}

/// The state `bytes` further into a run of `state`.
fn advance(state: ExtentState, bytes: u64) -> ExtentState {
    let further = |host: HostOffset| HostOffset(host.0 + bytes);
    match state {
        ExtentState::Data { host } => ExtentState::Data {
            host: further(host),
        },
        ExtentState::Zero { host } => ExtentState::Zero {
            host: host.map(further),
        },
        ExtentState::Unallocated { host } => ExtentState::Unallocated {
            host: host.map(further),
        },
        ExtentState::Compressed => ExtentState::Compressed,
    }
}

fn count_zeroes(words: &[Word]) -> usize {
    let mut count = 0;
    for chunk in words.as_chunks::<8>().0 {
        if chunk
            .iter()
            .fold(0, |all, word| all | u64::from_be_bytes(*word))
            != 0
        {
            break;
        }
        count += chunk.len();
    }
    count
        + words[count..]
            .iter()
            .take_while(|word| **word == [0; 8])
            .count()
}

fn count_compressed(words: &[Word]) -> usize {
    words
        .iter()
        .take_while(|word| u64::from_be_bytes(**word) & COMPRESSED != 0)
        .count()
}

/// The bitmap of an extended L2 entry: in the low half, which subclusters are allocated; in the
/// high half, which read as zeroes.
#[derive(Clone, Copy)]
struct Subclusters {
    allocated: u32,
    zero: u32,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Subcluster {
    Unallocated,
    Allocated,
    Zero,
}

impl Subclusters {
    /// `None` when a subcluster is said to be both.
    fn parse(bitmap: u64) -> Option<Self> {
        #[allow(clippy::cast_possible_truncation, reason = "the halves are meant")]
        let (allocated, zero) = (bitmap as u32, (bitmap >> 32) as u32);
        (allocated & zero == 0).then_some(Self { allocated, zero })
    }

    fn kind(self, index: u32) -> Subcluster {
        if self.zero >> index & 1 != 0 {
            Subcluster::Zero
        } else if self.allocated >> index & 1 != 0 {
            Subcluster::Allocated
        } else {
            Subcluster::Unallocated
        }
    }

    /// How many subclusters from `first` on are of one kind.
    fn run(self, first: u32) -> u32 {
        let of_kind = match self.kind(first) {
            Subcluster::Zero => self.zero,
            Subcluster::Allocated => self.allocated,
            Subcluster::Unallocated => !(self.zero | self.allocated),
        };
        (of_kind >> first).trailing_ones().min(SUBCLUSTERS - first)
    }
}
