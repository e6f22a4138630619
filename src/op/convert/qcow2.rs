//! A new QCOW2 image as the target. A thread reads its batch and decides what becomes of each
//! cluster; then, in the order of the disk, the batch gets its places; then the thread writes. So
//! the clusters lie in the order of the disk, whatever the number of threads.

mod plan;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::control::Control;
use crate::disk::Disk;
use crate::error::Error;
use crate::image::{
    self, Before, ClusterCompressor, Compression, Format, ImageDriver, Preallocation, Qcow2Builder,
    Qcow2Options, WritableFiles,
};
use crate::op::convert::batch::{Batch, Cut, Piece};
use crate::op::convert::reader::{Reader, data_pieces};
use crate::op::convert::share::Share;
use crate::op::convert::source::{RunState, Source};
use crate::op::convert::verify::{Sums, verify};
use crate::op::convert::workers::{self, InTurn, Sink};
use crate::op::convert::zeroes::{self, is_zero};
use crate::op::convert::{BATCH, ConvertOptions, ConvertStop, Step};
use crate::storage::{Storage, WritableStorage};
use crate::units::{KIB, align_down, align_up};

use plan::{Plan, Written};

/// Data that a thread compresses at a time: long work, so the batches are shorter.
const COMPRESSED_BATCH: u64 = 256 * KIB;

/// Where a new image is written.
pub(super) struct Files {
    pub(super) image: Arc<dyn WritableStorage>,
    pub(super) data_file: Option<Arc<dyn WritableStorage>>,
    /// They hold something else yet: what is not written does not read as zeroes.
    pub(super) are_old: bool,
}

impl Files {
    /// The image that was written, for a change.
    pub(super) fn writable(&self, base: Option<Disk>) -> WritableFiles {
        WritableFiles {
            storage: Arc::clone(&self.image),
            data_file: self.data_file.clone(),
            backing: base.map(|base| Arc::new(base) as _),
        }
    }

    /// The disk that was written, on its backing file.
    fn open(&self, base: Option<&Disk>) -> Result<Disk, Error> {
        let mut image = image::open(Arc::clone(&self.image) as _, Format::Qcow2)?;
        if let Some(data_file) = &self.data_file {
            image.attach_data_file(Arc::clone(data_file) as _)?;
        }
        let mut layers = vec![image.into()];
        if let Some(base) = base {
            layers.extend_from_slice(base.layers());
        }
        Disk::new(layers)
    }
}

/// Fills a new image with the source. `base` is the disk that its backing file is.
pub(super) fn write(
    source: &Source<'_>,
    files: &Files,
    image: &Qcow2Options,
    base: Option<&Disk>,
    options: &ConvertOptions<'_>,
    control: &Control,
) -> Result<(), ConvertStop> {
    let prepare = |error: Error| ConvertStop::new(Step::Prepare, error);
    let size = source.size();
    let cluster = image.cluster_size;
    let zeroes = Zeroes::of(image, files, options);
    let compression = options.compress.then_some(image.compression);
    let batch = match compression {
        Some(_) => COMPRESSED_BATCH,
        None => BATCH,
    };
    let mut cut = Cut {
        size,
        unit: cluster,
        batch: batch.max(cluster),
        // Only what is compressed alike can be copied as it is stored.
        stored_unit: if options.compress && source.is_stored_as(image) {
            cluster
        } else {
            0
        },
        has_base: image.backing.is_some(),
    };
    let before = if files.are_old {
        Before::Old
    } else {
        Before::Nothing
    };
    let builder = Qcow2Builder::new(image.clone(), Arc::clone(&files.image), before);
    let builder = builder.map_err(prepare)?;
    if let Some(data_file) = &files.data_file {
        data_file.set_len(size).map_err(prepare)?;
    }
    let sums = options.verify.then(|| Sums::new(size, cluster));
    let data = files.data_file.as_ref().unwrap_or(&files.image).as_ref();
    // Clusters of a new image, of which each is where its data is.
    let is_sparse = matches!(zeroes, Zeroes::LeaveOut | Zeroes::Reserve);
    let can_share = !files.are_old && base.is_none() && is_sparse;
    let sink = ImageSink {
        control,
        share: can_share
            .then(|| Share::new(source, data, options))
            .flatten(),
        reader: Reader::new(source, options).with_sums(sums.as_ref()),
        data,
        layers: source.layers(),
        builder: InTurn::new(builder),
        base,
        cluster,
        subcluster: if image.extended_l2 {
            cluster / 32
        } else {
            cluster
        },
        sparse: options.sparse,
        compression,
        zeroes,
    };
    if let Some(share) = &sink.share {
        cut.batch = share.batch().max(cluster);
    }
    let threads = match compression {
        Some(_) => options.compute_threads(),
        None => options.copy_threads(),
    };
    workers::run(source, cut, &sink, threads, control)?;
    control.enter("writing tables", 0);
    let builder = sink.builder.into_inner();
    builder
        .finish(control)
        .map_err(|stop| ConvertStop::new(Step::Finish, stop))?;
    let Some(sums) = &sums else {
        return Ok(());
    };
    let target = files
        .open(base)
        .map_err(|error| ConvertStop::new(Step::Verify, error))?;
    verify(source, cut, sums, &target, threads, control)
}

