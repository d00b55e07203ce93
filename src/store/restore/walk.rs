//! Reads the items of a memory file, whose bytes may be corrupt in any way. All threads that restore share one [`Walker`], and
//! work on different segments.

#![expect(unsafe_code, reason = "reads items of a memory file")]

use crate::classes::{Classes, item_bytes};
use crate::clock::Timestamp;
use crate::store::arena::Arena;
use crate::store::index::{Entrant, Items};
use crate::store::item::{Head, mark_dead};
use crate::store::item_ref::{Hash, ItemRef};
use crate::store::key_hash::KeyHasher;
use crate::store::memory_file::Slot;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is needed for reading items. No ring runs yet: only the threads that restore write to the mapping (alive marks), and
/// never two of them to the same segment or extent.
#[derive(Clone)]
pub(super) struct Walker<'w> {
    pub(super) arena: &'w Arena,
    pub(super) hasher: &'w KeyHasher,
    pub(super) classes: &'w Classes,
    pub(super) now: Timestamp,
    /// The numbers of the chunks that are on flash.
    pub(super) chunks: Range<u64>,
    /// Counts the items that are lost because their values are in chunks that are not on flash.
    pub(super) lost: &'w AtomicU64,
}

/// Sums over the live items of a segment, or over one large item.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Bytes that the live items take in their segment; 0 for a large item.
    pub(super) live: u64,
    /// When the first of the items expires; NEVER if none does.
    pub(super) earliest: Timestamp,
}

impl Tally {
    fn add(&mut self, bytes: u64, exptime: Timestamp) {
        self.live += bytes;
        let is_earlier = self.earliest == Timestamp::NEVER || exptime < self.earliest;
        if exptime != Timestamp::NEVER && is_earlier {
            self.earliest = exptime;
        }
    }
}

impl<'w> Walker<'w> {
    /// The head of the item at `offset`; `None` if no valid item there fits before `end`.
    fn head(&self, offset: u64, end: u64) -> Option<Head<'w>> {
        let item = ItemRef::new(offset, self.arena.unit_shift());
        // SAFETY: `end` is inside the mapping (callers name the end of a segment, an extent or the mapping), units are at
        // least 4-aligned, and only `mark_dead` writes meanwhile (see `Walker`).
        unsafe { Head::read(self.arena.address(item), (end - offset) as usize) }
    }

    /// The head of an item that has been read before, and found valid.
    pub(super) fn found(&self, item: ItemRef) -> Head<'w> {
        let offset = item.offset(self.arena.unit_shift());
        self.head(offset, self.arena.large_base() + self.arena.large_bytes()).expect("it has been checked")
    }

    /// Marks an item dead, so that no later process finds the item.
    pub(super) fn bury(&self, item: ItemRef) {
        // SAFETY: callers name items whose heads have been read.
        unsafe { mark_dead(self.arena.address(item)) };
    }

    /// The number of an item's size class, and the item's bytes as memcached counts them.
    pub(super) fn class_of(&self, head: &Head<'_>) -> (usize, u64) {
        let bytes = item_bytes(head.layout.key_bytes, head.flags, head.layout.value_bytes);
        (usize::from(self.classes.of(bytes)), bytes)
    }

    /// Bytes that the item takes in a segment.
    pub(super) fn padded_bytes(&self, head: &Head<'_>) -> u64 {
        (head.layout.bytes() as u64).next_multiple_of(1 << self.arena.unit_shift())
    }

    /// True if the item has expired, or is a stub whose value is in a chunk that is not on flash. Counts such stubs in `lost`.
    fn is_over(&self, head: &Head<'_>) -> bool {
        if head.exptime != Timestamp::NEVER && head.exptime <= self.now {
            return true;
        }
        let is_lost = head.is_stub && head.place.is_none_or(|place| !self.chunks.contains(&place.chunk()));
        self.lost.fetch_add(u64::from(is_lost), Ordering::Relaxed);
        is_lost
    }

    /// Calls `enter` with each live item in the first `used` bytes of segment `id`. Marks the items dead that have expired, or
    /// whose values are lost. An error says what is damaged.
    pub(super) fn segment(
        &self,
        id: u32,
        used: u32,
        mut enter: impl FnMut(Entrant, &Head<'_>),
    ) -> Result<Tally, String> {
        let start = self.arena.segment_offset(id);
        self.arena.load(start, self.arena.segment_bytes());
        let (mut offset, end) = (start, start + u64::from(used));
        let mut tally = Tally::default();
        while offset < end {
            let Some(head) = self.head(offset, end) else {
                return Err(format!("item {} bytes into segment {id} is damaged", offset - start));
            };
            let bytes = self.padded_bytes(&head);
            if head.is_alive {
                let item = ItemRef::new(offset, self.arena.unit_shift());
                if self.is_over(&head) {
                    self.bury(item);
                } else {
                    tally.add(bytes, head.exptime);
                    enter(Entrant { hash: self.hasher.hash(head.key), item }, &head);
                }
            }
            offset += bytes;
        }
        if offset == end { Ok(tally) } else { Err(format!("segment {id} ends in an item")) }
    }

    /// The live item in the extent of slot `id`; `None` if it is dead, has expired or its value is lost. In the last two cases
    /// marks it dead. An error says what is damaged.
    pub(super) fn large(&self, id: u32, slot: &Slot) -> Result<Option<(Entrant, Head<'w>)>, String> {
        let offset = slot.offset + self.arena.extent_head_bytes();
        let end = slot.offset + u64::from(slot.pages) * crate::store::geometry::PAGE_BYTES;
        let Some(head) = self.head(offset, end) else {
            return Err(format!("large item {id} is damaged"));
        };
        let item = ItemRef::new(offset, self.arena.unit_shift());
        if !head.is_alive {
            return Ok(None);
        }
        if self.is_over(&head) {
            self.bury(item);
            return Ok(None);
        }
        Ok(Some((Entrant { hash: self.hasher.hash(head.key), item }, head)))
    }
}

impl Items for Walker<'_> {
    fn hash(&self, item: ItemRef) -> Hash {
        self.hasher.hash(self.found(item).key)
    }

    fn is_same_key(&self, one: ItemRef, other: ItemRef) -> bool {
        self.found(one).key == self.found(other).key
    }

    fn is_newer(&self, one: ItemRef, other: ItemRef) -> bool {
        self.found(one).cas > self.found(other).cas
    }
}
