//! What all rings share besides the store.

use crate::auth::UserFile;
use crate::classes::{Classes, item_bytes};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::connections::Connections;
use crate::engine::counters::{RingCounters, Sums};
use crate::engine::prefixes::Prefixes;
use crate::engine::watch::Hub;
use crate::store::Item;
use crate::tls::Certificates;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Beside the bits of [`crate::engine::watch::Stream`]: keys are counted by prefix.
pub(super) const PREFIXES: u32 = 1 << 31;

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
    /// The watchers.
    pub watch: Hub,
    /// Counts by key prefix.
    pub prefixes: Prefixes,
    /// [`PREFIXES`], or 0.
    detail: AtomicU32,
    /// Whether the crawler was switched off (`lru_crawler disable`). The sweep for expired items goes on.
    crawler: AtomicBool,
    stop: AtomicU8,
    users: OnceLock<Arc<UserFile>>,
    certificates: OnceLock<Arc<Certificates>>,
    counters: Vec<Arc<RingCounters>>,
    /// What the counters stood at when `stats reset` was last run: rings never write each other's counters.
    base: Mutex<Sums>,
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
#[derive(Debug)]
pub struct Gauges {
    /// Whether connections are accepted at this moment.
    pub accepting: AtomicBool,
    /// Times accepting was stopped for want of descriptors.
    pub listen_disabled_count: AtomicU64,
    /// Microseconds spent so.
    pub listen_disabled_us: AtomicU64,
}

impl Default for Gauges {
    fn default() -> Self {
        Self {
            accepting: AtomicBool::new(true),
            listen_disabled_count: AtomicU64::new(0),
            listen_disabled_us: AtomicU64::new(0),
        }
    }
}

impl Shared {
    /// Shared state for `rings` rings.
    pub fn new(config: Config, clock: Clock, rings: usize) -> Arc<Self> {
        Arc::new(Self {
            classes: Classes::new(config.factor, config.chunk_size, config.slab_chunk_size_max),
            verbosity: AtomicU8::new(config.verbosity),
            clock,
            gauges: Gauges::default(),
            counters: (0..rings).map(|_| Arc::default()).collect(),
            base: Mutex::default(),
            connections: Connections::default(),
            watch: Hub::new(config.logger_watcher_buf_size as usize),
            prefixes: Prefixes::default(),
            detail: AtomicU32::new(if config.detail_enabled { PREFIXES } else { 0 }),
            crawler: AtomicBool::new(config.lru_crawler),
            stop: AtomicU8::new(0),
            users: OnceLock::new(),
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
        let mut sums = self.absolute_sums();
        sums.subtract(&self.base.lock());
        sums
    }

    /// Sets all counters to zero.
    pub fn reset_counters(&self) {
        *self.base.lock() = self.absolute_sums();
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

    /// Switches the crawler on or off; returns whether it was on.
    pub fn set_crawler(&self, on: bool) -> bool {
        self.crawler.swap(on, Ordering::Relaxed)
    }

    /// Whether the crawler is on.
    pub fn crawler(&self) -> bool {
        self.crawler.load(Ordering::Relaxed)
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

    /// Says who may log in, once and before anybody tries; nobody may until then.
    pub fn set_users(&self, users: Arc<UserFile>) {
        // The first file stays: it is the one that is read again.
        let _ = self.users.set(users);
    }

    /// Whether `user` may log in with `password`. Says nothing by the time it takes; see [`UserFile::allows`].
    pub fn authenticates(&self, user: &[u8], password: &[u8]) -> bool {
        self.users.get().is_some_and(|users| users.allows(user, password))
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

    /// What memcached counts for an item, bytes.
    #[inline]
    pub fn item_bytes(&self, item: &Item<'_>) -> u64 {
        self.bytes_of(item.key().len(), item.flags(), item.value().len())
    }

    /// What memcached would count for an item of these parts, bytes.
    #[inline]
    pub fn bytes_of(&self, key_bytes: usize, flags: u32, value_bytes: usize) -> u64 {
        item_bytes(key_bytes, flags, value_bytes) - if self.config.cas_enabled { 0 } else { 8 }
    }

    /// The class an item is counted in.
    #[inline]
    pub fn class_of(&self, item: &Item<'_>) -> u8 {
        self.classes.of(self.item_bytes(item))
    }
}
