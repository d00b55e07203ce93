//! Moves a live item of a victim: copies it to an open segment and publishes the copy in its place. Methods of the write
//! transaction; no state of their own.

#![expect(unsafe_code, reason = "writes copies into memory that was just claimed")]

use super::Candidate;
use crate::store::item::{Fields, Item, Layout};
use crate::store::item_ref::{Hash, ItemRef};
use crate::store::segment_table::{Purpose, Queue};
use crate::store::write_txn::WriteTxn;

impl<'t> WriteTxn<'t> {
    /// Copies a live item of the victim, which stands in queue `from`, to the open segment of `queue`, and publishes the copy
    /// instead; false if there is no room for it.
    pub(super) fn move_item(
        &mut self,
        candidate: &Candidate<'_>,
        from: Queue,
        queue: Queue,
        hits: u8,
    ) -> bool {
        let &Candidate { item_ref, item, hash, .. } = candidate;
        let Some(copy) = self.copy_item(&item, queue, hits) else { return false };
        self.effort.copied(item.layout().bytes() as u64);
        self.publish_copy(hash, (item_ref, item), copy, queue);
        match (from, queue) {
            (Queue::Small, Queue::Main) => self.segments.totals.moves_to_warm += 1,
            _ => self.segments.totals.moves_within_lru += 1,
        }
        true
    }

    /// Copies an item for the evictor to the open segment of `queue`, and gives the copy `hits`; `None` if there is no memory
    /// for it.
    fn copy_item(&mut self, item: &Item<'_>, queue: Queue, hits: u8) -> Option<(ItemRef, Item<'t>)> {
        let layout = item.layout();
        let purpose = if self.is_short(item) { Purpose::Spare } else { Purpose::Copy };
        if !item.is_compact(layout) {
            return self.copy_compacted(item, queue, hits, purpose);
        }
        let arena = self.arena();
        let item_ref = self.segments.allocate(arena, queue, layout, purpose).ok()?;
        // SAFETY: the segment table just handed these bytes out, to this transaction alone; units are at least 4-aligned.
        unsafe { item.copy_to(arena.address(item_ref), layout, hits) };
        Some((item_ref, self.item(item_ref)))
    }

    /// As [`WriteTxn::copy_item`], for an item whose header has fields that the copy does without.
    #[cold]
    fn copy_compacted(
        &mut self,
        item: &Item<'_>,
        queue: Queue,
        hits: u8,
        purpose: Purpose,
    ) -> Option<(ItemRef, Item<'t>)> {
        let fields = Fields { hits, ..item.fields() };
        let layout = Layout::new(item.key().len(), item.stored().len(), fields.flags, fields.cas);
        let copied = self.write(queue, layout, item.key(), [item.stored(), &[]], &fields, purpose).ok()?;
        if item.fetched() {
            copied.1.set_fetched();
        }
        Some(copied)
    }

    /// As [`WriteTxn::publish`], for a `copy` of an item of the victim: the copy replaces the item and is in its segment's
    /// `queue`.
    fn publish_copy(
        &mut self,
        hash: Hash,
        item: (ItemRef, Item<'_>),
        copy: (ItemRef, Item<'_>),
        queue: Queue,
    ) {
        let arena = self.arena();
        self.replace(hash, Some(item), Some((copy.0, copy.1, queue)));
        self.segments.moved(arena, (item.0, &item.1), (copy.0, &copy.1));
    }
}
