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
//! 1. Before anything live is evicted, a segment that is at least half dead is cleaned: its live items are copied to the
//!    open segment of the same queue, unaged. (Without this, overwrites fill the store with dead bytes.)
//! 2. Else the oldest unit of small goes if small holds more than a tenth of the limit, or main is empty; else of main. In
//!    small neither large items nor segments can push out all of the others: see [`Ledger::lines`].
//! 3. An item survives if hits > 0 and hits² × 1.5 × mean item size ≥ its size: a large item must be used more to be
//!    worth its place. Survivors of all victims are packed into the same open segment of main. A key that comes back goes
//!    to main by the same rule, as if it had been used twice.
//! 4. An expired item is never copied.
//!
//! A large item is a unit by itself: it is never copied, surviving moves its mention to the end of main.
//!
//! All of it runs in slices of a few items under the writer lock, by whichever ring writes: with every write some four
//! times what it wrote once memory is low ([`Ledger::is_low`]), and as much as needed when an allocation fails. With -M
//! only rule 1 applies, to any segment of which a 64th is dead, the deadest first.
//!
//! A victim's items are looked up some at a time before anything is done with them: their places in the index are all
//! over memory, and so the processor waits for several at once instead of for one after the other.
//!
//! Source: Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023; the size rule, packing and
//! cleaning were chosen by simulation on production traces.

use super::item::Item;
use super::item_ref::{Hash, ItemRef};
use super::ledger::{Large, Ledger, Popped, Queue, State, Unit};
use super::turn::Turn;
use crate::clock::Secs;

/// Items of a victim that are looked up together, and bytes after which no further one is.
const LOOK_AHEAD: usize = 8;
const LOOK_AHEAD_BYTES: u32 = 4096;
/// Bytes of victims looked at for each byte written while memory is low. It is when a quarter of a segment is left: at
/// this rate the next is free in time.
const AHEAD_FACTOR: u64 = 4;
/// Bytes of victims looked at with every write besides: survivors, ghosts and the index may take some of what is freed.
const AHEAD_BYTES: u64 = 512;
/// Bytes of victims looked at with one write at most with -M.
const COMPACTED_BYTES_MAX: u64 = 256 << 10;
/// Items looked at with one write at most.
const AHEAD_ITEMS_MAX: usize = 1024;

/// What is done with a victim's live items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// Copy them all within their queue.
    Clean,
    /// Keep or drop them by rule 3.
    Evict,
}

/// A segment that is being emptied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    id: u32,
    offset: u32,
    aim: Aim,
    /// Bytes to look at for each that is gained.
    effort: u64,
}

impl Victim {
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Where the next item to look at begins.
    pub(super) fn offset(&self) -> u32 {
        self.offset
    }
}

/// Where the sweep for expired items is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sweep {
    id: u32,
    offset: u32,
    epoch: u32,
    /// The next large item, once all segments have been swept.
    large: usize,
}

/// What a slice of eviction achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slice {
    /// Something was freed or looked at; there may be more.
    Worked,
    /// Other rings must catch up with the log first.
    Stalled,
    /// There is nothing that may be evicted.
    Idle,
}

/// An item of a victim.
#[derive(Clone, Copy)]
struct Candidate<'t> {
    item_ref: ItemRef,
    item: Item<'t>,
    hash: Hash,
    /// Where the next one begins in the segment.
    end: u32,
    live: bool,
}

enum Fate {
    Keep { queue: Queue, hits: u8 },
    Drop,
}

impl<'t> Turn<'t> {
    /// Looks at up to `items` items of victims, until there is `enough`.
    pub(super) fn evict(&mut self, items: usize, enough: impl Fn(&Ledger) -> bool) -> Slice {
        let mut left = items;
        while left > 0 && !enough(&self.ledger) {
            match self.evict_step(left) {
                (Slice::Worked, looked) => left -= looked,
                (stop, _) if left == items => return stop,
                _ => break,
            }
        }
        Slice::Worked
    }

