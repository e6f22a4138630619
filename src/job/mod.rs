//! Operations in the background: each runs on a blocking thread of a tokio runtime that the
//! application owns, one writer a file, watched and stopped through a
//! [`crate::Control`].
//!
//! A [`Job`] names the files it uses ([`Claim`]) before it starts. The [`Manager`] lets jobs run
//! side by side as long as their claims go together; the others wait in the order they came, or are
//! refused with the reason ([`Busy`]). Nothing here knows what a job does.
//!
//! Progress is pulled, not pushed: whoever draws it asks for [`Manager::statuses`] as often as it
//! draws. What a job has done, and how long each step took, stays in its [`Report`].

mod claim;
mod estimate;
mod manager;
mod report;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use claim::{Access, Busy, Claim};
pub use estimate::{Meter, Reading};
pub use manager::{Listener, Manager};
pub use report::{Report, Step};

use crate::control::{Control, Stop};
use crate::error::Error;
use crate::op::plan::Plan;
use crate::phrase::Phrase;

/// Names a job for the life of its manager; ascending in the order of submission.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct JobId(pub(super) u64);

/// What a job does: blocking, and looking at its control where it can stop.
pub type Work = Box<dyn FnOnce(&Control) -> Result<Outcome, Stop> + Send>;

/// Something to run.
pub struct Job {
    /// What it does, and to what: "Resize disk.qcow2".
    pub title: Phrase,
    /// Every file it reads or writes.
    pub claims: Vec<Claim>,
    /// How.
    pub work: Work,
}

impl Job {
    /// The job that does what `plan` says.
    #[must_use]
    pub fn of_plan(plan: &Plan, work: Work) -> Self {
        let reads = plan.reads.iter().map(|path| Claim::read(path));
        let writes = plan.writes.iter().map(|path| Claim::write(path));
        Self {
            title: plan.title.clone(),
            claims: writes.chain(reads).collect(),
            work,
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("title", &self.title)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

/// What came of a job that did all it should.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// What was done, in a sentence that says more than the title (how much, where to).
    pub message: Option<Phrase>,
    /// What the user should look at besides; one a line.
    pub notes: Vec<String>,
    /// The file that was made.
    pub made: Option<PathBuf>,
}

/// What to do with a job whose files are in use by another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenBusy {
    /// It waits for its turn.
    Wait,
    /// It is refused.
    Refuse,
}

/// Where a job is in its life.
#[derive(Clone, Debug)]
pub enum State {
    /// Not begun: another job uses its files, or enough are running.
    Queued,
    /// At work.
    Running,
    /// Asked to stop; it does at its next safe point.
    Cancelling,
    /// Did all it should.
    Done(Outcome),
    /// Stopped at a safe point because it was asked to.
    Cancelled,
    /// Went wrong.
    Failed(Arc<Error>),
}

impl State {
    /// Whether it is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Cancelled | Self::Failed(_))
    }
}

/// A job as it is now.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub id: JobId,
    /// What it does.
    pub title: Phrase,
    /// Where it is.
    pub state: State,
    /// How far the running phase is.
    pub reading: Reading,
    /// Time since it began to run; until its end, when it is over.
    pub elapsed: Duration,
    /// The files it changes.
    pub writes: Vec<PathBuf>,
}

impl Status {
    /// The file to show to who asks what it worked on: what it made, or else what it changed.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.state {
            State::Done(Outcome {
                made: Some(made), ..
            }) => Some(made),
            _ => self.writes.first().map(PathBuf::as_path),
        }
    }
}

/// News of a manager, told on whichever thread makes them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// The job began to run.
    Started(JobId),
    /// The job is over.
    Finished(JobId),
    /// No job runs or waits any more.
    Idle,
}
