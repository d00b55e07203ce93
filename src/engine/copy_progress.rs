//! The progress of the copy of another server's items (`--copy-from`), for `stats memcrsd` and for the log.
//!
//! There is one [`CopyProgress`], in [`Shared`](super::Shared). Once the copy runs, only its thread writes it; any thread may
//! read it.
//!
//! The module imports no other module of the engine except `counter`.

use super::counter::Counter;
use std::fmt::{Display, Formatter};
use std::sync::atomic::{AtomicU8, Ordering};

/// The state of a copy (--copy-from).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CopyState {
    /// The server was started without --copy-from.
    None,
    /// The copy has not ended: items are still being copied.
    Running,
    /// Each item of the other server has been copied, or left out for a reason that is counted.
    Done,
    /// The copy has ended before every item of the other server was copied or left out.
    Failed,
}

/// The counts of a copy: the items copied, and the items left out by reason.
#[derive(Debug, Default)]
pub struct CopyProgress {
    state: AtomicU8,
    /// Number of items that the other server had at the start, by its own statistics.
    pub expected: Counter,
    /// Items that have been stored on this server.
    pub copied: Counter,
    /// Sum of the lengths of the copied items' values, bytes.
    pub value_bytes: Counter,
    /// Items left out because a client has written, deleted or flushed their keys on this server meanwhile.
    pub superseded: Counter,
    /// Items left out because they expired or were deleted on the other server after it listed them.
    pub gone: Counter,
    /// Items left out because they are marked stale on the other server.
    pub stale: Counter,
    /// Items left out because they exceed the size limit (`-I`).
    pub too_large: Counter,
    /// Items left out because the other server refused to return them.
    pub refused: Counter,
}

impl CopyProgress {
    // Relaxed: the numbers are only for `stats`, and are not ordered with anything.

    /// Stores the state of the copy, for `stats memcrsd`.
    pub fn set_state(&self, state: CopyState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Returns the state of the copy as `stats memcrsd` shows it; `None` if there is no copy.
    pub(super) fn state_name(&self) -> Option<&'static str> {
        const NAMED: [(CopyState, &str); 3] =
            [(CopyState::Running, "running"), (CopyState::Done, "done"), (CopyState::Failed, "failed")];
        let state = self.state.load(Ordering::Relaxed);
        NAMED.into_iter().find(|(named, _)| *named as u8 == state).map(|(_, name)| name)
    }

    /// Returns the items left out, by reason: their number, the name of the statistic, and the reason for the log.
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
