//! Tells which unit is the next victim, by the queues and by the list of partly dead segments.
//!
//! Methods of [`SegmentTable`], under the writer lock. `evict` asks for a victim and empties it.

use super::lazy_fifo::FifoEntry;
use super::table::SegmentTable;
use super::unit::{EvictionUnit, FIFOS, Fifo, Queue, State};
use crate::clock::Timestamp;
use crate::store::arena::Arena;
use crate::store::flash::{ChunkTable, Flash};

/// The small queue's share of memory: the limit divided by this. While the queue takes more, victims are taken from it.
const SMALL_PART: u64 = 10;
/// Memory that stubs and all indexes may take together before stubs are evicted first: the limit divided by this.
const STUBS_PART: u64 = 2;
/// Memory that stubs may take, however large the indexes are, before they are evicted first: the limit divided by this.
const STUBS_PART_MIN: u64 = 8;
/// Memory that items too short for flash may take, stubs and all indexes included, before they are evicted like others: the
/// limit divided by this.
const SHORT_PART: u64 = 2;
/// The most entries examined in one search for a victim.
const LOOKS_MAX: usize = 64;

/// The result of a search for a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Popped {
    EvictionUnit(EvictionUnit),
    /// No victim so far: the entries examined are stale or their units in use. The queue has more entries to examine.
    Passed,
    /// The queue has nothing that may be evicted.
    Nothing,
}

impl SegmentTable {
    /// Retires segment `id` if it is sealed and nothing in it is alive or being received. Otherwise gives a sealed segment its
    /// place in the reclaim list, if enough of it is dead.
    pub(super) fn reclassify(&mut self, id: u32, arena: &Arena) {
        let segment = &mut self.segments[id as usize];
        if segment.state != State::Sealed {
            return;
        }
        if segment.live == 0 && !arena.counts(id).is_reserved() {
            self.retire(EvictionUnit::Segment(id), arena);
        } else {
            self.reclaim_list.update(id, &mut self.segments);
        }
    }

    /// The number of the segment in the reclaim list with the largest dead part; `None` if the list has none to empty. Segments
    /// that values are being received into are passed over. With a memory file, segments that values are being sent from are
    /// passed over too; without one, they leave the budget once emptied.
    pub(in crate::store) fn deadest(&self, arena: &Arena) -> Option<u32> {
        let gains_nothing = |id: u32| {
            let counts = arena.counts(id);
            if self.ledger.is_on() { counts.is_held() } else { counts.is_reserved() }
        };
        self.reclaim_list.iter().take(LOOKS_MAX).find(|&id| !gains_nothing(id))
    }

    /// How many bytes of segment `id` are examined for each byte that emptying it frees.
    pub(in crate::store) fn effort_of(&self, id: u32) -> u64 {
        let segment = &self.segments[id as usize];
        u64::from(segment.used) / u64::from(segment.used - segment.live).max(1)
    }

