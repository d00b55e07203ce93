//! What the limit allows: how much is in use, what is free, what must be given back first.

use super::need::{Need, Purpose};
use super::table::SegmentTable;
use super::unit::Queue;
use crate::store::arena::Arena;
use crate::store::written::WrittenKeys;

/// Bytes of free memory discarded under the lock at a time.
const SHED_BYTES: u64 = 1 << 20;
/// Segments by which stubs and items too short for flash may exceed the limit until the victim that they come from is free: one
/// more for each of the two.
const SPARE_SEGMENTS: u64 = 3;

impl SegmentTable {
    /// Bytes of the budget in use.
    pub(in crate::store) fn used(&self) -> u64 {
        self.segments_in_use.get() * self.segment_bytes + self.large_bytes.get() + self.overhead()
    }

    pub(super) fn overhead(&self) -> u64 {
        self.index_bytes + self.ghost_bytes()
    }

    /// Bytes of ghosts, and of the keys that a copy must leave alone.
    pub(in crate::store) fn ghost_bytes(&self) -> u64 {
        self.ghost.bytes() + self.written.as_ref().map_or(0, WrittenKeys::bytes)
    }

    /// Bytes of the budget that are free; negative after the index grew.
    pub(in crate::store) fn room(&self) -> i64 {
        (self.limit + self.over_limit_bytes) as i64 - self.used() as i64
    }

