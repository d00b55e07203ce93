//! One thread's ring: built from what [`probe`] found, run once, never taken down. A [`Ring`] belongs to the thread that builds
//! it; the functions here act on the ring of the thread that calls them.
//!
//! Shutdown. [`Ring::run`] leaks the runtime and everything in flight: memory lent to the kernel stays lent until the
//! process exits. A server closes its connections first, so little is left. On epoll nothing is lent, but the runtime is
//! leaked too, so that both backends end alike.
//!
//! Submission. On io_uring, operations reach the kernel when the thread is about to wait or the submission queue is full. A
//! task that keeps itself ready therefore delays every other task's operations; [`yield_now`] lets others run. A submission
//! that fails (kernel out of memory) is retried a thousand times a second, and nothing else runs meanwhile.

use crate::backend::{Backend, BackendSetup, Support};
use crate::buf::Buffers;
use crate::completion;
use crate::options::Options;
use crate::readiness;
use crate::start_error::StartError;
use std::mem::ManuallyDrop;
use std::time::Duration;

/// A ring, on the thread that will run it. Dropping a ring that has not run frees it.
#[derive(Debug)]
pub struct Ring {
    runtime: Runtime,
    buffers: Buffers,
}

enum Runtime {
    Completion(completion::Runtime),
    Readiness(readiness::Runtime),
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Completion(_) => "Completion",
            Self::Readiness(_) => "Readiness",
        })
    }
}

/// Finds out what io_uring supports here: builds a small one, probes it, and runs a few operations on it.
///
/// # Errors
/// This process may not use io_uring; the error says why and what to do.
pub fn probe() -> Result<Support, StartError> {
    completion::probe().map(Support::completion)
}

impl Ring {
    /// Builds this thread's ring and its buffers. If io_uring refuses the buffer pool, logs one warning and does without a pool.
    ///
    /// # Errors
    /// Not even a small ring can be built; the error says why.
    pub fn build(support: Support, options: &Options) -> Result<Self, StartError> {
        match support.0 {
            BackendSetup::Completion(setup) => {
                let (runtime, buffers) = completion::build(setup, options)?;
                Ok(Self { runtime: Runtime::Completion(runtime), buffers })
            }
            BackendSetup::Readiness => {
                let (runtime, buffers) = readiness::build(options)?;
                Ok(Self { runtime: Runtime::Readiness(runtime), buffers })
            }
        }
    }

    /// The ring's read buffers.
    pub fn buffers(&self) -> Buffers {
        self.buffers.clone()
    }

    /// Runs `main` and the tasks it spawns until `main` is ready, and returns its output. Tasks and operations that have not
    /// ended by then are leaked with all that they own, so the process should exit soon.
    pub fn run<F: Future>(self, main: F) -> F::Output {
        let runtime = ManuallyDrop::new(self.runtime);
        match &*runtime {
            Runtime::Completion(runtime) => {
                Backend::Uring.enter();
                runtime.block_on(main)
            }
            Runtime::Readiness(runtime) => {
                Backend::Epoll.enter();
                runtime.block_on(main)
            }
        }
    }
}

/// A spawned task. Await it to wait for its end.
pub type Task = tokio::task::JoinHandle<()>;

/// Spawns `task` on this thread's ring.
///
/// # Panics
/// Outside of [`Ring::run`].
pub fn spawn(task: impl Future<Output = ()> + 'static) -> Task {
    tokio::task::spawn_local(task)
}

/// Lets every other ready task run once and submits what is queued; takes about 2 µs.
///
/// # Panics
/// Outside of [`Ring::run`].
pub async fn yield_now() {
    match Backend::current() {
        Backend::Uring => completion::yield_now().await,
        Backend::Epoll => tokio::task::yield_now().await,
    }
}

/// Waits for `time`. The future may be dropped before it is ready.
///
/// # Panics
/// Outside of [`Ring::run`].
pub async fn sleep(time: Duration) {
    match Backend::current() {
        Backend::Uring => completion::sleep(time).await,
        Backend::Epoll => tokio::time::sleep(time).await,
    }
}
