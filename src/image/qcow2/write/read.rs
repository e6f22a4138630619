//! Guest data and extents as they are now: through the tables in memory.

use std::ops::{ControlFlow, Range};

use crate::error::Result;
use crate::image::extent::{Extent, ExtentState};
use crate::image::qcow2::compressed::decompress;
use crate::image::qcow2::entry::{COMPRESSED, CompressedCluster, L2Part, UNALLOCATED};
use crate::image::qcow2::header::Compression;
use crate::image::qcow2::walk::Merger;
use crate::image::qcow2::write::{Qcow2Writer, State};
use crate::storage::Storage;
use crate::units::GuestOffset;

/// Called with the guest bytes and the state of a run, and the L2 entries of compressed clusters.
type VisitRun<'a> = dyn FnMut(Range<u64>, ExtentState, &[u64]) + 'a;

/// Where a stretch of the guest disk is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// Nowhere in this image.
    Missing,
    /// It reads as zeroes.
    Zero,
    /// At this offset of the data storage.
    Data(u64),
    /// In a compressed cluster.
    Compressed(CompressedCluster),
}

impl Qcow2Writer {
    /// See [`crate::image::ImageWriter::read_at`]; the range is inside the virtual size.
    pub(super) fn read(
        &self,
        buf: &mut [u8],
        offset: GuestOffset,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<()> {
        let _inflight = self.enter();
        let end = offset.0 + buf.len() as u64;
        let mut at = offset.0;
        let mut rest = buf;
        while at < end {
            let mut state = self.lock();
            let piece = at..end.min(state.end_of_table(at));
            let sources = state.sources(piece.clone())?;
            let compression = state.header.fields.compression;
            let cluster_size = state.cluster_size();
            drop(state);
            for (guest, source) in sources {
                let length = usize::try_from(guest.end - guest.start).unwrap_or(usize::MAX);
                let (part, behind) = rest.split_at_mut(length);
                rest = behind;
                if source == Source::Missing {
                    match missing.last_mut() {
                        Some(last) if last.end == guest.start => last.end = guest.end,
                        _ => missing.push(guest),
                    }
                    continue;
                }
                let skipped = guest.start % cluster_size;
                self.read_source(&source, part, skipped, (compression, cluster_size))?;
            }
            at = piece.end;
        }
        Ok(())
    }

    fn read_source(
        &self,
        source: &Source,
        part: &mut [u8],
        skipped: u64,
        (compression, cluster_size): (Compression, u64),
    ) -> Result<()> {
        match source {
            Source::Missing => Ok(()),
            Source::Zero => {
                part.fill(0);
                Ok(())
            }
            Source::Data(host) => self.data.read_padded_at(part, *host),
            Source::Compressed(place) => {
                let storage: &dyn Storage = self.storage.as_ref();
                let cluster = read_compressed(storage, *place, compression, cluster_size)?;
                let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
                part.copy_from_slice(&cluster[skipped..skipped + part.len()]);
                Ok(())
            }
        }
    }

    /// See [`crate::image::ImageWriter::for_each_extent`].
    pub(super) fn walk(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<()> {
        let range = range.start..range.end.min(self.lock().header.fields.size);
        let mut merger = Merger::new(visit);
        let mut at = range.start;
        while at < range.end {
            let mut runs = Vec::new();
            let mut state = self.lock();
            let piece = at..range.end.min(state.end_of_table(at));
            state.for_each_run(piece.clone(), &mut |guest, state, _| {
                runs.push(Extent { guest, state });
            })?;
            drop(state);
            for extent in runs {
                if merger.push(extent).is_break() {
                    return Ok(());
                }
            }
            at = piece.end;
        }
        merger.finish();
        Ok(())
    }
}

impl State {
    /// The guest offset behind what the L2 table that maps `guest` maps.
    pub(super) fn end_of_table(&self, guest: u64) -> u64 {
        let reach = self.format.table_reach();
        (guest - guest % reach).saturating_add(reach)
    }

    /// Where the bytes of `range` are, in guest order. One L2 table must map all of it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for a damaged entry; I/O errors.
    pub(super) fn sources(&mut self, range: Range<u64>) -> Result<Vec<(Range<u64>, Source)>> {
        let (bits, size) = (self.cluster_bits(), self.cluster_size());
        let mut sources = Vec::new();
        self.for_each_run(range, &mut |guest, state, entries| match state {
            ExtentState::Unallocated { .. } => sources.push((guest, Source::Missing)),
            ExtentState::Zero { .. } => sources.push((guest, Source::Zero)),
            ExtentState::Data { host } => sources.push((guest, Source::Data(host.0))),
            ExtentState::Compressed => {
                let mut at = guest.start;
                for entry in entries {
                    let end = (at - at % size + size).min(guest.end);
                    let place = CompressedCluster::parse(entry & (COMPRESSED - 1), bits);
                    sources.push((at..end, Source::Compressed(place)));
                    at = end;
                }
            }
        })?;
        Ok(sources)
    }

    /// Visits the runs of `range`, which one L2 table must map: guest range, state, and for
    /// compressed ones the entry of each cluster.
    fn for_each_run(&mut self, range: Range<u64>, visit: &mut VisitRun<'_>) -> Result<()> {
        let (format, size) = (self.format, self.cluster_size());
        let l1_index = usize::try_from(range.start / format.table_reach()).unwrap_or(usize::MAX);
        let Some(host) = self.l1.l2_table(l1_index) else {
            visit(range, UNALLOCATED, &[]);
            return Ok(());
        };
        let bytes = self.l2.get(host)?;
        let part = L2Part {
            words: bytes.as_chunks::<8>().0,
            guest: range.start - range.start % format.table_reach(),
            host,
        };
        let _ = format.for_each_run(&part, range, &mut |run| {
            let mut entries = Vec::new();
            if run.state == ExtentState::Compressed {
                let clusters = run.guest.end.div_ceil(size) - run.guest.start / size;
                let count = usize::try_from(clusters).unwrap_or(usize::MAX);
                entries.extend(
                    (run.entry..run.entry + count)
                        .map(|index| format.entry_word(part.words, index).unwrap_or(0)),
                );
            }
            visit(run.guest, run.state, &entries);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }
}

/// The bytes of a compressed cluster.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when they are damaged; I/O errors.
pub(super) fn read_compressed(
    storage: &dyn Storage,
    place: CompressedCluster,
    compression: Compression,
    cluster_size: u64,
) -> Result<Vec<u8>> {
    // Two clusters at most.
    let mut input = vec![0; usize::try_from(place.length).unwrap_or(usize::MAX)];
    storage.read_padded_at(&mut input, place.host)?;
    let mut cluster = vec![0; usize::try_from(cluster_size).unwrap_or(usize::MAX)];
    decompress(compression, &input, &mut cluster).map_err(|error| error.with_offset(place.host))?;
    Ok(cluster)
}
