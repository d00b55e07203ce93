//! What commands mean. Sees items and numbers, no bytes of any protocol.
//!
//! A ring has one [`Engine`]. A session takes an [`Executor`] for each piece of input: the replica is brought up to date once,
//! and every command in that input runs on it.

mod arith;
mod class_stats;
pub mod connections;
pub mod copy_progress;
pub mod counter;
pub mod counters;
mod dump;
mod flash;
pub mod hotkeys;
pub mod latency;
mod load;
mod memcrsd_stats;
mod meta;
mod observe;
pub mod prefixes;
mod report;
pub mod ring_stats;
mod sample;
mod shared;
mod stats;
mod storage;
pub mod watch;

pub use dump::ClassSet;
pub use flash::flash_options;
pub use load::{Hit, Whereabouts};
pub use meta::{MetaDelete, MetaGet, MetaGetResult, MetaHit};
pub use observe::Reason;
pub use report::{Report, Sink};
pub use shared::{Gauges, Shared, Stop, classes};

use crate::clock::Timestamp;
use crate::command::Exptime;
use crate::engine::counters::{ClassCounters, Counters, RingCounters};
use crate::engine::latency::Kind;
use crate::engine::observe::Found;
use crate::engine::sample::{Sample, Sampler};
use crate::limits::EXPTIME_RELATIVE_MAX;
use crate::store::{EditError, Fresh, Hash, Item, Lookup, Retry, Shard, Store, Version};
use std::sync::Arc;
use std::time::Duration;

/// One ring's executor.
#[derive(Debug)]
pub struct Engine {
    shard: Shard,
    store: Arc<Store>,
    shared: Arc<Shared>,
    counters: Arc<RingCounters>,
    sampler: Sampler,
}

impl Engine {
    /// The executor of `ring`, which must be below the number of rings `shared` was made for.
    pub fn new(shared: Arc<Shared>, shard: Shard, ring: usize) -> Self {
        let counters = Arc::clone(shared.ring_counters(ring));
        let store = Arc::clone(shard.store());
        store.advance(shared.clock.now());
        Self { shard, store, shared, counters, sampler: Sampler::new(ring) }
    }

    /// The ring has read its clock; once a second.
    pub fn advance(&self, now: Timestamp) {
        self.store.advance(now);
    }

    /// The ring's handle on the store.
    pub fn shard_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// What this ring counts.
    pub fn counters(&self) -> &Counters {
        &self.counters.ring
    }

    /// What all rings share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Brings the replica up to date and opens it for commands.
    #[inline]
    pub fn fresh(&mut self) -> Executor<'_> {
        let sample = self.sampler.next();
        Executor {
            fresh: self.shard.latest(),
            store: &self.store,
            counters: &self.counters,
            shared: &self.shared,
            observers: self.shared.observers() | if sample == Sample::Keys { shared::KEYS } else { 0 },
            is_timed: sample == Sample::Times,
            connection: 0,
            is_patient: true,
            may_load: true,
        }
    }
}

/// A ring's turn to run commands on an up-to-date replica.
#[expect(missing_debug_implementations, reason = "a loan of the store")]
pub struct Executor<'e> {
    fresh: Fresh<'e>,
    store: &'e Store,
    counters: &'e RingCounters,
    shared: &'e Arc<Shared>,
    /// Who wants to know of commands: bits of [`watch::Stream`], [`shared::PREFIXES`] and [`shared::KEYS`]; nearly always 0.
    observers: u32,
    is_timed: bool,
    /// Number of the connection whose commands these are.
    connection: u32,
    /// What must wait for other rings is tried again later, not refused.
    is_patient: bool,
    /// What must wait for a value on flash is, too.
    may_load: bool,
}

impl<'e> Executor<'e> {
    /// The coarse time.
    pub fn now(&self) -> Timestamp {
        self.fresh.now()
    }

    /// Takes the clock's time, which `debugtime` has changed, for all rings.
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

    /// The commands of this turn are those of a copy: see [`Store::begin_copy`].
    #[cold]
    pub fn set_copy(&mut self) {
        self.fresh.set_copy();
    }

