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

/// Everything that a ring runs commands with: its shard of the store, its counters, and the state that all rings share. One per
/// ring.
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

    /// Sets the time by which the store lets items expire. The ring calls this once a second, when it has read the clock.
    pub fn advance(&self, now: Timestamp) {
        self.store.advance(now);
    }

    /// The ring's handle on the store.
    pub fn shard_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// The counters of this ring that belong to no class.
    pub fn counters(&self) -> &Counters {
        &self.counters.ring
    }

    /// The state that all rings share.
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

/// A loan of a ring's engine, whose replica is up to date, to the commands of one piece of input.
#[expect(missing_debug_implementations, reason = "a loan of the store")]
pub struct Executor<'e> {
    pub(super) fresh: Fresh<'e>,
    pub(super) store: &'e Store,
    pub(super) counters: &'e RingCounters,
    pub(super) shared: &'e Arc<Shared>,
    /// What commands are reported to: bits of `watch::Stream`, `shared::PREFIXES` and [`KEYS`]; nearly always 0.
    observers: u32,
    /// True if this input is one whose requests are timed.
    is_timed: bool,
    /// The number of the connection that sent the commands, for watchers.
    connection: u32,
    /// True if a command that has to wait for other rings ends with [`Retry::Stalled`], false if it is refused.
    is_patient: bool,
    /// True if a command that needs a value from flash in memory ends with [`Retry::Load`], false if it is refused.
    may_load: bool,
}

impl<'e> Executor<'e> {
    /// The second of the server's clock at which this input's commands run.
    pub fn now(&self) -> Timestamp {
        self.fresh.now()
    }

    /// After `debugtime`: passes the changed time of the clock to this executor and to the store.
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

    /// Marks the commands of this input as those of a copy, which store only what no client has written: see
    /// [`Store::begin_copy`].
    #[cold]
    pub fn set_copy(&mut self) {
        self.fresh.set_copy();
    }

    /// From this call on, commands of this input that would have to wait for other rings are refused instead.
    #[cold]
    pub fn refuse_stalls(&mut self) {
        self.is_patient = false;
    }

    /// From this call on, commands of this input that need a value from flash in memory are refused instead.
    #[cold]
    pub fn refuse_loads(&mut self) {
        self.may_load = false;
    }

    /// Sorts the result of a change. The outer error says that the command has to be tried again, the inner one is final. A
    /// wait that this executor does not allow becomes final.
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

    /// True if the requests of this input are to be timed, and reported with [`Executor::record`].
    #[inline]
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// Records that `requests` requests of the same kind took `time` together.
    pub fn record(&self, kind: Kind, time: Duration, requests: u32) {
        self.counters.latency.record(kind, time, requests);
    }

    /// The state that all rings share.
    pub fn shared(&self) -> &'e Arc<Shared> {
        self.shared
    }

    /// The counters of this ring that belong to no class.
    pub fn counters(&self) -> &'e Counters {
        &self.counters.ring
    }

    #[inline]
    pub(super) fn class(&self, class: u8) -> &'e ClassCounters {
        &self.counters.classes[usize::from(class) % counters::CLASSES]
    }

    /// The second of the server's clock from which an item with `exptime` is expired.
    ///
    /// Source: memcached's `realtime`, in which a Unix time before the server's start has passed.
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

    /// Seconds that `item` has left to live; `None` if it never expires.
    pub fn ttl(&self, item: &Item<'_>) -> Option<u32> {
        match item.exptime() {
            Timestamp::NEVER => None,
            exptime => Some(exptime.0.wrapping_sub(self.now().0)),
        }
    }

    /// Prefetches index entries and items of `keys`, so that the cache misses of the lookups that follow overlap. Writes the
    /// hash of each key to `hashes`.
    #[inline]
    pub fn prefetch(&mut self, keys: &[&[u8]], hashes: &mut [Hash]) {
        self.fresh.prefetch(keys, hashes);
    }

    /// The hash of `key`, for [`Executor::get_hashed`].
    #[inline]
    pub fn hash(&self, key: &[u8]) -> Hash {
        self.fresh.hash(key)
    }

    /// The cas that clients are shown: `cas`, or 0 with -C.
    #[inline]
    pub fn shown_cas(&self, cas: u64) -> u64 {
        if self.shared.config.cas_enabled { cas } else { 0 }
    }

    /// Runs `stats detail on` and `off`, which say for all rings whether keys are counted by prefix from then on.
    pub fn set_detail(&mut self, on: bool) {
        self.shared.set_detail(on);
        self.observers = self.shared.observers() | self.observers & KEYS;
    }

    /// The observer to which commands report; `None`, nearly always, if nobody wants reports.
    #[inline(always)]
    pub(super) fn observer(&self) -> Option<Observer<'e>> {
        if self.observers == 0 {
            return None;
        }
        let (shared, counters) = (&**self.shared, self.counters);
        Some(Observer { shared, counters, observers: self.observers, connection: self.connection })
    }
}
