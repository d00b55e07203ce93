//! The words of a memory file outside of item memory: superblock, segment headers and extent table.
//!
//! One [`Headers`] per store, shared without a lock of its own. Segment headers and slots change only under the writer lock
//! (through `Ledger`) or at the start. A few words of the superblock may change at any time, each in one atomic store.
//!
//! ```text
//!  file      [superblock, a page] [segment headers] [extent table] … [segments, extents of large items]
//!                                  one per segment   one slot per     at a multiple of 2 MiB, `geometry`
//!                                                    large item
//!  header    [u32 used | u8 queue | u8 in use] [u64 sequence] [u64 flushes] [u32 opened, u32 check]
//!  slot      [u32 pages | u8 queue | u8 in use] [u64 offset] [u64 sequence] [u64 flushes]
//! ```
//!
//! The sequence numbers give the order of the queues. A segment or extent counts only if its `flushes` equals the superblock's.
//! The first word of a header or slot is stored last when the segment or extent comes into use. When the segment or extent is
//! freed, that word is stored first, and the memory is not reused before.
//!
//! The extent table has a slot for as many large items as there may ever be. It gets memory as slots are used.

#![expect(unsafe_code, reason = "reads and writes words of a mapping")]

use super::durable::{store, store_first};
use super::superblock::{Identity, SUPERBLOCK_BYTES, Word, checksum};
use crate::clock::Timestamp;
use crate::store::geometry::{Geometry, PAGE_BYTES};
use crate::store::region::Region;
use nix::errno::Errno;
use std::sync::atomic::{AtomicU64, Ordering};

const HEADER_WORDS: u64 = 4;
const HEADER_BYTES: u64 = HEADER_WORDS * 8;
/// Item memory begins at a multiple of this many bytes, which is the size of large pages on most systems.
const ALIGNMENT: u64 = 2 << 20;
/// Number of slots of the extent table that get memory together.
const SLOTS_STEP: u64 = 2048;

const IN_USE: u64 = 1 << 40;
const QUEUE_SHIFT: u32 = 32;

/// The layout of a memory file.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Sections {
    /// Offset at which the segment headers begin, bytes.
    segments: u64,
    /// Offset at which the extent table begins, bytes.
    extents: u64,
    /// Offset at which item memory begins, bytes.
    pub(in crate::store) region: u64,
    /// Number of slots of the extent table.
    slots: u64,
    /// Length of the file, bytes.
    pub(in crate::store) bytes: u64,
}

impl Sections {
    pub(in crate::store) fn of(geometry: Geometry) -> Self {
        let segments = SUPERBLOCK_BYTES as u64;
        let slots = geometry.large_bytes() / PAGE_BYTES;
        let extents = (segments + geometry.segment_ids() * HEADER_BYTES).next_multiple_of(PAGE_BYTES);
        let region = (extents + slots * HEADER_BYTES).next_multiple_of(ALIGNMENT);
        Self { segments, extents, region, slots, bytes: region + geometry.bytes }
    }
}

impl Sections {
    /// Offsets of the segment headers, the extent table, and item memory, bytes.
    pub(super) fn starts(&self) -> [u64; 3] {
        [self.segments, self.extents, self.region]
    }
}

/// The header of a segment in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct SegmentHeader {
    pub(in crate::store) used: u32,
    pub(in crate::store) queue: u8,
    pub(in crate::store) sequence: u64,
    pub(in crate::store) flushes: u64,
    pub(in crate::store) opened: Timestamp,
    /// True if the checksum in the header is right. If it is not, no field can be relied on.
    pub(in crate::store) is_intact: bool,
}

/// A used slot of the extent table: what the file says of a large item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Slot {
    pub(in crate::store) offset: u64,
    pub(in crate::store) pages: u32,
    pub(in crate::store) queue: u8,
    pub(in crate::store) sequence: u64,
    pub(in crate::store) flushes: u64,
}

/// The mapping of superblock, segment headers and extent table.
#[derive(Debug)]
pub(in crate::store) struct Headers {
    map: Region,
    sections: Sections,
}

