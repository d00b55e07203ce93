//! Which large items stand in the way of an extent in one piece.

use super::{EvictionUnit, SegmentTable};
use crate::store::arena::Arena;

/// Places looked at: the largest free extents with and without memory, and large items on their way out.
const PLACES_MAX: usize = 8;
/// Extents looked at from one place on.
const WALK_MAX: usize = 4096;

/// A range of extents that would serve.
#[derive(Debug, Default)]
pub(in crate::store) struct Window {
    /// The large items in it that can be found.
    pub(in crate::store) ids: Vec<u32>,
    /// Bytes of those.
    bytes: u64,
}

impl SegmentTable {
    /// Of a few ranges of `bytes` the one with the least to evict; `None` if sends or receives hold a part of each.
    pub(in crate::store) fn window(&self, arena: &Arena, bytes: u64) -> Option<Window> {
        let retired = self.retired.iter().filter_map(|&(unit, _)| match unit {
            EvictionUnit::Large(id) => Some(self.large_items[id as usize].offset),
            EvictionUnit::Segment(_) => None,
        });
        let any = self.large_items.iter().next().map(|(_, large)| large.offset);
        let places = self.extents.largest(PLACES_MAX).chain(retired.take(PLACES_MAX)).chain(any);
        places.filter_map(|place| self.window_at(arena, place, bytes)).min_by_key(|window| window.bytes)
    }

    fn window_at(&self, arena: &Arena, place: u64, bytes: u64) -> Option<Window> {
        let mut window = Window::default();
        let start = self.extents.start_of_free(place);
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
