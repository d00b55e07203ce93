//! The lists of statistics that memcached does not have: `stats memcrsd`, `memory`, `latency` and `hotkeys`.
//!
//! The module extends [`Report`] and owns no state; it may import the modules named before it in `engine`. The lines about the
//! flash tier come from `flash`.

use crate::config::OWN_VERSION;
use crate::engine::hotkeys::Hottest;
use crate::engine::latency::Kind;
use crate::engine::report::{Report, Sink, Writer};
use crate::engine::sample;
use crate::escape;
use crate::store::{Memory, RestoreOutcome};
use std::fmt::{Display, Formatter};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Most keys that `stats hotkeys` shows.
const HOTKEYS_SHOWN: usize = 20;
/// Memory that the process takes in addition to `-m`, rings and connections, bytes. It is a part of the promised bound.
const BASE_BYTES: u64 = 8 << 20;
/// Memory that each ring takes for its io_uring, read buffers and stack, bytes. It is a part of the promised bound.
const RING_BYTES: u64 = 5 << 19;
/// Memory that each connection takes in addition to its buffers, bytes. It is a part of the promised bound.
const CONNECTION_BYTES: u64 = 3 << 9;

/// The memory of the server by use, bytes.
#[derive(Clone, Debug)]
pub struct MemoryParts {
    /// The names and the bytes of the parts, in the order of `stats memory`. [`Report::memory_parts`] explains them.
    pub parts: Vec<(&'static str, u64)>,
    /// The resident set of the process, bytes; `None` if it cannot be read.
    resident: Option<u64>,
    /// The bound that is promised for the resident set, bytes.
    promised: u64,
    /// The figures of the store from which most parts are computed.
    pub store: Memory,
}

impl Report<'_> {
    /// Writes `stats memcrsd`: figures for which memcached has no statistics.
    pub fn stats_memcrsd(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        let memory = self.store.memory();
        to.put("memcrsd_version", OWN_VERSION);
        to.put("memcrsd_segments_bytes", memory.segments);
        to.put("memcrsd_large_bytes", memory.large);
        to.put("memcrsd_index_bytes", memory.index);
        to.put("memcrsd_ghost_bytes", memory.ghost);
        to.put("memcrsd_log_bytes", memory.log);
        to.put("memcrsd_segments_in_use", memory.segments_in_use);
        to.put("memcrsd_segments_free", memory.segments_free);
        to.put("memcrsd_pins", memory.pins);
        to.put("memcrsd_drafts", memory.reservations);
        let gauges = &self.shared.gauges;
        to.put("memcrsd_stuck_rings", gauges.stuck_rings.load(Ordering::Relaxed));
        to.put("memcrsd_ring_stalls", gauges.ring_stall_count.load(Ordering::Relaxed));
        let restored = self.store.restored();
        to.put("memcrsd_restored_items", restored.map_or(0, |restored| restored.items));
        to.put("memcrsd_restored_bytes", restored.map_or(0, |restored| restored.bytes));
        to.put("memcrsd_restore_ms", restored.map_or(0, |restored| restored.elapsed.as_millis()));
        let result = restored.map_or("none", |restored| match &restored.outcome {
            RestoreOutcome::New => "new",
            RestoreOutcome::Restored => "restored",
            RestoreOutcome::Rejected(_) => "rejected",
        });
        to.put("memcrsd_restore_result", result);
        self.flash_troubles(&mut to);
        self.copy_progress(&mut to);
    }

    /// Writes the lines of `stats memcrsd` about the copy of another server's items. Writes nothing without a copy.
    fn copy_progress(&self, to: &mut Writer<'_, '_>) {
        let copy = &self.shared.copy;
        let Some(state) = copy.state_name() else { return };
        to.put("memcrsd_copy_state", state);
        to.put("memcrsd_copy_items", copy.copied.get());
        to.put("memcrsd_copy_items_expected", copy.expected.get());
        to.put("memcrsd_copy_value_bytes", copy.value_bytes.get());
        for (count, name, _) in copy.left_out() {
            to.put(format_args!("memcrsd_copy_{name}"), count);
        }
    }

