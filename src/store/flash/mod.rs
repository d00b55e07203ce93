//! The flash tier: values that memory has no room for, in files; their keys stay in memory.
//!
//! ```text
//!   evictor ──► open chunk ──► sealed ──► written by the tier's thread ──► chunk on flash
//!      │            (ChunkBuffers: chunks in memory)                                     │ oldest
//!      └─► stub in memory: key, flags, expiry, Place            drained: records that were read go to the open chunk again,
//!                                                               and unread ones too while flash is sparsely filled; all
//!                                                               others are dropped, with their stubs
//! ```
//!
//! The files are one circle of chunks, which is written round and round. A chunk is written whole and never changed. Chunks are
//! numbered in the order in which they are written, and a [`Place`] contains the number: a record with another number is not the
//! record that the place means. Only stubs tell which values of a chunk are alive; [`ChunkTable`] counts them, under the writer
//! lock.
//!
//! Nothing here does I/O. A thread outside, the *thread of the tier*, asks for jobs ([`Flash::next_job`]), does them and reports
//! the result. Rings read values themselves, from where [`Flash::read`] says.
//!
//! [`Flash`] is shared by all rings and the thread of the tier. Its numbers are atomics, and a mutex of its own guards the
//! chunks in memory ([`ChunkBuffers`]). [`ChunkTable`] is a part of the segment table: changed only under the writer lock, which
//! is taken before the lock of the chunk buffers.
//!
//! # Promises
//! 1. A value is never wrong: place, key and checksum must agree, or it is a miss.
//! 2. Nobody waits for the device under the writer lock. If no chunk is free, values are evicted as they are without a tier.
//! 3. A chunk is not reused before its stubs are gone. If a chunk cannot be read back, its stubs cannot be found, and stay; a
//!    get of such a stub is a miss.

mod chunk_buffers;
mod chunk_table;
mod counters;
mod place;
mod record;
mod resume;

pub(super) use chunk_buffers::DrainedRecord;
pub(super) use chunk_table::{ChunkTable, Leaving, Live};
pub use counters::{FlashPage, FlashTotals};
pub(super) use place::PLACE_BYTES;
pub use place::{Extent, Place};
pub use record::Fault;

use crate::store::memory_file::{Headers, Word};
use bytes::{Bytes, BytesMut};
use chunk_buffers::{BUFFERS_MAX, ChunkBuffer, ChunkBuffers, Drain, Drained, State};
use counters::{Counters, add, get};
use parking_lot::Mutex;
use place::Geometry;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Number of failed writes in a row after which nothing more is written to the device.
const FAILURES_MAX: u32 = 8;
/// Chunks are written in multiples of this many bytes.
const WRITE_ALIGN: usize = 4096;
/// The weight of each newly moved value in the mean age of moved values: 1 divided by this.
const AGE_PARTS: u32 = 64;

/// The options of a flash tier.
#[derive(Clone, Debug)]
pub struct FlashOptions {
    /// Length of each file, bytes. Bytes after a file's last whole page are not used.
    pub files: Vec<u64>,
    /// `ext_page_size`, bytes: a multiple of `chunk_bytes`.
    pub page_bytes: u64,
    /// `ext_wbuf_size`, bytes: the length of a chunk, which is written in one piece. At least the length of the longest item.
    pub chunk_bytes: u64,
    /// `ext_item_size`, bytes: items shorter than this, as memcached counts them, are not moved to flash.
    pub item_bytes_min: u64,
    /// `ext_item_age`, seconds: values unused for longer are moved to flash although memory has room; [`u32::MAX`] for never.
    pub item_age: u32,
    /// True if `ext_recache_rate` is not 0: values on flash that are read often come back to memory.
    pub promotes: bool,
    /// A value on its way to flash is copied in parts of this many bytes, each in a transaction of its own.
    pub part_bytes: usize,
}

/// Where the bytes of a value are to be read.
#[derive(Clone, Debug)]
pub enum Source {
    /// In memory, since the value's chunk has not been written yet. Holds the value's bytes.
    Buffer(Bytes),
    /// In a file: the caller must read this extent, and pass the bytes read to [`Flash::check`].
    File(Extent),
    /// Nowhere: the value's chunk has been given back, or holds another record there. This is a miss.
    Gone,
}

