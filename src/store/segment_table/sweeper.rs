//! How far the sweep for expired items has come: the state of `store/sweep.rs`. A field of the segment table, under the writer
//! lock.

use crate::clock::Timestamp;

/// The state of the sweep, and what it may still do in this second.
#[derive(Debug, Default)]
pub(in crate::store) struct Sweep {
    /// The second that the next five fields are about.
    pub(in crate::store) second: Timestamp,
    /// The ring that sweeps in this second.
    pub(in crate::store) ring: usize,
    /// Items that may still be examined in this second, without having expired.
    pub(in crate::store) looks_left: u64,
    /// Items that may still be removed in this second.
    pub(in crate::store) removals_left: u64,
    /// Items that are removed between two rests.
    pub(in crate::store) share: u64,
    /// Items that may still be removed before the next rest.
    pub(in crate::store) share_left: u64,
    /// The segment that is being walked, if one is.
    pub(in crate::store) walk: Option<Walk>,
}

/// A segment that is being walked. Items that the walk has yet to reach are not in the schedule: they have been taken out with
/// the segment's entry, and are noted again when the walk finds them.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Walk {
    pub(in crate::store) id: u32,
    /// The segment's epoch when the walk began. If it has changed, the segment has been emptied since.
    pub(in crate::store) epoch: u32,
    /// Offset of the next item.
    pub(in crate::store) offset: u32,
    /// When the previous walk of the segment began: that walk removed the items that had expired by then.
    pub(in crate::store) removed_by: Timestamp,
}

impl Sweep {
    /// True if the walk has yet to reach `offset` of segment `id`.
    pub(super) fn is_ahead(&self, id: u32, epoch: u32, offset: u32) -> bool {
        self.walk.is_some_and(|walk| walk.id == id && walk.epoch == epoch && walk.offset <= offset)
    }

    /// True if the sweep may do more in this second.
    pub(in crate::store) fn may_go_on(&self) -> bool {
        self.looks_left > 0 && self.removals_left > 0
    }

    /// Takes a removal from what may still be removed.
    pub(in crate::store) fn count_removal(&mut self) {
        self.removals_left = self.removals_left.saturating_sub(1);
        self.share_left = self.share_left.saturating_sub(1);
    }

    /// True if the share is used up: then the next one begins.
    pub(in crate::store) fn end_share(&mut self) -> bool {
        let has_ended = self.share_left == 0;
        if has_ended {
            self.share_left = self.share;
        }
        has_ended
    }
}
