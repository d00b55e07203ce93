//! Which items go when memory is needed: S3-FIFO over segments.
//!
//! ```text
//!  new item ──────────► small (a tenth of -m) ──used, not too large for its use──┐ (copied, hits = 0)
//!     │                        └── else: dropped, remembered in the ghost table  ▼
//!     └─remembered, not too large─────► main ◄──────────────────────────────────────
//!                                        └─ used: copied to its end, hits - 1;  else: dropped
//!  overwrite ─► the queue of the old version, with its hits
//! ```
//!
//! 1. Before anything live is evicted, a segment that is at least a quarter dead is cleaned: its live items are copied to the open
//!    segment of the same queue, and keep their hits. (Without this, overwrites fill the store with dead bytes.)
//! 2. Else the oldest unit of small goes if small exceeds a tenth of the limit, or main is empty; else that of main. In small,
//!    neither large items nor segments can push out all units of the other kind: see [`SegmentTable::eviction_order`].
//! 3. An item survives if hits > 0 and hits² × 1.5 × mean item size ≥ its size: a large item must be used more to be
//!    worth its place. Survivors of all victims are packed into the same open segment of main. A key that comes back goes
//!    to main by the same rule, as if it had been used twice.
//! 4. An expired item is never copied.
//! 5. While copying has cost more than eviction has gained, fewer items are copied, and in the end none: see `pace`.
//!
//! With a flash tier, an item that would be dropped moves there if it is long enough, and leaves a stub in a queue for stubs
//! (`demote`). Stubs are evicted by the same rules, when they and the indexes take half of the limit, or when nothing else can
//! be evicted. Items too short for flash are kept while they, stubs and indexes together take less than half of the limit
//! (`short`), since a read from flash costs less than a miss.
//!
//! A large item is a unit by itself. It is never copied: if it survives, its entry moves to the end of main.
//!
//! Eviction runs in slices under the writer lock, bounded by items and bytes ([`Effort`](super::pace::Effort)), by whichever
//! ring writes. Once memory is low ([`SegmentTable::is_below_watermark`]), every write evicts about four times as many bytes as
//! it takes. If an allocation still fails, room is made in further slices, between which other connections are served. With -M
//! only rule 1 applies, to any segment of which a 64th is dead, the deadest first.
//!
//! A victim's items are looked up in groups before they are processed: their index entries are scattered in memory, so
//! the cache misses of a group overlap.
//!
//! Source: Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023; the size rule, packing and
//! cleaning were chosen by simulation on production traces.
//!
//! This module owns no state: the victim, the queues and the credit are fields of the segment table, under the writer lock.
//! `evict`, `demote`, `defragment`, `sweep` and `check` add methods to the write transaction; those of `evict`, `demote` and
//! `defragment` call one another.

mod copy;
mod idle;
mod short;

use super::item::Item;
use super::item_ref::{Hash, ItemRef};
use super::pace::RELINK_BYTES;
use super::segment_table::{
    Demoted, EvictionUnit, Fifo, Need, Popped, Purpose, Queue, SegmentTable, Victim, VictimMode,
};
use super::write_txn::WriteTxn;
use crate::clock::Timestamp;

/// The most items of a victim that are looked up together.
const LOOK_AHEAD: usize = 8;
/// Bytes of a victim after which no further item is looked up together with the first.
const LOOK_AHEAD_BYTES: u32 = 4096;
/// Bytes to gain for each byte written while memory is low. Memory is low when a quarter of a segment is left: at this rate the
/// next segment is free in time.
const AHEAD_FACTOR: u64 = 4;
/// Further bytes of victims examined with every write: survivors, ghosts and the index may take some of the memory freed.
const AHEAD_BYTES: u64 = 512;
/// The most flash records examined with one write because they have to leave their chunk.
const CHUNK_RECORDS: usize = 8;
/// With -M: the most bytes of victims examined with one write.
const COMPACTED_BYTES_MAX: u64 = 256 << 10;

/// What a slice of eviction achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slice {
    /// Something was freed or examined. There may be more to do.
    Worked,
    /// Nothing was done: other rings must catch up with the log first.
    Stalled,
    /// Nothing was done: there is nothing that may be evicted.
    Idle,
}

/// An item of a victim, with what the evictor needs to decide on it.
#[derive(Clone, Copy)]
struct Candidate<'t> {
    item_ref: ItemRef,
    item: Item<'t>,
    hash: Hash,
    /// Offset in the segment at which the next item begins, bytes.
    end: u32,
    /// True if the index names the item.
    live: bool,
}

/// What the evictor decides to do with a live item.
enum EvictDecision {
    Keep { queue: Queue, hits: u8 },
    Drop,
}