/// Work for the thread of the tier.
#[derive(Debug)]
pub enum Job {
    /// Write a chunk: [`Flash::fill`] a buffer, write it to the extent, then call [`Flash::finish_write`].
    Write(Write),
    /// Read a chunk, then call [`Flash::finish_read`].
    Read(Read),
}

/// A chunk to be written.
#[derive(Debug)]
pub struct Write {
    chunk: u64,
    /// Where to write the chunk. The length is a multiple of 4096 bytes.
    pub extent: Extent,
}

/// A chunk to be read.
#[derive(Debug)]
pub struct Read {
    chunk: u64,
    /// Where the chunk is. All of this extent is to be read.
    pub extent: Extent,
}

/// The part of the tier that all threads share. The lock of the chunk buffers is held for a short time, and may be taken inside
/// the writer lock.
#[derive(Debug)]
pub struct Flash {
    geometry: Geometry,
    /// The number that the checksum of each record begins with. It is random, so that records of another tier are not taken for
    /// this tier's.
    salt: u32,
    item_bytes_min: AtomicU64,
    item_age: AtomicU32,
    promotes: AtomicBool,
    part_bytes: usize,
    /// For how long recently moved values had been unused: a moving mean, in 1/64 seconds. Changed under the writer lock.
    demoted_age: AtomicU32,
    /// Chunks with lower numbers than this are not in memory any more. Changed under the lock of the chunk buffers.
    written: AtomicU64,
    /// Chunks with lower numbers than this have been given back. Changed under the writer lock.
    oldest: AtomicU64,
    /// Number of writes in a row that have failed; at [`FAILURES_MAX`] the device is taken out of use.
    failures: AtomicU32,
    /// True if nothing more may be moved to the device; never false again. See [`Flash::take_out_of_use`].
    is_out_of_use: AtomicBool,
    /// True if the records of some chunk have to leave it.
    has_leaving: AtomicBool,
    chunk_buffers: Mutex<ChunkBuffers>,
    counters: Counters,
    /// The headers of the memory file, where `oldest` and `written` are recorded; `None` if there is no such file.
    headers: Option<Arc<Headers>>,
}

impl Flash {
    /// A tier whose files hold no values yet.
    ///
    /// # Panics
    /// The sizes do not fit each other, or no file has room for a whole page.
    pub(super) fn new(options: &FlashOptions) -> Self {
        let geometry = Geometry::new(&options.files, options.page_bytes, options.chunk_bytes);
        assert!(geometry.pages() > 0, "a page at least");
        Self {
            geometry,
            salt: RandomState::new().hash_one(0) as u32,
            item_bytes_min: AtomicU64::new(options.item_bytes_min),
            item_age: AtomicU32::new(options.item_age),
            promotes: AtomicBool::new(options.promotes),
            part_bytes: options.part_bytes,
            demoted_age: AtomicU32::new(0),
            written: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            is_out_of_use: AtomicBool::new(false),
            has_leaving: AtomicBool::new(false),
            chunk_buffers: Mutex::default(),
            counters: Counters::default(),
            headers: None,
        }
    }

    /// Seals the open chunk although it is not full, so that it is written. Called before the server stops: a restarted server
    /// can use only what is on the device.
    pub fn seal(&self) {
        let is_full = |buffer: &&mut ChunkBuffer| buffer.state == State::Open && buffer.used > 0;
        if let Some(open) = self.chunk_buffers.lock().in_use.back_mut().filter(is_full) {
            open.state = State::Sealed;
        }
    }

