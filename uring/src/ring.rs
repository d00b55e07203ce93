//! One thread's ring: built from what [`probe`](crate::probe) found, run once, never taken down.
//!
//! The end. [`Ring::run`] leaks the runtime with all that is in flight: what was lent to the kernel stays lent until the
//! process exits. A server ends its connections first, so that this is the little that could not be ended. On epoll
//! nothing is lent, but the end is the same, so that callers see one.
//!
//! Submission. On io_uring operations reach the kernel when the thread is about to wait, or when there are many. So a task
//! that keeps itself ready keeps every other task's operations from starting; [`yield_now`] is the way to let others run. A
//! submission that fails (kernel out of memory) is tried again, a thousand times a second, and nothing else runs meanwhile.

use crate::buf::Buffers;
use crate::completion::{self, StartError};
use crate::engine::{Backend, BackendSetup, Support};
use crate::readiness;
use std::mem::ManuallyDrop;
use std::time::Duration;

/// How rings are made; the same for all of a process.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rings of this process, which share the limit on locked memory.
    pub rings: usize,
    /// Size of a read buffer, bytes; a multiple of 4096.
    pub buffer_bytes: usize,
    /// Most buffers in a ring's pool.
    pub buffers_max: usize,
    /// Most memory a ring may have lent for reading, bytes; 0 is no limit. Who would need more gets an error that
    /// [`Stream::is_out_of_read_memory`](crate::Stream::is_out_of_read_memory).
    pub read_bytes_max: usize,
}

/// A ring, on the thread that will run it. One that is dropped without having run leaves nothing behind.
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

impl Ring {
    /// Makes this thread's ring and its buffers; without a pool of them, with one warning, if io_uring refuses it.
    ///
    /// # Errors
    /// Not even a small ring can be made; says why.
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

    /// Runs `main` and what it spawns until `main` is ready. Tasks and operations that are still there then are
    /// abandoned, with all they own; exit the process soon.
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

/// A spawned task; awaiting it waits for its end.
pub type Task = tokio::task::JoinHandle<()>;

/// Runs `task` on this thread's ring, beside the others.
///
/// # Panics
/// Outside of [`Ring::run`].
pub fn spawn(task: impl Future<Output = ()> + 'static) -> Task {
    tokio::task::spawn_local(task)
}

/// Lets every other task run once and every waiting operation start, then goes on; about 2 µs.
///
/// # Panics
/// Outside of [`Ring::run`].
pub async fn yield_now() {
    match Backend::current() {
        Backend::Uring => completion::yield_now().await,
        Backend::Epoll => tokio::task::yield_now().await,
    }
}

/// Waits for `time`. May be dropped unfinished.
///
/// # Panics
/// Outside of [`Ring::run`].
pub async fn sleep(time: Duration) {
    match Backend::current() {
        Backend::Uring => completion::sleep(time).await,
        Backend::Epoll => tokio::time::sleep(time).await,
    }
}
