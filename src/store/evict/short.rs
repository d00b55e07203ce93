//! Keeps items too short for flash in memory while they take little of it: longer items, which can move to flash, make room.
//! Methods of the write transaction; the count `fruitless` is a field of the segment table.
//!
//! The evictor copies such items to main, and finishes each victim that it has begun, whatever that costs. But when the credit
//! is used up, it does not begin a segment whose first items are all short. It puts the segment at the end of its queue, at the
//! price of a few look-ups, and searches on. So the credit is overdrawn by no more than one victim, however many short items
//! stand together.
//!
//! The search ends because `fruitless` counts the segments in a row that gained nothing. For as many as the queues have entries,
//! such segments are put back. For as many again, they are emptied and their short items copied. From then on short items are
//! evicted like others. It only comes to that if nothing else in memory can be evicted.

use super::LOOK_AHEAD;
use crate::store::item::Item;
use crate::store::segment_table::{Fifo, Queue, Victim, VictimMode};
use crate::store::write_txn::WriteTxn;

impl WriteTxn<'_> {
    /// Decides how segment `id`, popped from `fifo`, is to be emptied. `None` if the segment is to go to the end of its queue
    /// instead. Counts the segment in `fruitless` if its short items are to stay.
    pub(super) fn mode_of(&mut self, id: u32, fifo: Fifo) -> Option<VictimMode> {
        if fifo.queue() == Queue::Stubs || !self.segments.has_few_short_items() {
            return Some(VictimMode::Evict);
        }
        let rounds = self.segments.fruitless / (self.segments.queues_len() + 1);
        if rounds > 1 {
            return Some(VictimMode::Evict);
        }
        self.segments.fruitless += 1;
        let is_put_back = rounds == 0 && !self.can_afford(1) && self.begins_with_short_items(id);
        (!is_put_back).then_some(VictimMode::EvictLong)
    }

    /// True if the first items of segment `id` are all alive and too short for flash.
    fn begins_with_short_items(&mut self, id: u32) -> bool {
        let used = self.segments.segments[id as usize].used;
        let mut first = [None; LOOK_AHEAD];
        self.look_ahead(Victim::new(id, VictimMode::EvictLong, 1), used, &mut first);
        self.effort.looked(LOOK_AHEAD, 0);
        let stays = |item: &Item<'_>| !item.expired(self.now) && self.is_short(item);
        first.iter().flatten().all(|candidate| candidate.live && stays(&candidate.item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::flash::tiered;
    use crate::store::tests::{alone, set};

    /// Where nothing else makes room, segments of short items are put back first, then copied, and in the end evicted.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn a_search_that_gains_nothing_ends() {
        let mut shard = alone(tiered(16 << 20, 16 << 20));
        for n in 0..10_000 {
            set(&mut shard, &format!("short-{n}"), &[b'v'; 300]).unwrap();
        }
        let mut txn = shard.write_txn();
        let id = txn.segments.open[Queue::Small as usize].unwrap();
        assert_eq!(txn.mode_of(id, Fifo::Stubs), Some(VictimMode::Evict));
        assert_eq!(txn.mode_of(id, Fifo::Small), Some(VictimMode::EvictLong), "it can be afforded");
        txn.segments.credit.spend(1 << 40);
        let mut modes: Vec<_> = (0..10_000).map(|_| txn.mode_of(id, Fifo::Small)).collect();
        modes.dedup();
        assert_eq!(modes, [None, Some(VictimMode::EvictLong), Some(VictimMode::Evict)]);
        txn.earn(VictimMode::EvictLong, 1);
        assert_eq!(txn.mode_of(id, Fifo::Small), None);
    }
}
