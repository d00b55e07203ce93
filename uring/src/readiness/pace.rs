//! Keeps one busy connection from monopolizing the thread.

use std::cell::Cell;

/// Calls a connection makes without blocking before it yields: a read and a send, as on the completion backend.
const CALLS_PER_TURN: u32 = 2;

/// Counts a connection's calls since it last blocked or yielded.
#[derive(Debug, Default)]
pub(super) struct CoopBudget {
    calls: Cell<u32>,
}

impl CoopBudget {
    /// Before a call: yields if the budget is used up.
    pub(super) async fn step(&self) {
        if self.calls.get() >= CALLS_PER_TURN {
            self.calls.set(0);
            tokio::task::yield_now().await;
        }
        self.calls.set(self.calls.get() + 1);
    }

    /// The call blocked, so other tasks have run.
    pub(super) fn has_waited(&self) {
        self.calls.set(0);
    }
}
