//! A connection's place among the watchers.
//!
//! Imports no other module of the session.

use crate::engine::Shared;
use crate::engine::watch::WatcherId;
use crate::output::Output;
use std::sync::Arc;

/// A connection's registration as a watcher, removed when the connection closes.
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

    /// Has `wake` called when log lines are pending.
    pub(super) fn wake_with(&self, wake: Box<dyn Fn() + Send>) {
        self.shared.watch.wake_with(self.id, wake);
    }

    /// Stages the pending log lines.
    pub(super) fn take(&self, shared: &Shared, out: &mut Output) {
        shared.watch.take(self.id, &mut out.staged);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.watch.remove(self.id);
    }
}
