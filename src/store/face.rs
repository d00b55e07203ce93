//! INTERFACE SKETCH of the store. The real one keeps these names and signatures.
#![allow(missing_docs, dead_code, unused_variables, clippy::all, clippy::pedantic, reason = "sketch")]

use crate::classes::Classes;
use crate::clock::Secs;
use std::sync::Arc;

/// What the store is made with.
pub struct Options {
    /// `-m`, bytes: everything that grows with items.
    pub memory_limit: u64,
    /// `-I`, bytes.
    pub item_size_max: u64,
    /// Without `-M`.
    pub evict: bool,
    /// Number of shards (replicas) that will be taken.
    pub rings: usize,
    /// Size classes for the per-class counters.
    pub classes: Classes,
    /// Seed of the key hash.
    pub seed: u64,
}

/// What the store asks of the outside.
pub trait Host: Send + Sync {
    /// Wakes ring `ring` so that it calls [`Shard::fresh`] soon. May be spurious, must not block.
    fn wake(&self, ring: usize);
    /// True while somebody wants [`Host::evicted`].
    fn watches_evictions(&self) -> bool {
        false
    }
    /// A live item is being evicted (called with the writer lock held: copy what you need).
    fn evicted(&self, item: &Item<'_>) {}
}

#[derive(Debug)]
pub struct Store;
pub struct StartError(pub String);

impl Store {
    pub fn new(options: Options, host: Box<dyn Host>) -> Result<Arc<Store>, StartError> { todo!() }
    /// The shard of `ring`; taken once each.
    pub fn shard(self: &Arc<Self>, ring: usize) -> Shard { todo!() }
    pub fn memory_limit(&self) -> u64 { todo!() }
    /// `cache_memlimit`: false if out of what the mapping can hold.
    pub fn set_memory_limit(&self, bytes: u64) -> bool { todo!() }
    pub fn totals(&self) -> Totals { todo!() }
    pub fn memory(&self) -> Memory { todo!() }
    /// Per-class gauges and counters, index = class number (0 unused).
    pub fn class_totals(&self) -> Vec<ClassTotals> { todo!() }
    /// Clears the counters (not the gauges).
    pub fn reset_counters(&self) { todo!() }
}

/// Sums over the whole store.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub curr_items: u64, pub total_items: u64, pub bytes: u64,
    pub evictions: u64, pub evicted_unfetched: u64, pub expired_unfetched: u64,
    pub reclaimed: u64, pub crawler_reclaimed: u64, pub crawler_items_checked: u64,
    /// Survivors copied from small to main, main to main.
    pub moves_to_warm: u64, pub moves_within_lru: u64,
    pub direct_reclaims: u64,
}

#[derive(Clone, Debug, Default)]
pub struct ClassTotals {
    pub items: u64, pub bytes: u64, pub evicted: u64, pub evicted_nonzero: u64, pub evicted_unfetched: u64,
    pub evicted_time: u64, pub expired_unfetched: u64, pub reclaimed: u64, pub outofmemory: u64, pub crawler_reclaimed: u64,
    pub oldest: Secs,
}

/// The parts of the `-m` budget, bytes, and what else the store holds.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub limit: u64, pub segments: u64, pub large: u64, pub index: u64, pub ghost: u64, pub log: u64,
    pub segment_bytes: u64, pub segments_free: u64, pub segments_total: u64, pub pins: u64, pub drafts: u64,
}

/// One ring's handle on the store. Not Sync; stays on its thread (it is Send so that a thread can be given one).
#[derive(Debug)]
pub struct Shard;

impl Shard {
    /// Replays the log to its tail. The result is the only way to look up or to write.
    pub fn fresh(&mut self, now: Secs) -> Fresh<'_> { todo!() }
    /// A slice (at most about 100 µs) of background work: expiry sweep, eviction ahead of need. True: call again soon.
    pub fn maintain(&mut self, now: Secs) -> bool { todo!() }
    pub fn store(&self) -> &Arc<Store> { todo!() }
}

/// A shard that has replayed: sees every write acknowledged before [`Shard::fresh`] was called.
pub struct Fresh<'s> { shard: &'s mut Shard }

pub enum Lookup<'a> {
    Hit(Item<'a>),
    /// Was there, its time had passed (reported once, then it is a miss).
    Expired,
    /// Was there, but older than the last flush (reported once).
    Flushed,
    Miss,
}

