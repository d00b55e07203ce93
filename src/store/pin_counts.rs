//! The counts that keep memory from being reused: how many values are being sent from a segment or extent, or received into it.
//!
//! The counts are atomics in the arena. Any ring may pin, and any thread may end a pin or a reservation; a reservation begins
//! under the writer lock. `segment_table::retire` reads the counts before it reuses memory.
//!
//! ```text
//!   ring:     catch up ─ find item ─ pin ─ move the cursor on ─ … the kernel sends … ─ unpin
//!                                     │          │ Release                              │ Release
//!   writer:   remove the item ─ cursors past it? ┘ Acquire ───── nothing held? ─────────┘ Acquire ─ reuse
//! ```

use super::sync::{AtomicU32, Ordering};

/// The counts of one segment or extent: it is not reused unless both are 0.
#[derive(Debug, Default)]
pub(super) struct PinCounts {
    /// Pins: values that are being sent from this memory.
    pins: AtomicU32,
    /// Values that are being received into this memory.
    reservations: AtomicU32,
}

impl PinCounts {
    /// Adds a pin; true if the memory had none before. The caller holds a borrow of the pinned item, so the memory cannot be
    /// reused before the count is incremented.
    pub(super) fn pin(&self) -> bool {
        // Relaxed: ordered before this ring's next cursor store (Release), which reclaiming reads first (Acquire).
        self.pins.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Ends a pin, whose value has been sent. True if it was the last pin on this memory.
    pub(super) fn unpin(&self) -> bool {
        // Release; pairs with the Acquire in `is_held`, so that the sender's reads are done before the memory is reused.
        self.pins.fetch_sub(1, Ordering::Release) == 1
    }

    /// Counts a value whose reception begins; true if it is the only one in this memory. The caller holds the writer lock, as
    /// do all callers of [`PinCounts::is_reserved`].
    pub(super) fn reservation(&self) -> bool {
        self.reservations.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Uncounts a value that has been received or abandoned; true if it was the last one in this memory.
    pub(super) fn unreserve(&self) -> bool {
        // Release; pairs with the Acquire in `is_reserved`.
        self.reservations.fetch_sub(1, Ordering::Release) == 1
    }

    /// True if a value is being sent from the memory. Only a hint: the answer may be out of date when the caller gets it.
    pub(super) fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Relaxed) != 0
    }

    /// True if values are being sent from the memory or received into it.
    pub(super) fn is_held(&self) -> bool {
        // Acquire; pairs with the Release of `unpin`: the sender's accesses are over before the caller's begin.
        self.pins.load(Ordering::Acquire) != 0 || self.is_reserved()
    }

    /// True if a value is being received into the memory.
    pub(super) fn is_reserved(&self) -> bool {
        self.reservations.load(Ordering::Acquire) != 0
    }

    /// The number of values being sent and the number of values being received; for the recount (`check`).
    pub(super) fn read(&self) -> (u64, u64) {
        (u64::from(self.pins.load(Ordering::Relaxed)), u64::from(self.reservations.load(Ordering::Relaxed)))
    }

    /// Sets all counts to 0, in memory that nobody uses yet.
    pub(super) fn reset(&self) {
        self.pins.store(0, Ordering::Relaxed);
        self.reservations.store(0, Ordering::Relaxed);
    }
}