    /// Changes the limit. What is in use above a lower one is tolerated until it has been evicted, or compacted.
    pub(in crate::store) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.over_limit_bytes = self.excess();
    }

    /// Bytes by which less than two free segments are left under the limit: more than writers need to go on. With -M at
    /// least what no compaction brings under it.
    fn excess(&self) -> u64 {
        (self.used() + 2 * self.segment_bytes).saturating_sub(self.limit).max(self.lasting_excess())
    }

    /// Does not tolerate again what has been freed.
    pub(in crate::store) fn lower_over_limit(&mut self) {
        if self.over_limit_bytes > 0 {
            self.over_limit_bytes = self.over_limit_bytes.min(self.excess());
        }
    }

    /// Memory behind items, used and free.
    pub(super) fn committed(&self) -> u64 {
        let warm = self.free_warm.len() as u64 + self.segments_in_use.get();
        warm * self.segment_bytes + self.large_bytes.get() + self.extents.committed_bytes()
    }

    /// Bytes that are retired and wait for rings or pins.
    pub(in crate::store) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.get()
    }

    /// The part of it that waits for rings only.
    fn unheld_bytes(&self) -> u64 {
        self.pending_bytes.get() - self.held_bytes.get()
    }

    /// True while something is retired that only cursors hold back.
    pub(in crate::store) fn awaits_cursors(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Bytes held by large items.
    pub(in crate::store) fn large_bytes(&self) -> u64 {
        self.large_bytes.get()
    }

    /// Memory that large items have left behind and that is kept for the next.
    pub(in crate::store) fn large_free_bytes(&self) -> u64 {
        self.extents.committed_bytes()
    }

    /// The number of segments in use, and of free segments that still have memory.
    pub(in crate::store) fn segment_counts(&self) -> (u64, u64) {
        (self.segments_in_use.get(), self.free_warm.len() as u64)
    }

    /// True if more must be evicted to come under a lowered limit.
    pub(in crate::store) fn is_over_limit(&self) -> bool {
        self.over_limit_bytes > self.lasting_excess() + self.pending_bytes.get()
    }

    /// True if eviction should run ahead of need: the next segment is not there, and the open one of a queue is mostly used,
    /// or more is in use than the limit allows.
    pub(in crate::store) fn is_below_watermark(&self) -> bool {
        if !self.evicts {
            let coming = self.coming() + self.over_limit_bytes as i64;
            return coming < 2 * self.segment_bytes as i64 || self.is_over_limit();
        }
        // A quarter of a segment ahead of need, since the index may grow before the evictor is done.
        let wanted = self.wanted_for(Need::Segment) + self.segment_bytes as i64 / 4;
        let is_full = |queue| self.open_room(queue).is_some_and(|room| room < self.segment_bytes / 4);
        let is_open = self.open[Queue::Small as usize].is_some();
        self.coming() < wanted
            && (!is_open
                || is_full(Queue::Small)
                || is_full(Queue::Main)
                || self.over_limit_bytes > 0
                || self.is_reserve_in_use())
    }

    /// True if there is a flash tier, and less is left than writers leave to the evictor. Its copies have taken that, and it must get
    /// its victims free before writers fill the segments that it opened: else it runs out of room for what it is to keep.
    fn is_reserve_in_use(&self) -> bool {
        self.flash.is_some() && self.coming() < self.segment_bytes as i64 / 2
    }

    /// Bytes left in the open segment of `queue`.
    fn open_room(&self, queue: Queue) -> Option<u64> {
        self.open[queue as usize].map(|id| self.segment_bytes - u64::from(self.segments[id as usize].used))
    }

    /// Bytes that are free under the limit, or will be when the rings have moved on.
    fn coming(&self) -> i64 {
        self.room() - self.over_limit_bytes as i64 + self.unheld_bytes() as i64
    }

    /// Bytes that must be free for a writer's `need`: half a segment is left to the evictor, and what another was promised.
    fn wanted_for(&self, need: Need) -> i64 {
        let bytes = match need {
            Need::Segment => self.segment_bytes as i64,
            Need::Extent { bytes, frees } => bytes as i64 - self.replaced_bytes(frees) as i64,
            Need::Deletions => return i64::MAX,
        };
        bytes + (self.segment_bytes / 2 + self.promised_bytes()) as i64
    }

    /// True if an allocation that lacked `need` would succeed.
    pub(in crate::store) fn has(&self, need: Need, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Write { .. } | Purpose::WriteApart { .. } => {
                self.room() >= self.wanted_for(need) && !self.must_decommit(need) && self.fits(need)
            }
            // The index may have grown into the reserve: a little over the limit, or nothing could be freed any more.
            Purpose::Spare if self.evicts => self.room() + (SPARE_SEGMENTS * self.segment_bytes) as i64 >= 0,
            Purpose::Copy | Purpose::Spare => self.room() + self.segment_bytes as i64 >= 0,
        }
    }

    /// True if `need` will be there as soon as the other rings have caught up: nothing more has to be evicted.
    pub(in crate::store) fn reclaim_suffices(&self, need: Need) -> bool {
        self.awaits_cursors() && self.is_coming(need) && self.fits(need)
    }

    /// True if there are addresses for `need`, in one piece.
    pub(in crate::store) fn fits(&self, need: Need) -> bool {
        match need {
            Need::Segment => {
                let is_free = !self.free_warm.is_empty() || !self.free_cold.is_empty();
                is_free || (self.segments.len() as u64) < self.segment_ids
            }
            Need::Extent { bytes, .. } => self.extents.fits(bytes),
            Need::Deletions => true,
        }
    }

    /// True if what is free, and what is retired and not held, is enough for `need`.
    pub(in crate::store) fn is_coming(&self, need: Need) -> bool {
        self.room() + self.unheld_bytes() as i64 >= self.wanted_for(need)
    }

    /// True if there is free memory for `need` that need not be claimed.
    pub(super) fn is_warm(&self, need: Need) -> bool {
        match need {
            Need::Segment => !self.free_warm.is_empty(),
            Need::Extent { bytes, .. } => self.extents.has_warm(bytes),
            Need::Deletions => true,
        }
    }

    /// True if free memory of the other kind must be given back before `need` can be committed.
    pub(in crate::store) fn must_decommit(&self, need: Need) -> bool {
        let bytes = match need {
            Need::Segment => self.segment_bytes,
            Need::Extent { bytes, .. } => bytes,
            Need::Deletions => return false,
        };
        let has_free = !self.free_warm.is_empty() || self.extents.committed_bytes() > 0;
        has_free
            && !self.is_warm(need)
            && self.committed() + bytes + self.overhead() > self.limit + self.over_limit_bytes
    }

    /// Gives a bounded amount of free memory back to the kernel; false if there is none.
    pub(in crate::store) fn decommit(&mut self, arena: &Arena) -> bool {
        if self.decommit_extents(arena) {
            return true;
        }
        let Some(id) = self.free_warm.pop() else { return false };
        arena.discard(arena.segment_offset(id), self.segment_bytes);
        self.free_cold.push(id);
        true
    }

    /// The part of [`SegmentTable::decommit`] that is about large items. What has no memory behind it is one piece with its neighbours.
    pub(in crate::store) fn decommit_extents(&mut self, arena: &Arena) -> bool {
        let Some((offset, bytes)) = self.extents.decommit(SHED_BYTES) else { return false };
        arena.discard(offset, bytes);
        true
    }

    /// Gives back some of what no longer fits a lowered limit or a grown index; false if there is nothing to give.
    pub(in crate::store) fn decommit_excess(&mut self, arena: &Arena) -> bool {
        self.committed() + self.overhead() > self.limit && self.decommit(arena)
    }
}
