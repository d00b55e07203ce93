//! The segment that is being emptied and the value that is being moved to flash, and how far each has come. Fields of the
//! segment table, under the writer lock; `evict` and `demote` decide what is done with the items.

use crate::store::flash::{DrainedRecord, Place};
use crate::store::item_ref::{Hash, ItemRef};

/// What is done with a victim's live items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum VictimMode {
    /// All are copied, within their queue.
    Clean,
    /// They are kept or dropped by their use and size.
    Evict,
    /// As `Evict`, but items too short for flash are kept whatever their use.
    EvictLong,
    /// Those that have not been used for `ext_item_age` move to flash; the others are kept.
    DemoteIdle,
}

impl VictimMode {
    /// True if the victim is emptied to make room, by evicting items.
    pub(in crate::store) fn is_evicting(self) -> bool {
        matches!(self, Self::Evict | Self::EvictLong)
    }
}

/// A segment that is being emptied.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Victim {
    pub(in crate::store) id: u32,
    /// Offset in the segment at which the next item to examine begins, bytes.
    pub(in crate::store) offset: u32,
    pub(in crate::store) mode: VictimMode,
    /// How many bytes of the segment must be examined for each byte that emptying it frees.
    pub(in crate::store) effort: u64,
}

impl Victim {
    /// Makes segment `id` a victim of which no item has been examined yet.
    pub(in crate::store) fn new(id: u32, mode: VictimMode, effort: u64) -> Self {
        Self { id, offset: 0, mode, effort }
    }
}

/// A value that is being copied to the open chunk on flash. The transfer ends without result if its item is removed meanwhile.
#[derive(Clone, Debug)]
pub(in crate::store) struct Transfer {
    /// The item whose value is copied; if the value comes from a record that has to leave its chunk, the stub of this record.
    pub(in crate::store) item_ref: ItemRef,
    /// The hash of the item's key.
    pub(in crate::store) hash: Hash,
    /// The record that has to leave its chunk; `None` if the value comes from memory.
    pub(in crate::store) leaving: Option<DrainedRecord>,
    /// The place on flash that the value is copied to.
    pub(in crate::store) place: Place,
    /// Bytes of the value that have been copied.
    pub(in crate::store) copied: usize,
}

/// The result of an attempt to move a value to flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Demoted {
    /// The value is on flash, and its stub is published.
    Done,
    /// Part of the value has been copied; further transactions copy the rest of it.
    UnderWay,
    /// The value did not move: the item is too short or a stub already, or there is no room for it.
    Not,
}
