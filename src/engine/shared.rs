//! [`Shared`]: the state that all rings share in addition to the store.
//!
//! There is one [`Shared`] per server, in an `Arc`. Fields that are set at start (`config`, `classes`) are only read
//! afterwards; the clock is made of atomics. Settings that commands change are behind a lock, and flags and gauges are atomics.
//! Each ring writes its own counters, and any thread reads all of them.
//!
//! It contains the counters, lists and watchers of the modules named before it in `engine`. It may import these modules, and
//! knows neither executors nor events nor `stats`.

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

/// The bit of [`Shared::observers`] that is set while keys are counted by prefix. The other bits are those of
/// [`crate::engine::watch::Stream`].
pub(super) const PREFIXES: u32 = 1 << 31;
/// The bit that an executor adds to [`Shared::observers`] for an input whose keys are recorded for `stats hotkeys`.
pub(super) const KEYS: u32 = 1 << 30;

/// The state that all rings share in addition to the store: configuration, run-time settings, lists, and every ring's counters.
#[derive(Debug)]
pub struct Shared {
    /// The settings that the server was started with. They never change.
    pub config: Config,
    /// The server's clock, by which items expire.
    pub clock: Clock,
    /// memcached's size classes, under which items are counted.
    pub classes: Classes,
    /// Figures about listeners and rings that the server's threads set and `stats` shows.
    pub gauges: Gauges,
    /// The open connections and listeners, for `stats conns`.
    pub connections: Connections,
    /// The progress of the copy of another server's items (--copy-from).
    pub copy: CopyProgress,
    /// The watchers, and the log lines that they have not taken yet.
    pub watch: WatcherRegistry,
    /// The counts of key uses by prefix (`stats detail`).
    pub prefixes: Prefixes,
    /// [`PREFIXES`] if keys are counted by prefix, otherwise 0.
    detail: AtomicU32,
    /// The settings that commands change. Most of them are only shown, because they are for parts of memcached that this server
    /// does not have.
    live: Mutex<RuntimeSettings>,
    /// The way in which a client has asked the server to stop, as a [`Stop`]; 0 if no client has asked.
    stop: AtomicU8,
    /// The users who may log in with -Y or -S. The whole list is replaced when the file is read again.
    users: RwLock<Users>,
    /// The certificates, which are set once at start with -Z. A reload changes them in place.
    certificates: OnceLock<Arc<Certificates>>,
    /// The counters of each ring; the index is the number of the ring.
    counters: Vec<Arc<RingCounters>>,
    /// The sums of the counters at the last `stats reset`, which are subtracted from later sums. A ring's own counters are never
    /// reset, because only that ring may write them.
    base: Mutex<Sums>,
    /// The sums of the latencies at the last `stats reset`, which are subtracted from later sums.
    times_base: Mutex<Times>,
    verbosity: AtomicU8,
}

/// The way in which a client has asked the server to stop (`shutdown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// The server stops immediately, as on SIGINT.
    Now = 1,
    /// The server stops gracefully, as on SIGUSR1.
    Graceful = 2,
}

/// Figures that the server's threads set and `stats` shows.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Number of rings that do not accept connections at present, because the limit of connections is reached or there are no
    /// descriptors left.
    full_rings: AtomicU32,
    /// How often accepting has stopped. It is counted when the first ring stops while all others accept.
    pub listen_disabled_count: AtomicU64,
    /// Time during which at least one ring did not accept, microseconds. It grows when the last such ring accepts again, by the
    /// time for which this ring did not accept.
    pub listen_disabled_us: AtomicU64,
    /// Number of rings that the watchdog finds without progress at present.
    pub stuck_rings: AtomicU32,
    /// How often the watchdog has found that a ring makes no progress.
    pub ring_stall_count: AtomicU64,
}

impl Gauges {
    // All accesses are relaxed: the numbers are only for `stats`, and are not ordered with anything.

    /// True if all rings accept connections at present.
    pub fn accepting(&self) -> bool {
        self.full_rings.load(Ordering::Relaxed) == 0
    }

