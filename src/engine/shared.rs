//! What all rings share besides the store.
//!
//! Owns [`Shared`], which holds the counters, lists and watchers of the modules below it; it may import those, and knows neither
//! executors nor events nor `stats`.

use crate::auth::Users;
use crate::classes::{Classes, item_bytes};
use crate::clock::Clock;
use crate::config::{Config, RuntimeSettings};
use crate::engine::connections::Connections;
use crate::engine::copy_progress::CopyProgress;
use crate::engine::counters::{RingCounters, Sums};
use crate::engine::hotkeys::Hottest;
use crate::engine::latency::Times;
use crate::engine::prefixes::Prefixes;
use crate::engine::watch::WatcherRegistry;
use crate::limits::{LOADED_BYTES_MIN, LOADED_PART};
use crate::store::Item;
use crate::tls::Certificates;
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Beside the bits of [`crate::engine::watch::Stream`]: keys are counted by prefix.
pub(super) const PREFIXES: u32 = 1 << 31;
/// Likewise: keys are noted for `stats hotkeys`.
pub(super) const KEYS: u32 = 1 << 30;

/// Configuration, run-time settings, and every ring's counters.
#[derive(Debug)]
pub struct Shared {
    /// The settings the server was started with.
    pub config: Config,
    /// The server's clock.
    pub clock: Clock,
    /// Size classes by which statistics are kept.
    pub classes: Classes,
    /// The connections' and listeners' share of the statistics, kept by the server.
    pub gauges: Gauges,
    /// The open connections.
    pub connections: Connections,
    /// How far the copy of another server's items is.
    pub copy: CopyProgress,
    /// The watchers.
    pub watch: WatcherRegistry,
    /// Counts by key prefix.
    pub prefixes: Prefixes,
    /// [`PREFIXES`], or 0.
    detail: AtomicU32,
    /// What commands have changed. Much of it steers machinery that is not there, and is only shown.
    live: Mutex<RuntimeSettings>,
    stop: AtomicU8,
    users: RwLock<Users>,
    certificates: OnceLock<Arc<Certificates>>,
    counters: Vec<Arc<RingCounters>>,
    /// What the counters stood at when `stats reset` was last run: rings never write each other's counters.
    base: Mutex<Sums>,
    /// The same of the times.
    times_base: Mutex<Times>,
    verbosity: AtomicU8,
}

/// How a client asked the server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// As SIGINT does.
    Now = 1,
    /// As SIGUSR1 does.
    Graceful = 2,
}

/// Gauges that the server sets and `stats` shows.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Rings that do not accept, because the connection limit is reached.
    full_rings: AtomicU32,
    /// Times the first of them stopped accepting.
    pub listen_disabled_count: AtomicU64,
    /// Microseconds until the last of them went on.
    pub listen_disabled_us: AtomicU64,
    /// Rings that do not turn.
    pub stuck_rings: AtomicU32,
    /// Times a ring was found not to turn.
    pub ring_stall_count: AtomicU64,
}

impl Gauges {
    // Relaxed, in all of them: numbers for `stats`, in no order.

    /// Whether all rings accept connections.
    pub fn accepting(&self) -> bool {
        self.full_rings.load(Ordering::Relaxed) == 0
    }