    /// Tells where to read the value of `key` at `place`. Any ring may call this. Takes the lock of the chunk buffers only for a
    /// chunk that is still in memory.
    pub fn read(&self, place: Place, key: &[u8]) -> Source {
        if place.chunk < self.oldest.load(Ordering::Acquire) {
            return Source::Gone;
        }
        if place.chunk >= self.written.load(Ordering::Acquire) {
            let chunk_buffers = self.chunk_buffers.lock();
            if let Some(buffer) = chunk_buffers.buffer(place.chunk) {
                return buffer.value(place, key).map_or(Source::Gone, Source::Buffer);
            }
            if place.chunk >= self.written.load(Ordering::Acquire) {
                return Source::Gone;
            }
        }
        let bytes = place.record_bytes(key.len());
        if u64::from(place.offset) + bytes as u64 > self.geometry.chunk_bytes {
            return Source::Gone;
        }
        Source::File(self.geometry.extent(place.chunk, place.offset, bytes))
    }

    /// Returns the range of the value of `key` in `record`, which was read from where [`Flash::read`] said, and may be longer.
    ///
    /// # Errors
    /// [`Fault`]: `record` is not the intact record of this value.
    pub fn check(&self, place: Place, key: &[u8], record: &[u8]) -> Result<Range<usize>, Fault> {
        record::check(place, key, record, self.salt)
    }

    /// Counts, for the statistics, a value that a command has read from `place`. Its key is `key_bytes` long.
    pub fn count_read(&self, place: Place, key_bytes: usize) {
        add(&self.counters.objects_read, 1);
        add(&self.counters.bytes_read, place.record_bytes(key_bytes) as u64);
    }

    /// The number of the page that `place` is in, and its offset in the page, bytes.
    pub fn page_of(&self, place: Place) -> (u64, u64) {
        let (page, in_page) = self.geometry.page_of(place.chunk);
        (page, in_page + u64::from(place.offset))
    }

    /// The present `ext_item_size`, bytes: see [`FlashOptions::item_bytes_min`].
    pub fn item_bytes_min(&self) -> u64 {
        get(&self.item_bytes_min)
    }

    /// True if items of `bytes`, as memcached counts them, are long enough to be moved to flash.
    pub(super) fn takes(&self, bytes: u64) -> bool {
        bytes >= self.item_bytes_min()
    }

    /// Changes `ext_item_size`: from here on items shorter than `bytes`, as memcached counts them, are not moved to flash.
    pub fn set_item_bytes_min(&self, bytes: u64) {
        self.item_bytes_min.store(bytes, Ordering::Relaxed);
    }

    /// The present `ext_item_age`, seconds: see [`FlashOptions::item_age`].
    pub fn item_age(&self) -> u32 {
        self.item_age.load(Ordering::Relaxed)
    }

    /// Changes `ext_item_age`: from here on, values that have not been used for longer than `secs` seconds are moved to flash
    /// although memory has room; [`u32::MAX`] for never.
    pub fn set_item_age(&self, secs: u32) {
        self.item_age.store(secs, Ordering::Relaxed);
    }

    /// True if values on flash that are read often come back to memory: see [`FlashOptions::promotes`].
    pub fn promotes(&self) -> bool {
        self.promotes.load(Ordering::Relaxed)
    }

    /// Changes whether values on flash that are read often come back to memory (whether `ext_recache_rate` is not 0).
    pub fn set_promotes(&self, promotes: bool) {
        self.promotes.store(promotes, Ordering::Relaxed);
    }

    /// Bytes of a value that one transaction copies: see [`FlashOptions::part_bytes`].
    pub(super) fn part_bytes(&self) -> usize {
        self.part_bytes
    }

    /// Adds a value that has just been moved, `secs` seconds after its last use, to the mean that [`Flash::promote_age`] uses.
    /// To be called under the writer lock.
    pub(super) fn note_demoted(&self, secs: u32) {
        let age = self.demoted_age.load(Ordering::Relaxed);
        let secs = secs.min(u32::MAX / AGE_PARTS);
        self.demoted_age.store(age - age / AGE_PARTS + secs, Ordering::Relaxed);
    }

    /// The time in seconds within which a value on flash must be read twice to come back to memory. Half of the time for which
    /// recently moved values had been unused.
    pub fn promote_age(&self) -> u32 {
        self.demoted_age.load(Ordering::Relaxed) / AGE_PARTS / 2
    }

