//! What the writer lock guards: which memory is used for what, and the budget that all of it comes out of.
//!
//! ```text
//!             open ──────► Open ──seal──► Sealed ──victim──► Victim ──retire──► Retired ──collect──► Free
//!              ▲                            └──────────── retire (last live item died) ──▲             │
//!              └───────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Segments stand in one of two FIFO queues (small, main; see `evict`); a large item is a unit of its own in the same
//! queues. There is one open segment per queue, whatever the number of rings: space in it is claimed under the lock.
//!
//! # When memory is reused
//! A unit is retired at log place p once no replica that has applied everything before p has an entry for any of its
//! items. It is collected when every ring's cursor is at or past p (no ring holds a reference from before) and its pin
//! and draft counts are 0 (no send reads it, no receive writes it). A turn publishes its own cursor at its end, so
//! memory retired in a turn is never reused in that turn.
//!
//! # The budget
//! `limit` ≥ segments in use + extents in use + every ring's index + ghosts. Memory behind free segments and extents is
//! kept for the next use only while it fits as well.

use super::ghost::Ghost;
use super::item::{Item, Layout};
use super::item_ref::ItemRef;
use super::large::{EXTENT_HEAD_BYTES, Extents, extent_bytes};
use super::space::{Home, Space};
use super::{ClassTotals, Totals};
use crate::classes::{Classes, item_bytes};
use crate::clock::Secs;
use slab::Slab;
use std::collections::VecDeque;

/// Bytes of free memory discarded under the lock at a time.
const SHED_BYTES: u64 = 1 << 20;

/// The two queues of S3-FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Items on probation.
    Small,
    /// Items that were used, or came back.
    Main,
}

/// Where a segment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Open,
    Sealed,
    Victim,
    Retired,
}

/// One segment's books.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) state: State,
    pub(super) queue: Queue,
    /// Bytes handed out.
    pub(super) used: u32,
    /// Bytes of items that the index names.
    pub(super) live: u32,
    /// When it was opened.
    opened: Secs,
    /// Earliest and latest expiry of items ever in it; `u32::MAX` = never.
    pub(super) earliest: u32,
    pub(super) latest: u32,
    /// Counts retirements, so that an old mention in a queue is recognised.
    pub(super) epoch: u32,
    /// Stands in `half_dead`.
    listed: bool,
}

/// One large item's books.
#[derive(Clone, Debug)]
pub(super) struct Large {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    queue: Option<Queue>,
    epoch: u32,
}

/// A member of a queue, or of the list of the retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Segment(u32),
    Large(u32),
}

/// What an allocation lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A free segment.
    Segment,
    /// This many bytes for an extent.
    Extent(u64),
}

/// Who asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client's item: leaves one segment's worth for the evictor.
    Write,
    /// The evictor's copy of a survivor.
    Copy,
}

/// The books.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) limit: u64,
    /// Bytes of the rings' indexes, as last seen.
    pub(super) index_bytes: u64,
    pub(super) segments: Vec<Segment>,
    segments_in_use: u32,
    free_warm: Vec<u32>,
    free_cold: Vec<u32>,
    open: [Option<u32>; 2],
    pub(super) larges: Slab<Large>,
    large_bytes: u64,
    epochs: u32,
    /// Time of the turn.
    pub(super) now: Secs,
    extents: Extents,
    queues: [VecDeque<(Unit, u32)>; 2],
    queue_bytes: [u64; 2],
    half_dead: Vec<(u32, u32)>,
    retired: VecDeque<(Unit, u64)>,
    held: Vec<Unit>,
    /// Bytes of `retired` and of `held`.
    pending_bytes: u64,
    held_bytes: u64,
    pub(super) ghost: Ghost,
    pub(super) victim: Option<super::evict::Victim>,
    pub(super) sweep: super::evict::Sweep,
    cas: u64,
    classes: Classes,
    pub(super) class_totals: Vec<ClassTotals>,
    pub(super) totals: Totals,
    unit_shift: u32,
    segment_bytes: u64,
}

