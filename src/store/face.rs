//! INTERFACE SKETCH of the store. The real one keeps these names and signatures.
#![allow(missing_docs, dead_code, unused_variables, missing_debug_implementations, elided_lifetimes_in_paths, unused_must_use, clippy::all, clippy::pedantic, reason = "sketch")]

use crate::classes::Classes;
use crate::clock::Secs;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

#[derive(Debug)]
struct Rec {
    key: Vec<u8>, value: Arc<Vec<u8>>, flags: u32, cas: u64, exptime: AtomicU32, last: AtomicU32, fetched: AtomicBool,
    stale: AtomicBool, won: AtomicBool, key_is_binary: bool, born: u64,
}

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

pub struct Store { limit: AtomicU64, item_size_max: u64, evict: bool, bytes: AtomicU64, items: AtomicU64, total: AtomicU64, host: Box<dyn Host>, evictions: AtomicU64 }
impl std::fmt::Debug for Store { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("Store") } }
#[derive(Debug)]
pub struct StartError(pub String);

impl Store {
    pub fn new(options: Options, host: Box<dyn Host>) -> Result<Arc<Store>, StartError> {
        Ok(Arc::new(Store { limit: options.memory_limit.into(), item_size_max: options.item_size_max, evict: options.evict, bytes: 0.into(), items: 0.into(), total: 0.into(), host, evictions: 0.into() }))
    }
    /// The shard of `ring`; taken once each.
    pub fn shard(self: &Arc<Self>, ring: usize) -> Shard { Shard { store: self.clone(), map: HashMap::new(), cas: 0, seq: 0, flushed: 0, pending: None, order: Vec::new() } }
    pub fn memory_limit(&self) -> u64 { self.limit.load(Relaxed) }
    /// `cache_memlimit`: false if out of what the mapping can hold.
    pub fn set_memory_limit(&self, bytes: u64) -> bool { self.limit.store(bytes, Relaxed); true }
    pub fn totals(&self) -> Totals { Totals { curr_items: self.items.load(Relaxed), total_items: self.total.load(Relaxed), bytes: self.bytes.load(Relaxed), evictions: self.evictions.load(Relaxed), ..Totals::default() } }
    pub fn memory(&self) -> Memory { Memory { limit: self.limit.load(Relaxed), segment_bytes: 1 << 20, segments_total: 64, segments_free: 63, ..Memory::default() } }
    /// Per-class gauges and counters, index = class number (0 unused).
    pub fn class_totals(&self) -> Vec<ClassTotals> { let mut v = vec![ClassTotals::default(); 64]; v[1].items = self.items.load(Relaxed); v[1].bytes = self.bytes.load(Relaxed); v }
    /// Clears the counters (not the gauges).
    pub fn reset_counters(&self) { self.total.store(0, Relaxed); }
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
pub struct Shard { store: Arc<Store>, map: HashMap<Vec<u8>, Box<Rec>>, cas: u64, seq: u64, flushed: u64, pending: Option<(u32, u64)>, order: Vec<Vec<u8>> }

impl Shard {
    /// Replays the log to its tail. The result is the only way to look up or to write.
    pub fn fresh(&mut self, now: Secs) -> Fresh<'_> {
        if let Some((at, _)) = self.pending && now.0 >= at { self.flushed = self.seq; self.pending = None; }
        Fresh { shard: self, now }
    }
    /// A slice (at most about 100 µs) of background work: expiry sweep, eviction ahead of need. True: call again soon.
    pub fn maintain(&mut self, now: Secs) -> bool { false }
    pub fn store(&self) -> &Arc<Store> { &self.store }
    fn gone(&mut self, key: &[u8]) {
        if let Some(r) = self.map.remove(key) {
            self.store.items.fetch_sub(1, Relaxed);
            self.store.bytes.fetch_sub(size(&r), Relaxed);
        }
    }
}
fn size(r: &Rec) -> u64 { crate::classes::item_bytes(r.key.len(), r.flags, r.value.len()) }

/// A shard that has replayed: sees every write acknowledged before [`Shard::fresh`] was called.
pub struct Fresh<'s> { shard: &'s mut Shard, now: Secs }

