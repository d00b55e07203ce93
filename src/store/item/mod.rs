//! An item's bytes, and the views that read and write them.
//!
//! ```text
//!  0  u32  exptime       atomic: seconds on the server's clock, 0 = never
//!  4  u32  last access   atomic: same clock
//!  8  u32  cas, low
//! 12  u16  cas, middle   atomic: 14 bits; the top bit says that the item is alive, in a memory file (`memory_file`),
//!                                 the one below that it is a stub: its value is a place on flash (`flash`)
//! 14  u16  value length, low
//! 16  u8   key length
//! 17  u8   marks         atomic: 1 flags stored   2 extended   4 key is binary   8 fetched
//!                                10 stale   20 won   c0 hits (two bits, saturating)
//! 18  [u32 client flags]              if "flags stored": they are not zero
//!     [u32 value length, high; u32 cas, high]   if "extended": the value is 64 KiB or longer, or the cas needs more than 46 bits
//!     key, value; padded to the store's unit (4 bytes up to -m 64g)
//! ```
//!
//! So an item takes 18 bytes, and on average 1.5 bytes of padding, in addition to its key and value:
//!
//! | key + value, bytes | item | memcached's item, chunk |
//! |---|---|---|
//! | 30 + 10    | 60     | 99, 120 |
//! | 30 + 100   | 148    | 189, 192 |
//! | 30 + 1,000 | 1,048  | 1,089, 1,184 |
//!
//! Each replica needs an index entry in addition, about 10 bytes (`index`).
//!
//! Everything but the atomics is written once, before the item's ref is published in the log, and never again until the memory is
//! reused, which the store allows only when no ring and no pin can reach the item any more (`segment_table`, "When memory is
//! reused"). Of the atomics, any ring may set last access, hits and the fetched mark while it borrows an item; expiry and the
//! stale, won and alive marks change only under the writer lock. The other bits of the same words (cas, stub, "flags stored",
//! "extended", "key is binary") never change after publication. Bytes are read and written unaligned; the atomics are aligned
//! because units are.

#![expect(unsafe_code, reason = "reads and writes items in the mapping")]

mod format;
mod head;
mod stub;
mod write;

pub(super) use format::Layout;
pub(super) use head::{Head, mark_dead};
pub use stub::Stub;
pub(super) use write::{Fields, copy, value_at, write_head, write_value};

use super::base::Base;
use super::flash::Place;
use super::memory_file::durable;
use super::pin::{Pin, Share};
use crate::clock::Timestamp;
use format::{
    ALIVE, CAS_BITS, CAS_LOW, CAS_MASK, CAS_MIDDLE, EXPTIME, EXTENSION_BYTES, FLAGS_BYTES, HEADER_BYTES,
    HITS_MAX, HITS_SHIFT, KEY_LENGTH, LAST_ACCESS, MARK_BINARY_KEY, MARK_EXTENDED, MARK_FETCHED, MARK_FLAGS,
    MARK_STALE, MARK_WON, MARKS, STUB, VALUE_LENGTH, extension_at,
};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};

/// A live item, borrowed from a replica that has replayed.
///
/// Its key and value never change. Another ring may change its exptime and marks at any time.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    at: NonNull<u8>,
    base: &'a Arc<Base>,
}

impl std::fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item")
            .field("key", &self.key().escape_ascii().to_string())
            .field("value_bytes", &self.value_bytes())
            .field("cas", &self.cas())
            .finish_non_exhaustive()
    }
}

impl<'a> Item<'a> {
    /// The item that begins at address `at`.
    ///
    /// # Safety
    /// - `at` starts an item whose head has been written.
    /// - The item's memory is not reused while `'a` lasts.
    #[inline]
    pub(super) unsafe fn new(at: NonNull<u8>, base: &'a Arc<Base>) -> Self {
        Self { at, base }
    }