    /// A ring stops accepting.
    pub fn disable_listening(&self) {
        if self.full_rings.fetch_add(1, Ordering::Relaxed) == 0 {
            self.listen_disabled_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A ring accepts again, after this many microseconds.
    pub fn enable_listening(&self, rested_us: u64) {
        if self.full_rings.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.listen_disabled_us.fetch_add(rested_us, Ordering::Relaxed);
        }
    }

    /// A ring has stopped turning.
    pub fn ring_is_stuck(&self) {
        self.stuck_rings.fetch_add(1, Ordering::Relaxed);
        self.ring_stall_count.fetch_add(1, Ordering::Relaxed);
    }

    /// It makes progress again.
    pub fn ring_recovers(&self) {
        self.stuck_rings.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Shared state for `rings` rings.
    pub fn new(config: Config, clock: Clock, rings: usize) -> Arc<Self> {
        Arc::new(Self {
            classes: classes(&config),
            live: Mutex::new(RuntimeSettings::new(&config)),
            verbosity: AtomicU8::new(config.verbosity),
            clock,
            gauges: Gauges::default(),
            counters: (0..rings).map(|_| Arc::default()).collect(),
            base: Mutex::default(),
            times_base: Mutex::default(),
            connections: Connections::default(),
            copy: CopyProgress::default(),
            watch: WatcherRegistry::new(config.logger_watcher_buf_size as usize),
            prefixes: Prefixes::default(),
            detail: AtomicU32::new(if config.detail_enabled { PREFIXES } else { 0 }),
            stop: AtomicU8::new(0),
            users: RwLock::default(),
            certificates: OnceLock::new(),
            config,
        })
    }

    /// The counters of `ring`.
    pub fn ring_counters(&self, ring: usize) -> &Arc<RingCounters> {
        &self.counters[ring]
    }

    /// What all rings have counted since the last reset.
    pub fn sums(&self) -> Sums {
        // Counted under the lock: a reset in between would take away more than was counted.
        let base = self.base.lock();
        let mut sums = self.absolute_sums();
        sums.subtract(&base);
        sums
    }

    /// Sets all counters to zero.
    pub fn reset_counters(&self) {
        let mut base = self.base.lock();
        *base = self.absolute_sums();
        drop(base);
        let mut base = self.times_base.lock();
        *base = self.absolute_times();
        drop(base);
        self.counters.iter().for_each(|ring| ring.hotkeys.reset());
    }

    /// How long requests took since the last reset.
    pub fn times(&self) -> Times {
        let base = self.times_base.lock();
        let mut times = self.absolute_times();
        times.subtract(&base);
        times
    }

    fn absolute_times(&self) -> Times {
        let mut times = Times::default();
        self.counters.iter().for_each(|ring| times.add(&ring.latency));
        times
    }

    /// The `most` keys that are asked for most.
    pub fn hottest(&self, most: usize) -> Hottest {
        Hottest::of(self.counters.iter().map(|ring| &ring.hotkeys), most)
    }

    /// Buffers of all connections, and all rings' read buffers, bytes.
    pub fn held(&self) -> (u64, u64) {
        let held = self.counters.iter().map(|ring| ring.held.get());
        held.fold((0, 0), |(connections, read), (c, r)| (connections + c, read + r))
    }

    /// Number of rings.
    pub fn rings(&self) -> usize {
        self.counters.len()
    }

    /// Connections open now.
    pub fn open_connections(&self) -> u64 {
        let sums = self.absolute_sums();
        sums.ring.total_connections.saturating_sub(sums.ring.closed_connections)
    }

    fn absolute_sums(&self) -> Sums {
        let mut sums = Sums::default();
        for counters in &self.counters {
            sums.add(counters);
        }
        sums
    }

    /// Who wants to know of commands.
    #[inline]
    pub(super) fn observers(&self) -> u32 {
        self.watch.streams() | self.detail.load(Ordering::Relaxed)
    }

    pub(super) fn set_detail(&self, on: bool) {
        self.detail.store(if on { PREFIXES } else { 0 }, Ordering::Relaxed);
    }

    /// Whether keys are counted by prefix.
    pub fn detail(&self) -> bool {
        self.detail.load(Ordering::Relaxed) != 0
    }

    /// Changes a setting.
    pub fn change<R>(&self, change: impl FnOnce(&mut RuntimeSettings) -> R) -> R {
        change(&mut self.live.lock())
    }

    /// The settings at this moment.
    pub fn runtime_settings(&self, maxbytes: u64) -> RuntimeSettings {
        RuntimeSettings {
            maxbytes,
            verbosity: self.verbosity(),
            detail_enabled: self.detail(),
            ..self.live.lock().clone()
        }
    }

    /// Whether the crawler is on. The sweep for expired items goes on without it.
    pub fn crawler(&self) -> bool {
        self.live.lock().lru_crawler
    }

    /// `shutdown`: asks the server to stop.
    pub fn request_stop(&self, stop: Stop) {
        self.stop.store(stop as u8, Ordering::Release);
    }

    /// Whether and how a client asked the server to stop.
    pub fn stop_requested(&self) -> Option<Stop> {
        // Acquire; pairs with the Release in `request_stop`.
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::Now),
            _ => Some(Stop::Graceful),
        }
    }

