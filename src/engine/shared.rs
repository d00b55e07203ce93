//! [`Shared`]: what all rings share besides the store.
//!
//! There is one per server, in an `Arc`. What is set at start (`config`, `clock`, `classes`) is only read afterwards;
//! settings that commands change are behind a lock; flags and gauges are atomics; each ring writes its own counters, and any
//! thread reads all of them.
//!
//! It holds the counters, lists and watchers of the modules named before it in `engine`; it may import those, and knows
//! neither executors nor events nor `stats`.

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

/// The bit of [`Shared::observers`] that says that keys are counted by prefix. The other bits are those of
/// [`crate::engine::watch::Stream`].
pub(super) const PREFIXES: u32 = 1 << 31;
/// The bit that an executor adds to [`Shared::observers`] for an input whose keys are recorded for `stats hotkeys`.
pub(super) const KEYS: u32 = 1 << 30;

/// The state that all rings share besides the store: configuration, run-time settings, lists, and every ring's counters.
#[derive(Debug)]
pub struct Shared {
    /// The settings that the server was started with; they never change.
    pub config: Config,
    /// The server's clock, by which items expire.
    pub clock: Clock,
    /// The size classes of memcached that items are counted under.
    pub classes: Classes,
    /// Figures about listeners and rings that the threads of the server set and `stats` shows.
    pub gauges: Gauges,
    /// The open connections and listeners, for `stats conns`.
    pub connections: Connections,
    /// Progress of the copy of another server's items (--copy-from).
    pub copy: CopyProgress,
    /// The watchers and the log lines that wait for them.
    pub watch: WatcherRegistry,
    /// How often keys were used, by prefix (`stats detail`).
    pub prefixes: Prefixes,
    /// [`PREFIXES`] if keys are counted by prefix, otherwise 0.
    detail: AtomicU32,
    /// The settings that commands change. Most of them are only shown, because they are for parts of memcached that this server
    /// does not have.
    live: Mutex<RuntimeSettings>,
    /// How a client has asked the server to stop, as a [`Stop`]; 0 if none has.
    stop: AtomicU8,
    /// The users of -Y or -S. The whole list is replaced when the file is read again.
    users: RwLock<Users>,
    /// The certificates, set once at start with -Z. They can be reloaded all the same.
    certificates: OnceLock<Arc<Certificates>>,
    /// The counters of each ring; the index is the number of the ring.
    counters: Vec<Arc<RingCounters>>,
    /// The sums of the counters at the last `stats reset`, which are subtracted from later sums. A ring's own counters are
    /// never reset, because only the ring may write them.
    base: Mutex<Sums>,
    /// The sums of the latencies at the last `stats reset`, which are subtracted from later sums.
    times_base: Mutex<Times>,
    verbosity: AtomicU8,
}

/// How a client has asked the server to stop (`shutdown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// At once, as on SIGINT.
    Now = 1,
    /// Gracefully, as on SIGUSR1.
    Graceful = 2,
}

/// Figures that the threads of the server set and `stats` shows.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Number of rings that do not accept connections at present, because the connection limit is reached or descriptors have
    /// run out.
    full_rings: AtomicU32,
    /// How often accepting has stopped: each time the first of the rings stopped.
    pub listen_disabled_count: AtomicU64,
    /// Time during which some ring did not accept, microseconds. Whenever the last such ring accepts again, the time for which
    /// it did not is added.
    pub listen_disabled_us: AtomicU64,
    /// Number of rings that make no progress at present, as the watchdog sees it.
    pub stuck_rings: AtomicU32,
    /// How often the watchdog has found a ring that made no progress.
    pub ring_stall_count: AtomicU64,
}

impl Gauges {
    // Relaxed, in all of them: numbers for `stats`, in no order.

    /// True if all rings accept connections.
    pub fn accepting(&self) -> bool {
        self.full_rings.load(Ordering::Relaxed) == 0
    }

