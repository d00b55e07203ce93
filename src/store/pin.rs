//! A pin keeps the bytes of a value in place while they are sent.
//!
//! A pin is one count on the item's placement (its segment or its large extent). Memory whose count is not zero is not reused.
//! A pin belongs to the reply that is sent. Taking and dropping one needs no lock, since that changes only counters
//! (`pin_counts`, `pinned`); so a pin may also be dropped while completions are dispatched.

#![expect(unsafe_code, reason = "lends item memory to the kernel beyond a borrow")]

use super::base::Base;
use crate::limits::{
    PINNED_PART, PINNED_PART_EACH, PINNED_PART_LARGE, PINNED_PART_WITH_DATAGRAMS, UNHELD_PART,
    UNHELD_PART_WITH_DATAGRAMS,
};
use std::ptr::NonNull;
use std::sync::Arc;

/// The bound on the memory that all pins together hold. A value whose pin would exceed the bound is copied instead, because the
/// evictor has to skip pinned memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The bound for replies on a connection, whose client may be slow: an eighth of the limit, and for a large item half of
    /// the limit in addition.
    OfReaders,
    /// The bound for sends that end without a client's help (datagrams): an eighth of the limit more than [`Share::OfReaders`],
    /// so that clients that do not read cannot prevent such sends.
    OfAll,
}

impl Share {
    /// How many bytes all pins together may hold when the new one is taken, which is for a large item if `is_large`. `reserved`
    /// bytes are held for values that are being received.
    fn of(self, memory_limit: u64, is_large: bool, reserved: u64) -> u64 {
        let (part, unheld) = match self {
            Self::OfReaders => (PINNED_PART, UNHELD_PART),
            Self::OfAll => (PINNED_PART_WITH_DATAGRAMS, UNHELD_PART_WITH_DATAGRAMS),
        };
        let share = memory_limit / part + if is_large { memory_limit / PINNED_PART_LARGE } else { 0 };
        share.min((memory_limit - memory_limit / unheld).saturating_sub(reserved))
    }
}

/// The bytes of a value, kept in place for a send.
#[derive(Debug)]
pub struct Pin {
    base: Arc<Base>,
    /// The address of the item.
    at: NonNull<u8>,
    /// The part of the item's value that is to be sent.
    value: NonNull<[u8]>,
    held_bytes: u64,
}

// SAFETY: the bytes are immutable while pinned and the counter is atomic, so any thread may read and drop a pin.
unsafe impl Send for Pin {}

impl Pin {
    /// Pins the item at `at`, of which `value` is a part; `None` if pins already hold their `share` of memory. The caller holds
    /// a borrow of the item, so its memory cannot be reused before the pin is counted.
    pub(super) fn new(base: &Arc<Base>, at: NonNull<u8>, value: &[u8], share: Share) -> Option<Self> {
        let is_large = !base.arena().is_in_segment(at);
        let share = share.of(base.memory_limit(), is_large, base.arena().bytes_reserved());
        let held_bytes = base.arena().try_pin(base.ring(), at, share)?;
        Some(Self { base: Arc::clone(base), at, value: NonNull::from(value), held_bytes })
    }

    /// By how many bytes this pin raised the sum of all pins: the length of its segment or extent, or 0 if that was pinned
    /// already.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// How many bytes the pins of one send of a connection may hold. Beyond that, the connection must send before it pins more.
    pub fn held_bytes_max(&self) -> u64 {
        self.base.memory_limit() / PINNED_PART_EACH
    }

    /// The bytes to be sent: the value, or the part of it that was pinned.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the pin keeps the placement from being reused and an item's value never changes.
        unsafe { self.value.as_ref() }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.base.arena().unpin(self.base.ring(), self.at);
    }
}