/// The result of processing one item of a victim.
enum Done {
    Kept,
    /// The item was dropped or moved to flash, or it had been dead.
    Gone,
    /// Nothing could be done with the item. The slice ends with this result.
    Not(Slice),
}

impl<'t> WriteTxn<'t> {
    /// Empties victims, item by item, until `enough` is true of the segment table or the transaction has done its share. If the
    /// result is not [`Slice::Worked`], nothing could be done.
    pub(super) fn evict(&mut self, enough: impl Fn(&SegmentTable) -> bool) -> Slice {
        self.take_idle_victim();
        let before = self.effort.items();
        while !self.effort.is_spent() && !enough(&self.segments) {
            match self.evict_step() {
                Slice::Worked => {}
                stop if self.effort.items() == before => return stop,
                _ => break,
            }
        }
        Slice::Worked
    }

    /// Does one transaction's share of making room for `need`, and returns what it achieved; `None` if there is room already.
    pub(super) fn approach(&mut self, need: Need) -> Option<Slice> {
        let arena = self.arena();
        self.segments.collect(arena);
        if self.segments.is_starved_of(need) {
            return Some(self.evict_starved(need));
        }
        if self.segments.has(need, Purpose::Write { frees: 0 }) {
            return None;
        }
        let slice = if need == Need::Deletions {
            Slice::Idle
        } else if self.segments.reclaim_suffices(need) {
            Slice::Stalled
        } else if self.segments.must_decommit(need) && self.segments.decommit(arena) {
            Slice::Worked
        } else if !self.segments.is_coming(need) {
            self.evict(|segments| segments.is_coming(need))
        } else {
            self.defragment(need)
        };
        self.segments.totals.direct_reclaims += u64::from(slice == Slice::Worked);
        Some(slice)
    }

    /// Makes room while the memory file cannot grow: evicts until a free segment has memory. Does nothing for a large value.
    #[cold]
    fn evict_starved(&mut self, need: Need) -> Slice {
        match need {
            Need::Segment if self.segments.awaits_cursors() => Slice::Stalled,
            Need::Segment => self.evict(SegmentTable::has_warm_segment),
            Need::Extent { .. } | Need::Deletions => Slice::Idle,
        }
    }

    /// Evicts ahead of need if memory is low, in proportion to the `written` bytes of an item. Also empties chunks of flash.
    #[inline]
    pub(super) fn evict_proactively(&mut self, written: u64) {
        if self.segments.flash.is_some() {
            self.empty_chunks(CHUNK_RECORDS);
        }
        if self.segments.is_below_watermark() {
            let bytes = if self.evicts() {
                written * AHEAD_FACTOR * self.segments.credit.effort()
            } else {
                self.bytes_to_compact(written)
            };
            self.evict_bytes(bytes + AHEAD_BYTES);
        }
    }

    /// With -M: bytes of victims to examine, twice as many as compaction needs to keep up with `written` bytes, up to a bound.
    #[cold]
    fn bytes_to_compact(&self, written: u64) -> u64 {
        let deadest = || self.segments.deadest(self.arena()).map(|id| self.segments.effort_of(id));
        let effort = self.segments.victim.map(|victim| victim.effort).or_else(deadest).unwrap_or(0);
        (2 * effort * written).min(COMPACTED_BYTES_MAX)
    }

    /// Evicts some of the memory in use above a lowered limit; true if there may be more to evict.
    pub(super) fn evict_over_limit(&mut self) -> bool {
        self.segments.is_over_limit() && self.evict(|segments| !segments.is_over_limit()) == Slice::Worked
    }

    /// Examines `bytes` of victims. Stops earlier if memory is not low any more, or if the transaction has done its share.
    fn evict_bytes(&mut self, bytes: u64) {
        self.take_idle_victim();
        let enough = self.effort.looked_bytes().saturating_add(bytes);
        while self.effort.looked_bytes() < enough
            && !self.effort.is_spent()
            && self.segments.is_below_watermark()
        {
            if self.evict_step() != Slice::Worked {
                return;
            }
        }
    }

    /// Processes the next few items of the victim; chooses a victim if there is none. Whenever it returns [`Slice::Worked`], the
    /// transaction's effort has grown, so that a loop over it ends.
    fn evict_step(&mut self) -> Slice {
        if !self.has_log_room(1) {
            return Slice::Stalled;
        }
        if self.has_transfer() {
            self.continue_transfer();
            self.effort.looked(1, 0);
            return Slice::Worked;
        }
        let slice = match self.segments.victim {
            Some(victim) => return self.evict_next(victim),
            None => self.choose_victim(),
        };
        self.effort.looked(usize::from(slice == Slice::Worked), 0);
        slice
    }

