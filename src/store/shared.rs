//! The part of the store that all rings share.
//!
//! It owns the lower half ([`Base`]), what the writer lock guards ([`SegmentTable`]), and the indexes. It reads no item and
//! writes none: that is a shard's (`shard`), under the lock a transaction's (`write_txn`).

use super::base::Base;
use super::flash::Flash;
use super::host::Host;
use super::key_hash::KeyHasher;
use super::log::{self, Log};
use super::memory_file::{Headers, Word};
use super::replica::Group;
use super::reservation::ReservationBooks;
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

/// The part of the store that all rings share.
pub struct Store {
    pub(super) base: Arc<Base>,
    pub(super) segments: Apart<Mutex<SegmentTable>>,
    pub(super) host: Box<dyn Host>,
    pub(super) evict: bool,
    pub(super) item_size_max: u64,
    pub(super) replicas: Box<[Arc<Group>]>,
    /// The replica of each ring.
    pub(super) replica_of: Box<[usize]>,
    pub(super) time: Time,
    pub(super) reservations: Arc<ReservationBooks>,
    /// Of the memory file.
    headers: Option<Arc<Headers>>,
    restored: Option<Restored>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

impl Store {
    /// A store: empty, or with the items of the memory file if the options name one.
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
        let Parts { arena, mut segments, replicas, file, now, due_flush, flash: books } = parts;
        let flash = books.as_ref().map(|books| Arc::clone(books.flash()));
        segments.flash = books;
        let index_bytes = replicas.iter().map(|replica| replica.bytes()).sum();
        arena.set_memory_limit(segments.limit);
        arena.index_resized(0, index_bytes);
        let base = Arc::new(Base::new(arena, hasher, flash));
        let time = Time::default();
        time.set(now);
        time.set_flush_at(due_flush);
        let (headers, restored) = file.unzip();
        Self {
            reservations: Arc::new(ReservationBooks::new(&base)),
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
        self.base.arena().use_large_pages()
    }

    /// The latest second that any ring has seen: all rings use it.
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
    pub(super) fn set_flush_at(&self, at: Timestamp) {
        // Under the lock, so that the file and the rings come to know the same.
        let _segments = self.segments.lock();
        self.time.set_flush_at(at);
        if let Some(headers) = &self.headers {
            headers.set(Word::DueFlush, u64::from(at.0));
        }
    }

    /// `-m`, bytes.
    pub fn memory_limit(&self) -> u64 {
        self.base.memory_limit()
    }

    /// Begins a copy: from here on items of [`Fresh::is_copy`](super::Fresh::is_copy) are stored only for keys that nobody else has written,
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

    /// Changes `-m`, but not to less than twice what the indexes take when they are empty. Memory above a lowered limit is freed a little
    /// with every write and by [`Shard::maintain`](super::Shard::maintain). False if `bytes` is more than the reserved address space can
    /// serve.
    pub fn set_memory_limit(&self, bytes: u64) -> bool {
        if bytes > self.base.arena().limit_max() {
            return false;
        }
        // Half of it at least is for items, whatever the indexes take when they are empty.
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

    /// An item of `bytes` was refused for lack of memory.
    pub(super) fn count_no_room(&self, bytes: u64) {
        self.segments.lock().count_no_room(bytes);
    }

    /// Writes that `ring` has still to replay, and how many the log holds: at that many, writers wait for it.
    pub fn lag(&self, ring: usize) -> (u64, u64) {
        let log = self.log();
        // The position first, so that the lag is never negative.
        let position = log.applied(self.replica_of[ring]);
        (log.tail() - position, log.capacity())
    }

    /// True if pins hold more than their share of memory in segments, so that those of clients that take nothing must go.
    pub fn is_short_of_pins(&self) -> bool {
        self.base.arena().pinned_bytes() > self.memory_limit() / PINNED_PART
    }

    /// True if values have lately had to wait for memory that is held for others which do not come.
    pub fn is_short_of_reservations(&self, now: Timestamp) -> bool {
        self.reservations.is_short(now)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.segments.is_locked()
    }

    /// How far the ring that lags most has replayed; `None` if none lags. What was told [`Retry::Stalled`](super::Retry::Stalled) need not be
    /// tried again while this stays the same.
    pub fn slowest(&self) -> Option<u64> {
        let log = self.log();
        let (slowest, tail) = (log.quiescent_position(), log.tail());
        (slowest < tail).then_some(slowest)
    }

    /// For each replica, but that of ring `except`, that has not applied the log up to `place`: wakes one of its rings, chosen
    /// by `place`, or all of them if `urgent`. True if there is such a replica, or a ring but `except` that holds references
    /// from before.
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
