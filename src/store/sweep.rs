//! The sweep: frees the memory of expired items that no client asks for. Methods of the write transaction, called by a ring's
//! background work. How far the sweep has come is in the segment table (`segment_table/sweeper.rs`), under the writer lock.
//!
//! A heap orders segments and large items by the earliest time at which something in them may expire
//! (`segment_table/schedule.rs`). When the time of the first one has come, the sweep walks it, removes what has expired, and
//! puts the unit back with the earliest expiry among its other items. Examining an item that has not expired reads one word of
//! its header. Only expired items are looked up in the index, several at a time, and only once: a segment remembers its last
//! walk, so that items which that walk removed cost the next walk no look-up.
//!
//! The work per second is bounded in proportion to the number of items, whatever the number of rings; in each second the first
//! ring that calls the sweep does it alone. If expiries are spread evenly over the items of all segments, every segment always
//! contains expired items, and a round takes half a minute. The sweep runs in slices of some 10 µs under the writer lock.
//!
//! Every removal is a delta that all replicas have to apply, some 0.2 µs each. So a second's removals are done in small shares,
//! and the ring rests for a millisecond after each; and the sweep waits while a replica lags by [`LAG_MAX`] or more.

use super::item::Item;
use super::item_ref::{Hash, ItemRef};
use super::log::LAG_MAX;
use super::segment_table::{EvictionUnit, Large, Queue, State, Walk};
use super::write_txn::WriteTxn;
use crate::clock::Timestamp;

/// How many items that have not expired the sweep may examine in each second: the number of all items divided by this.
const LOOKS_PART: u64 = 32;
const LOOKS_MIN: u64 = 8192;
/// How many items the sweep may remove in each second: the number of all items divided by this.
const REMOVALS_PART: u64 = 16;
const REMOVALS_MIN: u64 = 131_072;
/// Number of shares into which a second's removals are divided. With a rest of a millisecond after each, they take most of the
/// second.
const SHARES: u64 = 640;

/// What one slice may cost, in units of about 10 ns, like all costs in this module.
const SLICE_COST: u32 = 1000;
/// The cost of examining an item that lies close to the previous one.
const LOOK_COST: u32 = 1;
/// The cost of examining an item whose header is not on the same cache line or page as the previous item's.
const FAR_LOOK_COST: u32 = 8;
/// Length in bytes above which examining an item costs [`FAR_LOOK_COST`].
const FAR_BYTES: u32 = 128;
/// The cost of looking up an item in the index.
const LOOK_UP_COST: u32 = 10;
/// The cost of removing an item.
const REMOVAL_COST: u32 = 40;
/// How many expired items are looked up together.
const LOOK_AHEAD: usize = 8;

/// When the ring is to do the next slice of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The sweep has nothing more to do in this second, or another ring does it.
    Done,
    /// The ring should sweep on with its next slice of background work.
    Soon,
    /// The ring should rest before it sweeps on, because it has removed a share.
    Rest,
    /// The ring should rest before it sweeps on, so that replicas that lag can catch up.
    Lag,
}

/// An expired item that the walk has found, whether live or dead.
#[derive(Clone, Copy)]
struct Expired<'t> {
    item_ref: ItemRef,
    item: Item<'t>,
    hash: Hash,
    /// Offset of the item in its segment. If the log is full, the walk goes on from here.
    offset: u32,
}

impl<'t> WriteTxn<'t> {
    /// Removes expired items for some 10 µs, unless another ring than `ring` sweeps in this second.
    ///
    /// The loop ends: each step has a cost, which is subtracted from what the slice may still cost.
    pub(super) fn sweep(&mut self, ring: usize) -> Pace {
        if !self.is_sweeper(ring) {
            return Pace::Done;
        }
        if self.is_due() && (self.is_outrun() || !self.has_log_room(1)) {
            return Pace::Lag;
        }
        let mut left = SLICE_COST;
        while left > 0 {
            if !self.segments.sweep.may_go_on() {
                return Pace::Done;
            }
            let cost = match (self.segments.sweep.walk, self.due_unit()) {
                (Some(walk), _) => self.walk_on(walk, left),
                (None, Some(unit)) => self.begin_unit(unit),
                (None, None) => return Pace::Done,
            };
            left = left.saturating_sub(cost);
            if self.segments.sweep.end_share() {
                return Pace::Rest;
            }
            if !self.has_log_room(1) {
                return Pace::Lag;
            }
        }
        Pace::Soon
    }

    /// The first unit in the schedule, if something in it may have expired.
    fn due_unit(&self) -> Option<EvictionUnit> {
        self.segments.schedule.first().filter(|&(_, at)| at <= self.now).map(|(unit, _)| unit)
    }

    /// True if there is something to sweep, and the bounds of this second allow it.
    fn is_due(&self) -> bool {
        let sweep = &self.segments.sweep;
        sweep.may_go_on() && (sweep.walk.is_some() || self.due_unit().is_some())
    }

    /// True if a replica lags so far behind that the sweep must not append more deltas.
    fn is_outrun(&self) -> bool {
        self.replica().cursor() - self.arena().log().applied_min() >= LAG_MAX
    }

    /// True if `ring` sweeps in this second, because it was the first to call this in the second. The first call also sets the
    /// bounds of the second.
    fn is_sweeper(&mut self, ring: usize) -> bool {
        let (now, items) = (self.now, self.segments.totals.curr_items);
        let sweep = &mut self.segments.sweep;
        if sweep.second != now {
            sweep.second = now;
            sweep.ring = ring;
            sweep.looks_left = (items / LOOKS_PART).max(LOOKS_MIN);
            sweep.removals_left = (items / REMOVALS_PART).max(REMOVALS_MIN);
            sweep.share = sweep.removals_left / SHARES;
            sweep.share_left = sweep.share;
        }
        sweep.ring == ring
    }