    /// Notes that the calling ring stops accepting connections.
    pub fn disable_listening(&self) {
        if self.full_rings.fetch_add(1, Ordering::Relaxed) == 0 {
            self.listen_disabled_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that the calling ring accepts connections again, `rested_us` microseconds after it stopped.
    pub fn enable_listening(&self, rested_us: u64) {
        if self.full_rings.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.listen_disabled_us.fetch_add(rested_us, Ordering::Relaxed);
        }
    }

    /// Notes that a ring makes no progress. The watchdog calls this once for each such ring.
    pub fn ring_is_stuck(&self) {
        self.stuck_rings.fetch_add(1, Ordering::Relaxed);
        self.ring_stall_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a ring which was stuck makes progress again. The watchdog calls this.
    pub fn ring_recovers(&self) {
        self.stuck_rings.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Makes the state of a server with `rings` rings.
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

    /// Returns the counters of ring number `ring`.
    pub fn ring_counters(&self, ring: usize) -> &Arc<RingCounters> {
        &self.counters[ring]
    }

    /// Returns the sums of all rings' counters since the last `stats reset`.
    pub fn sums(&self) -> Sums {
        // The counters are read under the lock. Otherwise a reset between reading and subtracting would subtract more than was
        // read.
        let base = self.base.lock();
        let mut sums = self.absolute_sums();
        sums.subtract(&base);
        sums
    }

    /// Resets all counters and latencies, so that their sums begin at zero again. Also empties the sketches of hot keys.
    pub fn reset_counters(&self) {
        let mut base = self.base.lock();
        *base = self.absolute_sums();
        drop(base);
        let mut base = self.times_base.lock();
        *base = self.absolute_times();
        drop(base);
        self.counters.iter().for_each(|ring| ring.hotkeys.reset());
    }

    /// Returns the sums of all rings' latencies since the last `stats reset`.
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

    /// Returns the `most` keys of all rings with the highest counts.
    pub fn hottest(&self, most: usize) -> Hottest {
        Hottest::of(self.counters.iter().map(|ring| &ring.hotkeys), most)
    }

    /// Returns the memory of all rings' buffers, bytes: that of single connections, and that of the shared read buffers. The
    /// numbers may be a second old.
    pub fn held(&self) -> (u64, u64) {
        let held = self.counters.iter().map(|ring| ring.held.get());
        held.fold((0, 0), |(connections, read), (c, r)| (connections + c, read + r))
    }

    /// Returns the number of rings of the server.
    pub fn rings(&self) -> usize {
        self.counters.len()
    }

    /// Returns the number of client connections that are open.
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

    /// Returns the destinations of reports about commands: bits of the streams that are watched, and [`PREFIXES`]. Nearly always
    /// 0.
    #[inline]
    pub(super) fn observers(&self) -> u32 {
        self.watch.streams() | self.detail.load(Ordering::Relaxed)
    }

    pub(super) fn set_detail(&self, on: bool) {
        self.detail.store(if on { PREFIXES } else { 0 }, Ordering::Relaxed);
    }

    /// True if keys are counted by prefix at present (`stats detail on`).
    pub fn detail(&self) -> bool {
        self.detail.load(Ordering::Relaxed) != 0
    }

    /// Runs `change` on the run-time settings while holding their lock.
    pub fn change<R>(&self, change: impl FnOnce(&mut RuntimeSettings) -> R) -> R {
        change(&mut self.live.lock())
    }

    /// Returns a copy of the run-time settings. The caller passes the memory limit `maxbytes`, bytes, which only the store knows.
    pub fn runtime_settings(&self, maxbytes: u64) -> RuntimeSettings {
        RuntimeSettings {
            maxbytes,
            verbosity: self.verbosity(),
            detail_enabled: self.detail(),
            ..self.live.lock().clone()
        }
    }

    /// True if `lru_crawler` accepts crawls and dumps. Expired items are removed in any case.
    pub fn crawler(&self) -> bool {
        self.live.lock().lru_crawler
    }

    /// Stores the request of `shutdown`. The server reads it with [`Shared::stop_requested`].
    pub fn request_stop(&self, stop: Stop) {
        self.stop.store(stop as u8, Ordering::Release);
    }

    /// Returns how a client has asked the server to stop; `None` if no client has asked.
    pub fn stop_requested(&self) -> Option<Stop> {
        // Acquire pairs with the Release in `request_stop`.
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::Now),
            _ => Some(Stop::Graceful),
        }
    }

    /// Replaces the users who may log in. Before the first call there are none, so all logins fail.
    pub fn set_users(&self, users: Users) {
        *self.users.write() = users;
    }

    /// True if `user` may log in with `password`.
    pub fn authenticates(&self, user: &[u8], password: &[u8]) -> bool {
        self.users.read().allows(user, password)
    }

    /// Sets the certificates; only the first call has an effect. Without certificates there is no TLS.
    pub fn set_certificates(&self, certificates: Arc<Certificates>) {
        // A second call has no effect, because a process has one server.
        let _ = self.certificates.set(certificates);
    }

    /// Returns the certificates for connections with TLS; `None` if the server has no TLS.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.get().map(|certificates| &**certificates)
    }

    /// Returns the level of logging about commands: the number of -v, at most 2.
    #[inline]
    pub fn verbosity(&self) -> u8 {
        self.verbosity.load(Ordering::Relaxed)
    }

    /// Sets the level of logging about commands, as a number of -v. A level above 2 counts as 2.
    pub fn set_verbosity(&self, level: u32) {
        self.verbosity.store(level.min(2) as u8, Ordering::Relaxed);
    }

    /// Returns the most bytes that values read from flash may hold on one ring until clients have taken them.
    pub fn loaded_bytes_max(&self) -> u64 {
        (self.config.maxbytes / LOADED_PART / self.rings().max(1) as u64).max(LOADED_BYTES_MIN)
    }

    /// Returns the size that memcached would account for an item, bytes.
    #[inline]
    pub fn item_bytes(&self, item: &Item<'_>) -> u64 {
        self.bytes_with(item, item.value_bytes())
    }

    fn bytes_with(&self, item: &Item<'_>, value_bytes: usize) -> u64 {
        self.bytes_of(item.key().len(), item.flags(), value_bytes)
    }

    /// Returns the size that memcached would account for an item of these parts, bytes.
    #[inline]
    pub fn bytes_of(&self, key_bytes: usize, flags: u32, value_bytes: usize) -> u64 {
        item_bytes(key_bytes, flags, value_bytes) - if self.config.cas_enabled { 0 } else { 8 }
    }

    /// Returns the class under which an item is counted. For an item whose value is on flash, it is the class of the stub in
    /// memory.
    #[inline]
    pub fn class_of(&self, item: &Item<'_>) -> u8 {
        self.classes.of(self.bytes_with(item, item.stored_bytes()))
    }
}

/// Returns the size classes that memcached would have with `config`.
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

    /// Without the lock, a reset between reading the counters and subtracting made a sum less than zero, which wrapped:
    /// `get_misses 18446744073709551615`.
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
