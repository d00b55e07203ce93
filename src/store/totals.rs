//! The store's statistics: counters, gauges and the parts of its memory.

use super::flash::{Books, FlashPage, FlashTotals};
use super::{ReplicaMemory, Store};
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
    /// Survivors copied from small to main.
    pub moves_to_warm: u64,
    /// Items copied within a queue.
    pub moves_within_lru: u64,
    /// Slices of eviction that a write had to wait for.
    pub direct_reclaims: u64,
    /// Writes that had to make room themselves and failed.
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
    /// When the oldest segment of the store was opened: the same for all classes, which share segments.
    pub oldest: Timestamp,
}

/// The parts of the `-m` budget and what else the store holds; bytes unless said.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// `-m`.
    pub limit: u64,
    /// Segments in use.
    pub segments: u64,
    /// Large items.
    pub large: u64,
    /// Memory of free extents, kept for the next large item.
    pub large_free: u64,
    /// All indexes.
    pub index: u64,
    /// Each index.
    pub replicas: Box<[ReplicaMemory]>,
    /// The ghost table.
    pub ghost: u64,
    /// The replication log, not part of the budget.
    pub log: u64,
    /// Size of one segment.
    pub segment_bytes: u64,
    /// Number of segments in use.
    pub segments_in_use: u64,
    /// Number of free segments that have memory.
    pub segments_free: u64,
    /// Retired, waiting for rings and sends.
    pub pending: u64,
    /// Number of values being sent from item memory.
    pub pins: u64,
    /// Number of values being received into item memory.
    pub reservations: u64,
}

impl Store {
    /// Sums over the whole store.
    pub fn totals(&self) -> Totals {
        let segments = self.segments.lock();
        let mut totals = segments.totals.clone();
        for class in &segments.class_totals {
            totals.evictions += class.evicted;
            totals.evicted_unfetched += class.evicted_unfetched;
            totals.expired_unfetched += class.expired_unfetched;
            totals.reclaimed += class.reclaimed;
            totals.crawler_reclaimed += class.crawler_reclaimed;
        }
        totals
    }

    /// Per-class gauges and counters; the index is the class number, 0 is not used.
    pub fn class_totals(&self) -> Vec<ClassTotals> {
        let segments = self.segments.lock();
        let oldest = segments.oldest();
        segments.class_totals.iter().map(|class| ClassTotals { oldest, ..class.clone() }).collect()
    }

    /// Clears the counters, not the gauges.
    pub fn reset_counters(&self) {
        if let Some(flash) = &self.flash {
            flash.reset_counters();
        }
        let mut segments = self.segments.lock();
        for class in &mut segments.class_totals {
            *class = ClassTotals { items: class.items, bytes: class.bytes, ..ClassTotals::default() };
        }
        let Totals { curr_items, bytes, .. } = segments.totals;
        segments.totals = Totals { curr_items, bytes, ..Totals::default() };
    }

    /// The parts of the budget, and what else the store holds.
    pub fn memory(&self) -> Memory {
        let segments = self.segments.lock();
        let (in_use, free) = segments.segment_counts();
        let (pins, reservations) = self.arena.held_counts();
        Memory {
            limit: segments.limit,
            segments: in_use * self.arena.segment_bytes(),
            large: segments.large_bytes(),
            large_free: segments.large_free_bytes(),
            index: self.index_bytes(),
            replicas: self.replicas.iter().map(|replica| replica.memory()).collect(),
            ghost: segments.ghost_bytes(),
            log: self.arena.log().bytes(),
            segment_bytes: self.arena.segment_bytes(),
            segments_in_use: in_use,
            segments_free: free,
            pending: segments.pending_bytes(),
            pins,
            reservations,
        }
    }

    /// What it holds and has done; `None` without one.
    pub fn flash_totals(&self) -> Option<FlashTotals> {
        self.segments.lock().flash.as_ref().map(Books::totals)
    }

    /// The next `most` pages of it from the number `from` on.
    pub fn flash_pages(&self, from: u64, most: usize) -> Vec<FlashPage> {
        self.segments.lock().flash.as_ref().map_or_else(Vec::new, |books| books.pages(from, most))
    }
}
