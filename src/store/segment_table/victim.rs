//! The segment that is being emptied, the value that is being moved to flash, and how far that has come. Fields of the segment
//! table, under the writer lock; `evict` and `demote` decide what is done with the items.

use crate::store::flash::{DrainedRecord, Place};
use crate::store::item_ref::{Hash, ItemRef};

/// What is done with a victim's live items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum VictimMode {
    /// Copy all of them, within their queue.
    Clean,
    /// Keep or drop them by their use and size.
    Evict,
    /// As `Evict`, but items that are too short for flash stay.
    EvictLong,
    /// Move those to flash that have not been used for `ext_item_age`, and keep the others.
    DemoteIdle,
}

impl VictimMode {
    /// True if items are evicted to make room.
    pub(in crate::store) fn is_evicting(self) -> bool {
        matches!(self, Self::Evict | Self::EvictLong)
    }
}

/// A segment that is being emptied.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Victim {
    pub(in crate::store) id: u32,
    /// Where the next item to look at begins.
    pub(in crate::store) offset: u32,
    pub(in crate::store) mode: VictimMode,
    /// How many of its bytes must be looked at for each byte gained.
    pub(in crate::store) effort: u64,
}

impl Victim {
    /// Segment `id`, from its first item on.
    pub(in crate::store) fn new(id: u32, mode: VictimMode, effort: u64) -> Self {
        Self { id, offset: 0, mode, effort }
    }
}

/// A value that is being copied to the open chunk. The transfer ends without result if its item is removed meanwhile.
#[derive(Clone, Debug)]
pub(in crate::store) struct Transfer {
    /// The item whose value is copied; or the stub of a record that has to leave its chunk.
    pub(in crate::store) item_ref: ItemRef,
    /// The hash of its key.
    pub(in crate::store) hash: Hash,
    /// The record that has to leave its chunk; `None` if the value comes from memory.
    pub(in crate::store) leaving: Option<DrainedRecord>,
    /// Where the value is copied to.
    pub(in crate::store) place: Place,
    /// Bytes of the value that have been copied.
    pub(in crate::store) copied: usize,
}

/// What came of moving a value to flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Demoted {
    /// The value is on flash, and its stub is published.
    Done,
    /// There is more to copy, in further transactions.
    UnderWay,
    /// The item stays as it was: it is too short or a stub already, or there is no room.
    Not,
}
