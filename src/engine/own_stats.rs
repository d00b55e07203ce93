//! `stats memory`, `latency` and `hotkeys`, which memcached does not have.

use crate::engine::hotkeys::Hottest;
use crate::engine::latency::Kind;
use crate::engine::sample;
use crate::engine::stats::{Report, Sink, Writer};
use crate::engine::watch::encoded;
use crate::store::Memory;
use std::fmt::{Display, Formatter};
use std::time::Duration;

/// Hot keys that are shown.
const HOTKEYS_SHOWN: usize = 20;
/// What the process takes beside `-m`, its rings and its connections, bytes.
const BASE_BYTES: u64 = 8 << 20;
/// What a ring takes: its io_uring, its read buffers, its stack, bytes.
const RING_BYTES: u64 = 5 << 19;
/// What a connection takes beside its buffers, bytes.
const CONNECTION_BYTES: u64 = 3 << 9;

/// Where the memory is, bytes.
#[derive(Clone, Debug)]
pub struct MemoryParts {
    /// The parts that are counted, with their names and what they are; in the order of `stats memory`.
    pub parts: Vec<(&'static str, u64)>,
    /// What the store said, of which most parts are made.
    pub store: Memory,
}

impl Report<'_> {
    /// Where the memory is.
    ///
    /// `used` is the sum of the four behind it, `free` what `limit` leaves. `segments_idle` and `large_idle` are memory
    /// kept for items to come; `pending` is the part of `used` that waits until slow rings and sends let go of it.
    /// Outside the limit: `log`, `read_buffers`, and `connections`, which is what connections hold in buffers of their
    /// own, looked up once a second. `resident` is the kernel's view, and `promised` the bound it stays under.
    pub fn memory_parts(&self) -> MemoryParts {
        let memory = self.store.memory();
        let (connections, read_buffers) = self.shared.held();
        let used = memory.segments + memory.large + memory.index + memory.ghost;
        // 1.08 times the limit, for what the kernel and the allocator add.
        let promised = memory.limit
            + memory.limit / 25 * 2
            + BASE_BYTES
            + RING_BYTES * self.shared.rings() as u64
            + CONNECTION_BYTES * self.shared.open_connections()
            + connections;
        let mut parts = vec![
            ("limit", memory.limit),
            ("used", used),
            ("segments", memory.segments),
            ("large", memory.large),
            ("index", memory.index),
            ("ghosts", memory.ghost),
            ("free", memory.limit.saturating_sub(used)),
            ("pending", memory.pending),
            ("segments_idle", memory.segments_free * memory.segment_bytes),
            ("large_idle", memory.large_free),
            ("log", memory.log),
            ("read_buffers", read_buffers),
            ("connections", connections),
        ];
        parts.extend(resident_bytes().map(|bytes| ("resident", bytes)));
        parts.push(("promised", promised));
        MemoryParts { parts, store: memory }
    }

    /// `stats memory`: see [`Report::memory_parts`].
    pub fn stats_memory(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        let MemoryParts { parts, store } = self.memory_parts();
        for (name, bytes) in parts {
            to.put(format_args!("{name}_bytes"), bytes);
        }
        for (ring, bytes) in store.index_by_ring.iter().enumerate() {
            to.put(format_args!("ring:{ring}:index_bytes"), bytes);
        }
        to.put("segment_bytes", store.segment_bytes);
        to.put("segments_in_use", store.segments_in_use);
        to.put("pins", store.pins);
        to.put("drafts", store.drafts);
    }

    /// `stats latency`: see [`crate::engine::latency`].
    pub fn stats_latency(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        to.put("sampled_one_in", sample::TIMED_ONE_IN);
        let times = self.shared.times();
        for (kind, name) in Kind::ALL {
            let summary = times.of(kind);
            to.put(format_args!("{name}:count"), summary.count);
            to.put(format_args!("{name}:p50_us"), Micros(summary.p50));
            to.put(format_args!("{name}:p99_us"), Micros(summary.p99));
            to.put(format_args!("{name}:p999_us"), Micros(summary.p999));
            to.put(format_args!("{name}:max_us"), Micros(summary.max));
        }
    }

    /// `stats hotkeys`: see [`crate::engine::hotkeys`].
    pub fn stats_hotkeys(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        let hottest: Hottest = self.shared.hottest(HOTKEYS_SHOWN);
        to.put("sampled_one_in", sample::NOTED_ONE_IN);
        to.put("sampled_keys", hottest.notes);
        for (place, (key, count)) in (1..).zip(&hottest.keys) {
            to.put(format_args!("{place}:key"), encoded(key));
            to.put(format_args!("{place}:percent"), format_args!("{:.2}", 100.0 * hottest.share(*count)));
        }
    }
}

/// Resident memory of the process, bytes; none where there is no /proc.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page_bytes as u64)
}

/// A duration in microseconds, to the nanosecond.
struct Micros(Duration);

impl Display for Micros {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let ns = self.0.as_nanos();
        write!(f, "{}.{:03}", ns / 1000, ns % 1000)
    }
}
