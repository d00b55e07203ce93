//! A pin keeps the bytes of a value in place while they are sent.
//!
//! A pin is one count on the item's placement (its segment or its large extent); memory whose count is not zero is not reused.
//! It belongs to the reply that is sent. Taking and dropping one needs no lock, since it touches only counters (`pin_counts`,
//! `pinned`); so it may also be dropped while completions are dispatched.

#![expect(unsafe_code, reason = "lends item memory to the kernel beyond a borrow")]

use super::base::Base;
use crate::limits::{
    PINNED_PART, PINNED_PART_EACH, PINNED_PART_LARGE, PINNED_PART_WITH_DATAGRAMS, UNHELD_PART,
    UNHELD_PART_WITH_DATAGRAMS,
};
use std::ptr::NonNull;
use std::sync::Arc;

/// The bound on the memory that all pins together hold. A value whose pin would exceed it is copied instead: the evictor has to
/// skip pinned memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// For replies on a connection, whose client may be slow: an eighth of the limit, and for a large item half of the limit in
    /// addition.
    OfReaders,
    /// For sends that end without a client's help (datagrams): an eighth of the limit more than [`Share::OfReaders`], so that
    /// clients that do not read cannot prevent them.
    OfAll,
}

impl Share {
    /// Bytes that all pins together may hold once the new one is taken, which is for a large item if `is_large`. `reserved` bytes
    /// are held for values that are being received.
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
    /// The bytes to be sent.
    value: NonNull<[u8]>,
    held_bytes: u64,
}

// SAFETY: the bytes are immutable while pinned and the counter is atomic, so any thread may read and drop a pin.
unsafe impl Send for Pin {}

impl Pin {
    /// Pins the item at `at`, of which `value` is a part; `None` if pins hold their `share` of memory. The caller holds a
    /// borrow of the item, so its memory cannot be reused before it is counted.
    pub(super) fn new(base: &Arc<Base>, at: NonNull<u8>, value: &[u8], share: Share) -> Option<Self> {
        let is_large = !base.arena().is_in_segment(at);
        let share = share.of(base.memory_limit(), is_large, base.arena().bytes_reserved());
        let held_bytes = base.arena().try_pin(base.ring(), at, share)?;
        Some(Self { base: Arc::clone(base), at, value: NonNull::from(value), held_bytes })
    }

    /// Bytes by which this pin raised the sum of all pins: its whole segment or extent, or 0 if that was pinned already.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Bytes that the pins for one send of a connection may hold; beyond that it must send first.
    pub fn held_bytes_max(&self) -> u64 {
        self.base.memory_limit() / PINNED_PART_EACH
    }

    /// The value, or the part of it that is to be sent.
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
