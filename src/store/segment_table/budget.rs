//! What the limit allows: how much is in use, what is free, what must be given back first. Methods of [`SegmentTable`], under the
//! writer lock; most only compute.

use super::need::{Need, Purpose};
use super::table::SegmentTable;
use super::unit::{EvictionUnit, Queue};
use crate::store::arena::Arena;
use crate::store::written::WrittenKeys;

/// Bytes of free memory discarded under the lock at a time.
const SHED_BYTES: u64 = 1 << 20;
/// How many segments the evictor's copies may take above the limit, until their victim is free, if they are stubs or items too
/// short for flash: one more for each of these two kinds than other copies.
const SPARE_SEGMENTS: u64 = 3;

impl SegmentTable {
    /// Bytes of the budget in use.
    pub(in crate::store) fn used(&self) -> u64 {
        let items = self.segments_in_use.get() * self.segment_bytes + self.large_bytes.get();
        items - self.beside_bytes() + self.overhead()
    }

    /// Bytes beside the budget: retired memory that only sends still hold. A memory file has room for the budget and no more.
    pub(in crate::store) fn beside_bytes(&self) -> u64 {
        if self.ledger.is_on() { 0 } else { self.held_bytes.get() }
    }

    /// Bytes of the budget that are not item memory: indexes and ghosts.
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

