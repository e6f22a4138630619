//! A raw file as the target: every byte has its place, so the threads need not wait for each other.

use crate::control::Control;
use crate::error::Error;
use crate::image::Preallocation;
use crate::op::convert::batch::{Batch, Cut};
use crate::op::convert::reader::{Reader, data_pieces};
use crate::op::convert::source::{RunState, Source};
use crate::op::convert::workers::{self, Sink};
use crate::op::convert::{BATCH, ConvertOptions, ConvertStop, Step, zeroes};
use crate::storage::WritableStorage;

/// Data is copied in multiples of this: the block of most host file systems.
const UNIT: u64 = 4096;

/// Fills `storage`, which is new and empty, with the source.
pub(super) fn write(
    source: &Source<'_>,
    storage: &dyn WritableStorage,
    preallocation: Preallocation,
    options: &ConvertOptions<'_>,
    control: &Control,
) -> Result<(), ConvertStop> {
    let prepare = |error: Error| ConvertStop::new(Step::Prepare, error);
    let size = source.size();
    storage.set_len(size).map_err(prepare)?;
    match preallocation {
        Preallocation::Off => {}
        Preallocation::Metadata => {
            return Err(prepare(Error::unsupported(
                "raw images have no metadata to preallocate",
            )));
        }
        Preallocation::Falloc => storage.allocate(0..size).map_err(prepare)?,
        Preallocation::Full => {}
    }
    let sink = RawSink {
        reader: Reader::new(source, options),
        storage,
        sparse: options.sparse,
        fill: options.sparse == 0 || preallocation == Preallocation::Full,
    };
    let cut = Cut {
        size,
        unit: UNIT,
        batch: BATCH,
        stored_unit: 0,
    };
    workers::run(source, cut, &sink, options.copy_threads(), control)
}

struct RawSink<'a> {
    reader: Reader<'a>,
    storage: &'a dyn WritableStorage,
    sparse: usize,
    /// Zeroes take space, too.
    fill: bool,
}

impl Sink for RawSink<'_> {
    type Scratch = Vec<u8>;

    fn put(&self, batch: &Batch, scratch: &mut Vec<u8>) -> Result<(), ConvertStop> {
        let data = self.reader.read(batch, scratch)?;
        for (piece, range) in data_pieces(batch) {
            let start = piece.range.start;
            let bytes = &data[range];
            let sparse = if self.fill { 0 } else { self.sparse };
            zeroes::for_each_data(bytes, sparse, |range| {
                let offset = start + range.start as u64;
                self.storage
                    .write_at(&bytes[range], offset)
                    .map_err(|error| ConvertStop::new(Step::Write(offset), error))
            })?;
        }
        if self.fill {
            let zeroes = batch
                .pieces
                .iter()
                .filter(|piece| piece.state == RunState::Zero);
            for piece in zeroes {
                let offset = piece.range.start;
                self.storage
                    .write_zeroes(piece.range.clone())
                    .map_err(|error| ConvertStop::new(Step::Write(offset), error))?;
            }
        }
        Ok(())
    }
}
