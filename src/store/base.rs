//! The lower half of the store, as far as items, pins, indexes and reservations know it.
//!
//! It holds the arena, the key hash and the flash tier, and knows `-m` and the bytes of all indexes. Nothing here takes
//! a lock or decides anything; what the writer lock guards lies above (`segment_table`).

use super::arena::Arena;
use super::flash::Flash;
use super::item_ref::{Hash, ItemRef};
use super::key_hash::KeyHasher;
use super::log::Log;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The lower half.
#[derive(Debug)]
pub(super) struct Base {
    arena: Arena,
    hasher: KeyHasher,
    memory_limit: AtomicU64,
    index_bytes: AtomicU64,
    flash: Option<Arc<Flash>>,
}

impl Base {
    /// The lower half of a store with `-m` of `memory_limit` bytes, and with indexes of `index_bytes`.
    pub(super) fn new(
        arena: Arena,
        hasher: KeyHasher,
        memory_limit: u64,
        index_bytes: u64,
        flash: Option<Arc<Flash>>,
    ) -> Self {
        let (memory_limit, index_bytes) = (AtomicU64::new(memory_limit), AtomicU64::new(index_bytes));
        Self { arena, hasher, memory_limit, index_bytes, flash }
    }

    #[inline]
    pub(super) fn arena(&self) -> &Arena {
        &self.arena
    }

    #[inline]
    pub(super) fn log(&self) -> &Log {
        self.arena.log()
    }

    #[inline]
    pub(super) fn address(&self, item: ItemRef) -> NonNull<u8> {
        self.arena.address(item)
    }

    /// The hash of `key`.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Hash {
        self.hasher.hash(key)
    }

    /// The flash tier, if there is one.
    pub(super) fn flash(&self) -> Option<&Arc<Flash>> {
        self.flash.as_ref()
    }

    /// `-m`, bytes.
    pub(super) fn memory_limit(&self) -> u64 {
        self.memory_limit.load(Ordering::Relaxed)
    }

    /// Sets what [`Base::memory_limit`] tells; the segment table goes by a number of its own.
    pub(super) fn set_memory_limit(&self, bytes: u64) {
        self.memory_limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of all indexes.
    pub(super) fn index_bytes(&self) -> u64 {
        self.index_bytes.load(Ordering::Relaxed)
    }

    /// An index of `before` bytes has now `after`.
    pub(super) fn index_resized(&self, before: u64, after: u64) {
        self.index_bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }
}
