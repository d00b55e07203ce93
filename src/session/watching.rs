//! A session's registration as a watcher (`watch`) in the registry of watchers, which is in `engine::watch`. The registration
//! belongs to one session; all rings share the registry, which has a lock of its own.
//!
//! The module imports no other module of the session.

use crate::engine::Shared;
use crate::engine::watch::WatcherId;
use crate::output::Output;
use std::sync::Arc;

/// A session's registration as a watcher. Dropping it removes the watcher from the registry.
#[derive(Debug)]
pub(super) struct Watching {
    shared: Arc<Shared>,
    id: WatcherId,
}

impl Watching {
    /// Registers a watcher of `streams`, which are bits of `Stream`; `None` if there are too many watchers.
    pub(super) fn new(shared: &Arc<Shared>, streams: u32) -> Option<Self> {
        let id = shared.watch.add(streams)?;
        Some(Self { shared: Arc::clone(shared), id })
    }

    /// Makes `wake` be called, by any thread, whenever the watcher's empty buffer gets its first log line.
    pub(super) fn wake_with(&self, wake: Box<dyn Fn() + Send>) {
        self.shared.watch.wake_with(self.id, wake);
    }

    /// Moves the watcher's log lines to `out`.
    pub(super) fn take(&self, shared: &Shared, out: &mut Output) {
        shared.watch.take(self.id, &mut out.staged);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.watch.remove(self.id);
    }
}
