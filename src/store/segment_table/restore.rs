//! Rebuilds the segment table of a store that continues from a memory file. Runs once at the start, before rings run
//! (`store/restore`).

use super::table::SegmentTable;
use super::unit::{EvictionUnit, Fifo, Large, Queue, Segment, State};
use crate::clock::Timestamp;
use crate::store::arena::Arena;
use crate::store::large::Extents;
use crate::store::memory_file::Ledger;
use std::collections::BTreeMap;

/// What was found in the memory file: the units in use, and sums over their live items.
#[derive(Debug, Default)]
pub(in crate::store) struct RestoredUnits {
    /// The segments with live items, in the order of their numbers.
    pub(in crate::store) segments: Vec<RestoredSegment>,
    pub(in crate::store) larges: Vec<RestoredLarge>,
    /// For each size class ([`classes`](crate::classes)): the number of live items, and their bytes.
    pub(in crate::store) classes: Vec<(u64, u64)>,
}

/// A segment with live items.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct RestoredSegment {
    pub(in crate::store) id: u32,
    pub(in crate::store) queue: u8,
    /// The sequence number in the file, which gives the order of the queues.
    pub(in crate::store) sequence: u64,
    pub(in crate::store) used: u32,
    pub(in crate::store) live: u32,
    pub(in crate::store) opened: Timestamp,
    /// When the first of the segment's items expires; NEVER if none does.
    pub(in crate::store) earliest: Timestamp,
}

/// A live large item.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct RestoredLarge {
    pub(in crate::store) id: u32,
    pub(in crate::store) queue: u8,
    pub(in crate::store) sequence: u64,
    pub(in crate::store) offset: u64,
    pub(in crate::store) bytes: u64,
    pub(in crate::store) exptime: Timestamp,
}

fn queue_of(number: u8) -> Queue {
    match number {
        1 => Queue::Main,
        2 => Queue::Stubs,
        _ => Queue::Small,
    }
}

impl SegmentTable {
    /// Sets the ledger, through which changes are recorded in the memory file from here on.
    pub(in crate::store) fn keep_ledger(&mut self, ledger: Ledger) {
        self.ledger = ledger;
    }

    /// Moves `units` into an empty table; `cas` is the last CAS unique that may have been handed out.
    pub(in crate::store) fn restore(&mut self, arena: &Arena, units: &RestoredUnits, cas: u64) {
        assert!(self.segments.len() == 1 && self.large_items.is_empty(), "an empty table");
        self.cas = cas;
        let mut order = BTreeMap::new();
        for segment in &units.segments {
            order.insert((segment.sequence, 0, segment.id), EvictionUnit::Segment(segment.id));
            self.restore_segment(segment);
        }
        self.restore_larges(arena, &units.larges);
        for large in &units.larges {
            order.insert((large.sequence, 1, large.id), EvictionUnit::Large(large.id));
        }
        for unit in order.into_values() {
            self.restore_place(unit);
        }
        self.reopen();
        for id in 1..self.segments.len() as u32 {
            if self.segments[id as usize].state == State::Sealed {
                self.tail_bytes += self.segment_bytes - u64::from(self.segments[id as usize].used);
                self.reclaim_list.update(id, &mut self.segments);
            }
        }
        for (totals, &(items, bytes)) in self.class_totals.iter_mut().zip(&units.classes) {
            (totals.items, totals.bytes) = (items, bytes);
            self.totals.curr_items += items;
            self.totals.bytes += bytes;
        }
        self.discard_unused(arena);
    }

    fn restore_segment(&mut self, restored: &RestoredSegment) {
        let &RestoredSegment { id, queue, used, live, opened, earliest, .. } = restored;
        while self.segments.len() <= id as usize {
            let id = self.segments.len() as u32;
            self.segments.push(Segment::free());
            self.free_cold.push(id);
        }
        // Segments come in the order of their numbers, so this one is the last so far.
        let listed = self.free_cold.pop();
        assert_eq!(listed, Some(id), "segments come in their order");
        self.segments[id as usize] =
            Segment { state: State::Sealed, queue: queue_of(queue), used, live, opened, ..Segment::free() };
        self.segments_in_use += 1;
        self.live_bytes += u64::from(live);
        if earliest != Timestamp::NEVER {
            self.schedule.note(EvictionUnit::Segment(id), earliest);
        }
    }

