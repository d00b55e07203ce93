//! Finds the large items to evict so that one contiguous extent becomes free, for `store/defragment`. Only reads; under the
//! writer lock.

use super::table::SegmentTable;
use super::unit::EvictionUnit;
use crate::store::arena::Arena;

/// The most starting points tried of each kind: the largest free extents with memory, the largest without, and large items
/// that are retired.
const STARTS_MAX: usize = 8;
/// The most extents examined from one starting point on.
const WALK_MAX: usize = 4096;

/// A range of neighbouring extents, in use or free, that is long enough for the extent wanted.
#[derive(Debug, Default)]
pub(in crate::store) struct Window {
    /// The numbers of the live large items in the range.
    pub(in crate::store) ids: Vec<u32>,
    /// Bytes of the extents of `ids`, which would be evicted.
    bytes: u64,
}

impl SegmentTable {
    /// Compares a few ranges of `bytes`, and returns the one with the least to evict. `None` if each has a part that sends or
    /// receives hold, or reaches the end of the mapping.
    pub(in crate::store) fn window(&self, arena: &Arena, bytes: u64) -> Option<Window> {
        let retired = self.retired.iter().filter_map(|&(unit, _)| match unit {
            EvictionUnit::Large(id) => Some(self.large_items[id as usize].offset),
            EvictionUnit::Segment(_) => None,
        });
        let any = self.large_items.iter().next().map(|(_, large)| large.offset);
        let starts = self.extents.largest(STARTS_MAX).chain(retired.take(STARTS_MAX)).chain(any);
        starts.filter_map(|start| self.window_at(arena, start, bytes)).min_by_key(|window| window.bytes)
    }

    /// The range of `bytes` from `start` on, or from the beginning of the free space that ends at `start`. `None` as in
    /// [`SegmentTable::window`].
    fn window_at(&self, arena: &Arena, start: u64, bytes: u64) -> Option<Window> {
        let mut window = Window::default();
        let start = self.extents.start_of_free(start);
        let mut at = start;
        for _ in 0..WALK_MAX {
            if at - start >= bytes {
                return Some(window);
            }
            if at >= arena.large_base() + arena.large_bytes() {
                return None;
            }
            if let Some(free) = self.extents.free_at(at) {
                at += free;
                continue;
            }
            let id = arena.large_at(at);
            let large = &self.large_items[id as usize];
            assert_eq!(large.offset, at, "what is not free is a large item's");
            if arena.extent_counts(at).is_held() {
                return None;
            }
            if large.is_published() {
                window.ids.push(id);
                window.bytes += large.bytes;
            }
            at += large.bytes;
        }
        None
    }
}