/// What becomes of clusters that are zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Zeroes {
    /// They stay unallocated, which reads as zeroes.
    LeaveOut,
    /// They say that they are zero: a backing file may hold something else.
    Mark,
    /// They get a place, where nothing is written.
    Reserve,
    /// They get a place, which takes its space.
    Fill,
    /// They are written.
    Write,
}

impl Zeroes {
    fn of(image: &Qcow2Options, files: &Files, options: &ConvertOptions<'_>) -> Self {
        let fills = match image.effective_preallocation() {
            Preallocation::Off => options.sparse == 0,
            Preallocation::Metadata => files.are_old || options.sparse == 0,
            Preallocation::Falloc | Preallocation::Full => true,
        };
        match image.effective_preallocation() {
            Preallocation::Full => Self::Write,
            _ if fills => Self::Fill,
            _ if image.backing.is_some() && image.version < 3 => Self::Fill,
            _ if image.backing.is_some() => Self::Mark,
            Preallocation::Off => Self::LeaveOut,
            _ => Self::Reserve,
        }
    }

    /// Every cluster has its space.
    fn take_space(self) -> bool {
        matches!(self, Self::Fill | Self::Write)
    }
}

struct ImageSink<'a> {
    control: &'a Control,
    reader: Reader<'a>,
    /// Where guest data goes.
    data: &'a dyn WritableStorage,
    share: Option<Share<'a>>,
    layers: &'a [Arc<dyn ImageDriver>],
    builder: InTurn<Qcow2Builder>,
    base: Option<&'a Disk>,
    cluster: u64,
    /// What can be unallocated by itself: a cluster, or a subcluster where the image has them.
    subcluster: u64,
    sparse: usize,
    compression: Option<Compression>,
    zeroes: Zeroes,
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    data: Vec<u8>,
    base: Vec<u8>,
    compressor: Option<ClusterCompressor>,
    plan: Plan,
}

