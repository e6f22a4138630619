//! A raw file as the target: every byte has its place, so the threads need not wait for each other.

use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::disk::Disk;
use crate::image::{self, Before, Format, Preallocation, create_raw};
use crate::op::convert::batch::{Batch, Cut};
use crate::op::convert::reader::{Reader, data_pieces};
use crate::op::convert::share::Share;
use crate::op::convert::source::{RunState, Source};
use crate::op::convert::verify::{Sums, verify};
use crate::op::convert::workers::{self, Sink};
use crate::op::convert::{BATCH, ConvertOptions, ConvertStop, Step, zeroes};
use crate::storage::WritableStorage;

/// Data is copied in multiples of this: the block of most host file systems.
const UNIT: u64 = 4096;

/// Makes `storage` a raw image of the source.
pub(super) fn write(
    source: &Source<'_>,
    storage: &Arc<dyn WritableStorage>,
    before: Before,
    preallocation: Preallocation,
    options: &ConvertOptions<'_>,
    control: &Control,
) -> Result<(), ConvertStop> {
    let size = source.size();
    // Zeroes are written with the rest.
    let reserved = match preallocation {
        Preallocation::Full => Preallocation::Off,
        other => other,
    };
    create_raw(storage.as_ref(), before, size, reserved, control).map_err(|stop| ConvertStop {
        step: Step::Prepare,
        stop,
    })?;
    control.enter("converting", size);
    let sums = options.verify.then(|| Sums::new(size, UNIT));
    let sink = RawSink {
        reader: Reader::new(source, options).with_sums(sums.as_ref()),
        storage: storage.as_ref(),
        control,
        share: (before == Before::Nothing && preallocation == Preallocation::Off)
            .then(|| Share::new(source, storage.as_ref(), options))
            .flatten(),
        sparse: options.sparse,
        zeroes: match (before, options.sparse) {
            _ if preallocation == Preallocation::Full => Zeroes::Write,
            (_, 0) => Zeroes::Reserve,
            (Before::Old, _) => Zeroes::Discard,
            (Before::Nothing, _) => Zeroes::LeaveOut,
        },
    };
    let mut cut = Cut {
        size,
        unit: UNIT,
        batch: BATCH,
        stored_unit: 0,
        has_base: false,
    };
    if let Some(share) = &sink.share {
        cut.batch = share.batch();
    }
    let threads = options.copy_threads();
    workers::run(source, cut, &sink, threads, control)?;
    let Some(sums) = &sums else {
        return Ok(());
    };
    let open = || {
        Disk::new(vec![
            image::open(Arc::clone(storage) as _, Format::Raw)?.into(),
        ])
    };
    let target = open().map_err(|error| ConvertStop::new(Step::Verify, error))?;
    verify(source, cut, sums, &target, threads, control)
}

struct RawSink<'a> {
    reader: Reader<'a>,
    storage: &'a dyn WritableStorage,
    control: &'a Control,
    share: Option<Share<'a>>,
    sparse: usize,
    zeroes: Zeroes,
}

/// What becomes of zeroes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Zeroes {
    /// They are there already.
    LeaveOut,
    /// They take the place of what is there, and no space if the host can do that.
    Discard,
    /// They take space.
    Reserve,
    /// They are written.
    Write,
}

impl Sink for RawSink<'_> {
    type Scratch = Vec<u8>;

    fn put(&self, batch: &Batch, scratch: &mut Vec<u8>) -> Result<(), ConvertStop> {
        let share = self.share.as_ref();
        if let Some(share) = share.filter(|share| !share.searches())
            && share_all(share, batch)?
        {
            return Ok(());
        }
        let data = self.reader.read(batch, scratch)?;
        for (piece, range) in data_pieces(batch) {
            let start = piece.range.start;
            let bytes = &data[range];
            let sparse = match self.zeroes {
                Zeroes::LeaveOut => self.sparse,
                _ => 0,
            };
            zeroes::for_each_data(bytes, sparse, |range| {
                let offset = start + range.start as u64;
                Share::write(share, self.storage, &bytes[range], offset, offset)
            })?;
        }
        if self.zeroes == Zeroes::LeaveOut {
            return Ok(());
        }
        let zeroes = batch
            .pieces
            .iter()
            .filter(|piece| piece.state == RunState::Zero);
        for piece in zeroes {
            let range = piece.range.clone();
            let written = match self.zeroes {
                Zeroes::LeaveOut => Ok(()),
                Zeroes::Discard => self.storage.punch_hole(range).map_err(Stop::from),
                Zeroes::Reserve => self.storage.write_zeroes(range).map_err(Stop::from),
                Zeroes::Write => zeroes::write(self.storage, range, self.control),
            };
            written.map_err(|stop| ConvertStop::new(Step::Write(piece.range.start), stop))?;
        }
        Ok(())
    }
}

/// Whether all data of the batch is there now, without having been read.
fn share_all(share: &Share<'_>, batch: &Batch) -> Result<bool, ConvertStop> {
    for (piece, _) in data_pieces(batch) {
        if !share.put(&piece.range, piece.range.start)? {
            return Ok(false);
        }
    }
    Ok(true)
}
