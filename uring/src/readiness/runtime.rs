//! The runtime of a ring on epoll: tokio's own event loop on one thread, and buffers that are not registered with the kernel.

use crate::buf::Buffers;
use crate::options::Options;
use crate::start_error::StartError;
use tokio::task::LocalSet;

/// A thread's event loop and its tasks.
pub(crate) struct Runtime {
    runtime: tokio::runtime::Runtime,
    tasks: LocalSet,
}

impl Runtime {
    /// Runs this thread's tasks until `main` is ready, and returns its output.
    pub(crate) fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.tasks.block_on(&self.runtime, main)
    }
}

/// Builds this thread's event loop and maps its buffers.
///
/// # Errors
/// Out of descriptors or memory.
pub(crate) fn build(options: &Options) -> Result<(Runtime, Buffers), StartError> {
    let refused = |error| StartError::new(format!("cannot start an event loop: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let buffers = Buffers::in_stack(options.buffers(), options.buffer_bytes, options.read_bytes_max)
        .map_err(refused)?;
    tracing::debug!(buffers = buffers.pooled(), "event loop ready");
    Ok((Runtime { runtime, tasks: LocalSet::new() }, buffers))
}
