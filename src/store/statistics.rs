//! Reads and resets the statistics of a store. May be called on any thread; takes the writer lock to copy or clear the sums.

use super::flash::{ChunkTable, FlashPage, FlashTotals};
use super::shared::Store;
use super::totals::{ClassTotals, Memory, Totals};

impl Store {
    /// Returns sums over the whole store.
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

    /// Returns the gauges and counters of each size class. The index is the number of the class; class 0 is not used.
    pub fn class_totals(&self) -> Vec<ClassTotals> {
        let segments = self.segments.lock();
        let oldest = segments.oldest();
        segments.class_totals.iter().map(|class| ClassTotals { oldest, ..class.clone() }).collect()
    }

    /// Sets the counters of events to 0, as `stats reset` does; the gauges keep their values.
    pub fn reset_counters(&self) {
        if let Some(flash) = self.flash() {
            flash.reset_counters();
        }
        let mut segments = self.segments.lock();
        for class in &mut segments.class_totals {
            *class = ClassTotals { items: class.items, bytes: class.bytes, ..ClassTotals::default() };
        }
        let Totals { curr_items, bytes, .. } = segments.totals;
        segments.totals = Totals { curr_items, bytes, ..Totals::default() };
    }

    /// Returns how much memory the store takes, by purpose: the parts of the budget, and what is outside of it.
    pub fn memory(&self) -> Memory {
        let segments = self.segments.lock();
        let (in_use, free) = segments.segment_counts();
        let arena = self.base.arena();
        let (pins, reservations) = arena.held_counts();
        Memory {
            limit: segments.limit,
            segments: in_use * arena.segment_bytes(),
            large: segments.large_bytes(),
            large_free: segments.large_free_bytes(),
            index: arena.index_bytes(),
            replicas: self.replicas.iter().map(|replica| replica.memory()).collect(),
            ghost: segments.ghost_bytes(),
            log: arena.log().bytes(),
            segment_bytes: arena.segment_bytes(),
            segments_in_use: in_use,
            segments_free: free,
            pending: segments.pending_bytes(),
            held: segments.beside_bytes(),
            pins,
            reservations,
        }
    }

    /// Returns the statistics of the flash tier; `None` if there is none.
    pub fn flash_totals(&self) -> Option<FlashTotals> {
        let segments = self.segments.lock();
        let totals = |chunks: &ChunkTable| FlashTotals {
            short_bytes: segments.short_bytes(chunks.flash()),
            ..chunks.totals()
        };
        segments.flash.as_ref().map(totals)
    }

    /// Returns pages of the flash tier for `stats extstore`: at most `most` of them, from page number `from` on. Empty without
    /// a flash tier.
    pub fn flash_pages(&self, from: u64, most: usize) -> Vec<FlashPage> {
        self.segments.lock().flash.as_ref().map_or_else(Vec::new, |chunks| chunks.pages(from, most))
    }
}