impl Ledger {
    pub(super) fn new(space: &Space, limit: u64, classes: Classes) -> Self {
        let count = classes.chunk_bytes().len() + 1;
        Self {
            limit,
            index_bytes: 0,
            segments: vec![Segment::free()],
            segments_in_use: 0,
            free_warm: Vec::new(),
            free_cold: Vec::new(),
            open: [None; 2],
            larges: Slab::new(),
            large_bytes: 0,
            epochs: 0,
            now: Secs(0),
            extents: Extents::new(space.large_base(), space.large_bytes()),
            queues: [VecDeque::new(), VecDeque::new()],
            queue_bytes: [0; 2],
            half_dead: Vec::new(),
            retired: VecDeque::new(),
            held: Vec::new(),
            pending_bytes: 0,
            held_bytes: 0,
            ghost: Ghost::default(),
            victim: None,
            sweep: super::evict::Sweep::default(),
            cas: 1,
            class_totals: vec![ClassTotals::default(); count],
            classes,
            totals: Totals::default(),
            unit_shift: space.unit_shift(),
            segment_bytes: space.segment_bytes(),
        }
    }

    /// The next CAS unique; the first is 2, as memcached's.
    pub(super) fn next_cas(&mut self) -> u64 {
        self.cas += 1;
        self.cas
    }

    // ---- the budget ----

    /// Bytes of the budget in use.
    pub(super) fn used(&self) -> u64 {
        u64::from(self.segments_in_use) * self.segment_bytes + self.large_bytes + self.overhead()
    }

    fn overhead(&self) -> u64 {
        self.index_bytes + self.ghost.bytes()
    }

    /// Bytes of the budget that are free; negative after the limit was lowered or the index grew.
    pub(super) fn room(&self) -> i64 {
        self.limit as i64 - self.used() as i64
    }

    /// Memory behind items, used and free.
    fn committed(&self) -> u64 {
        let warm = self.free_warm.len() as u64 + u64::from(self.segments_in_use);
        warm * self.segment_bytes + self.large_bytes + self.extents.committed_bytes()
    }

