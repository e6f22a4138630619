//! A trial that is kept until its edits are applied, so that they need not be tried twice.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use platter::chain::Chain;
use platter::op::edit::Trial;
use platter::storage::FileStamp;

/// Clocks of file systems go in steps: a file that was changed less than this ago may change once
/// more under the same time.
const SETTLED: Duration = Duration::from_secs(2);

/// What a file was when it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Print {
    stamp: FileStamp,
    /// Seconds and nanoseconds of the last change of anything but the content.
    status_changed: (i64, i64),
}

/// The files of a chain as they were.
pub(super) type Prints = Vec<Print>;

/// The last trial of some edits; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Tried(Arc<Mutex<Option<(Prints, Trial)>>>);

impl Tried {
    /// Keeps a trial of a disk whose files were as `before` when it began.
    pub(super) fn keep(&self, before: Option<Prints>, trial: Trial) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = before.map(|prints| (prints, trial));
    }

    /// The trial, when the files of `chain`, which others cannot change any more, are the same as
    /// then. It is gone from here in any case.
    pub(super) fn take(&self, chain: &Chain) -> Option<Trial> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (before, trial) = kept?;
        (read(chain)? == before).then_some(trial)
    }
}

/// The files of `chain`; `None` where they do not say whether they will have changed: devices,
/// external data files, and what was changed just now.
pub(super) fn prints(chain: &Chain) -> Option<Prints> {
    let prints = read(chain)?;
    let limit = SystemTime::now().checked_sub(SETTLED)?;
    let limit = limit.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let limit = i64::try_from(limit).ok()?;
    let is_settled = |print: &Print| print.stamp.modified_seconds() < limit;
    prints.iter().all(is_settled).then_some(prints)
}

fn read(chain: &Chain) -> Option<Prints> {
    let print = |link: &platter::chain::Link| {
        let info = link.info()?;
        let metadata = fs::metadata(link.path.as_ref()?).ok()?;
        (metadata.is_file() && info.data_file.is_none()).then(|| Print {
            stamp: FileStamp::from(&metadata),
            status_changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    chain.links().iter().map(print).collect()
}
