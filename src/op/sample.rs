//! How long a copy will take, judged by doing a little of it: parts of the source from all over the
//! disk are read, compressed if that is what will be done, and written to a file without a name
//! beside the target.

use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::error::Result;
use crate::image::{ClusterCompressor, Compression};
use crate::op::plan::Plan;
use crate::storage::{FileStorage, Storage, WritableStorage};
use crate::units::MIB;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Effort {
    /// The disks that are read; without any, zeroes are written.
    pub sources: Vec<Arc<dyn Storage>>,
    /// Bytes with content on all of them together, at most.
    pub bytes: u64,
    /// How they are compressed, in clusters of so many bytes.
    pub compression: Option<(Compression, u64)>,
    /// The file that is written, or its folder.
    pub target: Option<PathBuf>,
}

/// How long it will take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Estimate {
    /// When reading, computing and writing go on side by side.
    pub least: Duration,
    /// When one waits for the other.
    pub most: Duration,
}

/// Parts of each disk that are tried.
const PROBES: u64 = 16;
/// Length of a part in bytes.
const PIECE: u64 = MIB;
/// A sample ends after this, whatever has been seen by then.
const PATIENCE: Duration = Duration::from_millis(300);
/// Runs that are asked for, from each place on, before it is given up.
const MOST_RUNS: u32 = 256;

/// What a sample took.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    bytes: u64,
    reading: Duration,
    computing: Duration,
    writing: Duration,
}

impl Effort {
    /// Copying what `plan` says it needs room for from the disk of `chain`; `None` when it says
    /// nothing, or the disk cannot be read.
    #[must_use]
    pub fn of_copy(chain: &Chain, plan: &Plan) -> Option<Self> {
        let space = plan.space.as_ref()?;
        Some(Self {
            sources: vec![Arc::new(chain.disk().ok()?)],
            bytes: space.bytes,
            compression: None,
            target: Some(space.at.clone()),
        })
    }

    /// Writing `bytes` zeroes to `target`.
    #[must_use]
    pub fn of_zeroes(bytes: u64, target: &Path) -> Self {
        Self {
            sources: Vec::new(),
            bytes,
            compression: None,
            target: Some(target.to_path_buf()),
        }
    }

    /// Tries for a third of a second. `None` when there is nothing to do, or nothing to try.
    ///
    /// # Errors
    /// When the source cannot be read, or on cancel. That nothing can be written beside the target
    /// is no error: its share of the time is not known then.
    pub fn sample(&self, control: &Control) -> Result<Option<Estimate>, Stop> {
        if self.bytes == 0 {
            return Ok(None);
        }
        let taken = self.probe(control)?;
        Ok(estimate(self.bytes, taken))
    }

    fn probe(&self, control: &Control) -> Result<Taken, Stop> {
        let began = Instant::now();
        let mut taken = Taken::default();
        let mut output = self.target.as_deref().and_then(file_beside);
        let mut compressor = match self.compression {
            Some((compression, _)) => Some(ClusterCompressor::new(compression)?),
            None => None,
        };
        let threads = available_parallelism().map_or(1, usize::from);
        let threads = u32::try_from(threads).unwrap_or(1);
        let (mut buf, mut packed) = (Vec::new(), Vec::new());
        for probe in 0..PROBES {
            if self.sources.is_empty() && output.is_some() && began.elapsed() < PATIENCE {
                buf.resize(usize::try_from(PIECE).unwrap_or(0), 0);
                taken.bytes += PIECE;
                taken.write(&mut output, &buf);
            }
            for source in &self.sources {
                control.checkpoint()?;
                if began.elapsed() > PATIENCE {
                    return Ok(taken);
                }
                let size = source.size()?;
                let start = part(size, probe);
                let Some(range) = first_data(source.as_ref(), start..part(size, probe + 1))? else {
                    continue;
                };
                let length = range.end - range.start;
                buf.resize(usize::try_from(length).unwrap_or(0), 0);
                taken.reading += timed(|| source.read_at(&mut buf, range.start))?;
                taken.bytes += length;
                packed.clear();
                if let (Some(compressor), Some((_, cluster))) = (&mut compressor, self.compression)
                {
                    let cluster = usize::try_from(cluster).unwrap_or(1).max(1);
                    taken.computing += timed(|| {
                        for cluster in buf.chunks(cluster) {
                            if compressor.compress(cluster, &mut packed).is_none() {
                                packed.extend_from_slice(cluster);
                            }
                        }
                        Ok(())
                    })? / threads;
                }
                let bytes = if compressor.is_some() { &packed } else { &buf };
                taken.write(&mut output, bytes);
            }
        }
        Ok(taken)
    }
}

