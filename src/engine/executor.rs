//! [`Engine`] and [`Executor`]: what every command runs on. This module knows no command.
//!
//! A ring's thread owns its `Engine`; an `Executor` borrows it for one piece of input. The module may import `counters`,
//! `latency`, `observe`, `sample` and `shared`. The commands extend [`Executor`]: `get`, `storage`, `arith`, `meta`, `dump`,
//! `load` and `flash`.

use crate::clock::Timestamp;
use crate::command::Exptime;
use crate::engine::counters::{self, ClassCounters, Counters, RingCounters};
use crate::engine::latency::Kind;
use crate::engine::observe::Observer;
use crate::engine::sample::{Sample, Sampler};
use crate::engine::shared::{KEYS, Shared};
use crate::limits::EXPTIME_RELATIVE_MAX;
use crate::store::{EditError, Fresh, Hash, Item, Retry, Shard, Store};
use std::sync::Arc;
use std::time::Duration;

/// Everything on which a ring runs commands: its shard of the store, its counters, and the state that all rings share. Each ring
/// has one engine.
#[derive(Debug)]
pub struct Engine {
    shard: Shard,
    store: Arc<Store>,
    shared: Arc<Shared>,
    counters: Arc<RingCounters>,
    sampler: Sampler,
}

impl Engine {
    /// Makes the engine of ring number `ring`, which must be less than the number of rings that `shared` was made for.
    pub fn new(shared: Arc<Shared>, shard: Shard, ring: usize) -> Self {
        let counters = Arc::clone(shared.ring_counters(ring));
        let store = Arc::clone(shard.store());
        store.advance(shared.clock.now());
        Self { shard, store, shared, counters, sampler: Sampler::new(ring) }
    }

    /// Sets the time by which the store expires items. The ring calls this once a second, when it has read the clock.
    pub fn advance(&self, now: Timestamp) {
        self.store.advance(now);
    }

    /// Returns the ring's handle on the store.
    pub fn shard_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// Returns the counters of this ring that belong to no size class.
    pub fn counters(&self) -> &Counters {
        &self.counters.ring
    }

    /// Returns the state that all rings share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Replays the log on the ring's replica, and lends the engine to the commands of one piece of input.
    #[inline]
    pub fn fresh(&mut self) -> Executor<'_> {
        let sample = self.sampler.next();
        Executor {
            fresh: self.shard.latest(),
            store: &self.store,
            counters: &self.counters,
            shared: &self.shared,
            observers: self.shared.observers() | if sample == Sample::Keys { KEYS } else { 0 },
            is_timed: sample == Sample::Times,
            connection: 0,
            is_patient: true,
            may_load: true,
        }
    }
}

/// A loan of a ring's engine to the commands of one piece of input. Its replica is up to date.
#[expect(missing_debug_implementations, reason = "a loan of the store")]
pub struct Executor<'e> {
    pub(super) fresh: Fresh<'e>,
    pub(super) store: &'e Store,
    pub(super) counters: &'e RingCounters,
    pub(super) shared: &'e Arc<Shared>,
    /// The destinations of reports about commands: bits of `watch::Stream`, `shared::PREFIXES` and [`KEYS`]. Nearly always 0.
    observers: u32,
    /// True if the requests of this input are to be timed.
    is_timed: bool,
    /// The number of the connection that sent the commands, which watchers are shown.
    connection: u32,
    /// True if a command that must wait for other rings ends with [`Retry::Stalled`]; false if it is refused.
    is_patient: bool,
    /// True if a command that needs a value from flash in memory ends with [`Retry::Load`]; false if it is refused.
    may_load: bool,
}

impl<'e> Executor<'e> {
    /// Returns the second of the server's clock at which this input's commands run.
    pub fn now(&self) -> Timestamp {
        self.fresh.now()
    }

    /// Passes the time of the clock, which `debugtime` has changed, to this executor and to the store.
    #[cold]
    pub fn follow_clock(&mut self) {
        let now = self.shared.clock.now();
        self.store.set_now(now);
        self.fresh.set_now(now);
    }

    /// Sets the number of the connection that sent the commands, which watchers are shown.
    #[inline]
    pub fn set_connection(&mut self, id: u32) {
        self.connection = id;
    }

    /// Marks the commands of this input as those of a copy. They then store an item only if no client has written its key: see
    /// [`Store::begin_copy`].
    #[cold]
    pub fn set_copy(&mut self) {
        self.fresh.set_copy();
    }