    /// Bytes that are retired and wait for rings or pins.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// True while something is retired that only cursors hold back.
    pub(super) fn awaits_cursors(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Bytes held by large items.
    pub(super) fn large_bytes(&self) -> u64 {
        self.large_bytes
    }

    /// Segments in use and free ones with memory behind them.
    pub(super) fn segment_counts(&self) -> (u64, u64) {
        (u64::from(self.segments_in_use), self.free_warm.len() as u64)
    }

    /// Bytes of units in `queue`.
    pub(super) fn queue_bytes(&self, queue: Queue) -> u64 {
        self.queue_bytes[queue as usize]
    }

    /// True if eviction should run ahead of need: the next segment is not there, and the open one is mostly used.
    pub(super) fn is_low(&self) -> bool {
        let open_room = self.open[Queue::Small as usize]
            .map_or(0, |id| self.segment_bytes - u64::from(self.segments[id as usize].used));
        let coming = self.room() + self.pending_bytes as i64;
        coming < 2 * self.segment_bytes as i64 && open_room < self.segment_bytes / 4
    }

    /// True if an allocation that lacked `need` would succeed.
    pub(super) fn has(&self, need: Need, purpose: Purpose) -> bool {
        let reserve = if purpose == Purpose::Write { self.segment_bytes } else { 0 };
        let bytes = match need {
            Need::Segment => self.segment_bytes,
            Need::Extent(bytes) => bytes,
        };
        self.room() >= (bytes + reserve) as i64 && !self.must_shed(need)
    }

    /// True if `need` will be there as soon as the other rings have caught up: nothing more has to be evicted.
    pub(super) fn will_have(&self, need: Need) -> bool {
        let bytes = match need {
            Need::Segment => self.segment_bytes,
            Need::Extent(bytes) => bytes,
        };
        let coming = self.room() + (self.pending_bytes - self.held_bytes) as i64;
        self.awaits_cursors() && coming >= (bytes + self.segment_bytes) as i64
    }

    /// True if free memory of the other kind must be given back before `need` can be committed.
    pub(super) fn must_shed(&self, need: Need) -> bool {
        let (warm, bytes) = match need {
            Need::Segment => (!self.free_warm.is_empty(), self.segment_bytes),
            Need::Extent(bytes) => (self.extents.has_warm(bytes), bytes),
        };
        !warm && self.committed() + bytes + self.overhead() > self.limit
    }

    /// Gives a bounded amount of free memory back to the kernel; false if there is none.
    pub(super) fn shed(&mut self, space: &Space) -> bool {
        if let Some((offset, bytes)) = self.extents.shed(SHED_BYTES) {
            space.discard(offset, bytes);
            return true;
        }
        let Some(id) = self.free_warm.pop() else { return false };
        space.discard(space.segment_offset(id), self.segment_bytes);
        self.free_cold.push(id);
        true
    }

    /// Gives back what no longer fits a lowered limit or a grown index.
    pub(super) fn shed_excess(&mut self, space: &Space) {
        if self.committed() + self.overhead() > self.limit {
            self.shed(space);
        }
    }

    // ---- allocation ----

    /// Claims memory for an item of `layout` in `queue`.
    pub(super) fn allocate(
        &mut self,
        space: &Space,
        queue: Queue,
        layout: Layout,
        purpose: Purpose,
    ) -> Result<ItemRef, Need> {
        let bytes = layout.bytes().next_multiple_of(1 << self.unit_shift);
        if bytes as u64 > space.large_item_bytes() {
            return self.allocate_large(space, bytes);
        }
        let open = match self.open[queue as usize] {
            Some(id) if u64::from(self.segments[id as usize].used) + bytes as u64 <= self.segment_bytes => id,
            _ => self.open_segment(space, queue, purpose)?,
        };
        let segment = &mut self.segments[open as usize];
        let offset = space.segment_offset(open) + u64::from(segment.used);
        segment.used += bytes as u32;
        Ok(ItemRef::new(offset, self.unit_shift))
    }

    fn open_segment(&mut self, space: &Space, queue: Queue, purpose: Purpose) -> Result<u32, Need> {
        self.collect(space);
        if !self.has(Need::Segment, purpose) {
            return Err(Need::Segment);
        }
        let fresh = self.segments.len() as u32;
        let Some(id) = self.free_warm.pop().or_else(|| self.free_cold.pop()).or_else(|| {
            (u64::from(fresh) < space.segment_ids()).then(|| {
                self.segments.push(Segment::free());
                fresh
            })
        }) else {
            return Err(Need::Segment);
        };
        self.seal(queue, space);
        let segment = &mut self.segments[id as usize];
        let (epoch, opened) = (segment.epoch, self.now);
        *segment = Segment { state: State::Open, queue, epoch, opened, ..Segment::free() };
        self.segments_in_use += 1;
        self.open[queue as usize] = Some(id);
        self.queues[queue as usize].push_back((Unit::Segment(id), epoch));
        self.queue_bytes[queue as usize] += self.segment_bytes;
        Ok(id)
    }

    /// Closes the open segment of `queue`, if there is one.
    pub(super) fn seal(&mut self, queue: Queue, space: &Space) {
        let Some(id) = self.open[queue as usize].take() else { return };
        self.segments[id as usize].state = State::Sealed;
        self.judge(id, space);
    }

    fn allocate_large(&mut self, space: &Space, bytes: usize) -> Result<ItemRef, Need> {
        let bytes = extent_bytes(bytes);
        self.collect(space);
        if !self.has(Need::Extent(bytes), Purpose::Write) {
            return Err(Need::Extent(bytes));
        }
        let Some(offset) = self.extents.take(bytes) else { return Err(Need::Extent(bytes)) };
        self.epochs = self.epochs.wrapping_add(1);
        let id = self.larges.insert(Large { offset, bytes, queue: None, epoch: self.epochs }) as u32;
        self.large_bytes += bytes;
        space.write_extent_head(offset, id);
        Ok(ItemRef::new(offset + EXTENT_HEAD_BYTES, self.unit_shift))
    }

    // ---- items come and go ----

    /// An item has been published: counts it, and puts a large one into its queue.
    pub(super) fn link(&mut self, space: &Space, item_ref: ItemRef, item: &Item<'_>, queue: Queue) {
        let (class, bytes) = self.class_of(item);
        let exptime = item.exptime();
        match space.home(item_ref) {
            Home::Segment(id) => {
                let segment = &mut self.segments[id as usize];
                segment.live += item.layout().bytes().next_multiple_of(1 << self.unit_shift) as u32;
                segment.expires(exptime);
            }
            Home::Large(id) => self.enqueue_large(id, queue),
        }
        let class = &mut self.class_totals[class];
        class.items += 1;
        class.bytes += bytes;
        self.totals.curr_items += 1;
        self.totals.bytes += bytes;
    }

    /// Puts a large item at the end of `queue`.
    pub(super) fn enqueue_large(&mut self, id: u32, queue: Queue) {
        let large = &mut self.larges[id as usize];
        large.queue = Some(queue);
        self.queues[queue as usize].push_back((Unit::Large(id), large.epoch));
        self.queue_bytes[queue as usize] += large.bytes;
    }

    /// An item's expiry changed.
    pub(super) fn expires(&mut self, space: &Space, item_ref: ItemRef, exptime: Secs) {
        if let Home::Segment(id) = space.home(item_ref) {
            self.segments[id as usize].expires(exptime);
        }
    }

    /// The last delta of the log took an item out of the index: its bytes are dead.
    pub(super) fn unlink(&mut self, space: &Space, item_ref: ItemRef, item: &Item<'_>) {
        let (class, bytes) = self.class_of(item);
        let class = &mut self.class_totals[class];
        class.items -= 1;
        class.bytes -= bytes;
        self.totals.curr_items -= 1;
        self.totals.bytes -= bytes;
        match space.home(item_ref) {
            Home::Segment(id) => {
                let bytes = item.layout().bytes().next_multiple_of(1 << self.unit_shift) as u32;
                self.segments[id as usize].live -= bytes;
                self.judge(id, space);
            }
            Home::Large(id) => self.retire(Unit::Large(id), space),
        }
    }

    /// Size class and memcached's size of an item.
    pub(super) fn class_of(&self, item: &Item<'_>) -> (usize, u64) {
        let layout = item.layout();
        let bytes = item_bytes(layout.key_bytes, item.flags(), layout.value_bytes);
        (usize::from(self.classes.of(bytes)), bytes)
    }

    /// When the oldest segment was opened.
    pub(super) fn oldest(&self) -> Secs {
        let opened = |(unit, _): &(Unit, u32)| match unit {
            Unit::Segment(id) => Some(self.segments[*id as usize].opened),
            Unit::Large(_) => None,
        };
        self.queues.iter().filter_map(|queue| queue.iter().find_map(opened)).min().unwrap_or(self.now)
    }

    /// An item of `bytes`, as memcached counts, was refused for lack of memory.
    pub(super) fn count_no_room(&mut self, bytes: u64) {
        self.totals.no_room += 1;
        let class = usize::from(self.classes.of(bytes));
        self.class_totals[class].outofmemory += 1;
    }

    /// A sealed segment that is all dead is free at once; one that is half dead is listed for cleaning.
    fn judge(&mut self, id: u32, space: &Space) {
        let segment = &mut self.segments[id as usize];
        if segment.state != State::Sealed {
            return;
        }
        if segment.live == 0 && !space.counts(id).is_drafted() {
            self.retire(Unit::Segment(id), space);
        } else if !segment.listed && segment.live <= segment.used / 2 {
            segment.listed = true;
            self.half_dead.push((id, segment.epoch));
        }
    }

    /// The next segment that is still at least half dead.
    pub(super) fn pop_half_dead(&mut self, space: &Space) -> Option<u32> {
        while let Some((id, epoch)) = self.half_dead.pop() {
            let segment = &mut self.segments[id as usize];
            if segment.epoch != epoch {
                continue;
            }
            segment.listed = false;
            if segment.state == State::Sealed && !space.counts(id).is_drafted() {
                return Some(id);
            }
        }
        None
    }

    /// Takes the oldest unit of `queue` out of it; units that values are being received into are passed over.
    pub(super) fn pop(&mut self, queue: Queue, space: &Space) -> Option<Unit> {
        for _ in 0..self.queues[queue as usize].len() {
            let (unit, epoch) = self.queues[queue as usize].pop_front()?;
            if !self.is_current(unit, epoch) {
                continue;
            }
            if let Unit::Segment(id) = unit {
                if self.open[queue as usize] == Some(id) {
                    if self.segments[id as usize].used == 0 {
                        self.queues[queue as usize].push_back((unit, epoch));
                        continue;
                    }
                    self.open[queue as usize] = None;
                    self.segments[id as usize].state = State::Sealed;
                }
                if space.counts(id).is_drafted() {
                    self.queues[queue as usize].push_back((unit, epoch));
                    continue;
                }
            }
            self.dequeued(unit);
            return Some(unit);
        }
        None
    }

    /// Books a segment out of its queue as the evictor's victim; its mention in the queue is recognised as old later.
    pub(super) fn seize(&mut self, id: u32) {
        self.dequeued(Unit::Segment(id));
    }

    fn dequeued(&mut self, unit: Unit) {
        match unit {
            Unit::Segment(id) => {
                let segment = &mut self.segments[id as usize];
                segment.state = State::Victim;
                self.queue_bytes[segment.queue as usize] -= self.segment_bytes;
            }
            Unit::Large(id) => {
                let large = &mut self.larges[id as usize];
                if let Some(queue) = large.queue.take() {
                    self.queue_bytes[queue as usize] -= large.bytes;
                }
            }
        }
    }

    fn is_current(&self, unit: Unit, epoch: u32) -> bool {
        match unit {
            Unit::Segment(id) => {
                let segment = &self.segments[id as usize];
                segment.epoch == epoch && matches!(segment.state, State::Open | State::Sealed)
            }
            Unit::Large(id) => self
                .larges
                .get(id as usize)
                .is_some_and(|large| large.epoch == epoch && large.queue.is_some()),
        }
    }

    /// A segment all of whose live items have expired, open ones included.
    pub(super) fn find_expired(&mut self, now: Secs, space: &Space) -> Option<u32> {
        let expired = |segment: &Segment| {
            matches!(segment.state, State::Open | State::Sealed)
                && segment.live > 0
                && segment.latest <= now.0
        };
        let found = (1..self.segments.len() as u32)
            .find(|&id| expired(&self.segments[id as usize]) && !space.counts(id).is_drafted())?;
        if let Some(open) = self.open.iter_mut().find(|open| **open == Some(found)) {
            *open = None;
            self.segments[found as usize].state = State::Sealed;
        }
        Some(found)
    }

    /// The published large items.
    pub(super) fn larges_in_queues(&self) -> impl Iterator<Item = u32> + '_ {
        self.larges.iter().filter(|(_, large)| large.queue.is_some()).map(|(id, _)| id as u32)
    }

