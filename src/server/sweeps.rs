//! Tells clients that watch the system how many expired items the store's sweep has reclaimed. Each ring's heartbeat task has a
//! [`Sweeps`], but only ring 0 reports, once a second for all rings.

use super::context::RingContext;
use crate::engine::watch::Stream;

/// The totals at the last report: items examined, and items reclaimed.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    last: (u64, u64),
}

impl Sweeps {
    /// Tells clients that watch the system how many items all rings have reclaimed since the last call, if any.
    pub(super) fn report(&mut self, ring: &RingContext) {
        let totals = ring.engine.borrow_mut().shard_mut().store().totals();
        // Eviction removes expired items too, and does not count what it examines.
        let (examined, reclaimed) =
            (totals.crawler_items_checked, totals.reclaimed + totals.crawler_reclaimed);
        // Counted without watchers too, so that the first report covers one second, and from the start of the server: another
        // ring may reclaim before this one counts for the first time.
        let last = std::mem::replace(&mut self.last, (examined, reclaimed));
        if reclaimed > last.1 && ring.shared.watch.wants(Stream::System) {
            // `stats reset` lowers the numbers.
            ring.shared.log_sweep(examined.saturating_sub(last.0), reclaimed - last.1);
        }
    }
}
