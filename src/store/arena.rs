//! What every ring shares without a lock: the mapping, the pin counts, and the log.

#![expect(unsafe_code, reason = "the counts of a large item lie in the first bytes of its extent")]

use super::geometry::{Geometry, PAGE_BYTES};
use super::item_ref::ItemRef;
use super::log::Log;
use super::pin_counts::PinCounts;
use super::region::Region;
use nix::errno::Errno;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The head of a large item's extent.
#[repr(C)]
struct ExtentHead {
    id: AtomicU32,
    /// Length of the extent, for pins, which do not take the lock.
    pages: AtomicU32,
    counts: PinCounts,
}

const _: () = assert!(PAGE_BYTES.is_multiple_of(align_of::<ExtentHead>() as u64));

/// The unit of memory that an item is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    Segment(u32),
    Large(u32),
}

/// The shared space.
#[derive(Debug)]
pub(super) struct Arena {
    region: Region,
    geometry: Geometry,
    counts: Box<[PinCounts]>,
    held: Held,
    log: Log,
}

/// Sums over all placements of what pins and reservations hold. On cache lines of its own: every pin writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Held {
    /// Pins and reservations of all placements, for statistics.
    counts: PinCounts,
    /// Bytes of the placements with pins, and with reservations.
    pinned_bytes: AtomicU64,
    bytes_reserved: AtomicU64,
    /// The part of `bytes_reserved` that is in segments.
    reserved_segment_bytes: AtomicU64,
}

/// The counts of a placement, and its length.
struct Holdable<'s> {
    counts: &'s PinCounts,
    bytes: u64,
    is_segment: bool,
}

impl Arena {
    /// Reserves the address space for a store of `memory_limit` bytes.
    pub(super) fn reserve(memory_limit: u64, address_space: Option<u64>, log: Log) -> nix::Result<Self> {
        let (wanted, least) = Geometry::of_memory(memory_limit, address_space).ok_or(Errno::ENOMEM)?;
        let mut geometry = wanted;
        let region = loop {
            match Region::reserve(geometry.bytes as usize) {
                Ok(region) => break region,
                Err(errno) if geometry.bytes <= least.bytes => return Err(errno),
                // Try smaller sizes, down to the least.
                Err(_) => geometry = geometry.halved(memory_limit, least),
            }
        };
        Ok(Self::new(region, geometry, log))
    }

    /// An arena over `region`, whose sizes are those of `geometry`.
    pub(super) fn new(region: Region, geometry: Geometry, log: Log) -> Self {
        let counts = (0..geometry.segment_ids()).map(|_| PinCounts::default()).collect();
        Self { region, geometry, counts, held: Held::default(), log }
    }

    /// Asks the kernel for large pages for the segments.
    pub(super) fn use_large_pages(&self) -> nix::Result<()> {
        self.region.advise_large_pages(self.geometry.large_base)
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn unit_shift(&self) -> u32 {
        self.geometry.unit_shift
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.geometry.segment_bytes()
    }

    /// Upper bound of segment ids, exclusive; id 0 is not used.
    pub(super) fn segment_ids(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Items longer than this are large, bytes.
    pub(super) fn large_item_bytes(&self) -> u64 {
        self.geometry.large_item_bytes()
    }

    pub(super) fn large_base(&self) -> u64 {
        self.geometry.large_base
    }

    /// Bytes of address space for large items.
    pub(super) fn large_bytes(&self) -> u64 {
        self.geometry.large_bytes()
    }

    /// The largest `-m` that this address space can serve, bytes.
    pub(super) fn limit_max(&self) -> u64 {
        self.geometry.large_base / 5 * 4
    }

    #[inline]
    pub(super) fn address(&self, item: ItemRef) -> NonNull<u8> {
        self.region.at(item.offset(self.geometry.unit_shift))
    }

    pub(super) fn segment_offset(&self, id: u32) -> u64 {
        self.geometry.segment_offset(id)
    }

    /// Makes sure that a range of whole pages has memory.
    pub(super) fn commit(&self, offset: u64, bytes: u64) -> nix::Result<()> {
        self.region.commit(offset, bytes)
    }

    /// Bytes that can still be committed; `u64::MAX` if there is no limit.
    pub(super) fn available(&self) -> u64 {
        self.region.available()
    }

    /// Loads a range of whole pages that is about to be read.
    pub(super) fn load(&self, offset: u64, bytes: u64) {
        self.region.load(offset, bytes);
    }

    pub(super) fn discard(&self, offset: u64, bytes: u64) {
        self.region.discard(offset, bytes);
    }

    /// Bytes of an extent before its item: whole units.
    pub(super) fn extent_head_bytes(&self) -> u64 {
        (size_of::<ExtentHead>() as u64).next_multiple_of(1 << self.geometry.unit_shift)
    }

    /// Extent bytes that an item of `item_bytes` takes.
    pub(super) fn extent_bytes(&self, item_bytes: u64) -> u64 {
        (item_bytes + self.extent_head_bytes()).next_multiple_of(PAGE_BYTES)
    }

    fn extent_head(&self, offset: u64) -> &ExtentHead {
        assert!(
            offset >= self.geometry.large_base && offset.is_multiple_of(PAGE_BYTES),
            "extents are whole pages"
        );
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
        (item.offset(self.geometry.unit_shift) >> self.geometry.segment_shift) as u32
    }

    /// The placement of the item at `item`.
    #[inline]
    pub(super) fn placement(&self, item: ItemRef) -> Placement {
        let offset = item.offset(self.geometry.unit_shift);
        if offset < self.geometry.large_base {
            return Placement::Segment(self.segment_of(item));
        }
        Placement::Large(self.large_at(offset - self.extent_head_bytes()))
    }

    /// The pin counts of segment `id`.
    pub(super) fn counts(&self, id: u32) -> &PinCounts {
        &self.counts[id as usize]
    }

    /// Bytes of all placements that values are being sent from; each placement counts once.
    pub(super) fn pinned_bytes(&self) -> u64 {
        self.held.pinned_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all placements that values are being received into.
    pub(super) fn bytes_reserved(&self) -> u64 {
        self.held.bytes_reserved.load(Ordering::Relaxed)
    }

    /// The part of [`Arena::bytes_reserved`] that is in segments, which contain other items too.
    pub(super) fn reserved_segment_bytes(&self) -> u64 {
        self.held.reserved_segment_bytes.load(Ordering::Relaxed)
    }

    /// Pins the placement of the item at `at`. Refuses if something is held already and pins would then hold more than
    /// `bytes_max`. Returns the bytes that this pin added to what is held. The caller holds a borrow of the item. Rings that
    /// pin at the same moment may exceed the bound by one placement each.
    pub(super) fn try_pin(&self, at: NonNull<u8>, bytes_max: u64) -> Option<u64> {
        let placement = self.holdable(at);
        let pinned_bytes = self.pinned_bytes();
        let is_over = pinned_bytes + placement.bytes > bytes_max;
        if is_over && pinned_bytes + self.bytes_reserved() > 0 && !placement.counts.is_pinned() {
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
        // Read the length before the count goes down: after that the memory may be reused for another placement.
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
        self.offset_of(at) < self.geometry.large_base
    }

    /// The placement that the item at address `at` lies in.
    fn holdable(&self, at: NonNull<u8>) -> Holdable<'_> {
        let offset = self.offset_of(at);
        if offset < self.geometry.large_base {
            let counts = &self.counts[(offset >> self.geometry.segment_shift) as usize];
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
