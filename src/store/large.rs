//! Allocates extents of whole pages, one for each large item, in the upper half of the mapping. Contains the list of free
//! extents, which is a field of the segment table: changed and read only under the writer lock.
//!
//! ```text
//! extent   [u32 id][u32 pages][u32 pins][u32 reservations] item …    (the item begins at the first unit after the head)
//! ```
//!
//! Address space is plentiful (twice `-m`), memory is not, so free extents with memory and free extents without are kept apart.
//! Those with memory are allocated first, since their pages need no faults. They return their memory to the kernel as soon as
//! the budget needs it elsewhere. Memory therefore does not fragment: only address space does.

use super::faults::Faults;
use super::geometry::PAGE_BYTES;
use std::collections::{BTreeMap, BTreeSet};

/// A free extent.
#[derive(Clone, Copy, Debug)]
struct Free {
    bytes: u64,
    /// True if all of the extent has memory, false if none of it has.
    committed: bool,
}

/// The free extents.
#[derive(Debug)]
pub(super) struct Extents {
    /// All free extents, by offset in the mapping. Adjacent extents with memory are merged, and so are adjacent extents
    /// without.
    by_offset: BTreeMap<u64, Free>,
    /// The lengths and offsets of the extents without memory (at index 0) and of those with memory (at index 1), bytes.
    by_size: [BTreeSet<(u64, u64)>; 2],
    /// Bytes of free extents with memory.
    committed_bytes: u64,
}

impl Extents {
    /// A list in which all of `offset..offset + bytes` is free and without memory.
    pub(super) fn new(offset: u64, bytes: u64) -> Self {
        Self::around(&[], offset..offset + bytes)
    }

    /// A list in which all of `range` except `used` is free and without memory. `used` contains offsets and lengths, in
    /// ascending order.
    pub(super) fn around(used: &[(u64, u64)], range: std::ops::Range<u64>) -> Self {
        let mut extents =
            Self { by_offset: BTreeMap::new(), by_size: Default::default(), committed_bytes: 0 };
        let mut start = range.start;
        for &(offset, bytes) in used.iter().chain([&(range.end, 0)]) {
            if offset > start {
                extents.put(start, Free { bytes: offset - start, committed: false });
            }
            start = offset + bytes;
        }
        extents
    }

