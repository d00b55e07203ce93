//! [`Fresh`], a shard that has replayed the log: the only way for callers to look up, walk, reserve, flush and write (the
//! writes themselves are in `edit`).
//!
//! A `Fresh` borrows its ring's [`Shard`] for one batch of commands. Items that are looked up are borrowed from the `Fresh`, so
//! none outlives the next replay. Look-ups take no writer lock; what removes, reserves or flushes does, for one transaction.

use super::index::{Found, Position};
use super::item::Item;
use super::item_ref::Hash;
use super::request::{Lookup, ReserveError, Retry, Walk, Wanted};
use super::reservation::{Reservation, ReservedItem};
use super::segment_table::{Demoted, Need};
use super::shard::Shard;
use crate::classes::item_bytes;
use crate::clock::Timestamp;

impl Shard {
    /// Advances the store's time to `now`, which the ring has read from its clock; then does what [`Shard::latest`] does.
    pub fn fresh(&mut self, now: Timestamp) -> Fresh<'_> {
        self.store.advance(now);
        self.latest()
    }

    /// Replays the log to its tail, and carries out a delayed flush whose time has come. Only through the result can a ring
    /// look up or write. If the ring shares its replica, its section lasts until the result is dropped.
    #[inline]
    pub fn latest(&mut self) -> Fresh<'_> {
        self.replica.enter(&self.base);
        self.replica.catch_up(&self.base);
        let now = self.store.time.now();
        let mut fresh = Fresh { shard: self, now, is_copy: false };
        if fresh.shard.store.time.flush_is_due(now) {
            fresh.flush_due();
        }
        fresh
    }
}

/// A shard that has replayed: it sees every write that was acknowledged before [`Shard::fresh`] was called.
#[derive(Debug)]
pub struct Fresh<'s> {
    pub(super) shard: &'s mut Shard,
    /// The store's time at the replay. Look-ups and transactions read the store's time anew.
    pub(super) now: Timestamp,
    /// True if the edits come from `--copy-from`; see [`Store::begin_copy`](super::Store::begin_copy).
    pub(super) is_copy: bool,
}