    /// True if the device is out of use, because it failed too often or did not answer. Then nothing more is moved to it.
    pub fn is_out_of_use(&self) -> bool {
        self.is_out_of_use.load(Ordering::Relaxed)
    }

    /// Length of a chunk, bytes.
    pub fn chunk_bytes(&self) -> u64 {
        self.geometry.chunk_bytes
    }

    /// Returns the next job for the thread of the tier. Only that thread may call this, and must finish a job before it asks for
    /// another. `None` if there is nothing to do until [`Host::flash_work`](super::Host::flash_work) is called. Also frees and
    /// allocates the memory of chunks, so that nobody does so under a lock.
    pub fn next_job(&self) -> Option<Job> {
        let trash = std::mem::take(&mut self.chunk_buffers.lock().trash);
        drop(trash);
        let mut chunk_buffers = self.chunk_buffers.lock();
        if let Some(buffer) = chunk_buffers.in_use.iter_mut().find(|buffer| buffer.state == State::Sealed) {
            buffer.state = State::Writing;
            let bytes = buffer.used.next_multiple_of(WRITE_ALIGN).min(self.geometry.chunk_bytes as usize);
            let chunk = buffer.chunk;
            return Some(Job::Write(Write { chunk, extent: self.geometry.extent(chunk, 0, bytes) }));
        }
        if let Drain::Wanted(chunk) = chunk_buffers.drain {
            chunk_buffers.drain = Drain::Reading;
            let extent = self.geometry.extent(chunk, 0, self.geometry.chunk_bytes as usize);
            return Some(Job::Read(Read { chunk, extent }));
        }
        let lacks_room = chunk_buffers.spare.len() + chunk_buffers.in_use.len() < BUFFERS_MAX;
        drop(chunk_buffers);
        if lacks_room {
            // Filled with ones, so that the pages have memory before the writer lock is held; zeroed pages would get none.
            let mut room = BytesMut::with_capacity(self.geometry.chunk_bytes as usize);
            room.resize(self.geometry.chunk_bytes as usize, 0xff);
            room.clear();
            self.chunk_buffers.lock().spare.push(room);
        }
        None
    }

    /// Copies the chunk of `write` into `bytes`, with the checksums of its records.
    ///
    /// # Panics
    /// `bytes` is not as long as the extent of `write`.
    pub fn fill(&self, write: &Write, bytes: &mut [u8]) {
        assert_eq!(bytes.len(), write.extent.bytes, "as long as it is to be written");
        let records = self.chunk_buffers.lock().buffer(write.chunk).map(|buffer| Arc::clone(&buffer.records));
        let mut at = 0;
        for (offset, record) in records.iter().flat_map(|records| records.iter()) {
            let from = *offset as usize;
            bytes[at..from].fill(0);
            at = from + record.len();
            bytes[from..at].copy_from_slice(record);
            record::seal(&mut bytes[from..at], self.salt);
        }
        bytes[at..].fill(0);
    }

