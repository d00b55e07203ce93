//! Where the sweep is: see `store/sweep.rs`.

use crate::clock::Timestamp;

/// Where the sweep is, and what it may still do.
#[derive(Debug, Default)]
pub(in crate::store) struct Sweep {
    /// The second that the rest is about.
    pub(in crate::store) second: Timestamp,
    /// The ring that works in it.
    pub(in crate::store) ring: usize,
    pub(in crate::store) looks_left: u64,
    pub(in crate::store) removals_left: u64,
    pub(in crate::store) walk: Option<Walk>,
}

/// A segment that is being walked. It does not stand in the schedule but for what has been seen in it, or come, since.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Walk {
    pub(in crate::store) id: u32,
    /// That of the segment: another one means that the segment has been emptied otherwise.
    pub(in crate::store) epoch: u32,
    /// Where the next item begins.
    pub(in crate::store) offset: u32,
    /// What expired by then has been removed by the walk before.
    pub(in crate::store) removed_by: Timestamp,
}

impl Sweep {
    /// True if `offset` of segment `id` is still to be walked over.
    pub(super) fn is_ahead(&self, id: u32, epoch: u32, offset: u32) -> bool {
        self.walk.is_some_and(|walk| walk.id == id && walk.epoch == epoch && walk.offset <= offset)
    }

    pub(in crate::store) fn may_go_on(&self) -> bool {
        self.looks_left > 0 && self.removals_left > 0
    }
}
