//! What every ring shares without a lock: the mapping, how it is cut up, the counts that hold memory, and the log.
//!
//! | | segments | large items |
//! |---|---|---|
//! | unit | `clamp(-m / 512, 64 KiB, 2 MiB)`, power of two | whole pages |
//! | an item is this if it is | at most an eighth of a segment | longer |
//! | address space | half of the mapping | the other half |
//!
//! An item ref counts in units of 4 to 32 bytes, by the length of the mapping. Segments and pages are whole units; items in
//! segments are padded to them; in an extent the item begins at the first unit behind the head.

#![expect(unsafe_code, reason = "the counts of a large item lie in the first bytes of its extent")]

use super::item_ref::{ItemRef, REACH_MAX, UNIT_BITS, UNIT_SHIFT_MAX, UNIT_SHIFT_MIN};
use super::large::PAGE_BYTES;
use super::log::Log;
use super::pin_counts::PinCounts;
use super::region::Region;
use nix::errno::Errno;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENT_BYTES_MAX: u64 = 2 << 20;
/// Segments that `-m` is cut into, if their size allows.
const SEGMENTS: u64 = 512;
/// An item above this part of a segment is large.
const LARGE_PART: u64 = 8;
/// Address space reserved, as a multiple of `-m`: half for segments, half for large items.
const RESERVE_FACTOR: u64 = 4;
/// Less address space than this is not reserved unless the system refuses, so that `cache_memlimit` can grow the store.
const RESERVE_BYTES_MIN: u64 = 32 << 30;

/// The head of a large item's extent.
#[repr(C)]
struct ExtentHead {
    id: AtomicU32,
    /// Its length, for those who hold it without the lock.
    pages: AtomicU32,
    counts: PinCounts,
}

const UNIT_BYTES_MAX: u64 = 1 << UNIT_SHIFT_MAX;
const _: () =
    assert!(PAGE_BYTES.is_multiple_of(UNIT_BYTES_MAX) && SEGMENT_BYTES_MIN.is_multiple_of(UNIT_BYTES_MAX));
const _: () = assert!(SEGMENT_BYTES_MIN.is_multiple_of(PAGE_BYTES) && SEGMENT_BYTES_MAX <= u32::MAX as u64);
const _: () = assert!(PAGE_BYTES.is_multiple_of(align_of::<ExtentHead>() as u64));

/// What an item lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    Segment(u32),
    Large(u32),
}

/// The shared space.
#[derive(Debug)]
pub(super) struct Arena {
    region: Region,
    unit_shift: u32,
    segment_shift: u32,
    large_base: u64,
    counts: Box<[PinCounts]>,
    held: Held,
    log: Log,
}

/// What pins and reservations hold of all placements. Alone on its cache lines: every pin writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Held {
    /// The sum of all placements', for statistics.
    counts: PinCounts,
    /// Bytes of the placements with pins, and with reservations.
    pinned_bytes: AtomicU64,
    bytes_reserved: AtomicU64,
    /// The part of the latter that is segments.
    reserved_segment_bytes: AtomicU64,
}

/// The counts of a placement, and its length.
struct Holdable<'s> {
    counts: &'s PinCounts,
    bytes: u64,
    is_segment: bool,
}

/// The smallest unit, as a shift, in which 36 bits reach to the end of a mapping of `bytes`.
fn unit_shift(bytes: u64) -> u32 {
    let shift = bytes.next_power_of_two().trailing_zeros().saturating_sub(UNIT_BITS).max(UNIT_SHIFT_MIN);
    assert!(shift <= UNIT_SHIFT_MAX, "no longer mapping is reserved");
    shift
}