    /// Refuses, for the rest of this turn, what must wait for other rings.
    #[cold]
    pub fn refuse_stalls(&mut self) {
        self.is_patient = false;
    }

    /// Refuses, for the rest of this turn, what needs a value in memory that is on flash.
    #[cold]
    pub fn refuse_loads(&mut self) {
        self.may_load = false;
    }

    /// What came of a try to change something: an error that is not the end of it is one to try again.
    #[inline]
    fn settle<T, E>(&self, tried: Result<T, E>) -> Result<Result<T, E>, Retry>
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

    /// Whether this turn's requests are to be timed, with [`Executor::record`].
    #[inline]
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// Notes that `requests` took `time` together.
    pub fn record(&self, kind: Kind, time: Duration, requests: u32) {
        self.counters.latency.record(kind, time, requests);
    }

    /// What all rings share.
    pub fn shared(&self) -> &'e Arc<Shared> {
        self.shared
    }

    /// What this ring counts.
    pub fn counters(&self) -> &'e Counters {
        &self.counters.ring
    }

    #[inline]
    fn class(&self, class: u8) -> &'e ClassCounters {
        &self.counters.classes[usize::from(class) % counters::CLASSES]
    }

    /// The second at which something with `exptime` expires.
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

    /// Seconds `item` has left to live; None is for ever.
    pub fn ttl(&self, item: &Item<'_>) -> Option<u32> {
        match item.exptime() {
            Timestamp::NEVER => None,
            exptime => Some(exptime.0.wrapping_sub(self.now().0)),
        }
    }

    /// Says which keys are looked up next, so that they can be fetched from memory together, and tells their hashes.
    #[inline]
    pub fn prefetch(&mut self, keys: &[&[u8]], hashes: &mut [Hash]) {
        self.fresh.prefetch(keys, hashes);
    }

    /// The hash of `key`.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> Hash {
        self.fresh.hash(key)
    }

    /// Looks `key` up as get does: counts, and marks a hit as used.
    #[inline]
    pub fn get(&mut self, key: &[u8]) -> Option<Hit<'_>> {
        self.get_hashed(self.fresh.hash(key), key)
    }

    /// The item of `key` if it still is of `version`. Nothing is counted.
    pub fn find_version(&mut self, key: &[u8], version: Version) -> Option<Item<'_>> {
        match self.fresh.find(key) {
            Lookup::Hit(item) if item.version() == version => Some(item),
            _ => None,
        }
    }

    /// As [`Executor::get`], with the hash that [`Executor::prefetch`] told.
    // Always: what it finds is taken apart at once, and would go through memory.
    #[inline(always)]
    pub fn get_hashed(&mut self, hash: Hash, key: &[u8]) -> Option<Hit<'_>> {
        let (counters, shared, observer) = (self.counters, self.shared, self.observer());
        let now = self.now();
        match self.fresh.find_hashed(hash, key) {
            Lookup::Hit(item) => {
                let class = shared.class_of(&item);
                counters.classes[usize::from(class) % counters::CLASSES].get_hits.add(1);
                let stub = item.stub(now);
                item.record_access(now);
                if let Some(observer) = observer {
                    observer.fetched(key, Found::Yes(class, item.value_bytes()));
                }
                Some(Hit { item, stub })
            }
            missed => {
                let found = count_missed(&missed, counters);
                if let Some(observer) = observer {
                    observer.fetched(key, found);
                }
                None
            }
        }
    }
}

/// Counts a get that has not found its key.
#[inline(never)]
fn count_missed(missed: &Lookup<'_>, counters: &RingCounters) -> Found {
    counters.ring.get_misses.add(1);
    match missed {
        Lookup::Expired => {
            counters.ring.get_expired.add(1);
            Found::Expired
        }
        Lookup::Flushed => {
            counters.ring.get_flushed.add(1);
            Found::Flushed
        }
        Lookup::Hit(_) | Lookup::Miss => Found::No,
    }
}
