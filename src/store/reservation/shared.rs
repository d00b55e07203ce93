//! What the reservations of all rings have in common: how much memory they may still take, and what memory they have abandoned.
//! One per store. Any ring may change it at any time: numbers are atomics, and the list of abandoned memory has a mutex.

use crate::clock::Timestamp;
use crate::limits::BUFFERED_PART;
use crate::store::arena::Arena;
use crate::store::base::Base;
use crate::store::item::Layout;
use crate::store::item_ref::ItemRef;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What the reservations of all rings have in common.
#[derive(Debug)]
pub(in crate::store) struct SharedReservations {
    base: Arc<Base>,
    /// Items whose reservations were dropped unpublished. The next transaction frees their memory.
    abandoned: Mutex<Vec<(ItemRef, Layout)>>,
    /// The length of `abandoned`, which can be read without the mutex.
    abandoned_count: AtomicU32,
    /// The second in which a value last had to wait because incomplete values held all memory for reservations; NEVER if none
    /// has.
    refused_at: AtomicU32,
    /// Bytes of all buffers that values are received into.
    buffer_bytes: AtomicU64,
    /// Bytes reserved for the one value that is longer than all other reservations together may be; 0 if there is none. Set
    /// under the writer lock, cleared without it.
    lone_bytes: AtomicU64,
}

impl SharedReservations {
    /// The state of a store that has no reservations.
    pub(in crate::store) fn new(base: &Arc<Base>) -> Self {
        Self {
            base: Arc::clone(base),
            abandoned: Mutex::new(Vec::new()),
            abandoned_count: AtomicU32::new(0),
            refused_at: AtomicU32::new(Timestamp::NEVER.0),
            buffer_bytes: AtomicU64::new(0),
            lone_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn arena(&self) -> &Arena {
        self.base.arena()
    }

    /// Adds a reserved item to the list of abandoned ones; the next transaction frees its memory.
    pub(super) fn abandon(&self, item: ItemRef, layout: Layout) {
        self.abandoned.lock().push((item, layout));
        self.abandoned_count.fetch_add(1, Ordering::Release);
    }

    /// True if the list of abandoned items is not empty.
    #[inline]
    pub(in crate::store) fn has_abandoned(&self) -> bool {
        self.abandoned_count.load(Ordering::Acquire) != 0
    }

    /// Takes the list of abandoned items. The caller must free their memory.
    pub(in crate::store) fn take_abandoned(&self) -> Vec<(ItemRef, Layout)> {
        let mut abandoned = self.abandoned.lock();
        self.abandoned_count.store(0, Ordering::Relaxed);
        std::mem::take(&mut abandoned)
    }

    /// Counts `bytes` more of a buffer that a value is received into. False, and nothing is counted, if buffers may take no
    /// more memory.
    pub(super) fn charge_buffer(&self, bytes: u64) -> bool {
        let bytes_max = self.buffer_bytes_max();
        let charged = |held: u64| (held + bytes <= bytes_max).then_some(held + bytes);
        self.buffer_bytes.try_update(Ordering::Relaxed, Ordering::Relaxed, charged).is_ok()
    }

    /// Subtracts `bytes` that [`SharedReservations::charge_buffer`] has counted, because their buffer has been freed.
    pub(super) fn discharge_buffer(&self, bytes: u64) {
        self.buffer_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The bound on the bytes of all buffers together.
    pub(super) fn buffer_bytes_max(&self) -> u64 {
        self.base.memory_limit() / BUFFERED_PART
    }

    /// Bytes of all buffers.
    #[cfg(test)]
    pub(in crate::store) fn buffer_bytes(&self) -> u64 {
        self.buffer_bytes.load(Ordering::Relaxed)
    }

    /// Bytes reserved for the one value that is longer than all other reservations together may be; 0 if there is none.
    pub(in crate::store) fn lone_bytes(&self) -> u64 {
        self.lone_bytes.load(Ordering::Relaxed)
    }

    /// Sets [`SharedReservations::lone_bytes`]: to the bytes reserved for such a value, and to 0 when its reservation ends.
    pub(in crate::store) fn set_lone_bytes(&self, bytes: u64) {
        self.lone_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Notes that a value had to wait at `now`. In this second and the next, [`SharedReservations::is_short`] is true.
    pub(in crate::store) fn note_refused(&self, now: Timestamp) {
        self.refused_at.store(now.0, Ordering::Relaxed);
    }

    /// True if a value had to wait in this second or the one before, because incomplete values hold all memory that
    /// reservations may.
    pub(in crate::store) fn is_short(&self, now: Timestamp) -> bool {
        let refused_at = self.refused_at.load(Ordering::Relaxed);
        refused_at != Timestamp::NEVER.0 && now.0.saturating_sub(refused_at) <= 1
    }
}