    /// A ring calls this when it stops accepting connections.
    pub fn disable_listening(&self) {
        if self.full_rings.fetch_add(1, Ordering::Relaxed) == 0 {
            self.listen_disabled_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A ring calls this when it accepts connections again, `rested_us` microseconds after it stopped.
    pub fn enable_listening(&self, rested_us: u64) {
        if self.full_rings.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.listen_disabled_us.fetch_add(rested_us, Ordering::Relaxed);
        }
    }

    /// The watchdog calls this when it finds a ring that makes no progress.
    pub fn ring_is_stuck(&self) {
        self.stuck_rings.fetch_add(1, Ordering::Relaxed);
        self.ring_stall_count.fetch_add(1, Ordering::Relaxed);
    }

    /// The watchdog calls this when a ring that was stuck makes progress again.
    pub fn ring_recovers(&self) {
        self.stuck_rings.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// The state of a server with `rings` rings.
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

    /// The sums of all rings' counters since the last `stats reset`.
    pub fn sums(&self) -> Sums {
        // The counters are read under the lock: a reset between reading and subtracting would subtract more than was read.
        let base = self.base.lock();
        let mut sums = self.absolute_sums();
        sums.subtract(&base);
        sums
    }

    /// Resets all counters and latencies: from then on their sums begin at zero. Also empties the sketches of hot keys.
    pub fn reset_counters(&self) {
        let mut base = self.base.lock();
        *base = self.absolute_sums();
        drop(base);
        let mut base = self.times_base.lock();
        *base = self.absolute_times();
        drop(base);
        self.counters.iter().for_each(|ring| ring.hotkeys.reset());
    }

    /// The latencies of all rings since the last `stats reset`.
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

    /// The `most` hottest keys of all rings.
    pub fn hottest(&self, most: usize) -> Hottest {
        Hottest::of(self.counters.iter().map(|ring| &ring.hotkeys), most)
    }

    /// Memory of all rings' buffers, bytes: those of single connections, and the shared read buffers. Up to a second old.
    pub fn held(&self) -> (u64, u64) {
        let held = self.counters.iter().map(|ring| ring.held.get());
        held.fold((0, 0), |(connections, read), (c, r)| (connections + c, read + r))
    }

    /// Number of rings of the server.
    pub fn rings(&self) -> usize {
        self.counters.len()
    }

    /// Number of client connections that are open.
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

    /// What commands are reported to: bits of the streams that are watched, and [`PREFIXES`]; nearly always 0.
    #[inline]
    pub(super) fn observers(&self) -> u32 {
        self.watch.streams() | self.detail.load(Ordering::Relaxed)
    }

    pub(super) fn set_detail(&self, on: bool) {
        self.detail.store(if on { PREFIXES } else { 0 }, Ordering::Relaxed);
    }

    /// True if keys are counted by prefix (`stats detail on`).
    pub fn detail(&self) -> bool {
        self.detail.load(Ordering::Relaxed) != 0
    }

    /// Runs `change` on the run-time settings while it holds their lock.
    pub fn change<R>(&self, change: impl FnOnce(&mut RuntimeSettings) -> R) -> R {
        change(&mut self.live.lock())
    }

    /// A copy of the run-time settings. `maxbytes` is the memory limit of the store, which only the store knows.
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

    /// Runs `shutdown`: stores the request, which the server finds by [`Shared::stop_requested`].
    pub fn request_stop(&self, stop: Stop) {
        self.stop.store(stop as u8, Ordering::Release);
    }

    /// How a client has asked the server to stop; `None` if none has.
    pub fn stop_requested(&self) -> Option<Stop> {
        // Acquire; pairs with the Release in `request_stop`.
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::Now),
            _ => Some(Stop::Graceful),
        }
    }

    /// Replaces the users who may log in. At the start there are none, and all logins fail.
    pub fn set_users(&self, users: Users) {
        *self.users.write() = users;
    }

    /// True if `user` may log in with `password`.
    pub fn authenticates(&self, user: &[u8], password: &[u8]) -> bool {
        self.users.read().allows(user, password)
    }

    /// Sets the certificates; only the first call has an effect. Without certificates there is no TLS.
    pub fn set_certificates(&self, certificates: Arc<Certificates>) {
        // A second call has no effect: a process has one server.
        let _ = self.certificates.set(certificates);
    }

    /// The certificates with which connections are encrypted; `None` without TLS.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.get().map(|certificates| &**certificates)
    }

    /// How much is logged: 0 to 2.
    #[inline]
    pub fn verbosity(&self) -> u8 {
        self.verbosity.load(Ordering::Relaxed)
    }

    /// Sets how much is logged about commands; a level above 2 counts as 2.
    pub fn set_verbosity(&self, level: u32) {
        self.verbosity.store(level.min(2) as u8, Ordering::Relaxed);
    }

    /// Most bytes that values read from flash may hold on one ring until clients have taken them.
    pub fn loaded_bytes_max(&self) -> u64 {
        (self.config.maxbytes / LOADED_PART / self.rings().max(1) as u64).max(LOADED_BYTES_MIN)
    }

    /// The size that memcached would account for an item, bytes.
    #[inline]
    pub fn item_bytes(&self, item: &Item<'_>) -> u64 {
        self.bytes_with(item, item.value_bytes())
    }

    fn bytes_with(&self, item: &Item<'_>, value_bytes: usize) -> u64 {
        self.bytes_of(item.key().len(), item.flags(), value_bytes)
    }

    /// The size that memcached would account for an item of these parts, bytes.
    #[inline]
    pub fn bytes_of(&self, key_bytes: usize, flags: u32, value_bytes: usize) -> u64 {
        item_bytes(key_bytes, flags, value_bytes) - if self.config.cas_enabled { 0 } else { 8 }
    }

    /// The class under which an item is counted. For an item on flash it is the class of what is left in memory.
    #[inline]
    pub fn class_of(&self, item: &Item<'_>) -> u8 {
        self.classes.of(self.bytes_with(item, item.stored_bytes()))
    }
}

/// The size classes that memcached would have with `config`.
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

    /// A reset between reading the counters and subtracting left a sum below zero, which wrapped: `get_misses
    /// 18446744073709551615`.
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
