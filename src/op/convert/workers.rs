//! The threads of a conversion: one walks the source's map and cuts it into batches, the rest read
//! and write those.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::control::{Control, Stop};
use crate::op::convert::batch::{Batch, Cut, Cutter};
use crate::op::convert::source::Source;
use crate::op::convert::{ConvertStop, Step};

/// What becomes of a batch; called from all threads at once, each with a scratch of its own.
pub(super) trait Sink: Sync {
    /// Buffers and codecs of one thread.
    type Scratch: Default;

    /// Reads what has to be read for `batch` and writes it.
    ///
    /// # Errors
    /// The first error ends the conversion.
    fn put(&self, batch: &Batch, scratch: &mut Self::Scratch) -> Result<(), ConvertStop>;

    /// The conversion has ended early: nobody may wait for a batch any more.
    fn end(&self) {}
}

/// Hands every batch of the source to `sink` on `threads` threads. Batches are begun in the order
/// of the disk. Counts the bytes of each batch as progress, zeroes too.
pub(super) fn run<S: Sink>(
    source: &Source<'_>,
    cut: Cut,
    sink: &S,
    threads: usize,
    control: &Control,
) -> Result<(), ConvertStop> {
    let threads = threads.max(1);
    let (send, receive) = sync_channel(2 * threads);
    let receive = Arc::new(Mutex::new(receive));
    let work = Work {
        sink,
        control,
        ended: AtomicBool::new(false),
        stop: Mutex::new(None),
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            let (work, receive) = (&work, Arc::clone(&receive));
            scope.spawn(move || work.consume(&receive));
        }
        // Only the threads keep the receiver: were all to panic, sending would fail, not block.
        drop(receive);
        let mut cutter = Cutter::new(cut, send);
        let walked = source.for_each_run(&mut |run| {
            if work.ended.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            cutter.take(&run)
        });
        match walked {
            Ok(()) if !work.ended.load(Ordering::Relaxed) => cutter.finish(),
            Ok(()) => {}
            Err(error) => work.end(ConvertStop::new(Step::Map, error)),
        }
    });
    let stop = work
        .stop
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    stop.map_or(Ok(()), Err)
}

struct Work<'a, S> {
    sink: &'a S,
    control: &'a Control,
    ended: AtomicBool,
    stop: Mutex<Option<ConvertStop>>,
}

impl<S: Sink> Work<'_, S> {
    fn consume(&self, receive: &Mutex<Receiver<Batch>>) {
        let watch = PanicWatch(self);
        let mut scratch = S::Scratch::default();
        loop {
            let received = receive
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(batch) = received else {
                break;
            };
            // After the end, batches are still taken, so that the sender never blocks.
            if self.ended.load(Ordering::Relaxed) {
                continue;
            }
            let put = self
                .control
                .checkpoint()
                .map_err(|cancelled| ConvertStop::new(Step::Prepare, cancelled))
                .and_then(|()| self.sink.put(&batch, &mut scratch));
            match put {
                Ok(()) => self.control.advance(batch.length()),
                Err(stop) => self.end(stop),
            }
        }
        drop(watch);
    }

    fn end(&self, stop: ConvertStop) {
        self.stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(stop);
        self.ended.store(true, Ordering::Relaxed);
        self.sink.end();
    }
}

/// Should a thread panic, the others must not wait for its batch.
struct PanicWatch<'w, 'a, S: Sink>(&'w Work<'a, S>);

impl<S: Sink> Drop for PanicWatch<'_, '_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end(ConvertStop::new(Step::Prepare, Stop::Cancelled));
        }
    }
}

/// Something that batches use one after the other, in the order of the disk.
pub(super) struct InTurn<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    next: u64,
    ended: bool,
    value: T,
}

impl<T> InTurn<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            state: Mutex::new(State {
                next: 0,
                ended: false,
                value,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for the turn of batch `number`, then uses the value.
    ///
    /// # Errors
    /// That of `action`; [`Stop::Cancelled`] when the conversion has ended meanwhile.
    pub(super) fn at<R>(
        &self,
        number: u64,
        action: impl FnOnce(&mut T) -> Result<R, ConvertStop>,
    ) -> Result<R, ConvertStop> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self
            .changed
            .wait_while(state, |state| state.next != number && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return Err(ConvertStop::new(Step::Prepare, Stop::Cancelled));
        }
        let result = action(&mut state.value);
        state.next += 1;
        self.changed.notify_all();
        result
    }

    pub(super) fn end(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended = true;
        self.changed.notify_all();
    }

    pub(super) fn into_inner(self) -> T {
        self.state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .value
    }
}
