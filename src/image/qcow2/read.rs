//! Guest data: what a read meets is gathered into as few reads of the host as can be.

use std::cell::RefCell;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::driver::{ClusterPlace, StoredCluster};
use crate::image::extent::ExtentState;
use crate::image::qcow2::Qcow2;
use crate::image::qcow2::compressed::decompress;
use crate::image::qcow2::entry::{COMPRESSED, CompressedCluster, EntryRun, L2Part, UNALLOCATED};
use crate::image::qcow2::refcount::refcount;
use crate::image::qcow2::table::read_table;
use crate::units::{GuestOffset, HostOffset, KIB, MIB, align_down};

/// L2 tables are cached in slices of this many bytes (or of a table, if that is less).
const SLICE_BYTES: u64 = 16 * KIB;
/// Neighbouring compressed clusters are read together up to this many bytes.
const COMPRESSED_READ: u64 = MIB;

impl Qcow2 {
    /// See [`crate::image::ImageDriver::read_at`]; the range is inside the virtual size.
    pub(super) fn read(
        &self,
        buf: &mut [u8],
        offset: GuestOffset,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<()> {
        let range = offset.0..offset.0 + buf.len() as u64;
        let mut reader = Reader {
            image: self,
            buf,
            start: offset.0,
            missing,
            pending: Pending::Nothing,
        };
        self.for_each_cached_run(range, &mut |part, run| reader.take(part, run))?;
        reader.flush()
    }

    /// See [`crate::image::ImageDriver::locate`].
    pub(super) fn place_of(&self, offset: GuestOffset) -> Result<Option<ClusterPlace>> {
        if offset.0 >= self.info.virtual_size {
            return Ok(None);
        }
        let cluster = offset.0 >> self.l2.cluster_bits;
        let l1_index = offset.0 / self.l2.table_reach();
        let mut place = ClusterPlace {
            cluster,
            l1_index,
            l2_index: cluster % self.l2.entries_per_table(),
            host: None,
            refcount: None,
        };
        self.for_each_cached_run(offset.0..offset.0 + 1, &mut |part, run| {
            let word = self.l2.entry_word(part.words, run.entry).unwrap_or(0);
            place.host = match run.state {
                ExtentState::Compressed => Some(HostOffset(
                    CompressedCluster::parse(word, self.l2.cluster_bits).host,
                )),
                ExtentState::Data { host }
                | ExtentState::Zero { host: Some(host) }
                | ExtentState::Unallocated { host: Some(host) } => {
                    Some(HostOffset(align_down(host.0, self.l2.cluster_size())))
                }
                ExtentState::Zero { host: None } | ExtentState::Unallocated { host: None } => None,
            };
            Ok(ControlFlow::Break(()))
        })?;
        if let Some(host) = place.host
            && !self.file.header.has_data_file()
        {
            let storage = self.file.storage.as_ref();
            place.refcount = Some(refcount(storage, &self.file.header, host)?);
        }
        Ok(Some(place))
    }

    /// See [`crate::image::ImageDriver::for_each_stored_cluster`].
    pub(super) fn stored_clusters(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(StoredCluster) -> ControlFlow<()>,
    ) -> Result<()> {
        let range = range.start..range.end.min(self.info.virtual_size);
        self.for_each_cached_run(range, &mut |part, run| {
            if run.state != ExtentState::Compressed {
                return Ok(ControlFlow::Continue(()));
            }
            let bits = self.l2.cluster_bits;
            let clusters = (run.guest.start >> bits)..run.guest.end.div_ceil(1 << bits);
            for (cluster, index) in clusters.zip(run.entry..) {
                let entry = self.l2.entry_word(part.words, index).unwrap_or(0);
                let place = CompressedCluster::parse(entry & (COMPRESSED - 1), bits);
                let stored = StoredCluster {
                    guest: cluster << bits,
                    host: HostOffset(place.host),
                    length: place.length,
                };
                if visit(stored).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Visits the runs of `range` with the help of the cache.
    fn for_each_cached_run(
        &self,
        range: Range<u64>,
        visit: &mut impl FnMut(&L2Part<'_>, EntryRun) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let storage = self.file.storage.as_ref();
        let slice_bytes = SLICE_BYTES.min(self.l2.cluster_size());
        let slice_reach = slice_bytes / self.l2.entry_size() * self.l2.cluster_size();
        let mut at = range.start;
        while at < range.end {
            let slice_guest = at - at % slice_reach;
            let piece = at..slice_guest.saturating_add(slice_reach).min(range.end);
            at = piece.end;
            let l1_index = slice_guest / self.l2.table_reach();
            let Some(table) = self.l1.l2_table(storage, l1_index)? else {
                let run = EntryRun {
                    guest: piece,
                    state: UNALLOCATED,
                    entry: 0,
                };
                let part = L2Part {
                    words: &[],
                    guest: slice_guest,
                    host: 0,
                };
                if visit(&part, run)?.is_break() {
                    return Ok(());
                }
                continue;
            };
            let in_table = slice_guest % self.l2.table_reach() / slice_reach * slice_bytes;
            let host = table.0 + in_table;
            let slice = self.slice(host, slice_bytes)?;
            let part = L2Part {
                words: slice.as_chunks::<8>().0,
                guest: slice_guest,
                host,
            };
            let flow = self
                .l2
                .for_each_run(&part, piece, &mut |run| visit(&part, run))?;
            if flow.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn slice(&self, host: u64, bytes: u64) -> Result<Arc<[u8]>> {
        self.file.tables.get_or_load(host, || {
            let mut slice = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
            read_table(self.file.storage.as_ref(), &mut slice, host, "L2 table")?;
            Ok(slice.into())
        })
    }
}

/// One read on its way: where the runs go in the caller's buffer, and what of them still waits
/// for its neighbours.
struct Reader<'a> {
    image: &'a Qcow2,
    buf: &'a mut [u8],
    /// Guest offset of the first byte of `buf`.
    start: u64,
    missing: &'a mut Vec<Range<u64>>,
    pending: Pending,
}

/// What is read from the host in one go.
enum Pending {
    Nothing,
    Data {
        guest: Range<u64>,
        host: u64,
    },
    /// Guest bytes and L2 entry of clusters that follow each other on the host.
    Compressed {
        clusters: Vec<(Range<u64>, u64)>,
        host: Range<u64>,
    },
}

impl Reader<'_> {
    fn take(&mut self, part: &L2Part<'_>, run: EntryRun) -> Result<ControlFlow<()>> {
        match run.state {
            ExtentState::Unallocated { .. } => self.miss(run.guest),
            ExtentState::Zero { .. } => self.part_of(&run.guest).fill(0),
            ExtentState::Data { host } => {
                self.check_readable()?;
                self.take_data(run.guest, host.0)?;
            }
            ExtentState::Compressed => {
                self.check_readable()?;
                self.take_compressed(part, &run)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn part_of(&mut self, guest: &Range<u64>) -> &mut [u8] {
        // Inside the caller's buffer, whose length is a usize.
        let at = |offset: u64| usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let (start, end) = (at(guest.start), at(guest.end));
        &mut self.buf[start..end]
    }

    fn miss(&mut self, guest: Range<u64>) {
        match self.missing.last_mut() {
            Some(last) if last.end == guest.start => last.end = guest.end,
            _ => self.missing.push(guest),
        }
    }

    fn check_readable(&self) -> Result<()> {
        match self.image.file.header.encryption {
            Some(method) => Err(Error::unsupported(format!(
                "the guest data is encrypted ({})",
                method.name()
            ))),
            None => Ok(()),
        }
    }

    fn take_data(&mut self, next: Range<u64>, next_host: u64) -> Result<()> {
        if let Pending::Data { guest, host } = &mut self.pending
            && guest.end == next.start
            && *host + (guest.end - guest.start) == next_host
        {
            guest.end = next.end;
            return Ok(());
        }
        self.flush()?;
        self.pending = Pending::Data {
            guest: next,
            host: next_host,
        };
        Ok(())
    }

    fn take_compressed(&mut self, part: &L2Part<'_>, run: &EntryRun) -> Result<()> {
        let cluster_size = self.image.l2.cluster_size();
        let mut at = run.guest.start;
        let mut index = run.entry;
        while at < run.guest.end {
            let end = (at - at % cluster_size + cluster_size).min(run.guest.end);
            let entry = self.image.l2.entry_word(part.words, index).unwrap_or(0);
            self.take_compressed_cluster(at..end, entry & (COMPRESSED - 1))?;
            at = end;
            index += 1;
        }
        Ok(())
    }

    fn take_compressed_cluster(&mut self, next: Range<u64>, entry: u64) -> Result<()> {
        let place = CompressedCluster::parse(entry, self.image.l2.cluster_bits);
        if let Pending::Compressed { clusters, host } = &mut self.pending
            && (host.start..=host.end).contains(&place.host)
            && place.end() - host.start <= COMPRESSED_READ
        {
            host.end = host.end.max(place.end());
            clusters.push((next, entry));
            return Ok(());
        }
        self.flush()?;
        self.pending = Pending::Compressed {
            clusters: vec![(next, entry)],
            host: place.host..place.end(),
        };
        Ok(())
    }

    /// Reads what waits.
    fn flush(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => Ok(()),
            Pending::Data { guest, host } => {
                let data = self.image.data()?;
                data.read_padded_at(self.part_of(&guest), host)
            }
            Pending::Compressed { clusters, host } => self.flush_compressed(&clusters, &host),
        }
    }

    fn flush_compressed(
        &mut self,
        clusters: &[(Range<u64>, u64)],
        host: &Range<u64>,
    ) -> Result<()> {
        thread_local! {
            static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let file = &self.image.file;
        let cluster_size = self.image.l2.cluster_size();
        if let [(guest, entry)] = clusters
            && guest.end - guest.start < cluster_size
            && let Some(cluster) = file.decompressed.get(*entry)
        {
            self.copy_part(guest, &cluster);
            return Ok(());
        }
        INPUT.with_borrow_mut(|input| {
            // Bounded: a megabyte, or one cluster's data, at most two clusters long.
            let length = usize::try_from(host.end - host.start).unwrap_or(usize::MAX);
            if input.len() < length {
                input.resize(length, 0);
            }
            let input = &mut input[..length];
            file.storage.read_padded_at(input, host.start)?;
            for (guest, entry) in clusters {
                let place = CompressedCluster::parse(*entry, self.image.l2.cluster_bits);
                let here = usize::try_from(place.host - host.start).unwrap_or(usize::MAX);
                let there = usize::try_from(place.end() - host.start).unwrap_or(usize::MAX);
                self.inflate(guest, *entry, &input[here..there])
                    .map_err(|error| error.with_offset(place.host))?;
            }
            Ok(())
        })
    }

    /// Decompresses one cluster: where it belongs when all of it is wanted, else by way of the
    /// cache, because the next read probably wants the rest.
    fn inflate(&mut self, guest: &Range<u64>, entry: u64, input: &[u8]) -> Result<()> {
        let file = &self.image.file;
        let compression = file.header.compression;
        let cluster_size = self.image.l2.cluster_size();
        if guest.end - guest.start == cluster_size {
            return decompress(compression, input, self.part_of(guest));
        }
        let cluster = file.decompressed.get_or_load(entry, || {
            let mut cluster = vec![0; usize::try_from(cluster_size).unwrap_or(usize::MAX)];
            decompress(compression, input, &mut cluster)?;
            Ok(cluster.into())
        })?;
        self.copy_part(guest, &cluster);
        Ok(())
    }

    fn copy_part(&mut self, guest: &Range<u64>, cluster: &[u8]) {
        let skipped = guest.start % self.image.l2.cluster_size();
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let part = self.part_of(guest);
        part.copy_from_slice(&cluster[skipped..skipped + part.len()]);
    }
}
