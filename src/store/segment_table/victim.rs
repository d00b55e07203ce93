//! The segment that is being emptied, and the value that is being moved to flash, and how far that has come. What is done with
//! the items is decided by `evict` and `stow`.

use crate::store::flash::{DrainedRecord, Place};
use crate::store::item_ref::{Hash, ItemRef};

/// What is done with a victim's live items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum VictimMode {
    /// Copy them all within their queue.
    Clean,
    /// Keep or drop them by their use and size.
    Evict,
    /// As `Evict`, but items that are too short for flash stay.
    EvictLong,
    /// Move those to flash that have not been used for as long, and keep the others.
    StowIdle,
}

impl VictimMode {
    /// True if items go that need not.
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
    /// Bytes to look at for each that is gained.
    pub(in crate::store) effort: u64,
}

impl Victim {
    /// Segment `id`, from its first item on.
    pub(in crate::store) fn new(id: u32, mode: VictimMode, effort: u64) -> Self {
        Self { id, offset: 0, mode, effort }
    }
}

/// A value that is being copied to the open chunk on flash. It ends when its item goes, whatever for.
#[derive(Clone, Debug)]
pub(in crate::store) struct Transfer {
    /// The item, or the stub of a record that leaves its chunk.
    pub(in crate::store) item_ref: ItemRef,
    pub(in crate::store) hash: Hash,
    /// That record.
    pub(in crate::store) leaving: Option<DrainedRecord>,
    /// Where to.
    pub(in crate::store) place: Place,
    /// Bytes of the value that are there.
    pub(in crate::store) copied: usize,
}

/// What came of moving a value to flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Stowed {
    /// It is there.
    Done,
    /// There is more to copy, in further transactions.
    UnderWay,
    /// It stays what it was: it is too short, or there is no room.
    Not,
}