impl<'s> Fresh<'s> {
    pub fn now(&self) -> Secs { todo!() }
    /// Finds the live item of `key`. Does not count as a use: see [`Item::touch_use`].
    pub fn find(&mut self, key: &[u8]) -> Lookup<'_> { todo!() }
    /// Hints that these keys will be looked up next (prefetch for pipelines and multigets).
    pub fn expect(&mut self, keys: &[&[u8]]) {}
    /// Decides under the writer lock, on the newest state, and applies what `decide` says. `decide` gets the live item
    /// (expired ones are None) and may be called more than once; the last call counts.
    /// `data` is what [`Value::Data`] and its kin refer to.
    pub fn edit<R>(
        &mut self, key: &[u8], data: Data<'_>, decide: impl FnMut(Option<&Item<'_>>) -> (Edit, R),
    ) -> Result<Edited<R>, EditError> { todo!() }
    /// Reserves item memory for a value that is still to be received.
    pub fn reserve(&mut self, key: &[u8], value_bytes: usize) -> Result<Draft, NoRoom> { todo!() }
    /// flush_all: every item acknowledged before is gone, at once.
    pub fn flush(&mut self) { todo!() }
    /// flush_all with a delay: the flush happens when the clock reaches `at`; a later call replaces it.
    pub fn flush_at(&mut self, at: Secs) { todo!() }
    /// Visits the items of the next slice of the walk; false when the walk is over. Each item present throughout is visited once.
    pub fn walk(&mut self, walk: &mut Walk, visit: impl FnMut(&Item<'_>)) -> bool { todo!() }
}

/// A place in a walk over all items; `Walk::default()` is the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk { pub(crate) table: usize }

/// The request's value.
pub enum Data<'d> {
    None,
    /// In the read buffer.
    Bytes(&'d [u8]),
    /// Received into item memory; published in place if the edit's value is [`Value::Data`].
    Draft(Draft),
}

/// What an edit does to the key.
pub enum Edit {
    /// Nothing.
    Keep,
    /// Removes the item.
    Remove,
    /// Stores a new version.
    Put(Put),
    /// Changes the item's fields in place (ordered in the log like a write; cas stays).
    Amend(Amend),
}

pub struct Put {
    pub flags: u32,
    pub exptime: Secs,
    pub value: Value,
    /// An explicit cas (meta E), else the next number.
    pub cas: Option<u64>,
    pub stale: bool,
    pub won: bool,
    /// The key came in base64 (meta b) and is shown so.
    pub key_is_binary: bool,
}

/// A new version's value.
pub enum Value {
    /// The request's data.
    Data,
    /// The old value, then the data (append).
    OldThenData,
    /// The data, then the old value (prepend).
    DataThenOld,
    /// The old value.
    Old,
    /// Nothing.
    Empty,
    /// These bytes: buffer and length (incr, decr).
    Digits([u8; 24], u8),
}

#[derive(Default)]
pub struct Amend {
    pub exptime: Option<Secs>,
    pub stale: Option<bool>,
    pub won: Option<bool>,
}

pub struct Edited<R> {
    /// What `decide` returned in its last call.
    pub outcome: R,
    /// The cas of the item after the edit; 0 if there is none.
    pub cas: u64,
}

/// No memory: -M and full, or everything is in use. Nothing was changed.
#[derive(Clone, Copy, Debug)]
pub struct NoRoom;

#[derive(Clone, Copy, Debug)]
pub enum EditError {
    NoRoom,
    /// The new version (old value and data together) is over -I. Nothing was changed.
    TooLarge,
}

/// Item memory reserved for a value; dropping it gives the memory back.
#[derive(Debug)]
pub struct Draft;
impl Draft {
    /// Length of the whole value, bytes.
    pub fn len(&self) -> usize { todo!() }
    /// Bytes received so far.
    pub fn filled(&self) -> usize { todo!() }
    /// The bytes received so far.
    pub fn bytes(&self) -> &[u8] { todo!() }
    /// Appends as many bytes of `from` as still fit; returns how many.
    pub fn fill(&mut self, from: &[u8]) -> usize { todo!() }
    /// Where the kernel may write the rest: address and length. Valid as long as the draft lives.
    pub fn spare(&mut self) -> (*mut u8, usize) { todo!() }
    /// `n` more bytes have been written to the front of [`Draft::spare`].
    pub fn advance(&mut self, n: usize) { todo!() }
}

/// A live item, borrowed from the replica; immutable but for the fields of [`Amend`] and use marks.
pub struct Item<'a> { it: &'a () }
impl<'a> Item<'a> {
    pub fn key(&self) -> &'a [u8] { todo!() }
    pub fn value(&self) -> &'a [u8] { todo!() }
    pub fn flags(&self) -> u32 { todo!() }
    pub fn cas(&self) -> u64 { todo!() }
    /// NEVER or the second at which it expires.
    pub fn exptime(&self) -> Secs { todo!() }
    pub fn last_access(&self) -> Secs { todo!() }
    /// Has been fetched since it was stored.
    pub fn fetched(&self) -> bool { todo!() }
    pub fn stale(&self) -> bool { todo!() }
    pub fn won(&self) -> bool { todo!() }
    pub fn key_is_binary(&self) -> bool { todo!() }
    /// Records a use at `now`: last access, fetched, and the evictor's hit counter.
    pub fn touch_use(&self, now: Secs) {}
    /// Keeps the value's bytes valid (old bytes stay, whatever happens to the key) until the pin is dropped.
    pub fn pin(&self) -> Pin { todo!() }
}

/// A value's bytes, held for a send.
#[derive(Debug)]
pub struct Pin;
impl Pin {
    pub fn bytes(&self) -> &[u8] { todo!() }
}
