//! Keeps room for one writer until it retries. Methods of [`SegmentTable`], under the writer lock.
//!
//! Room for a large value is made in many transactions. Other writers would take it in between, and there might never be enough.
//! So the first writer that lacks room gets a promise: for all other writers that much less memory counts as free, and what they
//! evict proactively is kept for the first one too. There is one promise at a time. The hash of the key tells whose it is. It
//! lapses if the writer does not retry.

use super::need::{Need, Promise};
use super::table::SegmentTable;
use crate::store::item_ref::Hash;

/// Seconds after which a promise lapses.
const LAPSE_SECS: u32 = 1;

impl SegmentTable {
    /// Bytes that are promised to a writer; 0 if there is no promise. The present writer has redeemed its own, so these are
    /// another's.
    #[inline]
    pub(super) fn promised_bytes(&self) -> u64 {
        self.promise.map_or(0, |promise| promise.bytes)
    }

    /// Ends the promise to the writer of the key with this `hash`, so that the room kept counts as free for it. Called when that
    /// writer retries. Also ends a promise that has lapsed.
    #[inline]
    pub(in crate::store) fn redeem(&mut self, hash: Hash) {
        if let Some(promise) = self.promise
            && (promise.hash == hash || self.now.0 > promise.at.0.saturating_add(LAPSE_SECS))
        {
            self.promise = None;
        }
    }

    /// Promises room for `need` to the writer of the key with this `hash`, unless a writer has a promise already. Does nothing
    /// with -M, where every accepted write finds room.
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

    /// Ends the promise to another writer, so that its room can be used. Called when no more room can be made. False if there is
    /// no promise.
    pub(in crate::store) fn break_promise(&mut self) -> bool {
        self.promise.take().is_some()
    }
}
