//! Work off the main thread of which only the newest request counts.

use std::sync::{Arc, Mutex, PoisonError};

use crate::background::Background;

/// A place for one waiting request. Posting replaces the request that waits; one at a time is
/// worked on.
#[derive(Debug)]
pub(super) struct Latest<T>(Arc<Mutex<Slot<T>>>);

#[derive(Debug)]
struct Slot<T> {
    waiting: Option<T>,
    running: bool,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Slot {
            waiting: None,
            running: false,
        })))
    }
}

/// Tells the work whether a newer request waits.
pub(super) struct Superseded<'a, T>(&'a Mutex<Slot<T>>);

impl<T> Superseded<'_, T> {
    /// Whether what is being worked on is not wanted any more.
    pub(super) fn get(&self) -> bool {
        lock(self.0).waiting.is_some()
    }
}

impl<T: Send + 'static> Latest<T> {
    /// Has `work` done on `request` as soon as what is under way ends, unless a newer request is
    /// posted until then.
    pub(super) fn post(
        &self,
        request: T,
        background: &Background,
        work: impl Fn(T, &Superseded<'_, T>) + Send + 'static,
    ) {
        let mut slot = lock(&self.0);
        slot.waiting = Some(request);
        if std::mem::replace(&mut slot.running, true) {
            return;
        }
        let shared = Arc::clone(&self.0);
        background.run(move || {
            while let Some(request) = take(&shared) {
                work(request, &Superseded(&shared));
            }
        });
    }

    /// Forgets the request that waits.
    pub(super) fn clear(&self) {
        lock(&self.0).waiting = None;
    }
}

fn take<T>(slot: &Mutex<Slot<T>>) -> Option<T> {
    let mut slot = lock(slot);
    let request = slot.waiting.take();
    slot.running = request.is_some();
    request
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> std::sync::MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_the_newest_waiting_request_is_worked_on() {
        let background = Background::new().unwrap();
        let latest = Latest::default();
        let (done, results) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let work = move |request: u32, superseded: &Superseded<'_, u32>| {
            gate.lock().unwrap().recv().unwrap();
            done.send((request, superseded.get())).unwrap();
        };
        latest.post(1, &background, work);
        // The first is waiting at the gate, or has not been taken yet: both are fine.
        for request in 2..10 {
            latest.post(request, &background, |_, _| {
                unreachable!("one worker at a time")
            });
        }
        go.send(()).unwrap();
        go.send(()).unwrap();
        let first = results.recv().unwrap();
        let last = match first {
            (9, _) => first,
            (request, superseded) => {
                assert_eq!((request, superseded), (1, true));
                results.recv().unwrap()
            }
        };
        assert_eq!(last, (9, false));
    }
}
