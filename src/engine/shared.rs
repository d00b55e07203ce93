//! What all rings share besides the store.

use crate::classes::{Classes, item_bytes};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::counters::{RingCounters, Sums};
use crate::store::Item;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

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
    counters: Vec<Arc<RingCounters>>,
    /// What the counters stood at when `stats reset` was last run: rings never write each other's counters.
    base: Mutex<Sums>,
    verbosity: AtomicU8,
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
    pub fn item_bytes(&self, item: &Item<'_>) -> u64 {
        self.bytes_of(item.key().len(), item.flags(), item.value().len())
    }

    /// What memcached would count for an item of these parts, bytes.
    pub fn bytes_of(&self, key_bytes: usize, flags: u32, value_bytes: usize) -> u64 {
        item_bytes(key_bytes, flags, value_bytes) - if self.config.cas_enabled { 0 } else { 8 }
    }

    /// The class an item is counted in.
    #[inline]
    pub fn class_of(&self, item: &Item<'_>) -> u8 {
        self.classes.of(self.item_bytes(item))
    }
}
