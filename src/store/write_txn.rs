//! A write transaction: the writer lock is held, and the ring's replica is at the log's tail.
//!
//! Whoever holds a transaction decides on the newest state, and is the only one to change the segment table and to append to
//! the log. Its length is bounded: a slice of eviction and one write. Nobody waits for another ring during a transaction. If
//! other rings must replay before the log or the memory has room, the transaction ends, and the caller is told to retry
//! ([`super::Retry`]).

#![expect(unsafe_code, reason = "reads and writes items under the lock that protects them")]

use super::arena::{Arena, Placement};
use super::base::Base;
use super::index::Found;
use super::item::{self, Fields, Item, Layout};
use super::item_ref::{Hash, ItemRef};
use super::log::Delta;
use super::pace::Effort;
use super::prefetch::prefetch_range;
use super::replica::{Replaying, Replica};
use super::reservation::ReservedItem;
use super::segment_table::{Need, Purpose, Queue, SegmentTable};
use super::shared::Store;
use crate::clock::Timestamp;
use crate::limits::{DRAFTED_PART, DRAFTED_SEGMENTS_PART, UNHELD_PART};
use parking_lot::MutexGuard;
use std::sync::Arc;

/// The number of uses with which a key is credited if it is stored again soon after its eviction.
const GHOST_HITS: u8 = 2;

/// A write transaction, from [`WriteTxn::begin`] until it is dropped.
pub(super) struct WriteTxn<'t> {
    store: &'t Store,
    base: &'t Arc<Base>,
    /// The right to apply deltas. Declared before the writer lock, so that it is released first: the next writer may share this
    /// replica.
    replaying: Replaying<'t>,
    /// The segment table, and with it the writer lock.
    pub(super) segments: MutexGuard<'t, SegmentTable>,
    replica: &'t mut Replica,
    /// The store's time when the transaction began.
    pub(super) now: Timestamp,
    /// How much eviction the transaction has done. That bounds how much more it may do.
    pub(super) effort: Effort,
}

/// The newest version of a key, expired or not; `None` if the key has no item.
pub(super) type Current<'t> = Option<(ItemRef, Item<'t>)>;

impl<'t> WriteTxn<'t> {
    /// Takes the writer lock, replays to the tail, and frees the memory of reservations that were dropped.
    pub(super) fn begin(store: &'t Store, base: &'t Arc<Base>, replica: &'t mut Replica) -> Self {
        let (segments, replaying) = Self::lock(store, replica);
        replica.catch_up_in_txn(&replaying, base);
        let now = store.now();
        let mut txn = Self { store, base, replaying, segments, replica, now, effort: Effort::default() };
        if store.reservations.has_abandoned() {
            txn.take_abandoned();
        }
        txn.segments.index_bytes = base.arena().index_bytes();
        txn.segments.set_now(now);
        txn.segments.lower_over_limit();
        txn
    }

    /// Takes the writer lock and the right to apply deltas to the replica. Never waits for that right while it holds the lock:
    /// else all writers would wait for a ring that has been preempted in the middle of a replay.
    fn lock(store: &'t Store, replica: &Replica) -> (MutexGuard<'t, SegmentTable>, Replaying<'t>) {
        let group = &store.replicas[replica.number()];
        loop {
            let segments = store.segments.lock();
            if let Some(replaying) = group.try_replaying() {
                return (segments, replaying);
            }
            drop(segments);
            group.wait_for_replay();
        }
    }

    /// Frees the memory of reservations that were dropped unpublished.
    #[cold]
    fn take_abandoned(&mut self) {
        for (item, layout) in self.store.reservations.take_abandoned() {
            self.segments.abandon(self.base.arena(), item, layout);
        }
    }

