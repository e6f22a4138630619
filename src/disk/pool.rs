//! Work on several threads, fed by the one that looks for it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::control::Stop;

/// Hands the jobs that `produce` sends to `threads` threads, which do them with `work`, each with
/// a scratch value of its own. Jobs are begun in the order in which they were sent; few of them
/// wait at a time. Sending breaks once the work has ended.
///
/// # Errors
/// The first error of `produce` or of `work`, which ends both.
pub(crate) fn in_parallel<J: Send, S: Default>(
    threads: usize,
    produce: impl FnOnce(&mut dyn FnMut(J) -> ControlFlow<()>) -> Result<(), Stop>,
    work: &(dyn Fn(J, &mut S) -> Result<(), Stop> + Sync),
) -> Result<(), Stop> {
    let threads = threads.max(1);
    let (sender, receiver) = mpsc::sync_channel(2 * threads);
    let receiver = Arc::new(Mutex::new(receiver));
    let end = End::default();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (end, receiver) = (&end, Arc::clone(&receiver));
            scope.spawn(move || consume(&receiver, work, end));
        }
        // Only the threads keep the receiver: were all to panic, sending would fail, not block.
        drop(receiver);
        let produced = produce(&mut |job| {
            if end.is_reached() || sender.send(job).is_err() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        drop(sender);
        if let Err(stop) = produced {
            end.reach(stop);
        }
    });
    let stop = end
        .stop
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    stop.map_or(Ok(()), Err)
}

fn consume<J, S: Default>(
    receiver: &Mutex<Receiver<J>>,
    work: &(dyn Fn(J, &mut S) -> Result<(), Stop> + Sync),
    end: &End,
) {
    let mut scratch = S::default();
    loop {
        let received = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(job) = received else {
            return;
        };
        // After the end, jobs are still taken, so that the sender never blocks.
        if !end.is_reached()
            && let Err(stop) = work(job, &mut scratch)
        {
            end.reach(stop);
        }
    }
}

/// Why the work ended before it was done.
#[derive(Default)]
struct End {
    reached: AtomicBool,
    stop: Mutex<Option<Stop>>,
}

impl End {
    fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// The first reason counts.
    fn reach(&self, stop: Stop) {
        self.stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(stop);
        self.reached.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::error::Error;

    #[test]
    fn every_job_is_done_once() {
        let sum = AtomicU64::new(0);
        let produce = |send: &mut dyn FnMut(u64) -> ControlFlow<()>| {
            for job in 1..=1000 {
                assert!(send(job).is_continue());
            }
            Ok(())
        };
        in_parallel(3, produce, &|job, done: &mut u64| {
            *done += 1;
            sum.fetch_add(job, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert_eq!(sum.into_inner(), 500_500);
    }

    #[test]
    fn the_first_failure_ends_the_sending() {
        let produce = |send: &mut dyn FnMut(u64) -> ControlFlow<()>| {
            while send(0).is_continue() {}
            Ok(())
        };
        let failed = in_parallel(2, produce, &|_, (): &mut ()| {
            Err(Error::corrupt("this one").into())
        });
        assert!(matches!(failed, Err(Stop::Failed(error)) if error.message() == "this one"));
    }

    #[test]
    fn jobs_that_were_sent_before_the_sender_failed_may_be_left() {
        let done = AtomicU64::new(0);
        let produce = |send: &mut dyn FnMut(u64) -> ControlFlow<()>| {
            let _ = send(1);
            Err(Stop::Cancelled)
        };
        let stopped = in_parallel(1, produce, &|job, (): &mut ()| {
            done.fetch_add(job, Ordering::Relaxed);
            Ok(())
        });
        assert!(matches!(stopped, Err(Stop::Cancelled)));
        assert!(done.into_inner() <= 1);
    }
}
