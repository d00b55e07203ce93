//! What -M accepts: every write that needs no more than it frees, and growth as long as enough is left to compact with.
//!
//! ```text
//! ├── live items, tails of sealed segments, indexes, large items, what pins hold ──┼─ dead, free, retired ─┼ kept ┤ limit
//!                               stays                                                  growth goes here
//! ```
//!
//! A store full to the last byte could not take an overwrite: the new version needs its place before the old one's is free,
//! and a segment with one dead item in it is emptied only by copying all others. So growth ends while a part is still free
//! or dead. The part decides what an overwrite costs then: with a 32nd kept, the deadest segment is about a 16th dead, and
//! some 16 bytes are copied for each one written. An overwrite leaves the sum of what is free and dead as it is, so that it
//! always finds its room.
//!
//! Growth is refused by these sums alone, before anything is moved.

use super::SegmentTable;
use super::sum::Sum;

/// Of the bytes of live items, one part in this many is kept for compaction.
const KEPT_PART: u64 = 32;
/// A large value and the one that it replaces are both in memory for a moment, or for as long as it takes to receive it.
/// One part of the limit in this many may be exceeded for that, besides one value.
const REPLACED_PART: u64 = 32;

impl SegmentTable {
    /// True if a write of `bytes` whose old version gives `frees` back may be carried out.
    pub(super) fn accepts(&self, bytes: u64, frees: u64) -> bool {
        self.evicts || bytes <= frees || self.lasting() + bytes - frees + self.kept(bytes) <= self.limit
    }

    /// Bytes that neither compaction nor other rings give back.
    fn lasting(&self) -> u64 {
        let in_use = (self.segments_in_use.get() - self.retired_segments.get()) * self.segment_bytes;
        let kept = [self.live_bytes, self.tail_bytes, self.reserved_bytes, self.held_bytes];
        self.used() + kept.map(Sum::get).iter().sum::<u64>() - in_use - self.pending_bytes.get()
    }

    /// Bytes above a lowered limit that stay there as long as nothing is deleted.
    pub(super) fn lasting_excess(&self) -> u64 {
        if self.evicts { 0 } else { (self.lasting() + self.kept(0)).saturating_sub(self.limit) }
    }

    /// Bytes kept for compaction: what is written next to, what is copied to, and the part that is dead.
    fn kept(&self, bytes: u64) -> u64 {
        2 * self.segment_bytes + self.segment_bytes / 2 + (self.live_bytes.get() + bytes) / KEPT_PART
    }

    /// Bytes by which a value that replaces one of `frees` may exceed the limit for a while.
    pub(super) fn replaced_bytes(&self, frees: u64) -> u64 {
        if frees == 0 { 0 } else { frees + self.limit / REPLACED_PART }
    }
}
