//! The flash tier's statistics. [`Counters`] are atomics that rings and the thread of the tier add to at any time; the other
//! types are copies for whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sums since the start, or the last `stats reset` where memcached resets them.
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
    /// How many pages had been begun when this one was, itself included; 0 if it is free.
    pub version: u64,
    /// Bytes of the live records in it.
    pub bytes: u64,
}

/// The statistics of the tier. Unless said otherwise, bytes are those of records: head, key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlashTotals {
    /// Pages of which the first chunk was begun, since the start.
    pub pages_allocated: u64,
    /// Of `pages_reclaimed`, the pages that still held live values when a chunk of theirs had to go.
    pub pages_evicted: u64,
    /// Pages that became free, because all of their chunks were given back.
    pub pages_reclaimed: u64,
    /// Pages of which no chunk is in use.
    pub pages_free: u64,
    /// Pages with chunks in use, even if nothing in them is alive.
    pub pages_used: u64,
    /// Values that were dropped because their chunk was needed for others.
    pub objects_evicted: u64,
    /// Values that commands have read from flash.
    pub objects_read: u64,
    /// Values that were copied to a chunk, `rescued` ones included.
    pub objects_written: u64,
    /// Live values on flash.
    pub objects_used: u64,
    /// Bytes of `objects_evicted`.
    pub bytes_evicted: u64,
    /// Bytes written to the device, whole chunks.
    pub bytes_written: u64,
    /// Bytes of `objects_read`.
    pub bytes_read: u64,
    /// Bytes of `objects_used`.
    pub bytes_used: u64,
    /// Bytes of used pages that hold no live value.
    pub bytes_fragmented: u64,
    /// Length of all pages together, used or not.
    pub limit_maxbytes: u64,
    /// Bytes of the items in memory that are too short for flash, as memcached counts them; stubs are among them.
    pub short_bytes: u64,
    /// Chunks that are to be written or read back, or are being so.
    pub io_queue: u64,
    /// Values whose chunk had to go and that were copied to the open one, because they had been read, or little was on flash.
    pub rescued: u64,
    /// Values that were dropped because their chunk was needed for others, and that nobody had read.
    pub dropped_unread: u64,
    /// Values that were lost with a chunk that could not be written.
    pub lost: u64,
    /// Chunks that could not be written.
    pub write_errors: u64,
    /// Chunks that had to go and of which live values could not be read back.
    pub read_errors: u64,
    /// True if the device is out of use, because it failed too often or did not answer: its values can still be read, but no
    /// further ones are moved to it.
    pub is_out_of_use: bool,
}