    /// Ends a write job. If the chunk `is_written`, its memory is freed, and from here on rings read the chunk from the file. If
    /// not, its values are lost, and the rings remove their stubs. True if this failure took the device out of use.
    #[expect(clippy::needless_pass_by_value, reason = "it is done")]
    pub fn finish_write(&self, write: Write, is_written: bool) -> bool {
        let mut chunk_buffers = self.chunk_buffers.lock();
        if is_written {
            self.failures.store(0, Ordering::Relaxed);
            add(&self.counters.bytes_written, write.extent.bytes as u64);
            let written = chunk_buffers.take_buffer(write.chunk);
            self.note_written(&chunk_buffers, write.chunk + 1);
            drop(chunk_buffers);
            drop(written);
            return false;
        }
        add(&self.counters.write_errors, 1);
        if let Some(buffer) = chunk_buffers.buffer_mut(write.chunk) {
            buffer.state = State::Failed;
            let records = buffer.drained();
            chunk_buffers.lost.push_back(Drained { chunk: write.chunk, records, whole: Bytes::new() });
            self.has_leaving.store(true, Ordering::Relaxed);
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= FAILURES_MAX && self.take_out_of_use()
    }

    /// Stops moving values to the device, for good. False if that had happened before. Values on the device can still be read.
    pub fn take_out_of_use(&self) -> bool {
        !self.is_out_of_use.swap(true, Ordering::Relaxed)
    }

    /// Ends a read job: `bytes` are the content of the chunk, `None` if it could not be read. From here on the rings process its
    /// records: they copy those that are to be kept to the open chunk, and evict the others.
    #[expect(clippy::needless_pass_by_value, reason = "it is done")]
    pub fn finish_read(&self, read: Read, bytes: Option<Vec<u8>>) {
        let bytes = Bytes::from(bytes.unwrap_or_default());
        let record = |found: record::Found| DrainedRecord {
            place: found.place,
            value: bytes.slice(found.key.end..found.key.end + found.place.value_bytes()),
            key: bytes.slice(found.key),
        };
        let records = record::walk(read.chunk, &bytes, self.salt).map(record).collect();
        let mut chunk_buffers = self.chunk_buffers.lock();
        chunk_buffers.drain = Drain::Read(Drained { chunk: read.chunk, records, whole: bytes });
        self.has_leaving.store(true, Ordering::Relaxed);
    }

    /// Sets [`Flash::written`] to the number of the oldest chunk in `chunk_buffers`, or to `next` if there is none, and records
    /// it in the memory file.
    fn note_written(&self, chunk_buffers: &ChunkBuffers, next: u64) {
        let written = chunk_buffers.in_use.front().map_or(next, |buffer| buffer.chunk);
        self.written.fetch_max(written, Ordering::Release);
        self.record(Word::FlashWritten, get(&self.written));
    }

    /// True if the records of some chunk have to leave it: its space is needed for a new chunk, or it could not be written.
    #[inline]
    pub(super) fn has_leaving(&self) -> bool {
        self.has_leaving.load(Ordering::Relaxed)
    }

    /// Counts a value that was lost with its chunk, which could not be written.
    pub(super) fn count_lost(&self) {
        add(&self.counters.lost, 1);
    }

    /// Counts a value that was dropped because its chunk had to be reused. `is_unread` is true if nobody had read the value.
    pub(super) fn count_evicted(&self, place: Place, key_bytes: usize, is_unread: bool) {
        add(&self.counters.objects_evicted, 1);
        add(&self.counters.bytes_evicted, place.record_bytes(key_bytes) as u64);
        add(&self.counters.dropped_unread, u64::from(is_unread));
    }

    /// Counts a value whose chunk had to be reused, and that was copied to the open chunk instead of being evicted.
    pub(super) fn count_rescued(&self) {
        add(&self.counters.rescued, 1);
    }

    /// Sets to 0 the counters that memcached's `stats reset` resets. All others count from the start of the server.
    pub(super) fn reset_counters(&self) {
        for counter in [&self.counters.rescued, &self.counters.dropped_unread, &self.counters.lost] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    fn totals(&self) -> FlashTotals {
        let counters = &self.counters;
        let chunk_buffers = self.chunk_buffers.lock();
        let waits = chunk_buffers.in_use.iter().filter(|buffer| buffer.state != State::Open).count();
        let drains = usize::from(matches!(chunk_buffers.drain, Drain::Wanted(_) | Drain::Reading));
        FlashTotals {
            pages_allocated: get(&counters.pages_allocated),
            pages_evicted: get(&counters.pages_evicted),
            pages_reclaimed: get(&counters.pages_reclaimed),
            objects_evicted: get(&counters.objects_evicted),
            objects_read: get(&counters.objects_read),
            objects_written: get(&counters.objects_written),
            bytes_evicted: get(&counters.bytes_evicted),
            bytes_written: get(&counters.bytes_written),
            bytes_read: get(&counters.bytes_read),
            rescued: get(&counters.rescued),
            dropped_unread: get(&counters.dropped_unread),
            lost: get(&counters.lost),
            write_errors: get(&counters.write_errors),
            read_errors: get(&counters.read_errors),
            is_out_of_use: self.is_out_of_use(),
            io_queue: (waits + drains) as u64,
            ..FlashTotals::default()
        }
    }
}
