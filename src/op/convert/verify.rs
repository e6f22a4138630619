//! Whether the target reads as what was read of the source: checksums of the data are summed up
//! while it is read for the conversion, and again while the target is read through its own tables.
//! The source's data is not read again.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::Control;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::op::convert::batch::{Batch, Cut};
use crate::op::convert::reader::data_pieces;
use crate::op::convert::source::{RunState, Source};
use crate::op::convert::workers::{self, Sink};
use crate::op::convert::zeroes::is_zero;
use crate::op::convert::{ConvertStop, Step};
use crate::storage::Storage;
use crate::units::MIB;

/// Bytes of the disk that have a sum of their own: where a difference is said to be.
const STRIPE: u64 = 64 * MIB;
/// Bytes with a checksum of their own; batches begin and end at multiples, or at those of smaller
/// clusters.
const BLOCK: usize = 4096;
/// What is read of the target at a time, where the source has zeroes.
const READ: u64 = MIB;

/// Sums over the blocks of a disk, in any order; blocks of zeroes add nothing.
pub(super) struct Sums {
    stripes: Vec<AtomicU64>,
    block: usize,
}

impl Sums {
    /// Sums for a disk of `size` bytes that is cut at multiples of `unit`. 16 KiB for a terabyte.
    pub(super) fn new(size: u64, unit: u64) -> Self {
        let stripes = usize::try_from(size.div_ceil(STRIPE)).unwrap_or(0);
        Self {
            stripes: (0..stripes).map(|_| AtomicU64::new(0)).collect(),
            block: usize::try_from(unit).unwrap_or(BLOCK).min(BLOCK),
        }
    }

    /// Adds `bytes`, which are at `offset`.
    pub(super) fn add(&self, bytes: &[u8], offset: u64) {
        for (index, block) in bytes.chunks(self.block).enumerate() {
            if is_zero(block) {
                continue;
            }
            let at = offset + (index * self.block) as u64;
            let stripe = usize::try_from(at / STRIPE).unwrap_or(usize::MAX);
            if let Some(sum) = self.stripes.get(stripe) {
                sum.fetch_add(checksum(block, at), Ordering::Relaxed);
            }
        }
    }

    /// The first stripe whose sums differ.
    fn first_difference(&self, other: &Self) -> Option<Range<u64>> {
        let different = self
            .stripes
            .iter()
            .zip(&other.stripes)
            .position(|(a, b)| a.load(Ordering::Relaxed) != b.load(Ordering::Relaxed))?;
        let start = different as u64 * STRIPE;
        Some(start..start + STRIPE)
    }
}

