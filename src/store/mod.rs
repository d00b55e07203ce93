//! The store: items once in shared segments, a few indexes of them, a log that keeps the indexes equal.
//!
//! ```text
//!        ring 0                 ring 1                         one for all
//!   ┌─ Shard ───────┐      ┌─ Shard ───────┐        ┌─ Store ────────────────────────────┐
//!   │ Replica       │      │ Replica       │        │ Arena   mapping, pin counts, Log   │
//!   │  hash → item  │      │  hash → item  │        │ SegmentTable  (writer lock):       │
//!   └──────┬────────┘      └──────┬────────┘        │  segments, large items, queues     │
//!          │ replay               │ replay          └──────▲─────────────────────────────┘
//!          └──────────────◄───────┴───── deltas ◄──────────┘ WriteTxn (a writer's): decide, append, apply
//! ```
//!
//! *Reading.* [`Shard::fresh`] replays the log to its tail; only the [`Fresh`] it returns can look up. So a read sees
//! every write that was acknowledged before it began, on whichever ring: that is its place in the one order of all
//! operations, the log's. A read takes no lock and shares no cache line but the log's tail, as long as its ring has an index
//! of its own; where rings share one (`replica`), it takes the lock of a small table.
//!
//! *Writing.* [`Fresh::edit`] takes the writer lock, replays to the tail, lets the caller decide on the newest state,
//! writes the new item, appends one delta and applies it to the own replica. Add, replace, cas, append, incr are all such
//! decisions, hence atomic. The lock is held for one decision and a slice of eviction. Nothing here waits: what other
//! rings must make possible first (log full, memory not yet free) is refused with [`Retry::Stalled`], what takes more slices
//! with [`Retry::Soon`], and the caller lets its thread serve others until it tries again.
//!
//! *Memory.* An item is written once and never changed (but for its expiry and use marks, which are atomics), so a
//! reader needs no protection but that the memory is not reused: see `segment_table`, "When memory is reused". Replies may go
//! on reading an item that has been overwritten or evicted: [`Pin`].
//!
//! Reading order: `item_ref`, `key_hash`, `item`, `log`, `time`, `pin_counts`, `index`, `replica`, `segment_table`,
//! `write_txn`, `pace`, `evict`, `sweep`, `reservation`, `edit`, `shard`.
//!
//! # Invariants
//! 1. All replicas that have applied the log to the same place hold the same entries.
//! 2. An entry names an item whose memory is not reused before its replica has applied the delta that removes it, nor while
//!    a ring may hold what it found before.
//! 3. A key has at most one entry per replica; the CAS uniques of its versions grow.
//! 4. Segments in use + large items + indexes + ghosts ≤ limit, but for what one slice of eviction is behind.
//!
//! # Assumed
//! Of the kernel: anonymous memory reads as zero, a discarded page too.

mod arena;
mod check;
mod edit;
mod evict;
mod faults;
mod flash;
mod geometry;
mod ghost;
mod host;
mod index;
mod item;
mod item_ref;
mod key_hash;
mod large;
mod log;
#[cfg(all(test, memcrsd_loom))]
mod loom_tests;
mod memory_file;
mod pace;
mod pin;
mod pin_counts;
mod prefetch;
mod region;
mod replica;
mod request;
mod reservation;
mod restore;
mod segment_table;
mod shard;
mod start;
mod stow;
mod sweep;
mod sync;
#[cfg(test)]
mod tests;
mod time;
mod totals;
mod whole;
mod write_txn;
mod written;