    /// The FIFOs to search for the next victim, in this order: the first that has one supplies it.
    ///
    /// New items get a fair time in the small queue, whatever the sizes of the other items there. While that queue holds more
    /// than its share of memory, large items may have half of the share and segments the other half. A single large item may
    /// have all of the share.
    pub(in crate::store) fn eviction_order(&self) -> &'static [Fifo] {
        let share = self.limit / SMALL_PART;
        let small_bytes = self.queue_bytes[Queue::Small as usize].get();
        let large_bytes = self.small_large_bytes.get();
        let too_many_larges = large_bytes > share / 2 && (self.small_larges.get() > 1 || large_bytes > share);
        match () {
            () if self.has_too_many_stubs() => &[Fifo::Stubs, Fifo::Main, Fifo::Small],
            () if small_bytes <= share => &[Fifo::Main, Fifo::Small, Fifo::Stubs],
            () if too_many_larges => &[Fifo::SmallLarges, Fifo::Small, Fifo::Main, Fifo::Stubs],
            () if small_bytes - large_bytes > share / 2 => &[Fifo::Small, Fifo::Main, Fifo::Stubs],
            () => &[Fifo::Main, Fifo::Small, Fifo::Stubs],
        }
    }

    /// True if stubs and the indexes take so much memory that stubs are evicted before values.
    fn has_too_many_stubs(&self) -> bool {
        let stub_bytes = self.queue_bytes[Queue::Stubs as usize].get();
        stub_bytes > self.limit / STUBS_PART_MIN && stub_bytes + self.index_bytes > self.limit / STUBS_PART
    }

    /// True if items too short for flash, with stubs and all indexes, take so little memory that longer items should be evicted
    /// first. Long items can move to flash, while short ones can only be dropped. False without a flash tier, or if it is out of
    /// use.
    pub(in crate::store) fn has_few_short_items(&self) -> bool {
        let Some(flash) = self.flash.as_ref().map(ChunkTable::flash) else { return false };
        let short_bytes = self.short_bytes(flash);
        !flash.is_out_of_use() && short_bytes + self.index_bytes <= self.limit / SHORT_PART
    }

    /// Bytes of the items that are too short for `flash`, stubs among them.
    pub(in crate::store) fn short_bytes(&self, flash: &Flash) -> u64 {
        let short = usize::from(self.classes.of(flash.item_bytes_min()));
        self.class_totals.iter().take(short).map(|class| class.bytes).sum()
    }

    /// Takes the oldest unit of `fifo` out of its queue. Units that values are being sent from or received into go to the end of
    /// the queue: evicting their items would free nothing.
    ///
    /// Each step removes an entry or passes over one. When all entries have been passed over, the result is [`Popped::Nothing`].
    pub(in crate::store) fn pop(&mut self, fifo: Fifo, arena: &Arena) -> Popped {
        for _ in 0..LOOKS_MAX {
            if self.passed[fifo as usize] >= self.fifos[fifo as usize].len() {
                return Popped::Nothing;
            }
            let Some((unit, epoch)) = self.fifos[fifo as usize].pop_front() else { return Popped::Nothing };
            if !self.is_current(fifo.queue(), (unit, epoch)) {
                continue;
            }
            if self.is_in_use(unit, arena) {
                self.fifos[fifo as usize].push_back((unit, epoch));
                self.passed[fifo as usize] += 1;
                continue;
            }
            if let EvictionUnit::Segment(id) = unit
                && self.segments[id as usize].state == State::Open
            {
                self.close(id);
            }
            self.dequeued(unit);
            self.look_again();
            return Popped::EvictionUnit(unit);
        }
        Popped::Passed
    }

    /// Puts segment `id`, which has just been popped from `fifo`, at the end of its queue.
    pub(in crate::store) fn put_last(&mut self, fifo: Fifo, id: u32, arena: &Arena) {
        let segment = &mut self.segments[id as usize];
        segment.state = State::Sealed;
        self.queue_bytes[segment.queue as usize] += self.segment_bytes;
        self.tail_bytes += self.segment_bytes - u64::from(segment.used);
        self.fifos[fifo as usize].push_back((EvictionUnit::Segment(id), segment.epoch));
        self.reclassify(id, arena);
    }

    /// Number of entries in the small and the main queue, stale ones included.
    pub(in crate::store) fn queues_len(&self) -> usize {
        [Fifo::Small, Fifo::Main].into_iter().map(|fifo| self.fifos[fifo as usize].len()).sum()
    }

    /// Puts large item `id`, which has just been popped from `fifo`, back to the front of its queue.
    pub(in crate::store) fn put_back(&mut self, fifo: Fifo, id: u32) {
        let entry = (EvictionUnit::Large(id), self.large_items[id as usize].epoch);
        self.fifos[fifo as usize].push_front(entry);
        self.requeued(id, fifo.queue());
    }

    /// The number of the oldest segment of the main queue if it was opened before `since`, else that of the oldest segment of
    /// the small queue on the same condition. `None` if neither was. Seals the segment if it is still open. Segments that values
    /// are being sent from or received into are passed over.
    pub(in crate::store) fn oldest_segment(&mut self, since: Timestamp, arena: &Arena) -> Option<u32> {
        let oldest = |fifo: Fifo| {
            self.front(fifo).find_map(|unit| match unit {
                EvictionUnit::Segment(id) if !self.is_in_use(unit, arena) => Some(id),
                _ => None,
            })
        };
        let is_old = |&id: &u32| self.segments[id as usize].opened < since;
        let id = [Fifo::Main, Fifo::Small].into_iter().filter_map(oldest).find(is_old)?;
        if self.segments[id as usize].state == State::Open {
            self.close(id);
        }
        Some(id)
    }

    /// When the oldest segment among the first units of the queues was opened; the present second if there is none.
    pub(in crate::store) fn oldest(&self) -> Timestamp {
        let opened = |unit| match unit {
            EvictionUnit::Segment(id) => Some(self.segments[id as usize].opened),
            EvictionUnit::Large(_) => None,
        };
        let first = |fifo| self.front(fifo).find_map(opened);
        [Fifo::Small, Fifo::Main, Fifo::Stubs].into_iter().filter_map(first).min().unwrap_or(self.now)
    }

    /// The numbers of the large items among the first units of the main and the small queue.
    pub(in crate::store) fn oldest_larges(&self) -> Vec<u32> {
        let large = |unit| match unit {
            EvictionUnit::Large(id) => Some(id),
            EvictionUnit::Segment(_) => None,
        };
        [Fifo::Main, Fifo::Small].into_iter().flat_map(|fifo| self.front(fifo)).filter_map(large).collect()
    }

    /// Drops stale entries at the front of the main and the small queue. Idle units leave such entries when they move to flash,
    /// and nothing else removes them before memory is short.
    pub(in crate::store) fn drop_stale_fronts(&mut self) {
        for fifo in [Fifo::Main, Fifo::Small] {
            for _ in 0..LOOKS_MAX {
                let first = self.fifos[fifo as usize].iter().next();
                if first.is_none_or(|&entry| self.is_current(fifo.queue(), entry)) {
                    break;
                }
                self.fifos[fifo as usize].pop_front();
            }
        }
    }

    /// The units of the first [`LOOKS_MAX`] entries of `fifo`, without those of stale entries.
    fn front(&self, fifo: Fifo) -> impl Iterator<Item = EvictionUnit> + '_ {
        let entries = self.fifos[fifo as usize].iter().take(LOOKS_MAX);
        entries.filter(move |&&entry| self.is_current(fifo.queue(), entry)).map(|&(unit, _)| unit)
    }

    /// Forgets which units were passed over, so that the next search for a victim examines all units again.
    pub(in crate::store) fn look_again(&mut self) {
        self.passed = [0; FIFOS];
    }

    /// True if evicting the unit would gain nothing: a send or receive holds its memory, or it is a segment without items.
    fn is_in_use(&self, unit: EvictionUnit, arena: &Arena) -> bool {
        match unit {
            EvictionUnit::Segment(id) => arena.counts(id).is_held() || self.segments[id as usize].used == 0,
            EvictionUnit::Large(id) => arena.extent_counts(self.large_items[id as usize].offset).is_held(),
        }
    }

    /// Makes a sealed segment in the middle of its queue the evictor's victim; its entry in the queue becomes stale.
    pub(in crate::store) fn detach(&mut self, id: u32) {
        self.dequeued(EvictionUnit::Segment(id));
    }

    /// Takes a unit out of the sums of its queue. A segment becomes a victim.
    pub(super) fn dequeued(&mut self, unit: EvictionUnit) {
        match unit {
            EvictionUnit::Segment(id) => {
                let segment = &mut self.segments[id as usize];
                segment.state = State::Victim;
                self.queue_bytes[segment.queue as usize] -= self.segment_bytes;
                self.tail_bytes -= self.segment_bytes - u64::from(segment.used);
                self.reclaim_list.remove(id, &mut self.segments);
            }
            EvictionUnit::Large(id) => {
                let large = &mut self.large_items[id as usize];
                if let Some(queue) = large.queue.take() {
                    self.queue_bytes[queue as usize] -= large.bytes;
                    if queue == Queue::Small {
                        self.small_larges -= 1;
                        self.small_large_bytes -= large.bytes;
                    }
                }
            }
        }
    }

    /// True if the entry is not stale: its unit stands in `queue`, and has not left it since the entry was made.
    pub(super) fn is_current(&self, queue: Queue, (unit, epoch): FifoEntry) -> bool {
        match unit {
            EvictionUnit::Segment(id) => {
                let segment = &self.segments[id as usize];
                segment.epoch == epoch && matches!(segment.state, State::Open | State::Sealed)
            }
            EvictionUnit::Large(id) => self
                .large_items
                .get(id as usize)
                .is_some_and(|large| large.epoch == epoch && large.queue == Some(queue)),
        }
    }

    /// The numbers of the published large items.
    pub(in crate::store) fn large_items_in_queues(&self) -> impl Iterator<Item = u32> + '_ {
        self.large_items.iter().filter(|(_, large)| large.is_published()).map(|(id, _)| id as u32)
    }

    /// The queue that a large item stands in; `None` if it is not published yet, or is retired.
    pub(in crate::store) fn large_queue(&self, id: u32) -> Option<Queue> {
        self.large_items[id as usize].queue
    }
}
