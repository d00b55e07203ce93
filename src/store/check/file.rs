//! Compares the memory file with the segment table and the index. The next process must find exactly the items that are live
//! now. A part of [`WriteTxn::check`]; under the writer lock, changes nothing.

use crate::store::faults::Faults;
use crate::store::geometry::PAGE_BYTES;
use crate::store::memory_file::{Headers, Word};
use crate::store::segment_table::{Segment, State};
use crate::store::write_txn::WriteTxn;
use std::collections::HashSet;

impl WriteTxn<'_> {
    /// Compares the memory file, if there is one, with the segment table; `named` are the refs of all items in the index, as
    /// bits.
    pub(super) fn check_file(&self, named: &HashSet<u64>, faults: &mut Faults) {
        let Some(headers) = self.segments.ledger.headers() else { return };
        for id in 1..self.segments.segments.len() as u32 {
            self.check_segment_header(headers, id, named, faults);
        }
        for id in headers.slot_ids() {
            self.check_slot(headers, id, faults);
        }
        for id in self.segments.large_items_in_queues() {
            let (item_ref, item) = self.item_of_large(id);
            faults.compare(
                format_args!("life of large {id}"),
                item.is_alive(),
                named.contains(&item_ref.bits()),
            );
            faults.unless(headers.slot(id).is_some(), || format!("large {id} is not in the extent table"));
        }
        faults.compare("flushes", headers.get(Word::Flushes), self.segments.ledger.flushes());
        faults.compare("the due flush", headers.get(Word::DueFlush), self.due_flush());
        faults.unless(headers.get(Word::CasReserved) >= self.segments.last_cas(), || {
            format!("CAS unique {} is not reserved", self.segments.last_cas())
        });
        faults.compare("a clean end", headers.get(Word::Clean), 0);
    }

    fn check_segment_header(&self, headers: &Headers, id: u32, named: &HashSet<u64>, faults: &mut Faults) {
        let segment: &Segment = &self.segments.segments[id as usize];
        let header = headers.segment(id);
        faults.compare(
            format_args!("the header of segment {id} says that it is in use"),
            header.is_some(),
            segment.state != State::Free,
        );
        let Some(header) = header.filter(|_| segment.state != State::Free) else { return };
        faults.compare(format_args!("header of segment {id} is intact"), header.is_intact, true);
        faults.compare(
            format_args!("header of segment {id}: queue, used"),
            (u32::from(header.queue), header.used),
            (segment.queue as u32, segment.used),
        );
        let is_current = header.flushes == self.segments.ledger.flushes();
        let is_live =
            matches!(segment.state, State::Open | State::Sealed | State::Victim) && segment.live > 0;
        faults
            .unless(is_current || !is_live, || format!("segment {id} is older than a flush, and has items"));
        let mut offset = 0;
        while is_current && offset < segment.used {
            let (item_ref, item, bytes) = self.item_in_segment(id, offset);
            faults.compare(
                format_args!("life of the item at {offset} of segment {id}"),
                item.is_alive(),
                named.contains(&item_ref.bits()),
            );
            offset += bytes;
        }
    }

    fn check_slot(&self, headers: &Headers, id: u32, faults: &mut Faults) {
        let Some(slot) = headers.slot(id) else { return };
        let Some(large) = self.segments.large_items.get(id as usize) else {
            faults.push(format_args!("slot {id} is in use, and there is no large item"));
            return;
        };
        let place = (slot.offset, u64::from(slot.pages) * PAGE_BYTES);
        faults.compare(format_args!("place of large {id}"), place, (large.offset, large.bytes));
        let Some(queue) = self.segments.large_queue(id) else {
            // The item is retired, or its value is still being received: it must be marked dead.
            let is_flushed = slot.flushes != self.segments.ledger.flushes();
            let is_alive = self.item_of_large(id).1.is_alive();
            faults.unless(is_flushed || !is_alive, || format!("large {id} is in no queue, and alive"));
            return;
        };
        faults.compare(format_args!("queue of large {id}"), u32::from(slot.queue), queue as u32);
        faults.compare(format_args!("flushes of large {id}"), slot.flushes, self.segments.ledger.flushes());
    }
}
