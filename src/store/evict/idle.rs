//! Moves values to flash that have not been used for `ext_item_age`, although memory is not short. Methods of the write
//! transaction, called by a ring's background work; the victim that they work on is a field of the segment table.
//!
//! Once the oldest segment of a queue has reached that age, it is examined. Idle values go to flash. The other items are copied
//! to the open segment, and are examined again when that segment has reached the age.

use super::Slice;
use crate::clock::Timestamp;
use crate::store::item::Item;
use crate::store::segment_table::{Demoted, Victim, VictimMode};
use crate::store::write_txn::WriteTxn;

impl WriteTxn<'_> {
    /// Moves values that have been unused for `ext_item_age` to flash, although memory has room. Continues with the segment that
    /// an earlier call began to empty, or begins with the oldest segment if that is old enough. True if the caller should call
    /// it again soon.
    pub(in crate::store) fn demote_idle(&mut self) -> bool {
        let Some(age) = self.idle_age() else { return false };
        if self.segments.victim.is_none() {
            self.segments.drop_stale_fronts();
            for id in self.segments.oldest_larges() {
                if self.effort.is_spent() {
                    return true;
                }
                if !self.has_log_room(1) {
                    return false;
                }
                let (item_ref, item) = self.item_of_large(id);
                if self.is_idle(&item)
                    && self.demote(item_ref, &item, self.hash(item.key())) == Demoted::UnderWay
                {
                    return true;
                }
            }
            let since = Timestamp(self.now.0.saturating_sub(age));
            let arena = self.arena();
            let Some(id) = self.segments.oldest_segment(since, arena) else { return false };
            self.segments.detach(id);
            self.segments.victim = Some(Victim::new(id, VictimMode::DemoteIdle, 1));
        }
        while let Some(victim) = self.segments.victim {
            // A victim in another mode is the evictor's work.
            if victim.mode != VictimMode::DemoteIdle {
                return false;
            }
            if self.effort.is_spent() {
                break;
            }
            if self.evict_step() != Slice::Worked {
                return false;
            }
        }
        true
    }

    /// Makes an ordinary victim of a segment that [`WriteTxn::demote_idle`] was emptying: the items in it that are yet to be
    /// examined are evicted like any others. Called when memory is needed.
    pub(super) fn take_idle_victim(&mut self) {
        if let Some(victim) = self.segments.victim
            && victim.mode == VictimMode::DemoteIdle
        {
            let spares_short = self.segments.has_few_short_items();
            let mode = if spares_short { VictimMode::EvictLong } else { VictimMode::Evict };
            self.segments.victim = Some(Victim { mode, ..victim });
        }
    }

    /// `ext_item_age`, seconds; `None` if values do not move to flash by age: it is "never", there is no tier, or the device is
    /// out of use.
    fn idle_age(&self) -> Option<u32> {
        let flash = self.tier()?;
        (flash.item_age() != u32::MAX && !flash.is_out_of_use()).then(|| flash.item_age())
    }

    /// True if an item has been unused for longer than `ext_item_age`. False if values do not move to flash by age.
    pub(super) fn is_idle(&self, item: &Item<'_>) -> bool {
        let idle = self.now.0.saturating_sub(item.last_access().0);
        self.idle_age().is_some_and(|age| idle > age)
    }
}