    pub(super) fn arena(&self) -> &'t Arena {
        self.base.arena()
    }

    pub(super) fn replica(&self) -> &Replica {
        self.replica
    }

    /// The bytes of all indexes, first as the arena counts them, then as the indexes themselves do: for the recount (`check`).
    pub(super) fn index_bytes(&self) -> (u64, u64) {
        (self.arena().index_bytes(), self.store.replicas.iter().map(|replica| replica.bytes()).sum())
    }

    /// The second for which a delayed flush is scheduled, in the form in which the memory file stores it; 0 if none is. For the
    /// recount (`check`).
    pub(super) fn due_flush(&self) -> u64 {
        self.store.time.flush_at().0.into()
    }

    /// True if the store may evict; false with `-M`.
    pub(super) fn evicts(&self) -> bool {
        self.store.evict
    }

    /// The size of the largest item (`-I`), bytes, as memcached counts an item.
    pub(super) fn item_size_max(&self) -> u64 {
        self.store.item_size_max
    }

    pub(super) fn hash(&self, key: &[u8]) -> Hash {
        self.base.hash(key)
    }

    /// True if the log has room for `count` more deltas: every replica has applied the deltas whose slots they would take.
    pub(super) fn has_log_room(&mut self, count: u64) -> bool {
        let log = self.arena().log();
        // This replica is at the tail.
        let end = self.replica.cursor() + count;
        if end > self.segments.log_end {
            self.segments.log_end = log.applied_min() + log.capacity();
        }
        end <= self.segments.log_end
    }

    /// The newest version of `key`, expired or not; `None` if it has none. `hash` is the hash of `key`.
    pub(super) fn find(&self, hash: Hash, key: &[u8]) -> Current<'t> {
        let Found::Item(item_ref) = self.replica.index().find(self.base, hash, key) else {
            return None;
        };
        Some((item_ref, self.item(item_ref)))
    }

    /// Starts loading into the cache what [`WriteTxn::is_live`] will touch.
    pub(super) fn prefetch(&self, hash: Hash) {
        self.replica.index().prefetch_table(hash);
    }

    /// Starts loading `bytes` of segment `id` into the cache, from the item on that begins at `offset`.
    pub(super) fn prefetch_items(&self, id: u32, offset: u32, bytes: u32) {
        if bytes == 0 {
            return;
        }
        let arena = self.arena();
        let first = ItemRef::new(arena.segment_offset(id) + u64::from(offset), arena.unit_shift());
        prefetch_range(arena.address(first).as_ptr(), bytes as usize);
    }

    /// True if the index names the item at `item_ref`: the item has not been removed or replaced. `hash` is that of its key.
    pub(super) fn is_live(&self, item_ref: ItemRef, hash: Hash) -> bool {
        self.replica.index().contains(hash, item_ref)
    }

    /// The item at `item_ref`. Callers name items that the index names, that lie in a unit in use, or that were just written.
    pub(super) fn item(&self, item_ref: ItemRef) -> Item<'t> {
        // SAFETY: callers name items that the index names, that lie in a unit which is not free, or that were just allocated.
        // Memory that is retired in this transaction or later is not collected before this ring's cursor moves, which happens
        // at the end of the transaction ('t at the latest); no caller names memory that was retired earlier.
        unsafe { Item::new(self.arena().address(item_ref), self.base) }
    }

    /// The item that begins `offset` bytes into segment `id`: its ref, the item, and the bytes that it takes with its padding.
    pub(super) fn item_in_segment(&self, id: u32, offset: u32) -> (ItemRef, Item<'t>, u32) {
        let arena = self.arena();
        let item_ref = ItemRef::new(arena.segment_offset(id) + u64::from(offset), arena.unit_shift());
        let item = self.item(item_ref);
        (item_ref, item, item.layout().bytes().next_multiple_of(1 << arena.unit_shift()) as u32)
    }

    /// The ref and the item of large item `id`.
    pub(super) fn item_of_large(&self, id: u32) -> (ItemRef, Item<'t>) {
        let item_ref = self.segments.large_ref(self.arena(), id);
        (item_ref, self.item(item_ref))
    }

    /// The queue that an item is in: that of its segment, or the item's own if it is large.
    pub(super) fn queue_of(&self, item_ref: ItemRef) -> Queue {
        match self.segments.placement(self.arena(), item_ref) {
            Placement::Segment(id) => self.segments.segments[id as usize].queue,
            Placement::Large(id) => self.segments.large_queue(id).unwrap_or(Queue::Small),
        }
    }

    /// Chooses the queue for a new version of a key. A key in the store stays in its queue, except that a stub's key goes to
    /// main if it was used, else to small. A key that is not in the store goes to main if it was evicted recently and is worth
    /// its size, else to small. `bytes` is the new version's size as memcached counts it.
    pub(super) fn queue_for(&self, hash: Hash, old: Current<'_>, bytes: u64) -> Queue {
        match old {
            Some((item_ref, old)) => match self.queue_of(item_ref) {
                Queue::Stubs if old.hits() > 0 => Queue::Main,
                Queue::Stubs => Queue::Small,
                queue => queue,
            },
            None if self.segments.ghost.contains(hash)
                && self.segments.is_worth_its_size(bytes, GHOST_HITS) =>
            {
                Queue::Main
            }
            None => Queue::Small,
        }
    }

    /// The bytes that a write which replaces `old` gives back. Counted only with -M; else 0.
    fn freed_by_replacing(&self, old: Current<'_>) -> u64 {
        let freed =
            |(item_ref, item): (ItemRef, Item<'_>)| self.segments.freed_bytes(self.arena(), item_ref, &item);
        if self.evicts() { 0 } else { old.map_or(0, freed) }
    }

    /// Writes a new item that is to replace `old`; nobody can find it before [`WriteTxn::publish`]. An error says which memory
    /// is lacking.
    pub(super) fn write_item(
        &mut self,
        queue: Queue,
        key: &[u8],
        value: [&[u8]; 2],
        fields: &Fields,
        old: Current<'_>,
    ) -> Result<(ItemRef, Item<'t>), Need> {
        let layout = Layout::new(key.len(), value[0].len() + value[1].len(), fields.flags, fields.cas);
        let purpose = Purpose::Write { frees: self.freed_by_replacing(old) };
        self.write(queue, layout, key, value, fields, purpose)
    }

    /// The same as [`WriteTxn::write_item`], with a given layout and purpose.
    pub(super) fn write(
        &mut self,
        queue: Queue,
        layout: Layout,
        key: &[u8],
        value: [&[u8]; 2],
        fields: &Fields,
        purpose: Purpose,
    ) -> Result<(ItemRef, Item<'t>), Need> {
        let arena = self.arena();
        let item_ref = self.segments.allocate(arena, queue, layout, purpose)?;
        let at = arena.address(item_ref);
        // SAFETY: the segment table just handed these bytes out, to this transaction alone; units are at least 4-aligned.
        unsafe { item::write_head(at, layout, key, fields) };
        // SAFETY: as above; `value` lies in other items or outside the mapping.
        unsafe { item::write_value(at, layout, value) };
        Ok((item_ref, self.item(item_ref)))
    }

    /// True if a value of `value_bytes` has to wait because reservations and pins already hold all the memory they may.
    ///
    /// A value that is longer than the share of all reservations waits only for another such value; shorter values do not wait
    /// for it.
    pub(super) fn has_too_many_reservations(&self, value_bytes: usize) -> bool {
        let (limit, value_bytes) = (self.segments.limit, value_bytes as u64);
        let bytes_reserved = self.arena().bytes_reserved();
        let lone_bytes = self.store.reservations.lone_bytes();
        let others = bytes_reserved.saturating_sub(lone_bytes);
        let are_too_many = if self.takes_alone(value_bytes) {
            lone_bytes > 0
        } else {
            others > 0 && others + value_bytes > limit / DRAFTED_PART
        };
        let left = (limit - limit / UNHELD_PART).saturating_sub(bytes_reserved);
        are_too_many
            || !self.arena().pins_fit(self.base.ring(), value_bytes, left)
                && bytes_reserved + self.arena().pinned_bytes() > 0
            // With -M, a short value waits too: an extent of its own might be more than the old version frees.
            || !self.evicts() && self.has_too_many_reserved_segments()
    }

    /// True if a value of `value_bytes` is longer than all other reservations together may be.
    fn takes_alone(&self, value_bytes: u64) -> bool {
        value_bytes > self.segments.limit / DRAFTED_PART
    }

    /// True if values that are being received hold as many segments as they may: even a short value keeps a whole segment from
    /// being reused.
    fn has_too_many_reserved_segments(&self) -> bool {
        self.arena().reserved_segment_bytes() >= self.segments.limit / DRAFTED_SEGMENTS_PART
    }

    /// Reserves memory for an item that is to replace `old` and whose value is still to be received. An error says which memory
    /// is lacking.
    pub(super) fn reserve(
        &mut self,
        queue: Queue,
        key: &[u8],
        value_bytes: usize,
        old: Current<'_>,
    ) -> Result<ReservedItem, Need> {
        let layout = Layout::reservation(key.len(), value_bytes);
        let arena = self.arena();
        let mut frees = self.freed_by_replacing(old);
        let shortest = Layout::new(key.len(), value_bytes, 0, 0);
        if frees >= self.segments.cost(arena, shortest) {
            // An overwrite of the same length is accepted although the header reserved for it may be longer than the old one's.
            frees = frees.max(self.segments.cost(arena, layout));
        }
        let is_apart = self.evicts() && self.has_too_many_reserved_segments();
        let purpose = if is_apart { Purpose::WriteApart { frees } } else { Purpose::Write { frees } };
        let item_ref = self.segments.allocate(arena, queue, layout, purpose)?;
        self.segments.reserve(arena, item_ref, layout, true);
        let at = arena.address(item_ref);
        arena.reservation(at);
        let fields = Fields {
            flags: 0,
            exptime: Timestamp::NEVER,
            last_access: self.now,
            cas: 0,
            stale: false,
            won: false,
            key_is_binary: false,
            hits: 0,
            is_stub: false,
        };
        // SAFETY: the segment table just handed these bytes out, and the reservation count keeps them.
        unsafe { item::write_head(at, layout, key, &fields) };
        self.segments.cover(arena, item_ref);
        let is_alone = self.takes_alone(value_bytes as u64);
        if is_alone {
            self.store.reservations.set_lone_bytes(self.segments.cost(arena, layout));
        }
        Ok(ReservedItem::new(&self.store.reservations, item_ref, layout, queue, is_alone))
    }

    /// True if a reserved item may be published in its reserved memory. False if a flush has come since it was reserved: the
    /// next process would ignore what is published there.
    pub(super) fn is_current(&self, reserved: &ReservedItem) -> bool {
        self.segments.counts_at(self.arena(), reserved.item())
    }

    /// Writes the final head of a reserved item whose value is complete. The caller then publishes the item.
    pub(super) fn finish(
        &mut self,
        reserved: &ReservedItem,
        key: &[u8],
        fields: &Fields,
    ) -> (ItemRef, Item<'t>) {
        assert_eq!(key.len(), reserved.layout().key_bytes, "it was reserved for this key");
        let arena = self.arena();
        self.segments.reserve(arena, reserved.item(), reserved.layout(), false);
        let at = arena.address(reserved.item());
        // SAFETY: an unpublished item can be reached by its owner alone, who lent it to us.
        unsafe { item::write_head(at, reserved.layout(), key, fields) };
        (reserved.item(), self.item(reserved.item()))
    }

    /// Appends the delta that puts `new` where the index has `old`, applies it, and does all accounting for it. The caller has
    /// checked that the log has room.
    pub(super) fn publish(
        &mut self,
        hash: Hash,
        old: Option<(ItemRef, Item<'_>)>,
        new: Option<(ItemRef, Item<'_>, Queue)>,
    ) {
        let arena = self.arena();
        self.replace(hash, old, new);
        if let Some((item_ref, item, queue)) = new {
            self.segments.link(arena, item_ref, &item, queue);
        }
        if let Some((item_ref, item)) = old {
            self.segments.unlink(arena, item_ref, &item);
        }
    }

    /// Appends and applies the delta that puts `new` where the index has `old`, and records it in the memory file.
    pub(super) fn replace(
        &mut self,
        hash: Hash,
        old: Option<(ItemRef, Item<'_>)>,
        new: Option<(ItemRef, Item<'_>, Queue)>,
    ) {
        #[cfg(test)]
        if let Some(late) = super::memory_file::durable::LATE.take() {
            self.item(ItemRef::from_bits(late)).set_alive(false);
        }
        let arena = self.arena();
        self.segments.record(arena, old, new);
        let (old_ref, new_ref) =
            (old.map_or(ItemRef::NONE, |old| old.0), new.map_or(ItemRef::NONE, |new| new.0));
        self.append(Delta::Entry { hash, old: old_ref, new: new_ref });
    }

    /// Appends a delta that leaves the index as it is. It gives a change of the item's header, which the caller has made, its
    /// place among the writes.
    pub(super) fn publish_amended(&mut self, hash: Hash, item_ref: ItemRef) {
        self.append(Delta::Entry { hash, old: item_ref, new: item_ref });
    }

    /// Removes every item. `due` is the second for which the flush was scheduled, or [`Timestamp::NEVER`] if it was not
    /// delayed.
    pub(super) fn flush(&mut self, due: Timestamp) {
        self.segments.record_flush(due);
        self.append(Delta::Flush);
        if let Some(written) = &mut self.segments.written {
            written.insert_all();
        }
        let arena = self.arena();
        self.segments.flush(arena);
    }

    /// Appends a delta to the log, and applies it to this ring's replica.
    fn append(&mut self, delta: Delta) {
        assert!(
            self.has_log_room(1),
            "room in the log was checked before the transaction began to change anything"
        );
        self.arena().log().append(delta);
        self.replica.apply_own(&self.replaying, self.base, delta);
    }

    /// Tells the arena and the host the new limit if the segment table has lowered it, because the memory file could not get
    /// more memory.
    pub(super) fn note_lowered_limit(&self) {
        let limit = self.segments.limit;
        if limit < self.store.memory_limit() {
            self.arena().set_memory_limit(limit);
            self.store.host.lacks_room(limit);
        }
    }

    /// Tells the host that there is work for the thread of the flash tier.
    #[cold]
    pub(super) fn wake_tier(&self) {
        self.store.host.flash_work();
    }

    /// Tells the host that the value of `item` has been moved to flash, if the host watches evictions.
    pub(super) fn host_demoted(&self, item: &Item<'_>) {
        if self.store.host.watches_evictions() {
            self.store.host.demoted(item, self.now);
        }
    }

    /// Tells the host that `item` is being evicted, if the host watches evictions.
    pub(super) fn host_evicted(&self, item: &Item<'_>) {
        if self.store.host.watches_evictions() {
            self.store.host.evicted(item, self.now);
        }
    }
}

impl Drop for WriteTxn<'_> {
    /// Publishes that this ring holds no references from before the tail: all references into the store have ended with the
    /// transaction.
    fn drop(&mut self) {
        self.replica.settle(self.arena().log());
    }
}
