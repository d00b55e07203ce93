//! A queue of units, in which a unit that has left it otherwise than by its front is still mentioned.
//!
//! ```text
//! front ─► kept kept kept │ nothing nothing … │ not looked at yet …
//!                        write               read
//! ```
//!
//! Old entries are dropped by moving the current ones together, a few at a time: doing it in one go would take
//! milliseconds of the writer lock with hundreds of thousands of large items.

use super::EvictionUnit;
use std::collections::VecDeque;

/// A unit, with the epoch by which an old entry of it is told from a current one.
pub(super) type FifoEntry = (EvictionUnit, u32);

/// What stands where an entry was moved from. Segment 0 is never in use.
const NOTHING: FifoEntry = (EvictionUnit::Segment(0), u32::MAX);
/// Entries looked at for each unit that is retired while there is something to drop.
const STEP: usize = 8;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct LazyFifo {
    queue: VecDeque<FifoEntry>,
    /// Where the next current entry is moved to, and the next that is looked at; both 0 between two rounds.
    write: usize,
    read: usize,
}

impl LazyFifo {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &FifoEntry> {
        self.queue.iter()
    }

    pub(super) fn push_back(&mut self, entry: FifoEntry) {
        self.queue.push_back(entry);
    }

    pub(super) fn pop_front(&mut self) -> Option<FifoEntry> {
        self.write = self.write.saturating_sub(1);
        self.read = self.read.saturating_sub(1);
        self.queue.pop_front()
    }

    /// Looks at a few entries if there are more than `len_max` or a round has been begun.
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
            // Now and then one goes by the front, as the next victim.
            if random.u8(..5) == 0 {
                while let Some(front) = entries.pop_front() {
                    if is_current(front) {
                        assert_eq!(Some(front), expected.pop_front());
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
