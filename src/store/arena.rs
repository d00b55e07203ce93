//! The arena: what every ring shares without a lock. It contains the mapping that items lie in, the pin counts, the log, and
//! sums over all rings.
//!
//! One arena per store. The mapping and its geometry do not change after the start. Everything else is atomics that any ring
//! may change at any time, unless a method says that its caller holds the writer lock. The arena hands out addresses and
//! counts; `item`, `segment_table` and `reservation` decide when the bytes there may be read or written.

#![expect(unsafe_code, reason = "the counts of a large item lie in the first bytes of its extent")]

use super::geometry::{Geometry, PAGE_BYTES};
use super::item_ref::ItemRef;
use super::log::Log;
use super::pin_counts::PinCounts;
use super::pinned::Pinned;
use super::region::Region;
use crate::limits::PINNED_SLACK_PART;
use nix::errno::Errno;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The head of a large item's extent. Number and length are set when the extent is allocated; after that, only the counts
/// change.
#[repr(C)]
struct ExtentHead {
    /// The large item's number in the segment table.
    id: AtomicU32,
    /// Length of the extent in units of [`PAGE_BYTES`]. It is stored here because a pin needs it without the writer lock.
    pages: AtomicU32,
    counts: PinCounts,
}

const _: () = assert!(PAGE_BYTES.is_multiple_of(align_of::<ExtentHead>() as u64));

/// Where an item lies: in a segment, or in an extent of its own. Contains the number of the segment or of the large item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    Segment(u32),
    Large(u32),
}

/// The mapping, the pin counts, the log and the sums: all that every ring uses without a lock.
#[derive(Debug)]
pub(super) struct Arena {
    region: Region,
    geometry: Geometry,
    /// The pin counts of all segments, by number of the segment. Those of a large item are in the head of its extent.
    counts: Box<[PinCounts]>,
    /// The limit (`-m`), bytes, for callers that do not hold the writer lock. The segment table has a copy of its own.
    memory_limit: AtomicU64,
    pinned: Pinned,
    sums: Sums,
    log: Log,
}

/// Sums over all rings. They change when the reception of a value begins or ends, and when an index changes its size. They have
/// cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sums {
    /// Number of values being received into item memory.
    reservations: AtomicU64,
    /// Bytes of the segments and extents that these values are received into. Each segment or extent counts once, with its
    /// whole length.
    bytes_reserved: AtomicU64,
    /// The part of `bytes_reserved` that is in segments.
    reserved_segment_bytes: AtomicU64,
    /// Bytes of memory of all indexes.
    index_bytes: AtomicU64,
}

/// A segment or extent that pins and reservations can hold: its counts and its length.
struct Holdable<'s> {
    counts: &'s PinCounts,
    bytes: u64,
    is_segment: bool,
}

impl Arena {
    /// An arena in anonymous memory, for `rings` rings. Reserves `address_space` bytes of addresses; if that is `None`, several
    /// times `memory_limit`, or less where the kernel refuses so much.
    pub(super) fn reserve(
        memory_limit: u64,
        address_space: Option<u64>,
        rings: usize,
        log: Log,
    ) -> nix::Result<Self> {
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
        Ok(Self::new(region, geometry, rings, log))
    }

    /// An arena over `region`, which is divided into segments and extents as `geometry` says.
    pub(super) fn new(region: Region, geometry: Geometry, rings: usize, log: Log) -> Self {
        let counts = (0..geometry.segment_ids()).map(|_| PinCounts::default()).collect();
        let (memory_limit, pinned) = (AtomicU64::new(0), Pinned::new(rings));
        Self { region, geometry, counts, memory_limit, pinned, sums: Sums::default(), log }
    }

    /// Asks the kernel to keep segments in large pages; large items stay in small ones.
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

