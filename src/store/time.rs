//! The time that all rings share: the present second, and the second for which a delayed flush is scheduled. One per store. Two
//! atomics that any ring may set. A flush is scheduled under the writer lock, and taken off the schedule without it.
//!
//! Rings read the system's clock at different moments, so one may be a second ahead of another. If each used its own reading, a
//! client that has seen a key expire on one ring could find it again on another. So the first ring that reads a new second writes
//! it here, and a ring that has found an item with an expiry then reads the second from here.
//!
//! ```text
//!   ring 0:  advance to s ─ key is gone ─ reply ────────────────────► request on ring 1 ─ look up ─ read the second: s
//!                             └─ append delta (Release) ─► tail (Acquire), replay ─ look up what it wrote ─┘
//! ```
//!
//! Relaxed is enough. The word only grows, so it remains to show that ring 1's read comes after ring 0's. It does if the
//! request follows the reply, and also if ring 1 has seen something that ring 0 wrote later, even in a batch that began
//! earlier. A write transaction reads the word under the lock, after its replay.

use super::sync::{AtomicU32, Ordering};
use crate::clock::Timestamp;

/// The time that all rings share. It has cache lines of its own, because it is read all the time and written once a second.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Time {
    now: AtomicU32,
    /// The second for which a delayed flush is scheduled; 0 if none is.
    flush_at: AtomicU32,
}

impl Default for Time {
    fn default() -> Self {
        Self { now: AtomicU32::new(0), flush_at: AtomicU32::new(Timestamp::NEVER.0) }
    }
}

impl Time {
    /// The latest second that any ring has read from its clock.
    #[inline]
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    /// True if `exptime`, an item's expiry, is the present second or earlier.
    #[inline]
    pub(super) fn is_past(&self, exptime: Timestamp) -> bool {
        exptime != Timestamp::NEVER && exptime <= self.now()
    }

    /// Advances the time to `now`, unless it is already later. True if this call advanced it.
    #[inline]
    pub(super) fn advance(&self, now: Timestamp) -> bool {
        self.now() < now && self.now.fetch_max(now.0, Ordering::Relaxed) < now.0
    }

    /// Sets the time to `now`, even if `now` is earlier than the present time.
    pub(super) fn set(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::Relaxed);
    }

    /// True if a delayed flush is scheduled for `now` or earlier.
    #[inline]
    pub(super) fn flush_is_due(&self, now: Timestamp) -> bool {
        let at = self.flush_at.load(Ordering::Relaxed);
        at != Timestamp::NEVER.0 && at <= now.0
    }

    /// The second for which a delayed flush is scheduled; `NEVER` if none is.
    pub(super) fn flush_at(&self) -> Timestamp {
        Timestamp(self.flush_at.load(Ordering::Relaxed))
    }

    pub(super) fn set_flush_at(&self, at: Timestamp) {
        self.flush_at.store(at.0, Ordering::Relaxed);
    }

    /// Takes the delayed flush off the schedule if it is due at `now`, and returns the second for which it was scheduled. The
    /// caller must carry the flush out. `None` if no flush is due, or if another caller has taken it.
    pub(super) fn take_due_flush(&self, now: Timestamp) -> Option<Timestamp> {
        let at = self.flush_at.load(Ordering::Relaxed);
        let (never, relaxed) = (Timestamp::NEVER.0, Ordering::Relaxed);
        let is_due = at != never && at <= now.0;
        let is_mine = is_due && self.flush_at.compare_exchange(at, never, relaxed, relaxed).is_ok();
        is_mine.then_some(Timestamp(at))
    }
}