    /// The queue a large item stands in.
    pub(super) fn large_queue(&self, id: u32) -> Option<Queue> {
        self.larges[id as usize].queue
    }

    // ---- retiring and collecting ----

    /// Nothing of `unit` can be found any more by a ring that has applied the log up to its present tail.
    pub(super) fn retire(&mut self, unit: Unit, space: &Space) {
        match unit {
            Unit::Segment(id) => {
                let segment = &mut self.segments[id as usize];
                if segment.state != State::Victim {
                    self.queue_bytes[segment.queue as usize] -= self.segment_bytes;
                }
                segment.state = State::Retired;
                segment.epoch = segment.epoch.wrapping_add(1);
                segment.listed = false;
                self.pending_bytes += self.segment_bytes;
            }
            Unit::Large(id) => {
                self.dequeued(unit);
                self.pending_bytes += self.larges[id as usize].bytes;
            }
        }
        self.retired.push_back((unit, space.log().tail()));
        self.forget_old_mentions();
    }

    /// Overwritten units leave their mentions in the queues; drops them once they outnumber the units.
    fn forget_old_mentions(&mut self) {
        let units = self.segments_in_use as usize + self.larges.len();
        for queue in 0..2 {
            if self.queues[queue].len() > 2 * units + 64 {
                let mut mentions = std::mem::take(&mut self.queues[queue]);
                mentions.retain(|&(unit, epoch)| self.is_current(unit, epoch));
                self.queues[queue] = mentions;
            }
        }
    }

