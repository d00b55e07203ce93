//! Makes one contiguous extent for a large item when enough space is free, but in pieces. A method of the write transaction; no
//! state of its own.
//!
//! The address space for large items alone is twice the limit, so this happens only where the system allowed less (`ulimit -v`,
//! strict overcommit). Then items between free extents are evicted: as few bytes as possible, and fewer than the new item has.
//! With -M nothing is evicted, and the write is refused.

use super::evict::Slice;
use super::segment_table::Need;
use super::write_txn::WriteTxn;

/// How many items one transaction evicts at most to make an extent contiguous.
const ITEMS_MAX: usize = 64;

impl WriteTxn<'_> {
    /// Does a part of the work that makes the extent of `need` contiguous. Each call that returns [`Slice::Worked`] leaves less
    /// memory in free extents, or fewer large items, so that repeated calls come to an end.
    pub(super) fn defragment(&mut self, need: Need) -> Slice {
        let Need::Extent { bytes, .. } = need else { return Slice::Idle };
        let arena = self.arena();
        if self.segments.decommit_extents(arena) {
            return Slice::Worked;
        }
        match self.segments.window(arena, bytes) {
            // Everything in the range has been evicted, but its memory waits for other rings to replay.
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
