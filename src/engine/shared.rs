//! [`Shared`]: what all rings share besides the store.
//!
//! There is one per server, in an `Arc`. What is set at start (`config`, `clock`, `classes`) is only read afterwards;
//! settings that commands change are behind a lock; flags and gauges are atomics; each ring writes its own counters, and any
//! thread reads all of them.
//!
//! It holds the counters, lists and watchers of the modules below it; it may import those, and knows neither executors nor
//! events nor `stats`.

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

/// A bit of [`Shared::observers`] beside those of [`crate::engine::watch::Stream`]: keys are counted by prefix.
pub(super) const PREFIXES: u32 = 1 << 31;
/// A bit that an executor adds to [`Shared::observers`]: keys are noted for `stats hotkeys`.
pub(super) const KEYS: u32 = 1 << 30;

/// Configuration, run-time settings, lists, and every ring's counters.
#[derive(Debug)]
pub struct Shared {
    /// The settings the server was started with.
    pub config: Config,
    /// The server's clock.
    pub clock: Clock,
    /// Size classes by which statistics are kept.
    pub classes: Classes,
    /// Figures about connections, listeners and rings that the server's threads set.
    pub gauges: Gauges,
    /// The open connections.
    pub connections: Connections,
    /// Progress of the copy of another server's items (--copy-from).
    pub copy: CopyProgress,
    /// The watchers.
    pub watch: WatcherRegistry,
    /// Counts by key prefix.
    pub prefixes: Prefixes,
    /// [`PREFIXES`], or 0.
    detail: AtomicU32,
    /// Settings that commands change. Most of them steer machinery that does not exist here, and are only shown.
    live: Mutex<RuntimeSettings>,
    /// The [`Stop`] that a client has asked for, or 0.
    stop: AtomicU8,
    /// The users of -Y or -S; replaced as a whole when the file is reloaded.
    users: RwLock<Users>,
    /// Set once at start, with -Z; the certificates inside can be reloaded.
    certificates: OnceLock<Arc<Certificates>>,
    /// The counters of each ring.
    counters: Vec<Arc<RingCounters>>,
    /// The sums of the counters at the last `stats reset`, which later sums are reduced by: no ring ever writes another
    /// ring's counters.
    base: Mutex<Sums>,
    /// The sums of the latencies at the last `stats reset`.
    times_base: Mutex<Times>,
    verbosity: AtomicU8,
}

/// How a client asked the server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// At once, as on SIGINT.
    Now = 1,
    /// Gracefully, as on SIGUSR1.
    Graceful = 2,
}

/// Gauges that the server's threads set and `stats` shows.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Number of rings that do not accept connections, because the connection limit is reached or descriptors have run out.
    full_rings: AtomicU32,
    /// How often accepting stopped: times the number of such rings rose from zero.
    pub listen_disabled_count: AtomicU64,
    /// Microseconds that rings did not accept, added when the last of them accepts again.
    pub listen_disabled_us: AtomicU64,
    /// Number of rings that make no progress, as the watchdog sees it.
    pub stuck_rings: AtomicU32,
    /// How often the watchdog has found a ring without progress.
    pub ring_stall_count: AtomicU64,
}

impl Gauges {
    // Relaxed, in all of them: numbers for `stats`, in no order.

    /// Whether all rings accept connections.
    pub fn accepting(&self) -> bool {
        self.full_rings.load(Ordering::Relaxed) == 0
    }

    /// Notes that a ring stops accepting connections.
    pub fn disable_listening(&self) {
        if self.full_rings.fetch_add(1, Ordering::Relaxed) == 0 {
            self.listen_disabled_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that a ring accepts again, after `rested_us` microseconds.
    pub fn enable_listening(&self, rested_us: u64) {
        if self.full_rings.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.listen_disabled_us.fetch_add(rested_us, Ordering::Relaxed);
        }
    }

    /// Notes that a ring makes no progress.
    pub fn ring_is_stuck(&self) {
        self.stuck_rings.fetch_add(1, Ordering::Relaxed);
        self.ring_stall_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a ring makes progress again.
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
        // The counters are read under the lock: a reset between reading and subtracting would subtract more than was read.
        let base = self.base.lock();
        let mut sums = self.absolute_sums();
        sums.subtract(&base);
        sums
    }

    /// `stats reset`: notes the current sums, so that later sums begin at zero; clears the hot keys.
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

    /// The `most` hottest keys of all rings.
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

    /// What commands have to be reported to: bits of the watched streams, and [`PREFIXES`]; nearly always 0.
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

    /// Runs `change` on the run-time settings, under their lock.
    pub fn change<R>(&self, change: impl FnOnce(&mut RuntimeSettings) -> R) -> R {
        change(&mut self.live.lock())
    }

    /// A copy of the run-time settings at this moment; `maxbytes` is the store's memory limit.
    pub fn runtime_settings(&self, maxbytes: u64) -> RuntimeSettings {
        RuntimeSettings {
            maxbytes,
            verbosity: self.verbosity(),
            detail_enabled: self.detail(),
            ..self.live.lock().clone()
        }
    }

    /// Whether `lru_crawler` accepts crawls and dumps. The sweep for expired items goes on without it.
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

    /// Sets the certificates, once at start; without them there is no TLS.
    pub fn set_certificates(&self, certificates: Arc<Certificates>) {
        // A second call has no effect: a process has one server.
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

    /// Most bytes of memory that values read from flash may hold on one ring until clients have taken them.
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

    /// The class in which an item is counted; an item on flash counts by what is left of it in memory.
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
