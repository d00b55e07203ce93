//! What a ring counts. Each ring writes its own, so a count is a load and a store; `stats` adds them up.

use crate::engine::hotkeys::HotKeys;
use crate::engine::latency::Latency;
use std::sync::atomic::{AtomicU64, Ordering};

/// Classes are numbered from 1 to 63.
pub const CLASSES: usize = 64;

/// A count that one thread writes and all may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the ring that owns the counter may: there is no read-modify-write.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident, $sum:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: Counter,)* }

        #[doc = concat!("Values of [`", stringify!($name), "`].")]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $sum { $($(#[$doc])* pub $field: u64,)* }

        impl $name {
            /// The values at this moment.
            pub fn read(&self) -> $sum {
                $sum { $($field: self.$field.get(),)* }
            }
        }

        impl $sum {
            /// Adds `other` to each.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }

            /// Takes `other` from each.
            pub fn subtract(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_sub(other.$field);)*
            }
        }
    };
}

counters! {
    /// Per size class; one cache line.
    #[repr(align(64))]
    ClassCounters, ClassCounts {
        /// Hits of get and its kin, without those that touch.
        get_hits,
        /// Storage commands whose item fits this class.
        cmd_set,
        /// Deletes that found something.
        delete_hits,
        /// Increments that found a number.
        incr_hits,
        /// Decrements that found a number.
        decr_hits,
        /// Stores whose cas was right.
        cas_hits,
        /// Stores whose cas was wrong.
        cas_badval,
        /// Hits of touch, gat and their kin.
        touch_hits,
    }
}

counters! {
    /// Per ring.
    #[repr(align(128))]
    Counters, Counts {
        /// Lookups that found nothing alive.
        get_misses,
        /// Those of the misses that found something too old.
        get_expired,
        /// Those of the misses that found something flushed.
        get_flushed,
        /// Touches that found nothing.
        touch_misses,
        /// Deletes that found nothing, or another cas.
        delete_misses,
        /// Increments that found nothing.
        incr_misses,
        /// Decrements that found nothing.
        decr_misses,
        /// Stores with a cas that found nothing.
        cas_misses,
        /// `flush_all` commands, refused ones too.
        cmd_flush,
        /// `me` commands.
        cmd_meta,
        /// Stores over the item size limit.
        store_too_large,
        /// Stores that found no memory.
        store_no_memory,
        /// Authentications tried.
        auth_cmds,
        /// Authentications that failed.
        auth_errors,
        /// Bytes received from clients.
        bytes_read,
        /// Bytes sent to clients.
        bytes_written,
        /// Times a connection had to wait because it had asked for `-R` things in one go.
        conn_yields,
        /// Connections accepted.
        total_connections,
        /// Connections closed.
        closed_connections,
        /// Requests refused for want of memory to receive them.
        read_buf_oom,
        /// Connections refused because of `-c`.
        rejected_connections,
        /// Connections closed for being idle.
        idle_kicks,
        /// TLS sessions that were not resumed.
        ssl_new_sessions,
        /// TLS handshakes that failed.
        ssl_handshake_errors,
        /// TLS connections that broke after their handshake.
        ssl_proto_errors,
        /// Log lines put into watchers' buffers.
        log_worker_written,
        /// Log lines no buffer had room for.
        log_worker_dropped,
    }
}

/// Everything one ring counts.
#[derive(Debug)]
pub struct RingCounters {
    /// Counts of the ring as a whole.
    pub ring: Counters,
    /// Counts by class number.
    pub classes: [ClassCounters; CLASSES],
    /// How long requests take.
    pub latency: Latency,
    /// The keys asked for most.
    pub hotkeys: HotKeys,
    /// What the ring's connections hold.
    pub held: Held,
}

impl Default for RingCounters {
    fn default() -> Self {
        Self {
            ring: Counters::default(),
            classes: std::array::from_fn(|_| ClassCounters::default()),
            latency: Latency::default(),
            hotkeys: HotKeys::default(),
            held: Held::default(),
        }
    }
}

/// Memory of a ring's connections, as its last look through them found it.
#[derive(Debug, Default)]
pub struct Held {
    connections: AtomicU64,
    read_buffers: AtomicU64,
}

impl Held {
    // Relaxed, in both: numbers for `stats`, in no order.

    /// The ring's connections hold `connections` bytes of buffers of their own, and its shared read buffers are
    /// `read_buffers` bytes long.
    pub fn set(&self, connections: u64, read_buffers: u64) {
        self.connections.store(connections, Ordering::Relaxed);
        self.read_buffers.store(read_buffers, Ordering::Relaxed);
    }

    /// The two numbers, bytes.
    pub fn get(&self) -> (u64, u64) {
        (self.connections.load(Ordering::Relaxed), self.read_buffers.load(Ordering::Relaxed))
    }
}

/// The sum over rings.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Counts of the rings as a whole.
    pub ring: Counts,
    /// Counts by class number.
    pub classes: [ClassCounts; CLASSES],
}

impl Default for Sums {
    fn default() -> Self {
        Self { ring: Counts::default(), classes: [ClassCounts::default(); CLASSES] }
    }
}

impl Sums {
    /// Adds what one ring has counted.
    pub fn add(&mut self, counters: &RingCounters) {
        self.ring.add(&counters.ring.read());
        for (sum, class) in self.classes.iter_mut().zip(&counters.classes) {
            sum.add(&class.read());
        }
    }

    /// Takes away what stood at the last reset.
    pub fn subtract(&mut self, base: &Self) {
        self.ring.subtract(&base.ring);
        for (sum, class) in self.classes.iter_mut().zip(&base.classes) {
            sum.subtract(class);
        }
    }

    /// All classes together.
    pub fn all_classes(&self) -> ClassCounts {
        self.classes.iter().fold(ClassCounts::default(), |mut sum, class| {
            sum.add(class);
            sum
        })
    }
}
