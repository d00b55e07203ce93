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
    /// With -M: clients must delete something first; see `growth`.
    Deletions,
}

/// Who asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Purpose {
    /// A client's item: leaves half a segment's worth for the evictor. Its old version gives `frees` bytes back.
    Write { frees: u64 },
    /// As `Write`, for an item that gets an extent of its own, whatever its size.
    WriteApart { frees: u64 },
    /// The evictor's copy of an item that it keeps.
    Copy,
    /// The evictor's copy of an item too short for flash, or a stub: without it, something would be evicted although flash has
    /// room. So it may go further over the limit than `Copy`.
    Spare,
}

/// Bytes that are kept for the writer of a key, since the second `at`: see `promise`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    pub(super) hash: Hash,
    pub(super) bytes: u64,
    pub(super) at: Timestamp,
}
