//! The progress of the copy of another server's items (`--copy-from`), for `stats memcrsd` and the log.
//!
//! There is one, in [`Shared`](super::Shared). Only the thread of the copy writes it once the copy runs; any thread may read
//! it.
//!
//! Imports no other module of the engine but `counter`.

use super::counter::Counter;
use std::fmt::{Display, Formatter};
use std::sync::atomic::{AtomicU8, Ordering};

/// What a copy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CopyState {
    /// There is no copy.
    None,
    /// Items are being copied.
    Running,
    /// All items have been copied.
    Done,
    /// The copy has ended before that.
    Failed,
}

/// What has been copied, and what was left out and why.
#[derive(Debug, Default)]
pub struct CopyProgress {
    state: AtomicU8,
    /// Items that the other server said it had at the start.
    pub expected: Counter,
    /// Items that have been stored here.
    pub copied: Counter,
    /// Bytes of their values.
    pub value_bytes: Counter,
    /// Items left out because a client has written, deleted or flushed their keys here meanwhile.
    pub superseded: Counter,
    /// Items left out because they expired or were deleted on the other server after it listed them.
    pub gone: Counter,
    /// Items left out because they are marked stale on the other server.
    pub stale: Counter,
    /// Items left out because they are over `-I`.
    pub too_large: Counter,
    /// Items that the other server refused to return.
    pub refused: Counter,
}

impl CopyProgress {
    // Relaxed: numbers for `stats`, in no order.

    /// Sets what the copy is doing.
    pub fn set_state(&self, state: CopyState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// What the copy is doing; `None` without one.
    pub(super) fn state_name(&self) -> Option<&'static str> {
        const NAMED: [(CopyState, &str); 3] =
            [(CopyState::Running, "running"), (CopyState::Done, "done"), (CopyState::Failed, "failed")];
        let state = self.state.load(Ordering::Relaxed);
        NAMED.into_iter().find(|(named, _)| *named as u8 == state).map(|(_, name)| name)
    }

    /// The items left out, by reason: how many, the statistic's name, and the reason for the log.
    pub(super) fn left_out(&self) -> [(u64, &'static str, &'static str); 5] {
        [
            (self.superseded.get(), "superseded", "written here meanwhile"),
            (self.gone.get(), "gone", "gone from there"),
            (self.stale.get(), "stale", "stale"),
            (self.too_large.get(), "too_large", "too large"),
            (self.refused.get(), "refused", "refused there"),
        ]
    }
}

impl Display for CopyProgress {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} items, {:.1} MB of values", self.copied.get(), self.value_bytes.get() as f64 / 1e6)?;
        let mut before = "; left out: ";
        for (count, _, why) in self.left_out().into_iter().filter(|(count, ..)| *count > 0) {
            write!(f, "{before}{count} {why}")?;
            before = ", ";
        }
        Ok(())
    }
}
