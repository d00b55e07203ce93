//! `stats rings`: how busy each ring is. memcached has no such list.
//!
//! Requests are commands that hit or miss a key; commands without a key are not counted. CPU time is read from the clock of the
//! thread, so a client that asks for it does not make its ring read files of /proc.
//!
//! The module extends [`Report`] and owns no state; it may import the modules named before it in `engine`.

use crate::engine::counters::{RingCounters, Sums};
use crate::engine::report::{Report, Sink, Writer};
use std::fmt::{Display, Formatter};
use std::time::Duration;

/// The load of one ring since the server started. `stats reset` does not change it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingLoad {
    /// Number of connections that the ring serves at this moment.
    pub connections: u64,
    /// Number of commands with a key that the ring has served, hits and misses.
    pub requests: u64,
    /// Bytes that the ring has received from clients.
    pub bytes_read: u64,
    /// Bytes that the ring has sent to clients.
    pub bytes_written: u64,
    /// CPU time that the ring's thread has used; `None` if the kernel does not tell.
    pub cpu: Option<Duration>,
}

impl Report<'_> {
    /// Returns the loads of all rings, in the order of their numbers.
    pub fn ring_loads(&self) -> Vec<RingLoad> {
        (0..self.shared.rings()).map(|ring| load(self.shared.ring_counters(ring))).collect()
    }

    /// Writes `stats rings`: the fields of [`RingLoad`] for each ring.
    pub fn stats_rings(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        for (ring, load) in self.ring_loads().iter().enumerate() {
            to.put(format_args!("{ring}:connections"), load.connections);
            to.put(format_args!("{ring}:requests"), load.requests);
            to.put(format_args!("{ring}:bytes_read"), load.bytes_read);
            to.put(format_args!("{ring}:bytes_written"), load.bytes_written);
            if let Some(cpu) = load.cpu {
                to.put(format_args!("{ring}:cpu_seconds"), Seconds(cpu));
            }
        }
    }
}

/// Returns the load of the ring with these counters.
fn load(counters: &RingCounters) -> RingLoad {
    let mut sums = Sums::default();
    sums.add(counters);
    let (hits, ring) = (sums.all_classes(), sums.ring);
    let found =
        hits.get_hits + hits.cmd_set + hits.delete_hits + hits.incr_hits + hits.decr_hits + hits.touch_hits;
    let missed =
        ring.get_misses + ring.touch_misses + ring.delete_misses + ring.incr_misses + ring.decr_misses;
    RingLoad {
        connections: ring.total_connections.saturating_sub(ring.closed_connections),
        requests: found + missed,
        bytes_read: ring.bytes_read,
        bytes_written: ring.bytes_written,
        cpu: counters.cpu(),
    }
}

/// A duration that is shown in seconds with six decimals.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}
