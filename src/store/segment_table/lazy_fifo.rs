//! A FIFO of units (segments and large items) with lazy deletion: a unit that is removed from the middle leaves a stale entry.
//! The segment table has one for each [`Fifo`](super::unit::Fifo), under the writer lock.
//!
//! ```text
//! front ─► kept kept kept │ nothing nothing … │ not yet examined …
//!                        write               read
//! ```
//!
//! Stale entries are dropped by moving the current ones together, a few at a time. With hundreds of thousands of large items,
//! moving all entries in one go would take milliseconds under the writer lock.

use super::unit::EvictionUnit;
use std::collections::VecDeque;

/// A unit, and its epoch, which tells a current entry from a stale one.
pub(super) type FifoEntry = (EvictionUnit, u32);

/// What is left in the place of an entry that has been moved forward. Stale, since segment 0 is never in use.
const NOTHING: FifoEntry = (EvictionUnit::Segment(0), u32::MAX);
/// Entries examined for each unit that is retired, during a round of cleaning up.
const STEP: usize = 8;

/// A queue of units, in which some entries may be stale.
#[derive(Debug, Default)]
pub(super) struct LazyFifo {
    queue: VecDeque<FifoEntry>,
    /// Index to which this round of cleaning up moves the next current entry; 0 between rounds.
    write: usize,
    /// Index of the next entry to examine in this round; 0 between rounds.
    read: usize,
}

impl LazyFifo {
    /// Number of entries, stale ones included.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &FifoEntry> {
        self.queue.iter()
    }

    pub(super) fn push_back(&mut self, entry: FifoEntry) {
        self.queue.push_back(entry);
    }

    /// Puts `entry`, which [`LazyFifo::pop_front`] has just returned, back to the front.
    pub(super) fn push_front(&mut self, entry: FifoEntry) {
        if self.read > 0 {
            (self.write, self.read) = (self.write + 1, self.read + 1);
        }
        self.queue.push_front(entry);
    }

    pub(super) fn pop_front(&mut self) -> Option<FifoEntry> {
        self.write = self.write.saturating_sub(1);
        self.read = self.read.saturating_sub(1);
        self.queue.pop_front()
    }

    /// Examines the next few entries of the present round of cleaning up, and drops those that are not current. If no round is
    /// under way, begins one if there are more than `len_max` entries, else does nothing.
    pub(super) fn drop_old(&mut self, len_max: usize, is_current: impl Fn(FifoEntry) -> bool) {
        if self.read == 0 && self.queue.len() <= len_max {
            return;
        }
        for _ in 0..STEP {
            let Some(&entry) = self.queue.get(self.read) else {
                self.queue.truncate(self.write);
                (self.write, self.read) = (0, 0);
                return;
            };
            if is_current(entry) {
                self.queue[self.read] = NOTHING;
                self.queue[self.write] = entry;
                self.write += 1;
            }
            self.read += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_what_is_current_while_others_come_and_go() {
        let mut entries = LazyFifo::default();
        let mut expected = VecDeque::new();
        let mut random = fastrand::Rng::with_seed(5);
        let is_current = |(unit, epoch): FifoEntry| unit != EvictionUnit::Segment(0) && epoch % 3 == 0;
        for epoch in 0..if cfg!(miri) { 600 } else { 10_000 } {
            let entry = (EvictionUnit::Large(random.u32(..)), epoch);
            entries.push_back(entry);
            if is_current(entry) {
                expected.push_back(entry);
            }
            entries.drop_old(200, is_current);
            // Now and then one leaves by the front, as the next victim.
            if random.u8(..5) == 0 {
                while let Some(front) = entries.pop_front() {
                    if is_current(front) {
                        assert_eq!(Some(front), expected.pop_front());
                        if random.bool() {
                            entries.push_front(front);
                            expected.push_front(front);
                        }
                        break;
                    }
                }
            }
        }
        assert!(entries.len() < 2 * expected.len(), "{} for {}", entries.len(), expected.len());
        let left: VecDeque<FifoEntry> = entries.iter().copied().filter(|&entry| is_current(entry)).collect();
        assert_eq!(left, expected);
    }
}
