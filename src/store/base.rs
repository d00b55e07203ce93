//! The lower half of the store, as far as items, pins, indexes and reservations know it.
//!
//! It holds the arena, the key hash and the flash tier, and knows `-m`. Nothing here takes a lock or decides anything; what the
//! writer lock guards lies above (`segment_table`).

use super::arena::Arena;
use super::flash::Flash;
use super::item_ref::{Hash, ItemRef};
use super::key_hash::KeyHasher;
use super::log::Log;
use std::ptr::NonNull;
use std::sync::Arc;

/// The lower half, as one ring has it: what rings count by themselves is counted for this one.
#[derive(Debug)]
pub(super) struct Base {
    arena: Arc<Arena>,
    hasher: KeyHasher,
    flash: Option<Arc<Flash>>,
    ring: usize,
}

impl Base {
    /// The lower half, for ring 0.
    pub(super) fn new(arena: Arena, hasher: KeyHasher, flash: Option<Arc<Flash>>) -> Self {
        Self { arena: Arc::new(arena), hasher, flash, ring: 0 }
    }

    /// The same for `ring`. Each ring has its own, also so that their pins do not all count the references of one.
    pub(super) fn of_ring(&self, ring: usize) -> Arc<Self> {
        let (arena, hasher, flash) = (Arc::clone(&self.arena), self.hasher.clone(), self.flash.clone());
        Arc::new(Self { arena, hasher, flash, ring })
    }

    /// The ring.
    pub(super) fn ring(&self) -> usize {
        self.ring
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
        self.arena.memory_limit()
    }
}
