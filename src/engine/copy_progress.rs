//! How far the copy of another server's items is (`--copy-from`), for `stats memcrsd` and the log.
//!
//! Imports no other module of the engine but `counter`.

use super::counter::Counter;
use std::fmt::{Display, Formatter};
use std::sync::atomic::{AtomicU8, Ordering};

/// What a copy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CopyState {
    /// There is none.
    None,
    /// Items come.
    Running,
    /// All have come.
    Done,
    /// It has ended before.
    Failed,
}

/// What has been copied, and what not. Only the thread of the copy writes it.
#[derive(Debug, Default)]
pub struct CopyProgress {
    state: AtomicU8,
    /// Items that the other server said it had at the start.
    pub expected: Counter,
    /// Items that are here.
    pub copied: Counter,
    /// Bytes of their values.
    pub value_bytes: Counter,
    /// Written, deleted or flushed here by a client meanwhile.
    pub superseded: Counter,
    /// Expired or deleted there since they were listed.
    pub gone: Counter,
    /// Marked stale there.
    pub stale: Counter,
    /// Over `-I`.
    pub too_large: Counter,
    /// Not given by the other server.
    pub refused: Counter,
}

impl CopyProgress {
    // Relaxed: numbers for `stats`, in no order.

    /// The copy has begun, or ended.
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

    /// What was left out: how many, the statistic's name, and the reason.
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
