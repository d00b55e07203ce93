//! [`Base`]: the part of the store that needs no lock, as items, pins, indexes and reservations see it.
//!
//! It refers to the arena and the flash tier, which all rings share, and contains the key hash. Each ring has a [`Base`] of its
//! own, which does not change after the start. What the writer lock guards is not here but in `segment_table`.

use super::arena::Arena;
use super::flash::Flash;
use super::item_ref::{Hash, ItemRef};
use super::key_hash::KeyHasher;
use super::log::Log;
use std::ptr::NonNull;
use std::sync::Arc;

/// The part of the store that needs no lock, as one ring has it. Pins that are taken through it are counted for that ring.
#[derive(Debug)]
pub(super) struct Base {
    arena: Arc<Arena>,
    hasher: KeyHasher,
    flash: Option<Arc<Flash>>,
    ring: usize,
}

impl Base {
    /// The base of ring 0. [`Base::of_ring`] makes the bases of all shards from it.
    pub(super) fn new(arena: Arena, hasher: KeyHasher, flash: Option<Arc<Flash>>) -> Self {
        Self { arena: Arc::new(arena), hasher, flash, ring: 0 }
    }

    /// The base of `ring`. Each ring has its own `Arc`, so that pins of different rings do not write the same reference count.
    pub(super) fn of_ring(&self, ring: usize) -> Arc<Self> {
        let (arena, hasher, flash) = (Arc::clone(&self.arena), self.hasher.clone(), self.flash.clone());
        Arc::new(Self { arena, hasher, flash, ring })
    }

    /// The number of the ring that pins taken through this base are counted for.
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

    /// The hash of `key` with the secrets of this process.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Hash {
        self.hasher.hash(key)
    }

    /// The flash tier, if there is one.
    pub(super) fn flash(&self) -> Option<&Arc<Flash>> {
        self.flash.as_ref()
    }

    /// The present limit (`-m`), bytes; `cache_memlimit` and a full file system change it.
    pub(super) fn memory_limit(&self) -> u64 {
        self.arena.memory_limit()
    }
}
