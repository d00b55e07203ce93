//! Computes what the limit allows: how much is in use, how much is free, what must be given back first. Methods of
//! [`SegmentTable`], under the writer lock; most only compute.

use super::need::{Need, Purpose};
use super::table::SegmentTable;
use super::unit::{EvictionUnit, Queue};
use crate::clock::Timestamp;
use crate::store::arena::Arena;
use crate::store::written::WrittenKeys;

/// The most bytes of free extents that one call gives back to the kernel, under the lock.
const SHED_BYTES: u64 = 1 << 20;
/// How many segments above the limit the evictor may take, until its victim is free, for stubs and for copies of items too short
/// for flash. For other copies it may take one; each of these two kinds adds one.
const SPARE_SEGMENTS: u64 = 3;
/// The most slack, as a part of the limit.
const SLACK_PART: u64 = 16;
/// In each second the slack shrinks by itself divided by this number.
const SLACK_DECAY: u64 = 8;

impl SegmentTable {
    /// Bytes of the budget in use: segments and extents in use (without [`SegmentTable::beside_bytes`]), indexes and ghosts.
    pub(in crate::store) fn used(&self) -> u64 {
        let items = self.segments_in_use.get() * self.segment_bytes + self.large_bytes.get();
        items - self.beside_bytes() + self.overhead()
    }

    /// Bytes that the budget does not count: retired memory that only sends or receives still hold. 0 with a memory file, which
    /// has room for the budget and no more.
    pub(in crate::store) fn beside_bytes(&self) -> u64 {
        if self.ledger.is_on() { 0 } else { self.held_bytes.get() }
    }

    /// Bytes of the budget that are not item memory: indexes and ghosts.
    pub(super) fn overhead(&self) -> u64 {
        self.index_bytes + self.ghost_bytes()
    }

    /// Bytes of the ghost table and, while a copy (`--copy-from`) runs, of the filter of the keys that clients have written.
    pub(in crate::store) fn ghost_bytes(&self) -> u64 {
        self.ghost.bytes() + self.written.as_ref().map_or(0, WrittenKeys::bytes)
    }

    /// Bytes that may still be used, up to the limit plus what is tolerated above it. Negative if more than that is in use
    /// because indexes have grown.
    pub(in crate::store) fn room(&self) -> i64 {
        (self.limit + self.over_limit_bytes) as i64 - self.used() as i64
    }

