//! A ring's handle on the store, its background work, and its part in making room.
//!
//! A [`Shard`] belongs to one ring and stays on its thread, so its own fields need no lock; the store that it uses is shared.
//! It waits for nothing but locks. If other rings or more slices are needed first, it returns [`Retry`], and the caller tries
//! again.

use super::base::Base;
use super::evict::Slice;
use super::item::Item;
use super::item_ref::{Hash, ItemRef};
use super::log::LAG_MAX;
use super::replica::Replica;
use super::request::{ReserveError, Retry, Wanted};
use super::segment_table::Need;
use super::shared::Store;
use super::sweep::Pace;
use super::write_txn::WriteTxn;
use crate::clock::Timestamp;
use std::sync::Arc;

/// A writer looks for replicas that lag once in this many deltas.
const LAG_CHECK: u64 = 256;
/// How many tables one call of [`Shard::maintain`] checks for entries from before a flush.
const MAINTAIN_TABLES: usize = 16;
/// How many records that have to leave their chunk on flash one call of [`Shard::maintain`] deals with at most.
const MAINTAIN_RECORDS: usize = 128;

/// One ring's handle on the store: its replica, and the part that all rings share. It stays on the ring's thread.
#[derive(Debug)]
pub struct Shard {
    pub(super) store: Arc<Store>,
    /// The part of the store that needs no lock, as this ring has it.
    pub(super) base: Arc<Base>,
    pub(super) replica: Replica,
    ring: usize,
    /// The log position from which on [`Shard::wake_laggards`] next looks for replicas that lag.
    lag_check_at: u64,
    /// The second for which `tables_left` was last set. In each second [`Shard::maintain`] checks a 16th of all tables.
    tidied: Timestamp,
    /// How many tables are still to be checked in that second for entries from before a flush.
    tables_left: usize,
    /// When the sweep for expired items goes on after the last call of [`Shard::maintain`].
    sweep: Pace,
    /// The value on flash for lack of which the last edit ended with [`Retry::Load`]; `None` once it has been taken.
    pub(super) wanted: Option<Wanted>,
}

impl Store {
    /// Makes the shard of `ring`. Every ring must take its own, once: the log waits for all rings to replay it.
    pub fn shard(self: &Arc<Self>, ring: usize) -> Shard {
        Shard::new(Arc::clone(self), ring)
    }
}

impl Shard {
    fn new(store: Arc<Store>, ring: usize) -> Self {
        let replica = store.replicas[store.replica_of[ring]].replica(ring);
        let base = store.base.of_ring(ring);
        Self {
            store,
            base,
            replica,
            ring,
            lag_check_at: LAG_CHECK,
            tidied: Timestamp(0),
            tables_left: 0,
            sweep: Pace::Done,
            wanted: None,
        }
    }

    /// The part of the store that all rings share.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Takes the value on flash for lack of which the last edit ended with [`Retry::Load`]. `None` if no edit did, or if the
    /// value has been taken.
    pub fn take_wanted(&mut self) -> Option<Wanted> {
        self.wanted.take()
    }

    /// Does a slice (at most about 100 µs) of background work: replays, removes expired items, evicts ahead of need, tidies the
    /// index. True if the ring should call this again soon. It must call this at least once a second.
    pub fn maintain(&mut self, now: Timestamp) -> bool {
        let fresh = self.fresh(now);
        let now = fresh.now;
        fresh.shard.maintain_in_section(now)
    }

    /// True if the last call of [`Shard::maintain`] left work that should not burden the other rings without a pause (the sweep
    /// for expired items). Then the next call should come about a millisecond later.
    pub fn should_rest(&self) -> bool {
        matches!(self.sweep, Pace::Rest | Pace::Lag)
    }

