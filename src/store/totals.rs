//! What the store's statistics consist of: counters, gauges and the parts of its memory. The segment table contains a
//! [`Totals`] and [`ClassTotals`], under the writer lock; callers get copies.

use super::replica::ReplicaMemory;
use crate::clock::Timestamp;

/// Sums over the whole store, as memcached's statistics name them.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "protocol.txt, \"General-purpose statistics\", defines them")]
pub struct Totals {
    pub curr_items: u64,
    pub total_items: u64,
    pub bytes: u64,
    pub evictions: u64,
    pub evicted_unfetched: u64,
    pub expired_unfetched: u64,
    pub reclaimed: u64,
    pub crawler_reclaimed: u64,
    pub crawler_items_checked: u64,
    /// Items that eviction copied from the small queue to the main queue.
    pub moves_to_warm: u64,
    /// Items that eviction copied, except from the small queue to the main queue: nearly all of them within a queue.
    pub moves_within_lru: u64,
    /// Turns of eviction that were done because a write found no memory, and that made progress.
    pub direct_reclaims: u64,
    /// Writes that were refused for lack of memory.
    pub no_room: u64,
}

/// Gauges and counters of one size class.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "protocol.txt, \"Item statistics\", defines them")]
pub struct ClassTotals {
    pub items: u64,
    pub bytes: u64,
    pub evicted: u64,
    pub evicted_nonzero: u64,
    pub evicted_unfetched: u64,
    pub evicted_time: u64,
    pub expired_unfetched: u64,
    pub reclaimed: u64,
    pub crawler_reclaimed: u64,
    pub outofmemory: u64,
    /// When the oldest segment of the store was opened. It is the same for all classes, because they share segments.
    pub oldest: Timestamp,
}

/// The parts of the `-m` budget, and what else the store holds. Bytes, unless the field says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The present limit: `-m`, unless it has been changed since the start.
    pub limit: u64,
    /// Segments in use, each with its whole length.
    pub segments: u64,
    /// Extents of large items, each with its whole length.
    pub large: u64,
    /// Free extents that still have memory, which is kept for the next large item.
    pub large_free: u64,
    /// All indexes together.
    pub index: u64,
    /// For each replica: its rings, the bytes of its index, and its replays.
    pub replicas: Box<[ReplicaMemory]>,
    /// The ghost table and, while a copy runs, the filter of keys that clients have edited.
    pub ghost: u64,
    /// The replication log. It is not part of the budget.
    pub log: u64,
    /// Length of one segment.
    pub segment_bytes: u64,
    /// Number of segments in use.
    pub segments_in_use: u64,
    /// Number of free segments that have memory.
    pub segments_free: u64,
    /// Segments and extents that have no live items, but that rings, sends or receives may still use.
    pub pending: u64,
    /// The part of `pending` that only sends and receives still hold, which is outside of the budget. 0 with a memory file,
    /// where all of `pending` is part of the budget.
    pub held: u64,
    /// Number of values being sent from item memory.
    pub pins: u64,
    /// Number of values being received into item memory.
    pub reservations: u64,
}
