//! Which writes `-M` accepts: all that need no more than they free, and others while enough is left for compaction.
//!
//! ```text
//! ├── live items, tails of sealed segments, indexes, large items ──┼─ dead, free, retired ─┼ kept ┤ limit
//!                       stays                                          growth goes here
//! ```
//!
//! A store that is full to the last byte could not take an overwrite: the new version needs memory before the old one is freed,
//! and to free a segment with one dead item, all others must be copied. So growth ends while a part of memory is still free or
//! dead. The size of that part decides what an overwrite then costs: if a 32nd is kept, the segment with the most dead bytes is
//! about a 16th dead, and some 16 bytes are copied for each byte written. An overwrite does not change the sum of free and dead
//! bytes, so there is always room for the next.
//!
//! Growth is refused on these sums alone, before anything is copied. The methods only compute, under the writer lock.

use super::sum::Sum;
use super::table::SegmentTable;

/// The part of memory kept free or dead for compaction: the bytes of live items divided by this.
const KEPT_PART: u64 = 32;
/// The limit may be exceeded by the size of a large value that is being replaced, plus the limit divided by this. The old and
/// the new value are both in memory for a moment, or for as long as it takes to receive the new one.
const REPLACED_PART: u64 = 32;

impl SegmentTable {
    /// True if a write that takes `bytes` may be carried out. Removing the key's old version gives `frees` bytes back. Always
    /// true without -M.
    pub(super) fn accepts(&self, bytes: u64, frees: u64) -> bool {
        self.evicts || bytes <= frees || self.lasting() + bytes - frees + self.kept(bytes) <= self.limit
    }

    /// Bytes in use that can be freed neither by compaction nor by waiting for other rings.
    fn lasting(&self) -> u64 {
        let in_use = (self.segments_in_use.get() - self.retired_segments.get()) * self.segment_bytes;
        let kept = [self.live_bytes, self.tail_bytes, self.reserved_bytes];
        self.used() + kept.map(Sum::get).iter().sum::<u64>() - in_use - self.unheld_bytes()
    }

    /// Bytes above a lowered limit that stay in use until clients delete something. 0 without -M.
    pub(super) fn lasting_excess(&self) -> u64 {
        if self.evicts { 0 } else { (self.lasting() + self.kept(0)).saturating_sub(self.limit) }
    }

    /// Bytes to keep for compaction when `bytes` more become live: the segment to write to, the segment to copy to, half a
    /// segment, and the live bytes divided by [`KEPT_PART`].
    fn kept(&self, bytes: u64) -> u64 {
        2 * self.segment_bytes + self.segment_bytes / 2 + (self.live_bytes.get() + bytes) / KEPT_PART
    }

    /// Bytes by which a value may exceed the limit for a while if it replaces one of `frees` bytes. 0 if it replaces none.
    pub(super) fn replaced_bytes(&self, frees: u64) -> u64 {
        if frees == 0 { 0 } else { frees + self.limit / REPLACED_PART }
    }
}