    fn restore_larges(&mut self, arena: &Arena, larges: &[RestoredLarge]) {
        let mut extents: Vec<(u64, u64)> = larges.iter().map(|large| (large.offset, large.bytes)).collect();
        extents.sort_unstable();
        self.extents =
            Extents::around(&extents, arena.large_base()..arena.large_base() + arena.large_bytes());
        let large = |large: &RestoredLarge| {
            let &RestoredLarge { id, offset, bytes, .. } = large;
            // The epoch distinguishes large items that have the same id one after the other.
            (id as usize, Large { offset, bytes, queue: None, epoch: 0 })
        };
        self.large_items = larges.iter().map(large).collect();
        for &RestoredLarge { id, offset, bytes, exptime, queue, .. } in larges {
            arena.write_extent_head(offset, bytes, id);
            self.large_bytes += bytes;
            self.large_items[id as usize].queue = Some(queue_of(queue));
            if exptime != Timestamp::NEVER {
                self.schedule.note(EvictionUnit::Large(id), exptime);
            }
        }
    }

    /// Appends a restored unit to its queue.
    fn restore_place(&mut self, unit: EvictionUnit) {
        match unit {
            EvictionUnit::Segment(id) => {
                let Segment { queue, epoch, .. } = self.segments[id as usize];
                self.fifos[queue as usize].push_back((unit, epoch));
                self.queue_bytes[queue as usize] += self.segment_bytes;
            }
            EvictionUnit::Large(id) => {
                let queue = self.large_items[id as usize].queue.take().unwrap_or(Queue::Small);
                self.enter_queue(id, queue);
            }
        }
    }

    /// Reopens the last segment of each queue if it is not full, so that a restart does not waste its tail.
    fn reopen(&mut self) {
        for (queue, fifo) in
            [(Queue::Small, Fifo::Small), (Queue::Main, Fifo::Main), (Queue::Stubs, Fifo::Stubs)]
        {
            let last = self.fifos[fifo as usize].iter().filter_map(|&(unit, _)| match unit {
                EvictionUnit::Segment(id) => Some(id),
                EvictionUnit::Large(_) => None,
            });
            if let Some(id) = last.last()
                && u64::from(self.segments[id as usize].used) < self.segment_bytes
            {
                self.segments[id as usize].state = State::Open;
                self.open[queue as usize] = Some(id);
            }
        }
    }

    /// Gives the memory of everything that is not in use back to the system.
    fn discard_unused(&self, arena: &Arena) {
        for &id in &self.free_cold {
            arena.discard(arena.segment_offset(id), self.segment_bytes);
        }
        let end = arena.segment_offset(self.segments.len() as u32);
        if end < arena.large_base() {
            arena.discard(end, arena.large_base() - end);
        }
        self.extents.iter().for_each(|(offset, bytes)| arena.discard(offset, bytes));
    }

    /// Bytes of the limit for which no memory has been claimed yet.
    fn unclaimed_bytes(&self) -> u64 {
        self.limit.saturating_sub(self.committed() + self.overhead())
    }

    /// Lowers the limit by the memory that could not be claimed for it.
    pub(in crate::store) fn note_unclaimed(&mut self, arena: &Arena) {
        self.note_lack(arena, self.unclaimed_bytes());
    }

    /// Gives memory to free segments, up to the limit, so that the store cannot run out of memory later. If more is in use than
    /// the limit allows, the excess is tolerated until it has been evicted.
    ///
    /// # Errors
    /// The file system has no room for all of them. Segments that got memory keep it.
    pub(in crate::store) fn claim(&mut self, arena: &Arena) -> nix::Result<()> {
        self.over_limit_bytes = self.used().saturating_sub(self.limit);
        let mut ids = Vec::new();
        let count = self.unclaimed_bytes() / self.segment_bytes;
        self.free_cold.sort_unstable_by_key(|&id| std::cmp::Reverse(id));
        while (ids.len() as u64) < count {
            let Some(id) = self.free_cold.pop().or_else(|| self.new_segment()) else { break };
            ids.push(id);
        }
        let mut result = Ok(());
        for run in ids.chunk_by(|one, next| one + 1 == *next) {
            result = result.and_then(|()| {
                arena.commit(arena.segment_offset(run[0]), run.len() as u64 * self.segment_bytes)
            });
            if result.is_ok() { self.free_warm.extend(run) } else { self.free_cold.extend(run) }
        }
        // Segments are taken from the end of the list, so now those with the lowest numbers are taken first.
        self.free_warm.reverse();
        result
    }
}
