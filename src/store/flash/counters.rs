//! The flash tier's statistics. [`Counters`] are atomics that rings and the thread of the tier add to at any time; the other
//! types are copies of them for callers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sums since the start of the server, or since the last `stats reset` for those that memcached resets. [`FlashTotals`] says
/// what each counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) pages_allocated: AtomicU64,
    pub(super) pages_evicted: AtomicU64,
    pub(super) pages_reclaimed: AtomicU64,
    pub(super) objects_evicted: AtomicU64,
    pub(super) objects_written: AtomicU64,
    pub(super) objects_read: AtomicU64,
    pub(super) bytes_evicted: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) bytes_read: AtomicU64,
    pub(super) rescued: AtomicU64,
    pub(super) dropped_unread: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) write_errors: AtomicU64,
    pub(super) read_errors: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

pub(super) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A page as `stats extstore` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlashPage {
    /// The number of this page among all pages ever begun, from 1 on; 0 if it is free. A page that is begun again gets a new
    /// number.
    pub version: u64,
    /// Bytes of the live records in the page.
    pub bytes: u64,
}

/// The statistics of the tier. Unless said otherwise, bytes are those of records: head, key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlashTotals {
    /// Number of times that the first chunk of a page was begun, since the start.
    pub pages_allocated: u64,
    /// Of `pages_reclaimed`: the pages of which a chunk still held live values when it had to be emptied.
    pub pages_evicted: u64,
    /// Number of times that a page became free because all of its chunks were given back.
    pub pages_reclaimed: u64,
    /// Number of pages of which no chunk is in use.
    pub pages_free: u64,
    /// Number of pages with chunks in use, even if nothing in them is alive.
    pub pages_used: u64,
    /// Number of values that were dropped because their chunk had to be reused.
    pub objects_evicted: u64,
    /// Number of values that commands have read from flash.
    pub objects_read: u64,
    /// Number of values that were copied to a chunk, `rescued` ones included.
    pub objects_written: u64,
    /// Number of live values on flash.
    pub objects_used: u64,
    /// Bytes of `objects_evicted`.
    pub bytes_evicted: u64,
    /// Bytes written to the device: the used part of each chunk, rounded up to 4096.
    pub bytes_written: u64,
    /// Bytes of `objects_read`.
    pub bytes_read: u64,
    /// Bytes of `objects_used`.
    pub bytes_used: u64,
    /// Bytes of the used pages that live records do not take.
    pub bytes_fragmented: u64,
    /// Length of all pages together, used and free, bytes.
    pub limit_maxbytes: u64,
    /// Bytes of the items in memory that are too short for flash, stubs included, as memcached counts them.
    pub short_bytes: u64,
    /// Number of chunks that wait to be written or read back, or are being written or read.
    pub io_queue: u64,
    /// Number of values whose chunk had to be reused, and that were copied to the open chunk because they had been read, or
    /// because flash was sparsely filled.
    pub rescued: u64,
    /// Number of values that were dropped because their chunk had to be reused, and that nobody had read.
    pub dropped_unread: u64,
    /// Number of values that were lost with a chunk that could not be written.
    pub lost: u64,
    /// Number of chunks that could not be written.
    pub write_errors: u64,
    /// Number of chunks that had to be reused although live values in them could not be read back.
    pub read_errors: u64,
    /// True if the device is out of use, because it failed too often or did not answer. Values on it can still be read, but no
    /// more values are moved to it.
    pub is_out_of_use: bool,
}