impl Taken {
    /// Writes a part and waits until it is on the disk, as the whole must be in the end.
    fn write(&mut self, output: &mut Option<FileStorage>, bytes: &[u8]) {
        let Some(file) = output else { return };
        let written = timed(|| {
            file.write_at(bytes, file.size()?)?;
            file.flush()
        });
        match written {
            Ok(time) => self.writing += time,
            // A full disk is found out about elsewhere.
            Err(_) => *output = None,
        }
    }
}

fn estimate(bytes: u64, taken: Taken) -> Option<Estimate> {
    if taken.bytes == 0 {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let times = bytes as f64 / taken.bytes as f64;
    let whole = |time: Duration| Duration::try_from_secs_f64(time.as_secs_f64() * times).ok();
    let steps = [taken.reading, taken.computing, taken.writing];
    Some(Estimate {
        least: whole(steps.into_iter().max().unwrap_or_default())?,
        most: whole(steps.into_iter().sum())?,
    })
}

/// Where a probe begins.
fn part(size: u64, probe: u64) -> u64 {
    let start = u128::from(size) * u128::from(probe) / u128::from(PROBES);
    u64::try_from(start).unwrap_or(u64::MAX)
}

/// The beginning of the first data in `range`.
fn first_data(source: &dyn Storage, range: Range<u64>) -> Result<Option<Range<u64>>> {
    let mut found = None;
    let mut runs = 0;
    source.for_each_run(range, &mut |run| {
        runs += 1;
        if !run.hole {
            let end = run.range.end.min(run.range.start + PIECE);
            found = Some(run.range.start..end);
        }
        if found.is_some() || runs == MOST_RUNS {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(found.filter(|range: &Range<u64>| !range.is_empty()))
}

/// A file that is gone when it is closed, on the file system of `target`.
fn file_beside(target: &Path) -> Option<FileStorage> {
    let folder = if target.is_dir() {
        target
    } else {
        target.parent()?
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    FileStorage::unnamed(folder).ok()
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn effort(bytes: Vec<u8>) -> Effort {
        Effort {
            bytes: bytes.len() as u64,
            sources: vec![Arc::new(MemoryStorage::new(bytes))],
            compression: Some((Compression::Zlib, 65_536)),
            target: None,
        }
    }

    #[test]
    fn a_sample_says_how_long_the_whole_takes() {
        let taken = Taken {
            bytes: 10,
            reading: Duration::from_millis(10),
            computing: Duration::from_millis(30),
            writing: Duration::from_millis(20),
        };
        let all = estimate(1000, taken).unwrap();
        assert_eq!(all.least, Duration::from_secs(3));
        assert_eq!(all.most, Duration::from_secs(6));
        assert_eq!(estimate(1000, Taken::default()), None);
    }

    #[test]
    fn every_step_of_the_work_is_tried_and_nothing_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut effort = effort(
            (0..8 << 20)
                .map(|at: u32| (at / 7).to_le_bytes()[0])
                .collect(),
        );
        effort.target = Some(folder.path().join("new.qcow2"));
        let taken = effort.probe(&Control::new()).unwrap();
        assert!(taken.bytes >= MIB && taken.bytes <= effort.bytes);
        assert!(taken.reading > Duration::ZERO && taken.computing > Duration::ZERO);
        assert!(taken.writing > Duration::ZERO);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let zeroes = Effort::of_zeroes(1 << 30, folder.path());
        assert!(zeroes.probe(&Control::new()).unwrap().writing > Duration::ZERO);
        effort.target = Some("/nowhere/at/all".into());
        let taken = effort.probe(&Control::new()).unwrap();
        assert_eq!(taken.writing, Duration::ZERO);
    }

    #[test]
    fn nothing_is_tried_where_nothing_is_to_be_done_or_nobody_waits() {
        assert_eq!(effort(Vec::new()).sample(&Control::new()).unwrap(), None);
        let control = Control::new();
        control.cancel();
        assert!(matches!(
            effort(vec![1; 4096]).sample(&control),
            Err(Stop::Cancelled)
        ));
    }
}