pub use flash::{
    Extent, Fault, Flash, FlashOptions, FlashPage, FlashTotals, Job, Place, Read, Source, Write,
};
pub use host::Host;
pub use item::{Item, Stub, Version};
pub use item_ref::Hash;
pub use memory_file::{MemoryFile, MemoryFileError, Occasion, memory_file_sections, mend_memory_file};
pub use pin::{Pin, Share};
use prefetch::prefetch;
use replica::Group;
pub use replica::ReplicaMemory;
pub use request::{
    Data, Edit, EditError, Edited, Lookup, Put, ReserveError, Retry, UpdateMetadata, Value, Walk, Wanted,
};
pub use reservation::Reservation;
pub use shard::{Fresh, Shard};
pub use start::{Options, RestoreOutcome, Restored, StartError};
pub use totals::{ClassTotals, Memory, Totals};

use crate::clock::Timestamp;
use crate::limits::{BUFFERED_PART, PINNED_PART};
use arena::Arena;
use item::Layout;
use item_ref::ItemRef;
use key_hash::KeyHasher;
use log::Log;
use memory_file::{Headers, Word};
use parking_lot::Mutex;
use restore::Parts;
use segment_table::SegmentTable;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use sync::Apart;
use time::Time;
use written::WrittenKeys;

/// The part of the store that all rings share.
pub struct Store {
    arena: Arena,
    segments: Apart<Mutex<SegmentTable>>,
    hasher: KeyHasher,
    host: Box<dyn Host>,
    evict: bool,
    item_size_max: u64,
    limit: AtomicU64,
    replicas: Box<[Arc<Group>]>,
    /// The replica of each ring.
    replica_of: Box<[usize]>,
    /// Bytes of all indexes.
    index_bytes: AtomicU64,
    time: Time,
    /// Reservations that were dropped unpublished, for the next transaction to take back.
    abandoned: Mutex<Vec<(ItemRef, Layout)>>,
    abandoned_count: AtomicU32,
    /// When a value last had to wait for others to come.
    reservation_refused_at: AtomicU32,
    /// Bytes of the buffers that values are received into.
    buffer_bytes: AtomicU64,
    /// Bytes reserved for a value that is longer than all others together may be; written under the lock, but for 0.
    lone_bytes: AtomicU64,
    /// Of the memory file.
    headers: Option<Arc<Headers>>,
    restored: Option<Restored>,
    flash: Option<Arc<Flash>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store.
    ///
    /// # Errors
    /// [`StartError`] if the address space cannot be reserved.
    #[expect(clippy::needless_pass_by_value, reason = "the memory file is the store's from here on")]
    pub fn new(options: Options, host: Box<dyn Host>) -> Result<Arc<Self>, StartError> {
        let Options { rings, replicas, seed, .. } = options;
        let log = Log::new(options.log_entries.unwrap_or_else(|| log::entries_for(rings)), replicas, rings);
        let hasher = seed.map_or_else(KeyHasher::random, KeyHasher::from_seed);
        let parts = match &options.memory_file {
            Some(file) => restore::open(file, &options, log, &hasher, &*host)?,
            None => restore::nothing(&options, log)?,
        };
        Ok(Arc::new(Self::of(parts, &options, hasher, host)))
    }

    fn of(parts: Parts, options: &Options, hasher: KeyHasher, host: Box<dyn Host>) -> Self {
        let Parts { arena, mut segments, replicas, file, now, due_flush, flash: books } = parts;
        let flash = books.as_ref().map(|books| Arc::clone(books.flash()));
        segments.flash = books;
        let index_bytes = replicas.iter().map(|replica| replica.bytes()).sum();
        let time = Time::default();
        time.set(now);
        time.set_flush_at(due_flush);
        let (headers, restored) = file.unzip();
        Self {
            arena,
            limit: AtomicU64::new(segments.limit),
            segments: Apart(Mutex::new(segments)),
            hasher,
            host,
            evict: options.evict,
            item_size_max: options.item_size_max,
            replica_of: replicas
                .iter()
                .enumerate()
                .flat_map(|(number, replica)| replica.rings().map(move |_| number))
                .collect(),
            replicas,
            index_bytes: AtomicU64::new(index_bytes),
            time,
            abandoned: Mutex::new(Vec::new()),
            abandoned_count: AtomicU32::new(0),
            reservation_refused_at: AtomicU32::new(Timestamp::NEVER.0),
            buffer_bytes: AtomicU64::new(0),
            lone_bytes: AtomicU64::new(0),
            headers,
            restored,
            flash,
        }
    }