pub enum Lookup<'a> {
    Hit(Item<'a>),
    /// Was there, its time had passed (reported once, then it is a miss).
    Expired,
    /// Was there, but older than the last flush (reported once).
    Flushed,
    Miss,
}

impl<'s> Fresh<'s> {
    pub fn now(&self) -> Secs { self.now }
    /// Finds the live item of `key`. Does not count as a use: see [`Item::touch_use`].
    pub fn find(&mut self, key: &[u8]) -> Lookup<'_> {
        let Some(rec) = self.shard.map.get(key) else { return Lookup::Miss };
        let e = rec.exptime.load(Relaxed);
        if e != 0 && e <= self.now.0 { self.shard.gone(key); return Lookup::Expired; }
        if rec.born <= self.shard.flushed { self.shard.gone(key); return Lookup::Flushed; }
        Lookup::Hit(Item { it: &self.shard.map[key] })
    }
    /// Hints that these keys will be looked up next (prefetch for pipelines and multigets).
    pub fn expect(&mut self, keys: &[&[u8]]) {}
    /// Decides under the writer lock, on the newest state, and applies what `decide` says. `decide` gets the live item
    /// (expired ones are None) and may be called more than once; the last call counts.
    /// `data` is what [`Value::Data`] and its kin refer to.
    pub fn edit<R>(
        &mut self, key: &[u8], data: Data<'_>, mut decide: impl FnMut(Option<&Item<'_>>) -> (Edit, R),
    ) -> Result<Edited<R>, EditError> {
        let now = self.now;
        let (edit, outcome) = match self.find(key) { Lookup::Hit(i) => { decide(Some(&i)); decide(Some(&i)) } _ => { decide(None); decide(None) } };
        let s = &mut *self.shard;
        let cas = match edit {
            Edit::Keep => s.map.get(key).map_or(0, |r| r.cas),
            Edit::Remove => { s.gone(key); 0 }
            Edit::Amend(a) => {
                let r = &s.map[key];
                if let Some(e) = a.exptime { r.exptime.store(e.0, Relaxed) }
                if let Some(e) = a.stale { r.stale.store(e, Relaxed) }
                if let Some(e) = a.won { r.won.store(e, Relaxed) }
                r.cas
            }
            Edit::Put(p) => {
                let data: &[u8] = match &data { Data::None => b"", Data::Bytes(b) => b, Data::Draft(d) => &d.buf };
                let old: &[u8] = s.map.get(key).map_or(b"", |r| &r.value[..]);
                let value = match p.value {
                    Value::Data => data.to_vec(),
                    Value::OldThenData => [old, data].concat(),
                    Value::DataThenOld => [data, old].concat(),
                    Value::Old => old.to_vec(),
                    Value::Empty => Vec::new(),
                    Value::Digits(d, n) => d[..n as usize].to_vec(),
                };
                let bytes = crate::classes::item_bytes(key.len(), p.flags, value.len());
                if bytes > s.store.item_size_max { return Err(EditError::TooLarge); }
                while s.store.bytes.load(Relaxed) + bytes > s.store.limit.load(Relaxed) {
                    if !s.store.evict || s.map.is_empty() { return Err(EditError::NoRoom); }
                    let victim = s.map.keys().next().unwrap().clone();
                    let rec = &s.map[&victim];
                    if s.store.host.watches_evictions() { s.store.host.evicted(&Item { it: rec }) }
                    s.store.evictions.fetch_add(1, Relaxed);
                    s.gone(&victim);
                }
                s.seq += 1;
                s.cas += 1;
                let cas = p.cas.unwrap_or(s.cas + 1);
                s.gone(key);
                s.store.items.fetch_add(1, Relaxed);
                s.store.total.fetch_add(1, Relaxed);
                s.store.bytes.fetch_add(bytes, Relaxed);
                s.map.insert(key.to_vec(), Box::new(Rec { key: key.to_vec(), value: Arc::new(value), flags: p.flags, cas, exptime: p.exptime.0.into(), last: now.0.into(), fetched: false.into(), stale: p.stale.into(), won: p.won.into(), key_is_binary: p.key_is_binary, born: s.seq }));
                cas
            }
        };
        Ok(Edited { outcome, cas })
    }
    /// Reserves item memory for a value that is still to be received.
    pub fn reserve(&mut self, key: &[u8], value_bytes: usize) -> Result<Draft, NoRoom> {
        if value_bytes as u64 > self.shard.store.limit.load(Relaxed) { return Err(NoRoom); }
        Ok(Draft { buf: Vec::with_capacity(value_bytes), len: value_bytes })
    }
    /// flush_all: every item acknowledged before is gone, at once.
    pub fn flush(&mut self) { self.shard.flushed = self.shard.seq; self.shard.pending = None; }
    /// flush_all with a delay: the flush happens when the clock reaches `at`; a later call replaces it.
    pub fn flush_at(&mut self, at: Secs) { self.shard.pending = Some((at.0, 0)); }
    /// Visits the items of the next slice of the walk; false when the walk is over. Each item present throughout is visited once.
    pub fn walk(&mut self, walk: &mut Walk, mut visit: impl FnMut(&Item<'_>)) -> bool {
        let mut keys: Vec<_> = self.shard.map.keys().collect();
        keys.sort();
        for k in keys.iter().skip(walk.table).take(8) { visit(&Item { it: &self.shard.map[*k] }) }
        walk.table += 8;
        walk.table < keys.len()
    }
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
pub struct Draft { buf: Vec<u8>, len: usize }
impl Draft {
    /// Length of the whole value, bytes.
    pub fn len(&self) -> usize { self.len }
    /// Bytes received so far.
    pub fn filled(&self) -> usize { self.buf.len() }
    /// The bytes received so far.
    pub fn bytes(&self) -> &[u8] { &self.buf }
    /// Appends as many bytes of `from` as still fit; returns how many.
    pub fn fill(&mut self, from: &[u8]) -> usize { let n = from.len().min(self.len - self.buf.len()); self.buf.extend_from_slice(&from[..n]); n }
    /// Where the kernel may write the rest: address and length. Valid as long as the draft lives.
    pub fn spare(&mut self) -> (*mut u8, usize) { todo!() }
    /// `n` more bytes have been written to the front of [`Draft::spare`].
    pub fn advance(&mut self, n: usize) { todo!() }
}

/// A live item, borrowed from the replica; immutable but for the fields of [`Amend`] and use marks.
pub struct Item<'a> { it: &'a Rec }
impl<'a> Item<'a> {
    pub fn key(&self) -> &'a [u8] { &self.it.key }
    pub fn value(&self) -> &'a [u8] { &self.it.value }
    pub fn flags(&self) -> u32 { self.it.flags }
    pub fn cas(&self) -> u64 { self.it.cas }
    /// NEVER or the second at which it expires.
    pub fn exptime(&self) -> Secs { Secs(self.it.exptime.load(Relaxed)) }
    pub fn last_access(&self) -> Secs { Secs(self.it.last.load(Relaxed)) }
    /// Has been fetched since it was stored.
    pub fn fetched(&self) -> bool { self.it.fetched.load(Relaxed) }
    pub fn stale(&self) -> bool { self.it.stale.load(Relaxed) }
    pub fn won(&self) -> bool { self.it.won.load(Relaxed) }
    pub fn key_is_binary(&self) -> bool { self.it.key_is_binary }
    /// Records a use at `now`: last access, fetched, and the evictor's hit counter.
    pub fn touch_use(&self, now: Secs) { self.it.last.store(now.0, Relaxed); self.it.fetched.store(true, Relaxed); }
    /// Keeps the value's bytes valid (old bytes stay, whatever happens to the key) until the pin is dropped.
    pub fn pin(&self) -> Pin { Pin(self.it.value.clone()) }
}

/// A value's bytes, held for a send.
#[derive(Debug)]
pub struct Pin(Arc<Vec<u8>>);
impl Pin {
    pub fn bytes(&self) -> &[u8] { &self.0 }
}
