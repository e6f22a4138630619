//! The threads of a comparison: one walks each map, one hands out work, the rest read and compare.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::chain::MapDetail;
use crate::control::{Control, Stop};
use crate::op::compare::merge::{Merge, Need, Piece, Stretch};
use crate::op::compare::{CompareStop, Difference, Operand, Side, Step};
use crate::storage::Storage;

const SECTOR: usize = 512;

/// Most bytes that are read at once, and what a job amounts to.
const CHUNK: u64 = 1 << 20;

/// Pieces of a map that travel together.
const BATCH: usize = 1024;

/// Batches and jobs that wait at most: what bounds the memory.
const QUEUE: usize = 8;

/// The first difference of the two disks.
pub(super) fn first_difference(
    first: &Operand<'_>,
    second: &Operand<'_>,
    strict: bool,
    threads: usize,
    control: &Control,
) -> Result<Option<Difference>, CompareStop> {
    let findings = Findings::default();
    thread::scope(|scope| {
        let (send_first, pieces_of_first) = sync_channel(QUEUE);
        let (send_second, pieces_of_second) = sync_channel(QUEUE);
        let (send_jobs, jobs) = sync_channel(QUEUE);
        // Owned by the workers alone: should they all panic, handing out ends, too.
        let jobs = Arc::new(Mutex::new(jobs));
        let findings = &findings;
        scope.spawn(move || walk(first, &send_first, findings));
        scope.spawn(move || walk(second, &send_second, findings));
        for _ in 0..threads.max(1) {
            let jobs = Arc::clone(&jobs);
            scope.spawn(move || work(&jobs, first, second, findings, control));
        }
        drop(jobs);
        let stretches = Merge::new(
            pieces_of_first.into_iter().flatten(),
            pieces_of_second.into_iter().flatten(),
        );
        hand_out(stretches, strict, &send_jobs, findings, control);
        drop(send_jobs);
    });
    findings.into_result()
}

/// The earliest thing that ends the comparison.
#[derive(Default)]
struct Findings {
    earliest: Mutex<Option<(u64, Finding)>>,
    /// Its offset, to be asked without the lock.
    limit: Limit,
}

enum Finding {
    Difference(Difference),
    Stop(CompareStop),
}

struct Limit(AtomicU64);

impl Default for Limit {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Findings {
    fn add(&self, offset: u64, finding: Finding) {
        let mut earliest = self.earliest.lock().unwrap_or_else(PoisonError::into_inner);
        if earliest.as_ref().is_none_or(|(other, _)| offset < *other) {
            *earliest = Some((offset, finding));
            self.limit.0.store(offset, Ordering::Relaxed);
        }
    }

    /// Whether something before `offset` decides already.
    fn is_decided_before(&self, offset: u64) -> bool {
        self.limit.0.load(Ordering::Relaxed) <= offset
    }