    /// The flash tier, if there is one.
    pub fn flash(&self) -> Option<&Arc<Flash>> {
        self.flash.as_ref()
    }

    /// What the start found in the memory file; `None` without one.
    pub fn restored(&self) -> Option<&Restored> {
        self.restored.as_ref()
    }

    /// The last act of a clean stop, when no ring runs any more: the memory file is complete, on its device as well, and says
    /// so. Nothing without a memory file.
    ///
    /// # Errors
    /// It could not be written to its device: it counts only until the machine is started again.
    pub fn close_cleanly(&self) -> nix::Result<()> {
        let Some(headers) = &self.headers else { return Ok(()) };
        self.segments.lock().close_ledger();
        headers.sync()?;
        headers.set(Word::Clean, 1);
        headers.sync()
    }

    /// Asks the kernel to keep segments in large pages. Large items, whose pages come and go, stay in small ones.
    ///
    /// # Errors
    /// The kernel has no large pages.
    pub fn use_large_pages(&self) -> nix::Result<()> {
        self.arena.use_large_pages()
    }

    /// The shard of `ring`, which must be taken once: the log waits for every ring.
    pub fn shard(self: &Arc<Self>, ring: usize) -> Shard {
        Shard::new(Arc::clone(self), ring)
    }

    /// The latest second that any ring has seen: all of them go by it.
    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// A ring has read its clock. What has expired by `now` is gone for all rings from here on.
    pub fn advance(&self, now: Timestamp) {
        if self.time.advance(now) {
            self.note_second(now);
        }
    }

    /// A restart goes on from there, whatever the system's clock says then.
    #[cold]
    fn note_second(&self, now: Timestamp) {
        if let Some(headers) = &self.headers {
            headers.set(Word::LastSecond, u64::from(now.0));
        }
    }

    /// Sets the time, back as well: then what had expired may be there again. For `debugtime`.
    pub fn set_now(&self, now: Timestamp) {
        self.time.set(now);
        self.note_second(now);
    }

    /// Everything is flushed when the clock reaches `at`; never, if that is [`Timestamp::NEVER`].
    fn set_flush_at(&self, at: Timestamp) {
        // Under the lock, so that the file and the rings come to know the same.
        let _segments = self.segments.lock();
        self.time.set_flush_at(at);
        if let Some(headers) = &self.headers {
            headers.set(Word::DueFlush, u64::from(at.0));
        }
    }

    /// `-m`, bytes.
    pub fn memory_limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Begins a copy: from here on items of [`Fresh::is_copy`] are stored only for keys that nobody else has written,
    /// deleted or flushed.
    pub fn begin_copy(&self) {
        let written = WrittenKeys::new(self.memory_limit());
        self.segments.lock().written = Some(written);
    }

    /// Ends it; nothing is copied any more.
    pub fn end_copy(&self) {
        let written = self.segments.lock().written.take();
        // Its memory goes back outside of the lock.
        drop(written);
    }

    /// True if a copy has been begun that can still store something: a flush is the end of it.
    pub fn takes_copies(&self) -> bool {
        self.segments.lock().written.as_ref().is_some_and(|written| !written.has_all())
    }

    /// Changes `-m`; memory above a lowered limit is freed a little with every write and by [`Shard::maintain`]. False if
    /// `bytes` is more than the reserved address space can serve.
    pub fn set_memory_limit(&self, bytes: u64) -> bool {
        if bytes > self.arena.limit_max() {
            return false;
        }
        let mut segments = self.segments.lock();
        segments.set_limit(bytes);
        self.limit.store(bytes, Ordering::Relaxed);
        true
    }

