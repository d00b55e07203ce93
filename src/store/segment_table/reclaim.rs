//! Sealed segments by how much of them is dead: which one gives the most for copying what is left in it.
//!
//! ```text
//! level       0 │ 1 …                31 │ 32 …         64     dead bytes, in 64ths of the bytes used
//!       nowhere │ listed with -M        │ listed always
//! ```
//!
//! What counts is dead bytes: copying frees them for certain. The tail behind the last item of a segment does not count,
//! since the copies' segment may well get one as long. A segment stands here once, or not at all, so that the list is
//! never longer than there are segments; a death moves it at most one place in each of two levels.

use super::Segment;

/// Parts a segment is cut into for its level.
const LEVELS: u64 = 64;
/// Level of a segment that is half dead: it is cleaned before anything live is evicted.
const HALF_DEAD: u8 = 32;
/// With -M a segment that is less dead is not worth copying the rest.
const WORTH_COPYING: u8 = 1;

/// The list.
#[derive(Debug)]
pub(super) struct ReclaimList {
    /// The lowest level that is listed.
    lowest: u8,
    /// Segments by level.
    levels: Vec<Vec<u32>>,
}

/// Where a segment stands in the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// 0: nowhere.
    level: u8,
    place: u32,
}

#[cfg(test)]
impl Listing {
    /// A place that is not its own.
    pub(super) fn misplaced() -> Self {
        Self { level: 40, place: 1000 }
    }
}

impl ReclaimList {
    /// An empty list, for a store that `evicts`, or one that only compacts.
    pub(super) fn new(evicts: bool) -> Self {
        let lowest = if evicts { HALF_DEAD } else { WORTH_COPYING };
        Self { lowest, levels: vec![Vec::new(); LEVELS as usize + 1] }
    }

    /// The level of a sealed segment, or 0 if it is not to be listed.
    #[inline]
    fn level_of(&self, segment: &Segment) -> u8 {
        let (used, dead) = (u64::from(segment.used), u64::from(segment.used.saturating_sub(segment.live)));
        if dead == 0 || dead * LEVELS < used * u64::from(self.lowest) {
            return 0;
        }
        (dead * LEVELS / used) as u8
    }

    /// Lists segment `id`, which is sealed, where it belongs now.
    #[inline]
    pub(super) fn update(&mut self, id: u32, segments: &mut [Segment]) {
        let segment = &segments[id as usize];
        let level = self.level_of(segment);
        if level != segment.listing.level {
            self.list(id, level, segments);
        }
    }

    #[cold]
    fn list(&mut self, id: u32, level: u8, segments: &mut [Segment]) {
        self.remove(id, segments);
        if level != 0 {
            let list = &mut self.levels[usize::from(level)];
            segments[id as usize].listing = Listing { level, place: list.len() as u32 };
            list.push(id);
        }
    }

    /// Takes segment `id` out, if it is listed.
    pub(super) fn remove(&mut self, id: u32, segments: &mut [Segment]) {
        let Listing { level, place } = std::mem::take(&mut segments[id as usize].listing);
        if level == 0 {
            return;
        }
        let list = &mut self.levels[usize::from(level)];
        let removed = list.swap_remove(place as usize);
        assert_eq!(removed, id, "a segment stands where it says");
        if let Some(&moved) = list.get(place as usize) {
            segments[moved as usize].listing.place = place;
        }
    }

    /// The listed segments, the deadest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.levels.iter().rev().flat_map(|list| list.iter().rev().copied())
    }

    /// True if a segment stands where it says, and should.
    pub(super) fn is_right(&self, id: u32, segment: &Segment, is_sealed: bool) -> bool {
        let Listing { level, place } = segment.listing;
        let expected = if is_sealed { self.level_of(segment) } else { 0 };
        level == expected && (level == 0 || self.levels[usize::from(level)].get(place as usize) == Some(&id))
    }

    /// Number of segments listed.
    pub(super) fn len(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{alone, options, set};

    fn segment(used: u32, live: u32) -> Segment {
        Segment { used, live, ..Segment::free() }
    }

    #[test]
    fn gives_the_deadest_first_and_lists_each_once() {
        for (evicts, expected) in [(true, &[2, 4][..]), (false, &[2, 4, 3, 1][..])] {
            let mut segments = vec![segment(0, 0); 6];
            let mut list = ReclaimList::new(evicts);
            for (id, live) in [(1, 5900), (2, 64), (3, 5000), (4, 3200), (5, 6399)] {
                segments[id as usize] = segment(6400, 6400);
                // It dies little by little.
                for live in (live..6400).rev() {
                    segments[id as usize].live = live;
                    list.update(id, &mut segments);
                }
            }
            assert_eq!(list.iter().collect::<Vec<_>>(), expected);
            assert!((1..6).all(|id| list.is_right(id, &segments[id as usize], true)));
            list.remove(2, &mut segments);
            list.remove(2, &mut segments);
            assert_eq!(list.iter().collect::<Vec<_>>(), expected[1..]);
            assert_eq!(list.len(), expected.len() - 1);
            assert!(!list.is_right(2, &segments[2], true) && list.is_right(2, &segments[2], false));
        }
    }

    /// A segment once stood in the list for each time it had been filled, until memory was low: in a store that never is,
    /// 8 bytes a segment written, outside of every budget, and then all were looked at in one go.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn is_no_longer_than_there_are_segments() {
        let mut shard = alone(options(64 << 20, 1));
        let value = vec![b'v'; 8_000];
        for n in 0..100_000 {
            set(&mut shard, &format!("key-{}", n * 7_919 % 1_000), &value).unwrap();
            if n % 1_000 == 0 {
                let segments = shard.store().segments.lock();
                assert!(segments.reclaim_list.len() < segments.segments.len(), "after {n} writes");
            }
        }
        assert_eq!(shard.store().totals().evictions, 0);
    }
}
