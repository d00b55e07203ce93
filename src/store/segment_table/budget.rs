//! What the limit allows: how much is in use, what is free, what must be given back first. Methods of [`SegmentTable`], under the
//! writer lock; most only compute.

use super::need::{Need, Purpose};
use super::table::SegmentTable;
use super::unit::{EvictionUnit, Queue};
use crate::store::arena::Arena;
use crate::store::written::WrittenKeys;

/// Bytes of free memory discarded under the lock at a time.
const SHED_BYTES: u64 = 1 << 20;
/// Segments above the limit that the evictor may take for stubs and for copies of items too short for flash, until their victim
/// is free: one more for each of these two kinds than for other copies.
const SPARE_SEGMENTS: u64 = 3;

impl SegmentTable {
    /// Bytes of the budget in use.
    pub(in crate::store) fn used(&self) -> u64 {
        let items = self.segments_in_use.get() * self.segment_bytes + self.large_bytes.get();
        items - self.beside_bytes() + self.overhead()
    }

    /// Bytes beside the budget: retired memory that only sends or receives still hold. 0 with a memory file, which has room for
    /// the budget and no more.
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

    /// Bytes that are free under the limit and what is tolerated above it; negative if the indexes have grown beyond that.
    pub(in crate::store) fn room(&self) -> i64 {
        (self.limit + self.over_limit_bytes) as i64 - self.used() as i64
    }

    /// Changes the limit. What is in use above a lower limit is tolerated until it has been evicted or compacted.
    pub(in crate::store) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.over_limit_bytes = self.excess();
    }

    /// Bytes to tolerate above the limit so that two segments' worth counts as free, which writers need to go on; 0 if so much is
    /// free. With -M at least the bytes that compaction cannot free.
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

    /// The part of [`SegmentTable::pending_bytes`] that waits for other rings to replay, and not for sends or receives. When
    /// those rings have replayed, this memory is free or beside the budget.
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

    /// True if eviction should run ahead of need: when no further segment is free and, besides, an open segment is mostly full or
    /// missing, a lowered limit is exceeded, or the evictor's reserve is in use. With -M: when fewer than two segments are free,
    /// or a lowered limit is exceeded.
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

    /// True if less is free than the half segment that writers leave to the evictor: its copies have used that reserve. It must
    /// then free its victims before writers fill the segments opened for the copies; else it would have no room for items that
    /// are to be kept.
    fn is_reserve_in_use(&self) -> bool {
        self.coming() < self.segment_bytes as i64 / 2
    }

    /// Bytes left in the open segment of `queue`; `None` if no segment is open.
    fn open_room(&self, queue: Queue) -> Option<u64> {
        self.open[queue as usize].map(|id| self.segment_bytes - u64::from(self.segments[id as usize].used))
    }

    /// Bytes that are free under the limit, or will be when all rings have replayed.
    fn coming(&self) -> i64 {
        self.room() - self.over_limit_bytes as i64 + self.unheld_bytes() as i64
    }

    /// Bytes that must be free for a writer to get what `need` says: the bytes of that, half a segment for the evictor, and what
    /// another writer was promised. [`i64::MAX`] for [`Need::Deletions`], for which nothing is enough.
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

    /// True if there is enough for `need` among what is free and what only waits for other rings to replay. For a
    /// segment, there must be an address for it too: segments beside the budget may take them where the system allows few.
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

    /// True if new memory for `need` would exceed the limit unless free memory that does not serve `need` is first given back to
    /// the kernel. For a segment that is free extents; for an extent it is free segments, and free extents that are too short.
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

    /// Gives a bounded amount of free memory back to the kernel: of extents first, then a segment. False if no free memory is
    /// left.
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

    /// Gives back some free memory if the memory of the budget and the indexes together exceed the limit. False if they do not,
    /// or if nothing is free.
    pub(in crate::store) fn decommit_excess(&mut self, arena: &Arena) -> bool {
        self.committed() + self.overhead() > self.limit && self.decommit(arena)
    }
}