    /// Takes back retired memory that no ring and no pin can reach any more.
    pub(super) fn collect(&mut self, space: &Space) {
        if self.retired.is_empty() && self.held.is_empty() {
            return;
        }
        let passed = space.log().cursor_min();
        self.held_bytes = 0;
        for unit in std::mem::take(&mut self.held) {
            self.release(unit, space);
        }
        while let Some(&(unit, place)) = self.retired.front() {
            if place > passed {
                break;
            }
            self.retired.pop_front();
            self.release(unit, space);
        }
    }

    fn release(&mut self, unit: Unit, space: &Space) {
        let counts = match unit {
            Unit::Segment(id) => space.counts(id),
            Unit::Large(id) => space.extent_counts(self.larges[id as usize].offset),
        };
        if counts.is_held() {
            self.held.push(unit);
            self.held_bytes += match unit {
                Unit::Segment(_) => self.segment_bytes,
                Unit::Large(id) => self.larges[id as usize].bytes,
            };
            return;
        }
        match unit {
            Unit::Segment(id) => {
                self.segments[id as usize].state = State::Free;
                self.segments_in_use -= 1;
                self.pending_bytes -= self.segment_bytes;
                self.free_warm.push(id);
            }
            Unit::Large(id) => {
                let large = self.larges.remove(id as usize);
                self.pending_bytes -= large.bytes;
                self.large_bytes -= large.bytes;
                self.extents.give(large.offset, large.bytes);
            }
        }
    }