    /// Upper bound of segment numbers, exclusive; number 0 is not used.
    pub(super) fn segment_ids(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Up to this length an item is never large, bytes.
    pub(super) fn never_large_bytes(&self) -> u64 {
        self.geometry.never_large_bytes()
    }

    /// True if an item of `bytes` takes no more memory in a segment of such items than in an extent. Half an item of each
    /// segment counts as dead: with 5 to 7 items a segment is cleaned when two are dead, so that random overwrites leave none
    /// or one.
    ///
    /// That half outweighs whatever whole pages waste where segments are longer than 256 KiB, or hold fewer than 4 such items.
    pub(super) fn packs_well(&self, bytes: u64) -> bool {
        let items = self.segment_bytes() / bytes;
        self.extent_bytes(bytes) * (2 * items).saturating_sub(1) >= 2 * self.segment_bytes()
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

    /// The address in memory of the item that `item` names.
    #[inline]
    pub(super) fn address(&self, item: ItemRef) -> NonNull<u8> {
        self.region.at(item.offset(self.geometry.unit_shift))
    }

    pub(super) fn segment_offset(&self, id: u32) -> u64 {
        self.geometry.segment_offset(id)
    }

    /// Makes sure that the memory file has room on its file system for a range of whole pages, and does nothing without a
    /// memory file. See [`Region::commit`].
    pub(super) fn commit(&self, offset: u64, bytes: u64) -> nix::Result<()> {
        self.region.commit(offset, bytes)
    }

    /// Bytes that the memory file's file system can still give; `u64::MAX` without a memory file.
    pub(super) fn available(&self) -> u64 {
        self.region.available()
    }

    /// Returns the free memory of the heap to the kernel.
    pub(super) fn trim_heap(&self) {
        self.region.trim_heap();
    }

    /// Maps a range of whole pages in one call, because it is about to be read: see [`Region::load`].
    pub(super) fn load(&self, offset: u64, bytes: u64) {
        self.region.load(offset, bytes);
    }

    /// Returns the memory of a range of whole pages to the kernel: see [`Region::discard`].
    pub(super) fn discard(&self, offset: u64, bytes: u64) {
        self.region.discard(offset, bytes);
    }

    /// Bytes of an extent in front of its item: the head, rounded up to whole units.
    pub(super) fn extent_head_bytes(&self) -> u64 {
        (size_of::<ExtentHead>() as u64).next_multiple_of(1 << self.geometry.unit_shift)
    }

    /// Length of the extent for an item of `item_bytes`, bytes.
    pub(super) fn extent_bytes(&self, item_bytes: u64) -> u64 {
        (item_bytes + self.extent_head_bytes()).next_multiple_of(PAGE_BYTES)
    }

    fn extent_head(&self, offset: u64) -> &ExtentHead {
        assert!(
            offset >= self.geometry.large_base && offset.is_multiple_of(PAGE_BYTES),
            "extents are whole pages"
        );
        // SAFETY: an extent starts at a page of the mapping (asserted above). There its item does not begin yet, and nothing
        // but this head lies, whose fields are atomics (all zeros are valid); the mapping lives as long as `self`.
        unsafe { self.region.at(offset).cast::<ExtentHead>().as_ref() }
    }

    /// Writes the head of the extent of `bytes` at `offset`, which nobody uses yet. From here on the extent is that of large
    /// item `id`, with all counts 0. Called under the writer lock, or before rings run.
    pub(super) fn write_extent_head(&self, offset: u64, bytes: u64, id: u32) {
        let head = self.extent_head(offset);
        head.id.store(id, Ordering::Relaxed);
        head.pages.store((bytes / PAGE_BYTES) as u32, Ordering::Relaxed);
        head.counts.reset();
    }

    /// The number of the large item whose extent begins at `offset`.
    pub(super) fn large_at(&self, offset: u64) -> u32 {
        self.extent_head(offset).id.load(Ordering::Relaxed)
    }

    pub(super) fn extent_counts(&self, offset: u64) -> &PinCounts {
        &self.extent_head(offset).counts
    }

    /// The number of values that are being sent from item memory, and that of values being received into it.
    pub(super) fn held_counts(&self) -> (u64, u64) {
        (self.pinned.values(), self.sums.reservations.load(Ordering::Relaxed))
    }

    /// The number of the segment that contains `item`, which is not large.
    pub(super) fn segment_of(&self, item: ItemRef) -> u32 {
        (item.offset(self.geometry.unit_shift) >> self.geometry.segment_shift) as u32
    }

    /// The segment or extent that `item` lies in.
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

    /// The limit (`-m`, unless it has been changed since the start), bytes.
    pub(super) fn memory_limit(&self) -> u64 {
        self.memory_limit.load(Ordering::Relaxed)
    }

    /// Sets [`Arena::memory_limit`]. Called under the writer lock whenever the segment table's limit changes, so that bounds
    /// which are computed from the limit without the lock change too.
    pub(super) fn set_memory_limit(&self, bytes: u64) {
        self.memory_limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of memory of all indexes.
    pub(super) fn index_bytes(&self) -> u64 {
        self.sums.index_bytes.load(Ordering::Relaxed)
    }

    /// Adjusts [`Arena::index_bytes`] for an index whose size has changed from `before` to `after` bytes.
    pub(super) fn index_resized(&self, before: u64, after: u64) {
        self.sums.index_bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Bytes of the segments and extents that values are being sent from; each counts once. Reads a cache line of each ring.
    pub(super) fn pinned_bytes(&self) -> u64 {
        self.pinned.bytes()
    }

    /// True if all pins together would hold at most `bytes_max` after `ring` has pinned `bytes` more, with an error of up to
    /// [`Arena::slack`] for each ring.
    pub(super) fn pins_fit(&self, ring: usize, bytes: u64, bytes_max: u64) -> bool {
        self.pinned.fits(ring, bytes, bytes_max, self.slack())
    }

    /// How many more bytes a ring may pin before it must read again what the other rings have pinned: see `pinned`.
    fn slack(&self) -> u64 {
        self.memory_limit() / (PINNED_SLACK_PART * self.pinned.rings())
    }

    /// Bytes of the segments and extents that values are being received into; each counts once.
    pub(super) fn bytes_reserved(&self) -> u64 {
        self.sums.bytes_reserved.load(Ordering::Relaxed)
    }

    /// The part of [`Arena::bytes_reserved`] that is in segments. These segments contain other items as well.
    pub(super) fn reserved_segment_bytes(&self) -> u64 {
        self.sums.reserved_segment_bytes.load(Ordering::Relaxed)
    }

    /// Pins the segment or extent of the item at `at` for `ring`. Returns by how many bytes this raises the sum of all pins:
    /// the length of the segment or extent, or 0 if it was pinned already. `None` if the sum would exceed `bytes_max`, unless
    /// no memory is pinned or reserved at all. The caller holds a borrow of the item. All rings together may exceed the bound
    /// by a [`PINNED_SLACK_PART`]th of memory; rings that pin at the same moment may exceed it by one segment or extent each in
    /// addition.
    pub(super) fn try_pin(&self, ring: usize, at: NonNull<u8>, bytes_max: u64) -> Option<u64> {
        let placement = self.holdable(at);
        let is_over = !placement.counts.is_pinned() && !self.pins_fit(ring, placement.bytes, bytes_max);
        if is_over && self.pinned_bytes() + self.bytes_reserved() > 0 {
            return None;
        }
        let bytes = if placement.counts.pin() { placement.bytes } else { 0 };
        self.pinned.add(ring, bytes);
        Some(bytes)
    }

    /// Ends a pin that `ring` has taken on the item at `at`. Once nothing holds its segment or extent, the memory may be
    /// reused. May be called on any thread.
    pub(super) fn unpin(&self, ring: usize, at: NonNull<u8>) {
        let placement = self.holdable(at);
        // The length is read before the count goes down: after that the memory may be reused for another placement.
        let bytes = if placement.counts.unpin() { placement.bytes } else { 0 };
        self.pinned.remove(ring, bytes, self.slack());
    }

    /// Counts a value that begins to be received into the item at `at`: until [`Arena::unreserve`] its segment or extent is not
    /// reused. The caller holds the writer lock.
    pub(super) fn reservation(&self, at: NonNull<u8>) {
        let placement = self.holdable(at);
        if placement.counts.reservation() {
            self.sums.bytes_reserved.fetch_add(placement.bytes, Ordering::Relaxed);
            self.sums.reserved_segment_bytes.fetch_add(placement.segment_bytes(), Ordering::Relaxed);
        }
        self.sums.reservations.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends what [`Arena::reservation`] began: the value has been published, or its reservation dropped. Needs no lock.
    pub(super) fn unreserve(&self, at: NonNull<u8>) {
        let placement = self.holdable(at);
        if placement.counts.unreserve() {
            self.sums.bytes_reserved.fetch_sub(placement.bytes, Ordering::Relaxed);
            self.sums.reserved_segment_bytes.fetch_sub(placement.segment_bytes(), Ordering::Relaxed);
        }
        self.sums.reservations.fetch_sub(1, Ordering::Relaxed);
    }

    fn offset_of(&self, at: NonNull<u8>) -> u64 {
        at.addr().get() as u64 - self.region.at(0).addr().get() as u64
    }

    /// True if the item at address `at` is not large.
    pub(super) fn is_in_segment(&self, at: NonNull<u8>) -> bool {
        self.offset_of(at) < self.geometry.large_base
    }

    /// The counts and the length of the segment or extent that contains the item at address `at`.
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
