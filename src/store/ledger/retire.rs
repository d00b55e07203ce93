//! From dead to free: retiring what nobody can find any more, collecting what nobody can reach.

use super::sum::Sum;
use super::{Ledger, Line, State, Unit};
use crate::store::item::Layout;
use crate::store::item_ref::ItemRef;
use crate::store::space::{Home, Space};

/// Units taken back under the lock at a time: after a flush, all there are wait for it.
const COLLECT_UNITS: usize = 256;

impl Ledger {
    /// Nothing of `unit` can be found any more by a ring that has applied the log up to its present tail.
    pub(in crate::store) fn retire(&mut self, unit: Unit, space: &Space) {
        match unit {
            Unit::Segment(id) => {
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
            Unit::Large(id) => {
                self.dequeued(unit);
                self.pending_bytes += self.larges[id as usize].bytes;
            }
        }
        self.retired.push_back((unit, space.log().tail()));
        self.forget_old_mentions();
    }

    /// Overwritten units leave their mentions in the queues; drops some once they outnumber the units.
    pub(super) fn forget_old_mentions(&mut self) {
        let len_max = 2 * (self.segments_in_use.get() as usize + self.larges.len()) + 64;
        let mut queues = std::mem::take(&mut self.queues);
        for (line, mentions) in [Line::Small, Line::Main, Line::SmallLarges].into_iter().zip(&mut queues) {
            mentions.drop_old(len_max, |mention| self.is_current(line.queue(), mention));
        }
        self.queues = queues;
    }

    /// Takes back retired memory that no ring and no pin can reach any more, a bounded number of units.
    pub(in crate::store) fn collect(&mut self, space: &Space) {
        if self.retired.is_empty() && self.held.is_empty() {
            return;
        }
        for _ in 0..self.held.len().min(COLLECT_UNITS) {
            let Some(unit) = self.held.pop_front() else { break };
            self.held_bytes -= self.unit_bytes(unit);
            self.release(unit, space);
        }
        for _ in 0..COLLECT_UNITS {
            let Some(unit) = self.collectable(space) else { break };
            self.retired.pop_front();
            self.release(unit, space);
        }
    }

    /// True if there is more to collect at once.
    pub(in crate::store) fn has_collectable(&mut self, space: &Space) -> bool {
        self.collectable(space).is_some()
    }

    /// The unit that was retired first, if everybody has passed its retirement.
    fn collectable(&mut self, space: &Space) -> Option<Unit> {
        let &(unit, place) = self.retired.front()?;
        if place > self.let_go {
            self.let_go = space.log().passed();
        }
        (place <= self.let_go).then_some(unit)
    }

    pub(super) fn release(&mut self, unit: Unit, space: &Space) {
        let counts = match unit {
            Unit::Segment(id) => space.counts(id),
            Unit::Large(id) => space.extent_counts(self.larges[id as usize].offset),
        };
        if counts.is_held() {
            self.held.push_back(unit);
            self.held_bytes += self.unit_bytes(unit);
            return;
        }
        match unit {
            Unit::Segment(id) => {
                self.segments[id as usize].state = State::Free;
                self.segments_in_use -= 1;
                self.retired_segments -= 1;
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

    /// Bytes of a unit; 0 for a large item that is not there.
    pub(super) fn unit_bytes(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Segment(_) => self.segment_bytes,
            Unit::Large(id) => self.larges.get(id as usize).map_or(0, |large| large.bytes),
        }
    }

    /// A draft was dropped unpublished.
    pub(in crate::store) fn abandon(&mut self, space: &Space, item: ItemRef, layout: Layout) {
        self.reserve(space, item, layout, false);
        match self.home(space, item) {
            Home::Segment(id) => self.judge(id, space),
            Home::Large(id) => self.retire(Unit::Large(id), space),
        }
    }

    /// The last delta of the log was a flush: everything published is gone.
    pub(in crate::store) fn flush(&mut self, space: &Space) {
        self.victim = None;
        self.live_bytes = Sum::default();
        for id in 1..self.segments.len() as u32 {
            let segment = &mut self.segments[id as usize];
            segment.live = 0;
            let drafted = space.counts(id).is_drafted();
            match segment.state {
                State::Sealed | State::Victim if !drafted => self.retire(Unit::Segment(id), space),
                State::Sealed => self.reclaim_list.update(id, &mut self.segments),
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
