//! How memory is freed. A unit is *retired* when no up-to-date index can find an item in it any more; it is *collected*, and may
//! be reused, when no ring and no pin can still reach it. Methods of [`SegmentTable`], under the writer lock.

use super::sum::Sum;
use super::table::SegmentTable;
use super::unit::{EvictionUnit, Fifo, State};
use crate::store::arena::{Arena, Placement};
use crate::store::item::Layout;
use crate::store::item_ref::ItemRef;
use crate::store::pin_counts::PinCounts;

/// The most units that one call collects from each of two lists, under the lock: after a flush, all units may be waiting.
const COLLECT_UNITS: usize = 256;

impl SegmentTable {
    /// Retires `unit` at the present tail of the log. The caller knows that no replica that has applied the log up to there has
    /// an entry for an item in `unit`.
    pub(in crate::store) fn retire(&mut self, unit: EvictionUnit, arena: &Arena) {
        match unit {
            EvictionUnit::Segment(id) => {
                let segment = &mut self.segments[id as usize];
                if segment.state != State::Victim {
                    self.queue_bytes[segment.queue as usize] -= self.segment_bytes;
                    self.tail_bytes -= self.segment_bytes - u64::from(segment.used);
                }
                self.retired_segments += 1;
                segment.state = State::Retired;
                segment.epoch = segment.epoch.wrapping_add(1);
                self.pending_bytes += self.segment_bytes;
                self.reclaim_list.remove(id, &mut self.segments);
            }
            EvictionUnit::Large(id) => {
                self.dequeued(unit);
                self.pending_bytes += self.large_items[id as usize].bytes;
            }
        }
        self.retired.push_back((unit, arena.log().tail()));
        self.drop_stale_entries();
    }

    /// Drops some stale entries of the queues once they outnumber the units.
    pub(super) fn drop_stale_entries(&mut self) {
        let len_max = 2 * (self.segments_in_use.get() as usize + self.large_items.len()) + 64;
        let mut fifos = std::mem::take(&mut self.fifos);
        for (fifo, entries) in
            [Fifo::Small, Fifo::Main, Fifo::Stubs, Fifo::SmallLarges].into_iter().zip(&mut fifos)
        {
            entries.drop_old(len_max, |entry| self.is_current(fifo.queue(), entry));
        }
        self.fifos = fifos;
    }

    /// Collects a bounded number of the retired units that no ring and no pin can reach any more.
    pub(in crate::store) fn collect(&mut self, arena: &Arena) {
        if self.retired.is_empty() && self.held.is_empty() {
            return;
        }
        for _ in 0..self.held.len().min(COLLECT_UNITS) {
            let Some(unit) = self.held.pop_front() else { break };
            self.held_bytes -= self.unit_bytes(unit);
            self.release(unit, arena);
        }
        for _ in 0..COLLECT_UNITS {
            let Some(unit) = self.collectable(arena) else { break };
            self.retired.pop_front();
            self.release(unit, arena);
        }
        // Otherwise as much as has just been freed would be evicted again.
        self.lower_over_limit();
    }

    /// True if there is a retired unit that no ring can reach any more, so that [`SegmentTable::collect`] would take it.
    pub(in crate::store) fn has_collectable(&mut self, arena: &Arena) -> bool {
        self.collectable(arena).is_some()
    }

    /// The unit that was retired first, if no ring can reach it any more; else `None`.
    fn collectable(&mut self, arena: &Arena) -> Option<EvictionUnit> {
        let &(unit, place) = self.retired.front()?;
        if place > self.let_go {
            self.let_go = arena.log().quiescent_position();
        }
        (place <= self.let_go).then_some(unit)
    }

    /// Frees the memory of a retired unit that no ring can reach, or lists the unit as held if a send or receive still uses its
    /// memory.
    pub(super) fn release(&mut self, unit: EvictionUnit, arena: &Arena) {
        if self.counts_of(unit, arena).is_held() {
            self.held.push_back(unit);
            self.held_bytes += self.unit_bytes(unit);
            return;
        }
        self.record_free(unit);
        match unit {
            EvictionUnit::Segment(id) => {
                self.segments[id as usize].state = State::Free;
                self.segments_in_use -= 1;
                self.retired_segments -= 1;
                self.pending_bytes -= self.segment_bytes;
                self.free_warm.push(id);
            }
            EvictionUnit::Large(id) => {
                let large = self.large_items.remove(id as usize);
                self.pending_bytes -= large.bytes;
                self.large_bytes -= large.bytes;
                self.extents.give(large.offset, large.bytes);
            }
        }
    }

    /// The counts of the sends and receives that hold a unit's memory.
    pub(super) fn counts_of<'a>(&self, unit: EvictionUnit, arena: &'a Arena) -> &'a PinCounts {
        match unit {
            EvictionUnit::Segment(id) => arena.counts(id),
            EvictionUnit::Large(id) => arena.extent_counts(self.large_items[id as usize].offset),
        }
    }

    /// Bytes of a unit's memory; 0 for a large item that does not exist.
    pub(super) fn unit_bytes(&self, unit: EvictionUnit) -> u64 {
        match unit {
            EvictionUnit::Segment(_) => self.segment_bytes,
            EvictionUnit::Large(id) => self.large_items.get(id as usize).map_or(0, |large| large.bytes),
        }
    }

    /// Gives up the memory of a reservation that was dropped before its item was published.
    pub(in crate::store) fn abandon(&mut self, arena: &Arena, item: ItemRef, layout: Layout) {
        self.reserve(arena, item, layout, false);
        match self.placement(arena, item) {
            Placement::Segment(id) => self.reclassify(id, arena),
            Placement::Large(id) => self.retire(EvictionUnit::Large(id), arena),
        }
    }

    /// Counts out all published items after a flush, whose delta has just emptied the index, and retires the units they lie in.
    /// Open segments stay open, except with a memory file.
    pub(in crate::store) fn flush(&mut self, arena: &Arena) {
        self.victim = None;
        self.transfer = None;
        self.close_open();
        self.live_bytes = Sum::default();
        for id in 1..self.segments.len() as u32 {
            let segment = &mut self.segments[id as usize];
            segment.live = 0;
            let reserved = arena.counts(id).is_reserved();
            match segment.state {
                State::Sealed | State::Victim if !reserved => self.retire(EvictionUnit::Segment(id), arena),
                State::Sealed => self.reclaim_list.update(id, &mut self.segments),
                _ => {}
            }
        }
        let large_items: Vec<u32> = self.large_items_in_queues().collect();
        for id in large_items {
            self.retire(EvictionUnit::Large(id), arena);
        }
        for class in &mut self.class_totals {
            (class.items, class.bytes) = (0, 0);
        }
        (self.totals.curr_items, self.totals.bytes) = (0, 0);
        if let Some(flash) = &mut self.flash {
            flash.flush();
        }
    }
}
