//! Requests for memory: who asks ([`Purpose`]), what an allocation lacks ([`Need`]), and what a writer has been promised. Plain
//! values.

use crate::clock::Timestamp;
use crate::store::item_ref::Hash;

/// What an allocation lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Need {
    /// A free segment.
    Segment,
    /// An extent of `bytes`, for a value whose old version gives `frees` bytes back (counted with -M only).
    Extent { bytes: u64, frees: u64 },
    /// With -M: room that clients must make first, by deleting something; see `growth`.
    Deletions,
}

/// Who asks for memory, which decides how much of it the allocation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Purpose {
    /// A client's item. Half a segment's worth must stay free for the evictor. The item's old version gives `frees` bytes back.
    Write { frees: u64 },
    /// As `Write`, but the item gets an extent of its own, whatever its size.
    WriteApart { frees: u64 },
    /// The evictor's copy of an item that it keeps.
    Copy,
    /// The evictor's copy of an item too short for flash, or a stub. Without room for it, something would be evicted although
    /// flash has room, so it may exceed the limit by more than `Copy` may.
    Spare,
}

/// A promise of `bytes` to the writer of the key with this `hash`, made in the second `at`: see `promise`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    pub(super) hash: Hash,
    pub(super) bytes: u64,
    pub(super) at: Timestamp,
}
