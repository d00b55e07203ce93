//! Segments and large items, ordered by the earliest time at which something in them may expire. A field of the segment table,
//! under the writer lock; the sweep (`store/sweep`) takes the first.
//!
//! ```text
//!   heap        [ at 7, segment 3 ] [ at 9, large 0 ] [ at 8, segment 1 ] …    the earliest first
//!   positions   segment 3 → 0, segment 1 → 2, large 0 → 1                      of each in the heap
//! ```
//!
//! A unit has at most one entry. Its time is never later than the expiry of the unit's earliest live item; it is earlier if
//! that item has gone since, which the sweeper notices when the entry comes first. So an entry only ever moves towards the
//! front, and few of a segment's items move it: the nth with a random expiry does so with a probability of 1 in n.
//!
//! Memory: 12 bytes for each segment, and for each large item that exists at the same time.
//!
//! A heap of our own, because `note` runs under the writer lock for every item with an expiry. Unit numbers are dense, so a
//! position is found in an array. The heaps of crates.io that can change a priority (`keyed_priority_queue`,
//! `priority-queue`) find it in a hash map: in a test of a million notes over 4,096 units with a pop for every 100, a note
//! took three times as long, with a `BTreeSet` twice as long. The licence of `priority-queue` is not allowed here (`just deny`).

use super::unit::EvictionUnit;
use crate::clock::Timestamp;

/// The position of a unit that has no entry.
const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Timestamp,
    unit: EvictionUnit,
}

/// The heap, and the position in it of each unit's entry.
#[derive(Debug, Default)]
pub(in crate::store) struct Schedule {
    /// A binary heap: the children of position p are at 2p + 1 and 2p + 2, and their times are no earlier.
    heap: Vec<Entry>,
    /// For each segment, by number: the position of its entry, or [`NOWHERE`].
    segments: Vec<u32>,
    /// For each large item, by number: the position of its entry, or [`NOWHERE`].
    large_items: Vec<u32>,
}

impl Schedule {
    /// Notes that an item in `unit` expires at `at`, which is not [`Timestamp::NEVER`].
    #[inline]
    pub(in crate::store) fn note(&mut self, unit: EvictionUnit, at: Timestamp) {
        let position = self.position(unit);
        if position == NOWHERE || at < self.heap[position as usize].at {
            self.bring_forward(position, Entry { at, unit });
        }
    }

    #[cold]
    fn bring_forward(&mut self, position: u32, entry: Entry) {
        let position = if position == NOWHERE {
            self.heap.push(entry);
            self.heap.len() - 1
        } else {
            position as usize
        };
        self.rise(position, entry);
    }

    /// The unit with the earliest time, and that time.
    pub(in crate::store) fn first(&self) -> Option<(EvictionUnit, Timestamp)> {
        self.heap.first().map(|entry| (entry.unit, entry.at))
    }

    /// Removes the first entry.
    pub(in crate::store) fn pop(&mut self) {
        let Some(first) = self.heap.first() else { return };
        *self.position_mut(first.unit) = NOWHERE;
        let Some(last) = self.heap.pop() else { return };
        if !self.heap.is_empty() {
            self.sink(last);
        }
    }

    /// The time of `unit`'s entry, if it has one.
    pub(super) fn time_of(&self, unit: EvictionUnit) -> Option<Timestamp> {
        self.heap.get(self.position(unit) as usize).map(|entry| entry.at)
    }

    /// Puts `entry` into the gap at `position`, or nearer to the front: each parent with a later time first moves back into the
    /// gap.
    fn rise(&mut self, mut position: usize, entry: Entry) {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent].at <= entry.at {
                break;
            }
            self.put(position, self.heap[parent]);
            position = parent;
        }
        self.put(position, entry);
    }

    /// Puts `entry` into the gap at the front, or further back: each child with an earlier time first moves forward into the
    /// gap.
    fn sink(&mut self, entry: Entry) {
        let mut position = 0;
        loop {
            let mut child = 2 * position + 1;
            if child + 1 < self.heap.len() && self.heap[child + 1].at < self.heap[child].at {
                child += 1;
            }
            if child >= self.heap.len() || entry.at <= self.heap[child].at {
                break;
            }
            self.put(position, self.heap[child]);
            position = child;
        }
        self.put(position, entry);
    }

    fn put(&mut self, position: usize, entry: Entry) {
        self.heap[position] = entry;
        *self.position_mut(entry.unit) = position as u32;
    }

    fn position(&self, unit: EvictionUnit) -> u32 {
        let (positions, id) = match unit {
            EvictionUnit::Segment(id) => (&self.segments, id),
            EvictionUnit::Large(id) => (&self.large_items, id),
        };
        positions.get(id as usize).copied().unwrap_or(NOWHERE)
    }

    fn position_mut(&mut self, unit: EvictionUnit) -> &mut u32 {
        let (positions, id) = match unit {
            EvictionUnit::Segment(id) => (&mut self.segments, id as usize),
            EvictionUnit::Large(id) => (&mut self.large_items, id as usize),
        };
        if id >= positions.len() {
            positions.resize(id + 1, NOWHERE);
        }
        &mut positions[id]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn gives_the_earliest_of_each_first() {
        let mut schedule = Schedule::default();
        let mut model: HashMap<EvictionUnit, u32> = HashMap::new();
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..if cfg!(miri) { 300 } else { 30_000 } {
            let id = random.u32(..50);
            let unit = if random.bool() { EvictionUnit::Segment(id) } else { EvictionUnit::Large(id) };
            let at = random.u32(1..1_000);
            schedule.note(unit, Timestamp(at));
            model.entry(unit).and_modify(|before| *before = at.min(*before)).or_insert(at);
            assert_eq!(schedule.time_of(unit), Some(Timestamp(model[&unit])));
            if random.u8(..3) == 0 {
                let (first, at) = schedule.first().unwrap();
                assert_eq!(Some(&at.0), model.values().min());
                assert_eq!(model.remove(&first), Some(at.0));
                schedule.pop();
                assert_eq!(schedule.time_of(first), None);
            }
        }
        assert!(schedule.heap.len() == model.len() && model.len() <= 100, "each unit has one entry");
        while schedule.first().is_some() {
            schedule.pop();
        }
        schedule.pop();
    }
}
