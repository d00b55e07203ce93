//! Keeps room for one writer until it retries. Methods of [`SegmentTable`], under the writer lock.
//!
//! Room for a large value is made in many transactions. Other writers would take it in between, and there might never
//! be enough. So the first writer that lacks room gets a promise: for all others that much less memory counts as free,
//! and what they evict proactively is kept for it too. There is one promise at a time. The hash of the key tells whose
//! it is. It lapses if the writer does not retry.

use super::need::{Need, Promise};
use super::table::SegmentTable;
use crate::store::item_ref::Hash;

/// Seconds after which a promise lapses.
const LAPSE_SECS: u32 = 1;

impl SegmentTable {
    /// Bytes that are kept for a writer other than the present one, which has redeemed its own promise.
    #[inline]
    pub(super) fn promised_bytes(&self) -> u64 {
        self.promise.map_or(0, |promise| promise.bytes)
    }

    /// Called when the writer of this key retries: ends its promise, so that the room kept counts as free for it. Also ends a
    /// promise that has lapsed.
    #[inline]
    pub(in crate::store) fn redeem(&mut self, hash: Hash) {
        if let Some(promise) = self.promise
            && (promise.hash == hash || self.now.0 > promise.at.0.saturating_add(LAPSE_SECS))
        {
            self.promise = None;
        }
    }

    /// Keeps room for the writer of this key, unless another has a promise. Not needed with -M, where every accepted write finds
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

    /// Ends the promise of another writer, because no more room can be made; false if there is no promise.
    pub(in crate::store) fn break_promise(&mut self) -> bool {
        self.promise.take().is_some()
    }
}