    /// Returns the memory of the server by use.
    ///
    /// `used` is the sum of the four parts after it. `pending` is the part of `used` to which slow rings or sends still refer,
    /// and `held` the part of `pending` to which only sends refer. `held` does not count against `limit`, and `free` is what is
    /// left of `limit`. `segments_idle` and `large_idle` are memory that is reserved for new items. The parts `log`,
    /// `read_buffers` and `connections` (the connections' own buffers, updated once a second) are outside the limit. `resident`
    /// is the kernel's figure for the whole process, and `promised` is the bound below which `resident` stays.
    pub fn memory_parts(&self) -> MemoryParts {
        let memory = self.store.memory();
        let (connections, read_buffers) = self.shared.held();
        let used = memory.segments + memory.large + memory.index + memory.ghost;
        // 1.08 times the limit; the surplus is for what the kernel and the allocator add.
        let promised = memory.limit
            + memory.limit / 25 * 2
            + memory.held
            + BASE_BYTES
            + RING_BYTES * self.shared.rings() as u64
            + CONNECTION_BYTES * self.shared.open_connections()
            + self.flash_memory_bound()
            + connections;
        let mut parts = vec![
            ("limit", memory.limit),
            ("used", used),
            ("segments", memory.segments),
            ("large", memory.large),
            ("index", memory.index),
            ("ghosts", memory.ghost),
            ("free", (memory.limit + memory.held).saturating_sub(used)),
            ("pending", memory.pending),
            ("held", memory.held),
            ("segments_idle", memory.segments_free * memory.segment_bytes),
            ("large_idle", memory.large_free),
            ("log", memory.log),
            ("read_buffers", read_buffers),
            ("connections", connections),
        ];
        let resident = resident_bytes();
        parts.extend(resident.map(|bytes| ("resident", bytes)));
        parts.push(("promised", promised));
        MemoryParts { parts, resident, promised, store: memory }
    }

    /// True if the resident set is above the bound that is promised for it. False if the resident set cannot be read.
    pub fn is_too_large(&self) -> bool {
        let MemoryParts { resident, promised, .. } = self.memory_parts();
        resident.is_some_and(|resident| resident > promised)
    }

    /// Writes `stats memory`. [`Report::memory_parts`] explains the figures.
    pub fn stats_memory(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        let MemoryParts { parts, store, .. } = self.memory_parts();
        for (name, bytes) in parts {
            to.put(format_args!("{name}_bytes"), bytes);
        }
        to.put("replicas", store.replicas.len());
        for (number, replica) in store.replicas.iter().enumerate() {
            to.put(format_args!("replica:{number}:first_ring"), replica.rings.start);
            to.put(format_args!("replica:{number}:rings"), replica.rings.len());
            to.put(format_args!("replica:{number}:index_bytes"), replica.index_bytes);
            to.put(format_args!("replica:{number}:replays"), replica.replays);
            to.put(format_args!("replica:{number}:waits"), replica.waits);
        }
        to.put("segment_bytes", store.segment_bytes);
        to.put("segments_in_use", store.segments_in_use);
        to.put("pins", store.pins);
        to.put("drafts", store.reservations);
    }

    /// Writes `stats latency`. [`crate::engine::latency`] explains the figures.
    pub fn stats_latency(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        to.put("sampled_one_in", sample::TIMED_ONE_IN);
        let times = self.shared.times();
        let flash = self.store.flash().map(|_| (Kind::FlashRead, "flash_read"));
        for (kind, name) in Kind::REQUESTS.into_iter().chain(flash) {
            let summary = times.of(kind);
            to.put(format_args!("{name}:count"), summary.count);
            to.put(format_args!("{name}:p50_us"), Micros(summary.p50));
            to.put(format_args!("{name}:p99_us"), Micros(summary.p99));
            to.put(format_args!("{name}:p999_us"), Micros(summary.p999));
            to.put(format_args!("{name}:max_us"), Micros(summary.max));
        }
    }

    /// Writes `stats hotkeys`. [`crate::engine::hotkeys`] explains the figures.
    pub fn stats_hotkeys(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        let hottest: Hottest = self.shared.hottest(HOTKEYS_SHOWN);
        to.put("sampled_one_in", sample::NOTED_ONE_IN);
        to.put("sampled_keys", hottest.notes);
        for (place, (key, count)) in (1..).zip(&hottest.keys) {
            to.put(format_args!("{place}:key"), escape::percent(key));
            to.put(format_args!("{place}:percent"), format_args!("{:.2}", 100.0 * hottest.share(*count)));
        }
    }
}

/// Returns the resident memory of the process, bytes; `None` if /proc cannot be read.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page_bytes as u64)
}

/// A duration that is shown in microseconds with three decimals.
struct Micros(Duration);

impl Display for Micros {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let ns = self.0.as_nanos();
        write!(f, "{}.{:03}", ns / 1000, ns % 1000)
    }
}