/// The checksum of the header of segment `id`. It covers everything except `used`, which changes as the segment fills.
pub(super) fn check_of(id: u32, queue: u8, sequence: u64, flushes: u64, opened: Timestamp) -> u64 {
    checksum(&[u64::from(id) << 8 | u64::from(queue), sequence, flushes, u64::from(opened.0)]) >> 32
}

impl Headers {
    /// The headers in `map`, which begins at the beginning of the file.
    pub(super) fn new(map: Region, sections: Sections) -> Self {
        Self { map, sections }
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < self.sections.region, "headers are whole words");
        // SAFETY: the offset is a multiple of eight and inside the mapping (`Region::at` asserts it), which lives as long as
        // `self`; nothing but these atomics refers to it, and all bits are valid.
        unsafe { self.map.at(offset).cast::<AtomicU64>().as_ref() }
    }

    fn segment_word(&self, id: u32, word: u64) -> &AtomicU64 {
        self.word(self.sections.segments + u64::from(id) * HEADER_BYTES + word * 8)
    }

    fn slot_word(&self, id: u32, word: u64) -> &AtomicU64 {
        assert!(u64::from(id) < self.sections.slots, "there is a slot for each page");
        self.word(self.sections.extents + u64::from(id) * HEADER_BYTES + word * 8)
    }

    /// The value of a word of the superblock.
    pub(in crate::store) fn get(&self, word: Word) -> u64 {
        self.word(word as u64 * 8).load(Ordering::Relaxed)
    }

    /// Sets a word of the superblock. The change becomes visible after everything that was stored before.
    pub(in crate::store) fn set(&self, word: Word, value: u64) {
        store(self.word(word as u64 * 8), value);
    }

    /// Sets a word of the superblock to `new` if it is still `old`.
    pub(in crate::store) fn replace(&self, word: Word, old: u64, new: u64) {
        let word = self.word(word as u64 * 8);
        // If the word has another value, that one is newer.
        let _ = word.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed);
        super::durable::stored();
    }

    /// Writes the words of a new file that never change. The first word marks the file as ours; the file is not valid before
    /// [`Headers::finish_identity`].
    pub(super) fn write_identity(&self, identity: Identity) {
        for (at, word) in identity.words().into_iter().enumerate() {
            store_first(self.word(at as u64 * 8), word);
        }
    }

    /// Writes the checksum of the words that never change. From here on the file is valid.
    pub(super) fn finish_identity(&self, identity: Identity) {
        self.set(Word::Checksum, checksum(&identity.words()));
    }

    /// The header of segment `id`; `None` if the segment is not in use.
    pub(in crate::store) fn segment(&self, id: u32) -> Option<SegmentHeader> {
        let word = |at| self.segment_word(id, at).load(Ordering::Acquire);
        let first = word(0);
        if first == 0 {
            return None;
        }
        let (queue, last) = ((first >> QUEUE_SHIFT) as u8, word(3));
        let (sequence, flushes, opened) = (word(1), word(2), Timestamp(last as u32));
        let is_intact =
            first >> 40 == IN_USE >> 40 && last >> 32 == check_of(id, queue, sequence, flushes, opened);
        Some(SegmentHeader { used: first as u32, queue, sequence, flushes, opened, is_intact })
    }

    /// Records that segment `id`, which was free, is in use, and has no items yet.
    pub(super) fn open_segment(&self, id: u32, header: &SegmentHeader) {
        let &SegmentHeader { queue, sequence, flushes, opened, .. } = header;
        store_first(self.segment_word(id, 0), 0);
        store(self.segment_word(id, 1), sequence);
        store(self.segment_word(id, 2), flushes);
        let check = check_of(id, queue, sequence, flushes, opened);
        store(self.segment_word(id, 3), check << 32 | u64::from(opened.0));
        store(self.segment_word(id, 0), IN_USE | u64::from(queue) << QUEUE_SHIFT);
    }

    /// Records that the first `used` bytes of segment `id` are items. The next process walks the segment up to there.
    pub(super) fn cover(&self, id: u32, used: u32) {
        let word = self.segment_word(id, 0);
        // Relaxed: written only under the writer lock.
        let first = word.load(Ordering::Relaxed);
        assert!(first & IN_USE != 0, "a segment is opened before it is used");
        if first as u32 != used {
            store(word, first >> 32 << 32 | u64::from(used));
        }
    }

    /// Records that segment `id` is free. Must be called before its memory is reused.
    pub(in crate::store) fn free_segment(&self, id: u32) {
        store_first(self.segment_word(id, 0), 0);
    }

    /// Number of slots that have memory.
    fn slots(&self) -> u64 {
        self.get(Word::ExtentSlots).min(self.sections.slots)
    }

    /// The numbers of the slots that may be in use, which are all that have memory.
    pub(in crate::store) fn slot_ids(&self) -> std::ops::Range<u32> {
        0..self.slots() as u32
    }

    /// Makes sure that slot `id` has memory. Fails if the file system has no room for it.
    pub(super) fn commit_slot(&self, id: u32) -> nix::Result<()> {
        let slots = self.slots();
        if u64::from(id) < slots {
            return Ok(());
        }
        let more = (u64::from(id) + 1).next_multiple_of(SLOTS_STEP).min(self.sections.slots);
        if more <= u64::from(id) {
            return Err(Errno::ENOSPC);
        }
        let start = self.sections.extents + slots * HEADER_BYTES;
        self.map.commit(start, (more - slots) * HEADER_BYTES)?;
        self.set(Word::ExtentSlots, more);
        Ok(())
    }

    /// The slot of large item `id`; `None` if the slot is not in use. Its words may be corrupt.
    pub(in crate::store) fn slot(&self, id: u32) -> Option<Slot> {
        let word = |at| self.slot_word(id, at).load(Ordering::Acquire);
        let first = word(0);
        // Every extent has pages, so 0 marks a corrupt slot.
        let pages = if first >> 40 == IN_USE >> 40 { first as u32 } else { 0 };
        (first != 0).then(|| Slot {
            pages,
            queue: (first >> QUEUE_SHIFT) as u8,
            offset: word(1),
            sequence: word(2),
            flushes: word(3),
        })
    }

    /// Records large item `id` in its slot, before its alive mark is set.
    pub(super) fn open_slot(&self, id: u32, slot: &Slot) {
        let &Slot { offset, pages, queue, sequence, flushes } = slot;
        store_first(self.slot_word(id, 0), 0);
        store(self.slot_word(id, 1), offset);
        store(self.slot_word(id, 2), sequence);
        store(self.slot_word(id, 3), flushes);
        store(self.slot_word(id, 0), IN_USE | u64::from(queue) << QUEUE_SHIFT | u64::from(pages));
    }

    /// Records that large item `id` moves to the end of `queue`, and its new `sequence` number.
    pub(super) fn requeue_slot(&self, id: u32, queue: u8, sequence: u64) {
        store(self.slot_word(id, 2), sequence);
        let word = self.slot_word(id, 0);
        let first = word.load(Ordering::Relaxed);
        store(word, IN_USE | u64::from(queue) << QUEUE_SHIFT | first & u64::from(u32::MAX));
    }

    /// Records that the memory of large item `id` is free.
    pub(in crate::store) fn free_slot(&self, id: u32) {
        if u64::from(id) < self.slots() {
            store_first(self.slot_word(id, 0), 0);
        }
    }

    /// Gives memory to the superblock, the segment headers and the used part of the extent table.
    pub(in crate::store) fn commit(&self) -> nix::Result<()> {
        self.map.commit(0, self.sections.extents + self.slots() * HEADER_BYTES)
    }

    /// Writes the whole file to its device, and returns when all of it is there.
    pub(in crate::store) fn sync(&self) -> nix::Result<()> {
        self.map.sync()
    }
}