    /// Takes `unit`, the schedule's first, from the schedule and begins to sweep it; returns the cost.
    fn begin_unit(&mut self, unit: EvictionUnit) -> u32 {
        self.segments.schedule.pop();
        match unit {
            EvictionUnit::Segment(id) => self.begin_walk(id),
            EvictionUnit::Large(id) => self.sweep_large(id),
        }
        LOOK_UP_COST
    }

    fn begin_walk(&mut self, id: u32) {
        let now = self.now;
        let segment = &mut self.segments.segments[id as usize];
        match segment.state {
            // Items that are written to the segment from now on are noted in the schedule.
            _ if segment.live == 0 => {}
            State::Open | State::Sealed => {
                let removed_by = std::mem::replace(&mut segment.removed_by, now);
                let walk = Walk { id, epoch: segment.epoch, offset: 0, removed_by };
                self.segments.sweep.walk = Some(walk);
            }
            State::Victim => self.look_again_later(id),
            State::Free | State::Retired => {}
        }
    }

    /// Puts segment `id`, which the evictor is emptying, into the schedule for the next second: the evictor may have to stop
    /// and leave expired items in it.
    fn look_again_later(&mut self, id: u32) {
        self.segments.schedule.note(EvictionUnit::Segment(id), Timestamp(self.now.0 + 1));
    }

    fn sweep_large(&mut self, id: u32) {
        self.segments.sweep.looks_left -= 1;
        if !self.segments.large_items.get(id as usize).is_some_and(Large::is_published) {
            return;
        }
        let (item_ref, item) = self.item_of_large(id);
        if item.expired(self.now) {
            self.remove_expired(item_ref, &item, self.hash(item.key()));
        } else if item.exptime() != Timestamp::NEVER {
            self.segments.schedule.note(EvictionUnit::Large(id), item.exptime());
        }
    }

    /// Continues a walk for a cost of about `left` at most; returns the cost.
    fn walk_on(&mut self, walk: Walk, left: u32) -> u32 {
        let segment = &self.segments.segments[walk.id as usize];
        let is_gone = segment.epoch != walk.epoch || segment.live == 0;
        if is_gone || segment.state == State::Victim || walk.offset >= segment.used {
            let is_victim = !is_gone && segment.state == State::Victim;
            self.segments.sweep.walk = None;
            if is_victim {
                self.look_again_later(walk.id);
            }
            self.seal_if_dead(walk);
            return LOOK_COST;
        }
        let mut expired = [None; LOOK_AHEAD];
        let (mut walk, cost) = self.gather(walk, left, &mut expired);
        let mut removed = 0;
        for each in expired.iter().flatten() {
            if !self.has_log_room(1) {
                walk.offset = each.offset;
                break;
            }
            if self.is_live(each.item_ref, each.hash) {
                self.remove_expired(each.item_ref, &each.item, each.hash);
                removed += 1;
            }
        }
        self.segments.sweep.walk = Some(walk);
        cost + removed * REMOVAL_COST
    }

    /// Walks until `expired` is full of items to look up, the cost reaches `left`, or nothing more may be examined. Returns the
    /// new position and the cost.
    fn gather(
        &mut self,
        mut walk: Walk,
        left: u32,
        expired: &mut [Option<Expired<'t>>; LOOK_AHEAD],
    ) -> (Walk, u32) {
        let used = self.segments.segments[walk.id as usize].used;
        let (mut cost, mut looks, mut found) = (0, 0, 0);
        let mut earliest = Timestamp(u32::MAX);
        while walk.offset < used
            && found < LOOK_AHEAD
            && cost < left
            && looks < self.segments.sweep.looks_left
        {
            let offset = walk.offset;
            let (item_ref, item, bytes) = self.item_in_segment(walk.id, offset);
            walk.offset += bytes;
            self.segments.totals.crawler_items_checked += 1;
            cost += if bytes > FAR_BYTES { FAR_LOOK_COST } else { LOOK_COST };
            let exptime = item.exptime();
            // The item may be dead. If it has not expired, its time is noted all the same, which at most causes a walk in vain.
            if item.expired(self.now) && exptime > walk.removed_by {
                let hash = self.hash(item.key());
                self.prefetch(hash);
                expired[found] = Some(Expired { item_ref, item, hash, offset });
                found += 1;
                cost += LOOK_UP_COST;
                continue;
            }
            looks += 1;
            if exptime > self.now {
                earliest = earliest.min(exptime);
            }
        }
        self.segments.sweep.looks_left -= looks;
        if earliest != Timestamp(u32::MAX) {
            self.segments.schedule.note(EvictionUnit::Segment(walk.id), earliest);
        }
        (walk, cost)
    }

    /// Seals an open segment without live items, so that it is freed. Otherwise it would not be freed before it is full.
    fn seal_if_dead(&mut self, walk: Walk) {
        let segment = &self.segments.segments[walk.id as usize];
        if segment.epoch == walk.epoch
            && segment.state == State::Open
            && segment.live == 0
            && segment.used > 0
        {
            let (queue, arena): (Queue, _) = (segment.queue, self.arena());
            self.segments.seal(queue, arena);
        }
    }

    fn remove_expired(&mut self, item_ref: ItemRef, item: &Item<'_>, hash: Hash) {
        let (class, _) = self.segments.class_of(item);
        let counters = &mut self.segments.class_totals[class];
        counters.crawler_reclaimed += 1;
        counters.expired_unfetched += u64::from(!item.fetched());
        self.segments.sweep.count_removal();
        self.publish(hash, Some((item_ref, *item)), None);
    }
}
