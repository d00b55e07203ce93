//! A session's registration as a watcher (`watch`), with the watchers' registry in `engine::watch`. The registration belongs
//! to one session; the registry is shared by all rings and has a lock of its own.
//!
//! Imports no other module of the session.

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
    /// Registers a watcher of `streams`; `None` if there are too many.
    pub(super) fn new(shared: &Arc<Shared>, streams: u32) -> Option<Self> {
        let id = shared.watch.add(streams)?;
        Some(Self { shared: Arc::clone(shared), id })
    }

    /// Calls `wake`, from any thread, whenever the watcher's empty buffer gets its first log line.
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
