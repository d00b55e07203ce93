//! [`Store`]: the part of the store that all rings share. This module makes a store at the start, and reads and changes its
//! settings.
//!
//! A store owns what needs no lock ([`Base`]), what the writer lock guards ([`SegmentTable`]), and the indexes. Its methods may
//! be called on any thread; those that touch the segment table take the writer lock for a moment. They read and write no items:
//! shards read (`shard`), transactions write (`write_txn`).

use super::base::Base;
use super::flash::Flash;
use super::host::Host;
use super::key_hash::KeyHasher;
use super::log::{self, Log};
use super::memory_file::{Headers, Word};
use super::replica::Group;
use super::reservation::SharedReservations;
use super::restore::{self, Parts};
use super::segment_table::SegmentTable;
use super::start::{Options, Restored, StartError};
use super::sync::Apart;
use super::time::Time;
use super::written::WrittenKeys;
use crate::clock::Timestamp;
use crate::limits::PINNED_PART;
use parking_lot::Mutex;
use std::sync::Arc;

/// The part of the store that all rings share. Fields without a lock or an atomic are set at the start, and only read
/// afterwards.
pub struct Store {
    pub(super) base: Arc<Base>,
    /// The segment table, in the mutex that is the writer lock.
    pub(super) segments: Apart<Mutex<SegmentTable>>,
    pub(super) host: Box<dyn Host>,
    /// True if the store may evict; false with `-M`.
    pub(super) evict: bool,
    /// The size of the largest item (`-I`), bytes, as memcached counts an item.
    pub(super) item_size_max: u64,
    /// All replicas, in the order of their numbers.
    pub(super) replicas: Box<[Arc<Group>]>,
    /// For each ring: the number of its replica.
    pub(super) replica_of: Box<[usize]>,
    pub(super) time: Time,
    pub(super) reservations: Arc<SharedReservations>,
    /// The headers of the memory file, if there is one.
    headers: Option<Arc<Headers>>,
    /// What the start found in the memory file, if there is one.
    restored: Option<Restored>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a store: empty, or with the items of the memory file if the options name one.
    ///
    /// # Errors
    /// [`StartError`] if the address space cannot be reserved, or the memory file cannot be sized or mapped.
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
        let Parts { arena, mut segments, replicas, file, now, due_flush, flash: chunks } = parts;
        let flash = chunks.as_ref().map(|chunks| Arc::clone(chunks.flash()));
        segments.flash = chunks;
        let index_bytes = replicas.iter().map(|replica| replica.bytes()).sum();
        arena.set_memory_limit(segments.limit);
        arena.index_resized(0, index_bytes);
        let base = Arc::new(Base::new(arena, hasher, flash));
        let time = Time::default();
        time.set(now);
        time.set_flush_at(due_flush);
        let (headers, restored) = file.unzip();
        Self {
            reservations: Arc::new(SharedReservations::new(&base)),
            base,
            segments: Apart(Mutex::new(segments)),
            host,
            evict: options.evict,
            item_size_max: options.item_size_max,
            replica_of: replicas
                .iter()
                .enumerate()
                .flat_map(|(number, replica)| replica.rings().map(move |_| number))
                .collect(),
            replicas,
            time,
            headers,
            restored,
        }
    }

    /// The flash tier, if there is one.
    pub fn flash(&self) -> Option<&Arc<Flash>> {
        self.base.flash()
    }

    /// What the start found in the memory file; `None` without one.
    pub fn restored(&self) -> Option<&Restored> {
        self.restored.as_ref()
    }

    /// Writes the memory file to its device and marks it as complete: the last act of a clean stop, when no ring runs any more.
    /// Does nothing without a memory file.
    ///
    /// # Errors
    /// The file could not be written to its device. The next process can use the file, but only until the machine is restarted.
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
        self.base.arena().use_large_pages()
    }

    /// The latest second that any ring has read from its clock. All rings use it as the present time.
    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// Advances the store's time to `now`, which a ring has read from its clock, unless it is already later. From here on,
    /// items whose expiry is `now` or earlier have expired on all rings.
    pub fn advance(&self, now: Timestamp) {
        if self.time.advance(now) {
            self.note_second(now);
        }
    }

    /// Writes `now` into the memory file, if there is one. The clock of the next process starts no earlier, whatever the
    /// system's clock says.
    #[cold]
    fn note_second(&self, now: Timestamp) {
        if let Some(headers) = &self.headers {
            headers.set(Word::LastSecond, u64::from(now.0));
        }
    }

    /// Sets the time to `now`, for `debugtime`. If the time goes back, items that had expired may be found again.
    pub fn set_now(&self, now: Timestamp) {
        self.time.set(now);
        self.note_second(now);
    }

    /// Schedules a flush of everything for the second `at`, instead of one that is scheduled already. If `at` is
    /// [`Timestamp::NEVER`], no flush is scheduled any more.
    pub(super) fn set_flush_at(&self, at: Timestamp) {
        // Under the writer lock, so that two calls leave the same time in the file and in memory.
        let _segments = self.segments.lock();
        self.time.set_flush_at(at);
        if let Some(headers) = &self.headers {
            headers.set(Word::DueFlush, u64::from(at.0));
        }
    }

    /// The present limit (`-m`, unless it has been changed since the start), bytes.
    pub fn memory_limit(&self) -> u64 {
        self.base.memory_limit()
    }

    /// Begins a copy from another server (`--copy-from`). From here on, an edit of the copy
    /// ([`Fresh::is_copy`](super::Fresh::is_copy)) is refused if a client has edited or flushed its key since this call.
    pub fn begin_copy(&self) {
        let written = WrittenKeys::new(self.memory_limit());
        self.segments.lock().written = Some(written);
    }

    /// Ends a copy from another server. From here on, every edit of a copy is refused.
    pub fn end_copy(&self) {
        let written = self.segments.lock().written.take();
        // The filter's memory is freed without holding the lock.
        drop(written);
    }

    /// True if a copy runs and its edits may be stored. After a flush they may not: all keys count as written by clients.
    pub fn takes_copies(&self) -> bool {
        self.segments.lock().written.as_ref().is_some_and(|written| !written.has_all())
    }

    /// Changes the limit (`-m`) to `bytes`, or to twice what the empty indexes take if that is more. Memory in use above a
    /// lowered limit is freed a little with every write and by [`Shard::maintain`](super::Shard::maintain). Returns false and
    /// changes nothing if the reserved address space is too small for `bytes`.
    pub fn set_memory_limit(&self, bytes: u64) -> bool {
        if bytes > self.base.arena().limit_max() {
            return false;
        }
        // This leaves at least half of the limit for items.
        let bytes =
            bytes.max(2 * self.replicas.iter().map(|replica| replica.bytes_when_empty()).sum::<u64>());
        let mut segments = self.segments.lock();
        segments.set_limit(bytes);
        self.base.arena().set_memory_limit(bytes);
        true
    }

    pub(super) fn log(&self) -> &Log {
        self.base.log()
    }

    /// Counts an item that was refused for lack of memory. `bytes` is its size as memcached counts it.
    pub(super) fn count_no_room(&self, bytes: u64) {
        self.segments.lock().count_no_room(bytes);
    }

    /// The number of deltas that the replica of `ring` has yet to apply, and the log's capacity. If both are equal, all writers
    /// wait for this replica.
    pub fn lag(&self, ring: usize) -> (u64, u64) {
        let log = self.log();
        // The applied position is read before the tail, so that the lag is never negative.
        let position = log.applied(self.replica_of[ring]);
        (log.tail() - position, log.capacity())
    }

    /// True if pins hold more memory than connections may hold with items in segments ([`PINNED_PART`]). Then connections that
    /// hold pins and take no bytes are to be closed.
    pub fn is_short_of_pins(&self) -> bool {
        self.base.arena().pinned_bytes() > self.memory_limit() / PINNED_PART
    }

    /// Returns to the kernel the memory of the heap that the C library keeps although nothing uses it. Meanwhile, threads that
    /// allocate may have to wait.
    pub fn trim_heap(&self) {
        self.base.arena().trim_heap();
    }

    /// Bytes in use above a lowered limit, which maintenance has yet to free.
    pub fn bytes_over_limit(&self) -> u64 {
        self.segments.lock().bytes_over_limit()
    }

    /// True if more than an eighth of `-m` is held outside of the budget: old versions of values that are still being sent.
    /// Then clients that take their values slowly are to be disconnected too.
    pub fn holds_much_beside(&self) -> bool {
        let beside_bytes = self.segments.lock().beside_bytes();
        beside_bytes > self.memory_limit() / PINNED_PART
    }

    /// True if a value had to wait in this second or the one before, because incomplete values hold all memory that
    /// reservations may.
    pub fn is_short_of_reservations(&self, now: Timestamp) -> bool {
        self.reservations.is_short(now)
    }

    /// True while a ring holds the writer lock.
    pub(super) fn is_busy(&self) -> bool {
        self.segments.is_locked()
    }

    /// The log position before which no ring holds references; `None` if that is the tail. If a command was answered
    /// [`Retry::Stalled`](super::Retry::Stalled), there is no use in trying it again while this position stays the same.
    pub fn slowest(&self) -> Option<u64> {
        let log = self.log();
        let (slowest, tail) = (log.quiescent_position(), log.tail());
        (slowest < tail).then_some(slowest)
    }

    /// Wakes rings whose replica has not applied the log up to `place`, so that they replay it: all rings of such a replica if
    /// `urgent`, else one of them, chosen by `place`. The replica of ring `except` is left out. True if there is such a
    /// replica, or if a ring other than `except` holds references from before `place`.
    pub(super) fn wake_rings_before(&self, place: u64, except: usize, urgent: bool) -> bool {
        let log = self.log();
        let mut is_any = false;
        for (number, replica) in self.replicas.iter().enumerate() {
            let rings = replica.rings();
            if rings.contains(&except) || log.applied(number) >= place {
                continue;
            }
            is_any = true;
            let chosen = rings.start + place as usize % rings.len();
            rings.filter(|&ring| urgent || ring == chosen).for_each(|ring| self.host.wake(ring));
        }
        is_any || log.is_held_before(place, except)
    }
}