/// Two sums of different polynomials, mixed with the place, so that blocks that were exchanged are
/// noticed.
fn checksum(block: &[u8], offset: u64) -> u64 {
    let sums = u64::from(crc32c::crc32c(block)) << 32 | u64::from(crc32fast::hash(block));
    (sums ^ offset.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// Reads the target wherever the source was not left out, and compares.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] naming where they differ; when the target cannot be read.
pub(super) fn verify(
    source: &Source<'_>,
    cut: Cut,
    read: &Sums,
    target: &Disk,
    threads: usize,
    control: &Control,
) -> Result<(), ConvertStop> {
    control.enter("verifying", source.size());
    let sink = VerifySink {
        source,
        target,
        sums: Sums::new(cut.size, cut.unit),
    };
    workers::run(source, cut, &sink, threads, control)?;
    match read.first_difference(&sink.sums) {
        None => Ok(()),
        Some(range) => Err(differs(range)),
    }
}

fn differs(range: Range<u64>) -> ConvertStop {
    let Range { start, end } = range;
    let message = format!("the copy differs from the source between byte {start} and {end}");
    ConvertStop::new(Step::Verify, Error::corrupt(message))
}

struct VerifySink<'a> {
    source: &'a Source<'a>,
    target: &'a Disk,
    sums: Sums,
}

impl Sink for VerifySink<'_> {
    type Scratch = (Vec<u8>, Vec<u8>);

    fn put(&self, batch: &Batch, scratch: &mut Self::Scratch) -> Result<(), ConvertStop> {
        let (data, other) = scratch;
        for (piece, range) in data_pieces(batch) {
            data.resize(range.len(), 0);
            self.read(data, piece.range.start)?;
            self.sums.add(data, piece.range.start);
        }
        for piece in &batch.pieces {
            match piece.state {
                RunState::Data | RunState::Base => {}
                RunState::Zero => self.expect_zeroes(&piece.range, data)?,
                // Copied unread: only now anybody looks into it.
                RunState::Compressed { .. } => {
                    for part in parts(&piece.range) {
                        let length = usize::try_from(part.end - part.start).unwrap_or(0);
                        data.resize(length, 0);
                        other.resize(length, 0);
                        self.read(data, part.start)?;
                        self.source
                            .read_at(other, part.start)
                            .map_err(|error| ConvertStop::new(Step::Read(part.start), error))?;
                        if data != other {
                            return Err(differs(part));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl VerifySink<'_> {
    fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), ConvertStop> {
        self.target
            .read_at(buf, offset)
            .map_err(|error| ConvertStop::new(Step::Verify, error))
    }

    fn expect_zeroes(&self, range: &Range<u64>, buf: &mut Vec<u8>) -> Result<(), ConvertStop> {
        let mut data = Vec::new();
        let mut found = Ok(());
        let walked = self.target.for_each_run(range.clone(), &mut |run| {
            if run.hole {
                return ControlFlow::Continue(());
            }
            data.push(run.range);
            // A few ranges at a time, however many there are.
            if data.len() < 1024 {
                return ControlFlow::Continue(());
            }
            found = self.read_zeroes(&mut data, buf);
            if found.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        walked.map_err(|error| ConvertStop::new(Step::Verify, error))?;
        found?;
        self.read_zeroes(&mut data, buf)
    }

    fn read_zeroes(
        &self,
        ranges: &mut Vec<Range<u64>>,
        buf: &mut Vec<u8>,
    ) -> Result<(), ConvertStop> {
        for part in ranges.drain(..).flat_map(|range| parts(&range)) {
            buf.resize(usize::try_from(part.end - part.start).unwrap_or(0), 0);
            self.read(buf, part.start)?;
            if !is_zero(buf) {
                return Err(differs(part));
            }
        }
        Ok(())
    }
}

/// A range in pieces that can be read at once.
fn parts(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let Range { start, end } = *range;
    let count = (end - start).div_ceil(READ);
    (0..count).map(move |index| {
        let start = start + index * READ;
        start..end.min(start + READ)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::chain::{Chain, ChainOptions};
    use crate::image::{self, Format};
    use crate::storage::MemoryStorage;

    #[test]
    fn sums_do_not_depend_on_the_order_but_on_the_place() {
        let a = vec![1; 8192];
        let b: Vec<u8> = (0..8192_u32).map(|i| i.to_le_bytes()[0]).collect();
        let sums = |pieces: &[(&[u8], u64)]| {
            let sums = Sums::new(3 * STRIPE, 65536);
            for (bytes, offset) in pieces {
                sums.add(bytes, *offset);
            }
            sums
        };
        let one = sums(&[(&a, 0), (&b, STRIPE)]);
        assert_eq!(one.first_difference(&sums(&[(&b, STRIPE), (&a, 0)])), None);
        // Zeroes need not be read.
        let with_zeroes = sums(&[(&b, STRIPE), (&a, 0), (&[0; 4096], 65536)]);
        assert_eq!(one.first_difference(&with_zeroes), None);
        let exchanged = sums(&[(&a[..4096], 4096), (&a[..4096], 0), (&b, STRIPE + 4096)]);
        let differs = one.first_difference(&exchanged);
        assert_eq!(differs, Some(STRIPE..2 * STRIPE));
    }

    /// Verifies `target` as a copy of `source`, a file of which 4 KiB from 8 KiB on are data.
    fn verified(source: &[u8], target: Vec<u8>) -> Result<(), ConvertStop> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(source.len() as u64).unwrap();
        file.as_file()
            .write_all_at(&source[8192..12288], 8192)
            .unwrap();
        let options = ChainOptions {
            format: Some(Format::Raw),
            ..ChainOptions::default()
        };
        let chains = [Chain::open(file.path(), &options).unwrap()];
        let source_disk = Source::new(&chains).unwrap();
        let cut = Cut {
            size: source.len() as u64,
            unit: 4096,
            batch: MIB,
            stored_unit: 0,
            has_base: false,
        };
        let sums = Sums::new(cut.size, cut.unit);
        sums.add(&source[8192..12288], 8192);
        let image = image::open(Arc::new(MemoryStorage::new(target)), Format::Raw).unwrap();
        let target = Disk::new(vec![image.into()]).unwrap();
        verify(&source_disk, cut, &sums, &target, 2, &Control::new())
    }

    #[test]
    fn every_changed_byte_is_found() {
        let mut source = vec![0; 1 << 20];
        source[8192..12288].fill(7);
        assert!(verified(&source, source.clone()).is_ok());
        for at in [0, 8192, 10_000, 12_287, 12_288, (1 << 20) - 1] {
            let mut target = source.clone();
            target[at] ^= 0x10;
            let stop = verified(&source, target).unwrap_err();
            assert_eq!(stop.step, Step::Verify, "{at}");
        }
    }
}
