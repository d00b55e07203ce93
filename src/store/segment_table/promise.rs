//! Room that is kept for one writer until it comes back for it.
//!
//! What a large value needs is made in many turns, and between them others would take it, so that it might never be
//! enough. So the first writer that lacks room is promised it: for all others that much less is free, and what they evict
//! ahead of need is for it too. One promise stands at a time; who made it is told by the hash of the key. It lapses when
//! nobody comes back for it.

use super::{Need, SegmentTable};
use crate::clock::Timestamp;
use crate::store::item_ref::Hash;

/// Seconds after which nobody is expected to come back.
const LAPSE_SECS: u32 = 1;

#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    hash: Hash,
    bytes: u64,
    at: Timestamp,
}

impl SegmentTable {
    /// Bytes that are kept for another writer.
    #[inline]
    pub(super) fn promised_bytes(&self) -> u64 {
        self.promise.map_or(0, |promise| promise.bytes)
    }

    /// The writer of this key has come back: what was kept for it is there for it. Lets go of what nobody came back for.
    #[inline]
    pub(in crate::store) fn redeem(&mut self, hash: Hash) {
        if let Some(promise) = self.promise
            && (promise.hash == hash || self.now.0 > promise.at.0.saturating_add(LAPSE_SECS))
        {
            self.promise = None;
        }
    }

    /// Keeps room for the writer of this key, unless another has been promised some. With -M all that is accepted finds its
    /// room.
    pub(in crate::store) fn promise(&mut self, hash: Hash, need: Need) {
        let bytes = match need {
            Need::Segment => self.segment_bytes,
            Need::Extent { bytes, .. } => bytes,
            Need::Deletions => return,
        };
        if self.evicts && self.promise.is_none() {
            self.promise = Some(Promise { hash, bytes, at: self.now });
        }
    }

    /// Breaks a promise that keeps another from room that cannot be made; false if there is none.
    pub(in crate::store) fn break_promise(&mut self) -> bool {
        self.promise.take().is_some()
    }
}
