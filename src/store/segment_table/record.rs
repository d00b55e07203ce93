//! Records items, and the memory they lie in, in the memory file, if there is one.

use super::{EvictionUnit, Need, Queue, SegmentTable};
use crate::clock::Timestamp;
use crate::store::arena::{Arena, Placement};
use crate::store::item::Item;
use crate::store::item_ref::ItemRef;

/// A limit that a lack of room on the file system does not go below, in segments.
const SEGMENTS_MIN: u64 = 8;

impl SegmentTable {
    /// `new` is about to take the place of `old` in the index: from here on it does for the next process. See
    /// `memory_file`, "What the file says at any moment".
    #[inline]
    pub(in crate::store) fn record(
        &mut self,
        arena: &Arena,
        old: Option<(ItemRef, Item<'_>)>,
        new: Option<(ItemRef, Item<'_>, Queue)>,
    ) {
        if self.ledger.is_on() {
            self.write_down(arena, old, new);
        }
    }

    #[inline(never)]
    fn write_down(
        &mut self,
        arena: &Arena,
        old: Option<(ItemRef, Item<'_>)>,
        new: Option<(ItemRef, Item<'_>, Queue)>,
    ) {
        if let Some((item_ref, item, queue)) = new {
            match self.placement(arena, item_ref) {
                Placement::Segment(id) => {
                    debug_assert!(self.ledger.is_current(id), "published where it counts");
                    self.ledger.cover(id, self.segments[id as usize].used);
                }
                Placement::Large(id) => {
                    let large = &self.large_items[id as usize];
                    self.ledger.open_slot(id, queue as u8, large.offset, large.bytes);
                }
            }
            self.ledger.reserve_cas(self.cas);
            item.set_alive(true);
        }
        #[cfg(test)]
        let old = late(old);
        if let Some((_, item)) = old {
            item.set_alive(false);
        }
    }

    /// The head of a reserved item has been written: the items behind it are found by its length.
    pub(in crate::store) fn cover(&self, arena: &Arena, item_ref: ItemRef) {
        if let Placement::Segment(id) = self.placement(arena, item_ref) {
            self.ledger.cover(id, self.segments[id as usize].used);
        }
    }

    /// False if an item that is published at `item_ref` would be gone for the next process: its segment was opened before
    /// the last flush.
    pub(in crate::store) fn counts_at(&self, arena: &Arena, item_ref: ItemRef) -> bool {
        match self.placement(arena, item_ref) {
            Placement::Segment(id) => self.ledger.is_current(id),
            Placement::Large(_) => true,
        }
    }

    /// Records that everything published so far is flushed, before another ring can see it. A delayed flush that was due at `due`
    /// is carried out with it.
    pub(in crate::store) fn record_flush(&mut self, due: Timestamp) {
        self.ledger.flush(due);
    }

    /// Segments that were opened before a flush take no items that come after it.
    pub(super) fn close_open(&mut self) {
        if self.ledger.is_on() {
            for id in self.open.into_iter().flatten() {
                self.close(id);
            }
        }
    }

    /// Nothing is written any more.
    pub(in crate::store) fn close_ledger(&mut self) {
        self.ledger.close(self.cas);
    }

    /// A unit's memory is free.
    pub(super) fn record_free(&self, unit: EvictionUnit) {
        match unit {
            EvictionUnit::Segment(id) => self.ledger.free_segment(id),
            EvictionUnit::Large(id) => self.ledger.free_slot(id),
        }
    }

    /// A free segment that had no memory, with some.
    #[cold]
    pub(super) fn commit_segment(&mut self, arena: &Arena) -> Option<u32> {
        if self.is_starved_of(Need::Segment) {
            return None;
        }
        let id = self.free_cold.pop().or_else(|| self.new_segment())?;
        if arena.commit(arena.segment_offset(id), self.segment_bytes).is_ok() {
            return Some(id);
        }
        self.free_cold.push(id);
        self.note_lack(arena, self.segment_bytes);
        None
    }

    /// An extent with memory for a large item, which can be written down.
    pub(super) fn commit_extent(&mut self, arena: &Arena, bytes: u64) -> Option<u64> {
        if self.ledger.is_on() && self.ledger.commit_slot(self.large_items.vacant_key() as u32).is_err() {
            self.note_lack(arena, self.segment_bytes);
            return None;
        }
        if self.is_starved_of(Need::Extent { bytes, frees: 0 }) {
            return None;
        }
        let is_warm = self.extents.has_warm(bytes);
        let offset = self.extents.take(bytes)?;
        if is_warm || arena.commit(offset, bytes).is_ok() {
            return Some(offset);
        }
        self.extents.give_cold(offset, bytes);
        self.note_lack(arena, bytes);
        None
    }

    /// The file system has no room for `bytes`: the limit goes down by what is missing, but not below what has memory already.
    /// Nothing is claimed for a second, since each try may give back memory of the other kind, which another process takes.
    #[cold]
    pub(in crate::store) fn note_lack(&mut self, arena: &Arena, bytes: u64) {
        let missing = bytes.saturating_sub(arena.available()).max(self.segment_bytes);
        let least = (self.committed() + self.overhead()).max(SEGMENTS_MIN * self.segment_bytes);
        self.starved_until = Timestamp(self.now.0 + 1);
        self.set_limit(self.limit.saturating_sub(missing).max(least).min(self.limit));
    }

    /// True if nothing but a claim that would fail stands between `need` and its memory.
    pub(in crate::store) fn is_starved_of(&self, need: Need) -> bool {
        let is_starved = self.starved_until != Timestamp::NEVER && self.now <= self.starved_until;
        is_starved && !self.is_warm(need)
    }

    /// True if a free segment has memory.
    pub(in crate::store) fn has_warm_segment(&self) -> bool {
        !self.free_warm.is_empty()
    }
}

/// Nothing if marks of death are to come late.
#[cfg(test)]
fn late(old: Option<(ItemRef, Item<'_>)>) -> Option<(ItemRef, Item<'_>)> {
    use crate::store::memory_file::durable::{IS_LATE, LATE};
    if IS_LATE.get() {
        LATE.set(old.map(|(item_ref, _)| item_ref.bits()));
        return None;
    }
    old
}