    /// A draft was dropped unpublished.
    pub(super) fn abandon(&mut self, space: &Space, item: ItemRef) {
        match space.home(item) {
            Home::Segment(id) => self.judge(id, space),
            Home::Large(id) => self.retire(Unit::Large(id), space),
        }
    }

    /// The last delta of the log was a flush: everything published is gone.
    pub(super) fn flush(&mut self, space: &Space) {
        self.victim = None;
        for id in 1..self.segments.len() as u32 {
            let segment = &mut self.segments[id as usize];
            segment.live = 0;
            let drafted = space.counts(id).is_drafted();
            match segment.state {
                State::Sealed | State::Victim if !drafted => self.retire(Unit::Segment(id), space),
                _ => {}
            }
        }
        let larges: Vec<u32> = self.larges_in_queues().collect();
        for id in larges {
            self.retire(Unit::Large(id), space);
        }
        for class in &mut self.class_totals {
            (class.items, class.bytes) = (0, 0);
        }
        (self.totals.curr_items, self.totals.bytes) = (0, 0);
    }
}

impl Segment {
    fn free() -> Self {
        Self {
            state: State::Free,
            queue: Queue::Small,
            used: 0,
            live: 0,
            opened: Secs(0),
            earliest: u32::MAX,
            latest: 0,
            epoch: 0,
            listed: false,
        }
    }

    /// Books an expiry of an item in it.
    pub(super) fn expires(&mut self, exptime: Secs) {
        let at = if exptime == Secs::NEVER { u32::MAX } else { exptime.0 };
        self.earliest = self.earliest.min(at);
        self.latest = self.latest.max(at);
    }
}