    /// Chooses the next unit to evict by rules 1 and 2. A segment becomes the victim; a large item is processed immediately.
    fn choose_victim(&mut self) -> Slice {
        let arena = self.arena();
        if let Some(id) = self.segments.deadest(arena) {
            let effort = self.segments.effort_of(id);
            self.segments.detach(id);
            self.segments.victim = Some(Victim::new(id, VictimMode::Clean, effort));
            return Slice::Worked;
        }
        if !self.evicts() {
            return if self.segments.awaits_cursors() { Slice::Stalled } else { Slice::Idle };
        }
        for &fifo in self.segments.eviction_order() {
            match self.segments.pop(fifo, arena) {
                Popped::EvictionUnit(EvictionUnit::Segment(id)) => {
                    match self.mode_of(id, fifo) {
                        Some(mode) => self.segments.victim = Some(Victim::new(id, mode, 1)),
                        None => self.segments.put_last(fifo, id, arena),
                    }
                    return Slice::Worked;
                }
                Popped::EvictionUnit(EvictionUnit::Large(id)) => {
                    self.evict_large(id, fifo);
                    return Slice::Worked;
                }
                Popped::Passed => return Slice::Worked,
                Popped::Nothing => {}
            }
        }
        self.segments.look_again();
        if self.segments.awaits_cursors() { Slice::Stalled } else { Slice::Idle }
    }

    /// Processes the next few items of `victim`; retires it when nothing in it is alive any more.
    fn evict_next(&mut self, victim: Victim) -> Slice {
        let segment = &self.segments.segments[victim.id as usize];
        let (queue, used, live) = (segment.queue, segment.used, segment.live);
        if victim.offset >= used || live == 0 {
            self.segments.victim = None;
            let arena = self.arena();
            self.segments.retire(EvictionUnit::Segment(victim.id), arena);
            // The bytes not examined yet, all dead, are gained as well.
            self.earn(victim.mode, u64::from(used.saturating_sub(victim.offset)));
            self.effort.looked(1, 0);
            return Slice::Worked;
        }
        let mut candidates = [None; LOOK_AHEAD];
        self.look_ahead(victim, used, &mut candidates);
        let mut offset = victim.offset;
        for candidate in candidates.iter().flatten() {
            if !self.has_log_room(1) {
                return Slice::Stalled;
            }
            let bytes = u64::from(candidate.end - offset);
            match self.decide(candidate, queue, victim.mode) {
                Done::Kept if victim.mode.is_evicting() => self.segments.credit.spend(bytes),
                Done::Kept => {}
                Done::Gone => self.earn(victim.mode, bytes),
                Done::Not(slice) => return slice,
            }
            offset = candidate.end;
            self.effort.looked(1, bytes);
            self.segments.victim = Some(Victim { offset, ..victim });
        }
        Slice::Worked
    }

    /// Adds `bytes` gained from a victim to the credit for copying. Cleaning neither earns credit nor is paid from it, since it
    /// gains as much as it copies.
    pub(super) fn earn(&mut self, mode: VictimMode, bytes: u64) {
        if mode.is_evicting() {
            let limit = self.segments.limit;
            self.segments.credit.earn(bytes, limit);
            if bytes > 0 {
                self.segments.fruitless = 0;
            }
        }
    }