impl Fresh<'_> {
    /// Declares that the edits that follow are those of a copy (`--copy-from`). Each is refused if a client has edited its key
    /// since the copy began.
    pub fn set_copy(&mut self) {
        self.is_copy = true;
    }

    /// True after [`Fresh::set_copy`].
    pub fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// The store's time at the replay, unless [`Fresh::set_now`] has changed it.
    #[inline]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The same as [`Shard::take_wanted`].
    pub fn take_wanted(&mut self) -> Option<Wanted> {
        self.shard.take_wanted()
    }

    /// For tests: moves the value of `key` to flash. True if this call has moved it.
    #[doc(hidden)]
    pub fn demote(&mut self, key: &[u8]) -> bool {
        while self.demote_part(None) {}
        let was_there = self.is_on_flash(key);
        while self.demote_part((!was_there).then_some(key)) {}
        !was_there && self.is_on_flash(key)
    }

    fn is_on_flash(&mut self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        self.shard.write_txn().find(hash, key).is_some_and(|(_, item)| item.is_stub())
    }

    /// For tests: copies one more part of the value that is on its way to flash; if none is, the first part of the value of
    /// `key`. True if more parts follow.
    #[doc(hidden)]
    pub fn demote_part(&mut self, key: Option<&[u8]>) -> bool {
        let found = key.map(|key| (self.hash(key), key));
        let mut txn = self.shard.write_txn();
        if !txn.has_log_room(1) {
            return false;
        }
        let demoted = match found.and_then(|(hash, key)| Some((hash, txn.find(hash, key)?))) {
            _ if txn.has_transfer() => txn.continue_transfer(),
            Some((hash, (item_ref, item))) => txn.demote(item_ref, &item, hash),
            None => Demoted::Not,
        };
        demoted == Demoted::UnderWay
    }

    /// For `debugtime`: changes the time of this batch to `now`, to which the store has just been set.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Finds the live item of `key`, and removes an item that has expired. Does not count as a use: see
    /// [`Item::record_access`].
    #[inline]
    pub fn find(&mut self, key: &[u8]) -> Lookup<'_> {
        self.find_hashed(self.hash(key), key)
    }

    /// The hash of `key`.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> Hash {
        self.shard.base.hash(key)
    }

    /// The same as [`Fresh::find`]; `hash` must be the hash of `key`.
    #[inline]
    pub fn find_hashed(&mut self, hash: Hash, key: &[u8]) -> Lookup<'_> {
        match self.shard.replica.index().find(&self.shard.base, hash, key) {
            Found::Nothing => Lookup::Miss,
            Found::Flushed => {
                self.shard.replica.index().forget_flushed(hash);
                Lookup::Flushed
            }
            Found::Item(item_ref) if self.shard.store.time.is_past(self.shard.item(item_ref).exptime()) => {
                self.purge(hash, key);
                Lookup::Expired
            }
            Found::Item(item_ref) => Lookup::Hit(self.shard.item(item_ref)),
        }
    }

    /// Starts loading into the cache what looking up `keys` will touch, and writes their hashes to `hashes`, in the same order.
    /// For pipelines and multigets, which call this a few keys ahead.
    pub fn prefetch(&mut self, keys: &[&[u8]], hashes: &mut [Hash]) {
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash(key);
            self.shard.replica.index().prefetch_table(*hash);
        }
        for hash in &hashes[..keys.len()] {
            self.shard.replica.index().prefetch_item(&self.shard.base, *hash);
        }
    }

    /// Removes the item of `key` if it has expired; another ring may have replaced it since the look-up. Does nothing if the
    /// log is full.
    #[cold]
    fn purge(&mut self, hash: Hash, key: &[u8]) {
        let mut txn = self.shard.write_txn();
        if !txn.has_log_room(1) {
            return;
        }
        if let Some((item_ref, item)) = txn.find(hash, key)
            && item.expired(txn.now)
        {
            txn.publish(hash, Some((item_ref, item)), None);
        }
        drop(txn);
        self.shard.wake_laggards();
    }

    /// Reserves memory for a value of `value_bytes` that is still to be received, evicting for up to `turns` slices of some 20
    /// µs after the first. If reservations hold all the item memory that they may, the value is received into a buffer at
    /// first.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(
        &mut self,
        key: &[u8],
        value_bytes: usize,
        turns: u32,
    ) -> Result<Reservation, ReserveError> {
        match self.reserve_item(key, value_bytes, turns)? {
            Some(reserved) => Ok(Reservation::reserved(reserved)),
            None => Reservation::buffered(&self.shard.store.reservations, key, value_bytes)
                .ok_or_else(|| self.must_wait()),
        }
    }

    /// Makes room for more bytes of a value whose reservation says [`Reservation::needs_room`], evicting for up to `turns`
    /// slices after the first.
    ///
    /// # Errors
    /// [`ReserveError`]; the bytes received so far are kept.
    pub fn extend(&mut self, reservation: &mut Reservation, turns: u32) -> Result<(), ReserveError> {
        let Some(key) = reservation.unplaced_key() else { return Ok(()) };
        match self.reserve_item(&key, reservation.len(), turns) {
            Ok(Some(reserved)) => reservation.move_to(reserved),
            Err(ReserveError::Retry(Retry::Soon)) => return Err(Retry::Soon.into()),
            _ if reservation.grow() => {}
            _ => return Err(self.must_wait()),
        }
        Ok(())
    }

    /// Reserves item memory for a value that is to be received. `None` if reservations and pins hold all the item memory that
    /// they may.
    fn reserve_item(
        &mut self,
        key: &[u8],
        value_bytes: usize,
        mut turns: u32,
    ) -> Result<Option<ReservedItem>, ReserveError> {
        let hash = self.shard.base.hash(key);
        let item_bytes = item_bytes(key.len(), 0, value_bytes);
        loop {
            let mut txn = self.shard.write_txn();
            if txn.has_too_many_reservations(value_bytes) {
                return Ok(None);
            }
            txn.segments.redeem(hash);
            let old = txn.find(hash, key);
            let queue = txn.queue_for(hash, old, item_bytes);
            match txn.reserve(queue, key, value_bytes, old) {
                Ok(reserved) => return Ok(Some(reserved)),
                Err(need) => {
                    txn.segments.promise(hash, need);
                    drop(txn);
                    self.evict_for(hash, need, item_bytes, &mut turns)?;
                }
            }
        }
    }

    /// Returns the error for a value that has to wait until other values have arrived, and notes the refusal:
    /// [`Store::is_short_of_reservations`](super::Store::is_short_of_reservations) is then true for a second or two.
    fn must_wait(&self) -> ReserveError {
        self.shard.store.reservations.note_refused(self.now);
        Retry::Later.into()
    }

    /// The same as [`Shard::evict_for`]. Also counts the refusal, if an item of `item_bytes` is refused for lack of memory.
    pub(super) fn evict_for(
        &mut self,
        hash: Hash,
        need: Need,
        item_bytes: u64,
        turns: &mut u32,
    ) -> Result<(), ReserveError> {
        let made = self.shard.evict_for(hash, need, turns);
        if made == Err(ReserveError::OutOfMemory) {
            self.shard.store.count_no_room(item_bytes);
        }
        made
    }

    /// Removes every item now, and cancels a delayed flush (`flush_all`).
    ///
    /// # Errors
    /// [`Retry::Stalled`]: the log is full.
    pub fn flush(&mut self) -> Result<(), Retry> {
        self.flush_now(Timestamp::NEVER)?;
        self.shard.store.set_flush_at(Timestamp::NEVER);
        Ok(())
    }

    /// Removes every item now. `due` is the second for which the flush was scheduled, or [`Timestamp::NEVER`] if it was not
    /// delayed.
    fn flush_now(&mut self, due: Timestamp) -> Result<(), Retry> {
        loop {
            let mut txn = self.shard.write_txn();
            if txn.has_log_room(1) {
                txn.flush(due);
                return Ok(());
            }
            drop(txn);
            self.shard.stalled().map_or(Ok(()), Err)?;
        }
    }

    /// Schedules a flush for the second `at` (`flush_all` with a delay), which replaces a scheduled one.
    pub fn flush_at(&mut self, at: Timestamp) {
        self.shard.store.set_flush_at(at);
    }

    /// Carries out a delayed flush whose time has come, unless another ring is doing so.
    #[cold]
    fn flush_due(&mut self) {
        // If another ring is stuck and the log is full, the flush is scheduled again, so that every batch tries it.
        if let Some(due) = self.shard.store.time.take_due_flush(self.now)
            && self.flush_now(due).is_err()
        {
            self.shard.store.set_flush_at(self.now);
        }
    }

    /// Calls `visit` with the live items of the next slice of `walk`, and moves `walk` on; false if the walk is over.
    ///
    /// An item that is present throughout the walk is visited, however often it is moved meanwhile. It is visited once, or
    /// perhaps twice if parts of a table are joined meanwhile (`index::entries`).
    pub fn walk(&mut self, walk: &mut Walk, mut visit: impl FnMut(&Item<'_>)) -> bool {
        let index = self.shard.replica.index();
        if walk.table >= index.tables() {
            return false;
        }
        let (items, next) = index.items_at(walk.table, walk.position);
        for item_ref in items {
            let item = self.shard.item(item_ref);
            if !item.expired(self.now) {
                visit(&item);
            }
        }
        walk.position = next;
        if next.is_end() {
            *walk = Walk { table: walk.table + 1, position: Position::default() };
        }
        true
    }
}

impl Drop for Fresh<'_> {
    /// Ends the section: all borrows of items have ended, so the ring holds no references any more.
    #[inline]
    fn drop(&mut self) {
        self.shard.replica.leave(&self.shard.base);
    }
}
