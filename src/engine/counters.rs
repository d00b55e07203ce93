//! The counters of one ring: [`RingCounters`]. Only the ring's thread counts in them, so counting is a load and a store; any
//! thread may read them, and `stats` adds those of all rings up into [`Sums`].

use crate::engine::counter::Counter;
use crate::engine::hotkeys::HotKeys;
use crate::engine::latency::Latency;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::gettid;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

/// Classes are numbered from 1 to 63.
pub const CLASSES: usize = 64;

/// Defines a struct of counters, and one of the same numbers as plain values.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident, $sum:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: Counter,)* }

        #[doc = concat!("Values of [`", stringify!($name), "`].")]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $sum { $($(#[$doc])* pub $field: u64,)* }

        impl $name {
            /// The current values.
            pub fn read(&self) -> $sum {
                $sum { $($field: self.$field.get(),)* }
            }
        }

        impl $sum {
            /// Adds `other` to each.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }

            /// Subtracts `other` from each.
            pub fn subtract(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_sub(other.$field);)*
            }
        }
    };
}

counters! {
    /// Counts of one size class on one ring; one cache line.
    #[repr(align(64))]
    ClassCounters, ClassCounts {
        /// Hits of get and its variants, except those that touch.
        get_hits,
        /// Storage commands whose item fits this class.
        cmd_set,
        /// Deletes that found an item.
        delete_hits,
        /// Increments that found a number.
        incr_hits,
        /// Decrements that found a number.
        decr_hits,
        /// Stores whose cas matched.
        cas_hits,
        /// Stores whose cas did not match.
        cas_badval,
        /// Hits of touch, gat and their variants.
        touch_hits,
    }
}

counters! {
    /// Counts of one ring that belong to no class.
    #[repr(align(128))]
    Counters, Counts {
        /// Misses of lookups.
        get_misses,
        /// Misses that found an expired item.
        get_expired,
        /// Misses that found a flushed item.
        get_flushed,
        /// Reads of values on flash.
        get_extstore,
        /// Of the reads in `get_extstore`, those that were dropped with their answers before they began.
        get_aborted_extstore,
        /// Of the reads in `get_extstore`, those that there was no memory for.
        get_oom_extstore,
        /// Of the reads in `get_extstore`, those whose value came back to memory.
        recache_from_extstore,
        /// Of the reads in `get_extstore`, those that did not find their value, or not as it was written.
        miss_from_extstore,
        /// Of the reads in `miss_from_extstore`, those whose value had changed on flash.
        badcrc_from_extstore,
        /// Misses of touches.
        touch_misses,
        /// Misses of deletes, and `md` commands whose cas did not match.
        delete_misses,
        /// Misses of increments.
        incr_misses,
        /// Misses of decrements.
        decr_misses,
        /// Misses of stores with a cas.
        cas_misses,
        /// `flush_all` commands, including refused ones.
        cmd_flush,
        /// `me` commands.
        cmd_meta,
        /// Stores over the item size limit.
        store_too_large,
        /// Stores that failed for lack of memory.
        store_no_memory,
        /// Login attempts.
        auth_cmds,
        /// Failed logins.
        auth_errors,
        /// Bytes received from clients.
        bytes_read,
        /// Bytes sent to clients.
        bytes_written,
        /// Times a connection had to yield after `-R` requests.
        conn_yields,
        /// Connections accepted.
        total_connections,
        /// Connections closed.
        closed_connections,
        /// Requests refused for lack of read buffers.
        read_buf_oom,
        /// Connections refused because of `-c`.
        rejected_connections,
        /// Connections closed for being idle, or for not taking values whose memory others needed.
        idle_kicks,
        /// New TLS sessions, not resumed.
        ssl_new_sessions,
        /// TLS connections that ended before their handshake was complete.
        ssl_handshake_errors,
        /// TLS connections that failed after their handshake.
        ssl_proto_errors,
        /// Log lines about commands that this ring has sent to the watchers; one line counts once, however many watch.
        log_worker_written,
        /// Shown as memcached's statistic; always 0. Lines that a watcher lost are counted by
        /// [`WatcherRegistry`](super::watch::WatcherRegistry).
        log_worker_dropped,
    }
}

/// All counters of one ring.
#[derive(Debug)]
pub struct RingCounters {
    /// Counts of the ring as a whole.
    pub ring: Counters,
    /// Counts by class number.
    pub classes: [ClassCounters; CLASSES],
    /// Request latencies.
    pub latency: Latency,
    /// The most requested keys.
    pub hotkeys: HotKeys,
    /// Memory of the ring's connections.
    pub held: Held,
    /// Thread id of the ring's thread; 0 before it runs.
    thread: AtomicI32,
}

impl RingCounters {
    /// Notes that the calling thread is the ring's.
    pub fn set_thread(&self) {
        self.thread.store(gettid().as_raw(), Ordering::Relaxed);
    }

    /// CPU time of the ring's thread; `None` without one.
    pub fn cpu(&self) -> Option<Duration> {
        match self.thread.load(Ordering::Relaxed) {
            0 => None,
            thread => clock_gettime(ClockId::from_raw(cpu_clock(thread))).ok().map(Duration::from),
        }
    }
}

/// The clock of a thread's CPU time. Source: the kernel's posix-timers.h, `MAKE_THREAD_CPUCLOCK`.
fn cpu_clock(thread: libc::pid_t) -> libc::clockid_t {
    const CPUCLOCK_SCHED: libc::clockid_t = 2;
    const CPUCLOCK_PERTHREAD: libc::clockid_t = 4;
    !thread << 3 | CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED
}

impl Default for RingCounters {
    fn default() -> Self {
        Self {
            ring: Counters::default(),
            classes: std::array::from_fn(|_| ClassCounters::default()),
            latency: Latency::default(),
            hotkeys: HotKeys::default(),
            held: Held::default(),
            thread: AtomicI32::new(0),
        }
    }
}

/// Memory that a ring's connections held at its last sweep, once a second. Written by the ring.
#[derive(Debug, Default)]
pub struct Held {
    connections: AtomicU64,
    read_buffers: AtomicU64,
}

impl Held {
    // Relaxed, in both: figures for `stats`, which need no order.

    /// Records the bytes in buffers of the ring's connections, and in its shared read buffers.
    pub fn set(&self, connections: u64, read_buffers: u64) {
        self.connections.store(connections, Ordering::Relaxed);
        self.read_buffers.store(read_buffers, Ordering::Relaxed);
    }

    /// The two numbers, bytes.
    pub fn get(&self) -> (u64, u64) {
        (self.connections.load(Ordering::Relaxed), self.read_buffers.load(Ordering::Relaxed))
    }
}

/// The counters of all rings, added up: a copy that belongs to whoever asked.
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
    /// Adds the counters of a ring.
    pub fn add(&mut self, counters: &RingCounters) {
        self.ring.add(&counters.ring.read());
        for (sum, class) in self.classes.iter_mut().zip(&counters.classes) {
            sum.add(&class.read());
        }
    }

    /// Subtracts `base`, the values at the last reset.
    pub fn subtract(&mut self, base: &Self) {
        self.ring.subtract(&base.ring);
        for (sum, class) in self.classes.iter_mut().zip(&base.classes) {
            sum.subtract(class);
        }
    }

    /// The sum over all classes.
    pub fn all_classes(&self) -> ClassCounts {
        self.classes.iter().fold(ClassCounts::default(), |mut sum, class| {
            sum.add(class);
            sum
        })
    }
}