    /// Makes later commands of this input fail where they would have to wait for other rings.
    #[cold]
    pub fn refuse_stalls(&mut self) {
        self.is_patient = false;
    }

    /// Makes later commands of this input fail where they need a value from flash in memory.
    #[cold]
    pub fn refuse_loads(&mut self) {
        self.may_load = false;
    }

    /// Sorts the result of a change. The outer error means that the command must be run again; the inner error is final. A wait
    /// that this executor does not allow becomes a final error.
    #[inline]
    pub(super) fn settle<T, E>(&self, tried: Result<T, E>) -> Result<Result<T, E>, Retry>
    where
        E: Copy,
        EditError: From<E>,
    {
        let Err(error) = tried else { return Ok(tried) };
        match error.into() {
            EditError::Retry(Retry::Stalled) if !self.is_patient => Ok(Err(error)),
            EditError::Retry(Retry::Load) if !self.may_load => Ok(Err(error)),
            EditError::Retry(retry) => Err(retry),
            _ => Ok(Err(error)),
        }
    }

    /// True if the requests of this input are to be timed, and their times passed to [`Executor::record`].
    #[inline]
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// Records that `requests` requests of the same kind took `time` together.
    pub fn record(&self, kind: Kind, time: Duration, requests: u32) {
        self.counters.latency.record(kind, time, requests);
    }

    /// Returns the state that all rings share.
    pub fn shared(&self) -> &'e Arc<Shared> {
        self.shared
    }

    /// Returns the counters of this ring that belong to no size class.
    pub fn counters(&self) -> &'e Counters {
        &self.counters.ring
    }

    #[inline]
    pub(super) fn class(&self, class: u8) -> &'e ClassCounters {
        &self.counters.classes[usize::from(class) % counters::CLASSES]
    }

    /// Returns the second of the server's clock from which an item with `exptime` has expired.
    ///
    /// Source: memcached's `realtime`, for which a Unix time before the server's start has passed.
    pub fn deadline(&self, exptime: Exptime) -> Timestamp {
        match exptime.0 {
            0 => Timestamp::NEVER,
            i64::MIN..0 => Timestamp::PAST,
            secs if secs <= i64::from(EXPTIME_RELATIVE_MAX) => {
                Timestamp(self.now().0.saturating_add(secs as u32))
            }
            unix => match (unix as u64).checked_sub(self.shared.clock.unix_start()) {
                None | Some(0) => Timestamp::PAST,
                Some(secs) => Timestamp(u32::try_from(secs).unwrap_or(u32::MAX)),
            },
        }
    }

    /// Returns the seconds that `item` has to live; `None` if it never expires.
    pub fn ttl(&self, item: &Item<'_>) -> Option<u32> {
        match item.exptime() {
            Timestamp::NEVER => None,
            exptime => Some(exptime.0.wrapping_sub(self.now().0)),
        }
    }

    /// Prefetches index entries and items of `keys`, so that the cache misses of later lookups overlap. Writes the hash of each
    /// key to `hashes`, which must be at least as long as `keys`.
    #[inline]
    pub fn prefetch(&mut self, keys: &[&[u8]], hashes: &mut [Hash]) {
        self.fresh.prefetch(keys, hashes);
    }

    /// Returns the hash of `key`, for [`Executor::get_hashed`].
    #[inline]
    pub fn hash(&self, key: &[u8]) -> Hash {
        self.fresh.hash(key)
    }

    /// Returns the cas that clients are shown: `cas`, or 0 with -C.
    #[inline]
    pub fn shown_cas(&self, cas: u64) -> u64 {
        if self.shared.config.cas_enabled { cas } else { 0 }
    }

    /// Turns the counting of keys by prefix on or off, for all rings (`stats detail on` and `off`).
    pub fn set_detail(&mut self, on: bool) {
        self.shared.set_detail(on);
        self.observers = self.shared.observers() | self.observers & KEYS;
    }

    /// Returns the observer to which commands report; `None` if no reports are wanted, which is nearly always.
    #[inline(always)]
    pub(super) fn observer(&self) -> Option<Observer<'e>> {
        if self.observers == 0 {
            return None;
        }
        let (shared, counters) = (&**self.shared, self.counters);
        Some(Observer { shared, counters, observers: self.observers, connection: self.connection })
    }
}
