//! Room in one piece: what to do when enough is free for a large item, but nowhere side by side.
//!
//! Address space is twice the limit for large items alone, so that this happens only where the system allowed less
//! (`ulimit -v`, strict overcommit). Then the items that stand between free extents go, the fewest bytes that do, which are
//! less than the new item has. With -M the write is refused.

use super::evict::Slice;
use super::segment_table::Need;
use super::write_txn::WriteTxn;

/// Items evicted in one transaction.
const ITEMS_MAX: usize = 64;

impl WriteTxn<'_> {
    /// Makes some of the free space one piece. What it leaves less of: memory behind free extents, or large items.
    pub(super) fn make_whole(&mut self, need: Need) -> Slice {
        let Need::Extent { bytes, .. } = need else { return Slice::Idle };
        let arena = self.arena();
        if self.segments.decommit_extents(arena) {
            return Slice::Worked;
        }
        match self.segments.window(arena, bytes) {
            // All that stands in the way has been evicted.
            Some(window) if window.ids.is_empty() && self.segments.awaits_cursors() => Slice::Stalled,
            Some(window) if !window.ids.is_empty() && self.evicts() => {
                for &id in window.ids.iter().take(ITEMS_MAX) {
                    if !self.has_log_room(1) {
                        return Slice::Stalled;
                    }
                    self.drop_large(id);
                }
                Slice::Worked
            }
            _ => Slice::Idle,
        }
    }
}