impl Sink for ImageSink<'_> {
    type Scratch = Scratch;

    fn put(&self, batch: &Batch, scratch: &mut Scratch) -> Result<(), ConvertStop> {
        let Scratch {
            data,
            base,
            compressor,
            plan,
        } = scratch;
        plan.clear(self.cluster);
        if let Some(share) = &self.share
            && share.covers(batch)?
        {
            return self.put_shared(share, batch, plan, data);
        }
        let data = &*self.reader.read(batch, data)?;
        let mut in_data = data_pieces(batch);
        for piece in &batch.pieces {
            let at = |error| ConvertStop::new(Step::Read(piece.range.start), error);
            match piece.state {
                RunState::Base => {}
                RunState::Zero => self.decide_zeroes(piece, plan).map_err(at)?,
                RunState::Compressed { depth } => {
                    let layer = self.layers[depth].as_ref();
                    plan.add_stored(layer, &piece.range).map_err(at)?;
                }
                RunState::Data => {
                    let Some((_, range)) = in_data.next() else {
                        continue;
                    };
                    let read = Read {
                        guest: piece.range.start,
                        all: data,
                        range,
                    };
                    if self.compression.is_some() {
                        self.decide_compressed(&read, base, compressor, plan)?;
                    } else {
                        self.decide_plain(&read, base, plan)?;
                    }
                }
            }
        }
        self.builder
            .at(batch.number, |builder| plan.place(builder, self.zeroes))?;
        let target = Written {
            storage: self.data,
            share: self.share.as_ref(),
        };
        plan.write(data, &target, self.zeroes, self.control)
    }

    fn end(&self) {
        self.builder.end();
    }
}

/// The bytes of a piece: a part of what was read for the batch.
struct Read<'a> {
    /// Guest offset of the first.
    guest: u64,
    all: &'a [u8],
    range: Range<usize>,
}

impl Read<'_> {
    fn bytes(&self) -> &[u8] {
        &self.all[self.range.clone()]
    }
}

