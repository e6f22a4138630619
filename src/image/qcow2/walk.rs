//! All extents of a range, streaming the L2 tables in big reads past the cache. What is kept is
//! one batch of tables, whatever the size of the disk.

use std::ops::{ControlFlow, Range};

use crate::error::Result;
use crate::image::extent::Extent;
use crate::image::qcow2::Qcow2;
use crate::image::qcow2::entry::{L2Part, UNALLOCATED};
use crate::image::qcow2::table::read_table;
use crate::storage::Storage;

/// Tables are read and decoded in batches of this many bytes (or of one table, if that is more):
/// small enough to stay in the processor's cache, large enough that system calls cost nothing.
const BATCH_BYTES: usize = 1 << 20;

impl Qcow2 {
    /// See [`crate::image::ImageDriver::for_each_extent`].
    pub(super) fn walk(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<()> {
        let range = range.start..range.end.min(self.info.virtual_size);
        if range.is_empty() {
            return Ok(());
        }
        let mut merger = Merger::new(visit);
        if self.walk_tables(range, &mut merger)?.is_continue() {
            merger.finish();
        }
        Ok(())
    }

    fn walk_tables(&self, range: Range<u64>, merger: &mut Merger<'_>) -> Result<ControlFlow<()>> {
        let storage = self.file.storage.as_ref();
        let reach = self.l2.table_reach();
        let mut batch = Batch::default();
        // A snapshot's disk may be larger than its L1 table reaches, by any amount: behind that
        // is nothing, which is said at once.
        let tables = self.l1.entries(storage)?.len() as u64;
        let tables = tables.min(range.end.div_ceil(reach));
        for index in range.start / reach..tables {
            let start = index * reach;
            let piece = start.max(range.start)..start.saturating_add(reach).min(range.end);
            let table = self.l1.l2_table(storage, index)?;
            let table = table.map(|host| self.table_part(host.0, start, &piece));
            let more = table.as_ref().map_or(0, |table| table.length);
            if batch.is_full_for(more) && self.decode(&mut batch, merger)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            batch.push(piece, table);
        }
        let behind = range.start.max(tables.saturating_mul(reach))..range.end;
        if !behind.is_empty() {
            batch.push(behind, None);
        }
        self.decode(&mut batch, merger)
    }

    /// The entries of the L2 table at `host`, which maps `start` on, that map `piece`.
    fn table_part(&self, host: u64, start: u64, piece: &Range<u64>) -> TablePart {
        let cluster_size = self.l2.cluster_size();
        let first = (piece.start - start) / cluster_size;
        let end = (piece.end - start).div_ceil(cluster_size);
        let bytes = (end - first) * self.l2.entry_size();
        TablePart {
            guest: start + first * cluster_size,
            host: host + first * self.l2.entry_size(),
            // A part of a cluster, at most 2 MiB.
            length: usize::try_from(bytes).unwrap_or(usize::MAX),
            buffer_at: 0,
        }
    }

    fn decode(&self, batch: &mut Batch, merger: &mut Merger<'_>) -> Result<ControlFlow<()>> {
        batch.read(self.file.storage.as_ref())?;
        for (piece, table) in &batch.pieces {
            let Some(table) = table else {
                let flow = merger.push(Extent {
                    guest: piece.clone(),
                    state: UNALLOCATED,
                });
                if flow.is_break() {
                    return Ok(flow);
                }
                continue;
            };
            let bytes = &batch.buffer[table.buffer_at..table.buffer_at + table.length];
            let part = L2Part {
                words: bytes.as_chunks::<8>().0,
                guest: table.guest,
                host: table.host,
            };
            let flow = self.l2.for_each_run(&part, piece.clone(), &mut |run| {
                Ok(merger.push(Extent {
                    guest: run.guest,
                    state: run.state,
                }))
            })?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        batch.pieces.clear();
        Ok(ControlFlow::Continue(()))
    }
}

/// The entries of one L2 table that are wanted.
struct TablePart {
    guest: u64,
    host: u64,
    length: usize,
    /// Where they are in the buffer, once read.
    buffer_at: usize,
}

/// Tables that are read together and decoded in guest order.
#[derive(Default)]
struct Batch {
    /// Guest ranges in order, each with its table, if it has one.
    pieces: Vec<(Range<u64>, Option<TablePart>)>,
    /// Bytes of the tables.
    bytes: usize,
    buffer: Vec<u8>,
}

impl Batch {
    fn is_full_for(&self, more: usize) -> bool {
        self.bytes > 0 && self.bytes + more > BATCH_BYTES
    }

    fn push(&mut self, piece: Range<u64>, table: Option<TablePart>) {
        self.bytes += table.as_ref().map_or(0, |table| table.length);
        if let (None, Some((last, None))) = (&table, self.pieces.last_mut()) {
            last.end = piece.end;
            return;
        }
        self.pieces.push((piece, table));
    }

    /// Reads all tables, neighbours on the host together.
    fn read(&mut self, storage: &dyn Storage) -> Result<()> {
        if self.buffer.len() < self.bytes {
            self.buffer.resize(self.bytes, 0);
        }
        self.bytes = 0;
        let mut tables: Vec<&mut TablePart> = self
            .pieces
            .iter_mut()
            .filter_map(|(_, table)| table.as_mut())
            .collect();
        tables.sort_unstable_by_key(|table| table.host);
        let mut at = 0;
        for run in tables.chunk_by_mut(|a, b| a.host + a.length as u64 == b.host) {
            let host = run[0].host;
            let start = at;
            for table in run {
                table.buffer_at = at;
                at += table.length;
            }
            read_table(storage, &mut self.buffer[start..at], host, "L2 table")?;
        }
        Ok(())
    }
}

/// Joins runs that continue each other before the visitor sees them.
pub(super) struct Merger<'a> {
    pending: Option<Extent>,
    visit: &'a mut dyn FnMut(Extent) -> ControlFlow<()>,
}

impl<'a> Merger<'a> {
    pub(super) fn new(visit: &'a mut dyn FnMut(Extent) -> ControlFlow<()>) -> Self {
        Self {
            pending: None,
            visit,
        }
    }

    pub(super) fn push(&mut self, next: Extent) -> ControlFlow<()> {
        match &mut self.pending {
            Some(pending) if pending.continues_with(&next) => {
                pending.guest.end = next.guest.end;
                ControlFlow::Continue(())
            }
            pending => match pending.replace(next) {
                Some(done) => (self.visit)(done),
                None => ControlFlow::Continue(()),
            },
        }
    }

    pub(super) fn finish(self) {
        if let Some(last) = self.pending {
            let _ = (self.visit)(last);
        }
    }
}