    /// Evicts ahead of need while memory is low, in proportion to the `written` bytes of an item.
    #[inline]
    pub(super) fn evict_ahead(&mut self, written: u64) {
        if self.ledger.is_low() {
            let bytes = if self.evicts() { written * AHEAD_FACTOR } else { self.bytes_to_compact(written) };
            self.evict_bytes(bytes + AHEAD_BYTES);
        }
    }

    /// Bytes of victims to look at so that compaction keeps up with `written` bytes: twice what it takes.
    #[cold]
    fn bytes_to_compact(&self, written: u64) -> u64 {
        let deadest = || self.ledger.deadest(self.space()).map(|id| self.ledger.effort_of(id));
        let effort = self.ledger.victim.map(|victim| victim.effort).or_else(deadest).unwrap_or(0);
        (2 * effort * written).min(COMPACTED_BYTES_MAX)
    }

    /// Evicts up to `items` items of what a lowered limit left over; true if there may be more.
    pub(super) fn evict_overhang(&mut self, items: usize) -> bool {
        self.ledger.is_overhung() && self.evict(items, |ledger| !ledger.is_overhung()) == Slice::Worked
    }

    fn evict_bytes(&mut self, bytes: u64) {
        let (mut items, mut passed) = (0, 0);
        while passed < bytes && items < AHEAD_ITEMS_MAX && self.ledger.is_low() {
            let before = self.ledger.victim;
            let (Slice::Worked, looked) = self.evict_step(LOOK_AHEAD) else { return };
            items += looked;
            if let (Some(before), Some(after)) = (before, self.ledger.victim) {
                passed += u64::from(after.offset.saturating_sub(before.offset));
            }
        }
    }

    /// Goes on with the victim, up to `items` of it, or finds one; and the number of items looked at, at least 1.
    fn evict_step(&mut self, items: usize) -> (Slice, usize) {
        if !self.has_log_room(1) {
            return (Slice::Stalled, 1);
        }
        match self.ledger.victim {
            Some(victim) => self.evict_next(victim, items),
            None => (self.choose_victim(), 1),
        }
    }

    /// Rules 1 and 2; a large item is dealt with at once.
    fn choose_victim(&mut self) -> Slice {
        let space = self.space();
        if let Some(id) = self.ledger.deadest(space) {
            let effort = self.ledger.effort_of(id);
            self.ledger.seize(id);
            self.ledger.victim = Some(Victim { id, offset: 0, aim: Aim::Clean, effort });
            return Slice::Worked;
        }
        if !self.evicts() {
            return if self.ledger.awaits_cursors() { Slice::Stalled } else { Slice::Idle };
        }
        for &line in self.ledger.lines() {
            match self.ledger.pop(line, space) {
                Popped::Unit(Unit::Segment(id)) => {
                    self.ledger.victim = Some(Victim { id, offset: 0, aim: Aim::Evict, effort: 1 });
                    return Slice::Worked;
                }
                Popped::Unit(Unit::Large(id)) => {
                    self.evict_large(id, line.queue());
                    return Slice::Worked;
                }
                Popped::Passed => return Slice::Worked,
                Popped::Nothing => {}
            }
        }
        self.ledger.look_again();
        if self.ledger.awaits_cursors() { Slice::Stalled } else { Slice::Idle }
    }

    fn evict_next(&mut self, victim: Victim, items: usize) -> (Slice, usize) {
        let segment = &self.ledger.segments[victim.id as usize];
        if victim.offset >= segment.used || segment.live == 0 {
            self.ledger.victim = None;
            let space = self.space();
            self.ledger.retire(Unit::Segment(victim.id), space);
            return (Slice::Worked, 1);
        }
        let (queue, used) = (segment.queue, segment.used);
        let mut looked = 0;
        let mut candidates = [None; LOOK_AHEAD];
        self.look_ahead(victim, used, &mut candidates[..items.min(LOOK_AHEAD)]);
        for candidate in candidates.iter().flatten() {
            looked += 1;
            if !self.has_log_room(1) {
                return (Slice::Stalled, looked);
            }
            if candidate.live {
                let slice = self.decide(candidate, queue, victim.aim);
                if slice != Slice::Worked {
                    return (slice, looked);
                }
            }
            self.ledger.victim = Some(Victim { offset: candidate.end, ..victim });
        }
        (Slice::Worked, looked)
    }

