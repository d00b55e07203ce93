//! The counters of one ring: [`RingCounters`]. Only the ring's thread writes them, so counting is a load and a store. Any thread
//! may read them, and `stats` adds up those of all rings in [`Sums`].

use crate::engine::counter::Counter;
use crate::engine::hotkeys::HotKeys;
use crate::engine::latency::Latency;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::gettid;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

/// Length of arrays that are indexed by class number. Classes have the numbers 1 to 63.
pub const CLASSES: usize = 64;

/// Defines a struct of [`Counter`]s, and a struct of plain numbers with the same fields, which `read` returns.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident, $sum:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: Counter,)* }

        #[doc = concat!("Values of [`", stringify!($name), "`].")]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $sum { $($(#[$doc])* pub $field: u64,)* }

        impl $name {
            /// Returns the values of all counters at about this moment.
            pub fn read(&self) -> $sum {
                $sum { $($field: self.$field.get(),)* }
            }
        }

        impl $sum {
            /// Adds each field of `other` to the same field of `self`.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }

            /// Subtracts each field of `other` from the same field of `self`.
            pub fn subtract(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_sub(other.$field);)*
            }
        }
    };
}

counters! {
    /// The counts of one ring for one size class. They fill one cache line.
    #[repr(align(64))]
    ClassCounters, ClassCounts {
        /// Items found by gets of all protocols, but not by gets that touch.
        get_hits,
        /// Storage commands whose item has the size of this class, whether or not they stored it.
        cmd_set,
        /// Deletes that found an item of this class.
        delete_hits,
        /// Increments that found a number and changed it.
        incr_hits,
        /// Decrements that found a number and changed it.
        decr_hits,
        /// Storage commands whose cas was that of the item, or an older one if the command allows that (meta `I`).
        cas_hits,
        /// Storage commands whose cas was not that of the item.
        cas_badval,
        /// Items found by touch, gat and other commands that change an expiry.
        touch_hits,
    }
}

counters! {
    /// The counts of one ring that belong to no size class.
    #[repr(align(128))]
    Counters, Counts {
        /// Gets that found no item, whatever the reason.
        get_misses,
        /// Gets that found only an item which had expired.
        get_expired,
        /// Gets that found only an item which had been flushed.
        get_flushed,
        /// Reads of values on flash for commands, including those that failed or were not made.
        get_extstore,
        /// Of the reads in `get_extstore`, those that were not made because the replies they belonged to were dropped.
        get_aborted_extstore,
        /// Of the reads in `get_extstore`, those that were not made because there was no memory for the value.
        get_oom_extstore,
        /// Of the reads in `get_extstore`, those after which the value was moved back to memory.
        recache_from_extstore,
        /// Of the reads in `get_extstore`, those that failed: the value was gone, could not be read in time, or had changed on
        /// flash.
        miss_from_extstore,
        /// Of the reads in `miss_from_extstore`, those that found other bytes on flash than had been written.
        badcrc_from_extstore,
        /// Commands touch, gat and gats that found no item. An `mg` that touches counts as a get.
        touch_misses,
        /// Deletes that found no item, and `md` commands whose cas was not that of the item.
        delete_misses,
        /// Increments that found no item and did not create one.
        incr_misses,
        /// Decrements that found no item and did not create one.
        decr_misses,
        /// `cas` commands that found no item.
        cas_misses,
        /// `flush_all` commands, including refused ones.
        cmd_flush,
        /// `me` commands, whether or not they found an item.
        cmd_meta,
        /// Storage commands that were refused because the item exceeded the size limit (`-I`).
        store_too_large,
        /// Storage commands that were refused because there was no memory.
        store_no_memory,
        /// Login attempts, failed ones included.
        auth_cmds,
        /// Login attempts that failed.
        auth_errors,
        /// Bytes received from clients, over connections and in datagrams.
        bytes_read,
        /// Bytes sent to clients.
        bytes_written,
        /// Number of times that a connection had to let others have their turn, because it had run as many commands as `-R`
        /// allows.
        conn_yields,
        /// Connections accepted by this ring.
        total_connections,
        /// Connections of this ring that have been closed. The difference from `total_connections` is the number of open ones.
        closed_connections,
        /// Requests that could not be read because there was no memory for a buffer. Their connections are closed.
        read_buf_oom,
        /// Connections that were closed right after they were accepted because of `-c`.
        rejected_connections,
        /// Connections that were closed because they were idle, or because they did not take values whose memory others needed.
        idle_kicks,
        /// TLS sessions that were new and not resumed.
        ssl_new_sessions,
        /// TLS connections that ended before their handshake was complete.
        ssl_handshake_errors,
        /// TLS connections that failed after their handshake was complete.
        ssl_proto_errors,
        /// Log lines about commands that this ring has sent to watchers. A line counts once, however many watchers receive it.
        log_worker_written,
        /// Always 0, because it is a statistic of memcached's threads. [`WatcherRegistry`](super::watch::WatcherRegistry) counts
        /// the lines that a watcher lost.
        log_worker_dropped,
    }
}

