//! How the mapping is divided into segments and extents. The sizes are computed from `-m` once, at the start, and never change.
//!
//! | | segments | large items |
//! |---|---|---|
//! | unit | `clamp(-m / 512, 64 KiB, 2 MiB)`, power of two | whole pages |
//! | an item belongs here if | it is at most an eighth of a segment, or takes no more here than there | else |
//! | address space | half of the mapping | the other half |
//!
//! An item ref is a number of units; a unit is 4 to 32 bytes, depending on the length of the mapping. Segments and pages are
//! whole numbers of units. Items in segments are padded to units; in an extent the item begins at the first unit after the
//! head.

use super::item_ref::{REACH_MAX, UNIT_BITS, UNIT_SHIFT_MAX, UNIT_SHIFT_MIN};

/// Length of a page, bytes. Extents consist of whole pages.
pub(super) const PAGE_BYTES: u64 = 4096;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENT_BYTES_MAX: u64 = 2 << 20;
/// Number of segments in `-m`, unless that makes segments too small or too large.
const SEGMENTS: u64 = 512;
/// An item of at most the length of a segment divided by this is never large.
const LARGE_PART: u64 = 8;
/// Address space to reserve, as a multiple of `-m`: half for segments, half for large items.
const RESERVE_FACTOR: u64 = 4;
/// Address space to reserve at least, bytes, unless the system refuses that much. It leaves room for `cache_memlimit` to grow
/// the store.
const RESERVE_BYTES_MIN: u64 = 32 << 30;

const UNIT_BYTES_MAX: u64 = 1 << UNIT_SHIFT_MAX;
const _: () =
    assert!(PAGE_BYTES.is_multiple_of(UNIT_BYTES_MAX) && SEGMENT_BYTES_MIN.is_multiple_of(UNIT_BYTES_MAX));
const _: () = assert!(SEGMENT_BYTES_MIN.is_multiple_of(PAGE_BYTES) && SEGMENT_BYTES_MAX <= u32::MAX as u64);

/// The sizes of one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Length of the whole mapping, bytes.
    pub(super) bytes: u64,
    /// Offset in the mapping at which the extents of large items begin.
    pub(super) large_base: u64,
    /// A segment is `1 << segment_shift` bytes long.
    pub(super) segment_shift: u32,
    /// The unit of item refs is `1 << unit_shift` bytes.
    pub(super) unit_shift: u32,
}

/// The smallest unit, as a shift, with which item refs can address all of a mapping of `bytes`.
fn unit_shift(bytes: u64) -> u32 {
    let shift = bytes.next_power_of_two().trailing_zeros().saturating_sub(UNIT_BITS).max(UNIT_SHIFT_MIN);
    assert!(shift <= UNIT_SHIFT_MAX, "no longer mapping is reserved");
    shift
}

fn segment_bytes(memory_limit: u64) -> u64 {
    (memory_limit / SEGMENTS).next_power_of_two().clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
}

impl Geometry {
    /// The geometry of a mapping of `bytes`, rounded up to whole segments, for a store of `memory_limit` bytes.
    fn new(memory_limit: u64, bytes: u64) -> Self {
        let segment_bytes = segment_bytes(memory_limit);
        let bytes = bytes.next_multiple_of(4 * segment_bytes);
        let segment_shift = segment_bytes.trailing_zeros();
        Self { bytes, large_base: bytes / 2, segment_shift, unit_shift: unit_shift(bytes) }
    }

    /// The preferred geometry of a store of `memory_limit` bytes, and the smallest that works. Both have a mapping of
    /// `address_space` bytes if that is given. `None` if item refs cannot address that much.
    pub(super) fn of_memory(memory_limit: u64, address_space: Option<u64>) -> Option<(Self, Self)> {
        if memory_limit > REACH_MAX / 2 {
            return None;
        }
        let least = address_space.unwrap_or(memory_limit * 2 + 4 * SEGMENT_BYTES_MAX);
        let wanted = (memory_limit * RESERVE_FACTOR).max(if cfg!(miri) { 0 } else { RESERVE_BYTES_MIN });
        let wanted = address_space.unwrap_or(wanted).min(REACH_MAX);
        // After rounding up, neither may exceed what refs can address.
        let is_in_reach = least.next_multiple_of(4 * segment_bytes(memory_limit)) <= REACH_MAX;
        is_in_reach.then(|| (Self::new(memory_limit, wanted), Self::new(memory_limit, least)))
    }

    /// The geometry of a memory file; `None` if item refs cannot address that much. It does not depend on what the system
    /// allows, so that the next start finds what this one wrote.
    pub(super) fn of_file(memory_limit: u64, address_space: Option<u64>) -> Option<Self> {
        let bytes =
            address_space.unwrap_or(memory_limit.checked_mul(RESERVE_FACTOR)?.max(4 * SEGMENT_BYTES_MAX));
        (bytes.next_multiple_of(4 * segment_bytes(memory_limit)) <= REACH_MAX)
            .then(|| Self::new(memory_limit, bytes))
    }

    /// The geometry of a mapping half as long as this one, or `least` if that is longer.
    pub(super) fn halved(self, memory_limit: u64, least: Self) -> Self {
        let half = Self::new(memory_limit, self.bytes / 2);
        if half.bytes < least.bytes { least } else { half }
    }

    pub(super) fn segment_bytes(self) -> u64 {
        1 << self.segment_shift
    }

    /// Bytes of address space for large items.
    pub(super) fn large_bytes(self) -> u64 {
        self.bytes - self.large_base
    }

    /// Upper bound of segment numbers, exclusive; number 0 is not used.
    pub(super) fn segment_ids(self) -> u64 {
        self.large_base >> self.segment_shift
    }

    /// Up to this length an item is never large, bytes. Of longer ones the segment table decides.
    pub(super) fn never_large_bytes(self) -> u64 {
        self.segment_bytes() / LARGE_PART
    }

    pub(super) fn segment_offset(self, id: u32) -> u64 {
        u64::from(id) << self.segment_shift
    }
}
