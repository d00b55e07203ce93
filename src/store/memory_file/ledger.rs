//! What the segment table writes down of itself; nothing without a memory file.

use super::headers::{Headers, SegmentHeader, Slot};
use super::superblock::Word;
use crate::clock::Timestamp;
use crate::store::geometry::PAGE_BYTES;
use std::sync::Arc;

/// CAS uniques reserved at a time.
const CAS_STEP: u64 = 1 << 20;

/// The headers, and the numbers that are given out.
#[derive(Debug, Default)]
pub(in crate::store) struct Ledger {
    headers: Option<Arc<Headers>>,
    /// The next unit's place in the order of its queue.
    sequence: u64,
    cas_reserved: u64,
    flushes: u64,
}

impl Ledger {
    /// Goes on with what the file says; `sequence` is above all in it.
    pub(in crate::store) fn new(headers: Arc<Headers>, sequence: u64) -> Self {
        let (cas_reserved, flushes) = (headers.get(Word::CasReserved), headers.get(Word::Flushes));
        Self { headers: Some(headers), sequence, cas_reserved, flushes }
    }

    /// True if there is a file.
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

    /// Segment `id` is opened.
    pub(in crate::store) fn open_segment(&mut self, id: u32, queue: u8, opened: Timestamp) {
        let sequence = self.next_sequence();
        let Some(headers) = &self.headers else { return };
        let flushes = self.flushes;
        headers
            .open_segment(id, &SegmentHeader { used: 0, queue, sequence, flushes, opened, is_intact: true });
    }

    /// The first `used` bytes of segment `id` are items, whose heads have been written.
    pub(in crate::store) fn cover(&self, id: u32, used: u32) {
        if let Some(headers) = &self.headers {
            headers.cover(id, used);
        }
    }

    /// Segment `id` is free, and may be reused.
    pub(in crate::store) fn free_segment(&self, id: u32) {
        if let Some(headers) = &self.headers {
            headers.free_segment(id);
        }
    }

    /// False if a flush has come since segment `id` was opened: what is published in it now would not count.
    pub(in crate::store) fn is_current(&self, id: u32) -> bool {
        self.headers
            .as_ref()
            .and_then(|headers| headers.segment(id))
            .is_none_or(|header| header.flushes == self.flushes)
    }

    /// Makes room to write down large item `id`.
    pub(in crate::store) fn commit_slot(&self, id: u32) -> nix::Result<()> {
        self.headers.as_ref().map_or(Ok(()), |headers| headers.commit_slot(id))
    }

    /// Large item `id`, whose head has been written, is about to be published.
    pub(in crate::store) fn open_slot(&mut self, id: u32, queue: u8, offset: u64, bytes: u64) {
        let sequence = self.next_sequence();
        let Some(headers) = &self.headers else { return };
        let flushes = self.flushes;
        headers.open_slot(id, &Slot { offset, pages: (bytes / PAGE_BYTES) as u32, queue, sequence, flushes });
    }

    /// Large item `id` moves to the end of `queue`.
    pub(in crate::store) fn requeue_slot(&mut self, id: u32, queue: u8) {
        let sequence = self.next_sequence();
        if let Some(headers) = &self.headers {
            headers.requeue_slot(id, queue, sequence);
        }
    }

    /// The memory of large item `id` may be reused.
    pub(in crate::store) fn free_slot(&self, id: u32) {
        if let Some(headers) = &self.headers {
            headers.free_slot(id);
        }
    }

    /// `cas` is about to be shown to somebody.
    #[inline]
    pub(in crate::store) fn reserve_cas(&mut self, cas: u64) {
        if cas > self.cas_reserved {
            self.cas_reserved = cas + CAS_STEP;
            if let Some(headers) = &self.headers {
                headers.set(Word::CasReserved, self.cas_reserved);
            }
        }
    }

    /// Everything published so far is flushed, and a delayed flush that was due at `due` is carried out.
    pub(in crate::store) fn flush(&mut self, due: Timestamp) {
        self.flushes += 1;
        if let Some(headers) = &self.headers {
            headers.set(Word::Flushes, self.flushes);
            // Another time may have been set meanwhile.
            headers.replace(Word::DueFlush, u64::from(due.0), 0);
        }
    }

    /// Nothing is written any more: no CAS unique above this one has been handed out.
    pub(in crate::store) fn close(&mut self, cas: u64) {
        self.cas_reserved = cas;
        if let Some(headers) = &self.headers {
            headers.set(Word::CasReserved, cas);
        }
    }
}
