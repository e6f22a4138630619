//! How long work is watched and stopped: a cancel flag looked at in safe places, and counters of
//! progress. No threads, no clock: whoever runs the work owns those.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;

/// The work stopped because it was asked to. Not an error: nothing failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cancelled;

/// Why long work ended early.
#[derive(Debug)]
pub enum Stop {
    /// It was cancelled at a safe point.
    Cancelled,
    /// It failed.
    Failed(Error),
}

impl From<Cancelled> for Stop {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

/// A moment of progress.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// What is being done, a short English verb phrase ("reading refcounts").
    pub phase: &'static str,
    /// Units done.
    pub done: u64,
    /// Of this many; 0 while unknown.
    pub total: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What a phase counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unit {
    /// Bytes.
    #[default]
    Bytes,
    /// Things that mean nothing to a user: table entries, clusters.
    Items,
}

/// Shared between the work and its watcher; clones refer to the same state.
#[derive(Clone, Debug, Default)]
pub struct Control {
    shared: Arc<Shared>,
}

type PhaseListener = Box<dyn Fn(&'static str) + Send + Sync>;

#[derive(Default)]
struct Shared {
    cancelled: Arc<AtomicBool>,
    done: AtomicU64,
    total: AtomicU64,
    counts_items: AtomicBool,
    phase: Mutex<&'static str>,
    listener: Option<PhaseListener>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("cancelled", &self.cancelled)
            .field("done", &self.done)
            .field("total", &self.total)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Control {
    /// A control nobody has cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A control that tells `listener` of each phase when the work enters it, on the work's thread.
    #[must_use]
    pub fn with_phase_listener(listener: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                listener: Some(Box::new(listener)),
                ..Shared::default()
            }),
        }
    }

    /// A control that is cancelled when `flag` is set, whoever does that: a signal handler can.
    #[must_use]
    pub fn cancelled_by(flag: Arc<AtomicBool>) -> Self {
        Self {
            shared: Arc::new(Shared {
                cancelled: flag,
                ..Shared::default()
            }),
        }
    }

    /// Asks the work to stop at its next safe point.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    /// Called by the work where stopping leaves everything consistent.
    ///
    /// # Errors
    /// [`Cancelled`] when [`Control::cancel`] was called.
    pub fn checkpoint(&self) -> Result<(), Cancelled> {
        if self.shared.cancelled.load(Ordering::Relaxed) {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// Starts a phase of `total` bytes (0 = unknown) and sets the counter back.
    pub fn enter(&self, phase: &'static str, total: u64) {
        self.begin(phase, total, Unit::Bytes);
    }

    /// As [`Self::enter`], for a phase that counts other things than bytes.
    pub fn enter_items(&self, phase: &'static str, total: u64) {
        self.begin(phase, total, Unit::Items);
    }

    fn begin(&self, phase: &'static str, total: u64, unit: Unit) {
        *self
            .shared
            .phase
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = phase;
        self.shared.done.store(0, Ordering::Relaxed);
        self.shared.total.store(total, Ordering::Relaxed);
        let counts_items = unit == Unit::Items;
        self.shared
            .counts_items
            .store(counts_items, Ordering::Relaxed);
        if let Some(listener) = &self.shared.listener {
            listener(phase);
        }
    }

    /// Counts `units` as done.
    pub fn advance(&self, units: u64) {
        self.shared.done.fetch_add(units, Ordering::Relaxed);
    }

    /// Where the work is now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            phase: *self
                .shared
                .phase
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            done: self.shared.done.load(Ordering::Relaxed),
            total: self.shared.total.load(Ordering::Relaxed),
            unit: if self.shared.counts_items.load(Ordering::Relaxed) {
                Unit::Items
            } else {
                Unit::Bytes
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_cancel_and_progress() {
        let control = Control::new();
        let worker = control.clone();
        worker.enter("reading", 10);
        worker.advance(4);
        assert_eq!(
            control.progress(),
            Progress {
                phase: "reading",
                done: 4,
                total: 10,
                unit: Unit::Bytes,
            }
        );
        assert_eq!(worker.checkpoint(), Ok(()));
        control.cancel();
        assert_eq!(worker.checkpoint(), Err(Cancelled));
    }

    #[test]
    fn a_flag_from_outside_cancels() {
        let flag = Arc::new(AtomicBool::new(false));
        let control = Control::cancelled_by(Arc::clone(&flag));
        assert_eq!(control.checkpoint(), Ok(()));
        flag.store(true, Ordering::Relaxed);
        assert_eq!(control.clone().checkpoint(), Err(Cancelled));
    }

    #[test]
    fn every_phase_is_heard() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        let control = Control::with_phase_listener(move |phase| notes.lock().unwrap().push(phase));
        control.clone().enter("reading", 10);
        control.enter_items("writing", 0);
        assert_eq!(control.progress().unit, Unit::Items);
        assert_eq!(*heard.lock().unwrap(), ["reading", "writing"]);
    }
}