    /// Fills `candidates` with the victim's next items, and notes which of them are live. `used` is where the last item ends.
    fn look_ahead(&self, victim: Victim, used: u32, candidates: &mut [Option<Candidate<'t>>]) {
        let mut offset = victim.offset;
        for place in candidates.iter_mut() {
            if offset >= used || offset - victim.offset >= LOOK_AHEAD_BYTES {
                break;
            }
            let (item_ref, item, bytes) = self.item_in_segment(victim.id, offset);
            offset += bytes;
            let hash = self.hash(item.key());
            self.prefetch(hash);
            *place = Some(Candidate { item_ref, item, hash, end: offset, live: false });
        }
        // The next items are probably as long as these. Their headers are read one after the other, each where the last item
        // ends, and most of them are copied: the processor would begin to load each too late.
        let bytes = (offset - victim.offset).min(used - offset).min(LOOK_AHEAD_BYTES);
        self.prefetch_items(victim.id, offset, bytes);
        for candidate in candidates.iter_mut().flatten() {
            candidate.live = self.is_live(candidate.item_ref, candidate.hash);
            if candidate.live && candidate.item.hits() == 0 {
                self.segments.ghost.prefetch(candidate.hash);
            }
        }
    }

    /// Copies, moves to flash or drops an item of a victim, if it is live.
    fn decide(&mut self, candidate: &Candidate<'_>, queue: Queue, mode: VictimMode) -> Done {
        let &Candidate { item_ref, item, hash, .. } = candidate;
        if !candidate.live {
            return Done::Gone;
        }
        if let EvictDecision::Keep { queue: to, hits } = self.fate(&item, queue, mode) {
            if self.move_item(candidate, queue, to, hits) {
                return Done::Kept;
            }
            // There is no room for the survivor: does waiting for the other rings help?
            if self.segments.awaits_cursors() {
                return Done::Not(Slice::Stalled);
            }
            if !self.evicts() {
                return Done::Not(Slice::Idle);
            }
        }
        match self.demote(item_ref, &item, hash) {
            Demoted::Done => return Done::Gone,
            Demoted::UnderWay => {
                self.effort.looked(1, 0);
                return Done::Not(Slice::Worked);
            }
            Demoted::Not => {}
        }
        if mode == VictimMode::DemoteIdle && !item.expired(self.now) {
            // The item stays until the device takes it, or memory is short.
            return Done::Not(Slice::Idle);
        }
        self.drop_item(item_ref, &item, hash, queue);
        Done::Gone
    }

    /// Decides by rules 3 to 5 what becomes of a live item of `queue`.
    fn fate(&self, item: &Item<'_>, queue: Queue, mode: VictimMode) -> EvictDecision {
        if item.expired(self.now) {
            return EvictDecision::Drop;
        }
        let hits = item.hits();
        if mode == VictimMode::Clean {
            return EvictDecision::Keep { queue, hits };
        }
        let (_, bytes) = self.segments.class_of(item);
        match (mode, queue) {
            (VictimMode::DemoteIdle, queue) if !self.is_idle(item) || !self.may_demote(item) => {
                EvictDecision::Keep { queue, hits }
            }
            (VictimMode::DemoteIdle, _) => EvictDecision::Drop,
            _ if self.segments.is_worth_its_size(bytes, hits) && self.can_afford(hits) => match queue {
                Queue::Small => EvictDecision::Keep { queue: Queue::Main, hits: 0 },
                queue => EvictDecision::Keep { queue, hits: hits - 1 },
            },
            (VictimMode::EvictLong, _) if self.is_short(item) => {
                EvictDecision::Keep { queue: Queue::Main, hits: 0 }
            }
            _ => EvictDecision::Drop,
        }
    }

    /// True if the credit allows an item that was read `hits` times to be copied (rule 5).
    fn can_afford(&self, hits: u8) -> bool {
        self.segments.credit.hits_wanted(self.segments.limit).is_some_and(|wanted| hits >= wanted)
    }

    /// Keeps, moves to flash or drops large item `id`, which has been popped from `fifo`.
    fn evict_large(&mut self, id: u32, fifo: Fifo) {
        let (item_ref, item) = self.item_of_large(id);
        match self.fate(&item, fifo.queue(), VictimMode::Evict) {
            EvictDecision::Keep { hits, .. } => {
                item.set_hits(hits);
                self.segments.enqueue_large(id, Queue::Main);
                self.segments.credit.spend(RELINK_BYTES);
            }
            EvictDecision::Drop => {
                let hash = self.hash(item.key());
                match self.demote(item_ref, &item, hash) {
                    Demoted::Done => {}
                    // Back to the front: it is the next victim again if the transfer fails.
                    Demoted::UnderWay => self.segments.put_back(fifo, id),
                    Demoted::Not => {
                        self.drop_item(item_ref, &item, hash, fifo.queue());
                        self.earn(VictimMode::Evict, item.layout().bytes() as u64);
                    }
                }
            }
        }
    }

    /// Removes large item `id`, which stands in a queue, and counts it as expired or evicted.
    pub(super) fn drop_large(&mut self, id: u32) {
        let (item_ref, item) = self.item_of_large(id);
        let queue = self.queue_of(item_ref);
        self.drop_item(item_ref, &item, self.hash(item.key()), queue);
    }

    /// Removes a live item that no client asked to remove, and counts it as expired or evicted. An eviction is reported to the
    /// host, and the key becomes a ghost if the item was in the small queue.
    pub(super) fn drop_item(&mut self, item_ref: ItemRef, item: &Item<'_>, hash: Hash, queue: Queue) {
        let (class, _) = self.segments.class_of(item);
        let expired = item.expired(self.now);
        let counters = &mut self.segments.class_totals[class];
        if expired {
            counters.reclaimed += 1;
            counters.expired_unfetched += u64::from(!item.fetched());
        } else {
            counters.evicted += 1;
            counters.evicted_unfetched += u64::from(!item.fetched());
            counters.evicted_nonzero += u64::from(item.exptime() != Timestamp::NEVER);
            counters.evicted_time = u64::from(self.now.0.saturating_sub(item.last_access().0));
            if queue == Queue::Small {
                let live = self.segments.totals.curr_items as usize;
                self.segments.ghost.insert(hash, live);
            }
            self.host_evicted(item);
        }
        self.publish(hash, Some((item_ref, *item)), None);
    }
}