    /// Replaces the users who may log in; at first there are none.
    pub fn set_users(&self, users: Users) {
        *self.users.write() = users;
    }

    /// Whether `user` may log in with `password`.
    pub fn authenticates(&self, user: &[u8], password: &[u8]) -> bool {
        self.users.read().allows(user, password)
    }

    /// Says which certificates connections are encrypted with; without them there is no TLS.
    pub fn set_certificates(&self, certificates: Arc<Certificates>) {
        // A second call would be a second server in one.
        let _ = self.certificates.set(certificates);
    }

    /// The certificates connections are encrypted with; `None` without TLS.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.get().map(|certificates| &**certificates)
    }

    /// How much is logged: 0 to 2.
    #[inline]
    pub fn verbosity(&self) -> u8 {
        self.verbosity.load(Ordering::Relaxed)
    }

    /// Sets the verbosity; above 2 is 2.
    pub fn set_verbosity(&self, level: u32) {
        self.verbosity.store(level.min(2) as u8, Ordering::Relaxed);
    }

    /// Bytes that values which were read from flash may hold of a ring until clients have taken them.
    pub fn loaded_bytes_max(&self) -> u64 {
        (self.config.maxbytes / LOADED_PART / self.rings().max(1) as u64).max(LOADED_BYTES_MIN)
    }

    /// What memcached counts for an item, bytes.
    #[inline]
    pub fn item_bytes(&self, item: &Item<'_>) -> u64 {
        self.bytes_with(item, item.value_bytes())
    }

    fn bytes_with(&self, item: &Item<'_>, value_bytes: usize) -> u64 {
        self.bytes_of(item.key().len(), item.flags(), value_bytes)
    }

    /// What memcached would count for an item of these parts, bytes.
    #[inline]
    pub fn bytes_of(&self, key_bytes: usize, flags: u32, value_bytes: usize) -> u64 {
        item_bytes(key_bytes, flags, value_bytes) - if self.config.cas_enabled { 0 } else { 8 }
    }

    /// The class an item is counted in; a stub in that of its own length.
    #[inline]
    pub fn class_of(&self, item: &Item<'_>) -> u8 {
        self.classes.of(self.bytes_with(item, item.stored_bytes()))
    }
}

/// The size classes of `config`.
pub fn classes(config: &Config) -> Classes {
    if config.slab_sizes.is_empty() {
        Classes::new(config.factor, config.chunk_size, config.slab_chunk_size_max)
    } else {
        Classes::with_sizes(&config.slab_sizes, config.slab_chunk_size_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// A reset between counting and taking away left a sum below zero, which wrapped: `get_misses 18446744073709551615`.
    #[test]
    fn no_sum_wraps_when_counters_are_reset_meanwhile() {
        const COUNTS: u64 = 200_000;
        let shared = Shared::new(Config::default(), Clock::start(), 1);
        thread::scope(|scope| {
            scope.spawn(|| (0..COUNTS).for_each(|_| shared.ring_counters(0).ring.get_misses.add(1)));
            scope.spawn(|| (0..COUNTS / 100).for_each(|_| shared.reset_counters()));
            for _ in 0..COUNTS / 100 {
                let misses = shared.sums().ring.get_misses;
                assert!(misses <= COUNTS, "{misses}");
            }
        });
    }
}