    #[inline]
    fn bytes(&self, offset: usize, length: usize) -> &'a [u8] {
        // SAFETY: private; every caller names a range inside the item by its own header, the item's memory is not reused
        // during 'a (`new`), and outside the atomics it does not change.
        unsafe { NonNull::slice_from_raw_parts(self.at.add(offset), length).as_ref() }
    }

    #[inline]
    fn u16(&self, offset: usize) -> u16 {
        // SAFETY: as in `bytes`; unaligned.
        unsafe { self.at.add(offset).cast::<u16>().read_unaligned() }
    }

    #[inline]
    fn u32(&self, offset: usize) -> u32 {
        // SAFETY: as in `bytes`; unaligned.
        unsafe { self.at.add(offset).cast::<u32>().read_unaligned() }
    }

    #[inline]
    fn atomic_u32(&self, offset: usize) -> &'a AtomicU32 {
        // SAFETY: `offset` is EXPTIME or LAST_ACCESS: 4-aligned (items are), inside the header, and only ever accessed
        // as an atomic once the item can be reached by others.
        unsafe { self.at.add(offset).cast::<AtomicU32>().as_ref() }
    }

    #[inline]
    fn marks(&self) -> &'a AtomicU8 {
        // SAFETY: as in `atomic_u32`; a byte has no alignment.
        unsafe { self.at.add(MARKS).cast::<AtomicU8>().as_ref() }
    }

    #[inline]
    fn cas_middle(&self) -> &'a AtomicU16 {
        // SAFETY: as in `atomic_u32`; CAS_MIDDLE is even.
        unsafe { self.at.add(CAS_MIDDLE).cast::<AtomicU16>().as_ref() }
    }

    /// Sets or clears the alive mark, which decides whether the next process finds the item in a memory file. All bytes of the
    /// item that were written before become visible before the mark does. The caller holds the writer lock.
    pub(super) fn set_alive(&self, alive: bool) {
        let middle = self.cas_middle();
        let dead = middle.load(Ordering::Relaxed) & !ALIVE;
        durable::store_short(middle, if alive { dead | ALIVE } else { dead });
    }

    /// True if the alive mark is set: the next process would find the item in a memory file.
    pub(super) fn is_alive(&self) -> bool {
        self.cas_middle().load(Ordering::Relaxed) & ALIVE != 0
    }

    #[inline]
    fn has(&self, mark: u8) -> bool {
        self.marks().load(Ordering::Relaxed) & mark != 0
    }

    /// The lengths of the item's parts, read from its header.
    #[inline]
    pub(super) fn layout(&self) -> Layout {
        let marks = self.marks().load(Ordering::Relaxed);
        let (has_flags, extended) = (marks & MARK_FLAGS != 0, marks & MARK_EXTENDED != 0);
        let mut value_bytes = usize::from(self.u16(VALUE_LENGTH));
        if extended {
            value_bytes |= (self.u32(extension_at(has_flags)) as usize) << 16;
        }
        Layout { key_bytes: self.key_bytes(), value_bytes, has_flags, extended }
    }

    /// True if an item of `layout` could not be shorter. False if it was received before its flags and its CAS unique were
    /// known, and could do without the fields for them.
    #[inline]
    pub(super) fn is_compact(&self, layout: Layout) -> bool {
        let is_plain = !layout.has_flags && !layout.extended;
        is_plain || Layout::new(layout.key_bytes, layout.value_bytes, self.flags(), self.cas()) == layout
    }

    #[inline]
    fn key_bytes(&self) -> usize {
        usize::from(self.bytes(KEY_LENGTH, 1)[0])
    }

    /// The key, 1 to 250 bytes.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        let marks = self.marks().load(Ordering::Relaxed);
        let key_at = HEADER_BYTES
            + usize::from(marks & MARK_FLAGS != 0) * FLAGS_BYTES
            + usize::from(marks & MARK_EXTENDED != 0) * EXTENSION_BYTES;
        self.bytes(key_at, self.key_bytes())
    }

    /// The value. Must not be called on a stub, whose value is on flash.
    #[inline]
    pub fn value(&self) -> &'a [u8] {
        debug_assert!(!self.is_stub(), "the value of {self:?} is on flash");
        self.stored()
    }

    /// The bytes that follow the key: the value, or, in a stub, the value's place on flash.
    #[inline]
    pub(super) fn stored(&self) -> &'a [u8] {
        let layout = self.layout();
        self.bytes(layout.key_at() + layout.key_bytes, layout.value_bytes)
    }

    /// Length of the bytes that follow the key: of the value, or, in a stub, of the value's place on flash.
    #[inline]
    pub fn stored_bytes(&self) -> usize {
        self.layout().value_bytes
    }

    #[inline]
    pub(super) fn is_stub(&self) -> bool {
        self.cas_middle().load(Ordering::Relaxed) & STUB != 0
    }

    /// Where the value is on flash; `None` if the value is in memory.
    #[inline]
    pub fn place(&self) -> Option<Place> {
        if self.is_stub() { Place::from_bytes(self.stored()) } else { None }
    }

    /// Length of the value, bytes, whether it is in memory or on flash.
    #[inline]
    pub fn value_bytes(&self) -> usize {
        self.place().map_or_else(|| self.layout().value_bytes, Place::value_bytes)
    }

    /// Client flags; 0 if the client gave none.
    #[inline]
    pub fn flags(&self) -> u32 {
        if self.has(MARK_FLAGS) { self.u32(HEADER_BYTES) } else { 0 }
    }

    /// The CAS unique of this version.
    #[inline]
    pub fn cas(&self) -> u64 {
        let middle = self.cas_middle().load(Ordering::Relaxed) & CAS_MASK;
        let low = u64::from(self.u32(CAS_LOW)) | u64::from(middle) << 32;
        if !self.has(MARK_EXTENDED) {
            return low;
        }
        low | u64::from(self.u32(extension_at(self.has(MARK_FLAGS)) + 4)) << CAS_BITS
    }

    /// When the item expires, or [`Timestamp::NEVER`].
    #[inline]
    pub fn exptime(&self) -> Timestamp {
        Timestamp(self.atomic_u32(EXPTIME).load(Ordering::Relaxed))
    }

    /// True if the item's expiry is `now` or earlier.
    #[inline]
    pub fn expired(&self, now: Timestamp) -> bool {
        let exptime = self.exptime();
        exptime != Timestamp::NEVER && exptime <= now
    }

    /// When the item was last used or touched. If it has not been used or touched, when it was stored.
    #[inline]
    pub fn last_access(&self) -> Timestamp {
        Timestamp(self.atomic_u32(LAST_ACCESS).load(Ordering::Relaxed))
    }

    /// True if the item has been fetched since it was stored.
    pub fn fetched(&self) -> bool {
        self.has(MARK_FETCHED)
    }

    /// True if the item is marked stale (by a meta delete or a meta set with flag `I`).
    pub fn stale(&self) -> bool {
        self.has(MARK_STALE)
    }

    /// True if a client has been told to recache the item (flag `W` of the meta protocol), so that other clients are not told.
    pub fn won(&self) -> bool {
        self.has(MARK_WON)
    }

    /// True if the client gave the key in base64 (flag `b` of the meta protocol).
    pub fn key_is_binary(&self) -> bool {
        self.has(MARK_BINARY_KEY)
    }

    /// How often the item was used, up to 3. New versions of the key inherit the number; the evictor lowers it when it lets the
    /// item survive.
    pub(super) fn hits(&self) -> u8 {
        self.marks().load(Ordering::Relaxed) >> HITS_SHIFT
    }

    /// Sets the last access to `now` without counting a use: for commands that touch the item but do not fetch it.
    pub fn refresh(&self, now: Timestamp) {
        self.atomic_u32(LAST_ACCESS).store(now.0, Ordering::Relaxed);
    }

    /// Records a use at `now`: sets the last access and the fetched mark, and increments the hits, by which the evictor
    /// decides.
    ///
    /// The cache line of an item that is used all the time is not written at every use, but once a second, and three times for
    /// each pass of the evictor.
    #[inline]
    pub fn record_access(&self, now: Timestamp) {
        let last_access = self.atomic_u32(LAST_ACCESS);
        if last_access.load(Ordering::Relaxed) != now.0 {
            last_access.store(now.0, Ordering::Relaxed);
        }
        let marks = self.marks().load(Ordering::Relaxed);
        if marks & MARK_FETCHED == 0 || marks >> HITS_SHIFT < HITS_MAX {
            self.count_use(marks);
        }
    }

    #[cold]
    fn count_use(&self, mut marks: u8) {
        loop {
            let hits = (marks >> HITS_SHIFT).saturating_add(1).min(HITS_MAX);
            let counted = marks & !(HITS_MAX << HITS_SHIFT) | MARK_FETCHED | hits << HITS_SHIFT;
            match self.marks().compare_exchange_weak(marks, counted, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => marks = seen,
            }
        }
    }

    /// Sets the expiry. The caller holds the writer lock, and then appends a delta, which orders the change among the writes.
    pub(super) fn set_exptime(&self, exptime: Timestamp) {
        self.atomic_u32(EXPTIME).store(exptime.0, Ordering::Relaxed);
        durable::stored();
    }

    /// Sets or clears the stale and won marks, both in one atomic write; `None` leaves a mark as it is. The caller holds the
    /// writer lock.
    pub(super) fn set_marks(&self, stale: Option<bool>, won: Option<bool>) {
        let (mut set, mut clear) = (0, 0);
        for (value, mark) in [(stale, MARK_STALE), (won, MARK_WON)] {
            match value {
                Some(true) => set |= mark,
                Some(false) => clear |= mark,
                None => {}
            }
        }
        if set | clear != 0 {
            // In one store, so that a memory file never has one mark without the other. The loop ends: only uses that are
            // counted can come in between, three times at most.
            let changed = |marks| Some(marks & !clear | set);
            let _ = self.marks().try_update(Ordering::Relaxed, Ordering::Relaxed, changed);
            durable::stored();
        }
    }

    /// Sets the hits. The caller holds the writer lock. A use that another ring counts at the same moment may be lost.
    pub(super) fn set_hits(&self, hits: u8) {
        let marks = self.marks().load(Ordering::Relaxed) & !(HITS_MAX << HITS_SHIFT);
        self.marks().store(marks | hits << HITS_SHIFT, Ordering::Relaxed);
    }

    /// Sets the fetched mark of a copy or a new version, before it is published: the item that it replaces has the mark.
    pub(super) fn set_fetched(&self) {
        self.marks().fetch_or(MARK_FETCHED, Ordering::Relaxed);
    }

    /// The item's header fields except the lengths, for writing a copy of the item.
    pub(super) fn fields(&self) -> Fields {
        Fields {
            flags: self.flags(),
            exptime: self.exptime(),
            last_access: self.last_access(),
            cas: self.cas(),
            stale: self.stale(),
            won: self.won(),
            key_is_binary: self.key_is_binary(),
            hits: self.hits(),
            is_stub: self.is_stub(),
        }
    }

    /// Pins the value's bytes from offset `from` to the end: they stay in place, even if the item is overwritten or evicted,
    /// until the pin is dropped. `None` if pins already hold their `share` of memory; then the caller has to copy the value.
    pub fn pin(&self, from: usize, share: Share) -> Option<Pin> {
        Pin::new(self.base, self.at, &self.value()[from..], share)
    }

    /// True if the evictor may copy the item to another address, because it lies in a segment. Large items never move.
    pub fn may_move(&self) -> bool {
        self.base.arena().is_in_segment(self.at)
    }

    /// A name for this version of the item, by which the caller can recognise it later.
    pub fn version(&self) -> Version {
        Version { at: self.at.addr().get(), cas: self.cas() }
    }
}

/// A name for one version of a key's item. A reply that copies a value in parts goes on only if the key still has the same
/// version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    at: usize,
    cas: u64,
}
