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
    /// Bytes of values in it.
    pub bytes: u64,
}

/// The statistics of the tier. Unless said otherwise, bytes are those of records: head, key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlashTotals {
    /// Pages that were begun, since the start.
    pub pages_allocated: u64,
    /// Pages that became free and had held live values, which had to go.
    pub pages_evicted: u64,
    /// Pages that became free, for whatever reason.
    pub pages_reclaimed: u64,
    /// Pages without values.
    pub pages_free: u64,
    /// Pages with values.
    pub pages_used: u64,
    /// Values that had to go because their room was needed.
    pub objects_evicted: u64,
    /// Values that were read.
    pub objects_read: u64,
    /// Values that were moved to flash.
    pub objects_written: u64,
    /// Values on flash.
    pub objects_used: u64,
    /// Bytes of values that had to go.
    pub bytes_evicted: u64,
    /// Bytes written to the device, whole chunks.
    pub bytes_written: u64,
    /// Bytes of values that were read.
    pub bytes_read: u64,
    /// Bytes of values on flash.
    pub bytes_used: u64,
    /// Bytes of used pages that hold no live value.
    pub bytes_fragmented: u64,
    /// Bytes of all pages.
    pub limit_maxbytes: u64,
    /// Bytes of the items in memory that are too short for flash, as memcached counts them; stubs are among them.
    pub short_bytes: u64,
    /// Chunks and chunk reads that wait for the device.
    pub io_queue: u64,
    /// Values that were written once more because they had been read.
    pub rescued: u64,
    /// Values that were dropped with their chunk because nobody had read them.
    pub dropped_unread: u64,
    /// Values that were lost with a chunk that could not be written.
    pub lost: u64,
    /// Chunks that could not be written.
    pub write_errors: u64,
    /// Chunks that could not be read back.
    pub read_errors: u64,
    /// The device has failed too often: nothing is moved to it any more.
    pub is_out_of_use: bool,
}
