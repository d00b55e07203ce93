//! How far the sweep for expired items has come: the state of `store/sweep.rs`. A field of the segment table, under the writer
//! lock.

use crate::clock::Timestamp;

/// The state of the sweep, and what it may still do in this second.
#[derive(Debug, Default)]
pub(in crate::store) struct Sweep {
    /// The second to which the next five fields apply.
    pub(in crate::store) second: Timestamp,
    /// The number of the ring that sweeps in this second.
    pub(in crate::store) ring: usize,
    /// How many unexpired items the sweep may still examine in this second.
    pub(in crate::store) looks_left: u64,
    /// How many items the sweep may still remove in this second.
    pub(in crate::store) removals_left: u64,
    /// How many items the sweep removes between two rests.
    pub(in crate::store) share: u64,
    /// How many items the sweep may still remove before its next rest.
    pub(in crate::store) share_left: u64,
    /// The walk over a segment that is under way, if there is one.
    pub(in crate::store) walk: Option<Walk>,
}

/// A walk over the items of a segment. The segment's entry was taken out of the schedule when the walk began, so the schedule
/// lacks the items that the walk has yet to reach; the walk notes them there again when it finds them.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Walk {
    pub(in crate::store) id: u32,
    /// The segment's epoch when the walk began. If it has changed, the segment has been emptied since.
    pub(in crate::store) epoch: u32,
    /// Offset in the segment of the next item to examine, bytes.
    pub(in crate::store) offset: u32,
    /// When the previous walk over the segment began. That walk removed the items that had expired by then.
    pub(in crate::store) removed_by: Timestamp,
}

impl Sweep {
    /// True if the present walk is over segment `id` in this `epoch`, and has yet to reach the item at `offset`.
    pub(super) fn is_ahead(&self, id: u32, epoch: u32, offset: u32) -> bool {
        self.walk.is_some_and(|walk| walk.id == id && walk.epoch == epoch && walk.offset <= offset)
    }

    /// True if the sweep may still examine and remove items in this second.
    pub(in crate::store) fn may_go_on(&self) -> bool {
        self.looks_left > 0 && self.removals_left > 0
    }

    /// Counts a removal: one item less may be removed in this second, and before the next rest.
    pub(in crate::store) fn count_removal(&mut self) {
        self.removals_left = self.removals_left.saturating_sub(1);
        self.share_left = self.share_left.saturating_sub(1);
    }

    /// True if no more items may be removed before the next rest. If so, begins the next share.
    pub(in crate::store) fn end_share(&mut self) -> bool {
        let has_ended = self.share_left == 0;
        if has_ended {
            self.share_left = self.share;
        }
        has_ended
    }
}