impl ImageSink<'_> {
    /// As [`Sink::put`], with as little reading as can be.
    fn put_shared(
        &self,
        share: &Share<'_>,
        batch: &Batch,
        plan: &mut Plan,
        buf: &mut Vec<u8>,
    ) -> Result<(), ConvertStop> {
        for piece in &batch.pieces {
            match piece.state {
                RunState::Data => plan.add_shared(piece.range.clone()),
                RunState::Zero => plan.add_zeroes(piece.range.clone()),
                // Neither a backing file nor compression.
                RunState::Base | RunState::Compressed { .. } => {}
            }
        }
        self.builder
            .at(batch.number, |builder| plan.place(builder, self.zeroes))?;
        for (guest, host) in plan.shared() {
            if share.put(guest, host)? {
                continue;
            }
            // At most a batch.
            buf.resize(length(guest.end - guest.start), 0);
            self.reader.read_piece(buf, guest.start)?;
            self.data
                .write_at(buf, host)
                .map_err(|error| ConvertStop::new(Step::Write(guest.start), error))?;
        }
        Ok(())
    }

    fn decide_zeroes(&self, piece: &Piece, plan: &mut Plan) -> Result<(), Error> {
        let (Zeroes::Mark | Zeroes::Fill | Zeroes::Write, Some(base)) = (self.zeroes, self.base)
        else {
            plan.add_zeroes(piece.range.clone());
            return Ok(());
        };
        // What the backing file has no data for is zero already.
        let mut end = piece.range.start;
        base.for_each_run(piece.range.clone(), &mut |run| {
            if !run.hole {
                let start = align_down(run.range.start, self.cluster).max(end);
                end = align_up(run.range.end, self.cluster)
                    .unwrap_or(u64::MAX)
                    .min(piece.range.end);
                plan.add_zeroes(start..end.max(start));
            }
            ControlFlow::Continue(())
        })
    }

    fn decide_plain(
        &self,
        read: &Read<'_>,
        base: &mut Vec<u8>,
        plan: &mut Plan,
    ) -> Result<(), ConvertStop> {
        let bytes = read.bytes();
        if let Some(disk) = self.base {
            let base = read_base(disk, read.guest, bytes.len(), base)?;
            for (index, cluster) in bytes.chunks(length(self.cluster)).enumerate() {
                let start = index * length(self.cluster);
                let range = start..start + cluster.len();
                self.decide_against(read, range, &base[start..start + cluster.len()], plan);
            }
            return Ok(());
        }
        let block = match self.zeroes {
            Zeroes::Fill | Zeroes::Write => 0,
            // The clusters are there: zeroes within them stay holes of the file, as with QEMU.
            Zeroes::Reserve if self.subcluster == self.cluster => self.sparse,
            _ => self.sparse.max(length(self.subcluster)),
        };
        let mut end = 0;
        let Ok(()) = zeroes::for_each_data(bytes, block, |range| {
            let start = range.start - range.start % length(self.cluster);
            if end < start {
                let guest = read.guest + end as u64;
                let first = end.next_multiple_of(length(self.cluster));
                plan.add_zeroes(guest + (first - end) as u64..read.guest + start as u64);
            }
            end = range.end;
            let at = read.range.start + range.start..read.range.start + range.end;
            plan.add_data(read.guest + range.start as u64, at, self.subcluster);
            Ok::<(), std::convert::Infallible>(())
        });
        let first = end.next_multiple_of(length(self.cluster));
        if first < bytes.len() {
            plan.add_zeroes(read.guest + first as u64..read.guest + bytes.len() as u64);
        }
        Ok(())
    }

    /// What becomes of one cluster whose backing file holds `base`.
    fn decide_against(&self, read: &Read<'_>, range: Range<usize>, base: &[u8], plan: &mut Plan) {
        let bytes = &read.bytes()[range.clone()];
        let guest = read.guest + range.start as u64;
        if bytes == base {
            return;
        }
        if self.zeroes == Zeroes::Mark && self.sparse > 0 && is_zero(bytes) {
            plan.add_zeroes(guest..guest + bytes.len() as u64);
            return;
        }
        let at = read.range.start + range.start..read.range.start + range.end;
        plan.add_data(guest, at, self.subcluster);
    }

    fn decide_compressed(
        &self,
        read: &Read<'_>,
        base: &mut Vec<u8>,
        compressor: &mut Option<ClusterCompressor>,
        plan: &mut Plan,
    ) -> Result<(), ConvertStop> {
        let bytes = read.bytes();
        let base = match self.base {
            Some(disk) => Some(read_base(disk, read.guest, bytes.len(), base)?),
            None => None,
        };
        let compressor = match (compressor, self.compression) {
            (Some(compressor), _) => compressor,
            (none, Some(compression)) => {
                let new = ClusterCompressor::new(compression);
                none.insert(new.map_err(|error| ConvertStop::new(Step::Prepare, error))?)
            }
            (None, None) => return Ok(()),
        };
        for (index, cluster) in bytes.chunks(length(self.cluster)).enumerate() {
            let start = index * length(self.cluster);
            let guest = read.guest + start as u64;
            let same = base.map(|base| &base[start..start + cluster.len()] == cluster);
            if same == Some(true) {
                continue;
            }
            if self.sparse > 0 && is_zero(cluster) && !self.zeroes.take_space() {
                plan.add_zeroes(guest..guest + cluster.len() as u64);
                continue;
            }
            if !plan.add_compressed(guest, cluster, compressor) {
                let at = read.range.start + start;
                plan.add_data(guest, at..at + cluster.len(), self.subcluster);
            }
        }
        Ok(())
    }
}

/// Reads what the backing file holds; what lies behind its end is zero.
fn read_base<'b>(
    disk: &Disk,
    offset: u64,
    length: usize,
    buf: &'b mut Vec<u8>,
) -> Result<&'b [u8], ConvertStop> {
    if buf.len() < length {
        buf.resize(length, 0);
    }
    let buf = &mut buf[..length];
    disk.read_padded_at(buf, offset)
        .map_err(|error| ConvertStop::new(Step::Read(offset), error))?;
    Ok(buf)
}

/// Bounded by a batch.
fn length(bounded: u64) -> usize {
    usize::try_from(bounded).unwrap_or(usize::MAX)
}
