//! Zeroes and discards: entries change, data is written only where an entry cannot say it.

use std::ops::Range;

use crate::error::Result;
use crate::image::qcow2::feature;
use crate::image::qcow2::write::mapping::{Mapping, Place};
use crate::image::qcow2::write::read::Source;
use crate::image::qcow2::write::{Qcow2Writer, State};
use crate::units::MIB;

/// Most bytes of a disk whose entries are changed without a look at what else there is to do.
const PIECE: u64 = 1024 * MIB;
/// Zeroes that must be written are written so many at a time.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// What becomes of whole subclusters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Erase {
    /// They read as zeroes; a place that is there stays.
    Zero,
    /// They read as zeroes; their place is given back.
    ZeroAndFree,
    /// They read as the backing file.
    Reveal,
}

impl Qcow2Writer {
    /// See [`crate::image::ImageWriter::write_zeroes`]; the range is inside the virtual size.
    pub(super) fn zero(&self, range: Range<u64>, discard: bool) -> Result<()> {
        let erase = if discard {
            Erase::ZeroAndFree
        } else {
            Erase::Zero
        };
        let whole = self.whole_units(&range);
        if whole.is_empty() {
            return self.write_real_zeroes(range);
        }
        self.write_real_zeroes(range.start..whole.start)?;
        self.erase(whole.clone(), erase)?;
        self.write_real_zeroes(whole.end.min(range.end)..range.end)
    }

    /// See [`crate::image::ImageWriter::discard`]; the range is inside the virtual size.
    pub(super) fn give_up(&self, range: Range<u64>, reveal_backing: bool) -> Result<()> {
        let whole = self.whole_units(&range);
        if whole.is_empty() {
            return Ok(());
        }
        self.erase(
            whole,
            if reveal_backing {
                Erase::Reveal
            } else {
                Erase::ZeroAndFree
            },
        )
    }

    /// The whole subclusters (version 2: clusters) in `range`; the last one of the disk counts as
    /// whole when all that is left of it is in the range.
    fn whole_units(&self, range: &Range<u64>) -> Range<u64> {
        let state = self.lock();
        let unit = state.format.subcluster_size();
        let start = range.start.next_multiple_of(unit);
        let end = if range.end == state.header.fields.size {
            range.end.next_multiple_of(unit)
        } else {
            range.end - range.end % unit
        };
        start..end.max(start)
    }

    /// For parts of a subcluster, and for what cannot be said in an entry.
    fn write_real_zeroes(&self, range: Range<u64>) -> Result<()> {
        self.for_each_piece(range, ZEROES.len() as u64, &mut |piece| {
            if self.reads_as_zeroes(&piece)? {
                return Ok(());
            }
            let length = usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX);
            self.write(&ZEROES[..length], piece.start)
        })
    }

    /// Whether the tables alone say that a piece is zero.
    fn reads_as_zeroes(&self, piece: &Range<u64>) -> Result<bool> {
        let mut state = self.lock();
        let has_backing = state.has_backing();
        let sources = state.sources(piece.clone())?;
        Ok(sources.iter().all(|(_, source)| match source {
            Source::Zero => true,
            Source::Missing => !has_backing,
            Source::Data(_) | Source::Compressed(_) => false,
        }))
    }

    /// `range` is whole subclusters, and may end behind the end of the disk.
    fn erase(&self, range: Range<u64>, erase: Erase) -> Result<()> {
        let (cannot_say, size) = {
            let state = self.lock();
            let old = state.header.fields.version < 3;
            (
                old && erase != Erase::Reveal && state.has_backing(),
                state.header.fields.size,
            )
        };
        if cannot_say {
            return self.write_real_zeroes(range.start..range.end.min(size));
        }
        self.for_each_piece(range, PIECE, &mut |piece| {
            let (_inflight, mut state) = self.begin(&piece)?;
            state.erase_piece(piece, erase)
        })
    }
}

impl State {
    fn erase_piece(&mut self, range: Range<u64>, erase: Erase) -> Result<()> {
        let erase = if erase == Erase::Reveal && self.is_raw_data_file() {
            // Has no backing file.
            Erase::ZeroAndFree
        } else {
            erase
        };
        self.erase_data_file(&range, erase)?;
        let index = usize::try_from(range.start / self.format.table_reach()).unwrap_or(usize::MAX);
        let is_nothing = erase == Erase::Reveal || !self.has_backing();
        if is_nothing && self.l1.l2_table(index).is_none() {
            return Ok(());
        }
        let size = self.cluster_size();
        let table = self.l2_table_for_change(index)?;
        let first = range.start - range.start % size;
        let mut changes = Vec::new();
        for (mut old, index) in self.mappings(table, &range)?.into_iter().zip(0_u64..) {
            let cluster = first + index * size;
            let part = range.start.max(cluster)..range.end.min(cluster + size);
            let bits = self
                .format
                .subclusters(&(part.start - cluster..part.end - cluster));
            let is_whole = bits == self.format.all_subclusters();
            if matches!(old.place, Place::Compressed(_)) && !is_whole {
                old = self.unpack(table, cluster, &old)?;
            }
            changes.push((old, self.erased(old, bits, erase)?));
        }
        self.replace_all(table, first, &changes)
    }

    /// What becomes of a cluster (not a compressed one, unless all of it is meant) whose
    /// subclusters `bits` are erased.
    fn erased(&mut self, old: Mapping, bits: u32, erase: Erase) -> Result<Mapping> {
        let format = self.format;
        let is_whole = bits == format.all_subclusters();
        let missing = old.missing(format) & bits;
        if erase != Erase::Reveal && missing == bits && !self.has_backing() {
            return Ok(old);
        }
        let mut new = match erase {
            Erase::Reveal if is_whole => Mapping::default(),
            Erase::Zero | Erase::ZeroAndFree if is_whole => Mapping::zeroes(format),
            _ => old,
        };
        if !is_whole {
            new.allocated &= !bits;
            new.zero = if erase == Erase::Reveal {
                new.zero & !bits
            } else {
                new.zero | bits
            };
            if new.allocated == 0 && erase != Erase::Zero {
                new.place = Place::None;
            }
        }
        if self.header.fields.version < 3 {
            // Without a backing file, nothing is as good as zeroes.
            new = Mapping::default();
        } else if erase == Erase::Zero && self.own_host(&old)?.is_some() {
            new.place = old.place;
        }
        if self.is_raw_data_file() {
            // The file is the disk, and stays mapped as such.
            new.place = old.place;
        }
        Ok(new)
    }

    /// What else is the disk's own in an external data file: zeroes must be there if somebody may
    /// read it as a raw image, and its space is given back as the guest asked for.
    fn erase_data_file(&mut self, range: &Range<u64>, erase: Erase) -> Result<()> {
        let Some(data) = &self.data_file else {
            return Ok(());
        };
        let end = range.end.min(data.size()?.max(self.header.fields.size));
        let range = range.start..end.max(range.start);
        match erase {
            Erase::ZeroAndFree => data.punch_hole(range),
            Erase::Zero if self.is_raw_data_file() => data.write_zeroes(range),
            Erase::Zero | Erase::Reveal => Ok(()),
        }
    }

    /// Guest clusters are in an external data file that is a raw image by itself.
    pub(super) fn is_raw_data_file(&self) -> bool {
        self.header.fields.autoclear_features & feature::DATA_FILE_RAW != 0
    }
}
