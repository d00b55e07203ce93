//! Keeps one busy connection from monopolizing the thread: a counter in each connection, on its ring's thread alone.

use std::cell::Cell;

/// Number of calls that a connection makes without waiting before it yields: a read and a send, as on the completion backend.
const CALLS_PER_TURN: u32 = 2;

/// Counts a connection's calls since its task last waited or yielded.
#[derive(Debug, Default)]
pub(super) struct CoopBudget {
    calls: Cell<u32>,
}

impl CoopBudget {
    /// Counts the call that follows, and first yields to other tasks if the budget is used up. Called before each call.
    pub(super) async fn step(&self) {
        if self.calls.get() >= CALLS_PER_TURN {
            self.calls.set(0);
            tokio::task::yield_now().await;
        }
        self.calls.set(self.calls.get() + 1);
    }

    /// Makes the budget full again. Called when the task had to wait for the socket, since other tasks run meanwhile.
    pub(super) fn has_waited(&self) {
        self.calls.set(0);
    }
}
