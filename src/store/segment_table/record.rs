//! Records items and the memory they lie in, if there is a memory file. Also takes memory for segments and extents: from the
//! file's file system, or from the kernel. Methods of [`SegmentTable`], under the writer lock.

use super::need::Need;
use super::table::SegmentTable;
use super::unit::{EvictionUnit, Queue};
use crate::clock::Timestamp;
use crate::store::arena::{Arena, Placement};
use crate::store::item::Item;
use crate::store::item_ref::ItemRef;

/// A lack of room on the file system never lowers the limit below this many segments.
const SEGMENTS_MIN: u64 = 8;

impl SegmentTable {
    /// Records in the memory file that `new` is about to replace `old` in the index. From here on a restarted server finds
    /// `new`. `old` is `None` if the key is new, `new` is `None` if the item is removed. See `memory_file`, "What the file says
    /// at any moment".
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

    /// Does what [`SegmentTable::record`] says, where there is a memory file.
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

    /// Records that the head of a reserved item has been written. From here on a restarted server can skip the item, and reach
    /// the items after it in the segment.
    pub(in crate::store) fn cover(&self, arena: &Arena, item_ref: ItemRef) {
        if let Placement::Segment(id) = self.placement(arena, item_ref) {
            self.ledger.cover(id, self.segments[id as usize].used);
        }
    }

    /// True if a restarted server would find an item that is published at `item_ref`. False if the item's segment was opened
    /// before the last flush: a restarted server ignores whatever lies there.
    pub(in crate::store) fn counts_at(&self, arena: &Arena, item_ref: ItemRef) -> bool {
        match self.placement(arena, item_ref) {
            Placement::Segment(id) => self.ledger.is_current(id),
            Placement::Large(_) => true,
        }
    }

    /// Records that everything published so far is flushed. Must be called before another ring can see the flush. `due` is the
    /// second for which the flush was scheduled, if it was delayed, else NEVER: that schedule is ended.
    pub(in crate::store) fn record_flush(&mut self, due: Timestamp) {
        self.ledger.flush(due);
    }

    /// Seals the open segments after a flush, if there is a memory file: a restarted server ignores what was opened before the
    /// flush, so items written after it must not go there.
    pub(super) fn close_open(&mut self) {
        if self.ledger.is_on() {
            for id in self.open.into_iter().flatten() {
                self.close(id);
            }
        }
    }

    /// Records which CAS unique was the last. Called at a clean stop, after the last write.
    pub(in crate::store) fn close_ledger(&mut self) {
        self.ledger.close(self.cas);
    }

    /// Records that a unit's memory is free.
    pub(super) fn record_free(&self, unit: EvictionUnit) {
        match unit {
            EvictionUnit::Segment(id) => self.ledger.free_segment(id),
            EvictionUnit::Large(id) => self.ledger.free_slot(id),
        }
    }

    /// Takes a free segment without memory, gives it memory, and returns its number. `None` if there is no memory for it, or no
    /// such segment.
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

    /// Takes an extent of `bytes` for a large item, gives it memory if it has none, and makes sure that the item has a slot in
    /// the memory file's extent table. Returns the extent's offset in the mapping; `None` if there is no memory or no such
    /// extent.
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

    /// Lowers the limit, because the file system has no room for `bytes`: by the bytes that it lacks, but not below the memory
    /// that it has provided already. For a second no new memory is asked for, because each attempt may first give free memory
    /// back, which another process could then take.
    #[cold]
    pub(in crate::store) fn note_lack(&mut self, arena: &Arena, bytes: u64) {
        let missing = bytes.saturating_sub(arena.available()).max(self.segment_bytes);
        let least = (self.committed() + self.overhead()).max(SEGMENTS_MIN * self.segment_bytes);
        self.starved_until = Timestamp(self.now.0 + 1);
        self.set_limit(self.limit.saturating_sub(missing).max(least).min(self.limit));
    }

    /// True if no free memory fits `need`, and asking the file system for more failed within the last second.
    pub(in crate::store) fn is_starved_of(&self, need: Need) -> bool {
        let is_starved = self.starved_until != Timestamp::NEVER && self.now <= self.starved_until;
        is_starved && !self.is_warm(need)
    }

    /// True if a free segment has memory.
    pub(in crate::store) fn has_warm_segment(&self) -> bool {
        !self.free_warm.is_empty()
    }
}

/// Returns `old`, whose mark of death is to be written now. If the test wants that mark late, notes `old` for later and returns
/// `None`.
#[cfg(test)]
fn late(old: Option<(ItemRef, Item<'_>)>) -> Option<(ItemRef, Item<'_>)> {
    use crate::store::memory_file::durable::{IS_LATE, LATE};
    if IS_LATE.get() {
        LATE.set(old.map(|(item_ref, _)| item_ref.bits()));
        return None;
    }
    old
}