impl Arena {
    /// Reserves the address space for a store of `memory_limit` bytes.
    pub(super) fn reserve(memory_limit: u64, address_space: Option<u64>, log: Log) -> nix::Result<Self> {
        let segment_bytes =
            (memory_limit / SEGMENTS).next_power_of_two().clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let whole_segments = |bytes: u64| bytes.next_multiple_of(4 * segment_bytes);
        if memory_limit > REACH_MAX / 2 {
            return Err(Errno::ENOMEM);
        }
        let least = whole_segments(address_space.unwrap_or(memory_limit * 2 + 4 * SEGMENT_BYTES_MAX));
        let wanted = (memory_limit * RESERVE_FACTOR).max(if cfg!(miri) { 0 } else { RESERVE_BYTES_MIN });
        let wanted = whole_segments(address_space.unwrap_or(wanted).min(REACH_MAX));
        if least > REACH_MAX {
            return Err(Errno::ENOMEM);
        }
        let mut bytes = wanted;
        let region = loop {
            match Region::reserve(bytes as usize) {
                Ok(region) => break region,
                Err(errno) if bytes == least => return Err(errno),
                // Ever less, down to the least.
                Err(_) => bytes = whole_segments(bytes / 2).max(least),
            }
        };
        let unit_shift = unit_shift(bytes);
        let large_base = bytes / 2;
        let counts = (0..large_base / segment_bytes).map(|_| PinCounts::default()).collect();
        let segment_shift = segment_bytes.trailing_zeros();
        Ok(Self { region, unit_shift, segment_shift, large_base, counts, held: Held::default(), log })
    }