    /// Changes the limit. If more is in use than a lower limit allows, that is tolerated until it has been evicted or compacted.
    pub(in crate::store) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.over_limit_bytes = self.excess();
    }

    /// Bytes by which fewer than two segments' worth is free under the limit; writers need less than that to go on. With -M it is
    /// at least what compaction cannot free.
    fn excess(&self) -> u64 {
        (self.used() + 2 * self.segment_bytes).saturating_sub(self.limit).max(self.lasting_excess())
    }

    /// Tolerates less above a lowered limit once some of that has been freed.
    pub(in crate::store) fn lower_over_limit(&mut self) {
        if self.over_limit_bytes > 0 {
            self.over_limit_bytes = self.over_limit_bytes.min(self.excess());
        }
    }

    /// Bytes of segments and extents that have memory, in use or free, but for those beside the budget.
    pub(super) fn committed(&self) -> u64 {
        let warm = self.free_warm.len() as u64 + self.segments_in_use.get();
        let items = warm * self.segment_bytes + self.large_bytes.get();
        items - self.beside_bytes() + self.extents.committed_bytes()
    }

    /// Bytes that are retired and wait for rings or pins.
    pub(in crate::store) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.get()
    }

    /// The part of [`SegmentTable::pending_bytes`] that waits for other rings to replay, and not for sends or receives. When they
    /// have, it is free or beside the budget.
    pub(super) fn unheld_bytes(&self) -> u64 {
        self.pending_bytes.get() - self.held_bytes.get()
    }

    /// True while something retired waits for other rings to replay.
    pub(in crate::store) fn awaits_cursors(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Bytes of the extents in use.
    pub(in crate::store) fn large_bytes(&self) -> u64 {
        self.large_bytes.get()
    }

    /// Bytes of free extents that still have memory, which is kept for the next large item.
    pub(in crate::store) fn large_free_bytes(&self) -> u64 {
        self.extents.committed_bytes()
    }

    /// The number of segments in use, and of free segments that still have memory.
    pub(in crate::store) fn segment_counts(&self) -> (u64, u64) {
        (self.segments_in_use.get(), self.free_warm.len() as u64)
    }

    /// True if more must be evicted to come under a lowered limit.
    pub(in crate::store) fn is_over_limit(&self) -> bool {
        self.over_limit_bytes > self.lasting_excess() + self.pending_bytes.get() - self.beside_bytes()
    }

    /// Bytes above a lowered limit that are to be freed; what only waits for other rings is among them.
    pub(in crate::store) fn bytes_over_limit(&self) -> u64 {
        self.over_limit_bytes.saturating_sub(self.lasting_excess())
    }

    /// True if eviction should run ahead of need: no further segment is free, and the open segment of a queue is mostly full, or
    /// more is in use than a lowered limit allows.
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

    /// True if less is free than writers leave to the evictor. Then the evictor's copies have used its reserve, and it must free
    /// its victims before writers fill the segments that it opened: else it runs out of room for items that it is to keep.
    fn is_reserve_in_use(&self) -> bool {
        self.coming() < self.segment_bytes as i64 / 2
    }

    /// Bytes left in the open segment of `queue`.
    fn open_room(&self, queue: Queue) -> Option<u64> {
        self.open[queue as usize].map(|id| self.segment_bytes - u64::from(self.segments[id as usize].used))
    }

    /// Bytes that are free under the limit, or will be when all rings have replayed.
    fn coming(&self) -> i64 {
        self.room() - self.over_limit_bytes as i64 + self.unheld_bytes() as i64
    }

    /// Bytes that must be free for a writer's `need`, including what it leaves to others: half a segment to the evictor, and what
    /// another writer was promised.
    fn wanted_for(&self, need: Need) -> i64 {
        let bytes = match need {
            Need::Segment => self.segment_bytes as i64,
            Need::Extent { bytes, frees } => bytes as i64 - self.replaced_bytes(frees) as i64,
            Need::Deletions => return i64::MAX,
        };
        bytes + (self.segment_bytes / 2 + self.promised_bytes()) as i64
    }

    /// True if there is room for `need`: an allocation for `purpose` that lacked it would succeed.
    pub(in crate::store) fn has(&self, need: Need, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Write { .. } | Purpose::WriteApart { .. } => {
                self.room() >= self.wanted_for(need) && !self.must_decommit(need) && self.fits(need)
            }
            // The evictor may go a little over the limit: the index may have grown into its reserve, and without copying it could
            // free nothing.
            Purpose::Spare if self.evicts => self.room() + (SPARE_SEGMENTS * self.segment_bytes) as i64 >= 0,
            Purpose::Copy | Purpose::Spare => self.room() + self.segment_bytes as i64 >= 0,
        }
    }

    /// True if there will be room for `need` as soon as the other rings have replayed: nothing more has to be evicted.
    pub(in crate::store) fn reclaim_suffices(&self, need: Need) -> bool {
        self.awaits_cursors() && self.is_coming(need) && (need == Need::Segment || self.fits(need))
    }

    /// True if address space for `need` is free, in one piece.
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

    /// True if there is enough for `need` among what is free and what only waits for other rings to replay. Segments beside the
    /// budget leave too few addresses only where the system allows few.
    pub(in crate::store) fn is_coming(&self, need: Need) -> bool {
        let has_place = need != Need::Segment || self.fits(need) || self.retires_segments();
        has_place && self.room() + self.unheld_bytes() as i64 >= self.wanted_for(need)
    }

    /// True if a retired segment waits for rings.
    fn retires_segments(&self) -> bool {
        self.retired.iter().any(|(unit, _)| matches!(unit, EvictionUnit::Segment(_)))
    }

    /// True if a free segment or extent for `need` has memory already.
    pub(super) fn is_warm(&self, need: Need) -> bool {
        match need {
            Need::Segment => !self.free_warm.is_empty(),
            Need::Extent { bytes, .. } => self.extents.has_warm(bytes),
            Need::Deletions => true,
        }
    }

    /// True if free memory must be given back to the kernel before memory for `need` may be taken from it: free extents for a
    /// segment, free segments or extents that are too short for an extent.
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

    /// Gives the memory of some free extents back to the kernel; false if none has any. Free extents without memory are merged
    /// with their neighbours, so this also makes longer ones.
    pub(in crate::store) fn decommit_extents(&mut self, arena: &Arena) -> bool {
        let Some((offset, bytes)) = self.extents.decommit(SHED_BYTES) else { return false };
        arena.discard(offset, bytes);
        true
    }

    /// Gives back some free memory if there is more than fits beside the indexes under the limit; false if there is nothing to
    /// give.
    pub(in crate::store) fn decommit_excess(&mut self, arena: &Arena) -> bool {
        self.committed() + self.overhead() > self.limit && self.decommit(arena)
    }
}