    fn into_result(self) -> Result<Option<Difference>, CompareStop> {
        let earliest = self
            .earliest
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match earliest {
            None => Ok(None),
            Some((_, Finding::Difference(difference))) => Ok(Some(difference)),
            Some((_, Finding::Stop(stop))) => Err(stop),
        }
    }
}

/// Sends the map of a disk; ends early when nobody wants more.
fn walk(operand: &Operand<'_>, send: &SyncSender<Vec<Piece>>, findings: &Findings) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut position = 0;
    let walked =
        operand
            .chain
            .for_each_map_entry(0..operand.size, MapDetail::HostHoles, &mut |entry| {
                position = entry.guest.end;
                batch.push(Piece::new(&entry, operand.size));
                if batch.len() < BATCH {
                    return ControlFlow::Continue(());
                }
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                match send.send(full) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
    if let Err(error) = walked {
        let stop = CompareStop {
            side: operand.side,
            step: Step::Map,
            stop: error.into(),
        };
        findings.add(position, Finding::Stop(stop));
    }
    // The receiver may be gone: then nobody wants it.
    let _ = send.send(batch);
}

/// Ranges to be read and compared, about [`CHUNK`] bytes together.
type Job = Vec<(Range<u64>, Need)>;

fn hand_out(
    stretches: impl Iterator<Item = Stretch>,
    strict: bool,
    send: &SyncSender<Job>,
    findings: &Findings,
    control: &Control,
) {
    let mut job = Job::new();
    let mut job_bytes = 0;
    for stretch in stretches {
        let mut rest = stretch.guest;
        if findings.is_decided_before(rest.start) {
            break;
        }
        if strict && !stretch.same_status {
            let difference = Difference::Status(rest.start);
            findings.add(rest.start, Finding::Difference(difference));
            break;
        }
        if stretch.need == Need::Nothing {
            control.advance(rest.end - rest.start);
            continue;
        }
        while !rest.is_empty() {
            let end = rest.end.min(rest.start + (CHUNK - job_bytes));
            job.push((rest.start..end, stretch.need));
            job_bytes += end - rest.start;
            rest.start = end;
            if job_bytes == CHUNK {
                job_bytes = 0;
                if send.send(std::mem::take(&mut job)).is_err() {
                    return;
                }
            }
        }
    }
    let _ = send.send(job);
}

fn work(
    jobs: &Mutex<Receiver<Job>>,
    first: &Operand<'_>,
    second: &Operand<'_>,
    findings: &Findings,
    control: &Control,
) {
    let mut buffers = Buffers::default();
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else {
            return;
        };
        for (range, need) in job {
            if findings.is_decided_before(range.start) {
                break;
            }
            match buffers.compare(&range, need, first, second, control) {
                Ok(None) => control.advance(range.end - range.start),
                Ok(Some(offset)) => {
                    let difference = Difference::Content(offset);
                    findings.add(offset, Finding::Difference(difference));
                }
                Err(stop) => findings.add(range.start, Finding::Stop(stop)),
            }
        }
    }
}

#[derive(Default)]
struct Buffers {
    first: Vec<u8>,
    second: Vec<u8>,
}

impl Buffers {
    /// The sector in which a range differs.
    fn compare(
        &mut self,
        range: &Range<u64>,
        need: Need,
        first: &Operand<'_>,
        second: &Operand<'_>,
        control: &Control,
    ) -> Result<Option<u64>, CompareStop> {
        if control.checkpoint().is_err() {
            return Err(CompareStop {
                side: Side::First,
                step: Step::Read(range.start),
                stop: Stop::Cancelled,
            });
        }
        let different = match need {
            Need::Nothing => None,
            Need::Both => {
                let first = read(first, &mut self.first, range)?;
                let second = read(second, &mut self.second, range)?;
                first_different_sector(first, second)
            }
            Need::First => first_nonzero_sector(read(first, &mut self.first, range)?),
            Need::Second => first_nonzero_sector(read(second, &mut self.second, range)?),
        };
        Ok(different.map(|offset| range.start + offset))
    }
}

fn read<'b>(
    operand: &Operand<'_>,
    buffer: &'b mut Vec<u8>,
    range: &Range<u64>,
) -> Result<&'b [u8], CompareStop> {
    let length = usize::try_from(range.end - range.start).unwrap_or(0);
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    let buffer = &mut buffer[..length];
    operand
        .disk
        .read_at(buffer, range.start)
        .map_err(|error| CompareStop {
            side: operand.side,
            step: Step::Read(range.start),
            stop: error.into(),
        })?;
    Ok(buffer)
}

fn first_different_sector(first: &[u8], second: &[u8]) -> Option<u64> {
    if first == second {
        return None;
    }
    first
        .chunks(SECTOR)
        .zip(second.chunks(SECTOR))
        .position(|(first, second)| first != second)
        .map(|sector| (sector * SECTOR) as u64)
}

fn first_nonzero_sector(bytes: &[u8]) -> Option<u64> {
    bytes
        .chunks(SECTOR)
        .position(|sector| sector != &[0; SECTOR][..sector.len()])
        .map(|sector| (sector * SECTOR) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_by_sector() {
        let zeroes = vec![0; 5000];
        let mut other = zeroes.clone();
        assert_eq!(first_different_sector(&zeroes, &other), None);
        assert_eq!(first_nonzero_sector(&zeroes), None);
        other[4999] = 1;
        assert_eq!(first_different_sector(&zeroes, &other), Some(4608));
        assert_eq!(first_nonzero_sector(&other), Some(4608));
        other[1023] = 1;
        assert_eq!(first_different_sector(&zeroes, &other), Some(512));
        assert_eq!(first_nonzero_sector(&other), Some(512));
    }

    #[test]
    fn the_earliest_finding_counts() {
        let findings = Findings::default();
        for offset in [4096, 512, 8192] {
            let difference = Difference::Content(offset);
            findings.add(offset, Finding::Difference(difference));
        }
        assert!(findings.is_decided_before(512));
        assert!(!findings.is_decided_before(511));
        let found = findings.into_result().unwrap();
        assert_eq!(found, Some(Difference::Content(512)));
    }
}
