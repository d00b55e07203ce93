//! [`Ledger`]: through it the segment table records its changes in the memory file. Without a memory file it records nothing.
//!
//! A field of the segment table: used only under the writer lock.

use super::headers::{Headers, SegmentHeader, Slot};
use super::superblock::Word;
use crate::clock::Timestamp;
use crate::store::geometry::PAGE_BYTES;
use std::sync::Arc;

/// How many CAS uniques are reserved at a time.
const CAS_STEP: u64 = 1 << 20;

/// The headers of the memory file, and the next numbers to assign.
#[derive(Debug, Default)]
pub(in crate::store) struct Ledger {
    headers: Option<Arc<Headers>>,
    /// The last sequence number given to a segment or large item. At a restart the numbers give the order of the queues.
    sequence: u64,
    /// The highest CAS unique that, as the file says, may have been handed out.
    cas_reserved: u64,
    /// The number of flushes that the file has recorded. Segments and extents are marked with it when they are opened.
    flushes: u64,
}

impl Ledger {
    /// A ledger that continues from what the file says. `sequence` is the highest sequence number in the file.
    pub(in crate::store) fn new(headers: Arc<Headers>, sequence: u64) -> Self {
        let (cas_reserved, flushes) = (headers.get(Word::CasReserved), headers.get(Word::Flushes));
        Self { headers: Some(headers), sequence, cas_reserved, flushes }
    }

    /// True if there is a memory file.
    #[inline]
    pub(in crate::store) fn is_on(&self) -> bool {
        self.headers.is_some()
    }

    pub(in crate::store) fn headers(&self) -> Option<&Headers> {
        self.headers.as_deref()
    }

    pub(in crate::store) fn flushes(&self) -> u64 {
        self.flushes
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Records that segment `id` is opened.
    pub(in crate::store) fn open_segment(&mut self, id: u32, queue: u8, opened: Timestamp) {
        let sequence = self.next_sequence();
        let Some(headers) = &self.headers else { return };
        let flushes = self.flushes;
        headers
            .open_segment(id, &SegmentHeader { used: 0, queue, sequence, flushes, opened, is_intact: true });
    }

    /// Records that the first `used` bytes of segment `id` are items, whose heads have been written.
    pub(in crate::store) fn cover(&self, id: u32, used: u32) {
        if let Some(headers) = &self.headers {
            headers.cover(id, used);
        }
    }

    /// Records that segment `id` is free, and may be reused.
    pub(in crate::store) fn free_segment(&self, id: u32) {
        if let Some(headers) = &self.headers {
            headers.free_segment(id);
        }
    }

    /// True if there was no flush after segment `id` was opened, or there is no memory file. If there was one, the next process
    /// would ignore an item even if it is published in the segment now.
    pub(in crate::store) fn is_current(&self, id: u32) -> bool {
        self.headers
            .as_ref()
            .and_then(|headers| headers.segment(id))
            .is_none_or(|header| header.flushes == self.flushes)
    }

    /// Makes sure that large item `id` has a slot in the extent table. Fails if the file system has no room for it.
    pub(in crate::store) fn commit_slot(&self, id: u32) -> nix::Result<()> {
        self.headers.as_ref().map_or(Ok(()), |headers| headers.commit_slot(id))
    }

    /// Records large item `id`, whose head has been written and which is about to be published.
    pub(in crate::store) fn open_slot(&mut self, id: u32, queue: u8, offset: u64, bytes: u64) {
        let sequence = self.next_sequence();
        let Some(headers) = &self.headers else { return };
        let flushes = self.flushes;
        headers.open_slot(id, &Slot { offset, pages: (bytes / PAGE_BYTES) as u32, queue, sequence, flushes });
    }

    /// Records that large item `id` moves to the end of `queue`.
    pub(in crate::store) fn requeue_slot(&mut self, id: u32, queue: u8) {
        let sequence = self.next_sequence();
        if let Some(headers) = &self.headers {
            headers.requeue_slot(id, queue, sequence);
        }
    }

    /// Records that the memory of large item `id` may be reused.
    pub(in crate::store) fn free_slot(&self, id: u32) {
        if let Some(headers) = &self.headers {
            headers.free_slot(id);
        }
    }

    /// Makes sure that the file counts the CAS unique `cas` as handed out, so that no later process hands it out again. Must be
    /// called before a client sees `cas`. Reserves many uniques at a time.
    #[inline]
    pub(in crate::store) fn reserve_cas(&mut self, cas: u64) {
        if cas > self.cas_reserved {
            self.cas_reserved = cas + CAS_STEP;
            if let Some(headers) = &self.headers {
                headers.set(Word::CasReserved, self.cas_reserved);
            }
        }
    }

    /// Records that everything published so far is flushed, and that the delayed flush for the second `due` (NEVER for none) has
    /// been carried out.
    pub(in crate::store) fn flush(&mut self, due: Timestamp) {
        self.flushes += 1;
        if let Some(headers) = &self.headers {
            headers.set(Word::Flushes, self.flushes);
            // A later flush may have been scheduled since.
            headers.replace(Word::DueFlush, u64::from(due.0), 0);
        }
    }

    /// Records that no CAS unique above `cas` has been handed out. Called after the last write.
    pub(in crate::store) fn close(&mut self, cas: u64) {
        self.cas_reserved = cas;
        if let Some(headers) = &self.headers {
            headers.set(Word::CasReserved, cas);
        }
    }
}
