//! Questions for memory: who asks, what an allocation lacks, and what has been promised to whom.

use crate::clock::Timestamp;
use crate::store::item_ref::Hash;

/// What an allocation lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Need {
    /// A free segment.
    Segment,
    /// An extent of `bytes`, for a value whose old version gives `frees` back (counted with -M only).
    Extent { bytes: u64, frees: u64 },
    /// With -M: that less is in the store; see `growth`.
    Deletions,
}

/// Who asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Purpose {
    /// A client's item: leaves half a segment's worth for the evictor. Its old version gives `frees` bytes back.
    Write { frees: u64 },
    /// The same for an item that shares memory with no other, whatever its size.
    WriteApart { frees: u64 },
    /// The evictor's copy of a survivor.
    Copy,
    /// The same of an item too short for flash, or a stub: what would be evicted otherwise although flash has room. It may go
    /// further over the limit.
    Spare,
}

/// Bytes that are kept for the writer of a key: see `promise`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    pub(super) hash: Hash,
    pub(super) bytes: u64,
    pub(super) at: Timestamp,
}
