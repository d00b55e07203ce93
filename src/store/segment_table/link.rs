//! Counts an item in when it is published, and out when its index entry has been removed. Counted are live bytes, classes,
//! queues of large items, expiry, and values on flash.
//!
//! Methods of [`SegmentTable`], under the writer lock. A transaction calls [`SegmentTable::link`] and [`SegmentTable::unlink`],
//! or for a copy [`SegmentTable::moved`], after it has appended the item's delta to the log.

use super::sum;
use super::table::SegmentTable;
use super::unit::{EvictionUnit, Fifo, Queue, State};
use crate::clock::Timestamp;
use crate::store::arena::{Arena, Placement};
use crate::store::item::Item;
use crate::store::item_ref::ItemRef;

impl SegmentTable {
    /// Counts an item that has just been published, and puts it at the end of `queue` if it is large.
    pub(in crate::store) fn link(&mut self, arena: &Arena, item_ref: ItemRef, item: &Item<'_>, queue: Queue) {
        let (class, bytes) = self.class_of(item);
        let placement = self.placement(arena, item_ref);
        self.note_expiry(placement, item.exptime());
        match placement {
            Placement::Segment(id) => {
                let bytes = self.padded_bytes(item.layout());
                self.live_bytes += bytes;
                let segment = &mut self.segments[id as usize];
                segment.live += bytes as u32;
                if segment.state == State::Sealed {
                    // The item's value was still being received when the segment was sealed.
                    self.reclaim_list.update(id, &mut self.segments);
                }
            }
            Placement::Large(id) => self.enter_queue(id, queue),
        }
        let class = &mut self.class_totals[class];
        class.items += 1;
        class.bytes += bytes;
        self.totals.curr_items += 1;
        self.totals.bytes += bytes;
        if let Some(flash) = &mut self.flash
            && let Some(place) = item.place()
        {
            flash.link(place, item.key().len());
        }
    }

    /// Puts a large item that stands in no queue at the end of `queue`.
    pub(in crate::store) fn enqueue_large(&mut self, id: u32, queue: Queue) {
        self.ledger.requeue_slot(id, queue as u8);
        self.enter_queue(id, queue);
    }

    /// As [`SegmentTable::enqueue_large`], but records nothing in the memory file.
    pub(super) fn enter_queue(&mut self, id: u32, queue: Queue) {
        let entry = (EvictionUnit::Large(id), self.large_items[id as usize].epoch);
        self.fifos[queue as usize].push_back(entry);
        if queue == Queue::Small {
            self.fifos[Fifo::SmallLarges as usize].push_back(entry);
        }
        self.requeued(id, queue);
    }

    /// Counts large item `id` as standing in `queue`, which already has an entry for it.
    pub(super) fn requeued(&mut self, id: u32, queue: Queue) {
        let large = &mut self.large_items[id as usize];
        large.queue = Some(queue);
        self.queue_bytes[queue as usize] += large.bytes;
        if queue == Queue::Small {
            self.small_larges += 1;
            self.small_large_bytes += large.bytes;
        }
    }

    /// Notes that the item at `item_ref` expires at `exptime`, which has just been changed.
    pub(in crate::store) fn expires(&mut self, arena: &Arena, item_ref: ItemRef, exptime: Timestamp) {
        self.note_expiry(self.placement(arena, item_ref), exptime);
    }

    /// Notes in the schedule that an item in `placement` expires at `at`; nothing if that is NEVER.
    #[inline]
    fn note_expiry(&mut self, placement: Placement, at: Timestamp) {
        if at == Timestamp::NEVER {
            return;
        }
        let unit = match placement {
            Placement::Segment(id) => {
                let segment = &mut self.segments[id as usize];
                if at <= segment.removed_by {
                    segment.removed_by = Timestamp(0);
                }
                EvictionUnit::Segment(id)
            }
            Placement::Large(id) => EvictionUnit::Large(id),
        };
        self.schedule.note(unit, at);
    }

    /// Counts out an item that the log's last delta removed from the index: its bytes are dead. Retires a large item, and a
    /// sealed segment in which nothing is alive any more.
    pub(in crate::store) fn unlink(&mut self, arena: &Arena, item_ref: ItemRef, item: &Item<'_>) {
        let (class, bytes) = self.class_of(item);
        let class = &mut self.class_totals[class];
        class.items -= 1;
        class.bytes -= bytes;
        self.totals.curr_items -= 1;
        self.totals.bytes -= bytes;
        if let Some(flash) = &mut self.flash
            && let Some(place) = item.place()
        {
            flash.unlink(place, item.key().len());
        }
        // This must happen before the item's memory can be reused.
        self.transfer.take_if(|transfer| transfer.item_ref == item_ref);
        match self.placement(arena, item_ref) {
            Placement::Segment(id) => {
                let bytes = self.padded_bytes(item.layout());
                self.live_bytes -= bytes;
                let live = &mut self.segments[id as usize].live;
                *live = sum::less(*live, bytes as u32);
                self.reclassify(id, arena);
            }
            Placement::Large(id) => self.retire(EvictionUnit::Large(id), arena),
        }
    }

    /// Counts a live item of the victim as moved: the log's last delta has put its copy `to` in the place of `from`. Counts of
    /// items stay as they are, since the copy is the same item.
    pub(in crate::store) fn moved(
        &mut self,
        arena: &Arena,
        from: (ItemRef, &Item<'_>),
        to: (ItemRef, &Item<'_>),
    ) {
        // This must happen before the item's memory can be reused.
        self.transfer.take_if(|transfer| transfer.item_ref == from.0);
        let (Placement::Segment(old), Placement::Segment(new)) =
            (self.placement(arena, from.0), self.placement(arena, to.0))
        else {
            unreachable!("large items are not copied")
        };
        let (old_bytes, new_bytes) = (self.padded_bytes(from.1.layout()), self.padded_bytes(to.1.layout()));
        self.live_bytes += new_bytes;
        self.live_bytes -= old_bytes;
        self.segments[new as usize].live += new_bytes as u32;
        self.note_expiry(Placement::Segment(new), to.1.exptime());
        let victim = &mut self.segments[old as usize];
        assert_eq!(victim.state, State::Victim, "only victims are emptied");
        victim.live = sum::less(victim.live, old_bytes as u32);
    }
}
