//! Looks at every crash of a log, counts them, and says where one is not survived.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use platter::storage::{Crash, CrashPlan, Record, WriteLog};

use crate::common;

/// Stop points of an ordinary run, all operations together, at least.
const POINTS: usize = 2_500;
/// Of these so many also go through `qemu-img check`, which costs a process each.
const THROUGH_QEMU: usize = 160;

/// How much is looked at in this run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Stop points of all operations together, at least.
    pub(crate) points: usize,
    /// Those of one operation, about.
    pub(crate) points_each: usize,
    /// One of so many states goes through `qemu-img check`.
    pub(crate) qemu_every: usize,
}

impl Effort {
    /// What `PLATTER_CRASH_POINTS` asks for, divided among `cases` operations.
    ///
    /// # Panics
    /// When it is no number.
    pub(crate) fn of_this_run(cases: usize) -> Self {
        let points = std::env::var("PLATTER_CRASH_POINTS").map_or(POINTS, |value| {
            value
                .parse()
                .expect("PLATTER_CRASH_POINTS is a number of stop points")
        });
        // The release run gives every state to both checkers.
        let qemu_every = if points > POINTS {
            1
        } else {
            POINTS / THROUGH_QEMU
        };
        Self {
            points,
            points_each: points.div_ceil(cases),
            qemu_every,
        }
    }
}

/// What was found out about one operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) operation: String,
    /// Proves something about the tests and nothing about Platter: is not part of the sum.
    pub(crate) is_self_test: bool,
    /// Changes that the storage saw, and flushes among all calls.
    pub(crate) changes: usize,
    pub(crate) flushes: usize,
    /// Crashes that were looked at.
    pub(crate) states: usize,
    /// Of those, clean ones, ones with leaks, and ones that say themselves that a repair is due.
    pub(crate) clean: usize,
    pub(crate) leaks: usize,
    pub(crate) dirty: usize,
    /// Of those, judged by `qemu-img check` as well.
    pub(crate) through_qemu: usize,
}

impl Tally {
    pub(crate) const HEADINGS: &str = "operation                          \
        changes flushes  states   clean   leaks   dirty qemu-img";

    pub(crate) fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.flushes += other.flushes;
        self.states += other.states;
        self.clean += other.clean;
        self.leaks += other.leaks;
        self.dirty += other.dirty;
        self.through_qemu += other.through_qemu;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<35}{:>7}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}",
            self.operation,
            self.changes,
            self.flushes,
            self.states,
            self.clean,
            self.leaks,
            self.dirty,
            self.through_qemu
        )
    }
}

/// What a state looked like to the judge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Clean,
    Leaks,
    /// The image says that it was not closed well: the next writer repairs it.
    Dirty,
}

/// Looks at all crashes of `log`, each with `judge`, which says what is wrong with it.
///
/// # Errors
/// The first crash that is not survived, with what led to it; its files are kept.
pub(crate) fn examine(
    operation: &str,
    log: &WriteLog,
    effort: Effort,
    mut judge: impl FnMut(&Crash) -> Result<Verdict, String>,
) -> Result<Tally, String> {
    let records = log.records();
    let flush = platter::storage::Change::Flush;
    let flushes = records
        .iter()
        .filter(|record| record.change == flush)
        .count();
    let mut tally = Tally {
        operation: operation.to_owned(),
        changes: records.len() - flushes,
        flushes,
        ..Tally::default()
    };
    for crash in log.crashes(plan(log, effort)) {
        tally.states += 1;
        // The judge may repair the image.
        let before: Vec<_> = crash.files.iter().map(|file| file.to_vec()).collect();
        match judge(&crash) {
            Ok(Verdict::Clean) => tally.clean += 1,
            Ok(Verdict::Leaks) => tally.leaks += 1,
            Ok(Verdict::Dirty) => tally.dirty += 1,
            Err(reason) => return Err(report(operation, &crash, &before, &records, &reason)),
        }
    }
    assert!(tally.states > 0, "{operation}: nothing was written");
    Ok(tally)
}

/// As many torn writes as it takes to come to the points of one operation.
fn plan(log: &WriteLog, effort: Effort) -> CrashPlan {
    let in_order = CrashPlan {
        torn: 0,
        ..CrashPlan::default()
    };
    let with_one = CrashPlan {
        torn: 1,
        ..CrashPlan::default()
    };
    // Counting costs little: nothing is judged.
    let base = log.crashes(in_order).count();
    let torn_once = log.crashes(with_one).count() - base;
    let missing = effort.points_each.saturating_sub(base);
    let rounds = missing.div_ceil(torn_once.max(1)).clamp(1, 500);
    CrashPlan {
        torn: rounds,
        ..in_order
    }
}

