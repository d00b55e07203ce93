//! Segments and large items by the time at which something in them may expire first.
//!
//! ```text
//!   heap      [ at 7, segment 3 ] [ at 9, large 0 ] [ at 8, segment 1 ] …      the earliest in front
//!   places    segment 3 → 0, segment 1 → 2, large 0 → 1                        where each stands
//! ```
//!
//! A unit stands here once, and not later than its earliest live item expires; earlier if that item has gone meanwhile,
//! which shows when its turn comes. So an entry only ever moves forward, which few of a segment's items cause: the nth with
//! a random expiry does so with a chance of 1 in n.
//!
//! Bounded: 12 bytes for each segment, and for each large item that exists at the same time.

use super::EvictionUnit;
use crate::clock::Timestamp;

/// The place of a unit that does not stand in the heap.
const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Timestamp,
    unit: EvictionUnit,
}

/// The heap.
#[derive(Debug, Default)]
pub(in crate::store) struct Schedule {
    /// Binary: the children of place p are at 2p + 1 and 2p + 2, and not earlier.
    heap: Vec<Entry>,
    segments: Vec<u32>,
    large_items: Vec<u32>,
}

impl Schedule {
    /// Something in `unit` expires at `at`, which is not [`Timestamp::NEVER`].
    #[inline]
    pub(in crate::store) fn note(&mut self, unit: EvictionUnit, at: Timestamp) {
        let place = self.place(unit);
        if place == NOWHERE || at < self.heap[place as usize].at {
            self.bring_forward(place, Entry { at, unit });
        }
    }

    #[cold]
    fn bring_forward(&mut self, place: u32, entry: Entry) {
        let place = if place == NOWHERE {
            self.heap.push(entry);
            self.heap.len() - 1
        } else {
            place as usize
        };
        self.rise(place, entry);
    }

    /// The unit whose time comes first, and that time.
    pub(in crate::store) fn first(&self) -> Option<(EvictionUnit, Timestamp)> {
        self.heap.first().map(|entry| (entry.unit, entry.at))
    }

    /// Takes out the first.
    pub(in crate::store) fn pop(&mut self) {
        let Some(first) = self.heap.first() else { return };
        *self.place_mut(first.unit) = NOWHERE;
        let Some(last) = self.heap.pop() else { return };
        if !self.heap.is_empty() {
            self.sink(last);
        }
    }

    /// When the turn of `unit` comes; `None` if it does not.
    pub(super) fn time_of(&self, unit: EvictionUnit) -> Option<Timestamp> {
        self.heap.get(self.place(unit) as usize).map(|entry| entry.at)
    }

    /// Puts `entry` at `place` or as far in front of it as it belongs.
    fn rise(&mut self, mut place: usize, entry: Entry) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].at <= entry.at {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    /// Puts `entry` at the front or as far behind it as it belongs.
    fn sink(&mut self, entry: Entry) {
        let mut place = 0;
        loop {
            let mut child = 2 * place + 1;
            if child + 1 < self.heap.len() && self.heap[child + 1].at < self.heap[child].at {
                child += 1;
            }
            if child >= self.heap.len() || entry.at <= self.heap[child].at {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        *self.place_mut(entry.unit) = place as u32;
    }

    fn place(&self, unit: EvictionUnit) -> u32 {
        let (places, id) = match unit {
            EvictionUnit::Segment(id) => (&self.segments, id),
            EvictionUnit::Large(id) => (&self.large_items, id),
        };
        places.get(id as usize).copied().unwrap_or(NOWHERE)
    }

    fn place_mut(&mut self, unit: EvictionUnit) -> &mut u32 {
        let (places, id) = match unit {
            EvictionUnit::Segment(id) => (&mut self.segments, id as usize),
            EvictionUnit::Large(id) => (&mut self.large_items, id as usize),
        };
        if id >= places.len() {
            places.resize(id + 1, NOWHERE);
        }
        &mut places[id]
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
        assert!(schedule.heap.len() == model.len() && model.len() <= 100, "each stands there once");
        while schedule.first().is_some() {
            schedule.pop();
        }
        schedule.pop();
    }
}
