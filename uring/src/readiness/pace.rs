//! Turns: what keeps one busy connection from keeping the thread.

use std::cell::Cell;

/// Calls in a row that a connection makes without having waited, before the others get a turn: a read and a send, as
/// much as it gets from the completion engine.
const CALLS_PER_TURN: u32 = 2;

/// Counts the calls of one connection since it last waited.
#[derive(Debug, Default)]
pub(super) struct CoopBudget {
    calls: Cell<u32>,
}

impl CoopBudget {
    /// Before a call: lets the others run if this one's turn is over.
    pub(super) async fn step(&self) {
        if self.calls.get() >= CALLS_PER_TURN {
            self.calls.set(0);
            tokio::task::yield_now().await;
        }
        self.calls.set(self.calls.get() + 1);
    }

    /// The call had to wait, so others have run.
    pub(super) fn has_waited(&self) {
        self.calls.set(0);
    }
}