    /// Changes the limit to `limit` bytes. What is in use above a lower limit is tolerated until it has been evicted or
    /// compacted.
    pub(in crate::store) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.over_limit_bytes = self.excess();
    }

    /// Bytes to tolerate above the limit so that two segments' worth counts as free. Writers need that much to go on. 0 if it is
    /// free already. With -M, no fewer than the bytes that compaction cannot free.
    fn excess(&self) -> u64 {
        (self.used() + 2 * self.segment_bytes).saturating_sub(self.limit).max(self.lasting_excess())
    }

    /// Lowers the bytes tolerated above a lowered limit, after some of the memory in use has been freed.
    pub(in crate::store) fn lower_over_limit(&mut self) {
        if self.over_limit_bytes > 0 {
            self.over_limit_bytes = self.over_limit_bytes.min(self.excess());
        }
    }

    /// Bytes of all segments and extents that have memory, in use or free, without [`SegmentTable::beside_bytes`].
    pub(super) fn committed(&self) -> u64 {
        let warm = self.free_warm.len() as u64 + self.segments_in_use.get();
        let items = warm * self.segment_bytes + self.large_bytes.get();
        items - self.beside_bytes() + self.extents.committed_bytes()
    }

    /// Bytes of retired units, which wait for rings to replay or for sends and receives to end.
    pub(in crate::store) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.get()
    }

    /// The part of [`SegmentTable::pending_bytes`] that waits for other rings to replay. When they have, each unit of it is
    /// either free, or held by sends or receives and then part of [`SegmentTable::beside_bytes`].
    pub(super) fn unheld_bytes(&self) -> u64 {
        self.pending_bytes.get() - self.held_bytes.get()
    }

    /// True if a retired unit waits for other rings to replay.
    pub(in crate::store) fn awaits_cursors(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Bytes of the extents in use.
    pub(in crate::store) fn large_bytes(&self) -> u64 {
        self.large_bytes.get()
    }

    /// Bytes of free extents whose memory has not been given back to the kernel: it is kept for the next large item.
    pub(in crate::store) fn large_free_bytes(&self) -> u64 {
        self.extents.committed_bytes()
    }

    /// The number of segments in use, and of free segments that still have memory.
    pub(in crate::store) fn segment_counts(&self) -> (u64, u64) {
        (self.segments_in_use.get(), self.free_warm.len() as u64)
    }

    /// True if more must be evicted to come under a lowered limit, even after all that is retired has been freed.
    pub(in crate::store) fn is_over_limit(&self) -> bool {
        self.over_limit_bytes > self.lasting_excess() + self.pending_bytes.get() - self.beside_bytes()
    }

    /// Bytes above a lowered limit that are yet to be freed, including those of retired units that wait for other rings.
    pub(in crate::store) fn bytes_over_limit(&self) -> u64 {
        self.over_limit_bytes.saturating_sub(self.lasting_excess())
    }

    /// True if eviction should run ahead of need. Without -M that is when a writer could not open a segment with a quarter
    /// segment and the slack to spare and, in addition, the open segment of small is missing, that of small or main is over
    /// three quarters full, a lowered limit is exceeded, or the evictor's reserve is in use. With -M it is when fewer than two
    /// segments are free, or a lowered limit is exceeded.
    pub(in crate::store) fn is_below_watermark(&self) -> bool {
        if !self.evicts {
            let coming = self.coming() + self.over_limit_bytes as i64;
            return coming < 2 * self.segment_bytes as i64 || self.is_over_limit();
        }
        // A quarter of a segment ahead of need, since the index may grow before the evictor is done.
        let wanted = self.wanted_for(Need::Segment) + self.segment_bytes as i64 / 4 + self.slack as i64;
        let is_full = |queue| self.open_room(queue).is_some_and(|room| room < self.segment_bytes / 4);
        let is_open = self.open[Queue::Small as usize].is_some();
        self.coming() < wanted
            && (!is_open
                || is_full(Queue::Small)
                || is_full(Queue::Main)
                || self.over_limit_bytes > 0
                || self.is_reserve_in_use())
    }

    /// Adds a segment to the slack, because a writer has to wait until other rings let go of memory that has been freed. While a
    /// ring is preempted, the others can write as much as the slack without waiting for that ring.
    #[cold]
    pub(in crate::store) fn grow_slack(&mut self) {
        self.slack = (self.slack + self.segment_bytes).min(self.limit / SLACK_PART);
    }

    /// Sets the second of the transaction that has begun. In a new second some of the slack is given up.
    #[inline]
    pub(in crate::store) fn set_now(&mut self, now: Timestamp) {
        if self.now != now {
            self.now = now;
            self.slack -= self.slack.div_ceil(SLACK_DECAY);
        }
    }

    /// True if less is free than the half segment that writers leave to the evictor, because its copies have used a part of that
    /// reserve. The evictor must then free its victims before writers fill the segments opened for the copies; otherwise there
    /// would be no room for items that are to be kept.
    fn is_reserve_in_use(&self) -> bool {
        self.coming() < self.segment_bytes as i64 / 2
    }

    /// Bytes left in the open segment of `queue`; `None` if no segment is open.
    fn open_room(&self, queue: Queue) -> Option<u64> {
        self.open[queue as usize].map(|id| self.segment_bytes - u64::from(self.segments[id as usize].used))
    }

    /// Bytes that are free under the limit, or will be when all rings have replayed. Negative if more than the limit is in use.
    fn coming(&self) -> i64 {
        self.room() - self.over_limit_bytes as i64 + self.unheld_bytes() as i64
    }

    /// Bytes that must be free for a writer to get `need`: its size, half a segment for the evictor, and what another writer was
    /// promised. [`i64::MAX`] for [`Need::Deletions`], for which no amount of free memory is enough.
    fn wanted_for(&self, need: Need) -> i64 {
        let bytes = match need {
            Need::Segment => self.segment_bytes as i64,
            Need::Extent { bytes, frees } => bytes as i64 - self.replaced_bytes(frees) as i64,
            Need::Deletions => return i64::MAX,
        };
        bytes + (self.segment_bytes / 2 + self.promised_bytes()) as i64
    }

    /// True if an allocation for `purpose` that failed for lack of `need` would now succeed.
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

    /// True if there will be room for `need` as soon as the other rings have replayed, so that nothing more has to be evicted.
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

    /// True if there is enough for `need` in the memory that is free and the memory that waits only for other rings to replay. A
    /// segment needs a free address as well, or a retired segment that waits for rings: where the system allows little address
    /// space, segments outside the budget may occupy all of it.
    pub(in crate::store) fn is_coming(&self, need: Need) -> bool {
        let has_place = need != Need::Segment || self.fits(need) || self.retires_segments();
        has_place && self.room() + self.unheld_bytes() as i64 >= self.wanted_for(need)
    }

    /// True if a retired segment waits for rings to replay.
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
    /// the kernel. Free extents do not serve a segment. Free segments, and free extents that are too short, do not serve an
    /// extent.
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

    /// Gives a bounded amount of free memory back to the kernel: that of free extents, or that of one free segment if no free
    /// extent has memory. False if there was none to give back.
    pub(in crate::store) fn decommit(&mut self, arena: &Arena) -> bool {
        if self.decommit_extents(arena) {
            return true;
        }
        let Some(id) = self.free_warm.pop() else { return false };
        arena.discard(arena.segment_offset(id), self.segment_bytes);
        self.free_cold.push(id);
        true
    }

    /// Gives the memory of some free extents back to the kernel. False if none has memory. Free extents without memory are
    /// merged with their neighbours, so this also makes longer free extents.
    pub(in crate::store) fn decommit_extents(&mut self, arena: &Arena) -> bool {
        let Some((offset, bytes)) = self.extents.decommit(SHED_BYTES) else { return false };
        arena.discard(offset, bytes);
        true
    }

    /// Gives some free memory back to the kernel if memory in use, free memory, indexes and ghosts together exceed the limit.
    /// False if they do not, or if there is no free memory.
    pub(in crate::store) fn decommit_excess(&mut self, arena: &Arena) -> bool {
        self.committed() + self.overhead() > self.limit && self.decommit(arena)
    }
}
