//! Guest writes: in place where a cluster is the guest's alone, into new clusters elsewhere.

use std::ops::Range;
use std::sync::{MutexGuard, RwLockReadGuard};

use crate::error::Result;
use crate::image::qcow2::write::mapping::{Mapping, Place};
use crate::image::qcow2::write::{Qcow2Writer, State};
use crate::units::MIB;

/// A write is done in pieces of at most this many bytes: what is allocated and not yet linked
/// stays bounded.
const PIECE: u64 = 4 * MIB;

/// A part of a write that needs no table while its data is written.
#[derive(Debug)]
struct Step {
    guest: Range<u64>,
    /// Where the data goes in the data storage.
    host: u64,
    /// These are new clusters, to be linked once the data is there.
    is_fresh: bool,
}

impl Qcow2Writer {
    /// See [`crate::image::ImageWriter::write_at`]; the range is inside the virtual size.
    pub(super) fn write(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.for_each_piece(offset..offset + buf.len() as u64, PIECE, &mut |piece| {
            let at = |guest: u64| usize::try_from(guest - offset).unwrap_or(usize::MAX);
            self.write_piece(&buf[at(piece.start)..at(piece.end)], piece)
        })
    }

    /// Calls `change` with pieces of `range` that one L2 table maps, at most `limit` bytes each.
    pub(super) fn for_each_piece(
        &self,
        range: Range<u64>,
        limit: u64,
        change: &mut dyn FnMut(Range<u64>) -> Result<()>,
    ) -> Result<()> {
        let reach = self.lock().format.table_reach();
        let mut at = range.start;
        while at < range.end {
            let end_of_table = (at - at % reach).saturating_add(reach);
            let end = range.end.min(end_of_table).min(at.saturating_add(limit));
            change(at..end)?;
            at = end;
        }
        Ok(())
    }

    /// Begins a change of the guest bytes `range`: early barriers are done if memory asks for them.
    pub(super) fn begin(
        &self,
        range: &Range<u64>,
    ) -> Result<(RwLockReadGuard<'_, ()>, MutexGuard<'_, State>)> {
        loop {
            let inflight = self.enter();
            let mut state = self.lock();
            state.check_usable()?;
            if !state.is_over_limit() {
                state.before_guest_write(range)?;
                return Ok((inflight, state));
            }
            drop(state);
            drop(inflight);
            self.exclusive()?.checkpoint()?;
        }
    }

    fn write_piece(&self, buf: &[u8], range: Range<u64>) -> Result<()> {
        let (_inflight, mut state) = self.begin(&range)?;
        let mut steps = Vec::new();
        let planned = state.plan(buf, range.clone(), &mut steps);
        if let Err(error) = planned {
            state.abandon(&steps);
            return Err(error);
        }
        drop(state);
        for step in &steps {
            let at = |guest: u64| usize::try_from(guest - range.start).unwrap_or(usize::MAX);
            let part = &buf[at(step.guest.start)..at(step.guest.end)];
            if let Err(error) = self.data.write_at(part, step.host) {
                self.lock().abandon(&steps);
                return Err(error);
            }
        }
        if steps.iter().any(|step| step.is_fresh) {
            let mut state = self.lock();
            for step in steps.iter().filter(|step| step.is_fresh) {
                state.link(step)?;
            }
        }
        Ok(())
    }
}

impl State {
    /// Decides where each part of a write goes. Parts that need the old content are written right
    /// here.
    fn plan(&mut self, buf: &[u8], range: Range<u64>, steps: &mut Vec<Step>) -> Result<()> {
        let size = self.cluster_size();
        let table = self.table_for_change(range.start)?;
        let mappings = self.mappings(table, &range)?;
        let first = range.start - range.start % size;
        let mut index = 0;
        while index < mappings.len() {
            let cluster = first + index as u64 * size;
            let guest = cluster.max(range.start)..(cluster + size).min(range.end);
            let mapping = mappings[index];
            let own = self.own_host(&mapping)?;
            index += 1;
            if let Some(host) = own.filter(|_| self.is_in_place(&mapping, &guest)) {
                push_in_place(steps, guest, host, size);
                continue;
            }
            let is_whole = guest.end - guest.start == size;
            if own.is_some() || !is_whole || self.data_file.is_some() {
                let at = usize::try_from(guest.start - range.start).unwrap_or(usize::MAX);
                let length = usize::try_from(guest.end - guest.start).unwrap_or(usize::MAX);
                self.write_part(table, guest, &buf[at..at + length], &mapping)?;
                continue;
            }
            let mut wanted = 1;
            while let Some(next) = mappings.get(index) {
                let end = first + (index as u64 + 1) * size;
                if end > range.end || self.own_host(next)?.is_some() {
                    break;
                }
                wanted += 1;
                index += 1;
            }
            self.plan_fresh(cluster, wanted, steps)?;
        }
        Ok(())
    }

    /// New clusters for `count` guest clusters from `guest` on, in as few runs as there are.
    fn plan_fresh(&mut self, mut guest: u64, mut count: u64, steps: &mut Vec<Step>) -> Result<()> {
        while count > 0 {
            let (host, found) = self.allocate_up_to(count)?;
            let end = guest + (found << self.cluster_bits());
            steps.push(Step {
                guest: guest..end,
                host,
                is_fresh: true,
            });
            guest = end;
            count -= found;
        }
        Ok(())
    }

    /// Makes the entries of a step lead to its new clusters, whatever they said until now: a
    /// write that was done meanwhile was the first of the two.
    fn link(&mut self, step: &Step) -> Result<()> {
        let (format, size) = (self.format, self.cluster_size());
        let table = self.table_for_change(step.guest.start)?;
        let hosts = (step.host..).step_by(usize::try_from(size).unwrap_or(usize::MAX));
        let changes: Vec<_> = self
            .mappings(table, &step.guest)?
            .into_iter()
            .zip(hosts)
            .map(|(old, host)| (old, Mapping::data(format, host)))
            .collect();
        self.replace_all(table, step.guest.start, &changes)
    }

    /// Gives new clusters back that will not be linked.
    fn abandon(&mut self, steps: &[Step]) {
        for step in steps.iter().filter(|step| step.is_fresh) {
            let count = (step.guest.end - step.guest.start) >> self.cluster_bits();
            if let Err(error) = self.release(step.host, count) {
                self.poison(error);
            }
        }
    }

    /// Whether nothing but the bytes themselves must be written, the cluster being the guest's
    /// alone.
    fn is_in_place(&self, mapping: &Mapping, guest: &Range<u64>) -> bool {
        let size = self.cluster_size();
        let start = guest.start % size;
        let part = start..start + (guest.end - guest.start);
        let touched = self.format.subclusters(&part);
        let is_copied = matches!(mapping.place, Place::Plain { copied: true, .. });
        is_copied && mapping.allocated & touched == touched
    }
}

fn push_in_place(steps: &mut Vec<Step>, guest: Range<u64>, cluster_host: u64, size: u64) {
    let host = cluster_host + guest.start % size;
    if let Some(last) = steps.last_mut()
        && !last.is_fresh
        && last.guest.end == guest.start
        && last.host + (last.guest.end - last.guest.start) == host
    {
        last.guest.end = guest.end;
        return;
    }
    steps.push(Step {
        guest,
        host,
        is_fresh: false,
    });
}
