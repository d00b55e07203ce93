//! The two queues and the list of segments that are dead in part: which is next to go.

use super::{Ledger, Queue, Segment, State, Unit};
use crate::clock::Secs;
use crate::store::space::Space;

impl Ledger {
    /// A sealed segment that is all dead is free at once; one that is dead enough is listed for copying the rest.
    pub(super) fn judge(&mut self, id: u32, space: &Space) {
        let segment = &mut self.segments[id as usize];
        if segment.state != State::Sealed {
            return;
        }
        if segment.live == 0 && !space.counts(id).is_drafted() {
            self.retire(Unit::Segment(id), space);
        } else {
            self.reclaim_list.update(id, &mut self.segments);
        }
    }

    /// The deadest segment that is worth copying; those that values are being received into are passed over.
    pub(in crate::store) fn deadest(&self, space: &Space) -> Option<u32> {
        self.reclaim_list.iter().find(|&id| !space.counts(id).is_drafted())
    }

    /// Bytes of segment `id` to look at for each that this frees.
    pub(in crate::store) fn effort_of(&self, id: u32) -> u64 {
        let segment = &self.segments[id as usize];
        u64::from(segment.used) / u64::from(segment.used - segment.live).max(1)
    }

    /// Takes the oldest unit of `queue` out of it; units that values are being received into are passed over.
    pub(in crate::store) fn pop(&mut self, queue: Queue, space: &Space) -> Option<Unit> {
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
                    self.close(id);
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
    pub(in crate::store) fn seize(&mut self, id: u32) {
        self.dequeued(Unit::Segment(id));
    }

    pub(super) fn dequeued(&mut self, unit: Unit) {
        match unit {
            Unit::Segment(id) => {
                let segment = &mut self.segments[id as usize];
                segment.state = State::Victim;
                self.queue_bytes[segment.queue as usize] -= self.segment_bytes;
                self.tail_bytes -= self.segment_bytes - u64::from(segment.used);
                self.reclaim_list.remove(id, &mut self.segments);
            }
            Unit::Large(id) => {
                let large = &mut self.larges[id as usize];
                if let Some(queue) = large.queue.take() {
                    self.queue_bytes[queue as usize] -= large.bytes;
                }
            }
        }
    }

    pub(super) fn is_current(&self, unit: Unit, epoch: u32) -> bool {
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
    pub(in crate::store) fn find_expired(&mut self, now: Secs, space: &Space) -> Option<u32> {
        let expired = |segment: &Segment| {
            matches!(segment.state, State::Open | State::Sealed)
                && segment.live > 0
                && segment.latest <= now.0
        };
        let found = (1..self.segments.len() as u32)
            .find(|&id| expired(&self.segments[id as usize]) && !space.counts(id).is_drafted())?;
        if self.segments[found as usize].state == State::Open {
            self.close(found);
        }
        Some(found)
    }

    /// The published large items.
    pub(in crate::store) fn larges_in_queues(&self) -> impl Iterator<Item = u32> + '_ {
        self.larges.iter().filter(|(_, large)| large.is_published()).map(|(id, _)| id as u32)
    }

    /// The queue a large item stands in.
    pub(in crate::store) fn large_queue(&self, id: u32) -> Option<Queue> {
        self.larges[id as usize].queue
    }
}
