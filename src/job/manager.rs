//! The queue: which job runs, which waits, and what became of each.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind};
use crate::job::report::Recorder;
use crate::job::{
    Access, Busy, Claim, Event, Job, JobId, Meter, Outcome, Report, State, Status, WhenBusy, Work,
};
use crate::phrase::Phrase;

/// Finished jobs that are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 50;

/// Is told of every [`Event`], without any lock of the manager held.
pub type Listener = Box<dyn Fn(Event) + Send + Sync>;

/// Runs jobs. Clones are the same manager.
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Handle,
    /// Jobs that run at the same time, at most.
    slots: usize,
    listener: Listener,
    clock: Instant,
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    next: u64,
    entries: BTreeMap<JobId, Entry>,
}

struct Entry {
    title: Phrase,
    claims: Vec<Claim>,
    control: Control,
    recorder: Arc<Mutex<Recorder>>,
    meter: Meter,
    state: State,
    /// Until it begins.
    work: Option<Work>,
    /// On the manager's clock, and since 1970.
    began: Option<(Duration, Duration)>,
    ended: Option<Duration>,
}

impl Manager {
    /// A manager whose jobs run on blocking threads of `runtime`, `slots` (at least 1) of them at a
    /// time.
    #[must_use]
    pub fn new(runtime: Handle, slots: usize, listener: Listener) -> Self {
        Self {
            shared: Arc::new(Shared {
                runtime,
                slots: slots.max(1),
                listener,
                clock: Instant::now(),
                jobs: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    /// Takes a job, to run it now or when its files are free.
    ///
    /// # Errors
    /// [`Busy`] with [`WhenBusy::Refuse`], when a job that runs or waits uses one of its files in a
    /// way that excludes it.
    pub fn submit(&self, job: Job, when_busy: WhenBusy) -> Result<JobId, Busy> {
        let id = {
            let mut jobs = self.shared.lock();
            if when_busy == WhenBusy::Refuse
                && let Some(busy) = jobs.in_the_way(&job.claims, |_, _| true)
            {
                return Err(busy);
            }
            jobs.next += 1;
            let id = JobId(jobs.next);
            jobs.entries.insert(id, Entry::new(job, self.shared.clock));
            id
        };
        self.shared.start_ready();
        Ok(id)
    }

    /// Asks a job to stop: one that waits is over at once, one that runs at its next safe point.
    pub fn cancel(&self, id: JobId) {
        let now = self.shared.clock.elapsed();
        let was_waiting = {
            let mut jobs = self.shared.lock();
            let Some(entry) = jobs.entries.get_mut(&id) else {
                return;
            };
            entry.control.cancel();
            match entry.state {
                State::Queued => {
                    entry.work = None;
                    entry.end(State::Cancelled, now);
                    true
                }
                State::Running => {
                    entry.state = State::Cancelling;
                    false
                }
                _ => false,
            }
        };
        if was_waiting {
            self.shared.after_end(id);
        }
    }

    /// Asks all jobs to stop.
    pub fn cancel_all(&self) {
        let live: Vec<JobId> = self.shared.lock().live().map(|(id, _)| *id).collect();
        for id in live {
            self.cancel(id);
        }
    }

    /// Waits until no job runs or waits any more. Blocks; for the end of a program.
    pub fn wait_until_idle(&self) {
        let mut jobs = self.shared.lock();
        while jobs.live().next().is_some() {
            jobs = self
                .shared
                .changed
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All jobs that are remembered, in the order of submission.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let now = self.shared.clock.elapsed();
        let mut jobs = self.shared.lock();
        let entries = jobs.entries.iter_mut();
        entries.map(|(id, entry)| entry.status(*id, now)).collect()
    }

    /// One job.
    #[must_use]
    pub fn status(&self, id: JobId) -> Option<Status> {
        let now = self.shared.clock.elapsed();
        let mut jobs = self.shared.lock();
        let entry = jobs.entries.get_mut(&id)?;
        Some(entry.status(id, now))
    }

    /// What a job did so far.
    #[must_use]
    pub fn report(&self, id: JobId) -> Option<Report> {
        let now = self.shared.clock.elapsed();
        let jobs = self.shared.lock();
        let entry = jobs.entries.get(&id)?;
        Some(Report {
            title: entry.title.clone(),
            state: entry.state.clone(),
            began: entry.began.unwrap_or_default().1,
            elapsed: entry.elapsed(now),
            steps: lock(&entry.recorder).steps(now),
        })
    }

    /// Which job a waiting one waits for; `None` when it only waits for its turn.
    #[must_use]
    pub fn waits_for(&self, id: JobId) -> Option<Busy> {
        let jobs = self.shared.lock();
        let entry = jobs.entries.get(&id)?;
        matches!(entry.state, State::Queued)
            .then(|| jobs.in_the_way(&entry.claims, |other, _| *other < id))?
    }

    /// The job that changes this file now or will, if any does.
    #[must_use]
    pub fn writer_of(&self, path: &Path) -> Option<Busy> {
        self.shared
            .lock()
            .in_the_way(&[Claim::read(path)], |_, _| true)
    }

    /// Jobs that run or wait.
    #[must_use]
    pub fn live(&self) -> usize {
        self.shared.lock().live().count()
    }

    /// Whether a job that changes a file is running.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        let writes = |claim: &Claim| claim.access() == Access::Write;
        self.shared
            .lock()
            .live()
            .any(|(_, entry)| entry.is_running() && entry.claims.iter().any(writes))
    }

    /// Forgets a job that is over.
    pub fn forget(&self, id: JobId) {
        let mut jobs = self.shared.lock();
        jobs.entries
            .retain(|other, entry| *other != id || !entry.state.is_finished());
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("slots", &self.shared.slots)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        lock(&self.jobs)
    }

    /// Begins every job whose turn it is.
    fn start_ready(self: &Arc<Self>) {
        let ready = self.lock().take_ready(self.slots, self.clock.elapsed());
        for (id, work, control) in ready {
            (self.listener)(Event::Started(id));
            let shared = Arc::clone(self);
            drop(
                self.runtime
                    .spawn_blocking(move || shared.run(id, work, &control)),
            );
        }
    }

    fn run(self: &Arc<Self>, id: JobId, work: Work, control: &Control) {
        // Work that panics must not keep its files claimed for ever.
        let result = catch_unwind(AssertUnwindSafe(|| work(control)));
        let state = match result {
            Ok(Ok(outcome)) => State::Done(outcome),
            Ok(Err(Stop::Cancelled)) => State::Cancelled,
            Ok(Err(Stop::Failed(error))) => State::Failed(Arc::new(error)),
            Err(_) => State::Failed(Arc::new(Error::new(
                ErrorKind::Unsupported,
                "the job ended in a bug of this program",
            ))),
        };
        let now = self.clock.elapsed();
        if let Some(entry) = self.lock().entries.get_mut(&id) {
            entry.end(state, now);
        }
        self.after_end(id);
    }

    fn after_end(self: &Arc<Self>, id: JobId) {
        let idle = {
            let mut jobs = self.lock();
            jobs.forget_oldest();
            jobs.live().next().is_none()
        };
        self.changed.notify_all();
        (self.listener)(Event::Finished(id));
        if idle {
            (self.listener)(Event::Idle);
        } else {
            self.start_ready();
        }
    }
}

impl Jobs {
    fn live(&self) -> impl Iterator<Item = (&JobId, &Entry)> {
        self.entries
            .iter()
            .filter(|(_, entry)| !entry.state.is_finished())
    }

    /// The first live job among those that `counts` whose claims exclude `claims`.
    fn in_the_way(
        &self,
        claims: &[Claim],
        counts: impl Fn(&JobId, &Entry) -> bool,
    ) -> Option<Busy> {
        self.live()
            .filter(|(id, entry)| counts(id, entry))
            .find_map(|(_, other)| Busy::between(claims, &other.claims, &other.title))
    }

    /// Marks those jobs as running that may run now. A job never overtakes an earlier one that it
    /// excludes, or a stream of readers would keep a writer waiting for ever.
    fn take_ready(&mut self, slots: usize, now: Duration) -> Vec<(JobId, Work, Control)> {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut running = self.live().filter(|(_, entry)| entry.is_running()).count();
        let waiting: Vec<JobId> = self
            .live()
            .filter(|(_, entry)| matches!(entry.state, State::Queued))
            .map(|(id, _)| *id)
            .collect();
        let mut ready = Vec::new();
        for id in waiting {
            let Some(entry) = self.entries.get(&id) else {
                continue;
            };
            let before = |other: &JobId, entry: &Entry| *other < id || entry.is_running();
            if running >= slots || self.in_the_way(&entry.claims, before).is_some() {
                continue;
            }
            if let Some(entry) = self.entries.get_mut(&id)
                && let Some(work) = entry.work.take()
            {
                entry.state = State::Running;
                entry.began = Some((now, since_1970));
                running += 1;
                ready.push((id, work, entry.control.clone()));
            }
        }
        ready
    }

    fn forget_oldest(&mut self) {
        let finished: Vec<JobId> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state.is_finished())
            .map(|(id, _)| *id)
            .collect();
        let too_many = finished.len().saturating_sub(REMEMBERED);
        for id in &finished[..too_many] {
            self.entries.remove(id);
        }
    }
}

impl Entry {
    fn new(job: Job, clock: Instant) -> Self {
        let recorder = Arc::new(Mutex::new(Recorder::default()));
        let heard = Arc::clone(&recorder);
        let control = Control::with_phase_listener(move |phase| {
            lock(&heard).enter(phase, clock.elapsed());
        });
        Self {
            title: job.title,
            claims: job.claims,
            control,
            recorder,
            meter: Meter::default(),
            state: State::Queued,
            work: Some(job.work),
            began: None,
            ended: None,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Running | State::Cancelling)
    }

    fn end(&mut self, state: State, now: Duration) {
        lock(&self.recorder).leave(now);
        self.state = state;
        self.ended = Some(now);
    }

    fn elapsed(&self, now: Duration) -> Duration {
        self.began.map_or(Duration::ZERO, |(began, _)| {
            self.ended.unwrap_or(now).saturating_sub(began)
        })
    }

    fn status(&mut self, id: JobId, now: Duration) -> Status {
        let writes = |claim: &&Claim| claim.access() == Access::Write;
        let path = |claim: &Claim| -> PathBuf { claim.path().to_path_buf() };
        Status {
            id,
            title: self.title.clone(),
            state: self.state.clone(),
            reading: self.meter.observe(now, &self.control.progress()),
            elapsed: self.elapsed(now),
            writes: self.claims.iter().filter(writes).map(path).collect(),
        }
    }
}

/// What a thread that panicked left is as good as before: every change is made whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outcome of work that has nothing to say.
impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::default()
    }
}
