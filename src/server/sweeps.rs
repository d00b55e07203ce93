//! Reports expired items that the sweep has reclaimed, to clients that watch the system.

use super::context::RingContext;
use crate::engine::watch::Stream;

/// Items examined and reclaimed when the last second began.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    last: (u64, u64),
}

impl Sweeps {
    /// Reports what has been reclaimed since the last call, of all rings.
    pub(super) fn report(&mut self, ring: &RingContext) {
        let totals = ring.engine.borrow_mut().shard_mut().store().totals();
        // The evictor too removes what has expired, and does not count what it examines.
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
