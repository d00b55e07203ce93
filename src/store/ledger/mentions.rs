//! A queue of units, in which a unit that has left it otherwise than by its front is still mentioned.
//!
//! ```text
//! front ─► kept kept kept │ nothing nothing … │ not looked at yet …
//!                        write               read
//! ```
//!
//! Old mentions are dropped by moving the current ones together, a few at a time: doing it in one go would take
//! milliseconds of the writer lock with hundreds of thousands of large items.

use super::Unit;
use std::collections::VecDeque;

/// A unit, with the epoch by which an old mention of it is told from a current one.
pub(super) type Mention = (Unit, u32);

/// What stands where a mention was moved from. Segment 0 is never in use.
const NOTHING: Mention = (Unit::Segment(0), u32::MAX);
/// Mentions looked at for each unit that is retired while there is something to drop.
const STEP: usize = 8;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    queue: VecDeque<Mention>,
    /// Where the next current mention is moved to, and the next that is looked at; both 0 between two rounds.
    write: usize,
    read: usize,
}

impl Mentions {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Mention> {
        self.queue.iter()
    }

    pub(super) fn push_back(&mut self, mention: Mention) {
        self.queue.push_back(mention);
    }

    pub(super) fn pop_front(&mut self) -> Option<Mention> {
        self.write = self.write.saturating_sub(1);
        self.read = self.read.saturating_sub(1);
        self.queue.pop_front()
    }

    /// Looks at a few mentions if there are more than `len_max` or a round has been begun.
    pub(super) fn drop_old(&mut self, len_max: usize, is_current: impl Fn(Mention) -> bool) {
        if self.read == 0 && self.queue.len() <= len_max {
            return;
        }
        for _ in 0..STEP {
            let Some(&mention) = self.queue.get(self.read) else {
                self.queue.truncate(self.write);
                (self.write, self.read) = (0, 0);
                return;
            };
            if is_current(mention) {
                self.queue[self.read] = NOTHING;
                self.queue[self.write] = mention;
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
        let mut mentions = Mentions::default();
        let mut expected = VecDeque::new();
        let mut random = fastrand::Rng::with_seed(5);
        let is_current = |(unit, epoch): Mention| unit != Unit::Segment(0) && epoch % 3 == 0;
        for epoch in 0..if cfg!(miri) { 600 } else { 10_000 } {
            let mention = (Unit::Large(random.u32(..)), epoch);
            mentions.push_back(mention);
            if is_current(mention) {
                expected.push_back(mention);
            }
            mentions.drop_old(200, is_current);
            // Now and then one goes by the front, as the next victim.
            if random.u8(..5) == 0 {
                while let Some(front) = mentions.pop_front() {
                    if is_current(front) {
                        assert_eq!(Some(front), expected.pop_front());
                        break;
                    }
                }
            }
        }
        assert!(mentions.len() < 2 * expected.len(), "{} for {}", mentions.len(), expected.len());
        let left: VecDeque<Mention> =
            mentions.iter().copied().filter(|&mention| is_current(mention)).collect();
        assert_eq!(left, expected);
    }
}
