//! [`Engine`] and [`Executor`]: what every command runs on. They know no command.
//!
//! A ring's thread owns its `Engine`; an `Executor` borrows it for one piece of input. May import `counters`, `latency`,
//! `observe`, `sample` and `shared`. The commands extend [`Executor`]: `get`, `storage`, `arith`, `meta`, `dump`, `load` and
//! `flash`.

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

/// What a ring runs commands with: its shard of the store, its counters, and what all rings share.
#[derive(Debug)]
pub struct Engine {
    shard: Shard,
    store: Arc<Store>,
    shared: Arc<Shared>,
    counters: Arc<RingCounters>,
    sampler: Sampler,
}

impl Engine {
    /// The engine of ring number `ring`, which must be below the number of rings `shared` was made for.
    pub fn new(shared: Arc<Shared>, shard: Shard, ring: usize) -> Self {
        let counters = Arc::clone(shared.ring_counters(ring));
        let store = Arc::clone(shard.store());
        store.advance(shared.clock.now());
        Self { shard, store, shared, counters, sampler: Sampler::new(ring) }
    }

    /// Passes the time to the store; the ring calls it once a second, when it has read the clock.
    pub fn advance(&self, now: Timestamp) {
        self.store.advance(now);
    }

    /// The ring's handle on the store.
    pub fn shard_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// The counters of this ring.
    pub fn counters(&self) -> &Counters {
        &self.counters.ring
    }

    /// The state that all rings share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Brings the ring's replica up to date and opens it for commands.
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

/// A borrow of a ring's engine, whose replica is up to date, for the commands of one piece of input.
#[expect(missing_debug_implementations, reason = "a loan of the store")]
pub struct Executor<'e> {
    pub(super) fresh: Fresh<'e>,
    pub(super) store: &'e Store,
    pub(super) counters: &'e RingCounters,
    pub(super) shared: &'e Arc<Shared>,
    /// What commands are reported to: bits of `watch::Stream`, `shared::PREFIXES` and [`KEYS`]; nearly always 0.
    observers: u32,
    /// The requests of this input are timed.
    is_timed: bool,
    /// Number of the connection whose commands these are.
    connection: u32,
    /// Commands that must wait for other rings are tried again later; if false, they are refused.
    is_patient: bool,
    /// Commands that need a value from flash are tried again later; if false, they are refused.
    may_load: bool,
}

impl<'e> Executor<'e> {
    /// The time, in whole seconds.
    pub fn now(&self) -> Timestamp {
        self.fresh.now()
    }

    /// Passes the clock's time, which `debugtime` has changed, to this executor and to the store.
    #[cold]
    pub fn follow_clock(&mut self) {
        let now = self.shared.clock.now();
        self.store.set_now(now);
        self.fresh.set_now(now);
    }

    /// Sets the connection whose commands follow, for the lines that watchers get.
    #[inline]
    pub fn set_connection(&mut self, id: u32) {
        self.connection = id;
    }

    /// Marks the commands of this input as those of a copy: see [`Store::begin_copy`].
    #[cold]
    pub fn set_copy(&mut self) {
        self.fresh.set_copy();
    }

    /// From here on, refuses commands of this input that would have to wait for other rings.
    #[cold]
    pub fn refuse_stalls(&mut self) {
        self.is_patient = false;
    }

    /// From here on, refuses commands of this input that need a value which is on flash.
    #[cold]
    pub fn refuse_loads(&mut self) {
        self.may_load = false;
    }

    /// Sorts the result of a change: the outer error is one to try again, the inner one is final. What this executor may not
    /// wait for is final.
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

    /// Whether the requests of this input are to be timed, with [`Executor::record`].
    #[inline]
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// Records that `requests` requests took `time` together.
    pub fn record(&self, kind: Kind, time: Duration, requests: u32) {
        self.counters.latency.record(kind, time, requests);
    }

    /// The state that all rings share.
    pub fn shared(&self) -> &'e Arc<Shared> {
        self.shared
    }

    /// The counters of this ring.
    pub fn counters(&self) -> &'e Counters {
        &self.counters.ring
    }

    #[inline]
    pub(super) fn class(&self, class: u8) -> &'e ClassCounters {
        &self.counters.classes[usize::from(class) % counters::CLASSES]
    }

    /// The second of the server's clock at which an item with `exptime` expires.
    ///
    /// Source: memcached's `realtime`: a Unix time before the server's start has passed.
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

    /// Seconds that `item` has left to live; `None` is for ever.
    pub fn ttl(&self, item: &Item<'_>) -> Option<u32> {
        match item.exptime() {
            Timestamp::NEVER => None,
            exptime => Some(exptime.0.wrapping_sub(self.now().0)),
        }
    }

    /// Prefetches for the lookups of `keys` that follow, so that their cache misses overlap; writes the hash of each key to
    /// `hashes`.
    #[inline]
    pub fn prefetch(&mut self, keys: &[&[u8]], hashes: &mut [Hash]) {
        self.fresh.prefetch(keys, hashes);
    }

    /// The hash of `key`.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> Hash {
        self.fresh.hash(key)
    }

    /// A cas as clients see it: 0 under -C.
    #[inline]
    pub fn shown_cas(&self, cas: u64) -> u64 {
        if self.shared.config.cas_enabled { cas } else { 0 }
    }

    /// Runs `stats detail on` and `off`, for all rings.
    pub fn set_detail(&mut self, on: bool) {
        self.shared.set_detail(on);
        self.observers = self.shared.observers() | self.observers & KEYS;
    }

    /// The observer to report commands to; `None` if nothing observes them.
    #[inline(always)]
    pub(super) fn observer(&self) -> Option<Observer<'e>> {
        if self.observers == 0 {
            return None;
        }
        let (shared, counters) = (&**self.shared, self.counters);
        Some(Observer { shared, counters, observers: self.observers, connection: self.connection })
    }
}