    /// Looks up the victim's next items, as many as `candidates` has places for.
    fn look_ahead(&self, victim: Victim, used: u32, candidates: &mut [Option<Candidate<'t>>]) {
        let mut offset = victim.offset;
        for place in candidates.iter_mut() {
            if offset >= used || offset - victim.offset >= LOOK_AHEAD_BYTES {
                break;
            }
            let (item_ref, item, bytes) = self.item_in_segment(victim.id, offset);
            offset += bytes;
            let hash = self.hash(item.key());
            self.expect(hash);
            *place = Some(Candidate { item_ref, item, hash, end: offset, live: false });
        }
        for candidate in candidates.iter_mut().flatten() {
            candidate.live = self.is_live(candidate.item_ref, candidate.hash);
            if candidate.live && candidate.item.hits() == 0 {
                self.ledger.ghost.prefetch(candidate.hash);
            }
        }
    }

    /// Moves or drops a live item of a victim.
    fn decide(&mut self, candidate: &Candidate<'_>, queue: Queue, aim: Aim) -> Slice {
        let &Candidate { item_ref, item, hash, .. } = candidate;
        if let Fate::Keep { queue: to, hits } = self.fate(&item, queue, aim) {
            if self.move_item(item_ref, &item, hash, to, hits) {
                return Slice::Worked;
            }
            // There is no room for the survivor: does waiting for the other rings help?
            if self.ledger.awaits_cursors() {
                return Slice::Stalled;
            }
            if !self.evicts() {
                return Slice::Idle;
            }
        }
        self.drop_item(item_ref, &item, hash, queue);
        Slice::Worked
    }

    /// Rules 3 and 4.
    fn fate(&self, item: &Item<'_>, queue: Queue, aim: Aim) -> Fate {
        if item.expired(self.now) {
            return Fate::Drop;
        }
        let hits = item.hits();
        let (_, bytes) = self.ledger.class_of(item);
        match (aim, queue) {
            (Aim::Clean, queue) => Fate::Keep { queue, hits },
            (Aim::Evict, _) if !self.ledger.is_worth_its_size(bytes, hits) => Fate::Drop,
            (Aim::Evict, Queue::Small) => Fate::Keep { queue: Queue::Main, hits: 0 },
            (Aim::Evict, Queue::Main) => Fate::Keep { queue: Queue::Main, hits: hits - 1 },
        }
    }

    fn evict_large(&mut self, id: u32, queue: Queue) {
        let (item_ref, item) = self.item_of_large(id);
        match self.fate(&item, queue, Aim::Evict) {
            Fate::Keep { hits, .. } => {
                item.set_hits(hits);
                self.ledger.enqueue_large(id, Queue::Main);
            }
            Fate::Drop => self.drop_item(item_ref, &item, self.hash(item.key()), queue),
        }
    }

    /// Removes a large item that stands in a queue.
    pub(super) fn drop_large(&mut self, id: u32) {
        let (item_ref, item) = self.item_of_large(id);
        let queue = self.queue_of(item_ref);
        self.drop_item(item_ref, &item, self.hash(item.key()), queue);
    }

    /// Removes a live item that was not asked to go, and counts why.
    fn drop_item(&mut self, item_ref: ItemRef, item: &Item<'_>, hash: Hash, queue: Queue) {
        let (class, _) = self.ledger.class_of(item);
        let expired = item.expired(self.now);
        let counters = &mut self.ledger.class_totals[class];
        if expired {
            counters.reclaimed += 1;
            counters.expired_unfetched += u64::from(!item.fetched());
        } else {
            counters.evicted += 1;
            counters.evicted_unfetched += u64::from(!item.fetched());
            counters.evicted_nonzero += u64::from(item.exptime() != Secs::NEVER);
            counters.evicted_time = u64::from(self.now.0.saturating_sub(item.last_access().0));
            if queue == Queue::Small {
                let live = self.ledger.totals.curr_items as usize;
                self.ledger.ghost.insert(hash, live);
            }
            self.host_evicted(item);
        }
        self.publish(hash, Some((item_ref, *item)), None);
    }

    /// Copies a live item to the open segment of `queue`; false if there is no room for it.
    fn move_item(&mut self, item_ref: ItemRef, item: &Item<'_>, hash: Hash, queue: Queue, hits: u8) -> bool {
        let Some((copy_ref, copy)) = self.copy_item(item, queue, hits) else { return false };
        let from = self.queue_of(item_ref);
        self.publish(hash, Some((item_ref, *item)), Some((copy_ref, copy, queue)));
        match (from, queue) {
            (Queue::Small, Queue::Main) => self.ledger.totals.moves_to_warm += 1,
            _ => self.ledger.totals.moves_within_lru += 1,
        }
        true
    }

    /// Empties segments all of whose items have expired; true if there is more to do.
    pub(super) fn expire_segments(&mut self, items: usize) -> bool {
        let space = self.space();
        let mut left = items;
        while left > 0 {
            if self.ledger.victim.is_some() {
                let (Slice::Worked, looked) = self.evict_step(left) else { return false };
                left -= looked;
                continue;
            }
            left -= 1;
            let Some(id) = self.ledger.find_expired(self.now, space) else { return false };
            self.ledger.seize(id);
            self.ledger.victim = Some(Victim { id, offset: 0, aim: Aim::Clean, effort: 1 });
        }
        true
    }

    /// Looks at up to `items` items for expired ones; true if the round is not over.
    ///
    /// Segments without an item whose time has come are passed over.
    pub(super) fn sweep(&mut self, items: usize) -> bool {
        let mut sweep = self.ledger.sweep;
        let mut left = items;
        while (sweep.id as usize) < self.ledger.segments.len() {
            let may_publish = self.has_log_room(1);
            let segment = &mut self.ledger.segments[sweep.id as usize];
            let same = segment.epoch == sweep.epoch && sweep.offset > 0;
            let worth = matches!(segment.state, State::Open | State::Sealed) && segment.live > 0;
            if !worth || (!same && segment.earliest > self.now.0) || (same && sweep.offset >= segment.used) {
                sweep = Sweep { id: sweep.id + 1, ..Sweep::default() };
                continue;
            }
            if left == 0 || !may_publish {
                self.ledger.sweep = sweep;
                return true;
            }
            if !same {
                // What is left will be known when the walk is over.
                segment.earliest = u32::MAX;
                sweep = Sweep { offset: 0, epoch: segment.epoch, ..sweep };
            }
            left -= 1;
            let (item_ref, item, bytes) = self.item_in_segment(sweep.id, sweep.offset);
            sweep.offset += bytes;
            self.ledger.totals.crawler_items_checked += 1;
            if self.is_live(item_ref, self.hash(item.key())) {
                if item.expired(self.now) {
                    self.reclaim(item_ref, &item);
                } else {
                    self.ledger.segments[sweep.id as usize].expires(item.exptime());
                }
            }
        }
        self.sweep_large(sweep, left)
    }

    /// The part of a round that is for large items.
    fn sweep_large(&mut self, sweep: Sweep, items: usize) -> bool {
        let end = self.ledger.larges.capacity().min(sweep.large + items);
        for id in sweep.large..end {
            if !self.has_log_room(1) {
                self.ledger.sweep = Sweep { large: id, ..sweep };
                return true;
            }
            if !self.ledger.larges.get(id).is_some_and(Large::is_published) {
                continue;
            }
            let (item_ref, item) = self.item_of_large(id as u32);
            if item.expired(self.now) {
                self.reclaim(item_ref, &item);
            }
        }
        let is_over = end == self.ledger.larges.capacity();
        self.ledger.sweep = if is_over { Sweep::default() } else { Sweep { large: end, ..sweep } };
        !is_over
    }

    fn reclaim(&mut self, item_ref: ItemRef, item: &Item<'_>) {
        let (class, _) = self.ledger.class_of(item);
        let counters = &mut self.ledger.class_totals[class];
        counters.crawler_reclaimed += 1;
        counters.expired_unfetched += u64::from(!item.fetched());
        let hash = self.hash(item.key());
        self.publish(hash, Some((item_ref, *item)), None);
    }
}