fn report(
    operation: &str,
    crash: &Crash,
    files: &[Vec<u8>],
    records: &[Record],
    reason: &str,
) -> String {
    static KEPT: AtomicUsize = AtomicUsize::new(0);

    let mut said = format!(
        "{operation}: {reason}\n  after change {} of {}, lost: {:?}\n",
        crash.position,
        records.len(),
        crash.loss
    );
    let first = crash.position.saturating_sub(24);
    for (index, record) in records.iter().enumerate().take(crash.position).skip(first) {
        said += &format!("  {:>5}: {}\n", index + 1, describe(record));
    }
    let number = KEPT.fetch_add(1, Ordering::Relaxed);
    for (index, bytes) in files.iter().enumerate() {
        let name = format!(
            "crash-{}-{number}-{index}",
            operation.replace([' ', '/'], "-")
        );
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if fs::write(&path, bytes).is_ok() {
            said += &format!("  kept as {}\n", path.display());
        }
    }
    said
}

fn describe(record: &Record) -> String {
    use platter::storage::Change;

    let what = match &record.change {
        Change::Write { offset, bytes } => format!("write {offset:#x} +{:#x}", bytes.len()),
        other => format!("{other:x?}"),
    };
    format!("file {}: {what}", record.file)
}

/// Images that wait for `qemu-img check`.
#[derive(Debug)]
pub(crate) struct QemuSample {
    folder: tempfile::TempDir,
    every: usize,
    seen: usize,
    waiting: Vec<(PathBuf, usize, bool)>,
}

impl QemuSample {
    /// For images that may stand on files of these names and contents.
    pub(crate) fn new(effort: Effort, beside: &[(&str, &[u8])]) -> Self {
        let folder = common::scratch();
        for (name, bytes) in beside {
            fs::write(folder.path().join(name), bytes).expect("a scratch file");
        }
        Self {
            folder,
            every: effort.qemu_every,
            seen: 0,
            waiting: Vec::new(),
        }
    }

    /// Offers the image of a crash; one of so many is taken. A corruption is excused in one
    /// that says itself that a repair is due.
    ///
    /// # Errors
    /// When `qemu-img` finds it corrupt.
    pub(crate) fn offer(
        &mut self,
        image: &[u8],
        position: usize,
        dirty: bool,
    ) -> Result<(), String> {
        self.seen += 1;
        if !self.seen.is_multiple_of(self.every) {
            return Ok(());
        }
        let path = self
            .folder
            .path()
            .join(format!("{}.qcow2", self.waiting.len()));
        fs::write(&path, image).map_err(|error| error.to_string())?;
        self.waiting.push((path, position, dirty));
        Ok(())
    }

    /// Lets `qemu-img` judge all that were taken. How many they were.
    ///
    /// # Errors
    /// The first that it finds corrupt.
    pub(crate) fn judge(self) -> Result<usize, String> {
        for (path, position, dirty) in &self.waiting {
            let checked = common::output(common::tool("qemu-img").arg("check").arg(path));
            let status = checked.status.code();
            let words = String::from_utf8_lossy(&checked.stdout).into_owned();
            if matches!(status, Some(0 | 3))
                || (status == Some(2) && is_excused(path, *dirty, &words))
            {
                continue;
            }
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-through-qemu-img");
            let _ = fs::copy(path, &kept);
            return Err(format!(
                "after change {position} qemu-img check says {status:?}: {words:.2000}{}\n\
                 kept as {}",
                String::from_utf8_lossy(&checked.stderr),
                kept.display()
            ));
        }
        Ok(self.waiting.len())
    }
}

/// A dirty image says itself that it has to be repaired. Version 2 cannot say so; in it flags may
/// disagree with refcounts, as two sectors never change at once.
fn is_excused(image: &Path, dirty: bool, words: &str) -> bool {
    let is_version_2 = fs::read(image).is_ok_and(|bytes| bytes.get(7) == Some(&2));
    let mut errors = words.lines().filter(|line| line.starts_with("ERROR"));
    dirty || (is_version_2 && errors.all(|line| line.contains("OFLAG_COPIED")))
}