    fn log(&self) -> &Log {
        self.arena.log()
    }

    fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    #[inline]
    fn address(&self, item: ItemRef) -> NonNull<u8> {
        self.arena.address(item)
    }

    fn index_bytes(&self) -> u64 {
        self.index_bytes.load(Ordering::Relaxed)
    }

    fn abandon(&self, item: ItemRef, layout: Layout) {
        self.abandoned.lock().push((item, layout));
        self.abandoned_count.fetch_add(1, Ordering::Release);
    }

    fn has_abandoned(&self) -> bool {
        self.abandoned_count.load(Ordering::Acquire) != 0
    }

    fn take_abandoned(&self) -> Vec<(ItemRef, Layout)> {
        let mut abandoned = self.abandoned.lock();
        self.abandoned_count.store(0, Ordering::Relaxed);
        std::mem::take(&mut abandoned)
    }

    /// An item of `bytes` was refused for lack of memory.
    fn count_no_room(&self, bytes: u64) {
        self.segments.lock().count_no_room(bytes);
    }

    /// Writes that `ring` has still to replay, and how many the log holds: at that many, writers wait for it.
    pub fn lag(&self, ring: usize) -> (u64, u64) {
        let log = self.log();
        // The position first, so that the lag is never negative.
        let position = log.applied(self.replica_of[ring]);
        (log.tail() - position, log.capacity())
    }

    /// Charges `bytes` more for a buffer that a value is received into; false if that were too many.
    fn charge_buffer(&self, bytes: u64) -> bool {
        let bytes_max = self.buffer_bytes_max();
        let charged = |held: u64| (held + bytes <= bytes_max).then_some(held + bytes);
        self.buffer_bytes.try_update(Ordering::Relaxed, Ordering::Relaxed, charged).is_ok()
    }

    /// Bytes that all buffers together may have.
    fn buffer_bytes_max(&self) -> u64 {
        self.memory_limit() / BUFFERED_PART
    }

    fn discharge_buffer(&self, bytes: u64) {
        self.buffer_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn note_reservation_refused(&self, now: Timestamp) {
        self.reservation_refused_at.store(now.0, Ordering::Relaxed);
    }

    /// True if pins hold more than their share of memory in segments, so that those of clients that take nothing must go.
    pub fn is_short_of_pins(&self) -> bool {
        self.arena.pinned_bytes() > self.memory_limit() / PINNED_PART
    }

    /// True if values have lately had to wait for memory that is held for others which do not come.
    pub fn is_short_of_reservations(&self, now: Timestamp) -> bool {
        let refused_at = self.reservation_refused_at.load(Ordering::Relaxed);
        refused_at != Timestamp::NEVER.0 && now.0.saturating_sub(refused_at) <= 1
    }

    fn is_busy(&self) -> bool {
        self.segments.is_locked()
    }

    /// How far the ring that lags most has replayed; `None` if none lags. What was told [`Retry::Stalled`] need not be
    /// tried again while this stays the same.
    pub fn slowest(&self) -> Option<u64> {
        let log = self.log();
        let (slowest, tail) = (log.quiescent_position(), log.tail());
        (slowest < tail).then_some(slowest)
    }

    /// Wakes a ring of each replica that has not applied the log up to `place`, another one each time; or all of its rings,
    /// if it is `urgent`. True if there is such a replica, or another ring that holds references from before `place`.
    fn wake_rings_before(&self, place: u64, except: usize, urgent: bool) -> bool {
        let log = self.log();
        let mut is_any = false;
        for (number, replica) in self.replicas.iter().enumerate() {
            let rings = replica.rings();
            if rings.contains(&except) || log.applied(number) >= place {
                continue;
            }
            is_any = true;
            let txn = rings.start + place as usize % rings.len();
            rings.filter(|&ring| urgent || ring == txn).for_each(|ring| self.host.wake(ring));
        }
        is_any || log.is_held_before(place, except)
    }
}