    fn maintain_in_section(&mut self, now: Timestamp) -> bool {
        if self.tidied != now {
            self.tidied = now;
            self.tables_left = self.replica.index().tables().div_ceil(16);
        }
        let mut more = false;
        if self.tables_left > 0 {
            let tables = self.tables_left.min(MAINTAIN_TABLES);
            self.replica.index().drop_stale_tables(&self.base, tables);
            self.tables_left -= tables;
            more = self.tables_left > 0;
        }
        if self.store.is_busy() {
            // The ring that holds the lock is writing or maintaining, and does the same work. Only the sweep may be this ring's
            // alone.
            if self.sweep == Pace::Soon {
                self.sweep = Pace::Rest;
            }
            return more;
        }
        let mut txn = WriteTxn::begin(&self.store, &self.base, &mut self.replica);
        let arena = txn.arena();
        txn.segments.collect(arena);
        more |= txn.segments.has_collectable(arena);
        more |= txn.segments.decommit_excess(arena);
        self.sweep = txn.sweep(self.ring);
        more |= matches!(self.sweep, Pace::Soon | Pace::Rest);
        more |= txn.evict_over_limit();
        more |= txn.maintain_tier(MAINTAIN_RECORDS);
        txn.evict_proactively(0);
        drop(txn);
        if self.sweep == Pace::Lag {
            self.store.wake_rings_before(self.replica.cursor(), self.ring, false);
        }
        self.wake_laggards();
        more
    }

    /// The refs of all index entries, sorted, to compare replicas in tests.
    #[doc(hidden)]
    pub fn index(&self) -> Vec<u64> {
        let mut refs: Vec<u64> = self.replica.index().entries().map(|(_, item)| item.bits()).collect();
        refs.sort_unstable();
        refs
    }

    /// Recounts all that the store keeps account of, and follows every entry of this ring's index: see `store/check`. For
    /// tests, because it holds the writer lock for a long time.
    ///
    /// # Errors
    /// What does not add up: a text with a line for each difference.
    #[doc(hidden)]
    pub fn check(&mut self, now: Timestamp) -> Result<(), String> {
        let fresh = self.fresh(now);
        fresh.shard.write_txn().check()
    }

    /// The item at `item_ref`. This ring's index names the item, or named it when the last transaction ended.
    pub(super) fn item(&self, item_ref: ItemRef) -> Item<'_> {
        self.replica.item(&self.base, item_ref)
    }

    pub(super) fn write_txn(&mut self) -> WriteTxn<'_> {
        WriteTxn::begin(&self.store, &self.base, &mut self.replica)
    }

    /// Wakes rings whose replica lags, but looks for such replicas only every [`LAG_CHECK`] deltas. Called after a transaction.
    #[inline]
    pub(super) fn wake_laggards(&mut self) {
        if self.replica.cursor() >= self.lag_check_at {
            self.lag_check_at = self.replica.cursor() + LAG_CHECK;
            self.store.wake_rings_before(self.replica.cursor().saturating_sub(LAG_MAX), self.ring, false);
        }
    }

    /// Wakes the rings that have to replay before a transaction that failed can succeed. Called after the transaction. `None`
    /// if all have replayed by now, so that the caller can go on immediately.
    #[cold]
    pub(super) fn stalled(&self) -> Option<Retry> {
        let is_lagging = self.store.wake_rings_before(self.replica.cursor(), self.ring, true);
        is_lagging.then_some(Retry::Stalled)
    }

    /// Evicts until the writer of the key of `hash` may try again the allocation that lacked `need`: one slice, and up to
    /// `turns` more.
    ///
    /// The loop ends: each round uses up one of `turns`, breaks a promise, or finds that other rings have replayed, so that the
    /// next round can collect what was retired.
    #[cold]
    pub(super) fn evict_for(&mut self, hash: Hash, need: Need, turns: &mut u32) -> Result<(), ReserveError> {
        loop {
            let mut txn = self.write_txn();
            txn.segments.redeem(hash);
            let slice = txn.approach(need);
            txn.note_lowered_limit();
            if slice == Some(Slice::Idle) {
                if txn.segments.break_promise() {
                    continue;
                }
                return Err(ReserveError::OutOfMemory);
            }
            txn.segments.promise(hash, need);
            if slice == Some(Slice::Stalled) {
                txn.segments.grow_slack();
            }
            drop(txn);
            match slice {
                None => return Ok(()),
                Some(Slice::Stalled) => self.stalled().map_or(Ok(()), Err)?,
                Some(_) if *turns == 0 => return Err(Retry::Soon.into()),
                Some(_) => *turns -= 1,
            }
        }
    }
}
