//! An image that is there already as the target: its writer decides about places.

use crate::control::Control;
use crate::error::{Error, ErrorKind};
use crate::image::ImageWriter;
use crate::op::convert::batch::{Batch, Cut};
use crate::op::convert::reader::{Reader, data_pieces};
use crate::op::convert::source::{RunState, Source};
use crate::op::convert::workers::{self, Sink};
use crate::op::convert::zeroes::{self, is_zero};
use crate::op::convert::{BATCH, ConvertOptions, ConvertStop, Step};
use crate::units::GuestOffset;

/// What the writer is called for when the image says nothing about clusters.
const UNIT: u64 = 4096;

/// Writes the source over the start of the disk; what lies behind stays. `cluster_size` is that of
/// the image, if it has clusters; with `is_zero` its disk is known to read as zeroes.
pub(super) fn write(
    source: &Source<'_>,
    writer: &dyn ImageWriter,
    cluster_size: Option<u64>,
    is_zero: bool,
    options: &ConvertOptions<'_>,
    control: &Control,
) -> Result<(), ConvertStop> {
    let size = source.size();
    if writer.virtual_size() < size {
        let error = Error::new(
            ErrorKind::InvalidInput,
            "output file is smaller than input file",
        );
        return Err(ConvertStop::new(Step::Prepare, error));
    }
    let unit = cluster_size.unwrap_or(UNIT).max(UNIT);
    let cut = Cut {
        size,
        unit: if options.compress {
            cluster_size.unwrap_or(UNIT)
        } else {
            UNIT
        },
        batch: BATCH.max(unit),
        stored_unit: 0,
        has_base: false,
    };
    let sink = WriterSink {
        reader: Reader::new(source, options),
        writer,
        sparse: options.sparse,
        compressed: options.compress.then_some(cut.unit),
        is_zero,
    };
    workers::run(source, cut, &sink, options.copy_threads(), control)?;
    writer
        .flush()
        .map_err(|error| ConvertStop::new(Step::Finish, error))
}

struct WriterSink<'a> {
    reader: Reader<'a>,
    writer: &'a dyn ImageWriter,
    sparse: usize,
    /// The cluster size, where clusters are to be compressed.
    compressed: Option<u64>,
    is_zero: bool,
}

impl Sink for WriterSink<'_> {
    type Scratch = Vec<u8>;

    fn put(&self, batch: &Batch, scratch: &mut Vec<u8>) -> Result<(), ConvertStop> {
        let data = &*self.reader.read(batch, scratch)?;
        let mut in_data = data_pieces(batch);
        for piece in &batch.pieces {
            match piece.state {
                RunState::Data => {
                    let Some((_, range)) = in_data.next() else {
                        continue;
                    };
                    self.put_data(piece.range.start, &data[range])?;
                }
                _ => self.put_zeroes(piece.range.clone())?,
            }
        }
        Ok(())
    }
}

impl WriterSink<'_> {
    fn put_data(&self, start: u64, bytes: &[u8]) -> Result<(), ConvertStop> {
        if let Some(cluster) = self.compressed {
            let cluster = usize::try_from(cluster).unwrap_or(usize::MAX);
            for (index, bytes) in bytes.chunks(cluster).enumerate() {
                let at = start + (index * cluster) as u64;
                if self.sparse > 0 && is_zero(bytes) {
                    self.put_zeroes(at..at + bytes.len() as u64)?;
                    continue;
                }
                self.writer
                    .write_compressed(bytes, GuestOffset(at))
                    .map_err(|error| ConvertStop::new(Step::Write(at), error))?;
            }
            return Ok(());
        }
        let mut end = 0;
        zeroes::for_each_data(bytes, self.sparse, |range| {
            self.put_zeroes(start + end as u64..start + range.start as u64)?;
            end = range.end;
            let at = start + range.start as u64;
            self.writer
                .write_at(&bytes[range], GuestOffset(at))
                .map_err(|error| ConvertStop::new(Step::Write(at), error))
        })?;
        self.put_zeroes(start + end as u64..start + bytes.len() as u64)
    }

    fn put_zeroes(&self, guest: std::ops::Range<u64>) -> Result<(), ConvertStop> {
        if guest.start >= guest.end || (self.is_zero && self.sparse > 0) {
            return Ok(());
        }
        self.writer
            .write_zeroes(guest.clone(), self.sparse > 0)
            .map_err(|error| ConvertStop::new(Step::Write(guest.start), error))
    }
}