    /// Returns the offset and the length of each free extent, bytes, by ascending offset.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.by_offset.iter().map(|(&offset, free)| (offset, free.bytes))
    }

    /// Bytes of the free extents that have memory.
    pub(super) fn committed_bytes(&self) -> u64 {
        self.committed_bytes
    }

    /// True if there is a free extent with memory of at least `bytes`.
    pub(super) fn has_warm(&self, bytes: u64) -> bool {
        self.by_size[1].range((bytes, 0)..).next().is_some()
    }

    /// True if there is a free extent of at least `bytes`, with memory or without.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.by_size.iter().any(|set| set.range((bytes, 0)..).next().is_some())
    }

    /// The length of the free extent that begins at `offset`, bytes; `None` if none does.
    pub(super) fn free_at(&self, offset: u64) -> Option<u64> {
        self.by_offset.get(&offset).map(|free| free.bytes)
    }

    /// The offset at which the free space that ends at `offset` begins; it may consist of several adjacent extents. `offset`
    /// itself if no free extent ends there.
    pub(super) fn start_of_free(&self, offset: u64) -> u64 {
        let mut start = offset;
        while let Some((&before, left)) = self.by_offset.range(..start).next_back()
            && before + left.bytes == start
        {
            start = before;
        }
        start
    }

    /// The offsets of the largest free extents: of up to `count` without memory, and of up to `count` with memory.
    pub(super) fn largest(&self, count: usize) -> impl Iterator<Item = u64> + '_ {
        self.by_size.iter().flat_map(move |set| set.iter().rev().take(count)).map(|&(_, offset)| offset)
    }

    /// Allocates an extent of `bytes` and returns its offset. Prefers free extents with memory, and among these the shortest
    /// that is long enough. `None` if no free extent is long enough.
    pub(super) fn take(&mut self, bytes: u64) -> Option<u64> {
        let fitting = |set: &BTreeSet<(u64, u64)>| set.range((bytes, 0)..).next().map(|&(_, offset)| offset);
        let offset = fitting(&self.by_size[1]).or_else(|| fitting(&self.by_size[0]))?;
        let free = self.pull(offset)?;
        if free.bytes > bytes {
            self.put(offset + bytes, Free { bytes: free.bytes - bytes, ..free });
        }
        Some(offset)
    }

    /// Frees an extent that has memory.
    pub(super) fn give(&mut self, offset: u64, bytes: u64) {
        self.merge(offset, Free { bytes, committed: true });
    }

    /// Frees an extent that has no memory.
    pub(super) fn give_cold(&mut self, offset: u64, bytes: u64) {
        self.merge(offset, Free { bytes, committed: false });
    }

    /// Marks up to `bytes_max`, rounded up to pages, of the shortest free extent with memory as having none. Returns the offset
    /// and length of what it has marked; the caller must now return that memory to the kernel. `None` if no free extent has
    /// memory.
    pub(super) fn decommit(&mut self, bytes_max: u64) -> Option<(u64, u64)> {
        let &(_, offset) = self.by_size[1].first()?;
        let free = self.pull(offset)?;
        let bytes = free.bytes.min(bytes_max.next_multiple_of(PAGE_BYTES));
        if free.bytes > bytes {
            self.put(offset + bytes, Free { bytes: free.bytes - bytes, committed: true });
        }
        self.merge(offset, Free { bytes, committed: false });
        Some((offset, bytes))
    }

    /// Adds to `faults` unless free and `used` extents together fill `range`, and the sums are right. `used` yields offsets and
    /// lengths.
    pub(super) fn check(
        &self,
        used: impl Iterator<Item = (u64, u64)>,
        range: std::ops::Range<u64>,
        faults: &mut Faults,
    ) {
        let mut all: Vec<(u64, u64)> = used.chain(self.iter()).collect();
        all.sort_unstable();
        let mut end = range.start;
        for (offset, bytes) in all {
            faults.compare(format_args!("an extent of {bytes} bytes"), offset, end);
            end = offset + bytes;
        }
        faults.compare("the end of the extents", end, range.end);
        let committed = self.by_offset.values().filter(|free| free.committed).map(|free| free.bytes).sum();
        faults.compare("bytes of free extents with memory", self.committed_bytes, committed);
        for (committed, set) in [false, true].into_iter().zip(&self.by_size) {
            let by_offset = self.by_offset.iter().filter(|(_, free)| free.committed == committed);
            let by_offset = by_offset.map(|(&offset, free)| (free.bytes, offset)).collect();
            faults.compare(format_args!("free extents by size, committed {committed}"), set, &by_offset);
        }
    }

    fn put(&mut self, offset: u64, free: Free) {
        self.committed_bytes += if free.committed { free.bytes } else { 0 };
        self.by_size[usize::from(free.committed)].insert((free.bytes, offset));
        self.by_offset.insert(offset, free);
    }

    fn pull(&mut self, offset: u64) -> Option<Free> {
        let free = self.by_offset.remove(&offset)?;
        self.by_size[usize::from(free.committed)].remove(&(free.bytes, offset));
        self.committed_bytes -= if free.committed { free.bytes } else { 0 };
        Some(free)
    }

    /// Inserts a free extent, and merges it with each neighbour that is `committed` like it.
    fn merge(&mut self, mut offset: u64, mut free: Free) {
        if let Some((&before, &left)) = self.by_offset.range(..offset).next_back()
            && before + left.bytes == offset
            && left.committed == free.committed
        {
            self.pull(before);
            (offset, free.bytes) = (before, free.bytes + left.bytes);
        }
        let end = offset + free.bytes;
        if let Some(&right) = self.by_offset.get(&end)
            && right.committed == free.committed
        {
            self.pull(end);
            free.bytes += right.bytes;
        }
        self.put(offset, free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_warm_memory_first_and_merges_what_comes_back() {
        let mut extents = Extents::new(0, 100 * PAGE_BYTES);
        let a = extents.take(10 * PAGE_BYTES).unwrap();
        let b = extents.take(10 * PAGE_BYTES).unwrap();
        extents.give(a, 10 * PAGE_BYTES);
        extents.give(b, 10 * PAGE_BYTES);
        assert!(extents.has_warm(20 * PAGE_BYTES) && !extents.has_warm(21 * PAGE_BYTES));
        assert_eq!(extents.take(20 * PAGE_BYTES).unwrap(), a);
        extents.give(a, 20 * PAGE_BYTES);
        assert_eq!(extents.decommit(5 * PAGE_BYTES), Some((a, 5 * PAGE_BYTES)));
        assert_eq!(extents.committed_bytes(), 15 * PAGE_BYTES);
        while extents.decommit(u64::MAX >> 1).is_some() {}
        assert_eq!(extents.take(100 * PAGE_BYTES).unwrap(), 0, "all is one extent again");
        assert_eq!(extents.take(PAGE_BYTES), None);
    }
}
