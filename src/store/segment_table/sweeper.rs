//! The position of the sweep: see `store/sweep.rs`.

use crate::clock::Timestamp;

/// The position of the sweep, and what it may still do in this second.
#[derive(Debug, Default)]
pub(in crate::store) struct Sweep {
    /// The second that the other fields are about.
    pub(in crate::store) second: Timestamp,
    /// The ring that sweeps in this second.
    pub(in crate::store) ring: usize,
    pub(in crate::store) looks_left: u64,
    pub(in crate::store) removals_left: u64,
    pub(in crate::store) walk: Option<Walk>,
}

/// A segment that is being walked. The schedule contains it only for items that the walk has seen, or that came since.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Walk {
    pub(in crate::store) id: u32,
    /// The segment's epoch when the walk began. If it differs, the segment has been emptied since.
    pub(in crate::store) epoch: u32,
    /// Offset of the next item.
    pub(in crate::store) offset: u32,
    /// Items that expired up to then were removed by the previous walk.
    pub(in crate::store) removed_by: Timestamp,
}

impl Sweep {
    /// True if the walk has yet to reach `offset` of segment `id`.
    pub(super) fn is_ahead(&self, id: u32, epoch: u32, offset: u32) -> bool {
        self.walk.is_some_and(|walk| walk.id == id && walk.epoch == epoch && walk.offset <= offset)
    }

    pub(in crate::store) fn may_go_on(&self) -> bool {
        self.looks_left > 0 && self.removals_left > 0
    }
}
