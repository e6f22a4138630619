//! Where the engine runs: blocking threads of a runtime that the application owns. The main loop
//! never waits for them.

use std::io;
use std::rc::Rc;

use tokio::runtime::{Builder, Handle, Runtime};

/// Runs engine work; clones share the threads.
#[derive(Clone, Debug)]
pub(crate) struct Background {
    handle: Handle,
    _owner: Rc<Owner>,
}

#[derive(Debug)]
struct Owner(Option<Runtime>);

impl Background {
    /// Starts the runtime.
    ///
    /// # Errors
    /// When the host gives us no thread.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("platter-engine")
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            _owner: Rc::new(Owner(Some(runtime))),
        })
    }

    /// The runtime, for who runs more than one thing on it.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs `job` on a thread of its own and returns at once. The job hands its results to a
    /// [`relm4::Sender`]; long jobs look at a [`platter::Control`] to be stopped.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        drop(self.handle.spawn_blocking(job));
    }
}

impl Drop for Owner {
    /// Quitting does not wait for reads that are under way.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