    /// Segments in large pages.
    pub(super) fn use_large_pages(&self) -> nix::Result<()> {
        self.region.advise_large_pages(self.large_base)
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn unit_shift(&self) -> u32 {
        self.unit_shift
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        1 << self.segment_shift
    }

    /// One more than the last segment there is address space for; 0 is not used.
    pub(super) fn segment_ids(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Items longer than this are large, bytes.
    pub(super) fn large_item_bytes(&self) -> u64 {
        self.segment_bytes() / LARGE_PART
    }

    pub(super) fn large_base(&self) -> u64 {
        self.large_base
    }

    /// Bytes of address space for large items.
    pub(super) fn large_bytes(&self) -> u64 {
        self.region.bytes() - self.large_base
    }

    /// The largest `-m` that this address space can serve, bytes.
    pub(super) fn limit_max(&self) -> u64 {
        self.large_base / 5 * 4
    }

    #[inline]
    pub(super) fn address(&self, item: ItemRef) -> NonNull<u8> {
        self.region.at(item.offset(self.unit_shift))
    }

    pub(super) fn segment_offset(&self, id: u32) -> u64 {
        u64::from(id) << self.segment_shift
    }

    pub(super) fn discard(&self, offset: u64, bytes: u64) {
        self.region.discard(offset, bytes);
    }

    /// Bytes before the item in its extent: whole units.
    pub(super) fn extent_head_bytes(&self) -> u64 {
        (size_of::<ExtentHead>() as u64).next_multiple_of(1 << self.unit_shift)
    }

    /// Extent bytes that an item of `item_bytes` takes.
    pub(super) fn extent_bytes(&self, item_bytes: u64) -> u64 {
        (item_bytes + self.extent_head_bytes()).next_multiple_of(PAGE_BYTES)
    }

    fn extent_head(&self, offset: u64) -> &ExtentHead {
        assert!(offset >= self.large_base && offset.is_multiple_of(PAGE_BYTES), "extents are whole pages");
        // SAFETY: an extent starts at a page of the mapping (the line above), where its item does not begin yet and nothing
        // but this head lies, whose fields are atomics (all zeros are valid); the mapping lives as long as `self`.
        unsafe { self.region.at(offset).cast::<ExtentHead>().as_ref() }
    }

    /// Makes the extent of `bytes` at `offset` the placement of large item `id`, with all counts 0.
    pub(super) fn write_extent_head(&self, offset: u64, bytes: u64, id: u32) {
        let head = self.extent_head(offset);
        head.id.store(id, Ordering::Relaxed);
        head.pages.store((bytes / PAGE_BYTES) as u32, Ordering::Relaxed);
        head.counts.reset();
    }

    /// The large item whose extent begins at `offset`.
    pub(super) fn large_at(&self, offset: u64) -> u32 {
        self.extent_head(offset).id.load(Ordering::Relaxed)
    }

    pub(super) fn extent_counts(&self, offset: u64) -> &PinCounts {
        &self.extent_head(offset).counts
    }

    /// Values being sent and values being received, of all placements.
    pub(super) fn held_counts(&self) -> (u64, u64) {
        self.held.counts.read()
    }

    /// The segment that `item`, which is not large, lies in.
    pub(super) fn segment_of(&self, item: ItemRef) -> u32 {
        (item.offset(self.unit_shift) >> self.segment_shift) as u32
    }

    /// What the item at `item` lies in.
    #[inline]
    pub(super) fn placement(&self, item: ItemRef) -> Placement {
        let offset = item.offset(self.unit_shift);
        if offset < self.large_base {
            return Placement::Segment(self.segment_of(item));
        }
        Placement::Large(self.large_at(offset - self.extent_head_bytes()))
    }

    /// The counts of segment `id`.
    pub(super) fn counts(&self, id: u32) -> &PinCounts {
        &self.counts[id as usize]
    }

    /// Bytes of placements that values are being sent from; a placement counts once.
    pub(super) fn pinned_bytes(&self) -> u64 {
        self.held.pinned_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of placements that values are being received into.
    pub(super) fn bytes_reserved(&self) -> u64 {
        self.held.bytes_reserved.load(Ordering::Relaxed)
    }

    /// The part of [`Arena::bytes_reserved`] that is segments, which hold others' items as well.
    pub(super) fn reserved_segment_bytes(&self) -> u64 {
        self.held.reserved_segment_bytes.load(Ordering::Relaxed)
    }

    /// Pins the placement of the item at `at`, unless pins hold something already and would then hold more than `bytes_max`.
    /// The bytes that are held now and were not before. The caller holds a borrow of the item. Rings that do so at the same
    /// moment may exceed the bound by a placement each.
    pub(super) fn try_pin(&self, at: NonNull<u8>, bytes_max: u64) -> Option<u64> {
        let placement = self.holdable(at);
        let pinned_bytes = self.pinned_bytes();
        if pinned_bytes > 0 && pinned_bytes + placement.bytes > bytes_max && !placement.counts.is_pinned() {
            return None;
        }
        let is_first = placement.counts.pin();
        if is_first {
            self.held.pinned_bytes.fetch_add(placement.bytes, Ordering::Relaxed);
        }
        self.held.counts.pin();
        Some(if is_first { placement.bytes } else { 0 })
    }

    pub(super) fn unpin(&self, at: NonNull<u8>) {
        let placement = self.holdable(at);
        // The length is read before the count goes down: then the placement may become another.
        if placement.counts.unpin() {
            self.held.pinned_bytes.fetch_sub(placement.bytes, Ordering::Relaxed);
        }
        self.held.counts.unpin();
    }

    pub(super) fn reservation(&self, at: NonNull<u8>) {
        let placement = self.holdable(at);
        if placement.counts.reservation() {
            self.held.bytes_reserved.fetch_add(placement.bytes, Ordering::Relaxed);
            self.held.reserved_segment_bytes.fetch_add(placement.segment_bytes(), Ordering::Relaxed);
        }
        self.held.counts.reservation();
    }

    pub(super) fn unreserve(&self, at: NonNull<u8>) {
        let placement = self.holdable(at);
        if placement.counts.unreserve() {
            self.held.bytes_reserved.fetch_sub(placement.bytes, Ordering::Relaxed);
            self.held.reserved_segment_bytes.fetch_sub(placement.segment_bytes(), Ordering::Relaxed);
        }
        self.held.counts.unreserve();
    }

    fn offset_of(&self, at: NonNull<u8>) -> u64 {
        at.addr().get() as u64 - self.region.at(0).addr().get() as u64
    }

    /// True if the item at address `at` is not large.
    pub(super) fn is_in_segment(&self, at: NonNull<u8>) -> bool {
        self.offset_of(at) < self.large_base
    }

    /// The placement that the item at address `at` lies in.
    fn holdable(&self, at: NonNull<u8>) -> Holdable<'_> {
        let offset = self.offset_of(at);
        if offset < self.large_base {
            let counts = &self.counts[(offset >> self.segment_shift) as usize];
            return Holdable { counts, bytes: self.segment_bytes(), is_segment: true };
        }
        let head = self.extent_head(offset - self.extent_head_bytes());
        let bytes = u64::from(head.pages.load(Ordering::Relaxed)) * PAGE_BYTES;
        Holdable { counts: &head.counts, bytes, is_segment: false }
    }
}

impl Holdable<'_> {
    fn segment_bytes(&self) -> u64 {
        if self.is_segment { self.bytes } else { 0 }
    }
}