/// All counters of one ring. Only the ring's thread writes them; any thread may read them.
#[derive(Debug)]
pub struct RingCounters {
    /// The counts that belong to no size class.
    pub ring: Counters,
    /// The counts of each size class; the index is the class number.
    pub classes: [ClassCounters; CLASSES],
    /// The times of sampled requests.
    pub latency: Latency,
    /// The most requested keys, found by sampling.
    pub hotkeys: HotKeys,
    /// The memory that the ring's buffers hold.
    pub held: Held,
    /// Kernel thread id of the ring; 0 before the ring's thread runs.
    thread: AtomicI32,
}

impl RingCounters {
    /// Records the calling thread as the one whose CPU time [`RingCounters::cpu`] returns.
    pub fn set_thread(&self) {
        self.thread.store(gettid().as_raw(), Ordering::Relaxed);
    }

    /// Returns the CPU time that the ring's thread has used. `None` before the thread runs, or if the kernel does not tell.
    pub fn cpu(&self) -> Option<Duration> {
        match self.thread.load(Ordering::Relaxed) {
            0 => None,
            thread => clock_gettime(ClockId::from_raw(cpu_clock(thread))).ok().map(Duration::from),
        }
    }
}

/// Returns the id of the clock that counts a thread's CPU time. Source: the kernel's posix-timers.h, `MAKE_THREAD_CPUCLOCK`.
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

/// The memory that a ring's buffers held when the ring last summed it up, which it does once a second.
#[derive(Debug, Default)]
pub struct Held {
    connections: AtomicU64,
    read_buffers: AtomicU64,
}

impl Held {
    // Both numbers are relaxed: they are figures for `stats`, which need no order.

    /// Stores two numbers of bytes: those held by buffers of single connections, and those held by the read buffers that the
    /// ring's connections share.
    pub fn set(&self, connections: u64, read_buffers: u64) {
        self.connections.store(connections, Ordering::Relaxed);
        self.read_buffers.store(read_buffers, Ordering::Relaxed);
    }

    /// Returns the two numbers of [`Held::set`], in the same order.
    pub fn get(&self) -> (u64, u64) {
        (self.connections.load(Ordering::Relaxed), self.read_buffers.load(Ordering::Relaxed))
    }
}

/// The sums of all rings' counters. They are a copy, which does not change while the rings continue to count.
#[derive(Clone, Debug)]
pub struct Sums {
    /// The counts that belong to no size class.
    pub ring: Counts,
    /// The counts of each size class; the index is the class number.
    pub classes: [ClassCounts; CLASSES],
}

impl Default for Sums {
    fn default() -> Self {
        Self { ring: Counts::default(), classes: [ClassCounts::default(); CLASSES] }
    }
}

impl Sums {
    /// Adds the present values of one ring's counters.
    pub fn add(&mut self, counters: &RingCounters) {
        self.ring.add(&counters.ring.read());
        for (sum, class) in self.classes.iter_mut().zip(&counters.classes) {
            sum.add(&class.read());
        }
    }

    /// Subtracts `base`, the sums at the last `stats reset`.
    pub fn subtract(&mut self, base: &Self) {
        self.ring.subtract(&base.ring);
        for (sum, class) in self.classes.iter_mut().zip(&base.classes) {
            sum.subtract(class);
        }
    }

    /// Returns the sum of the counts of all size classes.
    pub fn all_classes(&self) -> ClassCounts {
        self.classes.iter().fold(ClassCounts::default(), |mut sum, class| {
            sum.add(class);
            sum
        })
    }
}
